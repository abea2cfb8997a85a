#include "layers/memory_policy.h"

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/saved_state.h"

namespace glow::inline GLOW_REAL {

SavedActivations::Step& SavedActivations::add(const Context& context, const Shape& shape, index_t l,
                                              index_t k, Precision precision, const Flow& flow) {
    Step& step = steps_.emplace_back();
    const index_t rows = flow.N * shape.pixels(), size = rows * shape.C;
    // If every state is saved, save the images too: the first step's gradients need exact values, but the
    // drift check needs reconstructed ones.
    const bool start = k == 0, images = start && l == 0;
    const bool anchor = policy_.anchor_every > 0 && k % policy_.anchor_every == 0;
    if (anchor && policy_.float_states && !start) {
        step.rounded = arena_.take<float>(size);
        save_float(context.exec, size, flow.h, step.rounded);
    } else if (images ? policy_.anchor_every == 1 : start || anchor) {
        step.state = arena_.take<state_t>(size);
        copy(context.exec, size, flow.h, step.state);
    } else if (policy_.rounding_bits) {
        if (sizeof(real) != sizeof(float))
            throw InputError("rounding bits require networks in float or bf16");
        step.roundings = arena_.take<std::uint64_t>(rounding_words(rows, shape.C));
        if (precision == Precision::bf16)
            save_roundings<bfloat16>(context.exec, rows, shape.C, flow.h, step.roundings);
        else
            save_roundings<float>(context.exec, rows, shape.C, flow.h, step.roundings);
    }
    return step;
}

const state_t* SavedActivations::restore(const Context& context, const Shape& shape, const Step& step,
                                         bool first, Precision precision, const Flow& flow) {
    const index_t rows = flow.N * shape.pixels(), size = rows * shape.C;
    if (step.state != nullptr && first) return step.state;
    if (step.state != nullptr) copy(context.exec, size, step.state, flow.h);
    if (step.rounded != nullptr) restore_float(context.exec, size, step.rounded, flow.h);
    if (step.roundings != nullptr && precision == Precision::bf16)
        restore_roundings<bfloat16>(context.exec, rows, shape.C, step.roundings, flow.h);
    else if (step.roundings != nullptr)
        restore_roundings<float>(context.exec, rows, shape.C, step.roundings, flow.h);
    return flow.h;
}

}  // namespace glow::inline GLOW_REAL
