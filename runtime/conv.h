// 3x3 convolutions by a vendor library, an alternative to matrix products (layers/conv3x3.h).
// Cross-correlation with zero padding, y[p, o] = sum w[o, kh, kw, i] x[p + (kh-1, kw-1), i], and its
// gradients. Channels last: x [N, H, W, in], w [out, 3, 3, in], y [N, H, W, out].
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "runtime/blas.h"

namespace glow {

struct Convolution {
    enum class Pass { forward, data_gradient, weight_gradient };
    Pass pass = Pass::forward;
    index_t N = 0, H = 0, W = 0;    // images
    index_t in = 0, out = 0;        // channels
    Scalar operands = Scalar::f32;  // operand type; bf16 sums in float
    Scalar result = Scalar::f32;    // result type in memory

    auto operator<=>(const Convolution&) const = default;
};

// The base class is the implementation for devices without vendor convolutions.
class Conv {
  public:
    virtual ~Conv() = default;
    // Whether the library has a deterministic algorithm for this convolution. Needs the device.
    virtual bool has(const Convolution&) { return false; }
    // Scratch bytes that run() needs. Equal for all convolutions, so that memory planning needs no device.
    virtual std::size_t scratch_bytes() const { return 0; }
    // Runs one pass. forward: first x, second w, result y; data_gradient: dy, w, dx; weight_gradient: x, dy,
    // dw. Operands start at arena blocks or at their images. Bit-equal for equal arguments. Throws Error if
    // has() is false.
    virtual void run(const Convolution& convolution, const void* first, const void* second, void* result,
                     void* scratch);
    // Sets the output for the library's result on each engine, one line each, at the first use of a
    // convolution.
    virtual void set_log(std::function<void(const std::string&)>) {}
};

}  // namespace glow
