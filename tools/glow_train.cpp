// glow_train: trains a Glow.
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/device.h"
#include "tools/command_line.h"
#include "tools/output_files.h"
#include "tools/thread_policy.h"
#include "tools/training_options.h"
#include "train/presets.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/run_plan.h"
#include "train/timer.h"

namespace {

using namespace glow;

struct Request : RunRequest {
    std::string device_text = "auto", communicator = "auto", permutation = "invconv", coupling = "affine",
                resume_text;
    std::string preset;
    bool plan = false, dry_run = false, print_config = false;
};

// What the command line gives an option, "" where nothing follows it; nothing where it is not there. For
// options that must be known before the command line is parsed.
std::optional<std::string> option_value(const std::vector<std::string>& arguments,
                                        const std::string& option) {
    std::optional<std::string> value;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        if (arguments[i] == option) value = i + 1 < arguments.size() ? arguments[i + 1] : "";
        if (arguments[i].starts_with(option + "=")) value = arguments[i].substr(option.size() + 1);
    }
    return value;
}

// The preset's options are what the others begin with, so that --help shows them too.
void begin_with_preset(Request& request, const std::vector<std::string>& arguments) {
    const auto name = option_value(arguments, "--preset");
    if (!name) return;
    request.options = preset_options(*name);
    request.permutation = to_string(request.options.model.permutation);
    request.coupling = to_string(request.options.model.coupling);
}

void add_options(CommandLine& command, const std::shared_ptr<Request>& request) {
    CLI::App& app = command.app();
    std::string names;
    for (const Preset& preset : presets()) names += fmt::format("\n{}: {}", preset.name, preset.what);
    app.add_option(
           "--preset", request->preset,
           "Begin with the settings of a published run; --config and other options come after" + names)
        ->configurable(false);
    app.add_flag("--print-config", request->print_config,
                 "Print all options as they would be used (TOML) and stop")
        ->default_str("")
        ->configurable(false);
    add_training_options(app, request->options, request->permutation, request->coupling);
    add_device(app, request->device_text)->configurable(false);
    app.add_option(
           "--communicator", request->communicator,
           "Between processes: mpi, nccl, or auto: what fits the device, under a launcher such as mpirun")
        ->configurable(false);
    app.add_option("--resume", request->resume_text,
                   "Go on: from a checkpoint, or `auto` for the folder's latest, afresh where there is none")
        ->expected(0, 1)
        ->default_str("")
        ->configurable(false);
    app.add_flag("--accept-new-data", request->accept_new_data,
                 "With --resume: go on though the data set has changed since the run began")
        ->default_str("")
        ->configurable(false);
    app.add_option("--init-from", request->init_from,
                   "Start from the raw weights of a checkpoint (file or run folder)")
        ->configurable(false);
    app.add_flag("--plan", request->plan, "Print the memory plan and stop")->configurable(false);
    app.add_flag("--dry-run", request->dry_run,
                 "Print the memory plan, and what a step takes and how long the run will take by some steps "
                 "on the data; "
                 "write nothing")
        ->configurable(false);
}

// A run that goes on takes its options from its own config.toml; what the command line says comes first.
std::vector<std::string> with_run_config(int argc, char** argv) {
    std::vector<std::string> arguments(argv, argv + argc);
    const bool resume = option_value(arguments, "--resume").has_value(),
               config = option_value(arguments, "--config").has_value();
    const std::string out = option_value(arguments, "--out").value_or("");
    std::error_code ignored;
    if (resume && !config && !out.empty() && std::filesystem::exists(RunFolder(out).config(), ignored)) {
        arguments.insert(arguments.begin() + 1, RunFolder(out).config().string());
        arguments.insert(arguments.begin() + 1, "--config");
    }
    return arguments;
}

void rehearse(const CommandLine& command, const Request& request) {
    const Rehearsal r = rehearse_training(request);
    if (!request.processes->is_first()) return;
    nlohmann::ordered_json json = {{"planned_bytes", total(r.plan.bytes)},
                                   {"peak_bytes", r.peak_bytes},
                                   {"process_growth_bytes", r.process_growth_bytes},
                                   {"timed_steps", r.timed_steps},
                                   {"step_seconds", r.step_seconds},
                                   {"images_per_s", r.images_per_s},
                                   {"epoch_seconds", r.epoch_seconds}};
    std::string text = fmt::format(
        "memory {} planned, {} at the peak\n{:.3g} s a step (median of {}), {:.3g} images/s, an epoch takes "
        "{}\n",
        human_bytes(total(r.plan.bytes)), human_bytes(r.peak_bytes), r.step_seconds, r.timed_steps,
        r.images_per_s, duration_text(r.epoch_seconds));
    json["steps_left"] = r.steps_left > 0 ? nlohmann::ordered_json(r.steps_left) : nlohmann::ordered_json();
    json["seconds_left"] =
        r.seconds_left > 0 ? nlohmann::ordered_json(r.seconds_left) : nlohmann::ordered_json();
    if (r.seconds_left > 0)
        text += fmt::format("the run takes {}{}, evaluations and checkpoints aside",
                            duration_text(r.seconds_left),
                            r.steps_left > 0 ? fmt::format(" for {} steps", r.steps_left) : "");
    else
        text += "the run has no end: no --epochs, --max-steps or --max-minutes is given";
    for (const Preset& preset : presets()) {
        if (preset.name != request.preset || preset.published_images == 0) continue;
        const double epochs = preset.published_images / request.options.epoch_images;
        json["published_epochs"] = epochs;
        json["published_seconds"] = preset.published_images / r.images_per_s;
        text += fmt::format("\nas long as the published run, {:.0f} epochs (--epochs {:.0f}), takes {}",
                            epochs, epochs, duration_text(preset.published_images / r.images_per_s));
    }
    command.result(text, json);
}

void plan_or_run(const CommandLine& command, const Request& request) {
    if (request.dry_run) return rehearse(command, request);
    if (request.plan) {
        const PlannedRun planned = plan_run(request);
        const MemoryPlan& plan = planned.plan;
        nlohmann::ordered_json bytes;
        for (int i = 0; i < kCategories; ++i) bytes[std::string(kCategoryNames[i])] = plan.bytes[i];
        bytes["total"] = total(plan.bytes);
        bytes["stored_if_drift"] = plan.fallback_stored;
        bytes["network_units"] = plan.network_units;
        bytes["kept_maps"] = plan.keep.last_maps;
        bytes["machine"] = planned.machine_bytes;
        bytes["largest_batch"] = planned.largest_batch;
        bytes["largest_depth"] = planned.largest_depth;
        if (!request.processes->is_first()) return;
        command.result(
            fmt::format("{}\nof {} that this machine has; the largest batch at once that fits: {}, the "
                        "largest depth: {}",
                        describe(plan), human_bytes(planned.machine_bytes), planned.largest_batch,
                        planned.largest_depth),
            bytes);
        return;
    }
    const RunResult result = run_training(request);
    if (!request.processes->is_first()) return;
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
        text += fmt::format("validation {:.4f} bits/dim (EMA), {:.4f} (raw)\n", result.valid_ema->value,
                            result.valid_raw->value);
    }
    command.result(text + result.checkpoint, json);
}

// An error on one of several processes ends them all: the others wait for it. Where all fail alike, as on bad
// input, the first one speaks for them.
[[noreturn]] void end_all(const CommandLine& command, Communicator& processes, const std::exception& error) {
    if (!processes.is_first()) std::this_thread::sleep_for(std::chrono::seconds(1));
    const ProcessGroup& group = processes.group();
    command.complain("error",
                     fmt::format("rank {} on {}: {}", group.rank, group.hosts[group.rank], error.what()));
    processes.abort(dynamic_cast<const InputError*>(&error) != nullptr ? 2 : 1);
}

// What a run writes or removes in its folder, where it is there.
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
    if (!request.plan) require_device(request.device);  // a plan needs none
    request.options.model.permutation = parse_permutation(request.permutation);
    request.options.model.coupling = parse_coupling(request.coupling);
    check(request.options);
    if (request.print_config) {
        command.result(to_toml(request.options), to_json(request.options));
        return;
    }
    for (const char* option : {"--data", "--out"})
        if (command.app().get_option(option)->count() == 0)
            throw InputError(
                fmt::format("{0} is required ({1} --help lists the options)", option, command.name()));
    if (request.options.out.empty()) throw InputError("--out: the name of a folder is missing");
    const CLI::Option* const resume = command.app().get_option("--resume");
    request.resume = resume->count() > 0;
    request.resume_from = request.resume_text == "auto" ? "" : request.resume_text;
    if (request.resume && !request.init_from.empty())
        throw InputError(
            "--resume and --init-from exclude each other: the first goes on with a run, the second starts "
            "one");

    if (!request.plan && !request.dry_run)
        refuse_overwriting({{"--data", request.options.data}, {"--init-from", request.init_from}},
                           files_of_run(request.options.out));

    const std::unique_ptr<Communicator> processes =
        open_communicator(request.communicator, request.plan ? Device::cpu : request.device);
    request.processes = processes.get();
    request.say = [&command, &processes](const std::string& line) {
        if (processes->is_first()) command.say("{}", line);
    };
    request.warn = [&command, &processes](const std::string& line) {
        if (processes->is_first()) command.warn("{}", line);
    };
    request.terminal = isatty(STDERR_FILENO) && !command.quiet() && processes->is_first();
    try {
        plan_or_run(command, request);
    } catch (const std::exception& error) {
        if (processes->size() == 1) throw;
        end_all(command, *processes, error);
    }
}

}  // namespace

int main(int argc, char** argv) {
    wait_without_spinning(argv);
    const std::vector<std::string> arguments = with_run_config(argc, argv);
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    return run_tool(static_cast<int>(pointers.size()), pointers.data(), "Trains a Glow on a data set.",
                    [&arguments](CommandLine& command) {
                        const auto request = std::make_shared<Request>();
                        begin_with_preset(*request, arguments);
                        add_options(command, request);
                        command.action([&command, request] { train(command, *request); });
                    });
}
