#include "tools/training_options.h"

#include "kernels/error.h"
#include "tools/numbers.h"

namespace glow {
namespace {

template <class T>
void add_option(CLI::App& app, const std::string& name, T& value, const char* help) {
    const std::string option = "--" + name;
    if constexpr (std::is_same_v<T, bool>) {
        app.add_flag(option + ",!--no-" + name, value,
                     help + std::string(value ? " (default on)" : " (default off)"));
    } else if constexpr (Named<T>) {
        add_choice(app, option, value, help);
    } else if constexpr (std::is_same_v<T, Interval>) {
        app.add_option_function<std::string>(
               option,
               [&value, option](const std::string& text) {
                   try {
                       value = parse_interval(text);
                   } catch (const InputError& error) {
                       throw CLI::ValidationError(option, error.what());
                   }
               },
               help)
            ->type_name("INTERVAL")
            ->default_str(to_string(value));
    } else {
        CLI::Option* const added = app.add_option(option, value, help);
        if (name == "act-budget" || name == "max-memory") added->transform(as_bytes())->type_name("BYTES");
    }
}

}  // namespace

void add_training_options(CLI::App& app, TrainingOptions& options) {
    const auto group = [&app](const char* name) { app.option_defaults()->group(name); };
    const auto add = [&app](const char* name, auto& value, OnResume, const char* help) {
        add_option(app, name, value, help);
    };
    group("Run");
    visit_files_options(options, add);
    visit_length_options(options, add);
    group("Model");
    visit_model_options(options.model, [&](const char* name, auto& value, const char* help) {
        if (help != nullptr) add_option(app, option_name(name), value, help);
    });
    group("Optimizer");
    visit_update_options(options, add);
    visit_batch_options(options, add);
    group("Data");
    visit_input_options(options, add);
    group("Machine");
    visit_compute_options(options, add);
    group("Memory");
    visit_memory_options(options, add);
    group("Output");
    visit_reporting_options(options, add);
    group("Recovery");
    visit_recovery_options(options, add);
}

}  // namespace glow
