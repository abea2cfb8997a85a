#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"
#include "inference/model_file.h"
#include "inference/safetensors.h"
#include "library/arguments.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"
#include "train/memory_plan.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace glow {
namespace {

TrainingOptions training_options(const TrainOptions& given, const ModelConfig& model) {
    check(model);
    if (given.batch < 1 || given.batch > 1 << 20) throw InputError("batch: expected 1 .. 2^20 images");
    TrainingOptions options;
    options.model = model;
    if (model.dequant_depth > 0) options.dequant = Dequantization::variational;  // of a checkpoint
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
    options.threads = given.threads;
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

// Numbers of images first .. first + N - 1.
std::vector<std::uint64_t> numbers_from(index_t first, index_t N) {
    std::vector<std::uint64_t> numbers;
    for (index_t n = 0; n < N; ++n) numbers.push_back(static_cast<std::uint64_t>(first + n));
    return numbers;
}

}  // namespace

struct ModelTrainer::State {
    State(const TrainOptions& given, const ModelConfig& model)
        : options(training_options(given, model)),
          schedule(make_schedule(options, static_cast<index_t>(kPublishedEpochImages))),
          backend(parse_device(given.device), given.threads),
          plan(fitting_plan(options, backend)),
          memory(backend.exec().device, capacity()),
          trainer(options, backend, memory) {
        memory[Category::stored].reserve(plan.fallback_stored);
    }

    MemoryBytes capacity() const { return capacity_of(plan, backend.exec().device); }

    // Calls f(batch of images numbered from `first` on).
    template <class F>
    auto with_batch(const PixelArray& images, index_t first, F f) const {
        const std::vector<std::uint64_t> numbers = numbers_from(first, images.N);
        return f(
            Batch{images.N, std::get<const std::uint8_t*>(images.values), numbers.data(), images.labels});
    }

    void initialize(const PixelArray& images) {
        if (images.N > options.batch)
            throw InputError(
                fmt::format("initialize: {} images, but the batch size is {}", images.N, options.batch));
        with_batch(images, 0, [&](const Batch& batch) { trainer.initialize(batch); });
        progress = {};
        last = {};
        initialized = true;
    }

    // The checkpoint must have the model of the options.
    void load(const std::filesystem::path& checkpoint, const Progress& saved) {
        const Hdf5File file = Hdf5File::open(checkpoint);
        const bool complete =
            file.exists("/ema") && file.exists("/optimizer/m") && file.exists("/optimizer/v");
        const Weights weights = trainer.weights();
        load_checkpoint(checkpoint, trainer.glow().parameters(), backend.exec(),
                        complete ? weights : Weights{.params = weights.params, .fixed = weights.fixed});
        if (complete) {
            trainer.weights_changed();
            progress = saved;
        } else {
            trainer.reset_optimizer();
        }
        trainer.check_usable();
        initialized = true;
    }

    double step(const PixelArray& images) {
        if (images.N != options.batch)
            throw InputError(
                fmt::format("step: {} images, but the batch size is {}", images.N, options.batch));
        if (!initialized) throw InputError("step: call initialize() first");
        const StepResult result = with_batch(images, progress.images_seen, [&](const Batch& batch) {
            return trainer.step(batch, optimizer_at(options, schedule, {progress.step + 1}));
        });
        ++progress.step;
        progress.images_seen += images.N;
        progress.epoch = static_cast<double>(progress.images_seen) / schedule.epoch_images;
        last = {result.bits_per_dim, result.grad_norm, result.drift};
        return last.bits_per_dim;
    }

    void save(const std::string& name) {
        const std::filesystem::path file = checked_name(name);
        if (!initialized) throw InputError("save: call initialize() first");
        refuse_suffix_of_other_format(file);
        for (const std::filesystem::path& target : {file, target_of(file)})
            refuse_file_of_run("save():", file, target);  // checkpoints of glow_train hold more
        trainer.check_usable();
        save_checkpoint(file, to_json(options), progress, nullptr, trainer.glow().parameters(),
                        backend.exec(), trainer.weights());
    }

    TrainingOptions options;
    Schedule schedule;
    Backend backend;
    MemoryPlan plan;
    Memory memory;
    Trainer trainer;
    Progress progress;
    StepInfo last;
    bool initialized = false;
};

ModelTrainer::ModelTrainer(const TrainOptions& options) {
    const cuda::DeviceScope callers;  // opening a GPU selects it
    state_ = with_public_errors([&] { return std::make_unique<State>(options, config_of(options.shape)); });
}
ModelTrainer::ModelTrainer(const std::string& checkpoint, const TrainOptions& options) {
    const cuda::DeviceScope callers;
    state_ = with_public_errors([&] {
        const ModelFile file(checked_name(checkpoint));
        CheckpointInfo info = read_checkpoint_info(file.checkpoint());
        auto state = std::make_unique<State>(options, info.model);
        // A running training may move latest.h5 to another checkpoint between two reads.
        for (index_t step = -1; step != info.progress.step; info = read_checkpoint_info(file.checkpoint())) {
            step = info.progress.step;
            state->load(file.checkpoint(), info.progress);
        }
        return state;
    });
}
ModelTrainer::~ModelTrainer() = default;
ModelTrainer::ModelTrainer(ModelTrainer&&) noexcept = default;
ModelTrainer& ModelTrainer::operator=(ModelTrainer&&) noexcept = default;

void ModelTrainer::initialize(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels) {
    run_on(state_->backend,
           [&] { state_->initialize(checked_array(state_->options.model, images, labels)); });
}

double ModelTrainer::step(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels) {
    return run_on(state_->backend,
                  [&] { return state_->step(checked_array(state_->options.model, images, labels)); });
}

ModelShape ModelTrainer::shape() const {
    return shape_of(state_->options.model);
}

std::int64_t ModelTrainer::steps() const {
    return state_->progress.step;
}

StepInfo ModelTrainer::last_step() const {
    return state_->last;
}

int ModelTrainer::threads() const {
    return state_->backend.threads().used;
}

void ModelTrainer::save(const std::string& file) const {
    run_on(state_->backend, [&] { state_->save(file); });
}

std::string version() {
    return GLOW_VERSION;
}

}  // namespace glow
