#include "runtime/launcher.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace glow {
namespace {

bool is_set(const char* variable) {
    return std::getenv(variable) != nullptr;
}
int number(const char* variable) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? 0 : std::atoi(text);
}

// The variables of a launcher, which are set for each of its processes.
struct Variables {
    const char* launcher;
    const char* size;
    const char* rank;
};
constexpr Variables kLaunchers[] = {
    // Open MPI 3 to 5.
    {"mpirun (Open MPI)", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
    // MPICH, Intel MPI, HPE PALS, Flux, and Slurm's pmi2 and cray_shasta.
    {"mpiexec (PMI)", "PMI_SIZE", "PMI_RANK"},
    {"mpirun_rsh (MVAPICH)", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"},
    {"mpirun_rsh (MVAPICH)", "MVP_COMM_WORLD_SIZE", "MVP_COMM_WORLD_RANK"},
};
// Where the number of processes is not reported.
constexpr Variables kRanksOnly[] = {
    {"a launcher with PMIx", nullptr, "PMIX_RANK"},
    {"mpiexec (PMI)", nullptr, "PMI_RANK"},
    {"mpiexec (PALS)", nullptr, "PALS_RANKID"},
};

// A command in the shell of `srun --pty`, which only task 0 has. Tasks of an srun that is started there inherit
// its variables, but have no terminal; `srun --pty glow_train` is itself the task.
bool in_interactive_shell() {
    if (!is_set("SLURM_PTY_PORT") || number("SLURM_TASK_PID") == getpid()) return false;
    const int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (terminal >= 0) close(terminal);
    return terminal >= 0;
}

// A Slurm step. sbatch and salloc also set SLURM_PROCID (to 0) and SLURM_NTASKS, but not per process.
Launch detect_slurm_step() {
    const int rank = number("SLURM_PROCID");
    int tasks = is_set("SLURM_STEP_ID") ? number("SLURM_STEP_NUM_TASKS") : 0;
    if (rank >= tasks) tasks = 0;  // that of one component of a heterogeneous step: the sum is unknown
    if (tasks == 0 && rank == 0) return {};
    return {"srun", tasks > 0 ? "SLURM_STEP_NUM_TASKS" : "SLURM_PROCID",
            tasks > 1 && in_interactive_shell() ? 1 : tasks, rank};
}

}  // namespace

Launch detect_launch() {
    Launch single;  // the first launcher of one process
    for (const Variables& variables : kLaunchers) {
        const Launch launch{variables.launcher, variables.size, number(variables.size),
                            number(variables.rank)};
        if (launch.size > 1) return launch;
        if (launch.size == 1 && single.launcher.empty()) single = launch;
    }
    // Open MPI's mpirun starts its daemons with srun, one on each host, even for a single process.
    if (number("OMPI_COMM_WORLD_SIZE") == 1) return single;
    const Launch step = detect_slurm_step();
    if (step.is_one_of_several()) return step;
    if (!single.launcher.empty()) return single;
    if (step.size == 1) return step;
    for (const Variables& variables : kRanksOnly)
        if (is_set(variables.rank)) return {variables.launcher, variables.rank, 0, number(variables.rank)};
    return {};
}

}  // namespace glow
