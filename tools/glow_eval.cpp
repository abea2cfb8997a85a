// glow_eval: exact likelihoods of a data set under a trained model.
#include <algorithm>
#include <memory>

#include "kernels/error.h"
#include "runtime/device.h"
#include "tools/command_line.h"
#include "tools/eval_scores.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "inference/likelihood.h"

namespace {

using namespace glow;

struct Options {
    bool bits_per_dim = false, no_ema = false, breakdown = false;
    std::string checkpoint, data, split = "test", dequant = "uniform", precision = "fp32", device = "auto";
    ScoreOptions scores;
    index_t dequant_samples = 1, iw_samples = 1, limit = 0, batch = 64;
    std::uint64_t seed = 0;
    int threads = 0;
};

void check(const Options& options) {
    options.scores.check();
    if (!options.bits_per_dim) throw InputError("say what to evaluate: --bpd");
    if (options.dequant != "uniform" && options.dequant != "center")
        throw InputError("--dequant " + options.dequant + ": it must be uniform or center");
    if (options.iw_samples > 1 && options.dequant == "center")
        throw InputError("--iw-samples weighs draws of noise, and --dequant center has none");
    if (options.iw_samples > 1 && options.breakdown)
        throw InputError(
            "--breakdown takes log p apart, which a bound of --iw-samples is not; leave one out");
    if (options.dequant_samples * options.iw_samples > index_t{1} << 20)
        throw InputError("--dequant-samples times --iw-samples: at most 2^20 draws an image");
}

void run(const CommandLine& command, const Options& options) {
    check(options);
    const OutputFiles outputs(command,
                              {{"--checkpoint", options.checkpoint},
                               {"--data", options.data},
                               {"--against", options.scores.against}},
                              options.scores.outputs());
    options.scores.check_names();
    const Backend backend = open_backend(command, parse_device(options.device), options.threads);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    const DatasetInfo info = describe_dataset(options.data);
    require_fitting(options.data, info, options.split, checkpoint, read_checkpoint_info(checkpoint).model);
    // On disk: one pass over images in the order of the file needs none of them in memory.
    const SplitImages images(options.data, options.split, options.limit > 0 ? options.limit : -1);
    LoadedModel loaded(checkpoint, !options.no_ema, parse_precision(options.precision),
                       std::min(options.batch, images.N()), backend);

    ProgressLine progress(command, "images");
    const bool uniform = options.dequant == "uniform";
    LikelihoodRequest request;
    request.uniform = uniform;
    request.seed = options.seed;
    request.dequant_samples = uniform ? options.dequant_samples : 1;  // without noise all draws are the same
    request.iw_samples = options.iw_samples;
    request.batch = options.batch;
    request.progress = [&](index_t done, index_t all) { progress.show(done, all); };
    const Likelihoods found = likelihoods(loaded, images, request);

    const Mean mean = mean_of(found.bits_per_dim.data(), images.N());
    std::string text =
        fmt::format("{:.4f} +- {:.4f} bits/dim over {} {} images ({} weights)", mean.value,
                    mean.standard_error, mean.count, options.split, loaded.used_ema() ? "EMA" : "raw");
    nlohmann::ordered_json json = {{"bpd", mean.value},
                                   {"stderr", mean.standard_error},
                                   {"images", mean.count},
                                   {"bound", uniform},
                                   {"dequant_samples", request.dequant_samples},
                                   {"iw_samples", options.iw_samples},
                                   {"checkpoint", checkpoint.string()},
                                   {"split", options.split},
                                   {"weights", loaded.used_ema() ? "ema" : "raw"},
                                   {"step", loaded.info().progress.step}};
    if (!uniform) text += "; not a bound on the likelihood: --dequant center adds no noise";
    if (info.entropy_bpd) {
        text += fmt::format("; the data's entropy is {:.4f}", *info.entropy_bpd);
        json["entropy_bpd"] = *info.entropy_bpd;
    }
    if (loaded.glow().has_classifier()) {
        const double bits = mean_of(found.bits_y.data(), images.N()).value,
                     error = mean_of(found.error_y.data(), images.N()).value;
        text += fmt::format("\nclassifier: {:.4f} bits, {:.2f}% wrong", bits, 100 * error);
        json["bits_y"] = bits;
        json["error_y"] = error;
    }
    if (options.breakdown) {
        const Breakdown parts = break_down(loaded, found);
        text +=
            fmt::format("\n= {:.4f} bins + {:.4f} prior + {:.4f} actnorm + {:.4f} mixing + {:.4f} coupling",
                        parts.bins, parts.prior, parts.actnorm, parts.mixing, parts.coupling);
        json["breakdown"] = {{"bins", parts.bins},
                             {"prior", parts.prior},
                             {"actnorm", parts.actnorm},
                             {"mixing", parts.mixing},
                             {"coupling", parts.coupling}};
    }
    use_scores(
        options.scores, images, found.bits_per_dim, checkpoint, loaded.glow().config(),
        options.limit > 0 ? options.limit : -1,
        [&](const SplitImages& others) { return likelihoods(loaded, others, request).bits_per_dim; }, text,
        json);
    command.result(text, json);
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv, "Exact likelihoods of images under a trained Glow.", [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            app.add_flag("--bpd", options->bits_per_dim,
                         "Mean bits/dim, its standard error, the number of images");
            app.add_option("--checkpoint", options->checkpoint, "Checkpoint file or run folder")->required();
            app.add_option("--data", options->data, "Data set (HDF5)")->required();
            app.add_option("--split", options->split, "train, valid or test");
            app.add_option("--dequant", options->dequant,
                           "uniform, or center: no noise, and bits/dim that are no bound");
            app.add_option("--dequant-samples", options->dequant_samples, "Noise draws per image, averaged")
                ->check(CLI::Range(1, 1 << 20));
            app.add_option("--iw-samples", options->iw_samples,
                           "Noise draws of an importance-weighted bound; more: tighter")
                ->check(CLI::Range(1, 1 << 20));
            app.add_flag("--breakdown", options->breakdown,
                         "What bits/dim consists of: prior, actnorm, mixing, coupling");
            add_score_options(app, options->scores);
            app.add_option("--limit", options->limit, "Only the first so many images; 0: all")
                ->check(CLI::Range(index_t{0}, index_t{1} << 48));
            app.add_option("--batch", options->batch, "Images at once")->check(CLI::Range(1, 1 << 20));
            app.add_flag("--no-ema", options->no_ema, "Raw weights instead of their running average");
            app.add_option("--precision", options->precision,
                           "fp32, tf32 (GPUs) or bf16: precision of the coupling networks");
            add_device(app, options->device);
            app.add_option("--threads", options->threads, "Threads; 0: all usable processors")
                ->check(CLI::Range(0, 4096));
            app.add_option("--seed", options->seed, "Seed of the noise");
            command.action([&command, options] { run(command, *options); });
        });
}
