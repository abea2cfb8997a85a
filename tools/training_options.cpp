// One option for each of visit_training_options().
#include "tools/training_options.h"

#include "tools/numbers.h"

namespace glow {

void add_training_options(CLI::App& app, TrainingOptions& options, std::string& permutation,
                          std::string& coupling) {
    ModelConfig& model = options.model;
    app.add_option("--levels", model.levels, "Levels L")->check(is_number<index_t>());
    app.add_option("--depth", model.depth, "Steps of flow per level, K")->check(is_number<index_t>());
    app.add_option("--width", model.width, "Hidden channels of the coupling networks")
        ->check(is_number<index_t>());
    app.add_option("--permutation", permutation, "Channel mixing: invconv, invconv_lu, shuffle or reverse");
    app.add_option("--coupling", coupling, "affine or additive");
    app.add_option("--n-bits", model.n_bits, "Bits of the pixels that are modelled, 1..8")
        ->check(is_number<int>());
    app.add_flag("--edge-bias,!--no-edge-bias", model.edge_bias,
                 "3x3 convolutions see where the image ends (default on)");
    app.add_flag("--learn-top,!--no-learn-top", model.learn_top,
                 "Learned prior of the top latents (default on)");
    app.add_flag("--y-cond,!--no-y-cond", model.y_cond,
                 "Top prior by class; the data set must have labels (default off)");
    app.add_option("--weight-y", model.weight_y,
                   "Weight of the classifier's cross-entropy in the loss, in bits; with --y-cond; 0: none")
        ->check(is_number<double>());
    visit_training_options(options, [&](const char* name, auto& value, OnResume, const char* help) {
        using T = std::decay_t<decltype(value)>;
        const std::string option = std::string("--") + name;
        if constexpr (std::is_same_v<T, bool>) {
            app.add_flag(option + ",!--no-" + name, value,
                         help + std::string(value ? " (default on)" : " (default off)"));
        } else if constexpr (std::is_same_v<T, Interval>) {
            app.add_option_function<std::string>(
                   option, [&value](const std::string& text) { value = parse_interval(text); }, help)
                ->default_str(to_string(value));
        } else {
            CLI::Option* const added = app.add_option(option, value, help);
            if (option == "--act-budget")
                added->transform(CLI::AsSizeValue(false));
            else if constexpr (std::is_arithmetic_v<T>)
                added->check(is_number<T>());
        }
    });
    app.set_config("--config", "", "Options from a file, as a run's config.toml");
    app.allow_config_extras(CLI::config_extras_mode::error);
}

}  // namespace glow
