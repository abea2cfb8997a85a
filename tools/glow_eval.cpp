// glow_eval: exact likelihoods of a data set under a trained model.
#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "inference/equal_inputs.h"
#include "inference/evaluate.h"
#include "inference/likelihood.h"
#include "inference/loaded_model.h"
#include "inference/message_text.h"
#include "inference/statistics.h"
#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/launcher.h"
#include "tools/command_line.h"
#include "tools/density_map_output.h"
#include "tools/eval_scores.h"
#include "tools/folder_images.h"
#include "tools/model_options.h"
#include "tools/numbers.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

using namespace glow;

struct Options {
    bool breakdown = false;
    ModelOptions model;
    DataOptions data;
    std::optional<Dequantization> dequant;  // empty: of the model
    ScoreOptions scores;
    MapOptions maps;
    index_t dequant_samples = 1, iw_samples = 1;
    std::uint64_t seed = 0;
};

void check(const Options& options) {
    options.scores.check();
    options.maps.check();
    const bool noise = options.dequant != Dequantization::center;
    for (const auto& [option, draws] :
         {std::pair{"--iw-samples", options.iw_samples}, {"--dequant-samples", options.dequant_samples}})
        if (draws > 1 && !noise)
            throw InputError(fmt::format("{} needs noise: do not use --dequant center", option));
    if (options.iw_samples > 1 && options.breakdown)
        throw InputError("--breakdown and --iw-samples cannot be combined: use only one of them");
    if (options.iw_samples > 1 && options.maps.any())
        throw InputError(
            "--map and --heatmap cannot be combined with --iw-samples, whose bound has no parts");
    if (options.dequant_samples * options.iw_samples > index_t{1} << 20)
        throw InputError("--dequant-samples times --iw-samples must be at most 2^20 draws per image");
}

LikelihoodRequest request_of(const Options& options) {
    LikelihoodRequest request;
    request.dequant = options.dequant;
    request.seed = options.seed;
    request.dequant_samples = options.dequant_samples;
    request.iw_samples = options.iw_samples;
    return request;
}

void add_classifier(const Likelihoods& found, EvalResult& result) {
    const auto mean = [](const std::vector<double>& values) {
        return mean_of(values.data(), std::ssize(values)).value;
    };
    const double bits = mean(found.bits_y), error = mean(found.error_y);
    result.text += fmt::format("\nclassifier: {:.4f} bits, {:.2f}% wrong", bits, 100 * error);
    result.json["bits_y"] = bits;
    result.json["error_y"] = error;
}

void add_breakdown(const Breakdown& parts, EvalResult& result) {
    result.text += fmt::format("\n= {:.4f} bins", parts.bins);
    for (const auto& [name, part] : {std::pair{"prior", parts.prior},
                                     {"actnorm", parts.actnorm},
                                     {"mixing", parts.mixing},
                                     {"coupling", parts.coupling}})
        result.text += fmt::format(" {} {:.4f} {}", part < 0 ? '-' : '+', std::abs(part), name);
    result.json["breakdown"] = {{"bins", parts.bins},
                                {"prior", parts.prior},
                                {"actnorm", parts.actnorm},
                                {"mixing", parts.mixing},
                                {"coupling", parts.coupling}};
    if (parts.noise == 0) return;
    result.text += fmt::format(" {} {:.4f} noise", parts.noise < 0 ? '-' : '+', std::abs(parts.noise));
    result.json["breakdown"]["noise"] = parts.noise;
}

// What the mean depends on besides the images: weights, noise and draws.
std::string conditions(const Options& options, const LoadedModel& model, Dequantization dequant) {
    std::string text = model.used_ema() ? "EMA weights" : "raw weights";
    if (dequant == Dequantization::variational) text += ", variational noise";
    if (const index_t draws = request_of(options).dequant_samples; draws > 1)
        text += fmt::format(", mean of {} noise draws", draws);
    if (options.iw_samples > 1)
        text += fmt::format(", importance-weighted bound of {} draws", options.iw_samples);
    return text;
}

EvalResult summarize(const Options& options, const LoadedModel& model, const std::string& checkpoint,
                     const Likelihoods& found) {
    const Dequantization dequant = options.dequant.value_or(dequantization_of(model.info().model));
    const bool noise = dequant != Dequantization::center;
    const char* const weights = model.used_ema() ? "ema" : "raw";
    const Mean mean = mean_of(found.bits_per_dim.data(), std::ssize(found.bits_per_dim));
    EvalResult result{
        fmt::format("{} bits/dim over {} ({})", mean_text(mean), counted(mean.count, options.data.what()),
                    conditions(options, model, dequant)),
        {{"bpd", mean.value},
         {"stderr", or_null(mean.error())},
         {"images", mean.count},
         {"size", {model.config().image_height, model.config().image_width}},
         {"bound", noise},
         {"dequant", to_string(dequant)},
         {"dequant_samples", request_of(options).dequant_samples},
         {"iw_samples", options.iw_samples},
         {"checkpoint", checkpoint},
         {"split",
          options.data.is_folder() ? nlohmann::ordered_json() : nlohmann::ordered_json(options.data.split)},
         {"weights", weights},
         {"step", model.info().progress.step}}};
    if (!noise) result.text += "; not a bound on the likelihood, because --dequant center adds no noise";
    // The entropy is that of 8-bit pixels.
    if (options.data.is_folder() || model.config().n_bits < 8) return result;
    if (const std::optional<double> entropy = describe_dataset(options.data.data).entropy_bpd) {
        result.text += fmt::format("; the data's entropy is {:.4f}", *entropy);
        result.json["entropy_bpd"] = *entropy;
    }
    return result;
}

constexpr int kLoadAttempts = 20;  // while a running training replaces its checkpoints

// Ranks may see latest.h5 of a running training at different checkpoints, so all load the one that rank 0 sees.
// If the training removes it meanwhile, they load the next one.
LoadedModel load_model(const CommandLine& command, const ModelOptions& options,
                       const std::filesystem::path& named, const ImageSize& size, index_t images,
                       const Backend& backend, Communicator& processes) {
    const ScopedTimeout timeout("reading a checkpoint");
    if (processes.size() == 1) return options.load(command, named, size, images, backend);
    for (int attempt = 1;; ++attempt) {
        const std::filesystem::path checkpoint = broadcast_text(processes, resolve_link(named).string());
        std::optional<LoadedModel> model;
        std::exception_ptr problem;
        try {
            model.emplace(options.load(command, checkpoint, size, images, backend));
        } catch (const Error&) {
            problem = std::current_exception();
        }
        const bool is_loaded = processes.all_reduce_max(problem ? 1 : 0) == 0;
        const bool is_replaced = processes.is_root() && resolve_link(named) != checkpoint;
        if (!is_loaded && processes.all_reduce_max(is_replaced ? 1 : 0) > 0 && attempt < kLoadAttempts)
            continue;
        if (problem) std::rethrow_exception(problem);
        require_equal_weights(processes, checkpoint.string(), *model);
        return std::move(*model);
    }
}

ScoredImages read_images(const CommandLine& command, const DataOptions& data, const ModelOptions& model,
                         const std::filesystem::path& checkpoint, int threads, const ProcessGroup& group) {
    const ScopedTimeout timeout("reading the data set");
    if (data.is_folder()) {
        NamedImages found = load_images(command, model, data, checkpoint, threads);
        return {std::move(found.set), std::move(found.names), {}};
    }
    data.require_fitting(model, checkpoint);
    SplitImages images = open_split(command, data, group);
    std::vector<std::string> names = DatasetReader(data.data).read_names(data.split, images.N());
    return {std::move(images), std::move(names), {}};
}

// Collective; root writes the outputs and prints the result.
void evaluate_data(const CommandLine& command, const Options& options, Communicator& processes) {
    std::optional<OutputFiles> outputs;
    if (processes.is_root()) {
        std::vector<NamedPath> files = options.scores.outputs();
        if (!options.maps.map.empty()) files.push_back({"--map", options.maps.map});
        outputs.emplace(command,
                        std::vector<NamedPath>{{"--checkpoint", options.model.checkpoint},
                                               {"--data", options.data.data},
                                               {"--against", options.scores.against}},
                        files);
        if (!options.maps.heatmap.empty()) outputs->add_folder({"--heatmap", options.maps.heatmap});
    }
    options.scores.check_names();
    const Backend backend = options.model.open_backend(command, &processes);
    const auto checkpoint = find_checkpoint(options.model.checkpoint);
    const auto open = [&](const DataOptions& data, const ModelOptions& sized) {
        ScoredImages images =
            read_images(command, data, sized, checkpoint, backend.exec().threads, processes.group());
        require_equal_images(processes, data.data, images.images);
        return images;
    };
    ScoredImages scored = open(options.data, options.model);
    if (processes.is_root() && !options.maps.heatmap.empty())
        refuse_other_pictures({"--heatmap", options.maps.heatmap}, scored.images.N());
    check_pictures(options.scores, scored);
    if (!options.maps.heatmap.empty()) check_heatmaps(scored);
    const ImageSize size{scored.images.set().H, scored.images.set().W};
    std::optional<ScoredImages> others;
    if (const ScoreOptions& scores = options.scores; !scores.against.empty()) {
        ModelOptions same_size = options.model;
        same_size.size = fmt::format("{}x{}", size.H, size.W);
        others = open({scores.against, scores.against_split, options.data.limit}, same_size);
    }
    const index_t mine = std::max<index_t>(1, processes.slice(scored.images.N()).count);
    LoadedModel model = load_model(command, options.model, checkpoint, size, mine, backend, processes);

    ProgressLine progress(command, "images");
    LikelihoodRequest request = request_of(options);
    if (processes.is_root()) request.progress = [&](index_t done, index_t all) { progress.show(done, all); };
    const Likelihoods found = likelihoods(model, scored.images, request);
    scored.bits = found.bits_per_dim;
    EvalResult result = summarize(options, model, checkpoint.string(), found);
    if (model.glow().has_classifier()) add_classifier(found, result);
    if (options.breakdown) add_breakdown(break_down(model, found), result);
    std::vector<double> maps;
    if (options.maps.any()) maps = density_maps(model, backend, scored.images, request);
    if (others) others->bits = likelihoods(model, others->images, request).bits_per_dim;
    if (!processes.is_root()) return;
    const ScopedTimeout timeout("writing the scores");
    use_scores(options.scores, model.config().n_bits, scored, others ? &*others : nullptr, result);
    if (options.maps.any()) write_maps(options.maps, scored, model.config(), maps, result);
    command.result(result.text, result.json);
}

void run(CommandLine& command, const Options& options) {
    check(options);
    // MPI suffices: the processes only gather results on the host.
    const bool one = detect_launch().is_one_process();
    const std::unique_ptr<Communicator> processes =
        open_communicator(one ? CommunicatorKind::automatic : CommunicatorKind::mpi, Device::cpu);
    if (!processes->is_root()) command.leave_messages_to_root();
    run_on_all(command, *processes, [&] { evaluate_data(command, options, *processes); });
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv,
        "Mean bits/dim of images under a trained Glow, its standard error, and scores of single images.",
        [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            command.allow_processes();
            CLI::App& app = command.app();
            add_model_options(app, options->model);
            add_data_options(app, options->data, true);
            add_size(app, options->model, kPhotoSize)->group("Data");
            app.option_defaults()->group("Likelihood");
            add_choice(
                app, "--dequant", options->dequant,
                "uniform; variational, the default for models trained with it; or center: no noise, so "
                "bits/dim are not a bound");
            app.add_option("--dequant-samples", options->dequant_samples, "Noise draws per image to average")
                ->check(CLI::Range(1, 1 << 20));
            app.add_option("--iw-samples", options->iw_samples,
                           "Noise draws per importance-weighted bound; more make it tighter")
                ->check(CLI::Range(1, 1 << 20));
            app.add_flag("--breakdown", options->breakdown,
                         "Split bits/dim into bins, prior, actnorm, mixing, coupling and variational noise");
            add_seed(app, options->seed, "Seed of the noise");
            app.option_defaults()->group("Scores");
            add_score_options(app, options->scores);
            app.option_defaults()->group("Maps");
            add_map_options(app, options->maps);
            app.option_defaults()->group("Options");
            app.add_flag("--bpd")->group("")->description("The default; accepted for older scripts");
            command.examples(
                "glow_eval --checkpoint runs/quick --data datasets/cifar10.h5\n"
                "glow_eval --checkpoint runs/quick --data datasets/cifar10.h5 --per-image bits.csv --sort");
            command.action([&command, options] { run(command, *options); });
        });
}
