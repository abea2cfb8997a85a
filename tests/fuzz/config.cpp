// Configurations: a run's config.toml as the command reads it (a first byte of 0) and a checkpoint's JSON.
#include <sstream>

#include "tests/fuzz/input.h"
#include "tools/training_options.h"
#include "train/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    if (size == 0) return 0;
    const std::string text(bytes + 1, bytes + size);
    if (bytes[0] != 0) return fuzz::attempt([&] { model_from_json(parse_config(text)); });
    return fuzz::attempt([&] {
        TrainingOptions options;
        std::string permutation = "invconv", coupling = "affine";
        CLI::App app;
        app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
        add_training_options(app, options, permutation, coupling);
        std::istringstream stream(text);
        try {
            app.parse_from_stream(stream);
        } catch (const CLI::ParseError&) {  // the commands turn it into InputError
            return;
        }
        options.model.permutation = parse_permutation(permutation);
        options.model.coupling = parse_coupling(coupling);
        check(options);
        to_toml(options);
    });
}
