// Coupling-network weights in the form that matrix products read: actnorms folded into convolutions, rounded
// to the networks' precision. A layer folds them into scratch for one call; on a GPU, FoldedWeights folds all
// networks in one kernel after every change of the parameters.
#pragma once

#include <span>
#include <vector>

#include "kernels/actnorm_fold.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

// The parameters of one network (docs/formats.md).
struct NetworkParameters {
    Parameter weight1, bias1, logs1, weight2, bias2, logs2, weight3, bias3, logs3;
};

// Sizes of a network's folded weights.
struct FoldedLayout {
    index_t w;               // hidden channels
    index_t K1, stride1;     // columns of the first convolution: weights, and total
    index_t outputs, rows3;  // of the last convolution, and rows of its matrix
    bool edge;
    TapOrder order;  // order of the rows of conv3
    bool bf16;       // conv1, conv2, conv3 are bfloat16, otherwise real
};

// Folded weights of one network.
struct FoldedNetwork {
    void* conv1;          // [w, stride1]; column K1 is the bias
    void* conv2;          // [w, w]
    real* bias2;          // [w]
    void* bias2_rounded;  // [w] of the products' type; nullptr if that is real
    void* conv3;          // [rows3, w]; row tap * outputs + o, or o * 9 + tap
    double* scale3;       // [outputs] exp(3 logs) of the last convolution
};

// Gradients of the folded weights, in scratch for one call of a layer.
struct FoldedGradient {
    real* conv1;  // [w, stride1]
    real* conv2;  // [w, w]
    real* bias2;  // [w]
    real* conv3;  // [rows3, w]; unused if a library computes the last convolution
    // Sums for the gradients of the last convolution's bias, logs and edge weights, if a kernel processes an
    // image per block (kernels/coupling_by_image.h): [output_sums(edge) * outputs, N]. nullptr: these
    // gradients are added to the parameters' directly.
    double* output_sums;
    index_t N;  // images
};

// Allocates arrays for `networks` networks of equal layout; folded_network() selects one.
FoldedNetwork take_folded(Arena& arena, const FoldedLayout& layout, index_t networks);
FoldedNetwork folded_network(const FoldedLayout& layout, const FoldedNetwork& all, index_t network);

// The networks of one level: equal layout, parameters `step` elements apart.
struct FoldedLevel {
    const NetworkParameters* first;
    FoldedLayout layout;
    index_t networks, step;
    FoldedNetwork all;
};
// Folds the networks of all levels, which share a precision, in one kernel.
void fold(const Context& context, std::span<const FoldedLevel> levels);

// Scratch for the gradient over N images; undefined, because the first tile overwrites it. by_image: with
// output_sums.
FoldedGradient take_folded_gradient(const Context& context, const FoldedLayout& layout, index_t N,
                                    bool by_image);
// For unfold_network(): parameter gradients += those of the folded weights. with_conv3: those of conv3 too.
NetworkUnfolding unfolding(const NetworkParameters& parameters, const FoldedLayout& layout,
                           const FoldedGradient& folded, bool with_conv3,
                           const ParameterGradients& gradients);

// Folded weights of all networks of a model, kept between calls.
class FoldedWeights {
  public:
    // Allocates memory. levels: layout and parameters of each level's networks (all.* unset).
    void allocate(Arena& derived, std::vector<FoldedLevel> levels);
    bool allocated() const { return !levels_.empty(); }
    // Call after every change of the parameters.
    void update(const Context& context) const { fold(context, levels_); }
    FoldedNetwork of(index_t level, index_t step) const {
        const FoldedLevel& found = levels_[static_cast<std::size_t>(level)];
        return folded_network(found.layout, found.all, step);
    }

  private:
    std::vector<FoldedLevel> levels_;
};

}  // namespace glow::inline GLOW_REAL
