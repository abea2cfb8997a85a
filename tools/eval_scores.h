// What glow_eval does with bits/dim of single images: the CSV file, the picture of extremes, another data
// set.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/output_files.h"

namespace glow {

// What a command says at its end, for people and with --json.
struct EvalResult {
    std::string text;
    nlohmann::ordered_json json;
};

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

// Images and the bits/dim of each.
struct ScoredImages {
    SplitImages images;
    std::vector<double> bits;
};

// Does what the options ask for and extends the result. score: loads the images of a data set, which must fit
// the model, and evaluates them.
void use_scores(const ScoreOptions& options, const ScoredImages& scored,
                const std::function<ScoredImages(const DataOptions&)>& score, index_t limit,
                EvalResult& result);

}  // namespace glow
