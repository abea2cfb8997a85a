#include "tools/model_options.h"

#include <algorithm>

#include "kernels/error.h"
#include "runtime/device.h"
#include "runtime/threads.h"
#include "tools/numbers.h"

namespace glow {

Backend open_cpu_backend(const CommandLine& command, const std::string& device, int threads) {
    if (device != "auto" && parse_device(device) != Device::cpu)
        throw InputError(fmt::format("--device {}: lossless coding runs only on the CPU", device));
    return open_backend(command, Device::cpu, threads);
}

void add_precision(CLI::App& app, Precision& precision) {
    add_choice(app, "--precision", precision, "Precision of the coupling networks: fp32, tf32 (GPUs) or bf16")
        ->group("Machine");
}

CLI::Option* add_threads(CLI::App& app, int& threads, const std::string& help) {
    return app.add_option("--threads", threads, help)->check(CLI::Range(0, kMaxThreads))->group("Machine");
}

void add_checkpoint(CLI::App& app, std::string& checkpoint) {
    app.add_option("--checkpoint", checkpoint, "Checkpoint file or run folder")->required()->group("Model");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
    add_checkpoint(app, options.checkpoint);
    app.add_flag("--no-ema", options.no_ema, "Use raw weights instead of their moving average")
        ->group("Model");
    add_precision(app, options.precision);
    app.add_option("--batch", options.batch, "Images of the training size at once")
        ->check(CLI::Range(1, 1 << 20))
        ->group("Machine");
    add_device(app, options.device);
    add_threads(app, options.threads);
}

Backend ModelOptions::open_backend(const CommandLine& command, Communicator* processes) const {
    return glow::open_backend(command, parse_device(device), threads, processes);
}

CLI::Option* add_size(CLI::App& app, ModelOptions& options, const std::string& help) {
    return app.add_option("--size", options.size, help)->default_str("")->each([](const std::string& text) {
        parse_image_size("--size", text);
    });
}

ModelConfig ModelOptions::config(const std::filesystem::path& file) const {
    const ModelConfig trained = read_checkpoint_info(file).model;
    return size.empty() ? trained : with_image_size(trained, parse_image_size("--size", size));
}

LoadedModel ModelOptions::load(const CommandLine& command, const std::filesystem::path& file,
                               const ImageSize& images_size, index_t images, const Backend& backend) const {
    const ModelConfig trained = read_checkpoint_info(file).model;
    LoadedModel model(file, !no_ema, precision, std::min(images_at_once(trained, images_size, batch), images),
                      backend, images_size);
    const std::string note = other_size_note(trained, images_size);
    if (!note.empty() && model.context().communicator.is_root()) command.info("{}", note);
    return model;
}

void DataOptions::require_fitting(const ModelOptions& options,
                                  const std::filesystem::path& checkpoint) const {
    const DatasetInfo info = describe_dataset(data);
    glow::require_fitting(data, info, split, checkpoint, read_checkpoint_info(checkpoint).model);
    if (!options.size.empty() && parse_image_size("--size", options.size) != ImageSize{info.H, info.W})
        throw InputError(fmt::format(
            "{} has images of {}x{}, expected {}: only photographs in a folder are scaled to a size", data,
            info.H, info.W, options.size));
}

bool DataOptions::is_folder() const {
    std::error_code ignored;
    return std::filesystem::is_directory(data, ignored);
}

void DataOptions::refuse_split(const char* why) const {
    if (split_given) throw InputError(fmt::format("--split is for data sets, but {} {}", data, why));
}

std::string DataOptions::what() const {
    return is_folder() ? "photograph" : split + " image";
}

void add_data_options(CLI::App& app, DataOptions& options, bool folder) {
    app.add_option(
           "--data", options.data,
           folder
               ? "Data set (HDF5), or a folder of photographs, cropped and scaled to the model's size or --size"
               : "Data set (HDF5)")
        ->required()
        ->group("Data");
    app.add_option("--split", options.split, "train, valid or test")
        ->each([&options](const std::string&) { options.split_given = true; })
        ->group("Data");
    app.add_option("--limit", options.limit, "Use only the first N images; 0: all")
        ->check(CLI::Range(index_t{0}, index_t{1} << 48))
        ->group("Data");
}

}  // namespace glow
