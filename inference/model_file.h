// The model file (a checkpoint, spec section 3): one HDF5 file, written atomically, checked completely when read.
// What training adds to it (options, moments, the run's history) is carried along, and read without knowing it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "layers/parameters.h"
#include "inference/model_config.h"

namespace glow {

// How far a run is.
struct Progress {
    index_t step = 0, images_seen = 0;
    double epoch = 0;
};

// The flat arrays of a model, in device memory and in the layout of Parameters; each may be nullptr
// where it is not wanted.
struct Weights {
    float* params = nullptr;
    float* ema = nullptr;
    float* m = nullptr;
    float* v = nullptr;
    float* fixed = nullptr;  // of the fixed tensors, which stand in /params
    // In the place of m and v: the same in bf16. A file has them as float32.
    bfloat16* m_bf16 = nullptr;
    bfloat16* v_bf16 = nullptr;

    bool has_moments() const { return m != nullptr || m_bf16 != nullptr; }
};
// f(m, v), of whichever type they are.
template <class F>
void with_moments(const Weights& weights, F f) {
    if (weights.m_bf16 != nullptr)
        f(weights.m_bf16, weights.v_bf16);
    else
        f(weights.m, weights.v);
}

struct CheckpointInfo {
    ModelConfig model;
    nlohmann::ordered_json config;
    Progress progress;
    nlohmann::ordered_json history;  // of the run, as train/history.h writes it; null in files of other programs
};

// The file itself, or the latest.h5 of a run's folder. InputError where the folder has none.
std::filesystem::path find_checkpoint(const std::filesystem::path& file_or_folder);

void save_checkpoint(const std::filesystem::path& path, const nlohmann::ordered_json& config,
                     const Progress& progress, const nlohmann::ordered_json& history, const Parameters& parameters,
                     const Exec& exec, const Weights& weights);

// Format, version, config and counters, without the tensors. InputError.
CheckpointInfo read_checkpoint_info(const std::filesystem::path& path);

// The text of an attribute config. InputError where it is no JSON, or nested too deeply.
nlohmann::ordered_json parse_config(const std::string& text);

// Reads all of a checkpoint as one to go on from, and keeps nothing of it: counters, and every value of
// weights, averages and moments. InputError.
CheckpointInfo check_checkpoint(const std::filesystem::path& path);

// Reads the trees that `weights` asks for into its arrays (gaps become 0), and checks every tree the file
// holds: names, shapes and types against `parameters`, values (finite, second moments not negative, no
// singular W, permutations that are some, L and U strictly triangular). InputError lists the first 20
// differences and their number. A tree that is asked for must be there.
void load_checkpoint(const std::filesystem::path& path, const Parameters& parameters, const Exec& exec,
                     const Weights& weights);

}  // namespace glow
