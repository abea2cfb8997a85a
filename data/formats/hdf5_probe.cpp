// A look at a file by a child process, because HDF5 itself does not survive every damaged one.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "kernels/error.h"
#include "data/formats/hdf5_objects.h"

namespace glow {

using namespace hdf5;

namespace {

constexpr rlim_t kProbeSeconds = 6;                // of processor time
constexpr index_t kProbeBytes = index_t{1} << 29;  // of memory
constexpr int kTooMuchMemory = 3;                  // exit code of the child

// Does what readers do with an object and all below it, but for the elements, whatever is wrong with some of
// them.
void look_at_everything(const Hdf5File& file, hid_t object, const std::string& name, int depth,
                        std::size_t& links) {
    const auto attempt = [](auto look) {
        try {
            look();
        } catch (const InputError&) {
        }
    };
    std::vector<std::string> attributes;
    H5Aiterate2(
        object, H5_INDEX_NAME, H5_ITER_INC, nullptr,
        [](hid_t, const char* attribute, const H5A_info_t*, void* out) -> herr_t {
            static_cast<std::vector<std::string>*>(out)->push_back(attribute);
            return 0;
        },
        &attributes);
    for (const std::string& attribute : attributes) {
        attempt([&] { file.string_attribute(name, attribute); });
        attempt([&] { file.number_attribute(name, attribute); });
    }
    const H5I_type_t kind = H5Iget_type(object);
    if (kind == H5I_DATASET) attempt([&] { file.describe(name); });
    if (kind != H5I_GROUP || depth > kDeepestGroup) return;
    bool complete = false;
    for (const Entry& entry : entries_of(object, complete)) {
        if (++links > kMostLinks) return;
        if (!entry.hard) continue;
        const Handle inner(H5Oopen(object, entry.name.c_str(), H5P_DEFAULT), H5Oclose);
        if (!inner.bad())
            look_at_everything(file, inner, (depth == 0 ? "" : name) + "/" + entry.name, depth + 1, links);
    }
}

// The most memory this process ever had, in bytes.
index_t peak_memory() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return index_t{1024} * usage.ru_maxrss;
}

}  // namespace

// HDF5 itself crashes, loops or takes all memory on some damaged files (1.10.8: one in 400 of those with
// random bytes in their directory). So a child process looks at everything first; its fate, not its findings,
// is what counts. A child cannot be had where memory is short: the file is then taken as it is.
void Hdf5File::refuse_if_deadly(const std::filesystem::path& path) {
    library().lock();  // no other thread is within HDF5 when the child is copied
    const pid_t child = fork();
    library().unlock();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);  // it shares the parent's locks, and must not outlive it
        const int nowhere = ::open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);  // nobody wants to read of its crash
        const rlimit no_core{0, 0}, cpu_seconds{kProbeSeconds, kProbeSeconds + 5};
        setrlimit(RLIMIT_CORE, &no_core);
        setrlimit(RLIMIT_CPU, &cpu_seconds);
        for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGXCPU}) std::signal(signal, SIG_DFL);
        try {
            const Hdf5File file = open_unchecked(path);
            const Handle root(H5Oopen(file.id_, "/", H5P_DEFAULT), H5Oclose);
            std::size_t links = 0;
            const index_t before = peak_memory();
            if (!root.bad()) look_at_everything(file, root, "/", 0, links);
            if (peak_memory() - before > kProbeBytes) _exit(kTooMuchMemory);
        } catch (...) {
            // The parent will find the same.
        }
        _exit(0);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return;
    }
    if (child <= 0) return;
    const auto damaged = [&](const char* what) {
        throw InputError(
            fmt::format("cannot open {} as an HDF5 file: it is damaged (HDF5 {})", path.string(), what));
    };
    if (WIFEXITED(status) && WEXITSTATUS(status) == kTooMuchMemory)
        damaged("asks for gigabytes to read its directory");
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) damaged("crashes on it");  // a sanitizer's exit
    if (!WIFSIGNALED(status)) return;
    const int signal = WTERMSIG(status);
    if (signal == SIGXCPU) damaged("does not end on it");
    // SIGKILL: out of memory.
    for (const int crash : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGKILL})
        if (signal == crash) damaged("crashes on it");
}

}  // namespace glow
