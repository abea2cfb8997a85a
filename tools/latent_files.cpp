// encode and decode: converts images to a file of latents and back.
#include <algorithm>
#include <memory>

#include "data/formats/output_name.h"
#include "inference/loaded_model.h"
#include "inference/message_text.h"
#include "inference/sample_health.h"
#include "kernels/error.h"
#include "tools/dataset_encoding.h"
#include "tools/image_output.h"
#include "tools/latent_commands.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace glow {
namespace {

struct EncodeOptions {
    ModelOptions model;
    DataOptions data;
    std::string output;
};

void encode(const CommandLine& command, const EncodeOptions& options) {
    const OutputFiles outputs(command,
                              {{"--checkpoint", options.model.checkpoint}, {"--data", options.data.data}},
                              {{"--output", options.output}});
    refuse_other_name(options.output, "an HDF5 file of latents");
    DatasetEncoding encoding(command, options.model, options.data);
    LatentWriter writer(options.output, encoding.model);
    ProgressLine progress(command, "images");
    encoding.each_batch([&](index_t first, const Flow& flow) {
        writer.append(flow);
        progress.show(first + flow.N, encoding.set.N);
    });
    writer.commit(encoding.images.names);
    command.result(
        fmt::format("{}: latents of {}", options.output, counted(encoding.set.N, options.data.what())),
        {{"output", options.output},
         {"images", encoding.set.N},
         {"split", options.data.split},
         {"checkpoint", encoding.checkpoint.string()}});
}

struct DecodeOptions {
    ModelOptions model;
    std::string latents, output;
};

SampleHealth decode_file(const CommandLine& command, const LatentReader& latents, LoadedModel& model,
                         ImageSink& sink) {
    ProgressLine progress(command, "images");
    std::vector<std::uint8_t> pixels;
    std::vector<state_t> eps;
    std::vector<double> largest(static_cast<std::size_t>(model.buffers().capacity));
    SampleHealth found;
    for (index_t first = 0; first < latents.images(); first += model.buffers().capacity) {
        const index_t count = std::min(model.buffers().capacity, latents.images() - first);
        pixels.resize(static_cast<std::size_t>(count * latents.model().dimensions()));
        eps.resize(pixels.size());
        Flow flow;
        flow.N = count;
        flow.h = eps.data();
        flow.labels = latents.labels().empty() ? nullptr : latents.labels().data() + first;
        latents.read(first, flow);
        decode_images(model, flow, pixels.data(), largest.data());
        found.add(cross_out_not_finite(latents.model(), count, largest.data(), pixels.data()));
        sink.append(pixels.data(), count);
        progress.show(first + count, latents.images());
    }
    return found;
}

void decode(const CommandLine& command, const DecodeOptions& options) {
    std::vector<NamedPath> files;
    if (is_hdf5_name(options.output)) files.push_back({"--output", options.output});
    OutputFiles outputs(command, {{"--checkpoint", options.model.checkpoint}, {"--latents", options.latents}},
                        files);
    if (files.empty()) refuse_other_name(options.output, "a folder of PNG files");
    if (files.empty()) outputs.add_folder({"--output", options.output});
    const Backend backend = options.model.open_backend(command);
    const auto checkpoint = find_checkpoint(options.model.checkpoint);
    const LatentReader latents(options.latents);
    if (files.empty()) refuse_other_pictures({"--output", options.output}, latents.images());
    if (!differ_in_image_size_only(read_checkpoint_info(checkpoint).model, latents.model()))
        throw InputError(
            fmt::format("{} has latents of a different model than {}", options.latents, checkpoint.string()));
    LoadedModel model =
        options.model.load(command, checkpoint, image_size(latents.model()), latents.images(), backend);
    warn_of_other_weights(command, latents, options.latents, model, checkpoint);
    ImageSink sink(options.output, latents.model());
    const SampleHealth found = decode_file(command, latents, model, sink);
    sink.commit();
    if (found.any()) command.warn("images: {}", found.text());
    command.result(fmt::format("{}: {}", options.output, counted(latents.images(), "image")),
                   {{"output", options.output},
                    {"images", latents.images()},
                    {"not_finite", found.not_finite},
                    {"out_of_range", found.out_of_range}});
}

}  // namespace

void warn_of_other_weights(const CommandLine& command, const LatentReader& latents, const std::string& file,
                           LoadedModel& model, const std::filesystem::path& checkpoint) {
    if (latents.has_other_weights(model))
        command.warn("{}: made with other weights than {}{}: its latents do not mean the same to this model",
                     file, checkpoint.string(), model.used_ema() ? " (EMA)" : "");
}

void add_encode(CommandLine& command) {
    const auto options = std::make_shared<EncodeOptions>();
    CLI::App* const app = command.subcommand("encode", "Encode images to latents, which are standard normal",
                                             [&command, options] { encode(command, *options); });
    add_model_options(*app, options->model);
    add_data_options(*app, options->data, true);
    add_size(*app, options->model, kPhotoSize);
    app->add_option("-o,--output", options->output, "File of latents (HDF5)")->required();
}

void add_decode(CommandLine& command) {
    const auto options = std::make_shared<DecodeOptions>();
    CLI::App* const app = command.subcommand("decode", "Decode latents to images",
                                             [&command, options] { decode(command, *options); });
    add_model_options(*app, options->model);
    app->add_option("--latents", options->latents, "File of latents")->required();
    app->add_option("-o,--output", options->output, "NAME.h5: images in /images; else a folder of PNG files")
        ->required();
}

}  // namespace glow
