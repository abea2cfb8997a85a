#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/relu_mask.h"

namespace glow::inline GLOW_REAL {
namespace {

template <class T, class Bias>
struct BiasReluMask {
    static constexpr const char* name = "bias_relu_mask";
    index_t n, stride;
    const Bias* bias;
    T* C;
    std::uint8_t* mask;
    // Eight elements: a byte of the mask.
    GLOW_HD void operator()(index_t row, index_t byte) const {
        unsigned bits = 0;
        for (index_t j = 0; j < 8; ++j) {
            const index_t c = byte * 8 + j;
            if (c >= n) break;
            T& value = C[row * stride + c];
            const double sum = static_cast<double>(widen(value)) + (bias != nullptr ? bias[c] : Bias{0});
            const bool positive = sum > 0.0;
            value = positive ? round_to<T>(sum) : T{};
            bits |= static_cast<unsigned>(positive) << j;
        }
        mask[row * mask_row_bytes(n) + byte] = static_cast<std::uint8_t>(bits);
    }
};

template <class T>
struct ApplyReluMask {
    static constexpr const char* name = "apply_relu_mask";
    index_t stride, row_bytes;
    const std::uint8_t* mask;
    T* C;
    GLOW_HD void operator()(index_t row, index_t c) const {
        T& value = C[row * stride + c];
        value = select_or_zero(mask[row * row_bytes + (c >> 3)] >> (c & 7) & 1, value);
    }
};

}  // namespace

template <class T, class Bias>
void bias_relu_mask(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C,
                    std::uint8_t* mask) {
    for_each_row_channel(exec, m, (n + 7) / 8, BiasReluMask<T, Bias>{n, stride, bias, C, mask});
}

template <class T>
void apply_relu_mask(const Exec& exec, index_t m, index_t n, index_t stride, const std::uint8_t* mask, T* C) {
    for_each_row_channel(exec, m, n, ApplyReluMask<T>{stride, mask_row_bytes(n), mask, C});
}

#define GLOW_INSTANTIATE(T, Bias)                                                                  \
    template void bias_relu_mask<T, Bias>(const Exec&, index_t, index_t, index_t, const Bias*, T*, \
                                          std::uint8_t*);                                          \
    template void apply_relu_mask<T>(const Exec&, index_t, index_t, index_t, const std::uint8_t*, T*);
GLOW_INSTANTIATE(double, double)
GLOW_INSTANTIATE(float, float)
GLOW_INSTANTIATE(bfloat16, float)
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL
