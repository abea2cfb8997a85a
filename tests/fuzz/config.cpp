// Configurations: a run's config.toml as the command reads it (first byte 0), or a checkpoint's JSON.
#include <cstdlib>

#include "inference/model_file.h"
#include "tests/fuzz/input.h"
#include "tools/config_file.h"
#include "tools/training_options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    if (size == 0) return 0;
    const std::string text(bytes + 1, bytes + size);
    if (bytes[0] != 0) return fuzz::attempt([&] { model_from_json(parse_config(text)); });
    return fuzz::attempt([&] {
        TrainingOptions options;
        CLI::App app;
        app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
        add_training_options(app, options);
        apply_config(app, "config.toml", text);
        check(options);
        // Written options must read back unchanged.
        const std::string written = to_toml(options);
        TrainingOptions again;
        CLI::App second;
        second.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
        add_training_options(second, again);
        apply_config(second, "config.toml", written);
        if (to_toml(again) != written) std::abort();
    });
}
