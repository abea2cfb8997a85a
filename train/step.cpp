// One step of training in constant memory: read Trainer::step() and accumulate_gradient() first.
#include "train/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reduce.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/math.h"
#include "runtime/device.h"
#include "train/host_weights.h"
#include "train/tune.h"

namespace glow {

namespace {

// What to keep, first as asked for, then ever more, until drift is no more. Rescues keep no maps: their bytes
// are those of the policy checkpoint at most.
std::vector<Keep> rescues(const Keep& asked) {
    std::vector<Keep> all = {asked};
    Keep more;
    for (const index_t anchor_every : {16, 1}) {
        more.anchor_every = anchor_every;
        if (asked.anchor_every == 0 || asked.anchor_every > anchor_every || !asked.last_maps.empty())
            all.push_back(more);
    }
    if (asked.float_states && asked.anchor_every == 1) all.push_back(more);
    return all;
}

}  // namespace

// ---- The step ------------------------------------------------------------------------------------

StepResult Trainer::step(const Batch& batch, const OptimiserStep& update, const Limits& limits,
                         const std::function<Batch()>& next) {
    StepResult result;
    begin_prepare(weights_.params);
    // Where updates are fused, the first of them come before the step ends.
    if (context_.place.device != Device::cuda || fused_) prepared(limits.condition);

    // The gradient of the mean bits/dim, rebuilding every layer's input on the way back. Where the rebuilt
    // images drift from the true ones, once more with exact states in between (spec section 2).
    // The sum over the processes runs beside the last backward; a process may have no image.
    const double N = context_.total(static_cast<double>(batch.N));
    const bool beside = context_.place.device != Device::cuda || context_.communicator.recordable();
    Forward sums;
    const std::vector<Keep> attempts = fused_ ? std::vector<Keep>{keep_} : rescues(keep_);
    for (const Keep& keep : attempts) {
        result.redone = &keep != &attempts.front();
        result.keep = keep;
        if (!(keep == planned_keep_)) memory_[Category::stored].enlarge();
        if (fused_)
            fused_->start(update);
        else
            fill(context_.place, glow_.parameters().size(), 0.0f, gradients_);
        fill(context_.place, kStepSums, 0.0, &sums_->log_density);
        for (index_t first = 0; first < batch.N; first += micro_batch_) {
            const index_t count = std::min(micro_batch_, batch.N - first);
            accumulate_gradient(batch.part(first, count, glow_.config().dimensions()), N, keep,
                                beside && first + count == batch.N);
            stage(batch, first + count, result.redone ? nullptr : next);
        }
        finish_prepare();
        if (fused_) {
            if (batch.N == 0) fused_->take_part();
        } else {
            if (!beside || batch.N == 0) gradient_sum_->finish();
            sum_of_squares(context_.place, glow_.parameters().size(), gradients_, &sums_->squares, partial_);
        }
        sums = gathered();
        result.max_condition = prepared(limits.condition).max_condition;
        // Forward rebuilds nothing: what is not finite there stays so.
        if (sums.drift <= drift_tolerance_ || !std::isfinite(sums.sum_log_density)) break;
    }
    result.drift = sums.drift;
    result.bits_per_dim = glow_.bits_per_dim(sums.sum_log_density / N);
    result.bits_y = sums.sum_bits_y / N;
    result.error_y = sums.sum_error_y / N;
    result.loss = result.bits_per_dim + glow_.config().weight_y * result.bits_y;

    result.grad_norm = std::sqrt(sums.squares);
    if (context_.dry()) return result;
    if (fused_) prepared_for_ = nullptr;  // updated, for better or worse
    if (!std::isfinite(result.loss)) throw trouble_with_loss(patient(batch), result.loss, limits.loss);
    if (result.loss > limits.loss) {
        if (fused_) prepare(weights_.params);
        if (typical_loss(patient(batch)) > limits.loss)
            throw trouble_with_loss(patient(batch), result.loss, limits.loss);
    }
    if (!std::isfinite(result.grad_norm))
        throw fused_ ? trouble_with_gradient_of(patient(batch), fused_->bad_piece())
                     : trouble_with_gradient(patient(batch));
    if (fused_ && !(result.drift <= drift_tolerance_)) lose_to_drift(batch, result.drift);
    if (fused_) return result;
    if (!(result.drift <= drift_tolerance_))
        throw trouble_with_drift(patient(batch), result.drift, drift_tolerance_);

    if (!weights_.has_moments()) return result;

    OptimiserStep clipped = update;
    if (options_.clip_norm > 0) clipped.gradient_scale = std::min(1.0, options_.clip_norm / result.grad_norm);
    with_moments(weights_, [&](auto* m, auto* v) {
        optimiser_step(context_.place, glow_.parameters().size(), clipped, gradients_, weights_.params, m, v,
                       weights_.ema);
    });
    prepared_for_ = nullptr;
    return result;
}

// Throws, after the fused updates of a step that drifted.
void Trainer::lose_to_drift(const Batch& batch, double drift) {
    const std::vector<Keep> more = rescues(keep_);
    if (more.size() == 1) throw trouble_with_drift(patient(batch), drift, drift_tolerance_);
    keep_ = more[1];
    throw LostStep(
        fmt::format("rebuilt images differ by {:.1e} from the true ones (--drift-tolerance {:.1e})", drift,
                    drift_tolerance_));
}

// Forward and backward of one micro-batch: gradients += those of sum over its images of (bits/dim + weight_y
// bits_y) / batch_size, and sums_ += its sums. sum_beside: they are complete then, and are summed over the
// processes beside backward. On a GPU the launches are recorded and replayed: they depend on nothing but the
// images' number, for the images come in buffers of their own.
void Trainer::accumulate_gradient(const Batch& images, double batch_size, const Keep& keep, bool sum_beside) {
    const Batch there = on_device(images);
    const bool graph = options_.graph && (!fused_ || context_.communicator.recordable());
    Flow flow = buffers_.flow(there.N, there.labels);
    std::optional<Kept> kept;
    recording_of(images.N, batch_size, keep, sum_beside)
        .run(
            context_.place, graph,
            [&] { run_forward(there, flow, kept.emplace(memory_[Category::stored], keep)); },
            [&] { finish_prepare(); }, [&] { run_backward(there, batch_size, flow, *kept, sum_beside); });
}

// Where its kernels run: perhaps on its way there since the micro-batch before.
Batch Trainer::on_device(const Batch& images) {
    if (staged_ && staged_->take(images, buffers_)) return buffers_.here(images);
    return buffers_.there(context_.place, images, glow_.config().dimensions());
}

// While a GPU works on a micro-batch: the images that come after the first `done` of the batch, or after it.
void Trainer::stage(const Batch& batch, index_t done, const std::function<Batch()>& next) {
    if (!staged_ || context_.dry()) return;
    const Batch source = done < batch.N ? batch : next ? next() : Batch{};
    const index_t first = done < batch.N ? done : 0, count = std::min(micro_batch_, source.N - first);
    staged_->start(source.part(first, count, glow_.config().dimensions()));
}

// On a GPU without the log-determinants of W, which are being worked out beside.
void Trainer::run_forward(const Batch& images, Flow& flow, Kept& kept) {
    load_pixels(images, flow);
    if (context_.place.device == Device::cuda)
        glow_.forward_without_determinants(context_, flow, &kept);
    else
        glow_.forward(context_, flow, &kept);
}

void Trainer::run_backward(const Batch& images, double batch_size, Flow& flow, const Kept& kept,
                           bool sum_beside) {
    const double D = static_cast<double>(glow_.config().dimensions());
    if (context_.place.device == Device::cuda) glow_.add_determinants(context_, flow);

    // bits/dim = n_bits - log p / (D ln 2), averaged over the batch.
    Gradient gradient{dh_, -1.0 / (D * std::log(2.0) * batch_size), glow_.config().weight_y / batch_size};
    GradientListener* listener = nullptr;
    if (fused_)
        listener = &*fused_;
    else if (sum_beside)
        listener = &*gradient_sum_;
    glow_.backward(context_, flow, gradient, kept, listener);

    dequantise_difference(context_.place, images.N, glow_.config().dimensions(), glow_.config().n_bits,
                          images.pixels, training_noise(images), flow.h, difference_, partial_);
    add_step_sums(context_.place, images.N, flow.logdet, flow.prior, flow.bits_y, flow.error_y, difference_,
                  sums_, partial_);
    if (fused_)
        fused_->finish();
    else if (sum_beside)
        gradient_sum_->finish();
}

// The step's sums on the host, once all of it has ended: the one time that a step waits for its device. They
// are those of all processes, and so is the largest drift: what is decided on is the same everywhere.
Trainer::Forward Trainer::gathered() const {
    if (context_.dry()) return {};
    StepSums sums;
    download(context_.place, 1, sums_, &sums);
    double over_processes[] = {sums.log_density, sums.bits_y, sums.error_y};
    context_.communicator.sum(std::ssize(over_processes), over_processes);
    const double drift = context_.communicator.largest(sums.drift);
    const double squares = fused_ ? fused_->squares() : sums.squares;
    return {over_processes[0], over_processes[1], over_processes[2], drift, squares};
}

Recording& Trainer::recording_of(index_t images, double batch_size, const Keep& keep, bool sum_beside) {
    for (const Recorded& one : recorded_)
        if (one.images == images && one.batch_size == batch_size && one.keep == keep &&
            one.sum_beside == sum_beside)
            return *one.recording;
    recorded_.push_back({images, batch_size, keep, sum_beside, std::make_unique<Recording>()});
    return *recorded_.back().recording;
}

// ---- Before and beside it ------------------------------------------------------------------------

namespace {

Keep keep_of(const TrainingOptions& options, const Glow& glow, index_t images) {
    Keep keep;
    if (options.memory == "auto")
        keep = glow.keep_within(images, static_cast<std::size_t>(options.act_budget));
    const bool every = options.memory == "store" || options.memory == "checkpoint";
    keep.anchor_every = every ? 1 : options.anchor_every;
    keep.maps = options.memory == "store";
    keep.float_states = options.float_states;
    keep.rounding_bits = options.rounding_bits;
    return keep;
}

}  // namespace

Trainer::Trainer(const TrainingOptions& options, const Backend& backend, Memory& memory, bool dry,
                 bool updates)
    : options_(options),
      memory_(memory),
      context_(dry ? backend.dry_context(memory[Category::workspace])
                   : backend.context(memory[Category::workspace])),
      glow_(options.model,
            {parse_precision(options.precision), options.tile,
             parse_engines(options.engines, options.model.levels), backend.place().device == Device::cuda}),
      micro_batch_(share_of(options.batch, 0, backend.communicator().size()).count) {
    if (options.micro_batch > 0) micro_batch_ = std::min(micro_batch_, options.micro_batch);
    keep_ = planned_keep_ = keep_of(options, glow_, micro_batch_);
    check_precision(backend, parse_precision(options.precision));
    // Where a rebuilt network input rounds differently, an image falls to the networks' precision.
    const bool narrow = options.precision == "bf16" || options.precision == "tf32";
    drift_tolerance_ = options.drift_tolerance > 0 ? options.drift_tolerance : narrow ? 1e-2 : 1e-5;
    const index_t D = options.model.dimensions(), size = glow_.parameters().size();
    weights_.params = memory[Category::parameters].take<float>(size);
    weights_.fixed = memory[Category::parameters].take<float>(glow_.parameters().fixed_size());
    if (updates) {
        weights_.ema = memory[Category::ema].take<float>(size);
        Arena& moments = memory[Category::moments];
        if (options.moments == "bf16") {
            weights_.narrow_m = moments.take<bfloat16>(size);
            weights_.narrow_v = moments.take<bfloat16>(size);
        } else {
            weights_.m = moments.take<float>(size);
            weights_.v = moments.take<float>(size);
        }
    }
    glow_.allocate(memory[Category::derived]);
    Arena& communication = memory[Category::communication];
    if (updates && options.fused_update) {
        fused_.emplace(context_, backend.place(), glow_, weights_, memory);
    } else {
        gradients_ = memory[Category::gradients].take<float>(size);
        gradient_sum_.emplace(context_, backend.place(), size, gradients_, communication);
    }
    glow_.parameters().bind(weights_.params, gradients_);
    glow_.parameters().bind_fixed(weights_.fixed);
    const bool alone = backend.communicator().size() == 1;
    checksums_ = communication.take<double>(alone ? 0 : std::ssize(glow_.parameters().tensors()));

    // The initialisation's images pass through the network together, once, before the first step.
    Arena& state = memory[Category::state];
    const index_t images =
        std::max(micro_batch_, share_of(options.init_batch, 0, backend.communicator().size()).count);
    buffers_ = FlowBuffers::take(state, images, options.model, backend.place().device);
    if (backend.place().device == Device::cuda)
        staged_.emplace(context_.place, Device::cuda, state, micro_batch_, options.model);
    dh_ = state.take<real>(micro_batch_ * D);
    difference_ = state.take<double>(images);
    partial_ = state.take<double>(std::max(group_scratch(images), square_scratch()));
    sums_ = state.take<StepSums>(1);
    buffers_.capacity = micro_batch_;
    if (options.audit_every > 0)
        auditor_.emplace(context_, glow_, std::min(micro_batch_, Audit::kImages), memory);
}

void Trainer::initialise(const Batch& init_images) {
    Parameters& parameters = glow_.parameters();
    if (!context_.dry()) {
        const HostWeights host(context_.place, parameters,
                               {.params = weights_.params, .fixed = weights_.fixed});
        parameters.bind(host.get().params, nullptr);
        parameters.bind_fixed(host.get().fixed);
        parameters.start(options_.seed, context_.solver);
        host.send();
    }
    parameters.bind(weights_.params, gradients_);
    parameters.bind_fixed(weights_.fixed);
    const Batch there = buffers_.there(context_.place, init_images, glow_.config().dimensions());
    Flow flow = buffers_.flow(there.N, there.labels);
    load_pixels(there, flow);
    glow_.initialise(context_, flow);
    restart();
    share_weights();  // no process computed other ones, unless their processors differ
}

void Trainer::restart() {
    prepared_for_ = nullptr;
    if (!weights_.has_moments()) return;
    const index_t size = glow_.parameters().size();
    copy(context_.place, size, weights_.params, weights_.ema);
    with_moments(weights_, [&](auto* m, auto* v) {
        using Moment = std::remove_pointer_t<decltype(m)>;
        for (Moment* const moment : {m, v}) fill(context_.place, size, Moment{}, moment);
    });
}

void Trainer::share_weights() {
    prepared_for_ = nullptr;
    if (context_.dry() || context_.communicator.size() == 1) return;
    HostWeights host(context_.place, glow_.parameters(), weights_);
    host.fetch();
    const auto broadcast = [&](index_t count, auto* values) {
        if (values != nullptr)
            context_.communicator.broadcast(static_cast<std::size_t>(count) * sizeof(*values), values);
    };
    const Weights& w = host.get();
    for (float* const values : {w.params, w.ema, w.m, w.v}) broadcast(glow_.parameters().size(), values);
    for (bfloat16* const values : {w.narrow_m, w.narrow_v}) broadcast(glow_.parameters().size(), values);
    broadcast(glow_.parameters().fixed_size(), w.fixed);
    host.send();
}

void Trainer::check_equal() {
    Communicator& processes = context_.communicator;
    if (processes.size() == 1) return;
    const std::vector<Tensor>& tensors = glow_.parameters().tensors();
    const auto count = std::ssize(tensors);
    for_each_tree([&](const char* tree, const auto* values) {
        for (index_t t = 0; t < count; ++t) {
            // Tensors and the gaps behind them are whole words, also of bf16.
            constexpr index_t kPerWord = sizeof(float) / sizeof(*values);
            checksum(context_.place, (tensors[t].count + kPerWord - 1) / kPerWord,
                     reinterpret_cast<const float*>(values + tensors[t].offset), checksums_ + t, partial_);
        }
        const std::vector<double> mine = context_.to_host(checksums_, count);
        std::vector<double> first = mine;
        processes.broadcast(first.size() * sizeof(double), first.data());
        const index_t bad = std::mismatch(mine.begin(), mine.end(), first.begin()).first - mine.begin();
        // The first tensor on the first process.
        const double worst = static_cast<double>(count) * processes.size();
        const double place = static_cast<double>(bad) * processes.size() + processes.rank();
        const double found = -processes.largest(bad < count ? -place : -worst);
        if (found == worst) return;
        const auto tensor = static_cast<index_t>(found) / processes.size();
        const int rank = static_cast<int>(static_cast<index_t>(found) % processes.size());
        throw Error(
            fmt::format("/{}/{} of rank {} on {} is not the first process's: a fault of that machine or "
                        "of the network; resume from the last checkpoint",
                        tree, tensors[tensor].name, rank, processes.group().hosts[rank]));
    });
}

const Glow::Prepared& Trainer::prepare(float* values, double largest_condition) {
    begin_prepare(values);
    return prepared(largest_condition);
}

// In three parts, of which a GPU works out the first two beside and between what it is given: the derived
// values that forward needs, all of them, and what they are like, for which the host has to wait.
void Trainer::begin_prepare(float* values) {
    if (values == prepared_for_) return;
    glow_.parameters().bind(values, gradients_);
    glow_.begin_derive(context_);
    bound_ = prepared_for_ = values;
    preparing_ = true;
    looked_at_ = false;
}

void Trainer::finish_prepare() {
    if (preparing_) glow_.finish_derive(context_);
    preparing_ = false;
}

const Glow::Prepared& Trainer::prepared(double largest_condition) {
    finish_prepare();
    if (!looked_at_) prepared_ = glow_.prepared(context_);
    looked_at_ = true;
    const bool bad = !prepared_.bad_layer.empty();
    if (bad) prepared_for_ = nullptr;
    if (!bad && prepared_.max_condition <= largest_condition) return prepared_;
    const index_t worst = prepared_.worst_step, K = glow_.config().depth;
    Patient sick = patient();
    sick.weights.params = bound_;
    throw trouble_with_mixing(
        sick, bad ? prepared_.bad_layer : fmt::format("level{}/step{}", worst / K, worst % K),
        bad ? std::numeric_limits<double>::infinity() : prepared_.max_condition, largest_condition);
}

Noise Trainer::training_noise(const Batch& batch) const {
    return {options_.dequant == "uniform", options_.seed, Purpose::dequantise, batch.numbers};
}

void Trainer::load_pixels(const Batch& batch, Flow& flow) {
    dequantise(context_.place, batch.N, glow_.config().dimensions(), glow_.config().n_bits, batch.pixels,
               training_noise(batch), flow.h);
}

Patient Trainer::patient(const Batch& batch) {
    const index_t D = glow_.config().dimensions();
    return {context_, glow_, weights_, gradients_, [this, batch, D, first = index_t{0}](Flow& flow) mutable {
                if (first >= batch.N) return false;
                const index_t N = std::min(micro_batch_, batch.N - first);
                const Batch micro = buffers_.there(context_.place, batch.part(first, N, D), D);
                first += N;
                flow = buffers_.flow(N, micro.labels);
                load_pixels(micro, flow);
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
    prepare(weights_.params);
    const index_t D = glow_.config().dimensions(),
                  N = std::min(batch.N, std::min(micro_batch_, Audit::kImages));
    const Batch images = buffers_.there(context_.place, batch.part(0, N, D), D);
    Flow flow = buffers_.flow(N, images.labels);
    load_pixels(images, flow);
    const Audit audit = (*auditor_)(flow, dh_, keep_);
    glow_.parameters().bind(weights_.params, gradients_);
    return audit;
}

void Trainer::check_usable() {
    for_each_tree([&](const char* tree, const auto* values) {
        if (const Tensor* const bad = bad_tensor(context_, glow_.parameters(), values))
            throw trouble_with_tree(patient(), tree, values, *bad);
    });
    prepare(weights_.ema);
    prepare(weights_.params);  // as the next step wants them
}

// ---- The memory plan -----------------------------------------------------------------------------

namespace {

MemoryPlan dry_run(const TrainingOptions& options, index_t init_images, const Backend& backend,
                   bool updates) {
    Memory memory;
    Trainer trainer(options, backend, memory, true, updates);
    std::uint8_t pixel = 0;  // looked at by nobody
    const std::uint64_t number = 0;
    const std::int32_t label = 0;
    const int processes = backend.communicator().size();  // the first one has the largest shares
    const Batch batch{share_of(options.batch, 0, processes).count, &pixel, &number, &label};
    trainer.initialise({share_of(init_images, 0, processes).count, &pixel, &number, &label});
    trainer.step(batch, {});
    if (options.audit_every > 0) trainer.audit(batch);
    evaluate(trainer.context(), trainer.glow(), trainer.buffers(), batch, {}, {});
    double largest = 0;
    sample(trainer.context(), trainer.glow(), trainer.buffers(), 0, trainer.buffers().capacity, 1.0, 0,
           &label, &pixel, &largest);
    const MemoryBytes bytes = memory.peak();
    return {bytes, at(bytes, Category::stored), trainer.keep(), trainer.glow().network_units(trainer.keep())};
}

}  // namespace

MemoryPlan memory_plan(const TrainingOptions& options, index_t init_images, const Backend& backend,
                       bool updates) {
    TrainingOptions planned = options;
    planned.init_batch = init_images;
    MemoryPlan plan = dry_run(planned, init_images, backend, updates);
    if (options.memory == "reconstruct" || options.memory == "auto" || options.float_states) {
        planned.memory = "checkpoint";
        planned.float_states = planned.rounding_bits = false;
        const MemoryPlan checkpoint = dry_run(planned, init_images, backend, updates);
        plan.fallback_stored = std::max(plan.fallback_stored, checkpoint.fallback_stored);
    }
    return plan;
}

}  // namespace glow
