// Shared by all drivers that run a functor as an OpenMP loop or CUDA kernel: the functor concept and grid
// sizes. Only .cu files may include this header and the drivers (for_each, stencil, reduce, row_matvec): in a
// CUDA build a .cpp would run the host loop on device pointers.
//
// A functor is a named struct with a GLOW_HD call operator and a `name`. If its speed is to be compared with
// the memory bandwidth, it also has kBytes, the bytes that one call must move. Channels are innermost.
// Functors do not divide or take remainders at run time: drivers pass every index they need.
#pragma once

#if defined(GLOW_WITH_CUDA) && !defined(__CUDACC__) && !defined(GLOW_HOST_ONLY)
#error "kernels/launch.cuh is for .cu files only"
#endif

#include <algorithm>

#include "kernels/base.h"
#include "kernels/cuda_error.h"
#include "kernels/error.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace glow::inline GLOW_REAL {

// A functor; its name appears in errors, traces and benchmarks.
template <class F>
concept Functor = F::name[0] != '\0';

// Reports a kernel to the observer. Returns whether to run it: not on a device that only counts.
inline bool begin_launch(const Exec& exec, const char* name, double bytes = 0) {
    if (exec.observer != nullptr) exec.observer->launch(name, bytes);
    return exec.device != Device::count_only;
}
// Bytes moved by `calls` calls of a functor, if it declares those of one call (kBytes); otherwise 0.
template <class F>
double bytes_of(index_t calls) {
    if constexpr (requires { F::kBytes; }) return static_cast<double>(calls) * F::kBytes;
    return 0;
}
// A functor that is called `calls` times, or that knows its bytes.
template <Functor F>
bool begin_launch(const Exec& exec, const F& f, index_t calls = 0) {
    if constexpr (requires { f.bytes(); }) return begin_launch(exec, F::name, f.bytes());
    return begin_launch(exec, F::name, bytes_of<F>(calls));
}

#if defined(__CUDACC__)
inline constexpr int kBlockThreads = 256;

inline void check_launch(const char* name, const char* file, int line) {
    const cudaError_t code = cudaGetLastError();
    if (code != cudaSuccess)
        throw_launch_error(name, static_cast<int>(code), cudaGetErrorString(code), file, line);
}

inline cudaStream_t stream_of(const Exec& exec) {
    return static_cast<cudaStream_t>(exec.stream);
}

// Threads per block: x over channels (a power of two up to 32), y over rows.
inline dim3 row_channel_block(index_t channels) {
    unsigned x = 1;
    while (x < 32 && x < static_cast<unsigned long long>(channels)) x *= 2;
    return dim3(x, kBlockThreads / x);
}
inline unsigned grid_size(index_t items, index_t per_block) {
    return static_cast<unsigned>(std::clamp<index_t>((items + per_block - 1) / per_block, 1, 1 << 20));
}
#endif  // __CUDACC__

}  // namespace glow::inline GLOW_REAL
