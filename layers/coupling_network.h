// The coupling network (spec section 1): conv 3x3 -> actnorm -> relu -> conv 1x1 -> actnorm -> relu -> conv
// 3x3 (zeros), as three matrix products over pixels (architecture section 3). Its hidden maps are 98% of the
// model's work.
#pragma once

#include <memory>
#include <string>

#include "layers/conv3x3.h"
#include "layers/folded_weights.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

// H, W of its images; channels that come in and go out; hidden channels; edge channel (spec section 1).
struct NetworkShape {
    index_t H, W;
    index_t inputs, outputs, width;
    bool edge;
};
// The network of a coupling layer on `shape`.
NetworkShape network_shape(const ModelConfig& config, const Shape& shape);

// What a network reads: N images, their pixels `stride` state elements apart, of which the first `inputs` count.
struct NetworkInput {
    index_t N;
    const state_t* a;
    index_t stride;
};

class CouplingNetwork {
  public:
    CouplingNetwork(const NetworkShape& shape, Scalar operands, Engine engine, const std::string& name,
                    Parameters& all);
    virtual ~CouplingNetwork() = default;

    index_t outputs() const { return last_.columns.C; }
    const NetworkParameters& parameters() const { return parameters_; }
    const FoldedLayout& layout() const { return layout_; }

    // Folds the weights into scratch for one call of a layer.
    FoldedNetwork fold_into_scratch(const Context& context) const;
    FoldedGradient zero_gradient(const Context& context) const {
        return zero_folded_gradient(context, layout_);
    }
    // Parameter gradients += those of the folded weights.
    void unfold(const Context& context, const FoldedGradient& folded,
                const ParameterGradients& gradients) const {
        glow::unfold(context, parameters_, layout_, folded, engine_ == Engine::products, gradients);
    }

    // Intermediate maps of a forward over N images that backward needs.
    struct Maps {
        void* hidden1;  // [N*H*W, w]
        void* hidden2;  // [N*H*W, w]
        real* out;      // [N*H*W, outputs]
    };
    virtual Maps take_maps(Arena& arena, index_t N) const = 0;

    // Does the device support the engine for N images? Needs the device.
    virtual bool can_run(const Context& context, index_t N) const = 0;

    // out = NN(a); overwrites out [N*H*W, outputs].
    virtual void forward(const Context& context, const FoldedNetwork& folded, const NetworkInput& input,
                         real* out) const = 0;
    // The same, bit for bit, also storing the hidden maps.
    virtual void forward(const Context& context, const FoldedNetwork& folded, const NetworkInput& input,
                         const Maps& maps) const = 0;
    // da += dL/da in the channels that forward reads, laid out as the input. Folded gradients and the last
    // convolution's bias, logs and edge weights (library: all its weights) +=. Overwrites dout [N*H*W, outputs]
    // and both hidden maps.
    virtual void backward(const Context& context, const FoldedNetwork& folded, const FoldedGradient& gradient,
                          const NetworkInput& input, const Maps& maps, real* dout, real* da,
                          const ParameterGradients& gradients) const = 0;

    // Data-dependent initialization of the hidden actnorms, layer by layer, over N images in tiles of `tile`.
    virtual void initialize(const Context& context, const NetworkInput& input, index_t tile) = 0;

  protected:
    index_t H_, W_, w_;
    bool edge_;
    Scalar operands_;
    Engine engine_;
    NarrowInputConv first_;
    NarrowOutputConv last_;
    NetworkParameters parameters_;
    FoldedLayout layout_;
};

// Multiply-adds of a coupling network's forward per pixel of `shape`. Backward takes twice as many.
double network_multiplies(const ModelConfig& config, const Shape& shape);

// `name` is the coupling's, "level0/step3/coupling".
std::unique_ptr<CouplingNetwork> make_coupling_network(const NetworkShape& shape, Precision precision,
                                                       Engine engine, const std::string& name,
                                                       Parameters& parameters);

}  // namespace glow::inline GLOW_REAL
