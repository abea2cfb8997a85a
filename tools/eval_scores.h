// What glow_eval does with bits/dim of single images: the CSV file, the picture of extremes, another data
// set.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tools/command_line.h"
#include "tools/output_files.h"
#include "data/dataset.h"
#include "inference/inference.h"

namespace glow {

struct ScoreOptions {
    std::string per_image, extremes, against, against_split = "test", against_per_image;
    bool sort = false, complexity = false;
    index_t show = 16;  // images a panel of extremes

    // InputError for options that do not go together.
    void check() const;
    // Throws InputError where a picture or a CSV file has the suffix of something else.
    void check_names() const;
    std::vector<NamedPath> outputs() const;
};
void add_score_options(CLI::App& app, ScoreOptions& options);

// Bits/dim of each image of a split.
using BitsOfSplit = std::function<std::vector<double>(const SplitImages&)>;

// Does what the options ask for, given bits [N] of `images`; extends the result. bits_of: of the data set to
// compare with, whose images must fit `model` of `checkpoint`.
void use_scores(const ScoreOptions& options, const SplitImages& images, const std::vector<double>& bits,
                const std::filesystem::path& checkpoint, const ModelConfig& model, index_t limit,
                const BitsOfSplit& bits_of, std::string& text, nlohmann::ordered_json& json);

}  // namespace glow
