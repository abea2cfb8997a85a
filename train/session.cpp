#include "train/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "data/data_fingerprint.h"
#include "inference/data_access.h"
#include "inference/equal_inputs.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"
#include "train/evaluations.h"
#include "train/memory_fit.h"
#include "train/progress_bar.h"
#include "train/run_plan.h"
#include "train/tune.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

// With a smaller beta2 (by default: fewer than 10 steps per epoch), Adamax divides an average of gradients by
// little more than the last one, so an update may be many times the learning rate.
constexpr double kUnstableBeta2 = 0.9;

// With a larger beta1, a first moment in bf16, which is rounded to nearest, ignores many gradients: it
// changes only if (1 - beta1) |g - m| exceeds half a unit in the last place, up to |m| / 256.
constexpr double kMaxBf16Beta1 = 0.99;

// Bytes of parameters above which a step on a CPU is slow. The model of --preset quick has 6.2 MiB, the
// published one 170 MiB.
constexpr std::size_t kLargeOnCpu = std::size_t{40} << 20;

std::string minutes_text(double minutes) {
    return fmt::format("{} minute{}", minutes, minutes == 1 ? "" : "s");
}

// Replaces missing callbacks by no-ops. On a terminal, every line first removes the progress line.
RunRequest complete(RunRequest request) {
    if (!request.info) request.info = [](const std::string&) {};
    if (!request.warn) request.warn = request.info;
    if (request.terminal)
        for (auto* const print : {&request.info, &request.warn})
            *print = [print = *print](const std::string& line) {
                std::fputs(kEraseLine, stderr);
                print(line);
            };
    return request;
}

// Memory in use: of this process (CPU), of the whole device (GPU).
std::size_t bytes_in_use(Device device) {
    return device == Device::cuda ? device_bytes_in_use() : process_peak_bytes();
}

}  // namespace

Session::Session(const RunRequest& given, Mode mode)
    : request(complete(given)),
      processes(given.processes != nullptr ? *given.processes : single_process_),
      options(given.options),
      folder(given.options.out),
      checkpoints(request, folder),
      mode_(mode),
      configured_(given.options) {
    configured_.data = absolute_name(options.data);
    configured_.out = absolute_name(options.out);
    if (request.recorded_limits) {
        configured_.max_steps = request.recorded_limits->max_steps;
        configured_.max_minutes = request.recorded_limits->max_minutes;
    }
    check(options);
    if (options.lr_schedule != LrSchedule::constant && !has_limit(configured_))
        throw InputError(fmt::format(
            "--lr-schedule {} decays until the run ends, and this run has no limit of its own: --max-steps and "
            "--max-minutes end only this part of it; add --save-limits, which makes them the run's",
            to_string(options.lr_schedule)));
    compare_requests();
    // Before the data set is read, which may take minutes: a job that ends meanwhile is to be continued.
    // Launchers send SIGTERM when another rank fails, too.
    const char* const answer =
        mode_ != Mode::train ? "stopping after this step"
        : processes.size() == 1
            ? "stopping after this step, then writing a checkpoint"
            : "stopping after this step, then writing a checkpoint unless another rank has failed";
    signals_.emplace(request.answer_signals ? answer : nullptr, request.terminal);
    open_folder();
    open_data();
    open_model();
    log.emplace(request, options, schedule);
    // Initializing weights takes a while, so a new run does it only after all inputs have been accepted.
    if (!is_fresh()) restart();
    processes.barrier();
    bool saved = processes.is_root() && resumed_ && resumed_->is_latest_of(folder);
    if (processes.is_root() && mode_ == Mode::train) saved = open_files();
    if (is_fresh())
        restart();
    else if (resuming_ || mode_ == Mode::train)
        restore_completed(saved);
    // A run without a checkpoint starts again, but has its limits.
    if (resuming_ || (request.resume && request.recorded_limits)) report_limits();
    if (const index_t images = valid ? valid->N() : 0; images < kFewValidationImages && mode_ == Mode::train)
        request.info(images == 0
                         ? "note: the data set has no validation images, so the run has no validation "
                           "and no best.h5"
                         : fmt::format("note: only {}: their bits/dim will be imprecise",
                                       counted(images, "validation image")));
    if (options.beta2 == 0 && schedule.beta2 < kUnstableBeta2 && mode_ == Mode::train)
        request.info(fmt::format(
            "note: beta2 is {:.6g}, its default for so few steps per epoch: training may be unstable; use --beta2 0.99, or "
            "--schedule-images 50000 as the presets do",
            schedule.beta2));
    if (options.moments == MomentPrecision::bf16 && options.beta1 > kMaxBf16Beta1 && mode_ == Mode::train)
        request.info(fmt::format(
            "note: beta1 is {:.6g}: with --moments bf16 the first moment, which is rounded to nearest, ignores many "
            "gradients; use --moments fp32, or --beta1 {:g} or less",
            options.beta1, kMaxBf16Beta1));
}

// Reports limits that hold only for this part of the run and are not saved in its config.toml.
void Session::report_limits() {
    std::string text;
    if (options.max_steps != configured_.max_steps && options.max_steps > 0)
        text = fmt::format("at step {} (--max-steps counts from the start of the run)", options.max_steps);
    if (options.max_minutes != configured_.max_minutes && options.max_minutes > 0)
        text += fmt::format("{}after {}", text.empty() ? "" : " or ", minutes_text(options.max_minutes));
    if (!text.empty())
        request.info(fmt::format(
            "this part of the run ends {}; config.toml keeps the run's own limits (--save-limits replaces them)",
            text));
    if (options.lr_schedule == LrSchedule::constant) return;
    const double steps = static_cast<double>(options.max_steps);
    const double minutes = progress.minutes + options.max_minutes;
    std::string end;
    if (schedule.end_steps > 0 && (steps == 0 || steps > schedule.end_steps))
        end = fmt::format("at step {}", schedule.end_steps);
    else if (schedule.end_minutes > 0 && options.max_minutes != schedule.end_minutes &&
             (options.max_minutes == 0 || minutes > schedule.end_minutes))
        end = fmt::format("after {} of the run", minutes_text(schedule.end_minutes));
    if (!end.empty())
        request.warn(fmt::format(
            "the decay of the learning rate ends {}, before this part of the run does: the steps after it train with "
            "--lr-final {}; --save-limits moves the end of the decay, --lr-schedule constant keeps --lr",
            end, options.lr_final));
}

// A launcher may start its programs with different arguments, and config.toml may differ between hosts.
void Session::compare_requests() {
    const auto& limits = request.recorded_limits;
    const std::string mine = fmt::format(
        "{}resume {} {}\ninit-from {}\nlimits of the run: {}\n", to_toml(options), request.resume,
        request.resume_from, request.init_from,
        limits ? fmt::format("{} steps, {} minutes", limits->max_steps, limits->max_minutes) : "none");
    const std::string root = broadcast_text(processes, mine);
    if (root == mine) return;
    const auto [at_mine, at_root] = std::mismatch(mine.begin(), mine.end(), root.begin(), root.end());
    const auto line = [](const std::string& text, std::string::const_iterator at) {
        const auto position = static_cast<std::size_t>(at - text.begin());
        const std::size_t begin = position == 0 ? 0 : text.rfind('\n', position - 1) + 1;
        return text.substr(begin, text.find('\n', position) - begin);
    };
    throw InputError(
        fmt::format("this process was started with \"{}\" but rank 0 with \"{}\": all ranks need the same "
                    "options, and a run folder on a shared file system",
                    line(mine, at_mine), line(root, at_root)));
}

// ---- Folder and checkpoints ----------------------------------------------------------------------

void Session::open_folder() {
    std::error_code ignored;
    // A folder that does not exist yet is locked when it is created.
    if (processes.is_root() && mode_ == Mode::train && fs::is_directory(options.out, ignored)) {
        const ScopedTimeout timeout("locking the run's folder");
        checkpoints.lock_folder();
    }
    if (processes.is_root() && (request.resume || mode_ == Mode::train)) {
        const ScopedTimeout timeout("reading a checkpoint");
        resumed_ = find_run_to_resume(request, folder);
    }
    struct {
        bool resuming;
        int threads;
        double epoch_images;
        TrainingProgress progress;
    } found = {resumed_.has_value(), options.threads, 0, {}};
    if (resumed_) {
        if (!request.init_from.empty())
            request.info(fmt::format("--init-from {} is not used: the run in {} has begun and continues",
                                     request.init_from, options.out));
        found.progress = resumed_->progress(options);
        found.epoch_images = resumed_->epoch_images();
        const index_t before = resumed_->processes_per_host(), now = processes.group().local_size;
        if (before > 0 && before != now)
            request.info(fmt::format(
                "the run had {} process{} on this host and now has {}; threads and --act-budget are chosen "
                "again unless you set them",
                before, before == 1 ? "" : "es", now));
        if (found.threads == 0) found.threads = resumed_->options_for(processes.group()).threads;
    }
    processes.broadcast(sizeof(found), &found);
    resuming_ = found.resuming;
    options.threads = found.threads;
    recorded_epoch_images_ = found.epoch_images;
    progress = beginning_ = found.progress;
}

bool Session::open_files() {
    const ScopedTimeout timeout("making the run's folder");
    checkpoints.open_folder();
    // Weights of another run are saved before config.toml: with it, but without a checkpoint, a killed run
    // would start again from random weights.
    const bool from_elsewhere = !is_fresh() && !(resumed_ && folder.owns(resumed_->from));
    bool saved = from_elsewhere && retry([&] { write_checkpoint(progress.minutes); });
    folder.write_config(to_toml(configured_));
    if (resumed_) {
        checkpoints.take_over(*resumed_);
        saved = saved || resumed_->is_latest_of(folder);
    }
    log->open(folder, progress.step, checkpoints.lock());
    evaluations.emplace(folder.evaluations(), kEvaluationColumns, progress.step, &checkpoints.lock());
    if (options.audit_every > 0)
        audits.emplace(folder.audits(), kAuditColumns, progress.step, &checkpoints.lock());
    return saved;
}

void Session::restore_completed(bool saved) {
    struct {
        bool saved;
        Evaluated evaluated;
    } known = {saved, {}};
    if (processes.is_root()) {
        known.evaluated = read_evaluations(folder, progress.step);
        const std::optional<index_t> best = known.evaluated.best_step;
        best_to_link.reset();
        if (mode_ == Mode::train && RunFolder::step_of(folder.best()) != best) {
            const ScopedTimeout timeout("linking a checkpoint");
            if (!retry([&] { checkpoints.relink_best(best); })) best_to_link = best;
        }
    }
    processes.broadcast(sizeof(known), &known);
    completed.saved = known.saved ? progress.step : -1;
    completed.best_bits_per_dim = known.evaluated.best_bits_per_dim;
    completed.valid_raw = known.evaluated.raw;
    completed.valid_ema = known.evaluated.ema;
    completed.evaluated = completed.valid_ema && completed.valid_raw ? progress.step : -1;
}

bool Session::save(double minutes) {
    bool saved = true;
    if (processes.is_root()) {
        const ScopedTimeout timeout("writing a checkpoint");
        saved = retry([&] { write_checkpoint(minutes); });
    }
    saved = root_decides<1>({saved})[0];
    if (saved) completed.saved = progress.step;
    return saved;
}

void Session::write_checkpoint(double minutes) {
    TrainingProgress saved = progress;
    saved.minutes = minutes;
    TrainingOptions recorded = options;
    recorded.data = configured_.data;
    recorded.out = configured_.out;
    recorded.max_steps = configured_.max_steps;
    recorded.max_minutes = configured_.max_minutes;
    nlohmann::ordered_json config = to_json(recorded);
    config["data_set"] = data_;
    config["processes_per_host"] = processes.group().local_size;
    checkpoints.write(
        {std::move(config), saved, trainer->glow().parameters(), trainer->weights(), backend->exec()},
        to_toml(configured_), [this] { sync_logs(); });
    link_best();  // before the checkpoint that it points to now is removed
    folder.prune(options.keep, completed.saved >= 0 ? completed.saved : beginning_.step, progress.step,
                 best_to_link);
}

void Session::link_best() {
    if (!processes.is_root() || !best_to_link) return;
    const ScopedTimeout timeout("linking a checkpoint");
    if (retry([&] { checkpoints.link(folder.best(), *best_to_link); })) best_to_link.reset();
}

// If rows cannot be written, warns and lets the checkpoint be saved: the weights are worth more.
void Session::sync_logs() {
    log->sync();
    for (std::optional<CsvLog>* const csv : {&evaluations, &audits})
        if (*csv) retry([&] { (*csv)->sync(); });
}

void Session::set_anchor_every(index_t anchor_every) {
    options.anchor_every = configured_.anchor_every = anchor_every;
    if (!processes.is_root()) return;
    const ScopedTimeout timeout("writing the run's options");
    retry([&] { folder.write_config(to_toml(configured_)); });
}

// ---- Data ----------------------------------------------------------------------------------------

void Session::open_data() {
    const ScopedTimeout timeout("reading the data set");
    const DatasetReader reader(options.data);
    const DatasetInfo& info = reader.info();
    fit_model(info, options);
    train_images_ = info.train;
    image_bytes_ = static_cast<std::size_t>((info.train + info.valid) * info.H * info.W * info.C);
    ChunkInfo chunks = reader.chunks("train");
    if (info.valid > 0)
        if (const ChunkInfo of_valid = reader.chunks("valid"); of_valid.rows_unpacked > chunks.rows_unpacked)
            chunks = of_valid;
    const DataAccess access = choose_data_access(options.data_access, options.data, image_bytes_,
                                                 memory_limit_bytes(), processes.group().local_size, chunks);
    if (!access.warning.empty()) request.warn(access.warning);
    if (processes.is_root() && !resuming_ && options.model.y_cond)
        if (const std::string empty = describe_empty_classes(reader); !empty.empty())
            request.warn(fmt::format("{}: {}", options.data, empty));
    on_disk_ = access.on_disk;
    const auto split = [&](const char* name) {
        return on_disk_ ? SplitImages(options.data, name) : SplitImages(load_split(options.data, name));
    };
    if (info.valid > 0) valid.emplace(split("valid"));
    SplitImages train = split("train");
    data_ = data_fingerprint(train, valid ? &*valid : nullptr);
    require_equal_data(processes, options.data, data_);
    // On a GPU, read ahead even from memory: the host prepares the next images during a step.
    const bool read_ahead = on_disk_ || request.device == Device::cuda;
    images.emplace(std::move(train), options.augment, options.shuffle, options.seed, read_ahead);
    reuse_recorded_epoch();
    schedule = make_schedule(options, train_images_);
    if (request.recorded_limits) {  // a decay ends with the run, not with this part of it
        schedule.end_steps = static_cast<double>(request.recorded_limits->max_steps);
        schedule.end_minutes = request.recorded_limits->max_minutes;
    }
}

// Keeps the defaults that depend on the number of training images (epoch, beta2, EMA decay, warm-up) as they
// were when the run began, even if it continues with another data set.
void Session::reuse_recorded_epoch() {
    const double recorded = recorded_epoch_images_;
    if (recorded == 0) return;  // a new run, or a checkpoint without this number
    const auto images = static_cast<double>(train_images_);
    if (options.epoch_images == 0 && images != recorded) {
        options.epoch_images = configured_.epoch_images = recorded;
        request.info(fmt::format(
            "the data set has {}; the run keeps its epoch of {:.0f} images, and with it the defaults of beta2, EMA decay "
            "and warm-up",
            counted(train_images_, "training image"), recorded));
    }
    // Equal epochs may be written differently: 0 is the size of the training set.
    if (resumed_ && (options.epoch_images > 0 ? options.epoch_images : images) == recorded)
        resumed_->options.epoch_images = options.epoch_images;
}

// ---- Model ---------------------------------------------------------------------------------------

void Session::open_model() {
    const int ordinal = device_number(processes.group(), cuda::device_count());
    backend = std::make_unique<Backend>(request.device, options.threads, ordinal, &processes);
    options.threads = backend->exec().threads;  // recorded, and reused on resume
    if (const std::string warning = thread_warning(processes, backend->threads()); !warning.empty())
        request.warn(warning +
                     (resuming_ ? ": the run continues, and its losses now differ by rounding" : ""));
    if (request.verbose) backend->conv().set_log(request.info);
    options.engines =
        engines_of_run(options, resuming_, resumed_ ? resumed_->options.engines : "", *backend, request.info);
    choose_memory();
    options.algorithms =
        algorithms_of_run(options, resumed_ ? &resumed_->options : nullptr, *backend, request.info);
    if (resumed_) {
        compare_options(*resumed_, options, request.info);
        compare_data(*resumed_, data_, request);
    }

    TrainingOptions sized = options;
    sized.init_batch = init_images();
    plan = memory_plan(sized, init_images(), *backend, PlanScope::run);
    request.info(describe(Settings{options, schedule, train_images_, valid ? valid->N() : 0, on_disk_,
                                   backend->description(), backend->threads(), processes}));
    request.info(describe(plan));
    if (request.device == Device::cpu && at(plan.bytes, Category::parameters) > kLargeOnCpu)
        request.info(
            "note: a training step of a model of this size may take minutes on a CPU; --estimate measures it, "
            "and --preset quick trains a small model");
    if (request.device == Device::cpu)  // a GPU reports this itself
        if (const std::string problem =
                memory_problem(total(plan.bytes), processes.group().local_size, fallback_bytes(plan));
            !problem.empty())
            throw InputError(problem);
    bytes_before_ = bytes_in_use(request.device);
    memory = std::make_unique<Memory>(request.device, capacity_of(plan, request.device));
    (*memory)[Category::stored].reserve(plan.fallback_stored);
    trainer = std::make_unique<Trainer>(sized, *backend, *memory);
}

// Chooses the memory policy and micro-batches from the machine, --max-memory and the resumed run.
void Session::choose_memory() {
    std::optional<TrainingOptions> recorded;
    if (resumed_) recorded = resumed_->options_for(processes.group());
    ProcessGroup group = processes.group();
    if (request.device == Device::cuda && device_bytes() > 0) {
        const std::string mine = cuda::device_id();
        const std::vector<std::string> all = gather_texts(processes, mine);
        group.gpu_sharing = static_cast<int>(std::count(all.begin(), all.end(), mine));
    }
    reuse_recorded_sizes(options, recorded ? &*recorded : nullptr, request.device, group);
    struct {
        index_t micro_batch, act_budget;
    } chosen = {options.micro_batch, options.act_budget};
    processes.broadcast(sizeof(chosen), &chosen);
    options.micro_batch = chosen.micro_batch;
    options.act_budget = chosen.act_budget;
    const auto planned = [&](const TrainingOptions& sized) {
        return memory_plan(sized, init_images(), *backend, PlanScope::run);
    };
    fit_memory(options, planned, processes.group(), request.device, on_disk_ ? 0 : image_bytes_);
}

void Session::restart() {
    progress = beginning_;
    if (is_fresh()) {
        request.info(
            fmt::format("initializing the actnorms from {}", counted(schedule.init_images, "image")));
        if (const index_t values = schedule.init_images * top_pixels(options.model); values < kFewInitValues)
            request.info(fmt::format(
                "note: {} per channel at the deepest level: training may be unstable; use a larger --init-batch",
                counted(values, "value")));
        const Slice mine = processes.slice(schedule.init_images);
        const Batch batch = [&] {
            const ScopedTimeout timeout("reading images");
            return images->take(mine.first, mine.count);
        }();
        // Sums over GPUs would not wait long enough for a rank that still reads.
        processes.barrier();
        trainer->initialize(batch);
    } else {
        if (processes.is_root()) load_weights();
        trainer->broadcast_weights();
    }
}

// From the checkpoint to resume, or of --init-from.
void Session::load_weights() {
    const ScopedTimeout timeout("reading a checkpoint");
    Parameters& parameters = trainer->glow().parameters();
    if (resumed_) {
        load_checkpoint(resumed_->from, parameters, backend->exec(), trainer->weights());
        trainer->weights_changed();
        try {
            trainer->check_usable();
        } catch (const Error& error) {
            throw InputError(fmt::format("{}: {}", resumed_->from.string(), error.what()));
        }
        request.info(fmt::format("resumed from {} at step {}", resumed_->from.string(), progress.step));
    } else {
        const fs::path file = find_checkpoint(request.init_from);
        const CheckpointInfo info = read_checkpoint_info(file);
        if (!(info.model == options.model))
            throw InputError(fmt::format(
                "--init-from {}: the model of the checkpoint differs from that of the run: {}; use the "
                "checkpoint's options and images of its kind",
                file.string(), model_differences(info.model, options.model)));
        load_checkpoint(file, parameters, backend->exec(),
                        {.params = trainer->weights().params, .fixed = trainer->weights().fixed});
        trainer->reset_optimizer();
        request.info(fmt::format("weights from {}", file.string()));
    }
}

std::size_t Session::memory_growth() const {
    // On a GPU of all processes: others may have given some back.
    const std::size_t now = bytes_in_use(request.device);
    return now - std::min(now, bytes_before_);
}

}  // namespace glow
