// Asynchronous copies from global to shared memory (PTX, compute capability 8.0). On the host they are done at once.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

#if defined(__CUDACC__)
__device__ inline unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#endif

// 16 bytes from global memory, or zeros. Both addresses are multiples of 16.
GLOW_HD inline void copy_async(void* shared, const void* global, bool present = true) {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(present ? 16 : 0));
#else
    if (present)
        std::memcpy(shared, global, 16);
    else
        std::memset(shared, 0, 16);
#endif
}
// Ends a group of copies.
GLOW_HD inline void commit_copies() {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.commit_group;");
#endif
}
// Until all groups of this thread but the last kPending are there.
template <int kPending>
GLOW_HD inline void wait_for_copies() {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

}  // namespace glow::inline GLOW_REAL
