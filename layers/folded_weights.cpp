#include "layers/folded_weights.h"

#include <type_traits>

#include "kernels/elementwise.h"
#include "kernels/taps.h"

namespace glow::inline GLOW_REAL {
namespace {

// Arrays start at aligned lines, as matrix products require.
constexpr index_t kLine = static_cast<index_t>(kAlignment / sizeof(real));

index_t bias_step(const FoldedLayout& layout) {
    return round_up(layout.w, layout.bf16 ? 2 * kLine : kLine);
}

template <class Map>
FoldedNetwork take(Arena& arena, const FoldedLayout& layout, index_t networks) {
    return {arena.take<Map>(networks * layout.w * layout.stride1),
            arena.take<Map>(networks * layout.w * layout.w),
            arena.take<real>(networks * bias_step(layout)),
            std::is_same_v<Map, real> ? nullptr : arena.take<Map>(networks * bias_step(layout)),
            arena.take<Map>(networks * layout.rows3 * layout.w),
            arena.take<double>(networks * layout.outputs)};
}

template <class Map>
FoldedNetwork one_of(const FoldedLayout& layout, const FoldedNetwork& all, index_t network) {
    return {static_cast<Map*>(all.conv1) + network * layout.w * layout.stride1,
            static_cast<Map*>(all.conv2) + network * layout.w * layout.w,
            all.bias2 + network * bias_step(layout),
            all.bias2_rounded != nullptr ? static_cast<Map*>(all.bias2_rounded) + network * bias_step(layout)
                                         : nullptr,
            static_cast<Map*>(all.conv3) + network * layout.rows3 * layout.w,
            all.scale3 + network * layout.outputs};
}

template <class Map>
void fold_as(const Context& context, std::span<const FoldedLevel> levels) {
    std::vector<NetworkFolding<Map>> foldings;
    for (const FoldedLevel& level : levels) {
        const FoldedLayout& layout = level.layout;
        const NetworkParameters& p = *level.first;
        foldings.push_back({.networks = level.networks,
                            .step = level.step,
                            .w = layout.w,
                            .K = layout.K1,
                            .stride = layout.stride1,
                            .C = layout.outputs,
                            .rows3 = layout.rows3,
                            .edge = layout.edge,
                            .order = layout.order,
                            .W1 = p.weight1.value(),
                            .bias1 = p.bias1.value(),
                            .logs1 = p.logs1.value(),
                            .W2 = p.weight2.value(),
                            .bias2 = p.bias2.value(),
                            .logs2 = p.logs2.value(),
                            .W3 = p.weight3.value(),
                            .logs3 = p.logs3.value(),
                            .conv1 = static_cast<Map*>(level.all.conv1),
                            .conv2 = static_cast<Map*>(level.all.conv2),
                            .conv3 = static_cast<Map*>(level.all.conv3),
                            .bias2_folded = level.all.bias2,
                            .bias_step = bias_step(layout),
                            .scale3 = level.all.scale3,
                            .bias2_rounded = static_cast<Map*>(level.all.bias2_rounded)});
    }
    fold_networks<Map>(context.exec, foldings);
}

// Calls f(Map{}) with the type of the folded weights.
template <class F>
auto with_map(const FoldedLayout& layout, F f) {
    if constexpr (std::is_same_v<real, float>)
        if (layout.bf16) return f(bfloat16{});
    return f(real{});
}

}  // namespace

FoldedNetwork take_folded(Arena& arena, const FoldedLayout& layout, index_t networks) {
    return with_map(layout, [&]<class Map>(Map) { return take<Map>(arena, layout, networks); });
}

FoldedNetwork folded_network(const FoldedLayout& layout, const FoldedNetwork& all, index_t network) {
    return with_map(layout, [&]<class Map>(Map) { return one_of<Map>(layout, all, network); });
}

void fold(const Context& context, std::span<const FoldedLevel> levels) {
    with_map(levels.front().layout, [&]<class Map>(Map) { fold_as<Map>(context, levels); });
}

FoldedGradient take_folded_gradient(const Context& context, const FoldedLayout& layout, index_t N,
                                    bool by_image) {
    Arena& arena = context.workspace;
    FoldedGradient gradient{arena.take<real>(layout.w * layout.stride1),
                            arena.take<real>(layout.w * layout.w),
                            arena.take<real>(layout.w),
                            arena.take<real>(layout.rows3 * layout.w),
                            nullptr,
                            N};
    if (by_image) gradient.output_sums = arena.take<double>(output_sums(layout.edge) * layout.outputs * N);
    return gradient;
}

NetworkUnfolding unfolding(const NetworkParameters& p, const FoldedLayout& layout,
                           const FoldedGradient& folded, bool with_conv3,
                           const ParameterGradients& gradients) {
    const ActnormUnfolding conv1{.out = layout.w,
                                 .K = layout.K1,
                                 .stride = layout.stride1,
                                 .W = p.weight1.value(),
                                 .bias = p.bias1.value(),
                                 .logs = p.logs1.value(),
                                 .dfolded = folded.conv1,
                                 .dfolded_bias = nullptr,
                                 .dW = p.weight1.gradient(gradients),
                                 .dbias = p.bias1.gradient(gradients),
                                 .dlogs = p.logs1.gradient(gradients)};
    const ActnormUnfolding conv2{.out = layout.w,
                                 .K = layout.w,
                                 .stride = layout.w,
                                 .W = p.weight2.value(),
                                 .bias = p.bias2.value(),
                                 .logs = p.logs2.value(),
                                 .dfolded = folded.conv2,
                                 .dfolded_bias = folded.bias2,
                                 .dW = p.weight2.gradient(gradients),
                                 .dbias = p.bias2.gradient(gradients),
                                 .dlogs = p.logs2.gradient(gradients)};
    const OutputUnfolding conv3{.C = layout.outputs,
                                .w = layout.w,
                                .edge = layout.edge,
                                .order = layout.order,
                                .dpacked = with_conv3 ? folded.conv3 : nullptr,
                                .sums = folded.output_sums,
                                .N = folded.N,
                                .dW = p.weight3.gradient(gradients),
                                .dbias = p.bias3.gradient(gradients),
                                .dlogs = p.logs3.gradient(gradients)};
    return {conv1, conv2, conv3};
}

void FoldedWeights::allocate(Arena& derived, std::vector<FoldedLevel> levels) {
    levels_ = std::move(levels);
    for (FoldedLevel& level : levels_) level.all = take_folded(derived, level.layout, level.networks);
}

}  // namespace glow::inline GLOW_REAL
