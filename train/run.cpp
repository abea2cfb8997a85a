// The loop around the step.
#include "train/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <future>
#include <memory>
#include <vector>

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "data/formats/file_lock.h"
#include "data/data_fingerprint.h"
#include "train/batch_prefetcher.h"
#include "train/inspect.h"
#include "train/resume.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/run_plan.h"
#include "inference/sample_sheet.h"
#include "train/schedule.h"
#include "train/stop_signals.h"
#include "train/timer.h"
#include "data/training_images.h"
#include "train/tune.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr index_t kCompareEvery =
    1000;  // steps; several processes compare their weights, also before every checkpoint
constexpr std::size_t kTimedSteps = 20;  // at most, of a rehearsal
constexpr double kTimedSeconds = 60;
constexpr std::size_t kRemembered = 32;  // steps before one that goes wrong, in its report

// Lines that nobody wants go nowhere.
RunRequest complete(RunRequest request) {
    if (!request.say) request.say = [](const std::string&) {};
    if (!request.warn) request.warn = request.say;
    return request;
}

class Run {
  public:
    explicit Run(const RunRequest& request)
        : request_(complete(request)),
          processes_(request.processes != nullptr ? *request.processes : alone_),
          options_(request.options),
          configured_(request.options),
          folder_(options_.out) {
        configured_.data = absolute_name(options_.data);
        configured_.out = absolute_name(options_.out);
    }

    RunResult operator()();
    Rehearsal rehearse();

  private:
    void compare_requests();
    void open_folder();
    void lock_folder();
    void compare_data() const;
    void open_data();
    void start_model();
    void warn_of_fewer_threads();
    bool is_fresh() const { return !resuming_ && request_.init_from.empty(); }
    void open_files(const std::string& config);
    void load_weights();
    void begin_again();
    void recall(bool saved);
    bool is_latest() const;
    void take_step();
    StepResult train_on_next();
    index_t steps_left() const;
    void remember(const StepResult& step);
    void finish();
    void recover(const StepFailure& failure);
    nlohmann::ordered_json flight_report(const StepFailure& failure) const;
    void reload(index_t newest);
    bool load_saved(const RunFolder::Saved& saved, TrainingProgress& progress);
    template <std::size_t N>
    std::array<bool, N> first_says(const std::array<bool, N>& wishes);
    std::string limit_reached();
    void evaluate_valid();
    void draw_samples();
    void wait_for_samples();
    bool save();
    void write_checkpoint();
    void audit(const Batch& batch);
    void keep_more(const DriftError& lost);
    std::size_t bytes_taken() const;

    static ScopedTimeout allow_time(const char* doing) { return ScopedTimeout(doing); }

    const RunRequest request_;
    Communicator alone_;
    Communicator& processes_;
    TrainingOptions options_;
    TrainingOptions configured_;  // as they stand in config.toml
    RunFolder folder_;
    std::unique_ptr<FileLock> lock_;  // of the folder, on the first process
    std::optional<TrainingImages> images_;
    std::optional<SplitImages> valid_;
    nlohmann::ordered_json data_;  // fingerprint of the data set, on the first process
    index_t train_images_ = 0;
    bool on_disk_ = false;  // the images are read each time
    Schedule schedule_{};
    MemoryPlan plan_;
    bool resuming_ = false, rehearsing_ = false;
    std::optional<ResumedRun> resumed_;  // on the first process
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Trainer> trainer_;
    std::optional<RunLog> log_;
    std::optional<CsvLog> evaluations_, audits_;  // of the first process
    RetryingWrite attempt_{request_};
    std::optional<Timer> evaluate_timer_, sample_timer_, save_timer_;
    TrainingProgress progress_, beginning_;
    index_t at_step_ = 0;                           // the one at work
    std::deque<std::array<double, 5>> last_steps_;  // step, loss, norm of the gradient, condition, drift
    std::size_t process_before_ = 0;
    index_t saved_step_ = -1, evaluated_step_ = -1;
    double best_ = std::numeric_limits<double>::infinity();
    RunResult result_;
    std::optional<BatchPrefetcher> batches_;
    std::future<void> sheet_;
};

// A launcher may start its programs with other arguments each, and config.toml may be another one elsewhere.
void Run::compare_requests() {
    const std::string mine = fmt::format("{}resume {} {}\ninit-from {}\n", to_toml(options_), request_.resume,
                                         request_.resume_from, request_.init_from);
    const std::string first = broadcast_text(processes_, mine);
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

// The folder is for one process at a time; made again or replaced, it is locked again.
void Run::lock_folder() {
    if (lock_ && lock_->is_current()) return;
    const bool is_first_time = !lock_;
    lock_ = std::make_unique<FileLock>(folder_.lock(), options_.out, "choose another --out");
    if (is_first_time && !lock_->problem().empty())
        request_.warn(
            fmt::format("{}: its file system has no locks ({}): nothing stops another process from "
                        "training in this folder too",
                        options_.out, lock_->problem()));
}

// The first process looks into the folder for all.
void Run::open_folder() {
    std::error_code ignored;
    // A folder that is not there yet is locked when it is made.
    if (processes_.is_root() && !rehearsing_ && fs::is_directory(options_.out, ignored)) {
        const auto timeout = allow_time("locking the run's folder");
        lock_folder();
    }
    // A rehearsal does not mind a run that is there.
    if (processes_.is_root() && (request_.resume || !rehearsing_)) {
        const auto timeout = allow_time("reading a checkpoint");
        resumed_ = find_run_to_resume(request_, folder_);
    }
    struct {
        bool resuming;
        int threads;
        TrainingProgress progress;
    } found = {resumed_.has_value(), options_.threads, {}};
    if (resumed_) {
        found.progress = training_progress(resumed_->checkpoint);
        found.progress.history = resumed_history(resumed_->checkpoint, options_);
        if (found.threads == 0) found.threads = threads_of(resumed_->checkpoint);
    }
    processes_.broadcast(sizeof(found), &found);
    resuming_ = found.resuming;
    options_.threads = found.threads;
    progress_ = beginning_ = found.progress;
}

void Run::open_data() {
    const auto timeout = allow_time("reading the data set");
    const DatasetReader reader(options_.data);
    const DatasetInfo& info = reader.info();
    fit_model(info, options_);
    train_images_ = info.train;
    const auto image_bytes = static_cast<std::size_t>((info.train + info.valid) * info.H * info.W * info.C);
    ChunkInfo chunks = reader.chunks("train");
    if (info.valid > 0)
        if (const ChunkInfo valid = reader.chunks("valid"); valid.rows_unpacked > chunks.rows_unpacked)
            chunks = valid;
    const DataAccess access =
        choose_data_access(options_.data_access, options_.data, image_bytes, machine_memory_bytes(),
                           processes_.group().local_size, chunks);
    if (!access.warning.empty()) request_.warn(access.warning);
    on_disk_ = access.on_disk;
    const auto split = [&](const char* name) {
        return on_disk_ ? SplitImages(options_.data, name) : SplitImages(load_split(options_.data, name));
    };
    if (info.valid > 0) valid_.emplace(split("valid"));
    SplitImages train = split("train");
    if (processes_.is_root()) {
        data_ = data_fingerprint(train, valid_ ? &*valid_ : nullptr);
    }
    images_.emplace(std::move(train), options_.augment, options_.shuffle, options_.seed,
                    request_.device == Device::cuda);  // prepared while the GPU works
    schedule_ = make_schedule(options_, train_images_);
}

void Run::warn_of_fewer_threads() {
    request_.warn(
        fmt::format("threads {}{}", describe(backend_->threads()),
                    resuming_ ? ": the run goes on, and from here its losses differ by rounding" : ""));
}

// Another data set is accepted where the user names another file or says so.
void Run::compare_data() const {
    const nlohmann::ordered_json& config = resumed_->checkpoint.config;
    const std::string difference = data_difference(config.value("data_set", nlohmann::ordered_json()), data_);
    if (difference.empty()) return;
    const nlohmann::ordered_json training = config.value("training", nlohmann::ordered_json::object());
    const auto was = training.find("data");
    std::error_code ignored;
    const bool same_file = was == training.end() || !was->is_string() ||
                           fs::weakly_canonical(was->get<std::string>(), ignored) ==
                               fs::weakly_canonical(options_.data, ignored);
    if (same_file && !request_.accept_new_data)
        throw InputError(fmt::format(
            "{}: the data set has changed since the run began ({}); put the old one back, or go on "
            "with the new one by --accept-new-data",
            options_.data, difference));
    request_.warn(
        fmt::format("{}: not the data set that the run began with ({})", options_.data, difference));
}

void Run::start_model() {
    const int ordinal = device_number(processes_.group(), cuda::device_count());
    backend_ = std::make_unique<Backend>(request_.device, options_.threads, ordinal, &processes_);
    options_.threads = backend_->exec().threads;  // recorded, and reused on resume
    if (backend_->threads().fewer_than_asked()) warn_of_fewer_threads();
    if (request_.verbose) backend_->conv().set_log(request_.say);
    options_.engines = engines_of_run(options_, resuming_, resumed_ ? engines_of(resumed_->checkpoint) : "",
                                      *backend_, request_.say);
    if (resumed_) {
        compare_options(resumed_->checkpoint, options_, request_.say);
        compare_data();
    }

    options_.act_budget = act_budget(options_, resumed_ ? std::optional(resumed_->checkpoint) : std::nullopt);
    processes_.broadcast(sizeof(options_.act_budget), &options_.act_budget);

    TrainingOptions sized = options_;
    sized.init_batch = schedule_.init_images;
    plan_ = memory_plan(sized, schedule_.init_images, *backend_, PlanScope::run);
    request_.say(describe(Settings{options_, schedule_, train_images_, valid_ ? valid_->N() : 0, on_disk_,
                                   backend_->description(), backend_->threads(), processes_}));
    request_.say(describe(plan_));
    if (request_.device == Device::cpu)  // a GPU refuses by itself
        refuse_beyond_machine(total(plan_.bytes), processes_.group().local_size);
    MemoryBytes capacity = plan_.bytes;
    // What drift may ask for is addresses alone on the CPU until it is touched, and on a GPU memory.
    if (request_.device == Device::cpu) at(capacity, Category::stored) = plan_.fallback_stored;
    process_before_ = bytes_taken();
    memory_ = std::make_unique<Memory>(request_.device, capacity);
    (*memory_)[Category::stored].reserve(plan_.fallback_stored);
    trainer_ = std::make_unique<Trainer>(sized, *backend_, *memory_);
    const Slice mine = processes_.slice(options_.batch);
    batches_.emplace(backend_->exec(), request_.device, (*memory_)[Category::state], options_.model,
                     options_.batch, mine.count,
                     [this, mine](index_t first) { return images_->take(first + mine.first, mine.count); });
    batches_->seek(progress_.images_seen);
    log_.emplace(request_, options_, schedule_);

    if (!is_fresh()) begin_again();
    const std::string config = to_toml(configured_);
    // Nothing is written before all that can be refused was accepted, by all processes.
    processes_.barrier();
    if (processes_.is_root() && !rehearsing_) open_files(config);
    if (is_fresh()) begin_again();
}

// The weights that the run, or this part of it, began with.
void Run::begin_again() {
    if (is_fresh()) {
        request_.say(fmt::format("initializing the actnorms from {} images", schedule_.init_images));
        const Slice mine = processes_.slice(schedule_.init_images);
        trainer_->initialize(images_->take(mine.first, mine.count));
    } else {
        if (processes_.is_root()) load_weights();
        trainer_->broadcast_weights();
    }
}

void Run::open_files(const std::string& config) {
    const auto timeout = allow_time("making the run's folder");
    if (!lock_) {
        folder_.make();
        lock_folder();
        if (folder_.holds_run())
            throw InputError(fmt::format(
                "{}: another process began a run in the folder; go on with --resume, or choose another --out",
                options_.out));
    }
    folder_.create();
    folder_.write_config(config);
    if (resumed_) {
        for (const fs::path& file : resumed_->damaged)
            request_.warn(fmt::format("renamed to {}", folder_.set_aside(file).string()));
        std::error_code ignored;
        if (fs::equivalent(folder_.checkpoint(progress_.step), resumed_->from, ignored))
            folder_.link(folder_.latest(), progress_.step);
    }
    log_->open(folder_, progress_.step, lock_);
    evaluations_.emplace(folder_.evaluations(), "step,split,bpd,stderr,images,weights", progress_.step,
                         &lock_);
    if (options_.audit_every > 0) audits_.emplace(folder_.audits(), kAuditColumns, progress_.step, &lock_);
}

// From the checkpoint to resume from, or that of --init-from.
void Run::load_weights() {
    const auto timeout = allow_time("reading a checkpoint");
    Parameters& parameters = trainer_->glow().parameters();
    if (resumed_) {
        load_checkpoint(resumed_->from, parameters, backend_->exec(), trainer_->weights());
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
        load_checkpoint(file, parameters, backend_->exec(),
                        {.params = trainer_->weights().params, .fixed = trainer_->weights().fixed});
        trainer_->restart();
        request_.say(fmt::format("weights from {}", file.string()));
    }
}

// What was done at this step before: its checkpoint, and the evaluations in eval.csv.
void Run::recall(bool saved) {
    struct {
        bool saved;
        Evaluated evaluated;
    } known = {saved, {}};
    if (processes_.is_root()) known.evaluated = read_evaluations(folder_, progress_.step);
    processes_.broadcast(sizeof(known), &known);
    saved_step_ = known.saved ? progress_.step : -1;
    best_ = known.evaluated.best;
    const auto mean = [&](const std::optional<double>& bits) {
        return bits ? std::optional(Mean{*bits, 0, valid_ ? valid_->N() : 0}) : std::nullopt;
    };
    result_.valid_raw = mean(known.evaluated.raw);
    result_.valid_ema = mean(known.evaluated.ema);
    evaluated_step_ = result_.valid_ema && result_.valid_raw ? progress_.step : -1;
}

// Is the checkpoint that the run goes on from its own latest one?
bool Run::is_latest() const {
    std::error_code ignored;
    return fs::equivalent(folder_.latest(), resumed_->from, ignored) &&
           fs::equivalent(folder_.checkpoint(progress_.step), resumed_->from, ignored);
}

// Clocks are each process's own, and all must do the same: the first one's count.
template <std::size_t N>
std::array<bool, N> Run::first_says(const std::array<bool, N>& wishes) {
    std::array<bool, N> first = wishes;
    processes_.broadcast(sizeof(first), first.data());
    return first;
}

std::string Run::limit_reached() {
    if (processes_.all_reduce_max(StopSignals::asked() ? 1 : 0) > 0) return "signal";  // to any of them
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
        const auto timeout = allow_time("writing eval.csv");
        const std::string row = fmt::format("{},valid,{:.9g},{:.6g},{},{}", progress_.step, mean.value,
                                            mean.standard_error, mean.count, ema ? "ema" : "raw");
        if (evaluations_) attempt_([&] { evaluations_->row(row); });
    }
    request_.say(fmt::format("  validation: {:.4f} bits/dim (EMA), {:.4f} (raw), {} images",
                             result_.valid_ema->value, result_.valid_raw->value, valid_->N()));
    if (result_.valid_ema->value < best_) {
        if (!save()) return;
        best_ = result_.valid_ema->value;
        const auto timeout = allow_time("linking a checkpoint");
        if (processes_.is_root()) attempt_([&] { folder_.link(folder_.best(), progress_.step); });
    }
}

// Compressed and written beside the steps that follow.
void Run::draw_samples() {
    trainer_->use(true);
    std::optional<SampleSheet> sheet = sample_sheet(trainer_->runnable(), options_.seed);
    wait_for_samples();
    if (!sheet) return;
    if (!sheet->no_images.empty())
        request_.say(
            fmt::format("samples of step {}: {} (docs/using.md says why)", progress_.step, sheet->no_images));
    sheet_ = std::async(std::launch::async, [path = folder_.samples(progress_.step),
                                             image = std::move(sheet->image)] { write_png(path, image); });
}

// Throws what writing the last sheet threw.
void Run::wait_for_samples() {
    const auto timeout = allow_time("writing samples");
    if (!sheet_.valid()) return;
    attempt_([&] { sheet_.get(); });
}

// False where it cannot be written now.
bool Run::save() {
    if (saved_step_ == progress_.step) return true;
    trainer_->check_usable();
    trainer_->check_equal();
    bool saved = true;
    if (processes_.is_root()) {
        wait_for_samples();  // its file in the making would pass for one that a killed process left
        const auto timeout = allow_time("writing a checkpoint");
        saved = attempt_([&] { write_checkpoint(); });
    }
    saved = first_says<1>({saved})[0];
    if (saved) saved_step_ = progress_.step;
    return saved;
}

void Run::write_checkpoint() {
    folder_.make();
    lock_folder();
    if (!folder_.holds_run()) {
        request_.warn(fmt::format("{}: the run's folder is gone, and is made again", options_.out));
        folder_.create();
        folder_.write_config(to_toml(configured_));
    }
    folder_.create();
    TrainingOptions recorded = options_;
    recorded.data = configured_.data;
    recorded.out = configured_.out;
    nlohmann::ordered_json config = to_json(recorded);
    config["data_set"] = data_;
    save_checkpoint(folder_.checkpoint(progress_.step), config, progress_, to_json(progress_.history), trainer_->glow().parameters(),
                    backend_->exec(), trainer_->weights());
    folder_.link(folder_.latest(), progress_.step);
    folder_.prune(options_.keep, progress_.step);
}

// ---- Steps gone wrong ----------------------------------------------------------------------------

// Back to a good state with a lower learning rate; the first time in a row to the last checkpoint, and to an
// older one each time that the run does not get past the step.
void Run::recover(const StepFailure& failure) {
    const index_t t = at_step_;
    TrainingHistory history = progress_.history;
    if (t > history.failed_step + schedule_.steps_per_epoch) history.rollbacks = 0;
    const bool again = history.rollbacks > 0 && t <= history.failed_step;
    const bool gives_up = history.rollbacks >= options_.rollbacks;
    history = {history.lr_scale * options_.rollback_lr, history.rollbacks + 1, t, history.rolled_back_to};

    nlohmann::ordered_json report = flight_report(failure);
    const fs::path file = folder_.report(t, history.rollbacks);
    const auto write = [&](const nlohmann::ordered_json& action) {
        report["action"] = action;
        if (!processes_.is_root()) return;
        const auto timeout = allow_time("writing a report");
        attempt_([&] { folder_.write_report(file, report.dump(1) + "\n"); });
    };
    const std::string told = failure.found.value("message", "");
    if (gives_up) {
        write("given up");
        const std::string tries =
            options_.rollbacks > 0
                ? fmt::format(" after {} roll-backs in a row (--rollbacks)", options_.rollbacks)
                : "";
        throw Error(fmt::format(
            "step {}: {}; given up{}, report in {}; lower --lr or resume from an earlier checkpoint", t, told,
            tries, file.string()));
    }
    write("going back");
    reload(again ? history.rolled_back_to - 1 : t);
    // What the checkpoint knows of its own past stays: the losses that the next ones are compared with.
    progress_.history.lr_scale = history.lr_scale;
    progress_.history.rollbacks = history.rollbacks;
    progress_.history.failed_step = t;
    progress_.history.rolled_back_to = progress_.step;
    ++result_.rollbacks;
    write({{"roll_back", history.rollbacks},
           {"of", options_.rollbacks},
           {"to_step", progress_.step},
           {"lr_scale", history.lr_scale}});
    request_.warn(fmt::format(
        "step {}: {}; back at step {} with {:.3g} times the learning rate (roll-back {} of {} in a "
        "row), report in {}",
        t, told, progress_.step, history.lr_scale, history.rollbacks, options_.rollbacks, file.string()));
}

// Drift with fused updates, whose steps cannot be redone: back to the last checkpoint, and more states are
// kept from then on, also when the run is resumed.
void Run::keep_more(const DriftError& lost) {
    const index_t anchor_every = trainer_->policy().anchor_every;
    options_.anchor_every = configured_.anchor_every = anchor_every;
    reload(at_step_);
    if (processes_.is_root()) {
        const auto timeout = allow_time("writing the run's options");
        attempt_([&] { folder_.write_config(to_toml(configured_)); });
    }
    request_.warn(fmt::format("step {}: {}; back at step {}, {} from now on", at_step_, lost.what(),
                              progress_.step,
                              anchor_every == 1 ? "every state is kept" : "a state every 16 steps is kept"));
}

// What is known of a step gone wrong, and of those before.
nlohmann::ordered_json Run::flight_report(const StepFailure& failure) const {
    const Limits limits = limits_of(progress_.history, options_);
    nlohmann::ordered_json report = {{"format", "glow-flight-report"}, {"version", 1}, {"step", at_step_}};
    report.update(failure.found);
    report["epoch"] = progress_.epoch;
    report["images"] = {{"first", (at_step_ - 1) * options_.batch}, {"count", options_.batch}};
    report["lr"] = learning_rate(options_, schedule_, at_step_, progress_.history.lr_scale);
    report["limits"] = {{"loss", json_number(limits.loss)}, {"condition", json_number(limits.condition)}};
    for (const auto& [step, loss, norm, condition, drift] : last_steps_)
        report["last_steps"].push_back({{"step", static_cast<index_t>(step)},
                                        {"loss", json_number(loss)},
                                        {"grad_norm", json_number(norm)},
                                        {"max_condition", json_number(condition)},
                                        {"drift", json_number(drift)}});
    return report;
}

// To the newest whole checkpoint up to a step; where there is none so old to the oldest, and where there is
// none at all to the beginning. Weights, averages, moments, counters and logs are then as they were.
void Run::reload(index_t newest) {
    struct {
        bool found;
        TrainingProgress progress;
    } target = {false, beginning_};
    if (processes_.is_root()) {
        const auto timeout = allow_time("reading a checkpoint");
        std::vector<RunFolder::Saved> saved = folder_.saved();
        // Later ones are of another past, which the run was taken back from by hand.
        const index_t own = RunFolder::step_of(folder_.latest()).value_or(at_step_);
        std::erase_if(saved, [&](const auto& one) { return one.step > own; });
        if (!saved.empty()) newest = std::max(newest, saved.back().step);
        for (std::size_t i = 0; i < saved.size() && !target.found; ++i)
            if (saved[i].step <= newest) target.found = load_saved(saved[i], target.progress);
    }
    processes_.broadcast(sizeof(target), &target);
    progress_ = target.progress;
    if (target.found)
        trainer_->broadcast_weights();
    else
        begin_again();
    if (processes_.is_root()) {
        const auto timeout = allow_time("cutting the logs");
        folder_.go_back_to(progress_.step);
        log_->go_back_to(progress_.step);
        evaluations_->drop_after(progress_.step);
        if (audits_) audits_->drop_after(progress_.step);
    }
    recall(target.found);
    batches_->seek(progress_.images_seen);
}

// False, told, where the file is damaged.
bool Run::load_saved(const RunFolder::Saved& saved, TrainingProgress& progress) {
    try {
        const CheckpointInfo info = read_checkpoint_info(saved.path);
        load_checkpoint(saved.path, trainer_->glow().parameters(), backend_->exec(), trainer_->weights());
        trainer_->weights_changed();
        trainer_->check_usable();
        progress = training_progress(info);
        return true;
    } catch (const Error& error) {
        request_.warn(error.what());
        return false;
    }
}

// ---- The loop ------------------------------------------------------------------------------------

// Of the device's memory: by this process on the CPU, by everyone on a GPU.
std::size_t Run::bytes_taken() const {
    return request_.device == Device::cuda ? device_bytes_in_use() : process_peak_bytes();
}

// One step on the images that are next.
StepResult Run::train_on_next() {
    const index_t t = at_step_ = progress_.step + 1;
    if (request_.before_step) request_.before_step(t, *trainer_);
    const Batch& batch = batches_->next();
    const TrainingHistory history = progress_.history;
    const Limits limits = limits_of(history, options_);
    const StepResult step =
        trainer_->step(batch, optimizer_at(options_, schedule_, t, history.lr_scale), limits);
    progress_ = {t, progress_.images_seen + options_.batch,
                 static_cast<double>(progress_.images_seen + options_.batch) / schedule_.epoch_images,
                 history};
    progress_.history.add(std::min(step.loss, limits.loss), step.max_condition);  // strange images count less
    if (audits_ && t % options_.audit_every == 0) audit(batch);
    return step;
}

// On the first process, which always has images; the others wait for it in the next step.
void Run::audit(const Batch& batch) {
    const auto timeout = allow_time("auditing the gradients");
    const Audit audit = trainer_->audit(batch);
    const std::string text = fmt::format("step {}: {}", progress_.step, describe(audit));
    (audit.holds() ? request_.say : request_.warn)(text);
    attempt_([&] {
        for (const std::string& row : rows(audit, progress_.step)) audits_->row(row);
    });
}

void Run::take_step() {
    const StepResult step = train_on_next();
    const index_t t = progress_.step;
    result_.bits_per_dim = step.bits_per_dim;
    remember(step);
    log_->step(progress_, step, total(memory_->peak()));
    const auto [evaluation_due, samples_due, checkpoint_due] =
        first_says<3>({evaluate_timer_->due(t), sample_timer_->due(t), save_timer_->due(t)});
    if (evaluation_due) evaluate_valid();
    if (samples_due) draw_samples();
    if (checkpoint_due) save();
    if (t % kCompareEvery == 0) trainer_->check_equal();
}

// For reports.
void Run::remember(const StepResult& step) {
    last_steps_.push_back(
        {static_cast<double>(progress_.step), step.loss, step.grad_norm, step.max_condition, step.drift});
    if (last_steps_.size() > kRemembered) last_steps_.pop_front();
}

void Run::finish() {
    if (!save())
        throw Error(fmt::format("the run ends at step {}, which cannot be written: {}", progress_.step,
                                processes_.is_root() ? attempt_.told() : "see the first process"));
    if (result_.ended != "signal") {
        evaluate_valid();
        draw_samples();
    }
    wait_for_samples();
    log_->end();
    if (evaluations_) evaluations_->flush();
    processes_
        .barrier();  // until the first one has written all: another signal must not end the others before
}

RunResult Run::operator()() {
    check(options_);
    compare_requests();
    open_folder();
    open_data();
    const StopSignals signals;
    start_model();
    if (resuming_) recall(processes_.is_root() && is_latest());

    evaluate_timer_.emplace(options_.eval_every);
    sample_timer_.emplace(options_.sample_every);
    save_timer_.emplace(options_.checkpoint_every);
    log_->start(progress_);
    for (bool done = false; !done;) {
        try {
            while ((result_.ended = limit_reached()).empty()) take_step();
            finish();
            done = true;
        } catch (const DriftError& lost) {
            keep_more(lost);
        } catch (const StepFailure& failure) {
            recover(failure);
        }
    }
    result_.progress = progress_;
    result_.lr_scale = progress_.history.lr_scale;
    result_.planned_bytes = total(plan_.bytes);
    result_.peak_bytes = total(memory_->peak());
    result_.process_growth_bytes = bytes_taken() - process_before_;
    result_.checkpoint = folder_.checkpoint(progress_.step).string();
    return result_;
}

// To the nearest limit; 0 without one.
index_t Run::steps_left() const {
    const double batch = static_cast<double>(options_.batch);
    double last = options_.max_steps > 0 ? static_cast<double>(options_.max_steps)
                                         : std::numeric_limits<double>::infinity();
    if (options_.epochs > 0)
        last = std::min(last, std::ceil(options_.epochs * schedule_.epoch_images / batch));
    if (std::isinf(last)) return 0;
    return std::max<index_t>(0, static_cast<index_t>(last) - progress_.step);
}

Rehearsal Run::rehearse() {
    rehearsing_ = true;
    check(options_);
    compare_requests();
    open_folder();
    open_data();
    const StopSignals signals;
    start_model();
    Rehearsal rehearsal;
    rehearsal.plan = plan_;
    rehearsal.steps_left = steps_left();
    // The first two load libraries and record; a step waits for the device, for what the one before started.
    for (int i = 0; i < 2 && !StopSignals::asked(); ++i) train_on_next();
    std::vector<double> seconds;
    const Clock::time_point start = Clock::now();
    do {
        const Clock::time_point before = Clock::now();
        train_on_next();
        seconds.push_back(seconds_since(before));
    } while (first_says<1>({seconds.size() < kTimedSteps && seconds_since(start) < kTimedSeconds})[0] &&
             !(processes_.all_reduce_max(StopSignals::asked() ? 1 : 0) > 0));
    std::sort(seconds.begin(), seconds.end());
    rehearsal.timed_steps = std::ssize(seconds);
    rehearsal.step_seconds = seconds[seconds.size() / 2];
    rehearsal.images_per_s = static_cast<double>(options_.batch) / rehearsal.step_seconds;
    rehearsal.epoch_seconds = schedule_.epoch_images / rehearsal.images_per_s;
    rehearsal.seconds_left = static_cast<double>(rehearsal.steps_left) * rehearsal.step_seconds;
    if (options_.max_minutes > 0)
        rehearsal.seconds_left = rehearsal.steps_left > 0
                                     ? std::min(rehearsal.seconds_left, options_.max_minutes * 60)
                                     : options_.max_minutes * 60;
    rehearsal.peak_bytes = total(memory_->peak());
    rehearsal.process_growth_bytes = bytes_taken() - process_before_;
    return rehearsal;
}

}  // namespace

RunResult run_training(const RunRequest& request) {
    return Run(request)();
}

Rehearsal rehearse_training(const RunRequest& request) {
    return Run(request).rehearse();
}

}  // namespace glow
