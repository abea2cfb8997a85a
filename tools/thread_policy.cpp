// libgomp reads its environment when it is loaded, so the program has to start again.
#include "tools/thread_policy.h"

#include <unistd.h>

#include <cstdlib>

namespace glow {

void wait_without_spinning(char** argv) {
    if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    execv("/proc/self/exe", argv);  // returns only if it fails: then the default policy it is
}

}  // namespace glow
