#include "train/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "inference/model_file.h"
#include "train/diagnosis.h"
#include "train/schedule.h"
#include "train/session.h"
#include "train/trainer.h"

namespace glow {
namespace {

constexpr std::size_t kRememberedSteps = 32;  // steps listed in a report

}  // namespace

void Recovery::remember(index_t step, const StepResult& result) {
    last_steps_.push_back(
        {static_cast<double>(step), result.loss, result.grad_norm, result.max_condition, result.drift});
    if (last_steps_.size() > kRememberedSteps) last_steps_.pop_front();
}

void Recovery::roll_back(const StepFailure& failure, index_t step) {
    const TrainingOptions& options = session_.options;
    TrainingHistory history = session_.progress.history;
    if (step > history.failed_step + session_.schedule.steps_per_epoch) history.rollbacks = 0;
    const bool again = history.rollbacks > 0 && step <= history.failed_step;
    const bool gives_up = history.rollbacks >= options.rollbacks;
    ++history.rollbacks;
    history.lr_scale *= options.rollback_lr;

    nlohmann::ordered_json report = report_of(failure, step);
    const std::filesystem::path file = session_.folder.report(step, history.rollbacks);
    const auto write = [&](const nlohmann::ordered_json& action) {
        report["action"] = action;
        if (!session_.processes.is_root()) return;
        const ScopedTimeout timeout("writing a report");
        session_.retry([&] { session_.folder.write_report(file, report.dump(1) + "\n"); });
    };
    const std::string message = failure.found.value("message", "");
    if (gives_up) {
        write("given up");
        const std::string tries =
            options.rollbacks > 0
                ? fmt::format(" after {} roll-backs in a row (--rollbacks)", options.rollbacks)
                : "";
        throw Error(fmt::format(
            "step {}: {}; given up{}, report in {}; lower --lr or resume from an earlier checkpoint", step,
            message, tries, file.string()));
    }
    write("going back");
    reload(again ? history.rolled_back_to - 1 : step, step);
    // Keep the checkpoint's averages: later losses are compared with them.
    TrainingProgress& progress = session_.progress;
    history.failed_step = step;
    history.rolled_back_to = progress.step;
    progress.history.take_rollbacks(history);
    ++rollbacks_;
    write({{"roll_back", history.rollbacks},
           {"of", options.rollbacks},
           {"to_step", progress.step},
           {"lr_scale", history.lr_scale}});
    session_.request.warn(fmt::format(
        "step {}: {}; rolled back to step {} with {:.3g} times the learning rate (roll-back {} of {} in a row), report in {}",
        step, message, progress.step, history.lr_scale, history.rollbacks, options.rollbacks, file.string()));
}

void Recovery::reload_after_drift(const DriftError& drift, index_t step) {
    const index_t anchor_every = session_.trainer->policy().anchor_every;
    const TrainingHistory history = session_.progress.history;
    reload(step, step);
    session_.progress.history.take_rollbacks(history);
    session_.set_anchor_every(anchor_every);
    session_.request.warn(fmt::format(
        "step {}: {}; rolled back to step {}, {} from now on", step, drift.what(), session_.progress.step,
        anchor_every == 1 ? "saving every state"
                          : fmt::format("saving a state every {} steps", anchor_every)));
}

nlohmann::ordered_json Recovery::report_of(const StepFailure& failure, index_t step) const {
    const TrainingOptions& options = session_.options;
    const TrainingProgress& progress = session_.progress;
    const Limits limits = limits_of(progress.history, options);
    nlohmann::ordered_json report = {{"format", "glow-flight-report"}, {"version", 1}, {"step", step}};
    report.update(failure.found);
    report["epoch"] = progress.epoch;
    report["images"] = {{"first", (step - 1) * options.batch}, {"count", options.batch}};
    report["lr"] =
        learning_rate(options, session_.schedule, {step, progress.history.lr_scale, progress.minutes});
    report["limits"] = {{"loss", json_number(limits.loss)}, {"condition", json_number(limits.condition)}};
    for (const auto& [earlier, loss, norm, condition, drift] : last_steps_)
        report["last_steps"].push_back({{"step", static_cast<index_t>(earlier)},
                                        {"loss", json_number(loss)},
                                        {"grad_norm", json_number(norm)},
                                        {"max_condition", json_number(condition)},
                                        {"drift", json_number(drift)}});
    return report;
}

// Rolls back to the newest valid checkpoint up to step `newest`, otherwise to the oldest one, otherwise to
// the beginning. Restores weights, averages, moments, counters and logs. step: the one that failed.
void Recovery::reload(index_t newest, index_t step) {
    Session& s = session_;
    struct {
        bool found;
        TrainingProgress progress;
    } target = {false, {}};
    if (s.processes.is_root()) {
        const ScopedTimeout timeout("reading a checkpoint");
        std::vector<RunFolder::Saved> saved = s.folder.saved();
        // Ignore checkpoints after latest.h5: the user has rolled the run back by hand.
        const index_t own = RunFolder::step_of(s.folder.latest()).value_or(step);
        std::erase_if(saved, [&](const auto& one) { return one.step > own; });
        if (!saved.empty()) newest = std::max(newest, saved.back().step);
        for (std::size_t i = 0; i < saved.size() && !target.found; ++i)
            if (saved[i].step <= newest) target.found = load(saved[i], target.progress);
    }
    s.processes.broadcast(sizeof(target), &target);
    if (target.found) {
        s.progress = target.progress;
        s.trainer->broadcast_weights();
    } else {
        s.restart();
    }
    bool linked = true;
    if (s.processes.is_root()) {
        const ScopedTimeout timeout("cutting the logs");
        const index_t to = s.progress.step;
        linked = s.retry([&] { s.folder.roll_back_to(to); });
        s.log->roll_back_to(to);
        for (std::optional<CsvLog>* const csv : {&s.evaluations, &s.audits})
            if (*csv) s.retry([&] { (*csv)->drop_after(to); });
    }
    s.restore_completed(target.found && linked);
}

// Returns false, with a warning, if the file is damaged. Throws Error if it cannot be read now: it must not count
// as damaged, because checkpoints after the one that is loaded are removed.
bool Recovery::load(const RunFolder::Saved& saved, TrainingProgress& progress) {
    Trainer& trainer = *session_.trainer;
    try {
        const CheckpointInfo info = read_checkpoint_info(saved.path);
        load_checkpoint(saved.path, trainer.glow().parameters(), session_.backend->exec(), trainer.weights());
        trainer.weights_changed();
        trainer.check_usable();
        progress = training_progress(info);
        return true;
    } catch (const InputError& error) {
        session_.request.warn(error.what());
        return false;
    } catch (const StepFailure& error) {  // weights with which no step is possible
        session_.request.warn(error.what());
        return false;
    }
}

}  // namespace glow
