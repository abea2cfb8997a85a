// How this process was started: by mpirun, srun and their like, or by hand.
#pragma once

#include <string>

namespace glow {

struct Launch {
    std::string launcher;  // empty: started by hand, one process
    int size = 0;          // processes, as far as the environment tells; 0: it does not
    int rank = 0;          // this one's number among them; 0 where the environment does not tell
};

// From the environment alone. Inside a Slurm allocation a program started without srun counts as started by
// hand.
Launch detect_launch();

}  // namespace glow
