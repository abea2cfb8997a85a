// The coupling network, conv 3x3 -> actnorm -> relu -> conv 1x1 -> actnorm -> relu -> conv 3x3 (initially
// zero), as three matrix products over pixels (layers/conv3x3.h). These products are 98% of the model's work.
//
// a and b are the first and second half of the state's channels: the network reads a, or a and a condition,
// and the coupling changes b. A network can also be used without a coupling (layers/feature_network.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "layers/conv3x3.h"
#include "layers/folded_weights.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

// Sizes of a network: feature maps H x W, channels of its input, hidden maps and output.
struct NetworkShape {
    index_t H, W, inputs, width, outputs;
    bool edge;  // 3x3 convolutions see where the image ends
};

// Options of a coupling, other than the shape of its state.
struct CouplingOptions {
    CouplingForm form = {};
    index_t width = 512;    // hidden channels
    bool edge_bias = true;  // 3x3 convolutions see where the image ends
    index_t condition = 0;  // channels of Flow::condition; 0: not conditional
};
inline CouplingOptions coupling_options(const ModelConfig& config) {
    return {.form = config.coupling_form(), .width = config.width, .edge_bias = config.edge_bias};
}

// Shape of the network of a coupling whose state has shape `state`.
inline NetworkShape network_shape(const Shape& state, const CouplingOptions& options) {
    return {.H = state.H,
            .W = state.W,
            .inputs = state.C / 2 + options.condition,
            .width = options.width,
            .outputs = options.form.affine() ? state.C : state.C / 2,
            .edge = options.edge_bias};
}

class CouplingNetwork {
  public:
    // form: of the coupling that couple() applies; empty: a network without a coupling.
    CouplingNetwork(const NetworkShape& shape, std::optional<CouplingForm> form, Scalar operands,
                    Engine engine, const std::string& name, Parameters& all);
    virtual ~CouplingNetwork() = default;

    index_t inputs() const { return first_.columns.C; }
    index_t outputs() const { return last_.columns.C; }
    const NetworkParameters& parameters() const { return parameters_; }
    const FoldedLayout& layout() const { return layout_; }

    // From now on uses these folded weights, which FoldedWeights updates, instead of folding in every call.
    void use(const FoldedNetwork& precomputed) { precomputed_ = precomputed; }
    // The folded weights: precomputed, or folded into scratch for one call of a layer.
    FoldedNetwork folded(const Context& context) const {
        return precomputed_ ? *precomputed_ : fold_into_scratch(context);
    }
    // Allocates scratch for the gradients that backward() over N images fills and unfold() reads.
    virtual FoldedGradient take_gradient(const Context& context, index_t N) const = 0;
    // Parameter gradients += those of the folded weights.
    void unfold(const Context& context, const FoldedGradient& folded,
                const ParameterGradients& gradients) const {
        unfold_network(context.exec, unfolding(folded, gradients));
    }
    // What unfold() passes to the kernel, for another kernel that unfolds too.
    NetworkUnfolding unfolding(const FoldedGradient& folded, const ParameterGradients& gradients) const {
        return glow::unfolding(parameters_, layout_, folded, engine_ != Engine::library, gradients);
    }

    // Intermediate maps of a forward over N images that backward needs.
    struct Maps {
        void* hidden1;  // [N*H*W, w]
        void* hidden2;  // [N*H*W, w]
        real* out;      // [N*H*W, outputs]
    };
    virtual Maps take_maps(Arena& arena, index_t N) const = 0;

    // Whether the libraries support the engine for N images. Needs the device itself, not a counting context.
    virtual bool can_run(const Context& context, index_t N) const = 0;

    // out = NN(input). input: [N*H*W] pixels, whose first inputs() elements are read. Overwrites out [N*H*W,
    // outputs].
    virtual void forward(const Context& context, const FoldedNetwork& folded, index_t N,
                         const StatePixels& input, real* out) const = 0;

    // Applies the coupling to N images h [N, H, W, C]: b <- coupling of b by NN(input); affine: logdet [N] +=
    // sum of log scale (nats). saved: receives the maps for backward(), or nullptr.
    virtual void couple(const Context& context, const FoldedNetwork& folded, index_t N,
                        const StatePixels& input, state_t* h, double* logdet, const Maps* saved) const = 0;
    // Images [first, first + N) of a batch, in backward.
    struct Tile {
        index_t first, N;
        StatePixels input;  // as in forward
        real* dinput;       // dL/dinput +=, input.stride elements per pixel; nullptr: not needed
        // For backward of couple():
        state_t* h = nullptr;  // [N, H, W, C] y -> x
        real* dh = nullptr;    // [N, H, W, C] dL/dy -> dL/dx
        double dlogdet = 0;    // dL/dlogdet of every image
        // From couple(), overwritten; nullptr: backward recomputes the maps, with the same bits.
        const Maps* saved = nullptr;
        // For backward of forward(), without a coupling:
        const real* dout = nullptr;  // [N*H*W, outputs] dL/dout
        bool accumulates() const { return first > 0; }
    };
    // Backward of couple(), or of forward() in a network without a coupling. The first tile overwrites
    // `gradient`, later tiles add to it. `gradients` receives those of conv3's bias, logs and edge weights,
    // unless gradient.output_sums does, and that of conv3's weight if a library computes the convolution.
    virtual void backward(const Context& context, const FoldedNetwork& folded, const Tile& tile,
                          const FoldedGradient& gradient, const ParameterGradients& gradients) const = 0;

    // Initializes the hidden actnorms from N images in tiles of `tile`, layer by layer. Then updates
    // precomputed folded weights.
    void initialize(const Context& context, index_t N, index_t tile, const StatePixels& input);

  protected:
    FoldedNetwork fold_into_scratch(const Context& context) const;
    virtual void initialize_hidden(const Context& context, index_t N, index_t tile,
                                   const StatePixels& input) = 0;

    // Channels of the coupling's state.
    index_t state_channels() const { return form_->affine() ? outputs() : 2 * outputs(); }

    index_t H_, W_, w_;
    std::optional<CouplingForm> form_;  // empty: no coupling
    bool edge_;
    Scalar operands_;
    Engine engine_;
    NarrowInputConv first_;
    NarrowOutputConv last_;
    NetworkParameters parameters_;
    FoldedLayout layout_;
    std::optional<FoldedNetwork> precomputed_;
};

// Multiply-adds of a coupling network's forward per pixel of `shape`. Backward takes twice as many.
double network_multiplies(const ModelConfig& config, const Shape& shape);

// form: of the coupling; empty: a network without one. name: prefix of the parameters' names, such as
// "level0/step3/coupling".
std::unique_ptr<CouplingNetwork> make_network(const NetworkShape& shape, std::optional<CouplingForm> form,
                                              Precision precision, Engine engine, const std::string& name,
                                              Parameters& parameters);

}  // namespace glow::inline GLOW_REAL
