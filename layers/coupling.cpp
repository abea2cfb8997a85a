// Affine: b <- (b + shift) scale; additive: b <- b + NN(a). Backward mirrors forward.
#include "layers/coupling.h"

#include <algorithm>

#include "kernels/coupling.h"
#include "kernels/density_map.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "runtime/trace.h"

namespace glow::inline GLOW_REAL {

index_t images_per_tile(index_t tile, index_t pixels, index_t width, index_t N, const Blocking& blocking) {
    const index_t rule = std::max<index_t>(1, blocking.tile_elements / (pixels * width));
    return std::min(N, tile > 0 ? tile : rule);
}

Coupling::Coupling(const CouplingOptions& options, const Shape& shape, Precision precision, Engine engine,
                   index_t tile, const std::string& name, Parameters& parameters)
    : shape_(shape),
      options_(options),
      tile_(tile),
      network_(make_network(network_shape(shape, options), options.form, precision, engine,
                            name + "/coupling", parameters)) {}

StatePixels Coupling::input(const Context& context, const Flow& flow, index_t n, index_t images) const {
    const state_t* const h = flow.h + n * shape_.size();
    const index_t E = options_.condition;
    if (E == 0) return {h, shape_.C};
    const index_t rows = images * shape_.pixels(), stride = network_->inputs();
    state_t* const joined = context.workspace.take<state_t>(rows * stride);
    join_condition(context.exec, rows, shape_.C, E, h, flow.condition + n * shape_.pixels() * E, joined);
    return {joined, stride};
}

template <class F>
void Coupling::for_each_tile(const Blocking& blocking, bool skip, index_t N, F f) const {
    const index_t images = images_per_tile(tile_, shape_.pixels(), options_.width, N, blocking);
    for (index_t n = 0; n < N; n = next_block(skip, n, images, N)) f(n, std::min(images, N - n));
}

Coupling::SavedMaps Coupling::take_maps(const Blocking& blocking, Arena& arena, index_t N) const {
    SavedMaps saved;
    for_each_tile(blocking, false, N,
                  [&](index_t, index_t images) { saved.push_back(network_->take_maps(arena, images)); });
    return saved;
}

void Coupling::initialize(const Context& context, Flow& flow) {
    {
        const Arena::Scope scope(context.workspace);
        network_->initialize(
            context, flow.N,
            images_per_tile(tile_, shape_.pixels(), options_.width, flow.N, context.blocking),
            input(context, flow, 0, flow.N));
    }
    forward(context, flow);
}

void Coupling::forward(const Context& context, Flow& flow, const SavedMaps* saved) {
    const Trace trace("coupling");
    Arena& arena = context.workspace;
    const Arena::Scope scope(arena);
    const FoldedNetwork folded = network_->folded(context);
    std::size_t tile = 0;
    for_each_tile(context.blocking, context.skips_blocks(), flow.N, [&](index_t n, index_t images) {
        const Arena::Scope tile_scope(arena);
        network_->couple(context, folded, images, input(context, flow, n, images), flow.h + n * shape_.size(),
                         flow.logdet + n, saved != nullptr ? &(*saved)[tile++] : nullptr);
    });
}

template <class F>
void Coupling::for_each_output(const Context& context, const Flow& flow, F f) const {
    Arena& arena = context.workspace;
    const Arena::Scope scope(arena);
    const FoldedNetwork folded = network_->folded(context);
    for_each_tile(context.blocking, context.skips_blocks(), flow.N, [&](index_t n, index_t images) {
        const Arena::Scope tile_scope(arena);
        real* const out = arena.take<real>(images * shape_.pixels() * network_->outputs());
        network_->forward(context, folded, images, input(context, flow, n, images), out);
        f(n, images, out);
    });
}

void Coupling::inverse(const Context& context, Flow& flow) {
    const Trace trace("coupling inverse");
    for_each_output(context, flow, [&](index_t n, index_t images, const real* out) {
        const index_t rows = images * shape_.pixels(), C = shape_.C;
        state_t* const h = flow.h + n * shape_.size();
        if (options_.form.affine())
            affine_coupling_inverse(context.exec, rows, C, {options_.form.scale, out}, h);
        else
            additive_coupling_inverse(context.exec, rows, C, out, h);
    });
}

void Coupling::forward_by_pixel(const Context& context, Flow& flow, double* log_density) const {
    const Trace trace("coupling");
    for_each_output(context, flow, [&](index_t n, index_t images, const real* out) {
        const index_t rows = images * shape_.pixels(), C = shape_.C;
        state_t* const h = flow.h + n * shape_.size();
        if (options_.form.affine())
            affine_coupling_forward_by_pixel(context.exec, rows, C, {options_.form.scale, out}, h,
                                             log_density + n * shape_.pixels());
        else
            additive_coupling_forward(context.exec, rows, C, out, h);
    });
}

void Coupling::predict(const Context& context, index_t N, const state_t* h, real* out) const {
    const Arena::Scope scope(context.workspace);
    const FoldedNetwork folded = network_->folded(context);
    for_each_tile(context.blocking, context.skips_blocks(), N, [&](index_t n, index_t images) {
        network_->forward(context, folded, images, {h + n * shape_.size(), shape_.C},
                          out + n * shape_.pixels() * network_->outputs());
    });
}

void Coupling::backward(const Context& context, Flow& flow, Gradient& gradient, const SavedMaps* saved) {
    const Arena::Scope scope(context.workspace);
    unfold_network(context.exec,
                   start_backward(context, flow, gradient, saved, take_gradient(context, flow.N)));
}

NetworkUnfolding Coupling::start_backward(const Context& context, Flow& flow, Gradient& gradient,
                                          const SavedMaps* saved, const FoldedGradient& scratch) {
    const Trace trace("coupling backward");
    Arena& arena = context.workspace;
    const Arena::Scope scope(arena);
    const FoldedNetwork folded = network_->folded(context);
    std::size_t tile = 0;
    for_each_tile(context.blocking, context.skips_blocks(), flow.N, [&](index_t n, index_t images) {
        const Arena::Scope tile_scope(arena);
        const index_t rows = images * shape_.pixels(), C = shape_.C, E = options_.condition;
        const StatePixels read = input(context, flow, n, images);
        real* const dh = gradient.dh + n * shape_.size();
        real* const dinput = E == 0 ? dh : arena.take<real>(rows * read.stride);
        if (E > 0) fill(context.exec, rows * read.stride, real{0}, dinput);
        network_->backward(context, folded,
                           {.first = n,
                            .N = images,
                            .input = read,
                            .dinput = dinput,
                            .h = flow.h + n * shape_.size(),
                            .dh = dh,
                            .dlogdet = gradient.dlogp,
                            .saved = saved != nullptr ? &(*saved)[tile++] : nullptr},
                           scratch, gradient.parameters);
        if (E > 0)
            join_condition_backward(context.exec, rows, C, E, dinput, dh,
                                    gradient.dcondition + n * shape_.pixels() * E);
    });
    return network_->unfolding(scratch, gradient.parameters);
}

}  // namespace glow::inline GLOW_REAL
