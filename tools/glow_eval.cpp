// glow_eval: exact likelihoods of a data set under a trained model.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>

#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/numbers.h"
#include "tools/thread_policy.h"
#include "train/data/atomic_file.h"
#include "train/data/dataset.h"
#include "train/inference.h"

namespace {

using namespace glow;

struct Options {
    bool bits_per_dim = false, no_ema = false;
    std::string checkpoint, data, split = "test", per_image, dequant = "uniform", precision = "fp32",
                                  device = "auto";
    index_t dequant_samples = 1, limit = 0, batch = 64;
    std::uint64_t seed = 0;
    int threads = 0;
};

void write_per_image(const std::string& path, const std::vector<double>& bits, const ImageSet& set) {
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        std::ofstream file(temporary);
        file << (set.labels.empty() ? "index,bpd\n" : "index,bpd,label\n");
        for (std::size_t i = 0; i < bits.size(); ++i) {
            file << fmt::format("{},{:.9g}", i, bits[i]);
            if (!set.labels.empty()) file << fmt::format(",{}", set.labels[i]);
            file << "\n";
        }
        file << std::flush;
        if (!file) throw Error(fmt::format("{}: cannot be written (disk full?)", path));
    });
}

void run(const CommandLine& command, const Options& options) {
    if (!options.bits_per_dim) throw InputError("say what to evaluate: --bpd");
    if (options.device != "auto" && options.device != "cpu")
        throw InputError("--device " + options.device + ": this build has no such device; use --device cpu");
    if (options.dequant != "uniform" && options.dequant != "center")
        throw InputError("--dequant " + options.dequant + ": it must be uniform or center");
    if (!options.per_image.empty()) AtomicFile(options.per_image);  // known before the work
    const Backend backend(Device::cpu, options.threads);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    const DatasetInfo info = describe_dataset(options.data);
    const ModelConfig model = read_checkpoint_info(checkpoint).model;
    if (info.H != model.image_height || info.W != model.image_width || info.C != model.channels)
        throw InputError(fmt::format("{} holds images {}x{}x{}, the model of {} takes {}x{}x{}", options.data,
                                     info.H, info.W, info.C, checkpoint.string(), model.image_height,
                                     model.image_width, model.channels));
    const ImageSet set = load_split(options.data, options.split, options.limit > 0 ? options.limit : -1);
    LoadedModel loaded(checkpoint, !options.no_ema, parse_precision(options.precision),
                       std::min(options.batch, set.N), backend);

    const bool terminal = isatty(STDERR_FILENO) && !command.quiet();
    const bool uniform = options.dequant == "uniform";
    const index_t draws = uniform ? options.dequant_samples : 1;  // without noise all draws are the same
    std::vector<double> sum(static_cast<std::size_t>(set.N), 0.0), bits(sum.size());
    std::vector<std::uint64_t> numbers(sum.size());
    const auto start = std::chrono::steady_clock::now();
    auto last = start;
    index_t done = 0;
    for (index_t draw = 0; draw < draws; ++draw) {
        for (index_t i = 0; i < set.N; ++i)
            numbers[i] = static_cast<std::uint64_t>(i) | static_cast<std::uint64_t>(draw) << 40;
        const Noise noise{uniform, options.seed, Purpose::evaluate, nullptr};
        for (index_t first = 0; first < set.N; first += options.batch) {
            const index_t count = std::min(options.batch, set.N - first);
            evaluate(loaded.context(), loaded.glow(), loaded.buffers(),
                     {count, set.image(first), numbers.data() + first,
                      set.labels.empty() ? nullptr : set.labels.data() + first},
                     noise, {.bits_per_dim = bits.data() + first});
            done += count;
            const auto now = std::chrono::steady_clock::now();
            const double elapsed = std::chrono::duration<double>(now - start).count();
            if (now - last > std::chrono::seconds(terminal ? 1 : 30)) {
                last = now;
                const double rate = static_cast<double>(done) / elapsed;
                command.say("{}{} of {} images, {:.1f} images/s, {:.0f} s left{}", terminal ? "\033[K" : "",
                            done, draws * set.N, rate, static_cast<double>(draws * set.N - done) / rate,
                            terminal ? "\033[A" : "");
            }
        }
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += bits[i];
    }
    for (double& value : sum) value /= static_cast<double>(draws);
    const auto bad = std::find_if(sum.begin(), sum.end(), [](double x) { return !std::isfinite(x); });
    if (bad != sum.end())
        throw Error(
            fmt::format("the likelihood of image {} is not finite under {}: weights of a run that diverged?",
                        bad - sum.begin(), checkpoint.string()));
    if (!options.per_image.empty()) write_per_image(options.per_image, sum, set);
    const Mean mean = mean_of(sum.data(), set.N);
    const char* const weights = loaded.used_ema() ? "EMA" : "raw";
    std::string text = fmt::format("{:.4f} +- {:.4f} bits/dim over {} {} images ({} weights)", mean.value,
                                   mean.standard_error, mean.count, options.split, weights);
    nlohmann::ordered_json json = {{"bpd", mean.value},
                                   {"stderr", mean.standard_error},
                                   {"images", mean.count},
                                   {"dequant_samples", draws},
                                   {"iw_samples", 1},
                                   {"checkpoint", checkpoint.string()},
                                   {"split", options.split},
                                   {"weights", loaded.used_ema() ? "ema" : "raw"},
                                   {"step", loaded.info().progress.step}};
    if (info.entropy_bpd) {
        text += fmt::format("; the data's entropy is {:.4f}", *info.entropy_bpd);
        json["entropy_bpd"] = *info.entropy_bpd;
    }
    command.result(text, json);
}

}  // namespace

int main(int argc, char** argv) {
    wait_without_spinning(argv);
    return run_tool(
        argc, argv, "Exact likelihoods of images under a trained Glow.", [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            app.add_flag("--bpd", options->bits_per_dim,
                         "Mean bits/dim, its standard error, the number of images");
            app.add_option("--checkpoint", options->checkpoint, "Checkpoint file or run folder")->required();
            app.add_option("--data", options->data, "Data set (HDF5)")->required();
            app.add_option("--split", options->split, "train, valid or test");
            app.add_option("--dequant", options->dequant, "uniform or center: noise added to the pixels");
            app.add_option("--dequant-samples", options->dequant_samples, "Noise draws per image, averaged")
                ->check(CLI::Range(1, 1 << 20));
            app.add_option("--per-image", options->per_image, "CSV file of every image's bits/dim");
            app.add_option("--limit", options->limit, "Only the first so many images; 0: all")
                ->check(is_number<index_t>())
                ->check(CLI::Range(index_t{0}, index_t{1} << 48));
            app.add_option("--batch", options->batch, "Images at once")->check(CLI::Range(1, 1 << 20));
            app.add_flag("--no-ema", options->no_ema, "Raw weights instead of their running average");
            app.add_option("--precision", options->precision,
                           "fp32 or bf16: precision of the coupling networks");
            app.add_option("--device", options->device, "auto or cpu");
            app.add_option("--threads", options->threads, "Threads; 0: all processors")
                ->check(is_number<int>())
                ->check(CLI::Range(0, 4096));
            app.add_option("--seed", options->seed, "Seed of the noise")->check(is_number<std::uint64_t>());
            command.action([&command, options] { run(command, *options); });
        });
}
