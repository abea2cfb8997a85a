// Accesses of 16 bytes, a GPU's widest, for kernels limited by memory bandwidth.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "kernels/base.h"
#include "kernels/error.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace glow::inline GLOW_REAL {

// A GPU requires an access of 16 bytes to be aligned to 16, and so on. A CPU does not, so without this check
// tests of the GPU's code paths would not notice.
GLOW_HD inline void check_aligned([[maybe_unused]] const void* address,
                                  [[maybe_unused]] std::size_t bytes = 16) {
#if !defined(__CUDA_ARCH__)
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0)
        throw_error("access of " + std::to_string(bytes) + " bytes is not aligned");
#endif
}

// 16 bytes of elements; the address must be a multiple of 16.
template <class T>
struct Pack {
    static constexpr index_t kSize = 16 / sizeof(T);
    T value[kSize];
};
template <class T>
GLOW_HD inline Pack<T> load_pack(const T* from) {
    Pack<T> pack;
#if defined(__CUDA_ARCH__)
    const uint4 bits = *reinterpret_cast<const uint4*>(from);
    memcpy(&pack, &bits, sizeof pack);
#else
    check_aligned(from);
    memcpy(&pack, from, sizeof pack);
#endif
    return pack;
}
template <class T>
GLOW_HD inline void store_pack(const Pack<T>& pack, T* to) {
#if defined(__CUDA_ARCH__)
    uint4 bits;
    memcpy(&bits, &pack, sizeof pack);
    *reinterpret_cast<uint4*>(to) = bits;
#else
    check_aligned(to);
    memcpy(to, &pack, sizeof pack);
#endif
}
// True if packs can be used: GPU code paths, lines of whole packs, addresses that are multiples of 16.
template <class T, class... More>
bool packs_fit(const Exec& exec, index_t line, const T* first, const More*... more) {
    const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
    return exec.tuned_for_gpu() && line % Pack<T>::kSize == 0 && aligned(first) && (aligned(more) && ...);
}

}  // namespace glow::inline GLOW_REAL
