// Both gather from a copy in scratch.
#include "kernels/for_each.cuh"
#include "kernels/squeeze_split.h"

namespace glow::inline GLOW_REAL {
namespace {

template <class T>
struct Copy {
    static constexpr const char* name = "copy";
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t i) const { to[i] = from[i]; }
};

// One row q = n*(H/2) + y of the squeezed image; c runs over the C channels before the squeeze.
template <class T>
struct Squeeze {
    static constexpr const char* name = "squeeze";
    index_t W, C;  // before the squeeze
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t q, index_t, index_t x, index_t c) const {
        const SqueezeBlock block(W, C, q, x, c);
        for (int i = 0; i < 4; ++i) to[block.after(i)] = from[block.before(i)];
    }
};

template <class T>
struct Unsqueeze {
    static constexpr const char* name = "unsqueeze";
    index_t W, C;
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t q, index_t, index_t x, index_t c) const {
        const SqueezeBlock block(W, C, q, x, c);
        for (int i = 0; i < 4; ++i) to[block.before(i)] = from[block.after(i)];
    }
};

template <class T>
struct SplitHalves {
    static constexpr const char* name = "split";
    index_t rows, half;
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t row, index_t c) const {
        to[row * half + c] = from[row * 2 * half + c];
        to[(rows + row) * half + c] = from[(row * 2 + 1) * half + c];
    }
};

template <class T>
struct MergeHalves {
    static constexpr const char* name = "merge";
    index_t rows, half;
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t row, index_t c) const {
        to[row * 2 * half + c] = from[row * half + c];
        to[(row * 2 + 1) * half + c] = from[(rows + row) * half + c];
    }
};

}  // namespace

template <class T>
void squeeze(const Exec& exec, index_t N, index_t H, index_t W, index_t C, T* h, T* scratch) {
    for_each(exec, N * H * W * C, Copy<T>{h, scratch});
    for_each_image_row(exec, 0, N * (H / 2), H / 2, W / 2, C, Squeeze<T>{W, C, scratch, h});
}

template <class T>
void unsqueeze(const Exec& exec, index_t N, index_t H, index_t W, index_t C, T* h, T* scratch) {
    for_each(exec, N * H * W * C, Copy<T>{h, scratch});
    for_each_image_row(exec, 0, N * (H / 2), H / 2, W / 2, C, Unsqueeze<T>{W, C, scratch, h});
}

template <class T>
void split_halves(const Exec& exec, index_t rows, index_t C, T* h, T* scratch) {
    for_each(exec, rows * C, Copy<T>{h, scratch});
    for_each_row_channel(exec, rows, C / 2, SplitHalves<T>{rows, C / 2, scratch, h});
}

template <class T>
void merge_halves(const Exec& exec, index_t rows, index_t C, T* h, T* scratch) {
    for_each(exec, rows * C, Copy<T>{h, scratch});
    for_each_row_channel(exec, rows, C / 2, MergeHalves<T>{rows, C / 2, scratch, h});
}

#define GLOW_INSTANTIATE(T)                                                              \
    template void squeeze<T>(const Exec&, index_t, index_t, index_t, index_t, T*, T*);   \
    template void unsqueeze<T>(const Exec&, index_t, index_t, index_t, index_t, T*, T*); \
    template void split_halves<T>(const Exec&, index_t, index_t, T*, T*);                \
    template void merge_halves<T>(const Exec&, index_t, index_t, T*, T*);
GLOW_INSTANTIATE(double)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE(float)
#endif
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL
