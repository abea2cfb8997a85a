// Detects how this process was started: by mpirun, srun or another launcher, or directly.
#pragma once

#include <string>

namespace glow {

struct Launch {
    std::string launcher;  // empty: started directly, one process
    int size = 0;          // number of processes; 0 if unknown
    int rank = 0;          // this process's number; 0 if unknown
};

// Reads only the environment. In a Slurm allocation, a program started without srun counts as started
// directly.
Launch detect_launch();

}  // namespace glow
