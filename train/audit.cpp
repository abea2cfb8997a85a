// Runs two backward passes in lockstep, one with the run's policy and one from exact states.
#include "train/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "inference/message_text.h"
#include "kernels/elementwise.h"
#include "runtime/device.h"
#include "train/gradient_comparison.h"

namespace glow {
namespace {

// NaN counts as infinite.
double largest_difference(const std::vector<state_t>& x, const std::vector<state_t>& y) {
    double largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double difference = std::abs(x[i] - y[i]);
        largest = std::max(largest, std::isnan(difference) ? HUGE_VAL : difference);
    }
    return largest;
}

}  // namespace

const Audit::Layer& Audit::worst() const {
    return *std::max_element(layers.begin(), layers.end(),
                             [](const Layer& a, const Layer& b) { return a.state_error < b.state_error; });
}

std::string describe(const Audit& audit) {
    return fmt::format(
        "audit of {} against exact states: gradient cosine {:.9f}, relative L2 {:.1e}; states off by "
        "at most {:.1e} ({}){}",
        counted(audit.images, "image"), audit.cosine, audit.relative_l2, audit.worst().state_error,
        audit.worst().name,
        audit.holds()
            ? ""
            : fmt::format(
                  ": FAILED, the cosine is below {}; save more states (--anchor-every, --rounding-bits, "
                  "--memory checkpoint)",
                  Audit::kMinCosine));
}

std::vector<std::string> rows(const Audit& audit, index_t step) {
    std::vector<std::string> rows;
    const auto add = [&](const std::string& name, double error, double cosine, double relative_l2) {
        rows.push_back(fmt::format("{},{},{:.3e},{:.12g},{:.3e}", step, name, error, cosine, relative_l2));
    };
    for (const Audit::Layer& layer : audit.layers)
        add(layer.name, layer.state_error, layer.cosine, layer.relative_l2);
    add("all", audit.worst().state_error, audit.cosine, audit.relative_l2);
    return rows;
}

Auditor::Auditor(const Context& context, Glow& glow, index_t images, Memory& memory)
    : context_(context), glow_(glow), stored_(memory[Category::stored]) {
    const index_t D = glow.config().dimensions();
    Arena& state = memory[Category::state];
    h_ = state.take<state_t>(images * D);
    dh_ = state.take<real>(images * D);
    for (double** const values : {&logdet_, &prior_, &bits_y_, &error_y_})
        *values = state.take<double>(images);
    const index_t largest = largest_count(glow.blocks());
    gradient_ = memory[Category::gradients].take<float>(largest);
    exact_gradient_ = memory[Category::gradients].take<float>(largest);
}

Audit Auditor::operator()(Flow& flow, real* dh, const MemoryPolicy& policy) {
    const Exec& exec = context_.exec;
    const ModelConfig& model = glow_.config();
    const index_t D = model.dimensions();
    Flow exact{flow.N, h_, logdet_, prior_, flow.labels, bits_y_, error_y_};
    copy(exec, flow.N * D, flow.h, exact.h);
    MemoryPolicy all;
    all.anchor_every = 1;
    SavedActivations saved(stored_, policy);
    glow_.forward(context_, flow, &saved);
    SavedActivations exact_saved(stored_, all);
    glow_.forward(context_, exact, &exact_saved);

    const auto N = static_cast<double>(flow.N);
    Gradient gradient = mean_loss_gradient(model, N, dh), exact_gradient = mean_loss_gradient(model, N, dh_);
    const auto backward = [&](const ParameterBlock& block, Flow& state, Gradient& state_gradient,
                              const SavedActivations& saved, float* to) {
        fill(exec, block.count, 0.0f, to);
        state_gradient.parameters = {to, block.offset};
        glow_.backward(context_, state, state_gradient, saved, block);
        return downloaded(exec, block.count, to);
    };
    Audit audit;
    audit.images = flow.N;
    GradientComparison whole;
    for (const ParameterBlock& block : glow_.flow_blocks()) {
        GradientComparison part;
        const std::vector<float> g = backward(block, flow, gradient, saved, gradient_);
        part.add(g, backward(block, exact, exact_gradient, exact_saved, exact_gradient_));
        const index_t size = flow.N * glow_.levels()[std::min(block.level, model.levels - 1)].shape.size();
        audit.layers.push_back(
            {block.name(model.levels),
             largest_difference(downloaded(exec, size, flow.h), downloaded(exec, size, exact.h)),
             part.cosine(), part.relative_l2()});
        whole.add(part);
    }
    audit.cosine = whole.cosine();
    audit.relative_l2 = whole.relative_l2();
    return audit;
}

}  // namespace glow
