// A Conv (runtime/conv.h) that computes direct sums in float, double or bf16, so that the vendor-convolution
// engine can be tested without a library.
#pragma once

#include "kernels/math.h"
#include "layers/coupling_network.h"

namespace glow::inline GLOW_REAL {

class DirectConv : public Conv {
  public:
    bool has(const Convolution&) override { return true; }
    std::size_t scratch_bytes() const override { return 100; }
    void run(const Convolution& c, const void* first, const void* second, void* result,
             void* scratch) override {
        static_cast<char*>(scratch)[99] = 1;
        ++calls;
        if (c.operands == Scalar::bf16)
            sum<bfloat16>(c, first, second, result);
        else
            sum<real>(c, first, second, result);
    }
    int calls = 0;

  private:
    template <class T>
    static void sum(const Convolution& c, const void* first, const void* second, void* result) {
        using Pass = Convolution::Pass;
        const T* const a = static_cast<const T*>(first);
        const T* const b = static_cast<const T*>(second);
        const index_t size = c.pass == Pass::forward         ? c.N * c.H * c.W * c.out
                             : c.pass == Pass::data_gradient ? c.N * c.H * c.W * c.in
                                                             : c.out * 9 * c.in;
        std::vector<double> sums(static_cast<std::size_t>(size));
        for (index_t p = 0; p < c.N * c.H * c.W; ++p)
            for (index_t kh = 0; kh < 3; ++kh)
                for (index_t kw = 0; kw < 3; ++kw) {
                    const index_t y = p / c.W % c.H + kh - 1, x = p % c.W + kw - 1;
                    if (y < 0 || y >= c.H || x < 0 || x >= c.W) continue;
                    const index_t q = p + (kh - 1) * c.W + kw - 1;
                    for (index_t o = 0; o < c.out; ++o)
                        for (index_t i = 0; i < c.in; ++i) {
                            const index_t w = (o * 9 + kh * 3 + kw) * c.in + i;
                            if (c.pass == Pass::forward)
                                sums[p * c.out + o] += value(a[q * c.in + i]) * value(b[w]);
                            else if (c.pass == Pass::data_gradient)
                                sums[q * c.in + i] += value(a[p * c.out + o]) * value(b[w]);
                            else
                                sums[w] += value(a[q * c.in + i]) * value(b[p * c.out + o]);
                        }
                }
        for (index_t i = 0; i < size; ++i)
            if (c.result == Scalar::bf16)
                static_cast<bfloat16*>(result)[i] = round_to<bfloat16>(sums[i]);
            else
                static_cast<real*>(result)[i] = static_cast<real>(sums[i]);
    }
    template <class T>
    static double value(T x) {
        return static_cast<double>(widen(x));
    }
};

}  // namespace glow::inline GLOW_REAL
