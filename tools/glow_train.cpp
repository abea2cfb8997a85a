// glow_train: trains a Glow.
#include <unistd.h>

#include <memory>
#include <optional>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/device.h"
#include "runtime/launcher.h"
#include "tools/command_line.h"
#include "tools/config_file.h"
#include "tools/numbers.h"
#include "tools/training_request.h"
#include "train/early_signals.h"
#include "train/estimate.h"
#include "train/memory_plan.h"
#include "train/presets.h"
#include "train/run.h"
#include "train/run_log.h"
#include "train/run_plan.h"
#include "train/stop_signals.h"
#include "train/timer.h"

namespace {

using namespace glow;

constexpr double kReportedSpeedup = 1.05;  // smallest speedup of --memory store that --estimate reports

void print_estimate(const CommandLine& command, const TrainingRequest& request) {
    const Estimate r = estimate_run(request);
    if (!request.processes->is_root()) return;
    nlohmann::ordered_json json = {{"planned_bytes", total(r.plan.bytes)},
                                   {"peak_bytes", r.peak_bytes},
                                   {"process_growth_bytes", r.process_growth_bytes},
                                   {"timed_steps", r.timed_steps},
                                   {"step_seconds", r.step_seconds},
                                   {"images_per_s", r.images_per_s},
                                   {"epoch_seconds", r.epoch_seconds}};
    std::string text = fmt::format(
        "memory {} planned, {} at the peak\n{:.3g} s per step (median of {}), {:.3g} images/s, one epoch takes "
        "{}\n",
        format_bytes(total(r.plan.bytes)), format_bytes(r.peak_bytes), r.step_seconds, r.timed_steps,
        r.images_per_s, duration_text(r.epoch_seconds));
    if (r.store) {
        json["store"] = {{"more_bytes", r.store->more_bytes}, {"speedup", r.store->speedup}};
        if (r.store->speedup >= kReportedSpeedup)
            text += fmt::format("--memory store: {:.2f}x faster with {} more\n", r.store->speedup,
                                format_bytes(r.store->more_bytes));
    }
    json["steps_left"] = r.steps_left ? nlohmann::ordered_json(*r.steps_left) : nlohmann::ordered_json();
    json["seconds_left"] =
        r.seconds_left ? nlohmann::ordered_json(*r.seconds_left) : nlohmann::ordered_json();
    if (!r.seconds_left)
        text += "the run has no limit: give --epochs, --max-steps or --max-minutes";
    else if (*r.seconds_left <= 0)
        text += "the run has reached its limit";
    else
        text += fmt::format("the run takes {}{}, excluding evaluations and checkpoints",
                            duration_text(*r.seconds_left),
                            r.ends_by_steps ? fmt::format(" for {} steps", *r.steps_left) : "");
    for (const Preset& preset : presets()) {
        if (preset.name != request.preset || preset.published_images == 0) continue;
        const double epochs = preset.published_images / (r.epoch_seconds * r.images_per_s);
        json["published_epochs"] = epochs;
        json["published_seconds"] = preset.published_images / r.images_per_s;
        text += fmt::format("\nthe length of the published run, {:.0f} epochs (--epochs {:.0f}), takes {}",
                            epochs, epochs, duration_text(preset.published_images / r.images_per_s));
    }
    command.result(text, json);
}

void print_plan(const CommandLine& command, const TrainingRequest& request) {
    const PlannedRun planned = plan_run(request);
    const MemoryPlan& plan = planned.plan;
    nlohmann::ordered_json bytes;
    for (int i = 0; i < kCategories; ++i) bytes[std::string(kCategoryNames[i])] = plan.bytes[i];
    bytes["total"] = total(plan.bytes);
    bytes["stored_if_drift"] = plan.fallback_stored;
    bytes["network_units"] = plan.network_units;
    bytes["kept_maps"] = plan.policy.last_maps;
    bytes["processes"] = planned.group.size;
    bytes["processes_per_host"] = planned.group.local_size;
    bytes["machine"] = planned.limit.bytes;
    bytes["fits"] = planned.problem.empty();
    bytes["micro_batch"] = planned.options.micro_batch;
    bytes["act_budget"] = planned.options.act_budget;
    bytes["largest_batch"] = planned.largest_batch;
    bytes["largest_depth"] = planned.largest_depth;
    if (planned.store) bytes["store_more_bytes"] = planned.store->more_bytes;
    if (request.processes->is_root()) command.result(describe(planned), bytes);
    if (!planned.problem.empty()) throw InputError(planned.problem);
}

void train(CommandLine& command, const TrainingRequest& request) {
    const RunResult result = run_training(request);
    if (!request.processes->is_root()) return;  // mpirun reports the status of any rank
    const bool unfinished = result.ended == RunEnd::signal ||
                            (result.ended == RunEnd::max_minutes && request.requeue_max_minutes);
    if (unfinished) command.set_exit_status(request.requeue_exit);
    std::string text =
        fmt::format("ended by {} at step {}; memory: {} planned, {} at the peak, process grew by {}\n",
                    to_string(result.ended), result.progress.step, format_bytes(result.planned_bytes),
                    format_bytes(result.peak_bytes), format_bytes(result.process_growth_bytes));
    if (result.valid_ema)
        text += fmt::format(
            "validation {}{}\n", validation_text(*result.valid_ema, *result.valid_raw),
            result.valid_step == result.progress.step ? "" : fmt::format(" at step {}", result.valid_step));
    if (unfinished)
        command.info("the run is not finished (exit status {}): --resume auto continues it",
                     request.requeue_exit);
    command.result(text + result.checkpoint, to_json(result));
}

void run(CommandLine& command, TrainingRequest& request) {
    complete_request(command, request);
    if (request.print_config) {
        if (detect_launch().rank == 0) command.result(to_toml(request.options), to_json(request.options));
        return;
    }
    // Opening MPI, NCCL and the GPU may take minutes, and a run that a signal ends meanwhile is to be continued.
    std::optional<StopSignals> signals;
    const bool answers = !command.quiet() && detect_launch().rank == 0;
    if (request.plan)
        release_early_signals();
    else
        signals.emplace(answers ? "stopping when the run has started" : nullptr);
    const std::unique_ptr<Communicator> processes =
        open_communicator(request.communicator, request.plan ? Device::cpu : request.device);
    request.processes = processes.get();
    request.info = [&command, &processes](const std::string& line) {
        if (processes->is_root()) command.info("{}", line);
    };
    request.warn = [&command, &processes](const std::string& line) {
        if (processes->is_root()) command.warn("{}", line);
    };
    print_notes(request, request.info);
    request.answer_signals = !command.quiet() && processes->is_root();
    request.terminal = request.answer_signals && isatty(STDERR_FILENO);
    run_on_all(command, *processes, [&] {
        if (request.estimate)
            print_estimate(command, request);
        else if (request.plan)
            print_plan(command, request);
        else
            train(command, request);
    });
}

// Blocks signals while the libraries load (0.1 s, longer on a busy file system); main() collects them.
__attribute__((section(".preinit_array"), used)) void (*const g_hold_signals)() = hold_early_signals;

}  // namespace

int main(int argc, char** argv) {
    begin_program();
    collect_early_signals();
    return run_command(argc, argv, "Trains a Glow on a data set.", [argc, argv](CommandLine& command) {
        command.allow_processes();
        const auto request = std::make_shared<TrainingRequest>();
        add_training_request(command, request, argc, argv);
        command.action([&command, request] {
            try {
                run(command, *request);
            } catch (const InputError& error) {
                throw InputError(with_origin(command.app(), request->origins, error.what()));
            }
        });
    });
}
