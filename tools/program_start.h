// Setup before a command's libraries are loaded: standard descriptors, memory limits, the policy of waiting
// threads, signals.
#pragma once

namespace glow {

// Called first of all by run_tool() or main(), which thereby links the code that runs before it, ahead of the
// libraries' constructors:
//
// - By default, waiting threads of libgomp spin for milliseconds; on a shared machine that made training ten
//   times slower (measured with 2 threads on 2 busy cores). Sleeping immediately costs a wake-up for every
//   parallel loop: 15% of a step of small networks on quiet cores. A spin of about 0.1 ms avoids both costs.
//   libgomp reads its settings when it is loaded, so the program restarts once with OPENBLAS_NUM_THREADS=1
//   and, unless the user has set a policy, OMP_WAIT_POLICY=passive and GOMP_SPINCOUNT=2000.
// - Under ulimit -v or -d, libraries that get no memory crash (cuBLAS) or retry forever (OpenBLAS) while they
//   are loaded. The program refuses to start, with exit status 2, if less than kLibraryBytes plus OpenBLAS's
//   buffer is left.
// - Closed standard descriptors (`>&-`) are occupied, so that no message gets into a file that is opened.
// - Some libraries replace signal handlers. Signals that the caller ignored stay ignored.
void begin_program();

}  // namespace glow
