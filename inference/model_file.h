// The model file (a checkpoint, docs/formats.md): one HDF5 file, written atomically, validated completely
// when read. Training state (options, moments, history) is carried along without being interpreted.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "inference/model_config.h"
#include "layers/parameters.h"
#include "layers/weights.h"

namespace glow {

// Progress of a run.
struct Progress {
    index_t step = 0, images_seen = 0;
    double epoch = 0;
};

struct CheckpointInfo {
    ModelConfig model;
    nlohmann::ordered_json config;
    Progress progress;
    // TrainingHistory and clock of the run (train/history.h); null in files of other programs.
    nlohmann::ordered_json history;
};

// The file itself, or latest.h5 of a run folder. Throws InputError if the folder has none.
std::filesystem::path find_checkpoint(const std::filesystem::path& file_or_folder);
// The file that a link, such as latest.h5, points to now; another name unchanged.
std::filesystem::path resolve_link(const std::filesystem::path& checkpoint);

// Throws InputError if the name ends as those of other formats of models, as which it could not be read.
void refuse_suffix_of_other_format(const std::filesystem::path& checkpoint);

// Writes a checkpoint atomically: if it fails, an earlier file stays. config: attribute config, from to_json()
// of a model or of training options. history: of the run; null: none, as in files of other programs. weights:
// the trees to write, by their arrays that are not null, and `fixed`. Throws InputError if the file cannot be
// created, Error if the disk is full.
void save_checkpoint(const std::filesystem::path& path, const nlohmann::ordered_json& config,
                     const Progress& progress, const nlohmann::ordered_json& history,
                     const Parameters& parameters, const Exec& exec, const Weights& weights);

// Reads format, version, config and counters, but no tensors. Throws InputError.
CheckpointInfo read_checkpoint_info(const std::filesystem::path& path);

// Parses attribute config. Throws InputError if it is not JSON or nested too deeply.
nlohmann::ordered_json parse_config(const std::string& text);

// Checks that a checkpoint can be resumed, without storing it: counters, and every value of weights, averages
// and moments. Throws InputError.
CheckpointInfo check_checkpoint(const std::filesystem::path& path);

// Reads the trees requested by `weights` into its arrays (gaps become 0) and checks every tree in the file:
// names, shapes and types against `parameters`, and values (finite, second moments not negative, no singular
// W, valid permutations, L and U strictly triangular). Throws InputError with the first 20 differences and
// their total. Requested trees must exist.
void load_checkpoint(const std::filesystem::path& path, const Parameters& parameters, const Exec& exec,
                     const Weights& weights);

}  // namespace glow
