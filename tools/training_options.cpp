// One option for each of visit_training_options().
#include "tools/training_options.h"

#include "kernels/error.h"
#include "tools/numbers.h"
#include "data/augment.h"

namespace glow {
namespace {

// Refuses what `parse` refuses.
template <class Parse>
CLI::Validator accepted_by(const Parse& parse) {
    return CLI::Validator(
        [parse](const std::string& text) -> std::string {
            try {
                parse(text);
            } catch (const InputError& error) {
                return error.what();
            }
            return "";
        },
        "");
}

}  // namespace

void add_training_options(CLI::App& app, TrainingOptions& options, std::string& permutation,
                          std::string& coupling) {
    ModelConfig& model = options.model;
    app.add_option("--levels", model.levels, "Levels L");
    app.add_option("--depth", model.depth, "Steps of flow per level, K");
    app.add_option("--width", model.width, "Hidden channels of the coupling networks");
    app.add_option("--permutation", permutation, "Channel mixing: invconv, invconv_lu, shuffle or reverse")
        ->check(accepted_by(parse_permutation));
    app.add_option("--coupling", coupling, "affine or additive")->check(accepted_by(parse_coupling));
    app.add_option("--n-bits", model.n_bits, "Bits of the pixels that are modeled, 1..8");
    app.add_flag("--edge-bias,!--no-edge-bias", model.edge_bias,
                 "3x3 convolutions see where the image ends (default on)");
    app.add_flag("--learn-top,!--no-learn-top", model.learn_top,
                 "Learned prior of the top latents (default on)");
    app.add_flag("--y-cond,!--no-y-cond", model.y_cond,
                 "Top prior by class; the data set must have labels (default off)");
    app.add_option("--weight-y", model.weight_y,
                   "Weight of the classifier's cross-entropy in the loss, in bits; with --y-cond; 0: none");
    visit_training_options(options, [&](const char* name, auto& value, OnResume, const char* help) {
        using T = std::decay_t<decltype(value)>;
        const std::string option = std::string("--") + name;
        if constexpr (std::is_same_v<T, bool>) {
            app.add_flag(option + ",!--no-" + name, value,
                         help + std::string(value ? " (default on)" : " (default off)"));
        } else if constexpr (std::is_same_v<T, Interval>) {
            app.add_option_function<std::string>(
                   option, [&value](const std::string& text) { value = parse_interval(text); }, help)
                ->type_name("INTERVAL")
                ->default_str(to_string(value));
        } else {
            CLI::Option* const added = app.add_option(option, value, help);
            if (option == "--act-budget") added->transform(as_bytes())->type_name("BYTES");
            if (option == "--augment") added->check(accepted_by(parse_augmentation));
            if (option == "--precision") added->check(accepted_by(parse_precision));
        }
    });
}

}  // namespace glow
