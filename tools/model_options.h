// Options shared by all commands that use a trained model: the model, how to run it, and images of a data
// set.
#pragma once

#include <filesystem>
#include <string>

#include "data/dataset.h"
#include "inference/loaded_model.h"
#include "layers/config.h"
#include "runtime/context.h"
#include "tools/command_line.h"

namespace glow {

// Help of --device for commands that only run on a CPU.
inline constexpr const char* kCpuOnly = "auto or cpu: coding runs only on the CPU";
// Opens the CPU; throws InputError for another `device`.
Backend open_cpu_backend(const CommandLine& command, const std::string& device, int threads);

// How to run a model; does not need a checkpoint.
void add_precision(CLI::App& app, Precision& precision);
CLI::Option* add_threads(CLI::App& app, int& threads,
                         const std::string& help = "Threads; 0: all usable processors");

struct ModelOptions {
    std::string checkpoint;
    bool no_ema = false;
    Precision precision = Precision::fp32;
    std::string device = "auto";
    int threads = 0;
    index_t batch = 64;
    std::string size;  // --size: of samples, scaled photographs, or tiles; empty: not given

    // Opens the device; warns if it gets fewer threads than requested.
    Backend open_backend(const CommandLine& command, Communicator* processes = nullptr) const;
    // The checkpoint's model, for images of --size if that was given.
    ModelConfig config(const std::filesystem::path& file) const;
    // Loads the checkpoint for images of `size`, at most `images` per pass (images_at_once). Prints a note if
    // the model was trained on images of another size.
    LoadedModel load(const CommandLine& command, const std::filesystem::path& file, const ImageSize& size,
                     index_t images, const Backend& backend) const;
};
// --checkpoint --no-ema --precision --batch --device --threads.
void add_model_options(CLI::App& app, ModelOptions& options);
void add_checkpoint(CLI::App& app, std::string& checkpoint);
// --size
CLI::Option* add_size(CLI::App& app, ModelOptions& options, const std::string& help);
// The help of --size for commands that read photographs.
inline constexpr const char* kPhotoSize =
    "Scale photographs to this size, HxW, divisible by 2^levels; default: the size of the training images";

struct DataOptions {
    std::string data, split = "test";
    index_t limit = 0;
    bool split_given = false;

    bool is_folder() const;  // of photographs
    // Throws InputError if --split was given; `why` says why there is no split: "is a folder".
    void refuse_split(const char* why) const;
    // "test image", or "photograph" of a folder
    std::string what() const;
    index_t images() const { return limit > 0 ? limit : -1; }  // argument of load_split()
    // Throws InputError if the split does not fit the checkpoint's model, or is not of --size.
    void require_fitting(const ModelOptions& options, const std::filesystem::path& checkpoint) const;
};
// --data --split --limit. `folder`: describe --data also as a folder.
void add_data_options(CLI::App& app, DataOptions& options, bool folder = false);

}  // namespace glow
