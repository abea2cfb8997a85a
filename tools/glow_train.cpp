// glow_train: trains a Glow.
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/device.h"
#include "tools/command_line.h"
#include "tools/config_file.h"
#include "tools/numbers.h"
#include "tools/output_files.h"
#include "tools/spelling.h"
#include "tools/training_options.h"
#include "train/presets.h"
#include "train/resume.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/run_plan.h"
#include "train/timer.h"

namespace {

using namespace glow;

constexpr double kFaster = 1.05;  // what --estimate reports of another policy

struct Request : RunRequest {
    std::string device_text = "auto", resume_text;
    CommunicatorKind communicator = CommunicatorKind::automatic;
    std::string preset, config;
    bool plan = false, estimate = false, print_config = false, save_limits = false;
    int requeue_exit = 75;  // EX_TEMPFAIL of sysexits.h
    bool requeue_max_minutes = false;
    ValueOrigins origins;    // origins of values from a file
    std::string moved_data;  // message if the run's data set was found elsewhere
};

void add_resume_options(CLI::App& app, Request& request) {
    app.add_option(
           "--resume", request.resume_text,
           "Resume from a checkpoint, or with `auto` from the folder's latest, or start if there is none")
        ->expected(0, 1)
        ->default_str("")
        ->configurable(false);
    app.add_flag(
           "--save-limits", request.save_limits,
           "With --resume: keep --max-steps and --max-minutes given here for later parts of the run too")
        ->default_str("")
        ->configurable(false);
    app.add_option(
           "--requeue-exit", request.requeue_exit,
           "Exit status after a signal, when the run has a checkpoint to resume from but is not finished")
        ->check(CLI::Range(0, 255))
        ->configurable(false);
    app.add_flag("--requeue-max-minutes", request.requeue_max_minutes,
                 "The same exit status after --max-minutes, for jobs that continue each other")
        ->default_str("")
        ->configurable(false);
    app.add_flag("--accept-new-data", request.accept_new_data,
                 "With --resume: continue even if the data set has changed")
        ->default_str("")
        ->configurable(false);
    app.add_option("--init-from", request.init_from,
                   "Start from the raw weights of a checkpoint (file or run folder)")
        ->configurable(false);
}

void add_options(CommandLine& command, const std::shared_ptr<Request>& request) {
    CLI::App& app = command.app();
    command.examples(
        "glow_train --preset quick --data datasets/cifar10.h5 --out runs/quick --max-minutes 3\n"
        "glow_train --preset quick --data datasets/cifar10.h5 --out runs/quick --max-minutes 3 --resume auto\n"
        "glow_train --preset cifar10 --data datasets/cifar10.h5 --out runs/cifar10 --estimate");
    app.option_defaults()->group("Run");
    std::string names;
    for (const Preset& preset : presets()) names += fmt::format("\n{}: {}", preset.name, preset.what);
    app.add_option("--preset", request->preset,
                   "Start from these settings; --config and other options override them" + names)
        ->configurable(false);
    app.add_option("--config", request->config, "Read options from a TOML file such as a run's config.toml")
        ->configurable(false);
    app.add_flag("--print-config", request->print_config, "Print all effective options as TOML and exit")
        ->default_str("")
        ->configurable(false);
    app.footer(
        "Exit status: 0 finished (--epochs, --max-steps or --max-minutes); 75 stopped by a signal, with a checkpoint\n"
        "to resume from (--requeue-exit); 1 failure at run time; 2 bad usage or input. docs/parallel.md has a Slurm "
        "script.");
    add_training_options(app, request->options);
    app.option_defaults()->group("Machine");
    add_device(app, request->device_text)->configurable(false);
    add_choice(
        app, "--communicator", request->communicator,
        "Communication between processes: mpi, nccl, or auto (by device, under a launcher such as mpirun)")
        ->configurable(false);
    app.add_flag("-v,--verbose", request->verbose,
                 "With --tune: print cuDNN's result for each of its engines")
        ->default_str("")
        ->configurable(false);
    app.option_defaults()->group("Run");
    add_resume_options(app, *request);
    app.add_flag("--plan", request->plan, "Print the memory plan and exit")->configurable(false);
    app.add_flag(
           "--estimate", request->estimate,
           "Time a few steps on the data; print the memory plan and durations of a step and the run; write no files")
        ->configurable(false);
    app.add_flag("--dry-run", request->estimate, "The former name of --estimate")
        ->group("")
        ->configurable(false);
}

// Options that determine the defaults of the others, from a first look at the command line. Empty if absent,
// "" if no value follows.
struct LookAhead {
    std::optional<std::string> preset, config, out;
    bool resume = false, help = false;
};

// Parses the command line once without side effects. Errors are left to the real parse.
LookAhead look_ahead(int argc, char** argv) {
    CommandLine command("glow_train", "");
    const auto request = std::make_shared<Request>();
    add_options(command, request);
    CLI::App& app = command.app();
    try {
        app.parse(argc, argv);
    } catch (const std::exception&) {
    }
    const auto value = [&app](const char* name) -> std::optional<std::string> {
        const CLI::Option* const option = app.get_option(name);
        if (option->count() == 0) return {};
        return option->results().empty() ? "" : option->results().back();
    };
    return {value("--preset"), value("--config"), value("--out"), app.get_option("--resume")->count() > 0,
            app.get_help_ptr()->count() > 0};
}

// Options from a file become defaults that the command line overrides: from --config, or for a resumed run
// from its own config.toml.
void begin_with_config(CommandLine& command, Request& request, const LookAhead& given) {
    if (given.config) {
        request.origins = apply_config(command.app(), std::filesystem::path(*given.config));
        return;
    }
    std::error_code ignored;
    if (!given.resume || !given.out || given.out->empty()) return;
    const RunFolder folder(*given.out);
    if (!std::filesystem::exists(folder.config(), ignored)) return;
    request.origins = apply_config(command.app(), folder.config());
    request.recorded_limits = RunLimits{request.options.max_steps, request.options.max_minutes};
    if (!request.origins.contains("data")) return;
    const std::string data = find_data_of_run(request.options, folder);
    if (data == request.options.data) return;
    request.moved_data = fmt::format(
        "using {1} for the run's data set {0}: the same path relative to "
        "the run's folder",
        request.options.data, data);
    request.options.data = data;
}

void estimate(const CommandLine& command, const Request& request) {
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
        human_bytes(total(r.plan.bytes)), human_bytes(r.peak_bytes), r.step_seconds, r.timed_steps,
        r.images_per_s, duration_text(r.epoch_seconds));
    if (r.store) {
        json["store"] = {{"more_bytes", r.store->more_bytes}, {"speedup", r.store->speedup}};
        if (r.store->speedup >= kFaster)
            text += fmt::format("--memory store: {:.2f}x faster with {} more\n", r.store->speedup,
                                human_bytes(r.store->more_bytes));
    }
    json["steps_left"] = r.steps_left > 0 ? nlohmann::ordered_json(r.steps_left) : nlohmann::ordered_json();
    json["seconds_left"] =
        r.seconds_left > 0 ? nlohmann::ordered_json(r.seconds_left) : nlohmann::ordered_json();
    if (r.seconds_left > 0)
        text += fmt::format("the run takes {}{}, excluding evaluations and checkpoints",
                            duration_text(r.seconds_left),
                            r.steps_left > 0 ? fmt::format(" for {} steps", r.steps_left) : "");
    else
        text += "the run has no limit: give --epochs, --max-steps or --max-minutes";
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

void plan_or_run(CommandLine& command, const Request& request) {
    if (request.estimate) return estimate(command, request);
    if (request.plan) {
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
        return;
    }
    const RunResult result = run_training(request);
    if (!request.processes->is_root()) return;  // mpirun reports the status of any rank
    const bool unfinished =
        result.ended == "signal" || (result.ended == "max-minutes" && request.requeue_max_minutes);
    if (unfinished) command.set_exit_status(request.requeue_exit);
    nlohmann::ordered_json json = {
        {"ended", result.ended},           {"step", result.progress.step},
        {"epoch", result.progress.epoch},  {"images_seen", result.progress.images_seen},
        {"bpd", result.bits_per_dim},      {"planned_bytes", result.planned_bytes},
        {"peak_bytes", result.peak_bytes}, {"process_growth_bytes", result.process_growth_bytes},
        {"checkpoint", result.checkpoint}, {"rollbacks", result.rollbacks},
        {"lr_scale", result.lr_scale}};
    std::string text =
        fmt::format("ended by {} at step {}; memory: {} planned, {} at the peak, process grew by {}\n",
                    result.ended, result.progress.step, human_bytes(result.planned_bytes),
                    human_bytes(result.peak_bytes), human_bytes(result.process_growth_bytes));
    if (result.valid_ema) {
        json["valid_bpd_ema"] = result.valid_ema->value;
        json["valid_bpd_raw"] = result.valid_raw->value;
        json["valid_stderr_ema"] = result.valid_ema->standard_error;
        json["valid_stderr_raw"] = result.valid_raw->standard_error;
        json["valid_images"] = result.valid_ema->count;
        text += fmt::format("validation {}\n", validation_text(*result.valid_ema, *result.valid_raw));
    }
    if (unfinished)
        command.say("the run is not finished (exit status {}): --resume auto continues it",
                    request.requeue_exit);
    command.result(text + result.checkpoint, json);
}

// Rejects a missing data set whose name came from a file, perhaps written in another folder.
void require_data(const Request& request) {
    std::error_code failed;
    const std::filesystem::path data = request.options.data;
    if (std::filesystem::exists(data, failed)) return;
    const std::string here =
        data.is_absolute() ? "" : fmt::format(" in {}", std::filesystem::current_path(failed).string());
    throw InputError(fmt::format("{}: the data set {} does not exist{}: give its location with --data",
                                 request.origins.at("data"), data.string(), here));
}

// Rejects --resume without --data where the folder has no run, whose config.toml would name its data set.
[[noreturn]] void refuse_to_start(const std::string& out) {
    std::error_code ignored;
    const std::optional<std::filesystem::path> similar = similar_run(out);
    throw InputError(fmt::format(
        "--out {}: {}; {}or start a run there with --data", out,
        std::filesystem::exists(out, ignored) ? "the folder has no run to resume"
                                              : "there is no such folder, so no run to resume",
        similar ? fmt::format("did you mean {}? Else give the folder of a run, ", similar->string())
                : "give the folder of a run, "));
}

// Existing files that a run writes or removes in its folder.
std::vector<NamedPath> files_of_run(const std::string& out) {
    const RunFolder run(out);
    std::vector<NamedPath> files;
    for (const std::filesystem::path& file :
         {run.latest(), run.best(), run.config(), run.metrics(), run.evaluations(), run.audits(), run.lock()})
        files.push_back({"--out: the run's", file});
    std::error_code ignored;
    for (const std::filesystem::path& folder : {run.checkpoints(), run.samples(0).parent_path()})
        for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
            if (entry.path().filename().string().starts_with("step-"))
                files.push_back({"--out: the run's", entry.path()});
    return files;
}

void train(CommandLine& command, Request& request) {
    request.device = parse_device(request.device_text);
    if (!request.plan) require_device(request.device);  // planning needs no device
    if (request.options.max_memory > 0 && command.app().get_option("--memory")->count() == 0 &&
        !request.origins.contains("memory"))
        request.options.memory = MemoryMode::automatic;
    check(request.options);
    if (request.print_config) {
        command.result(to_toml(request.options), to_json(request.options));
        return;
    }
    const CLI::Option* const resume = command.app().get_option("--resume");
    request.resume = resume->count() > 0;
    request.resume_from = request.resume_text == "auto" ? "" : request.resume_text;
    const auto is_missing = [&](const char* option) {
        return command.app().get_option(fmt::format("--{}", option))->count() == 0 &&
               !request.origins.contains(option);
    };
    if (is_missing("data") && !is_missing("out") && request.resume && request.resume_from.empty())
        refuse_to_start(request.options.out);
    for (const char* option : {"data", "out"})
        if (is_missing(option))
            throw InputError(
                fmt::format("--{0} is required ({1} --help lists the options)", option, command.name()));
    const bool data_of_file = command.app().get_option("--data")->count() == 0;
    if (data_of_file) require_data(request);
    if (request.options.out.empty()) throw InputError("--out: expected the name of a folder");
    if (request.save_limits) request.recorded_limits.reset();
    if (request.resume && !request.init_from.empty())
        throw InputError(
            "--resume and --init-from exclude each other: the first continues a run, the second starts one");

    if (!request.plan && !request.estimate)
        refuse_overwriting({{"--data", request.options.data}, {"--init-from", request.init_from}},
                           files_of_run(request.options.out));

    const std::unique_ptr<Communicator> processes =
        open_communicator(request.communicator, request.plan ? Device::cpu : request.device);
    request.processes = processes.get();
    request.say = [&command, &processes](const std::string& line) {
        if (processes->is_root()) command.say("{}", line);
    };
    request.warn = [&command, &processes](const std::string& line) {
        if (processes->is_root()) command.warn("{}", line);
    };
    if (data_of_file && !request.moved_data.empty()) request.say(request.moved_data);
    request.answer_signals = !command.quiet() && processes->is_root();
    request.terminal = request.answer_signals && isatty(STDERR_FILENO);
    run_on_all(command, *processes, [&] { plan_or_run(command, request); });
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(argc, argv, "Trains a Glow on a data set.", [argc, argv](CommandLine& command) {
        command.allow_processes();
        const LookAhead given = look_ahead(argc, argv);
        const auto request = std::make_shared<Request>();
        if (given.preset) request->options = preset_options(*given.preset);  // visible in --help
        add_options(command, request);
        if (!given.help) begin_with_config(command, *request, given);
        command.action([&command, request] {
            try {
                train(command, *request);
            } catch (const InputError& error) {
                throw InputError(with_origin(command.app(), request->origins, error.what()));
            }
        });
    });
}
