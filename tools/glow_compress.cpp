// glow_compress: images to a file without loss, by the model's own likelihood.
#include <algorithm>
#include <memory>

#include "kernels/error.h"
#include "runtime/device.h"
#include "tools/command_line.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "inference/compressed_file.h"
#include "data/formats/output_name.h"

namespace {

using namespace glow;

struct Options {
    std::string checkpoint, data, split = "test", output, precision = "fp32", device = "auto";
    bool no_ema = false;
    index_t limit = 0, batch = 64;
    int threads = 0;
};

void run(const CommandLine& command, const Options& options) {
    const OutputFiles outputs(command, {{"--checkpoint", options.checkpoint}, {"--data", options.data}},
                              {{"--output", options.output}});
    refuse_picture_name(options.output, "a compressed file");
    if (options.device != "auto" && parse_device(options.device) != Device::cpu)
        throw InputError("--device cuda: lossless coding runs on the CPU alone");
    const Backend backend = open_backend(command, Device::cpu, options.threads);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    require_fitting(options.data, describe_dataset(options.data), options.split, checkpoint,
                    read_checkpoint_info(checkpoint).model);
    const ImageSet set = load_split(options.data, options.split, options.limit > 0 ? options.limit : -1);
    const Precision precision = parse_precision(options.precision);
    LoadedModel model(checkpoint, !options.no_ema, precision, std::min(options.batch, set.N), backend);
    ProgressLine progress(command, "images");
    const CompressedImages images = compress(model, set, backend.exec().threads, precision,
                                             [&](index_t done) { progress.show(done, set.N); });
    progress.clear();
    write_compressed(options.output, images);
    const double values = static_cast<double>(set.N * set.image_bytes());
    const double bits = 8 * static_cast<double>(images.bytes()) / values;
    const double net = 8 * static_cast<double>(images.bytes() - images.start_up()) / values;
    command.result(
        fmt::format(
            "{}: {} {} images, {} of {} bytes: {:.4f} bits/dim, {:.4f} without the {} bytes of start-up",
            options.output, set.N, options.split, images.bytes(), set.images.size(), bits, net,
            images.start_up()),
        {{"output", options.output},
         {"images", set.N},
         {"split", options.split},
         {"image_bytes", set.images.size()},
         {"bytes", images.bytes()},
         {"start_up_bytes", images.start_up()},
         {"bpd", bits},
         {"bpd_without_start_up", net},
         {"checkpoint", checkpoint.string()},
         {"weights", model.used_ema() ? "ema" : "raw"}});
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv, "Compresses images without loss, by the likelihood of a trained Glow.",
        [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            app.add_option("--checkpoint", options->checkpoint, "Checkpoint file or run folder")->required();
            app.add_option("--data", options->data, "Data set (HDF5)")->required();
            app.add_option("--split", options->split, "train, valid or test");
            app.add_option("-o,--output", options->output, "Compressed file")->required();
            app.add_option("--limit", options->limit, "Only the first so many images; 0: all")
                ->check(CLI::Range(index_t{0}, index_t{1} << 48));
            app.add_option("--batch", options->batch, "Images at once, at most")
                ->check(CLI::Range(1u, kLargestBatch));
            app.add_flag("--no-ema", options->no_ema, "Raw weights instead of their running average");
            app.add_option("--precision", options->precision,
                           "fp32 or bf16: precision of the coupling networks");
            app.add_option("--device", options->device, "auto or cpu: coding runs on the CPU alone");
            app.add_option("--threads", options->threads, "Threads; 0: all usable processors")
                ->check(CLI::Range(0, 4096));
            command.action([&command, options] { run(command, *options); });
        });
}
