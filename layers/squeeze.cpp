#include "layers/squeeze.h"

#include "kernels/squeeze_split.h"

namespace glow::inline GLOW_REAL {

void Squeeze::forward(const Context& context, Flow& flow) {
    const Arena::Scope scope(context.workspace);
    squeeze(context.exec, flow.N, shape_.H, shape_.W, shape_.C, flow.h,
            context.workspace.take<state_t>(flow.N * shape_.size()));
}

void Squeeze::inverse(const Context& context, Flow& flow) {
    const Arena::Scope scope(context.workspace);
    unsqueeze(context.exec, flow.N, shape_.H, shape_.W, shape_.C, flow.h,
              context.workspace.take<state_t>(flow.N * shape_.size()));
}

void Squeeze::backward(const Context& context, Flow& flow, Gradient& gradient) {
    inverse(context, flow);
    const Arena::Scope scope(context.workspace);
    unsqueeze(context.exec, flow.N, shape_.H, shape_.W, shape_.C, gradient.dh,
              context.workspace.take<real>(flow.N * shape_.size()));
}

}  // namespace glow::inline GLOW_REAL
