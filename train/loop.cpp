#include "train/loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "inference/message_text.h"
#include "inference/sample_sheet.h"
#include "kernels/error.h"
#include "train/evaluations.h"
#include "train/step_failure.h"
#include "train/stop_signals.h"
#include "train/validate.h"

namespace glow {
namespace {

// Steps between comparisons of the weights of all processes. They are also compared before every checkpoint.
constexpr index_t kCompareEvery = 1000;

}  // namespace

TrainingLoop::TrainingLoop(Session& session, RunHooks hooks)
    : session_(session),
      hooks_(std::move(hooks)),
      batches_(session.backend->exec(), session.request.device, (*session.memory)[Category::state],
               session.options.model, session.options.batch,
               session.processes.slice(session.options.batch).count,
               [&images = *session.images, mine = session.processes.slice(session.options.batch)](
                   index_t batch_first) { return images.take(batch_first + mine.first, mine.count); }),
      recovery_(session),
      evaluate_timer_(session.options.eval_every, first_seconds(session.options)),
      sample_timer_(session.options.sample_every, first_seconds(session.options)),
      save_timer_(session.options.checkpoint_every, first_seconds(session.options)),
      minutes_before_(session.progress.minutes) {
    batches_.seek(session.progress.images_seen);
}

RunResult TrainingLoop::run() {
    session_.log->start(session_.progress);
    for (bool done = false; !done;) {
        try {
            finish_interrupted_step();
            std::optional<RunEnd> end;
            while (!(end = limit_reached())) step_and_log();
            result_.ended = *end;
            finish();
            done = true;
        } catch (const StepFailure& failure) {
            recovery_.roll_back(failure, step_);
            // Save the checkpoint again, with the lowered rate, for a run resumed from it.
            if (session_.completed.saved == session_.progress.step) {
                wait_for_samples();
                session_.save(minutes());
            }
        } catch (const DriftError& drift) {
            recovery_.reload_after_drift(drift, step_);
        }
        batches_.seek(session_.progress.images_seen);
    }
    result_.progress = session_.progress;
    result_.lr_scale = session_.progress.history.lr_scale;
    result_.rollbacks = recovery_.rollbacks();
    result_.valid_ema = session_.completed.valid_ema;
    result_.valid_raw = session_.completed.valid_raw;
    result_.valid_step = session_.completed.evaluated;
    result_.planned_bytes = total(session_.plan.bytes);
    result_.peak_bytes = total(session_.memory->peak());
    result_.process_growth_bytes = session_.memory_growth();
    result_.checkpoint = session_.folder.checkpoint(session_.progress.step).string();
    return result_;
}

void TrainingLoop::finish_interrupted_step() {
    const TrainingOptions& options = session_.options;
    const index_t step = session_.progress.step;
    if (step == 0 || session_.completed.saved != step) return;
    std::error_code ignored;
    const auto [evaluation_due, samples_due] =
        session_.root_decides<2>({!options.eval_every.minutes && evaluate_timer_.due(step),
                                  !options.sample_every.minutes && sample_timer_.due(step) &&
                                      !std::filesystem::exists(session_.folder.samples(step), ignored)});
    const auto stop = [this] { return stop_requested(); };
    if (evaluation_due) evaluate(stop);
    if (samples_due) draw_samples(stop);
}

void TrainingLoop::step_and_log() {
    last_result_ = step();
    result_.bits_per_dim = last_result_.bits_per_dim;
    recovery_.remember(step_, last_result_);
    session_.log->step(session_.progress, last_result_, total(session_.memory->peak()));
    const auto [evaluation_due, samples_due, checkpoint_due] = session_.root_decides<3>(
        {evaluate_timer_.due(step_), sample_timer_.due(step_), save_timer_.due(step_)});
    const auto timed = [](Timer& timer, auto&& action) {
        action();
        timer.done();
    };
    // Both may take longer than the time between a signal and the end of a job.
    const auto stop = [this] { return stop_requested(); };
    if (evaluation_due) timed(evaluate_timer_, [&] { evaluate(stop); });
    if (samples_due) timed(sample_timer_, [&] { draw_samples(stop); });
    if (checkpoint_due) timed(save_timer_, [&] { save(); });
    if (step_ % kCompareEvery == 0) session_.trainer->check_replicas_equal();
}

const Batch& TrainingLoop::next_batch() {
    try {
        return batches_.next();
    } catch (const std::exception&) {
        // Saving is collective: with several processes, the others are already waiting in their step.
        if (session_.processes.size() == 1 && session_.progress.step > 0) save();
        throw;
    }
}

StepResult TrainingLoop::step() {
    TrainingProgress& progress = session_.progress;
    const TrainingOptions& options = session_.options;
    step_ = progress.step + 1;
    if (hooks_.before_step) hooks_.before_step(step_, *session_.trainer);
    const Batch& batch = next_batch();
    const Limits limits = limits_of(progress.history, options);
    const StepTime time{step_, progress.history.lr_scale, minutes()};
    const StepResult result =
        session_.trainer->step(batch, optimizer_at(options, session_.schedule, time), limits);
    progress.step = step_;
    progress.minutes = time.minutes;
    progress.images_seen += options.batch;
    progress.epoch = static_cast<double>(progress.images_seen) / session_.schedule.epoch_images;
    // Clip the loss so that an outlier barely changes the moving average, the reference for later losses.
    progress.history.add(std::min(result.loss, limits.loss), result.max_condition);
    if (session_.audits && step_ % options.audit_every == 0) audit(batch);
    return result;
}

double TrainingLoop::minutes() {
    double minutes = minutes_before_ + (hooks_.minutes ? hooks_.minutes() : session_.log->minutes());
    if (session_.options.max_minutes > 0 || session_.schedule.end_minutes > 0)
        session_.processes.broadcast(sizeof(minutes), &minutes);
    return minutes;
}

bool TrainingLoop::stop_requested() {
    const bool stop = session_.request.stop ? session_.request.stop() : StopSignals::requested();
    return session_.processes.all_reduce_max(stop ? 1 : 0) > 0;
}

std::optional<RunEnd> TrainingLoop::limit_reached() {
    const TrainingOptions& options = session_.options;
    const TrainingProgress& progress = session_.progress;
    if (stop_requested()) return RunEnd::signal;
    if (options.max_steps > 0 && progress.step >= options.max_steps) return RunEnd::max_steps;
    if (options.epochs > 0 && progress.epoch >= options.epochs) return RunEnd::epochs;
    if (options.max_minutes > 0) {
        const double earlier = counts_minutes_of_whole_run(options, session_.schedule) ? 0 : minutes_before_;
        if (minutes() - earlier >= options.max_minutes) return RunEnd::max_minutes;
    }
    return {};
}

void TrainingLoop::evaluate(const std::function<bool()>& stop) {
    Session::CompletedWork& completed = session_.completed;
    const index_t step = session_.progress.step;
    if (!session_.valid || completed.evaluated == step) return;
    session_.log->doing("validation");
    session_.trainer->check_replicas_equal();  // so that all fail if the averaged weights are unusable
    const auto mean_of_weights = [&](bool ema) {
        return mean_bits_per_dim(*session_.trainer, *session_.valid, session_.options.seed, ema, stop);
    };
    const std::optional<Mean> raw = mean_of_weights(false), averaged = raw ? mean_of_weights(true) : raw;
    if (!averaged) return;
    completed.evaluated = step;
    completed.valid_raw = raw;
    completed.valid_ema = averaged;
    if (session_.evaluations) {
        const ScopedTimeout timeout("writing eval.csv");
        // In one write: a run killed in between would repeat the first row when it is resumed.
        const std::string rows =
            evaluation_row(step, *raw, "raw") + "\n" + evaluation_row(step, *averaged, "ema");
        session_.retry([&] { session_.evaluations->row(rows); });
    }
    session_.request.info(fmt::format("step {:>6}  validation {}, {}", step,
                                      validation_text(*completed.valid_ema, *completed.valid_raw),
                                      counted(session_.valid->N(), "image")));
    if (!is_best_so_far()) return;
    if (completed.saved != step) {
        save();
        return;
    }
    session_.best_to_link = step;
    session_.link_best();
    completed.best_bits_per_dim = completed.valid_ema->value;
}

bool TrainingLoop::is_best_so_far() const {
    const Session::CompletedWork& completed = session_.completed;
    return completed.evaluated == session_.progress.step &&
           completed.valid_ema->value < completed.best_bits_per_dim;
}

// The sheet is compressed and written by a background thread during later steps. If no thread can be started,
// wait_for_samples() writes it.
void TrainingLoop::draw_samples(const std::function<bool()>& stop) {
    Trainer& trainer = *session_.trainer;
    session_.log->doing("samples");
    trainer.check_replicas_equal();
    trainer.use_ema(true);
    std::optional<SampleSheet> sheet = sample_sheet(trainer.runnable(), session_.options.seed, stop);
    wait_for_samples();
    if (!sheet) return;
    const index_t step = session_.progress.step;
    if (!sheet->invalid_samples.empty())
        session_.request.info(
            fmt::format("samples of step {}: {} (usual early in training)", step, sheet->invalid_samples));
    // Pass a copyable lvalue: when std::async falls back to `deferred`, libstdc++ 12 would call a moved-from
    // function object.
    const auto write = [path = session_.folder.samples(step),
                        image = std::make_shared<const Image>(std::move(sheet->image))] {
        write_png(path, *image);
    };
    sheet_ = std::async(std::launch::async | std::launch::deferred, write);
}

bool TrainingLoop::wait_for_samples() {
    const ScopedTimeout timeout("writing samples");
    return !sheet_.valid() || session_.retry([&] { sheet_.get(); });
}

bool TrainingLoop::save() {
    if (session_.completed.saved == session_.progress.step) return true;
    session_.trainer->check_replicas_equal();
    session_.trainer->check_usable();
    wait_for_samples();  // saving deletes stale temporary files, and would delete that of the sheet
    // Also at a later attempt: the weights may have been evaluated when their checkpoint could not be written.
    const bool is_best = is_best_so_far();
    const std::optional<index_t> before = session_.best_to_link;
    if (is_best) session_.best_to_link = session_.progress.step;
    const bool saved = session_.save(minutes());
    if (is_best && saved) session_.completed.best_bits_per_dim = session_.completed.valid_ema->value;
    if (is_best && !saved) session_.best_to_link = before;
    return saved;
}

// Called on root only, whose slice is never empty. The other processes start their next step, and wait for
// root in its first collective operation. If the update has made the weights unusable, that step fails on all.
void TrainingLoop::audit(const Batch& batch) {
    const ScopedTimeout timeout("auditing the gradients");
    Audit audit;
    try {
        audit = session_.trainer->audit(batch);
    } catch (const StepFailure&) {
        if (session_.processes.size() == 1) throw;
        return;
    }
    const std::string text = fmt::format("step {}: {}", step_, describe(audit));
    (audit.holds() ? session_.request.info : session_.request.warn)(text);
    for (const std::string& row : rows(audit, step_)) session_.retry([&] { session_.audits->row(row); });
}

void TrainingLoop::finish() {
    session_.log->last_step(session_.progress, last_result_, total(session_.memory->peak()));
    if (!save())
        throw Error(fmt::format(
            "the run ends at step {}, but its checkpoint cannot be written: {}", session_.progress.step,
            session_.processes.is_root() ? session_.retry.last_error() : "see the message of rank 0"));
    if (result_.ended != RunEnd::signal) {
        // Both may take longer than a job has left after a signal; the resumed run repeats them.
        bool stopped = false;
        const auto stop = [&] { return stopped = stopped || stop_requested(); };
        evaluate(stop);
        if (!stopped) draw_samples(stop);
        if (stopped) result_.ended = RunEnd::signal;
    }
    const std::string lost_samples = wait_for_samples() ? "" : session_.retry.last_error();
    session_.link_best();
    const std::string lost_link =
        session_.processes.is_root() && session_.best_to_link ? session_.retry.last_error() : "";
    session_.log->end();
    if (session_.evaluations) session_.evaluations->sync();
    if (session_.audits) session_.audits->sync();
    if (const std::string& lost = lost_link.empty() ? lost_samples : lost_link;
        !lost.empty() && result_.ended != RunEnd::signal)
        throw Error(fmt::format("the run ended at step {}, but not all of its files could be written: {}",
                                session_.progress.step, lost));
    // Keep every process alive until root has written everything: if another process ends early, for example
    // by a second signal, root is terminated too.
    session_.processes.barrier();
}

}  // namespace glow
