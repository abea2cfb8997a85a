#include "runtime/launcher.h"

#include <cstdlib>

namespace glow {
namespace {

int number(const char* variable) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? 0 : std::atoi(text);
}

}  // namespace

Launch detect_launch() {
    // Open MPI 3 to 5; MPICH, Intel MPI, MVAPICH and Slurm's pmi2. Checked first because srun may set them
    // too.
    if (const int size = number("OMPI_COMM_WORLD_SIZE"); size > 0)
        return {"mpirun (Open MPI)", size, number("OMPI_COMM_WORLD_RANK")};
    if (const int size = number("PMI_SIZE"); size > 0) return {"mpiexec (PMI)", size, number("PMI_RANK")};
    // A Slurm step. sbatch and salloc also set SLURM_PROCID and SLURM_NTASKS, but not per process, so ignore
    // those.
    const int tasks = std::getenv("SLURM_STEP_ID") != nullptr ? number("SLURM_STEP_NUM_TASKS") : 0;
    if (tasks > 1) return {"srun", tasks, number("SLURM_PROCID")};
    if (std::getenv("PMIX_RANK") != nullptr) return {"a launcher with PMIx", tasks, number("PMIX_RANK")};
    return {};
}

}  // namespace glow
