#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "inference/host_weights.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/flat_sums.h"
#include "layers/precision.h"
#include "runtime/device.h"
#include "train/tune.h"

namespace glow {
namespace {

MemoryPolicy policy_of(const TrainingOptions& options, const Glow& glow, index_t images) {
    MemoryPolicy policy;
    if (options.memory == MemoryMode::automatic)
        policy = glow.policy_within(images, static_cast<std::size_t>(options.act_budget));
    const bool every = options.memory == MemoryMode::store || options.memory == MemoryMode::checkpoint;
    policy.anchor_every = every ? 1 : options.anchor_every;
    policy.maps = options.memory == MemoryMode::store;
    policy.float_states = options.float_states;
    policy.rounding_bits = options.rounding_bits;
    policy.noisy_pixels = options.rounding_bits && options.dequant != Dequantization::variational;
    return policy;
}

double drift_tolerance_of(const TrainingOptions& options) {
    if (options.drift_tolerance > 0) return options.drift_tolerance;
    return drift_tolerance(options.precision);
}

Weights take_weights(const TrainingOptions& options, const Parameters& parameters, Memory& memory,
                     bool gradients_only) {
    const index_t size = parameters.size();
    Weights weights;
    weights.params = memory[Category::parameters].take<float>(size);
    weights.fixed = memory[Category::parameters].take<float>(parameters.fixed_size());
    if (gradients_only) return weights;
    weights.ema = memory[Category::ema].take<float>(size);
    Arena& moments = memory[Category::moments];
    if (options.moments == MomentPrecision::bf16) {
        weights.m_bf16 = moments.take<bfloat16>(size);
        weights.v_bf16 = moments.take<bfloat16>(size);
    } else {
        weights.m = moments.take<float>(size);
        weights.v = moments.take<float>(size);
    }
    return weights;
}

}  // namespace

Trainer::Trainer(const TrainingOptions& options, const Backend& backend, Memory& memory, TrainerMode mode)
    : options_(options),
      memory_(memory),
      context_(mode.counting ? backend.counting_context(memory[Category::workspace])
                             : backend.context(memory[Category::workspace])),
      glow_(options.model,
            {options.precision, options.tile, parse_engines(options.engines, options.model.levels),
             backend.exec().tuned_for_gpu()}),
      derived_(glow_),
      weights_(take_weights(options, glow_.parameters(), memory, mode.gradients_only)),
      gradient_pass_(options_, context_, backend.exec().device, glow_, derived_, memory,
                     images_per_pass(options, backend.communicator().size()),
                     slice_of(options.init_batch, 0, backend.communicator().size()).count),
      drift_tolerance_(drift_tolerance_of(options)) {
    check_precision(backend, options.precision);
    policy_ = initial_policy_ = policy_of(options, glow_, gradient_pass_.micro_batch());
    glow_.allocate(memory[Category::derived]);
    if (options.fused_update && !mode.gradients_only)
        update_ = std::make_unique<FusedUpdate>(context_, backend.exec(), glow_, weights_, memory);
    else
        update_ = std::make_unique<WholeModelUpdate>(context_, backend.exec(), glow_.parameters().size(),
                                                     weights_, memory, gradient_pass_.partial());
    glow_.parameters().bind(weights_.params);
    glow_.parameters().bind_fixed(weights_.fixed);
    const bool alone = backend.communicator().size() == 1;
    checksums_ =
        memory[Category::communication].take<double>(alone ? 0 : std::ssize(glow_.parameters().tensors()));
    if (options.audit_every > 0)
        auditor_.emplace(context_, glow_, std::min(gradient_pass_.micro_batch(), Audit::kImages), memory);
}

void Trainer::initialize(const Batch& init_images) {
    Parameters& parameters = glow_.parameters();
    if (!context_.counting()) {
        const HostWeights host(context_.exec, parameters,
                               {.params = weights_.params, .fixed = weights_.fixed});
        parameters.bind(host.get().params);
        parameters.bind_fixed(host.get().fixed);
        parameters.initialize(options_.seed, context_.solver);
        host.send();
    }
    parameters.bind(weights_.params);
    parameters.bind_fixed(weights_.fixed);
    Flow flow = gradient_pass_.initialize(init_images);
    glow_.initialize(context_, flow);
    reset_optimizer();
    broadcast_weights();  // changes nothing unless the processes' CPUs round differently
}

void Trainer::reset_optimizer() {
    derived_.invalidate();
    if (!weights_.has_moments()) return;
    const index_t size = glow_.parameters().size();
    copy(context_.exec, size, weights_.params, weights_.ema);
    with_moments(weights_, [&](auto* m, auto* v) {
        using Moment = std::remove_pointer_t<decltype(m)>;
        for (Moment* const moment : {m, v}) fill(context_.exec, size, Moment{}, moment);
    });
}

void Trainer::broadcast_weights() {
    derived_.invalidate();
    if (context_.counting() || context_.communicator.size() == 1) return;
    HostWeights host(context_.exec, glow_.parameters(), weights_);
    host.fetch();
    const auto broadcast = [&](index_t count, auto* values) {
        if (values != nullptr)
            context_.communicator.broadcast(static_cast<std::size_t>(count) * sizeof(*values), values);
    };
    const Weights& w = host.get();
    for (float* const values : {w.params, w.ema, w.m, w.v}) broadcast(glow_.parameters().size(), values);
    for (bfloat16* const values : {w.m_bf16, w.v_bf16}) broadcast(glow_.parameters().size(), values);
    broadcast(glow_.parameters().fixed_size(), w.fixed);
    host.send();
}

void Trainer::check_replicas_equal() {
    Communicator& processes = context_.communicator;
    if (processes.size() == 1) return;
    const std::vector<Tensor>& tensors = glow_.parameters().tensors();
    const auto count = std::ssize(tensors);
    for_each_tree([&](const char* tree, const auto* values) {
        for (index_t t = 0; t < count; ++t) {
            // Tensors are padded to whole float-sized words, in bf16 too.
            constexpr index_t kPerWord = sizeof(float) / sizeof(*values);
            checksum(context_.exec, (tensors[t].count + kPerWord - 1) / kPerWord,
                     reinterpret_cast<const float*>(values + tensors[t].offset), checksums_ + t,
                     gradient_pass_.partial());
        }
        const std::vector<double> mine = downloaded(context_.exec, count, checksums_);
        std::vector<double> first = mine;
        processes.broadcast(first.size() * sizeof(double), first.data());
        const index_t bad = std::mismatch(mine.begin(), mine.end(), first.begin()).first - mine.begin();
        // Find the first tensor that differs, and the lowest rank on which it does: the minimum over all
        // processes of tensor * size + rank.
        const double none = static_cast<double>(count) * processes.size();
        const double here = static_cast<double>(bad) * processes.size() + processes.rank();
        const double found = -processes.all_reduce_max(bad < count ? -here : -none);
        if (found == none) return;
        const auto tensor = static_cast<index_t>(found) / processes.size();
        const int rank = static_cast<int>(static_cast<index_t>(found) % processes.size());
        throw Error(
            fmt::format("/{}/{} of rank {} on {} differs from rank 0: the machine or the network may be "
                        "faulty; resume from the last checkpoint",
                        tree, tensors[tensor].name, rank, processes.group().hosts[rank]));
    });
}

void Trainer::derive(float* values) {
    derived_.update(context_, values);
    if (!derived_.check(context_).bad_layer.empty()) {
        constexpr double kInfinity = std::numeric_limits<double>::infinity();
        throw mixing_failure(kInfinity, kInfinity);
    }
}

FailureContext Trainer::failure_context(const Batch& batch) {
    const index_t D = glow_.config().dimensions();
    return {context_, glow_, weights_, update_->gradients(),
            [this, batch, D, first = index_t{0}](Flow& flow) mutable {
                if (first >= batch.N) return false;
                const index_t N = std::min(gradient_pass_.micro_batch(), batch.N - first);
                flow = gradient_pass_.load(batch.slice(first, N, D));
                first += N;
                return true;
            }};
}

template <class F>
void Trainer::for_each_tree(F f) const {
    f("params", weights_.params);
    if (!weights_.has_moments()) return;
    f("ema", weights_.ema);
    with_moments(weights_, [&](auto* m, auto* v) {
        f("optimizer/m", m);
        f("optimizer/v", v);
    });
}

Audit Trainer::audit(const Batch& batch) {
    derive(weights_.params);
    const index_t D = glow_.config().dimensions(),
                  N = std::min({batch.N, gradient_pass_.micro_batch(), Audit::kImages});
    Flow flow = gradient_pass_.load(batch.slice(0, N, D));
    return (*auditor_)(flow, gradient_pass_.dh(), policy_);
}

void Trainer::check_usable() {
    for_each_tree([&](const char* tree, const auto* values) {
        if (const Tensor* const bad = bad_tensor(context_, glow_.parameters(), values))
            throw diagnose_tree(failure_context(), tree, values, *bad);
    });
    derive(weights_.ema);
    derive(weights_.params);  // for the next step
}

}  // namespace glow
