// glow_train: trains a Glow.
#include <unistd.h>

#include <fstream>
#include <memory>

#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/numbers.h"
#include "tools/thread_policy.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace {

using namespace glow;

struct Request : RunRequest {
    std::string device = "auto", permutation = "invconv", coupling = "affine", resume_text;
    bool plan = false;
};

void add_options(CommandLine& command, const std::shared_ptr<Request>& request) {
    CLI::App& app = command.app();
    ModelConfig& model = request->options.model;
    app.add_option("--levels", model.levels, "Levels L")->check(is_number<index_t>());
    app.add_option("--depth", model.depth, "Steps of flow per level, K")->check(is_number<index_t>());
    app.add_option("--width", model.width, "Hidden channels of the coupling networks")
        ->check(is_number<index_t>());
    app.add_option("--permutation", request->permutation,
                   "Channel mixing: invconv, invconv_lu, shuffle or reverse");
    app.add_option("--coupling", request->coupling, "affine or additive");
    app.add_option("--n-bits", model.n_bits, "Bits of the pixels that are modelled, 1..8")
        ->check(is_number<int>());
    app.add_flag("--edge-bias,!--no-edge-bias", model.edge_bias,
                 "3x3 convolutions see where the image ends (default on)");
    app.add_flag("--learn-top,!--no-learn-top", model.learn_top,
                 "Learned prior of the top latents (default on)");
    app.add_flag("--y-cond,!--no-y-cond", model.y_cond,
                 "Top prior by class; the data set must have labels (default off)");
    app.add_option("--weight-y", model.weight_y,
                   "Weight of the classifier's cross-entropy in the loss, in bits; with --y-cond; 0: none")
        ->check(is_number<double>());
    visit_training_options(request->options, [&](const char* name, auto& value, OnResume, const char* help) {
        using T = std::decay_t<decltype(value)>;
        const std::string option = std::string("--") + name;
        if constexpr (std::is_same_v<T, bool>) {
            app.add_flag(option + ",!--no-" + name, value,
                         help + std::string(value ? " (default on)" : " (default off)"));
        } else if constexpr (std::is_same_v<T, Interval>) {
            app.add_option_function<std::string>(
                   option, [&value](const std::string& text) { value = parse_interval(text); }, help)
                ->default_str(to_string(value));
        } else {
            CLI::Option* const added = app.add_option(option, value, help);
            if (option == "--act-budget")
                added->transform(CLI::AsSizeValue(false));
            else if constexpr (std::is_arithmetic_v<T>)
                added->check(is_number<T>());
        }
    });
    app.get_option("--data")->required();
    app.get_option("--out")->required();
    app.add_option("--device", request->device, "auto or cpu")->configurable(false);
    app.add_option("--resume", request->resume_text,
                   "Go on: from a checkpoint, or `auto` for the folder's latest, afresh where there is none")
        ->expected(0, 1)
        ->default_str("")
        ->configurable(false);
    app.add_option("--init-from", request->init_from,
                   "Start from the raw weights of a checkpoint (file or run folder)")
        ->configurable(false);
    app.add_flag("--plan", request->plan, "Print the memory plan and stop")->configurable(false);
    app.set_config("--config", "", "Options from a file, as a run's config.toml");
    app.allow_config_extras(CLI::config_extras_mode::error);
}

// A run that goes on takes its options from its own config.toml; what the command line says comes first.
std::vector<std::string> with_run_config(int argc, char** argv) {
    std::vector<std::string> arguments(argv, argv + argc);
    std::string out;
    bool resume = false, config = false;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (argument == "--out" && i + 1 < arguments.size()) out = arguments[i + 1];
        if (argument.rfind("--out=", 0) == 0) out = argument.substr(6);
        resume = resume || argument == "--resume" || argument.rfind("--resume=", 0) == 0;
        config = config || argument == "--config" || argument.rfind("--config=", 0) == 0;
    }
    std::error_code ignored;
    if (resume && !config && !out.empty() && std::filesystem::exists(RunFolder(out).config(), ignored)) {
        arguments.insert(arguments.begin() + 1, RunFolder(out).config().string());
        arguments.insert(arguments.begin() + 1, "--config");
    }
    return arguments;
}

void train(CommandLine& command, Request& request) {
    if (request.device != "auto" && request.device != "cpu")
        throw InputError("--device " + request.device + ": this build has no such device; use --device cpu");
    request.options.model.permutation = parse_permutation(request.permutation);
    request.options.model.coupling = parse_coupling(request.coupling);
    check(request.options);
    if (request.options.out.empty()) throw InputError("--out: the name of a folder is missing");
    request.say = [&command](const std::string& line) { command.say("{}", line); };
    request.terminal = isatty(STDERR_FILENO) && !command.quiet();
    const CLI::Option* const resume = command.app().get_option("--resume");
    request.resume = resume->count() > 0;
    request.resume_from = request.resume_text == "auto" ? "" : request.resume_text;
    if (request.resume && !request.init_from.empty())
        throw InputError(
            "--resume and --init-from exclude each other: the first goes on with a run, the second starts "
            "one");

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
        command.result(
            fmt::format("{}\nof {} that this machine has; the largest batch at once that fits: {}, the "
                        "largest depth: {}",
                        describe(plan), human_bytes(planned.machine_bytes), planned.largest_batch,
                        planned.largest_depth),
            bytes);
        return;
    }
    const RunResult result = run_training(request);
    nlohmann::ordered_json json = {
        {"ended", result.ended},           {"step", result.progress.step},
        {"epoch", result.progress.epoch},  {"images_seen", result.progress.images_seen},
        {"bpd", result.bits_per_dim},      {"planned_bytes", result.planned_bytes},
        {"peak_bytes", result.peak_bytes}, {"process_growth_bytes", result.process_growth_bytes},
        {"checkpoint", result.checkpoint}};
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

}  // namespace

int main(int argc, char** argv) {
    wait_without_spinning(argv);
    const std::vector<std::string> arguments = with_run_config(argc, argv);
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    return run_tool(static_cast<int>(pointers.size()), pointers.data(), "Trains a Glow on a data set.",
                    [](CommandLine& command) {
                        const auto request = std::make_shared<Request>();
                        add_options(command, request);
                        command.action([&command, request] { train(command, *request); });
                    });
}
