#include "data/formats/hdf5_probe.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <set>
#include <system_error>
#include <tuple>

#include "data/formats/hdf5_calls.h"
#include "data/formats/hdf5_objects.h"
#include "kernels/error.h"

namespace glow {

using namespace hdf5;

namespace {

// The shared library that holds this function, or the program.
std::filesystem::path this_module() {
    Dl_info info;
    void* extra = nullptr;
    if (dladdr1(reinterpret_cast<void*>(&this_module), &info, &extra, RTLD_DL_LINKMAP) != 0) {
        const char* const name = static_cast<const link_map*>(extra)->l_name;
        if (name != nullptr && *name != '\0') return name;
    }
    std::error_code ignored;
    return std::filesystem::read_symlink("/proc/self/exe", ignored);
}

// State of a file at some time.
using Version = std::tuple<dev_t, ino_t, off_t, time_t, long>;

// Modification times distinguish versions only after the file system's clock has advanced: by 10 ms at most, or
// 2 s on file systems with whole seconds. The clocks of network file systems are assumed to agree with ours.
bool settled_version(const std::filesystem::path& path, Version& version) {
    struct stat status {};
    timespec now{};
    if (stat(path.c_str(), &status) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0) return false;
    const timespec& changed = status.st_ctim;
    version = {status.st_dev, status.st_ino, status.st_size, changed.tv_sec, changed.tv_nsec};
    const double age =
        difftime(now.tv_sec, changed.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - changed.tv_nsec);
    return age > (changed.tv_nsec == 0 ? 3.0 : 0.03);
}

std::atomic<bool> probe_required = false;

// Where the program writes its exit status.
constexpr int kAnswer = 3;

struct FileDescriptor {
    explicit FileDescriptor(int n) : number(n) {}
    ~FileDescriptor() {
        if (number >= 0) close(number);
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    const int number;
};

// Starts the program on a file, with `answers` as its descriptor kAnswer. Returns 0 or an error number. Uses
// posix_spawn, not fork: this process may have threads, GPU memory and MPI.
int start_probe(std::string name, std::string file, int answers, pid_t& child) {
    std::string answer = std::to_string(kAnswer);
    char* const arguments[] = {name.data(), file.data(), answer.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);  // text of a crash
    posix_spawn_file_actions_adddup2(&actions, answers, kAnswer);
#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 34)
    // Files that HDF5 has locked for other threads of a program, such as those of h5py, would stay locked until
    // the probe ends.
    posix_spawn_file_actions_addclosefrom_np(&actions, kAnswer + 1);
#endif
#endif
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const int failed = posix_spawn(&child, name.c_str(), &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

}  // namespace

void hdf5::require_probe() {
    probe_required = true;
}

std::filesystem::path hdf5::probe_program() {
    std::error_code ignored;
    const std::filesystem::path folder =
        std::filesystem::weakly_canonical(this_module(), ignored).parent_path();
    for (const char* const place : {".", "../libexec/glow", "../../libexec/glow"})
        if (const auto program = folder / place / "glow_hdf5_probe"; access(program.c_str(), X_OK) == 0)
            return program;
    return {};
}

std::string hdf5::probe(const std::filesystem::path& program, const std::filesystem::path& file) {
    int ends[2] = {-1, -1};
    pid_t child = 0;
    int failed = pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;
    if (failed == 0) failed = start_probe(program.string(), file.string(), ends[1], child);
    if (ends[1] >= 0) close(ends[1]);
    const FileDescriptor answers(ends[0]);
    if (failed != 0) {
        if (!probe_required) return "";
        throw Error(fmt::format("cannot check {}: {} cannot be started: {}", file.string(), program.string(),
                                std::generic_category().message(failed)));
    }

    int status = 0;
    const char* const crash = "crashes on it";
    while (waitpid(child, &status, 0) < 0) {
        if (errno == EINTR) continue;
        // The program ignores SIGCHLD, or waits for all of its children.
        char result = 0;
        if (read(answers.number, &result, 1) != 1) return crash;
        status = W_EXITCODE(result, 0);
        break;
    }
    if (WIFSIGNALED(status)) switch (WTERMSIG(status)) {
            case SIGXCPU:
                return "does not end on it";
            case SIGSEGV:
            case SIGBUS:
            case SIGFPE:
            case SIGILL:
            case SIGABRT:
            case SIGKILL:  // out of memory
                return crash;
            default:  // from outside
                return "";
        }
    switch (WEXITSTATUS(status)) {
        case 0:
        case 127:  // from the dynamic linker
            return "";
        case kTooMuchMemory:
            return "asks for gigabytes to read its directory";
        default:
            return crash;  // as a sanitizer reports it
    }
}

void Hdf5File::refuse_if_hdf5_crashes(const std::filesystem::path& file, const std::filesystem::path& shown) {
    static const std::filesystem::path program = probe_program();
    static std::set<Version> harmless;  // guarded by library()
    if (program.empty()) {
        if (!probe_required) return;
        throw Error(fmt::format("cannot check {}: the program glow_hdf5_probe is missing; install Glow again",
                                shown.string()));
    }

    Version version;
    const bool settled = settled_version(file, version);
    const auto known = [&] {
        const Lock lock(library());
        return harmless.contains(version);
    };
    if (settled && known()) return;
    if (const std::string fate = probe(program, file); !fate.empty())
        throw InputError(
            fmt::format("cannot open {} as an HDF5 file: it is damaged (HDF5 {})", shown.string(), fate));
    if (!settled) return;
    const Lock lock(library());
    harmless.insert(version);
}

}  // namespace glow
