#include "runtime/mpi_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "kernels/error.h"

namespace glow {

void* mpi_symbol(const char* name) {
    // Global, for plugins of MPI that are not linked to it. Never closed: MPI cannot be initialized twice.
    static void* const library = [] {
        for (const char* const file : {GLOW_MPI_LIBRARY, GLOW_MPI_FOLDER "/" GLOW_MPI_LIBRARY})
            if (void* const opened = dlopen(file, RTLD_LAZY | RTLD_GLOBAL)) return opened;
        throw InputError(
            fmt::format("cannot load MPI: {}; install the MPI that this program was built with, or set "
                        "LD_LIBRARY_PATH to its folder",
                        dlerror()));
    }();
    void* const found = dlsym(library, name);
    if (found == nullptr) throw Error(fmt::format("{} has no {}", GLOW_MPI_LIBRARY, name));
    return found;
}

}  // namespace glow
