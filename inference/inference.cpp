#include "inference/inference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/formats/hdf5_file.h"
#include "data/grid.h"
#include "inference/latents.h"
#include "kernels/error.h"
#include "kernels/gaussian.h"
#include "kernels/reduce.h"
#include "layers/weights.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"

namespace glow {

FlowBuffers FlowBuffers::take(Arena& state, index_t capacity, const ModelConfig& model, Device device) {
    FlowBuffers buffers;
    buffers.capacity = capacity;
    buffers.h = state.take<state_t>(capacity * model.dimensions());
    buffers.logdet = state.take<double>(capacity);
    buffers.prior = state.take<double>(capacity);
    if (device == Device::cuda) {
        buffers.pixels = state.take<std::uint8_t>(capacity * model.dimensions());
        buffers.numbers = state.take<std::uint64_t>(capacity);
        if (model.y_cond) buffers.labels = state.take<std::int32_t>(capacity);
    }
    if (model.weight_y > 0) {
        buffers.bits_y = state.take<double>(capacity);
        buffers.error_y = state.take<double>(capacity);
    }
    if (model.dequant_depth > 0) buffers.minus_log_q = state.take<double>(capacity);
    return buffers;
}

Dequantization dequantization_of(const ModelConfig& model) {
    return model.dequant_depth > 0 ? Dequantization::variational : Dequantization::uniform;
}

Noise evaluation_noise(const ModelConfig& model, std::uint64_t seed) {
    return {dequantization_of(model), seed, Purpose::evaluate, nullptr};
}

Batch FlowBuffers::to_device(const Exec& exec, const Batch& batch, index_t D) const {
    if (exec.device != Device::cuda) return batch;
    const auto copy = [&](index_t count, const auto* from, auto* to) {
        if (batch.on_device)
            copy_bytes(exec, static_cast<std::size_t>(count) * sizeof(*to), from, to);
        else
            upload(exec, count, from, to);
    };
    copy(batch.N * D, batch.pixels, pixels);
    copy(batch.N, batch.numbers, numbers);
    // models without classes ignore labels
    const bool labeled = batch.labels != nullptr && labels != nullptr;
    if (labeled) copy(batch.N, batch.labels, labels);
    return {batch.N, pixels, numbers, labeled ? labels : nullptr, true};
}

const std::int32_t* FlowBuffers::labels_to_device(const Exec& exec, index_t N,
                                                  const std::int32_t* classes) const {
    if (exec.device != Device::cuda) return classes;
    if (classes == nullptr || labels == nullptr) return nullptr;  // models without classes ignore labels
    upload(exec, N, classes, labels);
    return labels;
}

EvaluationOutputs EvaluationOutputs::from(index_t first) const {
    const auto at = [first](double* values) { return values != nullptr ? values + first : nullptr; };
    return {at(bits_per_dim), at(logdet), at(prior), at(bits_y), at(error_y), at(minus_log_q)};
}

void evaluate(const RunnableModel& model, const Batch& batch, const Noise& noise,
              const EvaluationOutputs& scores) {
    const Context& context = model.context;
    const FlowBuffers& buffers = model.buffers;
    Glow& glow = model.glow;
    const ModelConfig& config = glow.config();
    const index_t D = config.dimensions();
    for (index_t first = 0; first < batch.N; first += buffers.capacity) {
        const index_t count = std::min(buffers.capacity, batch.N - first);
        const Batch part = buffers.to_device(context.exec, batch.part(first, count, D), D);
        Flow flow = buffers.flow(count, part.labels);
        Noise part_noise = noise;
        part_noise.item = part.numbers;
        glow.dequantize(context, {count, D, config.n_bits, part.pixels}, part_noise, flow,
                        {buffers.minus_log_q});
        glow.forward(context, flow);
        if (context.counting()) continue;
        if (scores.bits_per_dim != nullptr) {
            const std::vector<double> logdet = context.to_host(flow.logdet, count),
                                      prior = context.to_host(flow.prior, count);
            for (index_t n = 0; n < count; ++n)
                scores.bits_per_dim[first + n] = config.bits_per_dim(logdet[n] + prior[n]);
        }
        const auto keep = [&](const double* values, double* wanted) {
            if (wanted != nullptr && values != nullptr) download(context.exec, count, values, wanted + first);
        };
        keep(flow.logdet, scores.logdet);
        keep(flow.prior, scores.prior);
        keep(flow.bits_y, scores.bits_y);
        keep(flow.error_y, scores.error_y);
        keep(flow.minus_log_q, scores.minus_log_q);
    }
}

void evaluate_split(const RunnableModel& model, const SplitImages& images, const Slice& part,
                    const Noise& noise, std::uint64_t draw, const EvaluationOutputs& scores,
                    const std::function<void(index_t done)>& progress) {
    const index_t at_once = std::min(model.buffers.capacity, part.count), end = part.first + part.count;
    std::vector<index_t> order(static_cast<std::size_t>(at_once));
    std::vector<std::uint64_t> numbers(order.size());
    std::vector<std::uint8_t> pixels(order.size() * static_cast<std::size_t>(images.set().image_bytes()));
    for (index_t first = part.first; first < end; first += at_once) {
        const index_t count = std::min(at_once, end - first);
        std::iota(order.begin(), order.begin() + count, first);
        for (index_t n = 0; n < count; ++n) numbers[n] = static_cast<std::uint64_t>(order[n]) | draw << 40;
        images.gather(order.data(), count, pixels.data());
        evaluate(model, {count, pixels.data(), numbers.data(), images.labels(first)}, noise,
                 scores.from(first));
        if (progress) progress(first + count - part.first);
    }
}

void sample(const RunnableModel& model, const SampleRequest& request, std::uint8_t* pixels, double* largest) {
    const Context& context = model.context;
    const FlowBuffers& buffers = model.buffers;
    Glow& glow = model.glow;
    const index_t D = glow.config().dimensions();
    for (index_t done = 0; done < request.count; done += buffers.capacity) {
        const index_t images = std::min(buffers.capacity, request.count - done);
        const std::int32_t* const classes = request.labels != nullptr ? request.labels + done : nullptr;
        Flow flow = buffers.flow(images, buffers.labels_to_device(context.exec, images, classes));
        // Part by part, because each part is contiguous over all images. A noise block is 4 numbers, and
        // every part has a multiple of 4: at least 4 channels at the top, even H and W if a level is
        // split.
        for (const LatentLevel& part : latent_levels(glow.config()))
            gaussian_noise(context.exec, {images, 1, part.shape.size(), part.shape.size()}, request.seed,
                           static_cast<std::uint64_t>(request.first + done),
                           static_cast<std::uint64_t>(part.offset / 4), request.temperature,
                           flow.h + images * part.offset);
        glow.decode(context, flow);
        std::uint8_t* const out = buffers.pixels != nullptr ? buffers.pixels : pixels + done * D;
        quantize(context.exec, images * D, glow.config().n_bits, flow.h, out);
        download(context.exec, images * D, out, pixels + done * D);
        if (largest != nullptr) largest_of_images(context, D, flow, largest + done);
        if (request.progress) request.progress(done + images);
    }
}

void largest_of_images(const Context& context, index_t D, const Flow& flow, double* largest) {
    const Arena::Scope scope(context.workspace);
    double* const found = context.workspace.take<double>(flow.N);
    largest_values(context.exec, flow.N, D, flow.h, found,
                   context.workspace.take<double>(group_scratch(flow.N)));
    download(context.exec, flow.N, found, largest);
}

void SampleHealth::add(index_t N, const double* largest) {
    of += N;
    for (index_t n = 0; n < N; ++n) {
        not_finite += !std::isfinite(largest[n]);
        out_of_range += std::isfinite(largest[n]) && largest[n] > kOutOfRange;
    }
}

void SampleHealth::add(const SampleHealth& others) {
    of += others.of;
    not_finite += others.not_finite;
    out_of_range += others.out_of_range;
}

std::string SampleHealth::text() const {
    std::string text;
    if (not_finite > 0) text = fmt::format("{} of {} not finite (crossed out)", not_finite, of);
    if (out_of_range > 0)
        text += fmt::format("{}{} of {} far out of range", text.empty() ? "" : ", ", out_of_range, of);
    return text;
}

void cross_out_not_finite(const ModelConfig& model, index_t N, const double* largest, std::uint8_t* images) {
    for (index_t n = 0; n < N; ++n)
        if (!std::isfinite(largest[n]))
            cross_out(images + n * model.dimensions(), model.image_height, model.image_width, model.channels);
}

std::vector<std::int32_t> column_classes(index_t count, index_t columns, index_t n_classes) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) labels[i] = static_cast<std::int32_t>(i % columns % n_classes);
    return labels;
}

void check_precision(const Backend& backend, Precision precision) {
    if (precision == Precision::bf16 && !backend.blas().has_bf16())
        throw InputError(
            "--precision bf16: this processor or build does not support bf16 products; use --precision fp32");
    if (precision == Precision::tf32 && !backend.blas().has_tf32())
        throw InputError("--precision tf32: requires a GPU; use --precision fp32 or --device cuda");
}

double drift_tolerance(Precision precision) {
    return precision == Precision::fp32 ? 1e-5 : 1e-2;
}

Mean mean_of(const double* values, index_t count) {
    Mean mean{0, 0, count};
    if (count == 0) return mean;
    for (index_t i = 0; i < count; ++i) mean.value += values[i];
    mean.value /= static_cast<double>(count);
    double squares = 0;
    for (index_t i = 0; i < count; ++i) squares += (values[i] - mean.value) * (values[i] - mean.value);
    if (count > 1)
        mean.standard_error =
            std::sqrt(squares / static_cast<double>(count - 1) / static_cast<double>(count));
    return mean;
}

void require_fitting(const std::filesystem::path& data, const DatasetInfo& info, const std::string& split,
                     const std::filesystem::path& checkpoint, const ModelConfig& model) {
    if (info.C != model.channels)
        throw InputError(fmt::format("{} has images of {} channels, but the model of {} takes {}",
                                     data.string(), info.C, checkpoint.string(), model.channels));
    try {
        with_image_size(model, {info.H, info.W});
    } catch (const InputError& error) {
        throw InputError(fmt::format("{}: {}", data.string(), error.what()));
    }
    if (!model.y_cond) return;
    if (!info.labels(split))
        throw InputError(fmt::format("the model of {} is conditional, and the {} images of {} have no labels",
                                     checkpoint.string(), split, data.string()));
    if (info.n_classes != model.n_classes)
        throw InputError(fmt::format("the model of {} has {} classes, but {} has {}", checkpoint.string(),
                                     model.n_classes, data.string(), info.n_classes));
}

index_t images_at_once(const ModelConfig& trained, const ImageSize& size, index_t batch) {
    const index_t pixels = size.H * size.W, trained_pixels = trained.image_height * trained.image_width;
    return pixels <= trained_pixels ? batch : std::max<index_t>(1, batch * trained_pixels / pixels);
}

namespace {

// CPU arenas only reserve addresses, so allocating more than the machine's memory would not fail.
void refuse_beyond_host(const Backend& backend, const ImageSize& size, index_t images, std::size_t bytes) {
    if (backend.exec().device != Device::cpu) return;
    if (const MemoryLimit host = host_memory_limit(); bytes > host.bytes)
        throw InputError(
            fmt::format("images of {}x{}, {} at once, need {}, but {} {}: use a smaller batch or size",
                        size.H, size.W, images, format_bytes(bytes), host.source, format_bytes(host.bytes)));
}

}  // namespace

LoadedModel::LoadedModel(const std::filesystem::path& checkpoint, bool ema, Precision precision,
                         index_t images, const Backend& backend, std::optional<ImageSize> size)
    : checkpoint_(checkpoint),
      info_(read_checkpoint_info(checkpoint)),
      precision_(precision),
      backend_(&backend) {
    check_precision(backend, precision);
    used_ema_ = ema && Hdf5File::open(checkpoint).exists("/ema");
    const Glow glow(info_.model, {});
    const Parameters& parameters = glow.parameters();
    const auto take = [&](Memory& memory) {
        values_ = memory[Category::parameters].take<float>(parameters.size());
        fixed_ = memory[Category::parameters].take<float>(parameters.fixed_size());
    };
    Memory counting;
    take(counting);
    weights_memory_ = std::make_unique<Memory>(backend.exec().device, counting.peak());
    take(*weights_memory_);
    load_checkpoint(
        checkpoint, parameters, backend.exec(),
        used_ema_ ? Weights{.ema = values_, .fixed = fixed_} : Weights{.params = values_, .fixed = fixed_});
    run_ = make_run(size.value_or(image_size(info_.model)), images);
}

void LoadedModel::resize(const ImageSize& size, index_t images) {
    if (image_size(config()) == size && buffers().capacity == images) return;
    Run other = make_run(size, images);
    std::swap(run_, other);
}

void LoadedModel::require_memory(std::size_t more) const {
    refuse_beyond_host(*backend_, image_size(run_.glow->config()), run_.buffers.capacity, run_.bytes + more);
}

LoadedModel::Run LoadedModel::make_run(const ImageSize& size, index_t images) const {
    const Backend& backend = *backend_;
    Run run;
    run.glow =
        std::make_unique<Glow>(with_image_size(info_.model, size),
                               NetworkSettings{precision_, 0, {}, backend.exec().device == Device::cuda});
    run.glow->parameters().bind(values_);
    run.glow->parameters().bind_fixed(fixed_);
    const auto build = [&](Memory& memory, const Context& context) {
        run.glow->allocate(memory[Category::derived]);
        run.buffers =
            FlowBuffers::take(memory[Category::state], images, run.glow->config(), backend.exec().device);
        const Glow::MixingCheck prepared = run.glow->derive_and_check(context);
        if (!prepared.bad_layer.empty())
            throw InputError(
                fmt::format("{}: {}: a parameter is out of range", checkpoint_.string(), prepared.bad_layer));
    };
    // Measures the memory that likelihoods and samples need.
    Memory counting;
    const Context counting_context = backend.counting_context(counting[Category::workspace]);
    build(counting, counting_context);
    const std::uint8_t pixel = 0;
    const std::uint64_t number = 0;
    const std::int32_t label = 0;
    const RunnableModel counted{counting_context, *run.glow, run.buffers};
    evaluate(counted, {images, &pixel, &number, &label}, {.kind = dequantization_of(run.glow->config())}, {});
    std::uint8_t sampled = 0;
    double largest = 0;
    sample(counted, {.count = images, .labels = &label}, &sampled, &largest);

    run.bytes = total(counting.peak());
    refuse_beyond_host(backend, size, images, run.bytes);
    run.memory = std::make_unique<Memory>(backend.exec().device, counting.peak());
    run.context = std::make_unique<Context>(backend.context((*run.memory)[Category::workspace]));
    build(*run.memory, *run.context);
    return run;
}

nlohmann::ordered_json LoadedModel::config_json() const {
    nlohmann::ordered_json config = info_.config;
    config["image_height"] = this->config().image_height;
    config["image_width"] = this->config().image_width;
    return config;
}

}  // namespace glow
