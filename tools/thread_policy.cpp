// libgomp reads its environment when it is loaded, so the program has to start again.
#include "tools/thread_policy.h"

#include <omp.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace glow {

void wait_without_spinning(char** argv) {
    // Teams of varying size make libgomp end and start threads for every loop.
    omp_set_dynamic(0);
    if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    setenv("GOMP_SPINCOUNT", "2000", 1);
    std::error_code failed;
    const std::filesystem::path self =
        std::filesystem::read_symlink("/proc/self/exe", failed);  // keeps its name in `ps`
    if (!failed) execv(self.c_str(), argv);  // returns only if it fails: then the default policy it is
}

}  // namespace glow
