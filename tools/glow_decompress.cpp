// glow_decompress: restores the images of a glow_compress file.
#include <algorithm>
#include <memory>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"
#include "data/formats/output_name.h"
#include "inference/compressed_file.h"
#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

using namespace glow;

struct Options {
    std::string checkpoint, input, output, device = "auto";
    int threads = 0;
};

void run(const CommandLine& command, const Options& options) {
    const OutputFiles outputs(command, {{"--checkpoint", options.checkpoint}, {"the input", options.input}},
                              {{"--output", options.output}});
    refuse_picture_name(options.output, "an HDF5 file");
    AtomicFile atomic(options.output);
    const CompressedImages images = read_compressed(options.input);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    const ModelConfig config = read_checkpoint_info(checkpoint).model;
    if (images.H != config.image_height || images.W != config.image_width || images.C != config.channels ||
        images.n_bits != config.n_bits)
        throw InputError(
            fmt::format("{} has images {}x{}x{} of {} bits, but the model of {} takes {}x{}x{} of {}",
                        options.input, images.H, images.W, images.C, images.n_bits, checkpoint.string(),
                        config.image_height, config.image_width, config.channels, config.n_bits));
    const Backend backend =
        open_cpu_backend(command, options.device, options.threads > 0 ? options.threads : images.threads);
    LoadedModel model(checkpoint, images.ema, images.precision,
                      *std::max_element(images.batches.begin(), images.batches.end()), backend);
    Hdf5File file = Hdf5File::create(atomic.temporary(), options.output);
    file.create_growing<std::uint8_t>("/images", {images.H, images.W, images.C});
    ProgressLine progress(command, "images");
    decompress(model, images, [&](index_t first, index_t count, const std::uint8_t* pixels) {
        file.append<std::uint8_t>("/images", count, pixels);
        progress.show(first + count, images.images);
    });
    progress.clear();
    file.close();
    atomic.commit();
    command.result(fmt::format("{}: {} images, equal to the originals", options.output, images.images),
                   {{"output", options.output}, {"images", images.images}});
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv, "Decompresses images, with the checkpoint that compressed them.",
        [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            add_checkpoint(app, options->checkpoint);
            app.add_option("input", options->input, "Compressed file")->required();
            app.add_option("-o,--output", options->output, "NAME.h5: images in /images")->required();
            add_device(app, options->device)->description(kCpuAlone);
            add_threads(app, options->threads, "Threads; 0: as many as when it was compressed");
            command.action([&command, options] { run(command, *options); });
        });
}
