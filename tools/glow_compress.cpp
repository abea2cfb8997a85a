// glow_compress: lossless compression of images using the model's likelihood.
#include <memory>

#include "data/formats/output_name.h"
#include "inference/compressed_file.h"
#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

using namespace glow;

struct Options {
    ModelOptions model;
    DataOptions data;
    std::string output;
};

void run(const CommandLine& command, const Options& options) {
    const OutputFiles outputs(command,
                              {{"--checkpoint", options.model.checkpoint}, {"--data", options.data.data}},
                              {{"--output", options.output}});
    refuse_picture_name(options.output, "a compressed file");
    const Backend backend = open_cpu_backend(command, options.model.device, options.model.threads);
    const auto checkpoint = find_checkpoint(options.model.checkpoint);
    options.data.require_fitting(checkpoint);
    const ImageSet set = load_split(options.data.data, options.data.split, options.data.images());
    LoadedModel model = options.model.load(checkpoint, set.N, backend);
    ProgressLine progress(command, "images");
    const CompressedImages images = compress(model, set, backend.exec().threads, options.model.precision,
                                             [&](index_t done) { progress.show(done, set.N); });
    progress.clear();
    write_compressed(options.output, images);
    const double values = static_cast<double>(set.N * set.image_bytes());
    const double bits = 8 * static_cast<double>(images.bytes()) / values;
    const double net = 8 * static_cast<double>(images.bytes() - images.start_up()) / values;
    command.result(
        fmt::format(
            "{}: {} {} images, {} of {} bytes: {:.4f} bits/dim, {:.4f} without the {} bytes of start-up",
            options.output, set.N, options.data.split, images.bytes(), set.images.size(), bits, net,
            images.start_up()),
        {{"output", options.output},
         {"images", set.N},
         {"split", options.data.split},
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
    return run_tool(argc, argv, "Compresses images without loss, by the likelihood of a trained Glow.",
                    [](CommandLine& command) {
                        const auto options = std::make_shared<Options>();
                        CLI::App& app = command.app();
                        add_model_options(app, options->model);
                        app.get_option("--batch")->check(CLI::Range(1u, kLargestBatch));
                        app.get_option("--device")->description(kCpuAlone);
                        add_data_options(app, options->data);
                        app.add_option("-o,--output", options->output, "Compressed file")->required();
                        command.action([&command, options] { run(command, *options); });
                    });
}
