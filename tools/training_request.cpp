#include "tools/training_request.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "data/formats/input_path.h"
#include "kernels/error.h"
#include "runtime/device.h"
#include "tools/numbers.h"
#include "tools/output_files.h"
#include "tools/spelling.h"
#include "tools/training_options.h"
#include "train/presets.h"
#include "train/resume.h"
#include "train/run_folder.h"

namespace glow {
namespace {

void add_resume_options(CLI::App& app, TrainingRequest& request) {
    CLI::Option* const resume =
        app.add_option(
               "--resume", request.resume_text,
               "Resume from a checkpoint, or with `auto` from the folder's latest, or start if there is none")
            ->expected(0, 1)
            ->default_str("")
            ->configurable(false);
    app.add_flag("--save-limits", request.save_limits,
                 "Keep --max-steps and --max-minutes given here for later parts of the run too")
        ->default_str("")
        ->needs(resume)
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
    app.add_flag("--accept-new-data", request.accept_new_data, "Continue even if the data set has changed")
        ->default_str("")
        ->needs(resume)
        ->configurable(false);
    app.add_option(
           "--init-from", request.init_from,
           "Start from the raw weights of a checkpoint (file or run folder); not used if --resume auto finds a run")
        ->configurable(false);
}

void add_options(CommandLine& command, const std::shared_ptr<TrainingRequest>& request) {
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
    const auto request = std::make_shared<TrainingRequest>();
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

// The options of the run to resume, from its own config.toml.
void begin_with_run(CommandLine& command, TrainingRequest& request, const LookAhead& given) {
    if (!given.resume || !given.out || given.out->empty()) return;
    const RunFolder folder(*given.out);
    if (!is_present(folder.config())) return;
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

// Options from a file become defaults that the command line overrides: for a resumed run from its own
// config.toml, then from --config, which may name the run to resume.
void begin_with_config(CommandLine& command, TrainingRequest& request, LookAhead given) {
    const std::string text = given.config ? read_config(*given.config) : "";
    const auto apply = [&] { return apply_config(command.app(), *given.config, text); };
    if (given.config && given.resume && !given.out && apply().contains("out"))
        given.out = request.options.out;
    begin_with_run(command, request, given);
    std::error_code ignored;
    if (!given.config ||
        (!request.origins.empty() &&
         std::filesystem::equivalent(*given.config, RunFolder(*given.out).config(), ignored)))
        return;
    for (const auto& [name, origin] : apply()) {
        request.origins[name] = origin;
        if (name == "data") request.moved_data.clear();
    }
}

// Rejects a missing data set whose name came from a file, perhaps written in another folder.
void require_data(const TrainingRequest& request) {
    std::error_code failed;
    const std::filesystem::path data = request.options.data;
    if (std::filesystem::exists(data, failed)) return;
    const std::string here =
        data.is_absolute() ? "" : fmt::format(" in {}", std::filesystem::current_path(failed).string());
    throw InputError(fmt::format("{}: the data set {} does not exist{}: give its location with --data",
                                 request.origins.at("data"), data.string(), here));
}

// Rejects --resume without --data if the folder has no run: only a run's config.toml could name the data set.
[[noreturn]] void refuse_to_start(const std::string& out) {
    std::error_code ignored;
    const RunFolder run(out);
    if (run.holds_run() && !std::filesystem::exists(run.config(), ignored))
        throw InputError(fmt::format(
            "--out {}: {}, which names the data set and the options, is missing: give --data and the run's options",
            out, run.config().string()));
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

// Rejects options of variational noise in a run without it. A resumed run may have a recorded --dequant-width
// that is ignored.
void check_noise(const CLI::App& app, const TrainingRequest& request) {
    const TrainingOptions& o = request.options;
    if (o.dequant == Dequantization::variational) return;
    const auto is_given = [&app](const char* option) { return app.get_option(option)->count() > 0; };
    const auto depth = request.origins.find("dequant-depth");
    if (o.model.dequant_depth > 0 && is_given("--dequant") && !is_given("--dequant-depth") &&
        depth != request.origins.end())
        throw InputError(fmt::format(
            "--dequant {}: {} has dequant-depth = {}, which needs --dequant variational: {}",
            to_string(o.dequant), depth->second, o.model.dequant_depth,
            request.resume ? "a resumed run keeps its noise, so omit --dequant" : "add --dequant-depth 0"));
    if (o.model.dequant_depth == 0 && o.model.dequant_width != ModelConfig().dequant_width && !request.resume)
        throw InputError(
            fmt::format("--dequant-width {} needs --dequant variational, whose networks it describes; "
                        "found --dequant {}",
                        o.model.dequant_width, to_string(o.dequant)));
}

// Rejects a --warmup-epochs without effect, for example with a preset's --warmup-steps.
void check_warmup(const CLI::App& app, const TrainingRequest& request) {
    const TrainingOptions& o = request.options;
    const auto is_given = [&app](const char* option) { return app.get_option(option)->count() > 0; };
    // A run's config.toml has both.
    const bool file_has_only_epochs =
        request.origins.contains("warmup-epochs") && !request.origins.contains("warmup-steps");
    const bool both = is_given("--warmup-epochs") && is_given("--warmup-steps");
    if (o.warmup_steps == 0 || (both && o.warmup_epochs == 0)) return;
    if (is_given("--warmup-epochs") || (file_has_only_epochs && !is_given("--warmup-steps")))
        throw InputError(fmt::format(
            "--warmup-epochs {}: it has no effect with --warmup-steps {}{}; --warmup-steps 0 turns the steps off",
            o.warmup_epochs, o.warmup_steps,
            is_given("--warmup-steps")                 ? ""
            : request.origins.contains("warmup-steps") ? " of " + request.origins.at("warmup-steps")
                                                       : " of --preset " + request.preset));
}

// Settings of --preset that a resumed run does not have, because it has its own options.
std::string unused_preset(const CLI::App& app, const TrainingRequest& request) {
    const auto settings = [](const TrainingOptions& options) {
        nlohmann::ordered_json all = to_json(options);
        all.update(nlohmann::ordered_json(std::exchange(all["training"], {})));
        return all;
    };
    const nlohmann::ordered_json preset = settings(preset_options(request.preset)),
                                 plain = settings(TrainingOptions()), now = settings(request.options);
    std::string unused;
    for (const auto& [key, value] : preset.items()) {
        std::string option = key;
        std::replace(option.begin(), option.end(), '_', '-');
        const CLI::Option* const given = app.get_option_no_throw("--" + option);
        const auto origin = request.origins.find(option);
        const bool is_overridden =
            (given != nullptr && given->count() > 0) ||
            (origin != request.origins.end() && origin->second.starts_with(request.config + ":"));
        if (value != plain[key] && value != now[key] && !is_overridden)
            unused += fmt::format("{}{} is {}", unused.empty() ? "" : ", ", option, now[key].dump());
    }
    if (unused.empty()) return "";
    return fmt::format("--preset {} has no effect on a resumed run, which keeps its options: {}",
                       request.preset, unused);
}

}  // namespace

void add_training_request(CommandLine& command, const std::shared_ptr<TrainingRequest>& request, int argc,
                          char** argv) {
    const LookAhead given = look_ahead(argc, argv);
    if (given.preset) request->options = preset_options(*given.preset);  // visible in --help
    add_options(command, request);
    if (!given.help) begin_with_config(command, *request, given);
}

void complete_request(const CommandLine& command, TrainingRequest& request) {
    const CLI::App& app = command.app();
    request.device = parse_device(request.device_text);
    if (!request.plan) require_device(request.device);  // planning needs no device
    if (request.options.max_memory > 0 && app.get_option("--memory")->count() == 0 &&
        !request.origins.contains("memory"))
        request.options.memory = MemoryMode::automatic;
    request.resume = app.get_option("--resume")->count() > 0;
    check_noise(app, request);
    check_warmup(app, request);
    // --lr-schedule constant ends the decay of a file or preset, whose final rate then has no effect.
    if (request.options.lr_schedule == LrSchedule::constant && app.get_option("--lr-schedule")->count() > 0 &&
        app.get_option("--lr-final")->count() == 0)
        request.options.lr_final = 0;
    check(request.options);
    if (request.print_config) return;
    request.resume_from = request.resume_text == "auto" ? "" : request.resume_text;
    // Options recorded in a run may have lost their effect by others given on resume.
    if (const std::string unused = unused_memory_option(request.options);
        !unused.empty() &&
        (!request.resume || app.get_option(unused.substr(0, unused.find(' ')))->count() > 0))
        throw InputError(unused);
    const auto is_missing = [&](const char* option) {
        return app.get_option(fmt::format("--{}", option))->count() == 0 && !request.origins.contains(option);
    };
    if (is_missing("data") && !is_missing("out") && request.resume && request.resume_from.empty())
        refuse_to_start(request.options.out);
    if (is_missing("out") && !request.resume_from.empty())
        throw InputError(fmt::format(
            "--resume {0}: --out, the run's folder, is missing{1}", request.resume_from,
            RunFolder(request.resume_from).holds_run()
                ? fmt::format("; give --out {} --resume auto to continue that run", request.resume_from)
                : ""));
    for (const char* option : {"data", "out"})
        if (is_missing(option))
            throw InputError(
                fmt::format("--{0} is required ({1} --help lists the options)", option, command.name()));
    const bool data_of_file = app.get_option("--data")->count() == 0;
    if (data_of_file)
        require_data(request);
    else
        request.moved_data.clear();
    if (request.options.out.empty()) throw InputError("--out: expected the name of a folder");
    if (request.recorded_limits && !request.preset.empty())
        request.unused_preset = unused_preset(app, request);
    if (request.save_limits) request.recorded_limits.reset();
    // With --requeue-max-minutes, --max-minutes ends each part of the run, so a decay cannot end with it.
    if (request.requeue_max_minutes && request.options.lr_schedule != LrSchedule::constant) {
        if (request.options.max_steps == 0 && request.options.epochs == 0)
            throw InputError(
                "--requeue-max-minutes: --max-minutes ends each part of the run, so --lr-schedule needs --epochs or "
                "--max-steps for the end of the whole");
        if (!request.recorded_limits) request.recorded_limits = RunLimits{request.options.max_steps, 0};
        request.recorded_limits->max_minutes = 0;
    }
    if (!request.resume_from.empty() && !request.init_from.empty())
        throw InputError(
            "--resume with a checkpoint and --init-from exclude each other: the first continues a run, the second "
            "starts one; --resume auto does either");
    if (const RunFolder run(request.options.out);
        request.resume && request.resume_from.empty() && !run.holds_run())
        if (const auto mistaken = mistaken_run(run.path()))
            request.mistaken_out = fmt::format("--out {}: there is no run to resume, but {} has one",
                                               request.options.out, mistaken->string());
    if (!request.plan && !request.estimate)
        refuse_overwriting({{"--data", request.options.data}, {"--init-from", request.init_from}},
                           files_of_run(request.options.out));
}

void print_notes(const TrainingRequest& request,
                 const std::function<void(const std::string&)>& report_mistaken) {
    if (!request.mistaken_out.empty()) report_mistaken(request.mistaken_out);
    if (!request.moved_data.empty()) request.info(request.moved_data);
    if (!request.unused_preset.empty()) request.warn(request.unused_preset);
}

}  // namespace glow
