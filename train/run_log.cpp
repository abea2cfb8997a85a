#include "train/run_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string_view>

#include "inference/message_text.h"
#include "inference/model_file.h"
#include "kernels/error.h"
#include "runtime/watchdog.h"
#include "train/progress_bar.h"

namespace glow {
namespace {

std::string log_text(bool value) {
    return value ? "on" : "off";
}
template <class T>
std::string log_text(const T& value) {
    return fmt::format("{}", printable(value));
}

}  // namespace

std::string describe(const Settings& s) {
    const TrainingOptions& o = s.options;
    const ModelConfig& m = o.model;
    std::string text;
    const auto line = [&](const char* name, const std::string& value) {
        text += fmt::format("{}  {:<14}{}", text.empty() ? "" : "\n", name, value);
    };
    line("data", fmt::format("{}: {} {}x{}x{}{}, {} validation, {}", o.data,
                             counted(s.train_images, "training image"), m.image_height, m.image_width,
                             m.channels, m.y_cond ? fmt::format(" of {} classes", m.n_classes) : "",
                             s.valid_images, s.on_disk ? "read from disk" : "in memory"));
    std::string model;
    visit_model_options(m, [&](const char* name, const auto& value, const char* help) {
        // the line "dequant" has these
        if (help == nullptr || std::string_view(name).starts_with("dequant_")) return;
        model += fmt::format("{}{} {}", model.empty() ? "" : ", ", option_name(name), log_text(value));
    });
    line("model", model);
    const std::string decay =
        o.lr_schedule == LrSchedule::constant
            ? ""
            : fmt::format(" ({} to {} at the end)", to_string(o.lr_schedule), o.lr_final);
    line("optimizer", fmt::format("{}, lr {}{}, beta1 {}, beta2 {:.6g}, warm-up {:.0f} images, EMA {:.6g}",
                                  to_string(o.optimizer), o.lr, decay, o.beta1, s.schedule.beta2,
                                  warmup_images(o, s.schedule), s.schedule.ema_decay));
    line("batch", fmt::format("{}{}, {} per epoch of {:.0f} images", counted(o.batch, "image"),
                              o.micro_batch > 0 ? fmt::format(" in micro-batches of {}", o.micro_batch) : "",
                              counted(s.schedule.steps_per_epoch, "step"), s.schedule.epoch_images));
    line("machine", fmt::format("{}, threads {}, {} networks, memory policy {}", s.machine,
                                describe(s.threads), to_string(o.precision), to_string(o.memory)));
    if (s.processes.size() > 1)
        line("processes",
             fmt::format("{} by {}, {} on this host; threads and memory are per process", s.processes.size(),
                         s.processes.name(), s.processes.group().local_size));
    line("seed", fmt::format("{}", o.seed));
    if (o.dequant == Dequantization::center)
        line("dequant", "center: no noise, so bits/dim are not a bound on the likelihood");
    if (o.dequant == Dequantization::variational)
        line("dequant",
             fmt::format("variational, {} steps of width {}; bits/dim are a bound on the likelihood",
                         m.dequant_depth, m.dequant_width));
    return text;
}

std::string validation_text(const Mean& ema, const Mean& raw) {
    return fmt::format("{} bits/dim (EMA), {} (raw)", mean_text(ema), mean_text(raw));
}

bool RetryingWrite::operator()(const std::function<void()>& action) {
    const ScopedTimeout timeout("writing the run's files");
    std::string problem;
    try {
        action();
    } catch (const Error& error) {
        problem = error.what();
    } catch (const std::filesystem::filesystem_error& error) {
        problem = error.what();
    }
    if (!problem.empty() && problem != last_error_) request_.warn(problem);
    last_error_ = problem;
    return problem.empty();
}

RunLog::RunLog(const RunRequest& request, const TrainingOptions& options, const Schedule& schedule)
    : request_(request),
      options_(options),
      schedule_(schedule),
      classifier_(options.model.y_cond && options.model.weight_y > 0),
      columns_(
          std::string("step,epoch,images_seen,bpd,loss,grad_norm,lr,images_per_s,step_ms,peak_bytes,drift,"
                      "max_condition") +
          (classifier_ ? ",bits_y,error_y" : "")),
      retry_(request) {}

RunLog::~RunLog() {
    erase();
}

void RunLog::open(const RunFolder& folder, index_t last_step, const std::unique_ptr<FileLock>& lock) {
    metrics_.emplace(folder.metrics(), columns_, last_step, &lock);
}

void RunLog::roll_back_to(index_t step) {
    if (metrics_) retry_([&] { metrics_->drop_after(step); });
    steps_since_row_ = 0;
    last_row_ = Clock::now();
}

void RunLog::start(const TrainingProgress& progress) {
    start_ = last_row_ = last_draw_ = Clock::now();
    steps_since_draw_ = 0;
    first_fraction_ = std::max(0.0, total_fraction(progress));
    earlier_seconds_ = counts_minutes_of_whole_run(options_, schedule_) ? progress.minutes * 60 : 0;
}

void RunLog::step(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes) {
    ++steps_since_row_;
    if (step.redone)
        request_.info(
            fmt::format("step {}: reconstructed images drifted; repeated the step with {}", progress.step,
                        step.policy.anchor_every == 1
                            ? "every state saved"
                            : fmt::format("a state saved every {} steps", step.policy.anchor_every)));
    if (progress.step == 1 || progress.step % options_.log_every == 0) row(progress, step, peak_bytes);
    draw(progress, step);
}

void RunLog::last_step(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes) {
    if (steps_since_row_ > 0) row(progress, step, peak_bytes);
}

void RunLog::row(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes) {
    const double seconds = seconds_since(last_row_), steps = static_cast<double>(steps_since_row_);
    const double images_per_s = steps * static_cast<double>(options_.batch) / seconds;
    const double lr = learning_rate(options_, schedule_, progress.time_of_last_step());
    const std::string cells = fmt::format(
        "{},{:.6f},{},{:.9g},{:.9g},{:.9g},{:.9g},{:.2f},{:.3f},{},{:.3g},{:.6g}{}", progress.step,
        progress.epoch, progress.images_seen, step.bits_per_dim, step.loss, step.grad_norm, lr, images_per_s,
        seconds * 1000 / steps, peak_bytes, step.drift, step.max_condition,
        classifier_ ? fmt::format(",{:.9g},{:.6g}", step.bits_y, step.error_y) : "");
    if (metrics_) retry_([&] { metrics_->row(cells); });
    if (request_.metrics) request_.metrics(columns_, cells);
    if (!request_.terminal)
        request_.info(fmt::format(
            "step {:>6}  epoch {:>6.2f}  {:.4f} bits/dim  {}|g| {:<8.3g} lr {:.2e}  {:>6.1f} images/s  peak {}",
            progress.step, progress.epoch, step.bits_per_dim,
            classifier_ ? fmt::format("{:.3f} bits class, {:.0f}% wrong  ", step.bits_y, 100 * step.error_y)
                        : "",
            step.grad_norm, lr, images_per_s, format_bytes(peak_bytes)));
    last_row_ = Clock::now();
    steps_since_row_ = 0;
}

void RunLog::draw(const TrainingProgress& progress, const StepResult& step) {
    ++steps_since_draw_;
    const double since = seconds_since(last_draw_);
    if (!request_.terminal || (drawn_ && since < 0.5)) return;
    const double elapsed = seconds_since(start_), fraction = total_fraction(progress);
    double left = std::numeric_limits<double>::infinity();
    if (fraction > first_fraction_) left = elapsed * (1 - fraction) / (fraction - first_fraction_);
    bar_ = fraction;
    if (options_.max_minutes > 0) {
        const double limit = options_.max_minutes * 60, done = elapsed + earlier_seconds_;
        left = std::min(left, limit - done);
        bar_ = std::max(bar_, done / limit);
    }
    text_ = fmt::format("step {}  {:.4f} bits/dim  ", progress.step, step.bits_per_dim);
    redraw(fmt::format("{:.1f} images/s  {}", static_cast<double>(steps_since_draw_ * options_.batch) / since,
                       std::isfinite(left) ? duration_text(std::max(0.0, left)) + " left"
                                           : "after " + duration_text(elapsed)));
    drawn_ = true;
    last_draw_ = Clock::now();
    steps_since_draw_ = 0;
}

void RunLog::doing(const std::string& what) {
    if (drawn_) redraw(what + " ...");
}

void RunLog::redraw(const std::string& more) const {
    std::fprintf(stderr, "%s%s", kEraseLine, progress_bar(bar_, text_ + more, terminal_columns()).c_str());
    std::fflush(stderr);
}

void RunLog::erase() {
    if (drawn_) std::fputs(kEraseLine, stderr);
    drawn_ = false;
}

// Completed fraction of the run, by the nearest limit; below 0 without one.
double RunLog::total_fraction(const TrainingProgress& progress) const {
    double fraction = -1;
    if (options_.max_steps > 0)
        fraction =
            std::max(fraction, static_cast<double>(progress.step) / static_cast<double>(options_.max_steps));
    if (options_.epochs > 0) fraction = std::max(fraction, progress.epoch / options_.epochs);
    return fraction;
}

void RunLog::sync() {
    if (metrics_) retry_([&] { metrics_->sync(); });
}

void RunLog::end() {
    erase();
    if (metrics_) metrics_->sync();
}

}  // namespace glow
