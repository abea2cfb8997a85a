// What glow_eval does with bits/dim of single images: CSV file, picture of extremes, comparison of data sets.
#pragma once

#include <string>
#include <vector>

#include "kernels/enum_names.h"
#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/output_files.h"

namespace glow {

// The result of a command, as text and JSON.
struct EvalResult {
    std::string text;
    nlohmann::ordered_json json;
};

enum class ScoreOrder { bpd, corrected };
template <>
struct EnumNames<ScoreOrder> {
    static constexpr const char* what = "order";
    static constexpr EnumName<ScoreOrder> values[] = {{ScoreOrder::bpd, "bpd"},
                                                      {ScoreOrder::corrected, "corrected"}};
};

struct ScoreOptions {
    std::string per_image, extremes, against, against_split = "test", against_per_image;
    bool sort = false, complexity = false, against_split_given = false;
    ScoreOrder sort_by = ScoreOrder::bpd;
    index_t show = 16;  // images per panel of extremes

    // Throws InputError for incompatible options.
    void check() const;
    // Throws InputError if an output has a suffix of another format.
    void check_names() const;
    std::vector<NamedPath> outputs() const;
};
void add_score_options(CLI::App& app, ScoreOptions& options);

// Images with their bits/dim.
struct ScoredImages {
    SplitImages images;
    std::vector<std::string> names;  // empty if they have none
    std::vector<double> bits;
};

// The end of a name that fits above a picture, without the suffix.
std::string short_name(const std::string& name);

// Throws InputError if a picture of these images, whose scores are not known yet, would be too large.
void check_pictures(const ScoreOptions& options, const ScoredImages& scored);

// Applies the options and extends the result. n_bits: of the model. others: the images of --against, if any.
void use_scores(const ScoreOptions& options, int n_bits, const ScoredImages& scored,
                const ScoredImages* others, EvalResult& result);

}  // namespace glow
