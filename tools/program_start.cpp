// Before constructors of libraries only the C library may be used.
#include "tools/program_start.h"

#include <fcntl.h>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "runtime/memory_limit.h"
#include "runtime/openblas.h"

namespace glow {
namespace {

// A closed standard descriptor would be reused by the first file that is opened, and messages written into
// it. So /dev/null takes its place, opened such that reading stdin and writing stdout and stderr still fail.
void occupy_standard_descriptors() {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (fcntl(standard, F_GETFD) != -1) continue;
        const int file =
            open("/dev/null", standard == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // the lowest free
        if (file > STDERR_FILENO) close(file);
    }
}

// Signals that the caller may have set to be ignored, as nohup does.
constexpr int kIgnorable[] = {SIGHUP, SIGPIPE};
bool g_ignored[std::size(kIgnorable)];

// Whether `entry` of the environment, "NAME=value", has this name.
bool is_named(const char* entry, const char* name) {
    const std::size_t length = std::strlen(name);
    return std::strncmp(entry, name, length) == 0 && entry[length] == '=';
}
bool has_variable(char** environment, const char* name) {
    for (; *environment != nullptr; ++environment)
        if (is_named(*environment, name)) return true;
    return false;
}
bool has_entry(char** environment, const char* entry) {
    for (; *environment != nullptr; ++environment)
        if (std::strcmp(*environment, entry) == 0) return true;
    return false;
}

// Sizes of threads' stacks, which users may have set for other programs: oneDNN's kernels overflow stacks of
// less than 128 KiB, and gigabytes cannot be mapped. Both end the process without a message from Glow.
constexpr const char* kStackSizes[] = {"OMP_STACKSIZE", "GOMP_STACKSIZE", "KMP_STACKSIZE"};
bool sets_stack_size(const char* entry) {
    for (const char* const name : kStackSizes)
        if (is_named(entry, name)) return true;
    return false;
}

// libgomp and OpenBLAS read their environment when they are loaded. OpenBLAS would start one thread per
// processor, again after every fork, and map a buffer for each; Glow needs one thread, regardless of the
// user's settings.
void restart_with_thread_policy(char** argv, char** environment) {
    static char passive[] = "OMP_WAIT_POLICY=passive", spin[] = "GOMP_SPINCOUNT=2000",
                one_thread[] = "OPENBLAS_NUM_THREADS=1";
    const bool has_policy =
        has_variable(environment, "OMP_WAIT_POLICY") || has_variable(environment, "GOMP_SPINCOUNT");
    std::size_t size = 0, count = 0;
    bool stack_size = false;
    for (; environment[size] != nullptr; ++size)
        if (sets_stack_size(environment[size])) stack_size = true;
    if (has_policy && !stack_size && has_entry(environment, one_thread)) return;
    auto** const extended = static_cast<char**>(std::malloc((size + 4) * sizeof(char*)));
    if (extended == nullptr) return;
    for (std::size_t i = 0; i < size; ++i)
        if (!is_named(environment[i], "OPENBLAS_NUM_THREADS") && !sets_stack_size(environment[i]))
            extended[count++] = environment[i];
    if (!has_policy) {
        extended[count++] = passive;
        extended[count++] = spin;
    }
    extended[count++] = one_thread;
    extended[count] = nullptr;
    char self[4096];  // its own path keeps the program's name in `ps`
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = '\0';
        execve(self, argv, extended);  // returns only on failure; then keep the default policy
    }
    std::free(extended);
}

rlim_t limit_of(decltype(RLIMIT_AS) resource) {
    rlimit limit{};
    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

[[noreturn]] void refuse_limit(const char* program, const char* option, rlim_t limit, const char* unit,
                               rlim_t needed) {
    char line[256];
    const int length = std::snprintf(
        line, sizeof line,
        "%s: error: ulimit %s allows %llu %s, but the program and its libraries need %llu %s to start\n",
        program, option, static_cast<unsigned long long>(limit), unit,
        static_cast<unsigned long long>(needed), unit);
    if (length > 0) (void)!write(STDERR_FILENO, line, std::strlen(line));
    _exit(2);
}

void require_room(rlim_t limit, const char* option, unsigned long used_pages, const char* program) {
    if (limit == RLIM_INFINITY) return;
    const rlim_t used = rlim_t{used_pages} * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)),
                 needed = used + kLibraryBytes + blas_buffer_bytes(1);
    if (limit < needed) refuse_limit(program, option, limit >> 20, "MiB", (needed >> 20) + 1);
}

// Threads have stacks of this size too.
constexpr rlim_t kStackBytes = rlim_t{512} << 10;

void require_room_for_libraries(const char* path) {
    const char* const slash = std::strrchr(path, '/');
    const char* const program = slash != nullptr ? slash + 1 : path;
    if (const rlim_t stack = limit_of(RLIMIT_STACK); stack < kStackBytes)
        refuse_limit(program, "-s", stack >> 10, "KiB", kStackBytes >> 10);
    const rlim_t space = limit_of(RLIMIT_AS), writable = limit_of(RLIMIT_DATA);
    if (space == RLIM_INFINITY && writable == RLIM_INFINITY) return;
    char text[256] = "";
    const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    (void)!read(file, text, sizeof text - 1);
    close(file);
    // In pages: size, resident, shared, text, 0, data (private writable mappings).
    unsigned long pages[6] = {};
    char* at = text;
    for (unsigned long& value : pages) value = std::strtoul(at, &at, 10);
    require_room(space, "-v", pages[0], program);
    require_room(writable, "-d", pages[5], program);
}

// Some libraries replace signal handlers while they are loaded (libpsm2 of Open MPI that of SIGHUP), which
// drops the caller's SIG_IGN. OpenBLAS raises SIGINT if it cannot start its threads: ignore that, because it
// needs only one here.
void survive_loading() {
    struct sigaction action {};
    for (std::size_t i = 0; i < std::size(kIgnorable); ++i) {
        sigaction(kIgnorable[i], nullptr, &action);
        g_ignored[i] = action.sa_handler == SIG_IGN;
    }
    sigaction(SIGINT, nullptr, &action);
    if (action.sa_handler != SIG_DFL) return;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
        if (info->si_pid == getpid()) return;
        std::signal(SIGINT, SIG_DFL);  // later signals come from the user
        std::raise(SIGINT);
    };
    sigaction(SIGINT, &action, nullptr);
}

void before_libraries(int argc, char** argv, char** environment) {
    occupy_standard_descriptors();
    restart_with_thread_policy(argv, environment);
    require_room_for_libraries(argc > 0 ? argv[0] : "glow");
    survive_loading();
}
__attribute__((section(".preinit_array"), used)) void (*const g_before_libraries)(int, char**,
                                                                                  char**) = before_libraries;

}  // namespace

void begin_program() {
    struct sigaction action {};
    for (std::size_t i = 0; i < std::size(kIgnorable); ++i)
        if (g_ignored[i]) std::signal(kIgnorable[i], SIG_IGN);
    sigaction(SIGINT, nullptr, &action);
    if (action.sa_handler != SIG_IGN) std::signal(SIGINT, SIG_DFL);
    // A file that reaches its limit (ulimit -f) is a failed write with a message, like a full disk.
    std::signal(SIGXFSZ, SIG_IGN);
    // With dynamic team sizes libgomp ends and starts threads for every loop.
    omp_set_dynamic(0);
}

}  // namespace glow
