// Setup before a command's libraries are loaded: memory limits, the policy of waiting threads, signals.
#pragma once

namespace glow {

// Called first of all by run_tool(), which thereby links the code that runs before it, ahead of the libraries'
// constructors:
//
// - Waiting threads of libgomp spin for milliseconds unless told otherwise before the program starts; on a machine shared
//   with others that made training ten times slower (measured with 2 threads on 2 busy cores). Sleeping at once costs a
//   wake-up for every parallel loop: 15% of a step's small networks on quiet cores. A spin of about 0.1 ms loses neither.
//   So the program restarts once with OMP_WAIT_POLICY=passive and GOMP_SPINCOUNT=2000, unless the user has set a policy,
//   and OPENBLAS_NUM_THREADS=1.
// - Under ulimit -v or -d, libraries that get no memory crash (cuBLAS) or try forever (OpenBLAS) while they are loaded.
//   The program refuses to start with exit status 2 if less than kLibraryBytes and OpenBLAS's buffer are left.
// - Some libraries replace signal handlers. Signals that the caller ignored stay ignored.
void begin_program();

}  // namespace glow
