#include <fmt/format.h>

#include <algorithm>

#include "data/formats/atomic_file.h"
#include "glow/glow.h"
#include "inference/density_map.h"
#include "inference/image_arrays.h"
#include "inference/latent_images.h"
#include "inference/likelihood.h"
#include "inference/model_file.h"
#include "inference/safetensors.h"
#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"
#include "runtime/threads.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/step.h"

namespace glow {
namespace {

// Number of images in `values` pixel values; throws unless it is whole.
index_t count_images(const ModelConfig& model, std::size_t values) {
    const auto D = static_cast<std::size_t>(model.dimensions());
    if (values == 0 || values % D != 0)
        throw InputError(fmt::format("{} pixel values are not a whole number of {}x{}x{} images", values,
                                     model.image_height, model.image_width, model.channels));
    return static_cast<index_t>(values / D);
}

// Checks images and labels against a model; refers to them.
template <class T>
PixelArray checked_array(const ModelConfig& model, const std::vector<T>& images,
                         const std::vector<std::int32_t>& labels) {
    const index_t N = count_images(model, images.size());
    check_labels(model, N, labels);
    return {N, images.data(), labels.empty() ? nullptr : labels.data()};
}

// Checks images and labels against a model and packs them.
ImageSet checked_set(const ModelConfig& model, const std::vector<std::uint8_t>& images,
                     const std::vector<std::int32_t>& labels) {
    ImageSet set{count_images(model, images.size()),
                 model.image_height,
                 model.image_width,
                 model.channels,
                 images,
                 {},
                 static_cast<std::int32_t>(model.n_classes)};
    set.labels = labels;
    return set;
}

// Calls copy(member of ModelShape, field of ModelConfig) for each shared member.
template <class Shape, class Config, class Copy>
void visit_shape(Shape& shape, Config& config, Copy copy) {
    copy(shape.height, config.image_height);
    copy(shape.width, config.image_width);
    copy(shape.channels, config.channels);
    copy(shape.n_bits, config.n_bits);
    copy(shape.levels, config.levels);
    copy(shape.depth, config.depth);
    copy(shape.hidden, config.width);
    copy(shape.classes, config.n_classes);
}

ModelShape shape_of(const ModelConfig& config) {
    ModelShape shape;
    visit_shape(shape, config, [](auto& member, const auto& field) { member = field; });
    if (!config.y_cond) shape.classes = 0;
    return shape;
}

ModelConfig config_of(const ModelShape& shape) {
    ModelConfig config;
    visit_shape(shape, config, [](const auto& member, auto& field) { field = member; });
    config.y_cond = shape.classes > 0;
    return config;
}

int checked_threads(int threads) {
    if (threads < 0 || threads > kMaxThreads)
        throw InputError(
            fmt::format("threads: expected 0 (the default) .. {}, got {}", kMaxThreads, threads));
    return threads;
}

TrainingOptions training_options(const TrainOptions& given) {
    if (given.batch < 1 || given.batch > 1 << 20) throw InputError("batch: expected 1 .. 2^20 images");
    TrainingOptions options;
    options.model = config_of(given.shape);
    options.batch = given.batch;
    options.init_batch = given.batch;
    options.lr = given.learning_rate;
    options.beta2 = options.ema_decay = given.beta2;
    options.epoch_images = kPublishedEpochImages;
    if (given.warmup_images < -1) throw InputError("warmup_images: expected -1 (the default) or more");
    if (given.warmup_images >= 0)
        options.warmup_epochs = static_cast<double>(given.warmup_images) / options.epoch_images;
    options.seed = given.seed;
    options.precision = parse_name<Precision>(given.precision);
    options.threads = checked_threads(given.threads);
    options.augment = {};
    check(options);
    return options;
}

// Throws InputError if the machine has too little memory: a CPU's arenas only reserve addresses.
MemoryPlan fitting_plan(const TrainingOptions& options, const Backend& backend) {
    const MemoryPlan plan = memory_plan(options, options.init_batch, backend);
    const std::size_t planned = total(plan.bytes);
    if (const MemoryLimit host = host_memory_limit();
        backend.exec().device == Device::cpu && planned > host.bytes)
        throw InputError(fmt::format("training needs {}, but {} {}: use a smaller batch or model",
                                     format_bytes(planned), host.source, format_bytes(host.bytes)));
    return plan;
}

std::vector<std::uint64_t> numbers_from(index_t first, index_t N) {
    std::vector<std::uint64_t> numbers;
    for (index_t n = 0; n < N; ++n) numbers.push_back(static_cast<std::uint64_t>(first + n));
    return numbers;
}

}  // namespace

struct TrainedModel::State {
    State(const std::string& checkpoint, const LoadOptions& options)
        : backend(parse_device(options.device), checked_threads(options.threads)),
          model(ModelFile(checkpoint).checkpoint(), options.averaged,
                parse_name<Precision>(options.precision),
                std::clamp<index_t>(options.batch, 1, index_t{1} << 20), backend),
          batch(model.buffers().capacity) {}
    const ModelConfig& config() { return model.config(); }

    // images: as checked_array() returns them.
    InputGradient input_gradient(const PixelArray& images, std::uint64_t seed) {
        if (!gradient) gradient = std::make_unique<DensityGradient>(model, backend);
        InputGradient result{std::vector<double>(static_cast<std::size_t>(images.N)),
                             std::vector<float>(static_cast<std::size_t>(images.N * config().dimensions()))};
        gradient->run(images, seed, result.log_prob.data(), result.gradient.data());
        for (double& value : result.log_prob)
            value = config().bits_per_dim(value) * -config().nats_per_bit_dim();
        return result;
    }

    void set_image_size(const ImageSize& size) {
        model.resize(size, images_at_once(model.info().model, size, batch));
        gradient.reset();
        maps.reset();
    }

    Backend backend;
    LoadedModel model;
    const index_t batch;
    // With the memory they need.
    std::unique_ptr<DensityGradient> gradient;
    std::unique_ptr<DensityMaps> maps;
};

TrainedModel::TrainedModel(const std::string& checkpoint, const LoadOptions& options) {
    const cuda::DeviceScope callers;  // opening a GPU selects it
    state_ = std::make_unique<State>(checkpoint, options);
}
TrainedModel::~TrainedModel() = default;
TrainedModel::TrainedModel(TrainedModel&&) noexcept = default;
TrainedModel& TrainedModel::operator=(TrainedModel&&) noexcept = default;

ModelShape TrainedModel::shape() const {
    return shape_of(state_->config());
}

ModelShape TrainedModel::trained_shape() const {
    return shape_of(state_->model.info().model);
}

void TrainedModel::set_image_size(std::int64_t height, std::int64_t width) {
    const auto device = state_->backend.select_device();
    state_->set_image_size({height, width});
}

int TrainedModel::threads() const {
    return state_->backend.threads().used;
}

std::vector<double> TrainedModel::bits_per_dim(const std::vector<std::uint8_t>& images,
                                               const std::vector<std::int32_t>& labels, std::uint64_t seed) {
    const auto device = state_->backend.select_device();
    LikelihoodRequest request;
    request.seed = seed;
    return glow::bits_per_dim(state_->model.runnable(), checked_array(state_->config(), images, labels),
                              request);
}

std::vector<double> TrainedModel::log_prob(const std::vector<std::uint8_t>& images,
                                           const std::vector<std::int32_t>& labels, std::uint64_t seed) {
    std::vector<double> result = bits_per_dim(images, labels, seed);
    for (double& value : result) value *= -state_->config().nats_per_bit_dim();
    return result;
}

std::vector<double> TrainedModel::log_density_map(const std::vector<std::uint8_t>& images,
                                                  const std::vector<std::int32_t>& labels,
                                                  std::uint64_t seed) {
    const auto device = state_->backend.select_device();
    const PixelArray array = checked_array(state_->config(), images, labels);
    if (!state_->maps) state_->maps = std::make_unique<DensityMaps>(state_->model, state_->backend);
    const ImageSize size = density_map_size(state_->config());
    std::vector<double> maps(static_cast<std::size_t>(array.N * size.H * size.W));
    state_->maps->run(array, evaluation_noise(state_->config(), seed), 0, maps.data());
    return maps;
}

InputGradient TrainedModel::input_gradient(const std::vector<std::uint8_t>& images,
                                           const std::vector<std::int32_t>& labels, std::uint64_t seed) {
    const auto device = state_->backend.select_device();
    return state_->input_gradient(checked_array(state_->config(), images, labels), seed);
}

InputGradient TrainedModel::input_gradient(const std::vector<double>& images,
                                           const std::vector<std::int32_t>& labels) {
    const auto device = state_->backend.select_device();
    return state_->input_gradient(checked_array(state_->config(), images, labels), 0);
}

std::vector<std::uint8_t> TrainedModel::sample(std::int64_t N, double temperature, std::uint64_t seed,
                                               const std::vector<std::int32_t>& labels) {
    const auto device = state_->backend.select_device();
    if (N < 1 || !(temperature >= 0 && temperature <= 100))
        throw InputError("sample: expected one sample or more and a temperature between 0 and 100");
    check_labels(state_->config(), N, labels);
    if (N > (index_t{1} << 52) / state_->config().dimensions())
        throw InputError(fmt::format("sample: {} samples are more than any memory holds", N));
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(N * state_->config().dimensions()));
    std::vector<double> largest(static_cast<std::size_t>(N));
    glow::sample(state_->model.runnable(), {N, temperature, seed, labels.empty() ? nullptr : labels.data()},
                 pixels.data(), largest.data());
    cross_out_not_finite(state_->config(), N, largest.data(), pixels.data());
    return pixels;
}

std::vector<double> TrainedModel::encode(const std::vector<std::uint8_t>& images,
                                         const std::vector<std::int32_t>& labels) {
    const auto device = state_->backend.select_device();
    const ImageSet set = checked_set(state_->config(), images, labels);
    check_labels(state_->config(), set.N, labels);
    std::vector<double> result;
    for (const Latent& latent : encode_all(state_->model, set))
        result.insert(result.end(), latent.begin(), latent.end());
    return result;
}

std::vector<std::uint8_t> TrainedModel::decode(const std::vector<double>& latents,
                                               const std::vector<std::int32_t>& labels) {
    const auto device = state_->backend.select_device();
    const index_t D = state_->config().dimensions(), N = std::ssize(latents) / D;
    if (N < 1 || N * D != std::ssize(latents))
        throw InputError(
            fmt::format("{} numbers are not a whole number of latents of size {}", latents.size(), D));
    check_labels(state_->config(), N, labels);
    std::vector<Latent> each;
    for (index_t n = 0; n < N; ++n) each.emplace_back(latents.begin() + n * D, latents.begin() + (n + 1) * D);
    std::vector<double> largest;
    std::vector<std::uint8_t> pixels = decode_all(state_->model, each, labels, &largest);
    cross_out_not_finite(state_->config(), N, largest.data(), pixels.data());
    return pixels;
}

struct ModelTrainer::State {
    explicit State(const TrainOptions& given)
        : options(training_options(given)),
          schedule(make_schedule(options, static_cast<index_t>(kPublishedEpochImages))),
          backend(parse_device(given.device), given.threads),
          plan(fitting_plan(options, backend)),
          memory(backend.exec().device, capacity()),
          trainer(options, backend, memory) {
        memory[Category::stored].reserve(plan.fallback_stored);
    }

    MemoryBytes capacity() const { return capacity_of(plan, backend.exec().device); }
    const ImageSet checked(const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& labels,
                           const char* what) const {
        ImageSet set = checked_set(options.model, images, labels);
        check_labels(options.model, set.N, labels);
        if (set.N > options.batch || (what[0] == 's' && set.N != options.batch))
            throw InputError(
                fmt::format("{}: {} images, but the batch size is {}", what, set.N, options.batch));
        return set;
    }

    TrainingOptions options;
    Schedule schedule;
    Backend backend;
    MemoryPlan plan;
    Memory memory;
    Trainer trainer;
    Progress progress;
    bool initialized = false;
};

ModelTrainer::ModelTrainer(const TrainOptions& options) {
    const cuda::DeviceScope callers;  // opening a GPU selects it
    state_ = std::make_unique<State>(options);
}
ModelTrainer::~ModelTrainer() = default;
ModelTrainer::ModelTrainer(ModelTrainer&&) noexcept = default;
ModelTrainer& ModelTrainer::operator=(ModelTrainer&&) noexcept = default;

void ModelTrainer::initialize(const std::vector<std::uint8_t>& images,
                              const std::vector<std::int32_t>& labels) {
    const auto device = state_->backend.select_device();
    const ImageSet set = state_->checked(images, labels, "initialize");
    const std::vector<std::uint64_t> numbers = numbers_from(0, set.N);
    state_->trainer.initialize(
        {set.N, set.images.data(), numbers.data(), labels.empty() ? nullptr : labels.data()});
    state_->progress = {};
    state_->initialized = true;
}

double ModelTrainer::step(const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& labels) {
    const auto device = state_->backend.select_device();
    const ImageSet set = state_->checked(images, labels, "step");
    if (!state_->initialized) throw InputError("step: call initialize() first");
    Progress& progress = state_->progress;
    const std::vector<std::uint64_t> numbers = numbers_from(progress.images_seen, set.N);
    const StepResult result = state_->trainer.step(
        {set.N, set.images.data(), numbers.data(), labels.empty() ? nullptr : labels.data()},
        optimizer_at(state_->options, state_->schedule, {progress.step + 1}));
    ++progress.step;
    progress.images_seen += set.N;
    progress.epoch = static_cast<double>(progress.images_seen) / state_->schedule.epoch_images;
    return result.bits_per_dim;
}

int ModelTrainer::threads() const {
    return state_->backend.threads().used;
}

void ModelTrainer::save(const std::string& file) const {
    const auto device = state_->backend.select_device();
    if (!state_->initialized) throw InputError("save: call initialize() first");
    refuse_suffix_of_other_format(file);
    for (const std::filesystem::path& target : {std::filesystem::path(file), target_of(file)})
        refuse_file_of_run("save():", file, target);  // checkpoints of glow_train hold more
    state_->trainer.check_usable();
    save_checkpoint(file, to_json(state_->options), state_->progress, nullptr,
                    state_->trainer.glow().parameters(), state_->backend.exec(), state_->trainer.weights());
}

std::string version() {
    return GLOW_VERSION;
}

}  // namespace glow
