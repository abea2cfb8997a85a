// The coupling network (spec section 1): conv 3x3 -> actnorm -> relu -> conv 1x1 -> actnorm -> relu -> conv
// 3x3 (zeros), as three matrix products over pixels (architecture section 3). Its hidden maps are 98% of the
// model's work.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

// Who carries out the last convolution, the one 3x3 of a wide map, which alone could be a library's without
// another pass over that map: matrix products by Context::blas, or Context::conv. One choice for forward,
// recomputation and both gradients.
enum class Engine { products, library };

class CouplingNetwork {
  public:
    virtual ~CouplingNetwork() = default;

    index_t outputs() const { return outputs_; }

    // Weights with the actnorms folded in, in the network's precision; and the gradients of those. Both live
    // in scratch for one call of a layer and are used by all its tiles.
    struct Folded {
        void*
            conv1;  // [w, K1]   K1 = 9 (C_in + edge) + 1 rounded up to 8; column 9 (C_in + edge) is the bias
        void* conv2;     // [w, w]
        real* bias2;     // [w]
        void* conv3;     // [T3, w]   T3 = 9 C_out rounded up to 8; row tap * C_out + o (library: o * 9 + tap)
        double* scale3;  // [C_out]   exp(3 logs) of the last convolution
    };
    struct FoldedGradient {
        real* conv1;  // [w, K1]
        real* conv2;  // [w, w]
        real* bias2;  // [w]
        real* conv3;  // [T3, w]; unused by the library, whose gradients go to the parameters at once
    };
    // What backward needs of a forward over N images.
    struct Maps {
        void* hidden1;  // [N*H*W, w]
        void* hidden2;  // [N*H*W, w]
        real* out;      // [N*H*W, C_out]
    };

    // Of the parameters as they are; or, after use(), what was folded ahead.
    virtual Folded fold(const Context& context) const = 0;
    // Folded weights that outlive a call, made for all networks together: thousands of small kernels a step
    // become one. take_folded(): of `layers` networks, as this one's `layer`th following has them at
    // folded_of(layer). fold_ahead(): of all levels in one kernel, after every change of the parameters; for
    // all of them by one network, whichever.
    virtual Folded take_folded(Arena& derived, index_t layers) const = 0;
    virtual Folded folded_of(const Folded& all, index_t layer) const = 0;
    struct Ahead {  // a level's networks, whose parameters lie `step` elements apart
        const CouplingNetwork* first;
        index_t layers, step;
        Folded all;
    };
    virtual void fold_ahead(const Context& context, std::span<const Ahead> levels) const = 0;
    void use(const Folded& ahead) { ahead_ = ahead; }
    // Where the parameters begin in the flat arrays.
    virtual index_t offset() const = 0;
    virtual FoldedGradient zero_gradient(const Context& context) const = 0;
    // Parameter gradients += those of the folded weights.
    virtual void unfold(const Context& context, const FoldedGradient& gradient) const = 0;

    // Whether the device has all that the engine asks for with N images. Needs the device.
    virtual bool can_run(const Context& context, index_t N) const = 0;

    // Arrays of a Maps from an arena, for N images.
    virtual Maps take_maps(Arena& arena, index_t N) const = 0;

    // out = NN(a). a: [N*H*W] pixels of `stride` state elements, the first C_in are read; out: [N*H*W,
    // C_out].
    virtual void forward(const Context& context, const Folded& folded, index_t N, const state_t* a,
                         index_t stride, real* out) const = 0;
    // The same, bit for bit, with the hidden maps kept.
    virtual void forward(const Context& context, const Folded& folded, index_t N, const state_t* a,
                         index_t stride, const Maps& maps) const = 0;
    // da += dL/da in the first C_in of `stride` elements a pixel; folded gradients and the last convolution's
    // bias, logs and edge weights (library: all its weights) +=. dout [N*H*W, C_out] and both hidden maps are
    // overwritten.
    virtual void backward(const Context& context, const Folded& folded, const FoldedGradient& gradient,
                          index_t N, const state_t* a, index_t stride, const Maps& maps, real* dout,
                          real* da) const = 0;

    // Data-dependent initialisation of the hidden actnorms, layer by layer, over N images in tiles of `tile`.
    virtual void initialise(const Context& context, index_t N, index_t tile, const state_t* a,
                            index_t stride) = 0;

  protected:
    explicit CouplingNetwork(index_t outputs) : outputs_(outputs) {}
    index_t outputs_;
    std::optional<Folded> ahead_;
};

// Multiply-adds of a coupling network's forward on one pixel of `shape`: the unit of its work, of which its
// backward takes two.
double network_multiplies(const ModelConfig& config, const Shape& shape);

// inputs, outputs: channels; w: hidden width; `name` is the coupling's, "level0/step3/coupling". shape.C is
// not used.
std::unique_ptr<CouplingNetwork> make_coupling_network(const Shape& shape, index_t inputs, index_t outputs,
                                                       index_t w, bool edge, Precision precision,
                                                       Engine engine, const std::string& name,
                                                       Parameters& parameters);

}  // namespace glow::inline GLOW_REAL
