#include "inference/image_arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "inference/evaluate.h"
#include "inference/latents.h"
#include "inference/sample.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/reduce.h"
#include "layers/precision.h"
#include "runtime/device.h"

namespace glow {
namespace {

template <class T>
void load_values(const Exec& exec, index_t count, const T* values, bool on_device, state_t* h) {
    if (exec.device != Device::cuda || on_device) return pixel_values_to_state(exec, count, values, h);
    const std::shared_ptr<void> staged = device_memory(static_cast<std::size_t>(count) * sizeof(T));
    upload(exec, count, values, static_cast<T*>(staged.get()));
    pixel_values_to_state(exec, count, static_cast<const T*>(staged.get()), h);
    synchronize(exec);  // before `staged` is freed
}

void load_bytes(const RunnableModel& model, index_t count, const std::uint8_t* pixels, bool on_device,
                Noise noise, const std::vector<std::uint64_t>& numbers, Flow& flow) {
    const Exec& exec = model.context.exec;
    const FlowBuffers& buffers = model.buffers;
    const index_t D = model.glow.config().dimensions();
    noise.item = numbers.data();
    if (exec.device == Device::cuda) {
        if (!on_device) {
            upload(exec, count * D, pixels, buffers.pixels);
            pixels = buffers.pixels;
        }
        upload(exec, count, numbers.data(), buffers.numbers);
        noise.item = buffers.numbers;
    }
    model.glow.dequantize(model.context, {count, D, model.glow.config().n_bits, pixels}, noise, flow,
                          {buffers.minus_log_q});
}

// Log-densities of flow.N images after forward.
void store_log_densities(const RunnableModel& model, const Flow& flow, const PixelArray& images,
                         index_t first, double* log_density) {
    const std::vector<double> logdet = downloaded(model.context.exec, flow.N, flow.logdet),
                              prior = downloaded(model.context.exec, flow.N, flow.prior);
    for (index_t n = 0; n < std::ssize(logdet); ++n) {
        log_density[first + n] = logdet[n] + prior[n];
        if (!std::isfinite(log_density[first + n])) refuse_not_finite(images, first + n);
    }
}

}  // namespace

Flow load_flow(const RunnableModel& model, const PixelArray& images, index_t first, index_t count,
               const Noise& noise, std::uint64_t draw) {
    const Context& context = model.context;
    const index_t D = model.glow.config().dimensions();
    const std::int32_t* const labels = images.labels != nullptr ? images.labels + first : nullptr;
    Flow flow = model.buffers.flow(count, model.buffers.labels_to_device(context.exec, count, labels));
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(count));
    for (index_t n = 0; n < count; ++n) numbers[n] = noise_item(images.number + first + n, draw);
    std::visit(
        [&](const auto* values) {
            if constexpr (std::is_same_v<decltype(values), const std::uint8_t*>)
                load_bytes(model, count, values + first * D, images.on_device, noise, numbers, flow);
            else
                load_values(context.exec, count * D, values + first * D, images.on_device, flow.h);
        },
        images.values);
    return flow;
}

Flow count_load_flow(const RunnableModel& model) {
    const std::uint8_t pixel = 0;  // dummy: a counting run reads no image
    return load_flow(model, {.values = &pixel}, 0, model.buffers.capacity,
                     evaluation_noise(model.glow.config(), 0), 0);
}

void refuse_not_finite(const PixelArray& images, index_t n) {
    if (std::holds_alternative<const std::uint8_t*>(images.values))
        throw Error(fmt::format("the likelihood of image {} is not finite: the run may have diverged",
                                images.number + n));
    throw InputError(
        fmt::format("the log-density of image {} is not finite: expected finite values near 0 .. 256",
                    images.number + n));
}

void check_labels(const ModelConfig& model, index_t N, const std::int32_t* labels, std::size_t count) {
    if (!model.y_cond) {
        if (count > 0) throw InputError("labels were given, but the model is not conditional on classes");
        return;
    }
    if (static_cast<index_t>(count) != N)
        throw InputError(fmt::format("{} labels for {} images of a conditional model", count, N));
    for (index_t n = 0; n < N; ++n)
        if (labels[n] < 0 || labels[n] >= model.n_classes)
            throw InputError(fmt::format("label {} is not in 0..{}", labels[n], model.n_classes - 1));
}

void check_labels(const ModelConfig& model, index_t N, const std::vector<std::int32_t>& labels) {
    check_labels(model, N, labels.data(), labels.size());
}

PixelArray PixelArray::slice(index_t first, index_t count, index_t D) const {
    PixelArray slice = *this;
    slice.N = count;
    std::visit([&](auto* from) { slice.values = from + first * D; }, values);
    if (labels != nullptr) slice.labels = labels + first;
    slice.number = number + first;
    return slice;
}

void log_densities(const RunnableModel& model, const PixelArray& images, std::uint64_t seed,
                   std::uint64_t draw, double* log_density) {
    model.buffers.for_each_pass(images.N, [&](index_t first, index_t count) {
        Flow flow = load_flow(model, images, first, count, evaluation_noise(model.glow.config(), seed), draw);
        model.glow.forward(model.context, flow);
        store_log_densities(model, flow, images, first, log_density);
    });
}

void encode_levels(const RunnableModel& model, const PixelArray& images, const std::vector<double*>& levels) {
    model.buffers.for_each_pass(images.N, [&](index_t first, index_t count) {
        Flow flow = load_flow(model, images, first, count, {.kind = Dequantization::center});
        model.glow.encode(model.context, flow);
        for (const LatentLevel& level : latent_levels(model.glow.config()))
            download(model.context.exec, count * level.shape.size(), flow.h + count * level.offset,
                     levels[level.level] + first * level.shape.size());
    });
}

SampleHealth decode_levels(const RunnableModel& model, index_t N, const std::vector<const double*>& levels,
                           const std::int32_t* labels, std::uint8_t* pixels, double* largest) {
    const Exec& exec = model.context.exec;
    const FlowBuffers& buffers = model.buffers;
    const ModelConfig& config = model.glow.config();
    const index_t D = config.dimensions();
    std::vector<double> scratch(largest == nullptr ? static_cast<std::size_t>(N) : 0);
    if (largest == nullptr) largest = scratch.data();
    buffers.for_each_pass(N, [&](index_t first, index_t count) {
        Flow flow = buffers.flow(
            count, buffers.labels_to_device(exec, count, labels != nullptr ? labels + first : nullptr));
        for (const LatentLevel& level : latent_levels(config))
            upload(exec, count * level.shape.size(), levels[level.level] + first * level.shape.size(),
                   flow.h + count * level.offset);
        model.glow.decode(model.context, flow);
        download_images(model, flow, pixels + first * D, largest + first);
    });
    return cross_out_not_finite(config, N, largest, pixels);
}

// Forward and backward with the memory that one policy needs.
class DensityGradient::Pass : private GradientHook {
  public:
    Pass(LoadedModel& model, const Backend& backend, const MemoryPolicy& policy, std::size_t other_bytes)
        : model_(model), policy_(policy) {
        Memory counting;
        const Context counting_context = backend.counting_context(counting[Category::workspace]);
        take(counting);
        Flow flow = count_load_flow({counting_context, model.glow(), model.buffers()});
        differentiate(counting_context, flow, counting[Category::stored], log_density_gradient());
        bytes_ = total(counting.peak());
        model_.require_memory(other_bytes + bytes_);
        memory_ = std::make_unique<Memory>(backend.exec().device, counting.peak());
        context_ = std::make_unique<Context>(backend.context((*memory_)[Category::workspace]));
        take(*memory_);
        fill(context_->exec, largest_count(model_.glow().flow_blocks()), real{0}, parameters_);
    }

    std::size_t bytes() const { return bytes_; }

    // Overwrites log_density and gradient from image `first` on. Returns the largest error of the
    // reconstructed images, in units of the state.
    double run(const PixelArray& images, index_t first, index_t count, std::uint64_t seed,
               double* log_density, float* gradient) {
        const RunnableModel runnable{*context_, model_.glow(), model_.buffers()};
        Flow flow = load_flow(runnable, images, first, count, evaluation_noise(model_.config(), seed));
        differentiate(*context_, flow, (*memory_)[Category::stored], log_density_gradient());
        store_log_densities(runnable, flow, images, first, log_density);
        return take_gradient(images, first, count, gradient);
    }
    // The same for DensityGradient::run_latents().
    double run_latents(const PixelArray& images, index_t first, index_t count,
                       const std::vector<const double*>& upstream, float* gradient) {
        const RunnableModel runnable{*context_, model_.glow(), model_.buffers()};
        std::vector<real> dh;
        for (const LatentLevel& level : latent_levels(model_.config())) {  // in the order of the state
            const double* const from = upstream[level.level] + first * level.shape.size();
            std::transform(from, from + count * level.shape.size(), std::back_inserter(dh),
                           [](double value) { return static_cast<real>(kPerGrayLevel * value); });
        }
        Flow flow = load_flow(runnable, images, first, count, {.kind = Dequantization::center});
        upload(context_->exec, std::ssize(dh), dh.data(), dh_);
        differentiate(*context_, flow, (*memory_)[Category::stored], {.dh = dh_, .from_eps = true});
        // Otherwise values that are not finite would count as drift.
        std::vector<double> log_density(static_cast<std::size_t>(images.N));
        store_log_densities(runnable, flow, images, first, log_density.data());
        return take_gradient(images, first, count, gradient);
    }

  private:
    static constexpr double kPerGrayLevel = 0x1p-8;  // the state is a pixel / 256 - 1/2
    Gradient log_density_gradient() const { return {.dh = dh_, .dlogp = kPerGrayLevel}; }
    // Copies the gradient from image `first` on. Returns the largest error of the reconstructed images.
    double take_gradient(const PixelArray& images, index_t first, index_t count, float* gradient) {
        const index_t D = model_.config().dimensions();
        gradient += first * D;
        if (images.on_device) {
            copy_bytes(context_->exec, static_cast<std::size_t>(count * D) * sizeof(real), dh_, gradient);
        } else {
            download(context_->exec, count * D, dh_, gradient);
        }
        const std::vector<double> largest = downloaded(context_->exec, count, difference_);
        return *std::max_element(largest.begin(), largest.end());
    }
    void take(Memory& memory) {
        const index_t capacity = model_.buffers().capacity, D = model_.glow().config().dimensions();
        Arena& state = memory[Category::state];
        x_ = state.take<state_t>(capacity * D);
        dh_ = state.take<real>(capacity * D);
        difference_ = state.take<double>(capacity);
        partial_ = state.take<double>(group_scratch(capacity));
        parameters_ = memory[Category::gradients].take<real>(largest_count(model_.glow().flow_blocks()));
    }
    void differentiate(const Context& context, Flow& flow, Arena& stored, Gradient gradient) {
        Glow& glow = model_.glow();
        const index_t D = glow.config().dimensions();
        copy(context.exec, flow.N * D, flow.h, x_);
        SavedActivations saved(stored, policy_);
        glow.forward(context, flow, &saved);
        glow.backward(context, flow, gradient, saved, *this);
        subtract(context.exec, flow.N * D, x_, flow.h);
        largest_values(context.exec, flow.N, D, flow.h, difference_, partial_);
    }
    // The gradients of all parameters are discarded in one block of memory.
    ParameterGradients begin(const ParameterBlock& block) override { return {parameters_, block.offset}; }
    void complete(const ParameterBlock&) override {}

    LoadedModel& model_;
    const MemoryPolicy policy_;
    std::size_t bytes_ = 0;  // of memory_
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Context> context_;
    state_t* x_ = nullptr;
    real *dh_ = nullptr, *parameters_ = nullptr;
    double *difference_ = nullptr, *partial_ = nullptr;
};

DensityGradient::DensityGradient(LoadedModel& model, const Backend& backend, std::size_t other_bytes)
    : model_(model), backend_(backend), other_bytes_(other_bytes) {
    make_pass();
}
DensityGradient::~DensityGradient() = default;

std::size_t DensityGradient::bytes() const {
    return pass_ ? pass_->bytes() : 0;
}

// Frees the old pass first, because both may not fit. If there is no memory for the new one, there is none
// until the next call.
void DensityGradient::make_pass() {
    pass_.reset();
    pass_ = std::make_unique<Pass>(model_, backend_, MemoryPolicy{.anchor_every = saves_states_ ? 1 : 0},
                                   other_bytes_);
}

template <class F>
void DensityGradient::for_each_checked_pass(index_t N, F f) {
    if (!pass_) {
        saves_states_ = false;
        make_pass();
    }
    const double tolerance = drift_tolerance(model_.precision());
    model_.buffers().for_each_pass(N, [&](index_t first, index_t count) {
        if (f(first, count) <= tolerance || saves_states_) return;
        saves_states_ = true;  // from now on
        make_pass();
        f(first, count);
    });
}

void DensityGradient::run(const PixelArray& images, std::uint64_t seed, double* log_density,
                          float* gradient) {
    for_each_checked_pass(images.N, [&](index_t first, index_t count) {
        return pass_->run(images, first, count, seed, log_density, gradient);
    });
}

void DensityGradient::run_latents(const PixelArray& images, const std::vector<const double*>& upstream,
                                  float* gradient) {
    for_each_checked_pass(images.N, [&](index_t first, index_t count) {
        return pass_->run_latents(images, first, count, upstream, gradient);
    });
}

}  // namespace glow
