// The loop around the step.
#include "train/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <numeric>

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "train/data/grid.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/training_images.h"

namespace glow {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// ---- Signals: the run ends after the step at work, with a checkpoint; a second SIGINT leaves at once ---

volatile std::sig_atomic_t g_stop = 0;  // a signal handler can reach nothing else

void on_signal(int signal) {
    if (g_stop != 0 && signal == SIGINT) std::_Exit(130);
    g_stop = 1;
}

class SignalGuard {
  public:
    SignalGuard() {
        g_stop = 0;
        struct sigaction action {};
        action.sa_handler = on_signal;
        for (std::size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &action, &previous_[i]);
    }
    ~SignalGuard() {
        for (std::size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &previous_[i], nullptr);
    }
    SignalGuard(const SignalGuard&) = delete;
    SignalGuard& operator=(const SignalGuard&) = delete;

  private:
    static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    struct sigaction previous_[std::size(kSignals)];
};

// ---- Small parts ---------------------------------------------------------------------------------

// Is something due that happens every so many steps or minutes?
class Timer {
  public:
    explicit Timer(const Interval& interval) : interval_(interval) {}
    bool due(index_t step) {
        if (interval_.count <= 0) return false;
        if (!interval_.minutes) return step % static_cast<index_t>(interval_.count) == 0;
        if (seconds_since(last_) < interval_.count * 60) return false;
        last_ = Clock::now();
        return true;
    }

  private:
    Interval interval_;
    Clock::time_point last_ = Clock::now();
};

std::string duration(double seconds) {
    const auto s = static_cast<long>(seconds + 0.5);
    if (s >= 86400) return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
    if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
    return fmt::format("{}m{:02}s", s / 60, s % 60);
}

// Memory is only taken when it is touched: a plan beyond the machine would be killed hours later.
void refuse_beyond_machine(std::size_t each, int processes) {
    const std::size_t planned = each * static_cast<std::size_t>(processes);
    const std::size_t bytes = machine_memory_bytes();
    if (planned > bytes)
        throw InputError(fmt::format(
            "the run needs {}{} and this machine has {}: take a smaller --batch, --micro-batch or model, or "
            "--memory reconstruct (--plan shows the bytes)",
            human_bytes(planned), processes > 1 ? fmt::format(" for {} processes", processes) : "",
            human_bytes(bytes)));
}

// The parts of the model that the data set decides: shape of the images, number of classes.
void fit_model(const DatasetInfo& info, TrainingOptions& options) {
    ModelConfig& model = options.model;
    model.image_height = info.H;
    model.image_width = info.W;
    model.channels = info.C;
    model.n_classes = model.y_cond ? info.n_classes : 0;
    if (model.y_cond && (!info.train_labels || (info.valid > 0 && !info.valid_labels)))
        throw InputError(fmt::format("--y-cond: {} has no labels of its {} images", options.data,
                                     info.train_labels ? "validation" : "training"));
    check(model);
}

// Changes between a checkpoint's options and those of now: told, or refused.
void compare_options(const CheckpointInfo& checkpoint, const TrainingOptions& options,
                     const RunRequest& request) {
    const nlohmann::ordered_json now = to_json(options), then = checkpoint.config;
    const nlohmann::ordered_json model = to_json(options.model);
    std::string refused;
    std::vector<std::string> changes;
    for (const auto& [key, value] : model.items())
        if (then.value(key, nlohmann::ordered_json()) != value)
            refused += fmt::format("{} is {} and was {}; ", key, value.dump(),
                                   then.value(key, nlohmann::ordered_json()).dump());
    const nlohmann::ordered_json training = then.value("training", nlohmann::ordered_json::object());
    visit_training_options(options, [&](const char* name, const auto&, OnResume on_resume, const char*) {
        if (on_resume == OnResume::free || !training.contains(name)) return;
        const nlohmann::ordered_json &was = training[name], &is = now["training"][name];
        if (was == is) return;
        const std::string change = fmt::format("{} is {} and was {}", name, is.dump(), was.dump());
        if (on_resume == OnResume::fixed)
            refused += change + "; ";
        else
            changes.push_back(change);
    });
    if (!refused.empty())
        throw InputError(
            fmt::format("the run cannot be resumed with other settings: {}give the checkpoint's, or start a "
                        "new run with --init-from",
                        refused));
    for (const std::string& change : changes) request.say("changed on resume: " + change);
}

// Recorded, and reused on resume, as the number of threads is.
index_t act_budget(const TrainingOptions& options, const std::optional<CheckpointInfo>& resumed) {
    if (options.memory != "auto" || options.act_budget > 0) return options.act_budget;
    if (resumed) {
        const nlohmann::ordered_json training =
            resumed->config.value("training", nlohmann::ordered_json::object());
        if (training.contains("act-budget") && training["act-budget"].is_number_integer()) {
            const index_t bytes = training["act-budget"];
            if (bytes > 0 && bytes <= index_t{1} << 60) return bytes;
        }
    }
    return static_cast<index_t>(machine_memory_bytes() / 4);
}

constexpr index_t kCompareEvery =
    1000;  // steps; several processes compare their weights, also before every checkpoint

// ---- The run -------------------------------------------------------------------------------------

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
    void open_data();
    void open_folder();
    void find_checkpoint_to_resume();
    void start_model();
    void load_weights();
    void open_files(const std::string& config);
    void tell_settings() const;
    template <std::size_t N>
    std::array<bool, N> first_says(const std::array<bool, N>& wishes);
    std::string limit_reached();
    void log_step(const StepResult& step);
    void draw_progress();
    void evaluate_valid();
    void draw_samples();
    void save();
    void recall();
    std::size_t bytes_taken() const;
    void read_what_was_done();
    double total_fraction() const;

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
    std::optional<CheckpointInfo> resumed_;  // these two on the first process
    fs::path resumed_from_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Trainer> trainer_;
    std::unique_ptr<CsvLog> metrics_, evaluations_;  // of the first process
    Progress progress_;
    std::size_t process_before_ = 0;
    Clock::time_point start_, last_log_, last_draw_;
    double first_fraction_ = 0;  // of the whole run, done before this process started
    index_t steps_since_log_ = 0, saved_step_ = -1, evaluated_step_ = -1;
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

// The first process looks into the folder for all.
void Run::open_folder() {
    if (processes_.is_first()) find_checkpoint_to_resume();
    struct {
        bool resuming;
        int threads;
        Progress progress;
    } found = {resumed_.has_value(), options_.threads, resumed_ ? resumed_->progress : Progress{}};
    processes_.broadcast(sizeof(found), &found);
    resuming_ = found.resuming;
    options_.threads = found.threads;
    progress_ = found.progress;
}

void Run::find_checkpoint_to_resume() {
    std::error_code ignored;
    fs::path checkpoint = request_.resume_from;
    if (request_.resume && checkpoint.empty() && fs::exists(folder_.latest(), ignored))
        checkpoint = folder_.latest();
    if (!request_.resume && folder_.holds_run())
        throw InputError(fmt::format(
            "{}: the folder holds a run; go on with --resume, or choose another --out", options_.out));
    if (request_.resume && !checkpoint.empty()) {
        resumed_from_ = find_checkpoint(checkpoint);
        resumed_ = read_checkpoint_info(resumed_from_);
        const nlohmann::ordered_json training =
            resumed_->config.value("training", nlohmann::ordered_json::object());
        if (options_.threads == 0 && training.contains("threads") && training["threads"].is_number_integer())
            options_.threads = training["threads"];
        if (options_.threads < 0 || options_.threads > 4096) options_.threads = 0;
    }
}

void Run::start_model() {
    const int ordinal = device_number(processes_.group(), cuda::device_count());
    backend_ = std::make_unique<Backend>(request_.device, options_.threads, ordinal, &processes_);
    options_.threads = backend_->place().threads;  // recorded, and reused on resume
    if (resumed_) compare_options(*resumed_, options_, request_);

    options_.act_budget = act_budget(options_, resumed_);
    processes_.broadcast(sizeof(options_.act_budget), &options_.act_budget);

    TrainingOptions sized = options_;
    sized.init_batch = schedule_.init_images;
    plan_ = memory_plan(sized, schedule_.init_images, *backend_);
    tell_settings();
    if (request_.device == Device::cpu)  // a GPU refuses by itself
        refuse_beyond_machine(total(plan_.bytes), processes_.group().local_size);
    MemoryBytes capacity = plan_.bytes;
    at(capacity, Category::stored) = plan_.fallback_stored;  // reserved; touched only if drift asks for it
    process_before_ = bytes_taken();
    memory_ = std::make_unique<Memory>(request_.device, capacity);
    trainer_ = std::make_unique<Trainer>(sized, *backend_, *memory_);

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
    metrics_ = std::make_unique<CsvLog>(
        folder_.metrics(),
        std::string("step,epoch,images_seen,bpd,loss,grad_norm,lr,images_per_s,step_ms,peak_bytes,drift,"
                    "max_condition") +
            (trainer_->glow().has_classifier() ? ",bits_y,error_y" : ""),
        progress_.step);
    evaluations_ = std::make_unique<CsvLog>(folder_.evaluations(), "step,split,bpd,stderr,images,weights",
                                            progress_.step);
}

// From the checkpoint to resume from, or that of --init-from.
void Run::load_weights() {
    const auto allowance = patience("reading a checkpoint");
    Parameters& parameters = trainer_->glow().parameters();
    if (resumed_) {
        load_checkpoint(resumed_from_, parameters, backend_->place(), trainer_->weights());
        trainer_->weights_changed();
        try {
            trainer_->check_usable();
        } catch (const Error& error) {
            throw InputError(fmt::format("{}: {}", resumed_from_.string(), error.what()));
        }
        request_.say(fmt::format("resumed from {} at step {}", resumed_from_.string(), progress_.step));
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

void Run::tell_settings() const {
    const ModelConfig& m = options_.model;
    const auto line = [&](const std::string& name, const std::string& value) {
        request_.say(fmt::format("  {:<14}{}", name, value));
    };
    line("data", fmt::format("{}: {} training images {}x{}x{}, {} validation, {}", options_.data,
                             train_images_, m.image_height, m.image_width, m.channels,
                             valid_ ? valid_->N() : 0, on_disk_ ? "read from disk" : "in memory"));
    line("model",
         fmt::format(
             "levels {}, depth {}, width {}, {} coupling, {}, {} bits, edge bias {}, learned top {}{}{}",
             m.levels, m.depth, m.width, to_string(m.coupling), to_string(m.permutation), m.n_bits,
             m.edge_bias ? "on" : "off", m.learn_top ? "on" : "off",
             m.y_cond ? fmt::format(", conditional on {} classes", m.n_classes) : "",
             m.weight_y > 0 ? fmt::format(", classifier with weight {}", m.weight_y) : ""));
    line("optimiser", fmt::format("{}, lr {}, beta1 {}, beta2 {:.6g}, warm-up {} epochs, EMA {:.6g}",
                                  options_.optimizer, options_.lr, options_.beta1, schedule_.beta2,
                                  options_.warmup_epochs, schedule_.ema_decay));
    line("batch",
         fmt::format(
             "{} images{}, {} steps an epoch of {:.0f} images", options_.batch,
             options_.micro_batch > 0 ? fmt::format(" in micro-batches of {}", options_.micro_batch) : "",
             schedule_.steps_per_epoch, schedule_.epoch_images));
    line("machine", fmt::format("{}, {} threads, {} networks, memory policy {}", backend_->description(),
                                options_.threads, options_.precision, options_.memory));
    if (processes_.size() > 1)
        line("processes", fmt::format("{} by {}, {} on this host; threads and memory are of each",
                                      processes_.size(), processes_.name(), processes_.group().local_size));
    line("seed", fmt::format("{}", options_.seed));
    request_.say(describe(plan_));
}

// Clocks are each process's own, and all must do the same: the first one's count.
template <std::size_t N>
std::array<bool, N> Run::first_says(const std::array<bool, N>& wishes) {
    std::array<bool, N> first = wishes;
    processes_.broadcast(sizeof(first), first.data());
    return first;
}

std::string Run::limit_reached() {
    if (processes_.largest(g_stop) > 0) return "signal";  // to any of them
    if (options_.max_steps > 0 && progress_.step >= options_.max_steps) return "max-steps";
    if (options_.epochs > 0 && progress_.epoch >= options_.epochs) return "epochs";
    if (options_.max_minutes > 0 && first_says<1>({seconds_since(start_) >= options_.max_minutes * 60})[0])
        return "max-minutes";
    return "";
}

// Fraction of the run that is done, by the nearest limit; below 0 without one.
double Run::total_fraction() const {
    double fraction = -1;
    if (options_.max_steps > 0)
        fraction =
            std::max(fraction, static_cast<double>(progress_.step) / static_cast<double>(options_.max_steps));
    if (options_.epochs > 0) fraction = std::max(fraction, progress_.epoch / options_.epochs);
    return fraction;
}

void Run::log_step(const StepResult& step) {
    const double seconds = seconds_since(last_log_), steps = static_cast<double>(steps_since_log_);
    const double images_per_s = steps * static_cast<double>(options_.batch) / seconds;
    const double lr = learning_rate(options_, schedule_, progress_.step);
    const std::size_t peak = total(memory_->peak());
    const bool classifier = trainer_->glow().has_classifier();
    const auto allowance = patience("writing metrics.csv");
    if (metrics_)
        metrics_->row(fmt::format(
            "{},{:.6f},{},{:.9g},{:.9g},{:.9g},{:.9g},{:.2f},{:.3f},{},{:.3g},{:.6g}{}", progress_.step,
            progress_.epoch, progress_.images_seen, step.bits_per_dim, step.loss, step.grad_norm, lr,
            images_per_s, seconds * 1000 / steps, peak, step.drift, step.max_condition,
            classifier ? fmt::format(",{:.9g},{:.6g}", step.bits_y, step.error_y) : ""));
    if (request_.terminal) std::fputs("\r\033[K", stderr);
    request_.say(fmt::format(
        "step {:>6}  epoch {:>6.2f}  {:.4f} bits/dim  {}|g| {:<8.3g} lr {:.2e}  {:>6.1f} images/s  peak {}",
        progress_.step, progress_.epoch, step.bits_per_dim,
        classifier ? fmt::format("{:.3f} bits class, {:.0f}% wrong  ", step.bits_y, 100 * step.error_y) : "",
        step.grad_norm, lr, images_per_s, human_bytes(peak)));
    last_log_ = Clock::now();
    steps_since_log_ = 0;
}

void Run::draw_progress() {
    if (!request_.terminal || seconds_since(last_draw_) < 0.5) return;
    last_draw_ = Clock::now();
    const double elapsed = seconds_since(start_);
    std::string eta = "no limit set";
    double left = 1e300;
    const double fraction = total_fraction();
    if (fraction > first_fraction_) left = elapsed * (1 - fraction) / (fraction - first_fraction_);
    if (options_.max_minutes > 0) left = std::min(left, options_.max_minutes * 60 - elapsed);
    if (left < 1e300) eta = duration(std::max(0.0, left)) + " left";
    std::fprintf(stderr, "\r\033[Kstep %lld, %s", static_cast<long long>(progress_.step), eta.c_str());
    std::fflush(stderr);
}

void Run::evaluate_valid() {
    if (!valid_ || evaluated_step_ == progress_.step) return;
    evaluated_step_ = progress_.step;
    const index_t N = valid_->N(), D = valid_->set().image_bytes();
    std::vector<index_t> images(static_cast<std::size_t>(N));
    std::iota(images.begin(), images.end(), index_t{0});
    const std::vector<std::uint64_t> numbers(images.begin(), images.end());
    // As many at once as pass the model together: the result does not depend on where they are read.
    const index_t at_once = trainer_->buffers().capacity;
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(std::min(N, at_once) * D));
    std::vector<double> bits(numbers.size());
    const Share mine = processes_.share(N);
    const Noise noise{true, options_.seed, Purpose::evaluate, nullptr};
    for (const bool ema : {false, true}) {
        trainer_->use(ema);
        for (index_t first = mine.first; first < mine.first + mine.count; first += at_once) {
            const index_t count = std::min(at_once, mine.first + mine.count - first);
            valid_->gather(images.data() + first, count, pixels.data());
            evaluate(trainer_->context(), trainer_->glow(), trainer_->buffers(),
                     {count, pixels.data(), numbers.data() + first, valid_->labels(first)}, noise,
                     {.bits_per_dim = bits.data() + first});
        }
        processes_.gather_shares(N, sizeof(double), bits.data());
        const Mean mean = mean_of(bits.data(), N);
        (ema ? result_.valid_ema : result_.valid_raw) = mean;
        const auto allowance = patience("writing eval.csv");
        if (evaluations_)
            evaluations_->row(fmt::format("{},valid,{:.9g},{:.6g},{},{}", progress_.step, mean.value,
                                          mean.standard_error, mean.count, ema ? "ema" : "raw"));
    }
    request_.say(fmt::format("  validation: {:.4f} bits/dim (EMA), {:.4f} (raw), {} images",
                             result_.valid_ema->value, result_.valid_raw->value, N));
    if (result_.valid_ema->value < best_) {
        best_ = result_.valid_ema->value;
        save();
        const auto allowance = patience("linking a checkpoint");
        if (processes_.is_first()) folder_.link(folder_.best(), progress_.step);
    }
}

void Run::draw_samples() {
    const ModelConfig& m = options_.model;
    // 8 x 8 images, fewer where they are large: the plan does not count the sheet. A tile is magnified to 64
    // pixels a side and more.
    const index_t scale = std::max<index_t>(1, 64 / std::min(m.image_height, m.image_width));
    const index_t tile = m.image_height * m.image_width * scale * scale;
    index_t side = 8;
    while (side > 1 && tile * side * side > index_t{1} << 22) side /= 2;
    if (tile > index_t{1} << 26) return;
    const GridSize grid{side, side};
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(grid.tiles() * m.dimensions()));
    const std::vector<std::int32_t> labels =
        column_classes(grid.tiles(), grid.columns, std::max<index_t>(1, m.n_classes));
    trainer_->use(true);
    const Share mine = processes_.share(grid.tiles());
    sample(trainer_->context(), trainer_->glow(), trainer_->buffers(), mine.first, mine.count, 0.7,
           options_.seed, labels.data() + mine.first, pixels.data() + mine.first * m.dimensions());
    processes_.gather_shares(grid.tiles(), static_cast<std::size_t>(m.dimensions()), pixels.data());
    if (!processes_.is_first()) return;
    const auto allowance = patience("writing samples");
    write_png(folder_.samples(progress_.step),
              tile_images(pixels.data(), grid.tiles(), m.image_height, m.image_width, m.channels, grid));
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

// What was done before the run stopped: the checkpoint at this step, the evaluations in eval.csv.
void Run::recall() {
    if (processes_.is_first()) read_what_was_done();
    struct {
        index_t saved_step, evaluated_step;
        double best;
    } known = {saved_step_, evaluated_step_, best_};
    processes_.broadcast(sizeof(known), &known);
    saved_step_ = known.saved_step;
    evaluated_step_ = known.evaluated_step;
    best_ = known.best;
}

void Run::read_what_was_done() {
    std::error_code ignored;
    if (fs::equivalent(folder_.latest(), resumed_from_, ignored) &&
        fs::equivalent(folder_.checkpoint(progress_.step), resumed_from_, ignored))
        saved_step_ = progress_.step;
    const bool has_best = fs::exists(folder_.best(), ignored);
    std::ifstream rows(folder_.evaluations());
    for (std::string row; std::getline(rows, row);) {
        long long step = 0;
        double bits = 0;
        char weights[4] = "";
        if (std::sscanf(row.c_str(), "%lld,valid,%lf,%*[^,],%*[^,],%3s", &step, &bits, weights) != 3)
            continue;
        const bool ema = std::string_view(weights) == "ema";
        if (ema && has_best) best_ = std::min(best_, bits);
        if (step == progress_.step)
            (ema ? result_.valid_ema : result_.valid_raw) = Mean{bits, 0, valid_ ? valid_->N() : 0};
    }
    if (result_.valid_ema && result_.valid_raw) evaluated_step_ = progress_.step;
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
    const SignalGuard signals;
    start_model();
    if (resuming_) recall();

    Timer evaluate_timer(options_.eval_every), sample_timer(options_.sample_every),
        save_timer(options_.checkpoint_every);
    start_ = last_log_ = last_draw_ = Clock::now();
    first_fraction_ = std::max(0.0, total_fraction());
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
        ++steps_since_log_;
        if (step.redone)
            request_.say(fmt::format(
                "step {}: rebuilt images drifted; the step was redone with {}", t,
                step.keep.anchor_every == 1 ? "every state kept" : "a state kept every 16 steps"));
        if (t == 1 || t % options_.log_every == 0) log_step(step);
        draw_progress();
        const auto [evaluation_due, samples_due, checkpoint_due] =
            first_says<3>({evaluate_timer.due(t), sample_timer.due(t), save_timer.due(t)});
        if (evaluation_due) evaluate_valid();
        if (samples_due) draw_samples();
        if (checkpoint_due) save();
        if (t % kCompareEvery == 0) trainer_->check_equal();
    }
    if (request_.terminal) std::fputs("\r\033[K", stderr);
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

std::string describe(const MemoryPlan& plan) {
    std::string text = "memory plan:";
    for (int i = 0; i < kCategories; ++i)
        if (plan.bytes[i] > 0)
            text += fmt::format("\n  {:<14}{:>12}", kCategoryNames[i], human_bytes(plan.bytes[i]));
    text += fmt::format("\n  {:<14}{:>12}", "total", human_bytes(total(plan.bytes)));
    if (plan.fallback_stored > at(plan.bytes, Category::stored))
        text += fmt::format("  (+ {} if drift makes a step keep every state)",
                            human_bytes(plan.fallback_stored - at(plan.bytes, Category::stored)));
    text += fmt::format("\n  {:<14}{:>12.2f}  units of forward (3 with all maps kept)", "network work",
                        plan.network_units);
    for (std::size_t l = 0; l < plan.keep.last_maps.size(); ++l)
        text += fmt::format("\n  {:<14}{:>12}  steps whose maps are kept", fmt::format("level {}", l),
                            plan.keep.last_maps[l]);
    return text;
}

PlannedRun plan_run(const RunRequest& request) {
    TrainingOptions options = request.options;
    const DatasetInfo info = describe_dataset(options.data);
    check(options);
    fit_model(info, options);
    const Backend backend = Backend::for_plans(request.device, options.threads, request.processes);
    const auto sharing = static_cast<std::size_t>(backend.communicator().group().local_size);
    options.act_budget = act_budget(options, {});
    const auto plan = [&](const TrainingOptions& planned) {
        return memory_plan(planned, make_schedule(planned, info.train).init_images, backend);
    };
    PlannedRun result{plan(options), machine_memory_bytes(), 0, 0};
    const auto largest = [&](index_t most, auto&& with) {
        return largest_that_fits(most, [&](index_t x) {
            TrainingOptions larger = options;
            with(larger, x);
            return total(plan(larger).bytes) * sharing <= result.machine_bytes;
        });
    };
    // A batch that is taken at once: in micro-batches, any batch fits that has one of them fit.
    result.largest_batch = largest(1 << 24, [](TrainingOptions& o, index_t x) {
        o.batch = x;
        o.micro_batch = 0;
    });
    result.largest_depth = largest(1 << 12, [](TrainingOptions& o, index_t x) { o.model.depth = x; });
    return result;
}

index_t largest_that_fits(index_t most, const std::function<bool(index_t)>& fits) {
    if (!fits(1)) return 0;
    index_t good = 1, bad = 2;
    while (bad <= most && fits(bad)) {
        good = bad;
        bad *= 2;
    }
    bad = std::min(bad, most + 1);
    while (bad - good > 1) {
        const index_t middle = good + (bad - good) / 2;
        (fits(middle) ? good : bad) = middle;
    }
    return good;
}

RunResult run_training(const RunRequest& request) {
    return Run(request)();
}

}  // namespace glow
