// One step of training. With policy reconstruct, its memory does not grow with depth. train/gradient_pass.cpp
// and train/update.cpp are its two halves.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "train/trainer.h"

namespace glow {
namespace {

OptimizerStep clipped(OptimizerStep step, double clip_norm, double grad_norm) {
    if (clip_norm > 0) step.gradient_scale = std::min(1.0, clip_norm / grad_norm);
    return step;
}

// Of a W; infinite if it is singular.
bool is_usable(double condition, const Limits& limits) {
    return std::isfinite(condition) && condition <= limits.condition;
}

}  // namespace

StepResult Trainer::step(const Batch& batch, const OptimizerStep& step, const Limits& limits) {
    derived_.update(context_, weights_.params);  // W^-1, folded weights; concurrent on a GPU
    const double N = begin_step(batch, limits);
    StepResult result;
    for (const MemoryPolicy& policy : policies_to_try()) {
        if (policy != initial_policy_) memory_[Category::stored].enlarge();
        result = summarize(gradient_pass_.run(batch, N, policy, step, *update_), N, policy);
        if (!is_usable(result.max_condition, limits)) fail_mixings(limits.condition);
        // Forward does not reconstruct, so a non-finite density cannot come from drift.
        if (result.drift <= drift_tolerance_ || !std::isfinite(result.bits_per_dim)) break;
    }
    if (update_->during_backward()) derived_.invalidate();  // weights may already be partly updated
    check_step(batch, result, limits);                      // throws; weights unchanged unless fused
    update_->apply(clipped(step, options_.clip_norm, result.grad_norm));
    if (weights_.has_moments()) derived_.invalidate();  // unchanged with TrainerMode::gradients_only
    return result;
}

double Trainer::begin_step(const Batch& batch, const Limits& limits) {
    // Check before backward if fused updates would apply a bad W's gradient, or if W^-1 is known already: on
    // a GPU it is computed concurrently with forward, and checked after it.
    const bool check_first = context_.exec.device != Device::cuda || update_->during_backward();
    const bool unusable = check_first && !is_usable(derived_.check(context_).usable_condition(), limits);
    // Sums over processes; one of them may have no images, or an unusable W in faulty memory.
    double totals[] = {static_cast<double>(batch.N), unusable ? 1.0 : 0.0};
    if (!context_.counting()) context_.communicator.all_reduce_sum(std::ssize(totals), totals);
    if (totals[1] > 0) fail_mixings(limits.condition);
    return totals[0];
}

std::vector<MemoryPolicy> Trainer::policies_to_try() const {
    return update_->during_backward() ? std::vector<MemoryPolicy>{policy_} : fallback_policies(policy_);
}

StepResult Trainer::summarize(const GradientPass::Result& pass, double N, const MemoryPolicy& policy) const {
    StepResult result;
    result.policy = policy;
    result.redone = policy != policy_;
    result.max_condition = pass.max_condition;
    result.drift = pass.sums.drift;
    result.bits_per_dim = glow_.config().bits_per_dim(pass.sums.log_density / N);
    result.bits_y = pass.sums.bits_y / N;
    result.error_y = pass.sums.error_y / N;
    result.loss = result.bits_per_dim + glow_.config().weight_y * result.bits_y;
    result.grad_norm = std::sqrt(pass.sums.squares);
    return result;
}

StepFailure Trainer::mixing_failure(double condition, double largest_condition) {
    const Glow::MixingCheck& found = derived_.check(context_);
    FailureContext failed = failure_context();
    failed.weights.params = glow_.parameters().values();
    return diagnose_mixing(failed, found.bad_layer.empty() ? found.worst_layer : found.bad_layer, condition,
                           largest_condition);
}

void Trainer::fail_mixings(double largest_condition) {
    check_replicas_equal();
    // Equal weights may have slightly different condition numbers on different machines.
    const double mine = derived_.check(context_).usable_condition();
    throw mixing_failure(context_.communicator.all_reduce_max(mine), largest_condition);
}

void Trainer::check_step(const Batch& batch, const StepResult& result, const Limits& limits) {
    if (context_.counting()) return;
    const bool fused = update_->during_backward();
    const bool failed = !std::isfinite(result.loss) || result.loss > limits.loss ||
                        !std::isfinite(result.grad_norm) || !(result.drift <= drift_tolerance_);
    if (!failed) return;
    check_replicas_equal();  // the diagnosis is collective only if all processes have the same weights
    if (!std::isfinite(result.loss)) throw diagnose_loss(failure_context(batch), result.loss, limits.loss);
    if (result.loss > limits.loss) {
        derive(weights_.params);
        if (typical_loss(failure_context(batch)) > limits.loss)
            throw diagnose_loss(failure_context(batch), result.loss, limits.loss);
    }
    if (!std::isfinite(result.grad_norm))
        throw fused ? diagnose_fused_gradient(failure_context(batch), update_->bad_block())
                    : diagnose_gradient(failure_context(batch));
    if (result.drift <= drift_tolerance_) return;
    const std::vector<MemoryPolicy> safer = fallback_policies(policy_);
    if (!fused || safer.size() == 1)
        throw diagnose_drift(failure_context(batch), result.drift, drift_tolerance_);
    policy_ = safer[1];
    throw DriftError(
        fmt::format("reconstructed images differ by {:.1e} from the originals (--drift-tolerance {:.1e})",
                    result.drift, drift_tolerance_));
}

}  // namespace glow
