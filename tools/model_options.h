// Options that all commands with a trained model share: which model, how it runs, and images of a data set.
#pragma once

#include <filesystem>
#include <string>

#include "data/dataset.h"
#include "inference/inference.h"
#include "tools/command_line.h"

namespace glow {

// The help of --device where only a CPU will do.
inline constexpr const char* kCpuAlone = "auto or cpu: coding runs on the CPU alone";
// Opens the CPU; InputError where `device` is another one.
Backend open_cpu_backend(const CommandLine& command, const std::string& device, int threads);

// What runs the model, also without a checkpoint.
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

    // The device, with a warning where it has fewer threads than asked for.
    Backend open_backend(const CommandLine& command) const;
    // The checkpoint on a backend, for at most `batch` of `images` images at once.
    LoadedModel load(const std::filesystem::path& file, index_t images, const Backend& backend) const;
};
// --checkpoint --no-ema --precision --batch --device --threads.
void add_model_options(CLI::App& app, ModelOptions& options);
void add_checkpoint(CLI::App& app, std::string& checkpoint);

struct DataOptions {
    std::string data, split = "test";
    index_t limit = 0;

    index_t images() const { return limit > 0 ? limit : -1; }  // as load_split() wants it
    // InputError where the split does not fit the checkpoint's model.
    void require_fitting(const std::filesystem::path& checkpoint) const;
};
// --data --split --limit.
void add_data_options(CLI::App& app, DataOptions& options);

}  // namespace glow
