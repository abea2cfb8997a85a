// The loop around the step.
#include "train/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "train/inspect.h"
#include "train/resume.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/run_plan.h"
#include "train/sample_sheet.h"
#include "train/schedule.h"
#include "train/stop_signals.h"
#include "train/training_images.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr index_t kCompareEvery =
    1000;  // steps; several processes compare their weights, also before every checkpoint

class Run {
  public:
    explicit Run(const RunRequest& request)
        : request_(request),
          processes_(request.processes != nullptr ? *request.processes : alone_),
          options_(request.options),
          folder_(options_.out) {}

    RunResult operator()();

  private:
    void compare_requests();
    void open_folder();
    void open_data();
    void start_model();
    void open_files(const std::string& config);
    void load_weights();
    void recall();
    template <std::size_t N>
    std::array<bool, N> first_says(const std::array<bool, N>& wishes);
    std::string limit_reached();
    void evaluate_valid();
    void draw_samples();
    void save();
    std::size_t bytes_taken() const;

    Pulse::Allowance patience(const char* doing) { return {processes_.pulse(), Pulse::kPatience, doing}; }

    const RunRequest& request_;
    Communicator alone_;
    Communicator& processes_;
    TrainingOptions options_;
    RunFolder folder_;
    std::optional<TrainingImages> images_;
    std::optional<SplitImages> valid_;
    index_t train_images_ = 0;
    bool on_disk_ = false;  // the images are read each time
    Schedule schedule_{};
    MemoryPlan plan_;
    bool resuming_ = false;
    std::optional<ResumedRun> resumed_;  // on the first process
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Trainer> trainer_;
    std::optional<RunLog> log_;
    std::optional<CsvLog> evaluations_;  // of the first process
    Progress progress_;
    std::size_t process_before_ = 0;
    index_t saved_step_ = -1, evaluated_step_ = -1;
    double best_ = 1e300;
    RunResult result_;
};

// A launcher may start its programs with other arguments each, and config.toml may be another one elsewhere.
void Run::compare_requests() {
    const std::string mine = fmt::format("{}resume {} {}\ninit-from {}\n", to_toml(options_), request_.resume,
                                         request_.resume_from, request_.init_from);
    const std::string first = from_first(processes_, mine);
    if (first == mine) return;
    const auto [here, there] = std::mismatch(mine.begin(), mine.end(), first.begin(), first.end());
    const auto line = [](const std::string& text, std::string::const_iterator at) {
        const auto position = static_cast<std::size_t>(at - text.begin());
        const std::size_t begin = position == 0 ? 0 : text.rfind('\n', position - 1) + 1;
        return text.substr(begin, text.find('\n', position) - begin);
    };
    throw InputError(
        fmt::format("this process was started with \"{}\" and the first one with \"{}\": all need the same "
                    "options, and the run's folder on a file system that they share",
                    line(mine, here), line(first, there)));
}

// The first process looks into the folder for all.
void Run::open_folder() {
    if (processes_.is_first()) resumed_ = find_run_to_resume(request_, folder_);
    struct {
        bool resuming;
        int threads;
        Progress progress;
    } found = {resumed_.has_value(), options_.threads, {}};
    if (resumed_) {
        found.progress = resumed_->checkpoint.progress;
        if (found.threads == 0) found.threads = threads_of(resumed_->checkpoint);
    }
    processes_.broadcast(sizeof(found), &found);
    resuming_ = found.resuming;
    options_.threads = found.threads;
    progress_ = found.progress;
}

void Run::open_data() {
    const auto allowance = patience("reading the data set");
    const DatasetInfo info = describe_dataset(options_.data);
    fit_model(info, options_);
    train_images_ = info.train;
    const auto image_bytes = static_cast<std::size_t>((info.train + info.valid) * info.H * info.W * info.C);
    on_disk_ = options_.data_access == "disk" ||
               (options_.data_access == "auto" && image_bytes > machine_memory_bytes() / 4);
    const auto split = [&](const char* name) {
        return on_disk_ ? SplitImages(options_.data, name) : SplitImages(load_split(options_.data, name));
    };
    if (info.valid > 0) valid_.emplace(split("valid"));
    images_.emplace(split("train"), parse_augmentation(options_.augment), options_.shuffle, options_.seed);
    schedule_ = make_schedule(options_, train_images_);
}

void Run::start_model() {
    const int ordinal = device_number(processes_.group(), cuda::device_count());
    backend_ = std::make_unique<Backend>(request_.device, options_.threads, ordinal, &processes_);
    options_.threads = backend_->place().threads;  // recorded, and reused on resume
    if (resumed_) compare_options(resumed_->checkpoint, options_, request_.say);

    options_.act_budget = act_budget(options_, resumed_ ? std::optional(resumed_->checkpoint) : std::nullopt);
    processes_.broadcast(sizeof(options_.act_budget), &options_.act_budget);

    TrainingOptions sized = options_;
    sized.init_batch = schedule_.init_images;
    plan_ = memory_plan(sized, schedule_.init_images, *backend_);
    request_.say(describe(Settings{options_, schedule_, train_images_, valid_ ? valid_->N() : 0, on_disk_,
                                   backend_->description(), processes_}));
    request_.say(describe(plan_));
    if (request_.device == Device::cpu)  // a GPU refuses by itself
        refuse_beyond_machine(total(plan_.bytes), processes_.group().local_size);
    MemoryBytes capacity = plan_.bytes;
    at(capacity, Category::stored) = plan_.fallback_stored;  // reserved; touched only if drift asks for it
    process_before_ = bytes_taken();
    memory_ = std::make_unique<Memory>(request_.device, capacity);
    trainer_ = std::make_unique<Trainer>(sized, *backend_, *memory_);
    log_.emplace(request_, options_, schedule_);

    const bool fresh = !resuming_ && request_.init_from.empty();
    if (!fresh) {
        if (processes_.is_first()) load_weights();
        trainer_->share_weights();
    }
    const std::string config = to_toml(request_.options);
    // Nothing is written before all that can be refused was accepted, by all processes.
    processes_.barrier();
    if (processes_.is_first()) open_files(config);
    if (fresh) {
        request_.say(fmt::format("initialising the actnorms from {} images", schedule_.init_images));
        const Share mine = processes_.share(schedule_.init_images);
        trainer_->initialise(images_->take(mine.first, mine.count));
    }
}

void Run::open_files(const std::string& config) {
    const auto allowance = patience("making the run's folder");
    folder_.create();
    folder_.write_config(config);
    log_->open(folder_, progress_.step);
    evaluations_.emplace(folder_.evaluations(), "step,split,bpd,stderr,images,weights", progress_.step);
}

// From the checkpoint to resume from, or that of --init-from.
void Run::load_weights() {
    const auto allowance = patience("reading a checkpoint");
    Parameters& parameters = trainer_->glow().parameters();
    if (resumed_) {
        load_checkpoint(resumed_->from, parameters, backend_->place(), trainer_->weights());
        trainer_->weights_changed();
        try {
            trainer_->check_usable();
        } catch (const Error& error) {
            throw InputError(fmt::format("{}: {}", resumed_->from.string(), error.what()));
        }
        request_.say(fmt::format("resumed from {} at step {}", resumed_->from.string(), progress_.step));
    } else {
        const fs::path file = find_checkpoint(request_.init_from);
        const CheckpointInfo info = read_checkpoint_info(file);
        if (!(info.model == options_.model))
            throw InputError(fmt::format("--init-from {}: its model is {}, not {}", file.string(),
                                         to_json(info.model).dump(), to_json(options_.model).dump()));
        load_checkpoint(file, parameters, backend_->place(),
                        {.params = trainer_->weights().params, .fixed = trainer_->weights().fixed});
        trainer_->restart();
        request_.say(fmt::format("weights from {}", file.string()));
    }
}

// What was done before the run stopped: the checkpoint at this step, the evaluations in eval.csv.
void Run::recall() {
    struct {
        bool saved;
        Evaluated evaluated;
    } known = {};
    if (processes_.is_first()) {
        std::error_code ignored;
        known.saved = fs::equivalent(folder_.latest(), resumed_->from, ignored) &&
                      fs::equivalent(folder_.checkpoint(progress_.step), resumed_->from, ignored);
        known.evaluated = read_evaluations(folder_, progress_.step);
    }
    processes_.broadcast(sizeof(known), &known);
    if (known.saved) saved_step_ = progress_.step;
    best_ = known.evaluated.best;
    const auto mean = [&](double bits) { return Mean{bits, 0, valid_ ? valid_->N() : 0}; };
    if (known.evaluated.raw) result_.valid_raw = mean(*known.evaluated.raw);
    if (known.evaluated.ema) result_.valid_ema = mean(*known.evaluated.ema);
    if (result_.valid_ema && result_.valid_raw) evaluated_step_ = progress_.step;
}

// Clocks are each process's own, and all must do the same: the first one's count.
template <std::size_t N>
std::array<bool, N> Run::first_says(const std::array<bool, N>& wishes) {
    std::array<bool, N> first = wishes;
    processes_.broadcast(sizeof(first), first.data());
    return first;
}

std::string Run::limit_reached() {
    if (processes_.largest(StopSignals::asked() ? 1 : 0) > 0) return "signal";  // to any of them
    if (options_.max_steps > 0 && progress_.step >= options_.max_steps) return "max-steps";
    if (options_.epochs > 0 && progress_.epoch >= options_.epochs) return "epochs";
    if (options_.max_minutes > 0 && first_says<1>({log_->minutes() >= options_.max_minutes})[0])
        return "max-minutes";
    return "";
}

void Run::evaluate_valid() {
    if (!valid_ || evaluated_step_ == progress_.step) return;
    evaluated_step_ = progress_.step;
    for (const bool ema : {false, true}) {
        const Mean mean = mean_bits_per_dim(*trainer_, *valid_, options_.seed, ema);
        (ema ? result_.valid_ema : result_.valid_raw) = mean;
        const auto allowance = patience("writing eval.csv");
        if (evaluations_)
            evaluations_->row(fmt::format("{},valid,{:.9g},{:.6g},{},{}", progress_.step, mean.value,
                                          mean.standard_error, mean.count, ema ? "ema" : "raw"));
    }
    request_.say(fmt::format("  validation: {:.4f} bits/dim (EMA), {:.4f} (raw), {} images",
                             result_.valid_ema->value, result_.valid_raw->value, valid_->N()));
    if (result_.valid_ema->value < best_) {
        best_ = result_.valid_ema->value;
        save();
        const auto allowance = patience("linking a checkpoint");
        if (processes_.is_first()) folder_.link(folder_.best(), progress_.step);
    }
}

void Run::draw_samples() {
    trainer_->use(true);
    const std::optional<Image> sheet =
        sample_sheet(trainer_->context(), trainer_->glow(), trainer_->buffers(), options_.seed);
    if (!sheet) return;
    const auto allowance = patience("writing samples");
    write_png(folder_.samples(progress_.step), *sheet);
}

void Run::save() {
    if (saved_step_ == progress_.step) return;
    trainer_->check_usable();
    trainer_->check_equal();
    saved_step_ = progress_.step;
    if (!processes_.is_first()) return;
    const auto allowance = patience("writing a checkpoint");
    save_checkpoint(folder_.checkpoint(progress_.step), to_json(options_), progress_,
                    trainer_->glow().parameters(), backend_->place(), trainer_->weights());
    folder_.link(folder_.latest(), progress_.step);
    folder_.prune(options_.keep);
}

// Of the device's memory: by this process on the CPU, by everyone on a GPU.
std::size_t Run::bytes_taken() const {
    return request_.device == Device::cuda ? device_bytes_in_use() : process_peak_bytes();
}

RunResult Run::operator()() {
    check(options_);
    compare_requests();
    open_folder();
    open_data();
    const StopSignals signals;
    start_model();
    if (resuming_) recall();

    Timer evaluate_timer(options_.eval_every), sample_timer(options_.sample_every),
        save_timer(options_.checkpoint_every);
    log_->start(progress_);
    while ((result_.ended = limit_reached()).empty()) {
        const index_t t = progress_.step + 1;
        const Share mine = processes_.share(options_.batch);
        const Batch batch = images_->take(progress_.images_seen + mine.first, mine.count);
        StepResult step;
        try {
            step = trainer_->step(batch, optimiser_at(options_, schedule_, t));
        } catch (const Error& error) {
            throw Error(fmt::format("step {}: {}", t, error.what()));
        }
        progress_ = {t, progress_.images_seen + options_.batch,
                     static_cast<double>(progress_.images_seen + options_.batch) / schedule_.epoch_images};
        result_.bits_per_dim = step.bits_per_dim;
        log_->step(progress_, step, total(memory_->peak()), processes_.pulse());
        const auto [evaluation_due, samples_due, checkpoint_due] =
            first_says<3>({evaluate_timer.due(t), sample_timer.due(t), save_timer.due(t)});
        if (evaluation_due) evaluate_valid();
        if (samples_due) draw_samples();
        if (checkpoint_due) save();
        if (t % kCompareEvery == 0) trainer_->check_equal();
    }
    log_->end();
    save();
    if (result_.ended != "signal") {
        evaluate_valid();
        draw_samples();
    }
    processes_
        .barrier();  // until the first one has written all: another signal must not end the others before
    result_.progress = progress_;
    result_.planned_bytes = total(plan_.bytes);
    result_.peak_bytes = total(memory_->peak());
    result_.process_growth_bytes = bytes_taken() - process_before_;
    result_.checkpoint = folder_.checkpoint(progress_.step).string();
    return result_;
}

}  // namespace

RunResult run_training(const RunRequest& request) {
    return Run(request)();
}

}  // namespace glow
