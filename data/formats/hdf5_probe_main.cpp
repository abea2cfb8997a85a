// glow_hdf5_probe FILE [N]: reads the structure of an HDF5 file. It only tests whether reading crashes, hangs or
// exhausts memory (hdf5_probe.h); invalid files are reported when they are opened. Writes its exit status, one
// byte, also to file descriptor N: a program that ignores SIGCHLD cannot receive it.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include "data/formats/hdf5_file.h"
#include "data/formats/hdf5_probe.h"

namespace {

constexpr rlim_t kSeconds = 6;           // of processor time
constexpr long kKilobytes = 512 * 1024;  // of memory

// Peak memory of this program. getrusage() would include the process that started it.
long peak_kilobytes() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (long peak = 0; word == "VmHWM:" && status >> peak) return peak;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && argc != 3) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const rlimit no_core{0, 0}, seconds{kSeconds, kSeconds + 5};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &seconds);
    const long before = peak_kilobytes();
    try {
        glow::Hdf5File::read_structure(argv[1]);
    } catch (...) {
        // Errors are reported when the file is opened.
    }
    const char result = peak_kilobytes() - before > kKilobytes ? glow::hdf5::kTooMuchMemory : 0;
    if (argc == 3 && write(std::atoi(argv[2]), &result, 1) != 1) return 2;
    _exit(result);
}
