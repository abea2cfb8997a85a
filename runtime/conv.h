// 3x3 convolutions of a vendor's library: the second engine beside the matrix products of layers/network.cpp.
// Cross-correlations with zeros around each image, y[p, o] = sum w[o, kh, kw, i] x[p + (kh-1, kw-1), i], and
// their gradients. Channels last: x [N, H, W, in], w [out, 3, 3, in], y [N, H, W, out].
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
    Scalar operands = Scalar::f32;  // what is multiplied; bf16 sums in float
    Scalar result = Scalar::f32;    // in memory

    auto operator<=>(const Convolution&) const = default;
};

// This class itself is the engine of a device that has none.
class Conv {
  public:
    virtual ~Conv() = default;
    // Whether there is an algorithm for this very convolution whose results repeat. Needs the device.
    virtual bool has(const Convolution&) { return false; }
    // Bytes of scratch that run() wants; the same for all, so that a memory plan needs no device.
    virtual std::size_t scratch_bytes() const { return 0; }
    // result = what the pass gives:  forward: first x, second w, result y;  data_gradient: dy, w, dx;
    // weight_gradient: x, dy, dw. Operands begin at blocks of arenas or at their images. Bit-equal for equal
    // arguments. Throws Error where has() is false.
    virtual void run(const Convolution& convolution, const void* first, const void* second, void* result,
                     void* scratch);
    // Where the library's answers go, a line an engine, when it is first asked for a convolution.
    virtual void set_log(std::function<void(const std::string&)>) {}
};

}  // namespace glow
