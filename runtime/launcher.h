// Detects how this process was started: by mpirun, srun or another launcher, or directly.
#pragma once

#include <string>

namespace glow {

struct Launch {
    std::string launcher;  // empty: started directly, one process
    std::string variable;  // the environment variable that tells
    int size = 0;          // number of processes; 0 if unknown
    int rank = 0;          // this process's number; 0 if unknown

    bool is_one_process() const { return launcher.empty() || size == 1; }
    // Certainly one of several processes. Rank 0 of an unknown number may be the only one.
    bool is_one_of_several() const { return size > 1 || rank > 0; }
};

// Reads only the environment. A launcher that reports several processes takes precedence over one that
// reports a single one, whose variables may come from an interactive shell. In a Slurm allocation, a program
// started without srun counts as started directly, also in the shell of srun --pty with several tasks.
Launch detect_launch();

}  // namespace glow
