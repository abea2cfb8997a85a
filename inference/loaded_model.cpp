#include "inference/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "data/formats/hdf5_file.h"
#include "inference/evaluate.h"
#include "inference/sample.h"
#include "kernels/error.h"
#include "layers/precision.h"
#include "layers/weights.h"
#include "runtime/memory_limit.h"

namespace glow {

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
    // A running training may move latest.h5 to another checkpoint between two reads.
    for (index_t step = -1; step != info_.progress.step; info_ = read_checkpoint_info(checkpoint)) {
        step = info_.progress.step;
        load_checkpoint(checkpoint, parameters, backend.exec(),
                        used_ema_ ? Weights{.ema = values_, .fixed = fixed_}
                                  : Weights{.params = values_, .fixed = fixed_});
    }
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
