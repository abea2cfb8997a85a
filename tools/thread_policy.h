// How OpenMP threads wait for work.
#pragma once

namespace glow {

// Called first of all by run_tool(). Waiting threads of libgomp spin for milliseconds unless told otherwise before
// the program starts; on a machine shared with others that made training ten times slower (measured with 2
// threads on 2 busy cores). Sleeping at once costs a wake-up for every parallel loop: 15% of a step's small
// networks on quiet cores. A spin of about 0.1 ms loses neither. Restarts the program once with
// OMP_WAIT_POLICY=passive and GOMP_SPINCOUNT=2000, unless the user has set a policy, and OPENBLAS_NUM_THREADS=1.
void wait_without_spinning(char** argv);

}  // namespace glow
