// The coupling network, conv 3x3 -> actnorm -> relu -> conv 1x1 -> actnorm -> relu -> conv 3x3 (initially
// zero), as three matrix products over pixels (layers/conv3x3.h). These products are 98% of the model's work.
//
// a and b are the first and second half of the state's channels: the network reads a, the coupling changes b.
#pragma once

#include <memory>
#include <string>

#include "layers/conv3x3.h"
#include "layers/folded_weights.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class CouplingNetwork {
  public:
    CouplingNetwork(const Shape& shape, CouplingForm form, index_t w, bool edge, Scalar operands,
                    Engine engine, const std::string& name, Parameters& all);
    virtual ~CouplingNetwork() = default;

    index_t outputs() const { return last_.columns.C; }
    const NetworkParameters& parameters() const { return parameters_; }
    const FoldedLayout& layout() const { return layout_; }

    // Folds the weights into scratch for one call of a layer.
    FoldedNetwork fold_into_scratch(const Context& context) const;
    // Allocates scratch for the gradients that backward() over N images fills and unfold() reads.
    virtual FoldedGradient take_gradient(const Context& context, index_t N) const = 0;
    // Parameter gradients += those of the folded weights.
    void unfold(const Context& context, const FoldedGradient& folded,
                const ParameterGradients& gradients) const {
        glow::unfold(context, parameters_, layout_, folded, engine_ != Engine::library, gradients);
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

    // out = NN(a). a: [N*H*W] pixels of `stride` state elements; reads the first half of the layer's
    // channels. Overwrites out [N*H*W, outputs].
    virtual void forward(const Context& context, const FoldedNetwork& folded, index_t N, const state_t* a,
                         index_t stride, real* out) const = 0;

    // Applies the coupling to N images h [N, H, W, C]: b <- coupling of b by NN(a); affine: logdet [N] += sum
    // of log scale (nats). saved: receives the maps for backward(), or nullptr.
    virtual void couple(const Context& context, const FoldedNetwork& folded, index_t N, state_t* h,
                        double* logdet, const Maps* saved) const = 0;
    // Images [first, first + N) of a batch, in backward.
    struct Tile {
        index_t first, N;
        state_t* h;         // [N, H, W, C] y -> x
        real* dh;           // [N, H, W, C] dL/dy -> dL/dx
        double dlogdet;     // dL/dlogdet of every image
        const Maps* saved;  // from couple(), overwritten; nullptr: recompute them, with the same bits
        bool accumulates() const { return first > 0; }
    };
    // Backward of couple(). The first tile overwrites the folded gradients and later tiles add to them.
    // Gradients that are not part of `gradient` are added to `gradients`.
    virtual void backward(const Context& context, const FoldedNetwork& folded, const Tile& tile,
                          const FoldedGradient& gradient, const ParameterGradients& gradients) const = 0;

    // Data-dependent initialization of the hidden actnorms, layer by layer, over N images in tiles of `tile`.
    virtual void initialize(const Context& context, index_t N, index_t tile, const state_t* a,
                            index_t stride) = 0;

  protected:
    index_t H_, W_, C_, w_;
    CouplingForm form_;
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

// shape: of the state; w: hidden width; name: of the coupling, such as "level0/step3/coupling".
std::unique_ptr<CouplingNetwork> make_coupling_network(const Shape& shape, CouplingForm form, index_t w,
                                                       bool edge, Precision precision, Engine engine,
                                                       const std::string& name, Parameters& parameters);

}  // namespace glow::inline GLOW_REAL
