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

}  // namespace

StepResult Trainer::step(const Batch& batch, const OptimizerStep& step, const Limits& limits) {
    derived_.update(context_, weights_.params);  // W^-1, folded weights; concurrent on a GPU
    // Check before backward if fused updates would apply a bad W's gradient, or if W^-1 is known already: on
    // a GPU it is computed concurrently with forward, and checked after it.
    if (context_.exec.device != Device::cuda || update_->during_backward()) check_mixings(limits.condition);

    StepResult result;
    StepSums sums;
    // Sum over processes; one of them may have no images.
    const double N = context_.total(static_cast<double>(batch.N));
    for (const MemoryPolicy& policy : policies_to_try()) {
        result.redone = policy != policy_;
        result.policy = policy;
        if (policy != initial_policy_) memory_[Category::stored].enlarge();
        sums = gradient_pass_.run(batch, N, policy, step, *update_);
        result.max_condition = check_mixings(limits.condition);
        // Forward does not reconstruct, so a non-finite density cannot come from drift.
        if (sums.drift <= drift_tolerance_ || !std::isfinite(sums.log_density)) break;
    }
    summarize(sums, N, result);
    if (context_.counting()) {
        update_->apply(step);
        return result;
    }

    if (update_->during_backward()) derived_.invalidate();  // weights may already be partly updated
    check_step(batch, result, limits);                      // throws; weights unchanged unless fused
    update_->apply(clipped(step, options_.clip_norm, result.grad_norm));
    if (weights_.has_moments()) derived_.invalidate();  // unchanged with TrainerMode::gradients_only
    return result;
}

std::vector<MemoryPolicy> Trainer::policies_to_try() const {
    return update_->during_backward() ? std::vector<MemoryPolicy>{policy_} : fallback_policies(policy_);
}

void Trainer::summarize(const StepSums& sums, double N, StepResult& result) const {
    result.drift = sums.drift;
    result.bits_per_dim = glow_.config().bits_per_dim(sums.log_density / N);
    result.bits_y = sums.bits_y / N;
    result.error_y = sums.error_y / N;
    result.loss = result.bits_per_dim + glow_.config().weight_y * result.bits_y;
    result.grad_norm = std::sqrt(sums.squares);
}

double Trainer::check_mixings(double largest_condition) {
    const Glow::MixingCheck& found = derived_.check(context_);
    const bool bad = !found.bad_layer.empty();
    if (!bad && found.max_condition <= largest_condition) return found.max_condition;
    FailureContext failed = failure_context();
    failed.weights.params = glow_.parameters().values();
    throw diagnose_mixing(failed, bad ? found.bad_layer : found.worst_layer,
                          bad ? std::numeric_limits<double>::infinity() : found.max_condition,
                          largest_condition);
}

void Trainer::check_step(const Batch& batch, const StepResult& result, const Limits& limits) {
    const bool fused = update_->during_backward();
    if (!std::isfinite(result.loss)) throw diagnose_loss(failure_context(batch), result.loss, limits.loss);
    if (result.loss > limits.loss) {
        derived_.update(context_, weights_.params);
        check_mixings(std::numeric_limits<double>::infinity());
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
