// Options to and from JSON, and their ranges.
#include "train/options.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "kernels/error.h"
#include "train/data/augment.h"

namespace glow {

Interval parse_interval(const std::string& text) {
    char* end = nullptr;
    Interval interval;
    interval.count = std::strtod(text.c_str(), &end);
    interval.minutes = end != text.c_str() && *end == 'm';
    if (interval.minutes) ++end;
    const bool whole = interval.minutes || interval.count == std::floor(interval.count);
    if (end == text.c_str() || *end != '\0' || !(interval.count >= 0) || !std::isfinite(interval.count) ||
        !whole)
        throw InputError(
            fmt::format("\"{}\" is no interval: a number of steps (100), of minutes (10m), or 0", text));
    return interval;
}

std::string to_string(const Interval& interval) {
    return fmt::format("{}{}", interval.count, interval.minutes ? "m" : "");
}

void check(const TrainingOptions& o) {
    const auto require = [](bool fine, const char* option, const auto& value, const char* range) {
        if (!fine) throw InputError(fmt::format("--{} {}: it must be {}", option, value, range));
    };
    require(o.optimizer == "adamax" || o.optimizer == "adam", "optimizer", o.optimizer, "adamax or adam");
    require(o.lr >= 0 && std::isfinite(o.lr), "lr", o.lr, "a number not below 0");
    require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "in [0, 1)");
    require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "in [0, 1)");
    require(o.warmup_epochs >= 0 && std::isfinite(o.warmup_epochs), "warmup-epochs", o.warmup_epochs,
            "not below 0");
    require(o.epoch_images >= 0 && std::isfinite(o.epoch_images), "epoch-images", o.epoch_images,
            "not below 0");
    require(o.weight_decay >= 0 && o.weight_decay < 1, "weight-decay", o.weight_decay, "in [0, 1)");
    require(o.clip_norm >= 0, "clip-norm", o.clip_norm, "not below 0");
    require(o.ema_decay >= 0 && o.ema_decay < 1, "ema-decay", o.ema_decay, "in [0, 1)");
    require(o.batch >= 1 && o.batch <= 1 << 24, "batch", o.batch, "between 1 and 2^24");
    require(o.micro_batch >= 0 && o.micro_batch <= o.batch, "micro-batch", o.micro_batch,
            "between 0 and the batch");
    require(o.init_batch >= 0 && o.init_batch <= 1 << 24, "init-batch", o.init_batch, "between 0 and 2^24");
    require(o.epochs >= 0, "epochs", o.epochs, "not below 0");
    require(o.max_steps >= 0, "max-steps", o.max_steps, "not below 0");
    require(o.max_minutes >= 0, "max-minutes", o.max_minutes, "not below 0");
    require(o.dequant == "uniform" || o.dequant == "center", "dequant", o.dequant, "uniform or center");
    require(o.threads >= 0 && o.threads <= 4096, "threads", o.threads, "between 0 and 4096");
    require(o.memory == "reconstruct" || o.memory == "checkpoint" || o.memory == "store", "memory", o.memory,
            "reconstruct, checkpoint or store");
    require(o.anchor_every >= 0, "anchor-every", o.anchor_every, "not below 0");
    require(o.tile >= 0, "tile", o.tile, "not below 0");
    require(o.drift_tolerance >= 0, "drift-tolerance", o.drift_tolerance, "not below 0");
    require(o.log_every >= 1, "log-every", o.log_every, "at least 1");
    require(o.keep >= 2, "keep", o.keep, "at least 2");
    parse_augmentation(o.augment);
    parse_precision(o.precision);
}

nlohmann::ordered_json to_json(const ModelConfig& m) {
    return {{"image_height", m.image_height},
            {"image_width", m.image_width},
            {"channels", m.channels},
            {"n_bits", m.n_bits},
            {"levels", m.levels},
            {"depth", m.depth},
            {"width", m.width},
            {"permutation", to_string(m.permutation)},
            {"coupling", to_string(m.coupling)},
            {"edge_bias", m.edge_bias},
            {"learn_top", m.learn_top},
            {"y_cond", m.y_cond},
            {"n_classes", m.n_classes},
            {"weight_y", m.weight_y}};
}

nlohmann::ordered_json to_json(const TrainingOptions& options) {
    nlohmann::ordered_json training;
    visit_training_options(options, [&](const char* name, const auto& value, OnResume, const char*) {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Interval>)
            training[name] = to_string(value);
        else
            training[name] = value;
    });
    nlohmann::ordered_json config = to_json(options.model);
    config["training"] = training;
    return config;
}

namespace {

template <class T>
void get(const nlohmann::ordered_json& config, const char* key, T& value) {
    const auto found = config.find(key);
    if (found == config.end()) throw InputError(fmt::format("config has no \"{}\"", key));
    const bool fine = std::is_same_v<T, bool>          ? found->is_boolean()
                      : std::is_same_v<T, std::string> ? found->is_string()
                      : std::is_integral_v<T>          ? found->is_number_integer()
                                                       : found->is_number();
    if (!fine) throw InputError(fmt::format("config's \"{}\" has the wrong type: {}", key, found->dump()));
    value = found->template get<T>();
}

}  // namespace

ModelConfig model_from_json(const nlohmann::ordered_json& config) {
    if (!config.is_object()) throw InputError("config is no JSON object");
    ModelConfig m;
    std::string permutation, coupling;
    index_t n_bits = 0;
    get(config, "image_height", m.image_height);
    get(config, "image_width", m.image_width);
    get(config, "channels", m.channels);
    get(config, "n_bits", n_bits);
    get(config, "levels", m.levels);
    get(config, "depth", m.depth);
    get(config, "width", m.width);
    get(config, "permutation", permutation);
    get(config, "coupling", coupling);
    get(config, "edge_bias", m.edge_bias);
    get(config, "learn_top", m.learn_top);
    get(config, "y_cond", m.y_cond);
    get(config, "n_classes", m.n_classes);
    get(config, "weight_y", m.weight_y);
    m.n_bits = static_cast<int>(n_bits < 1 || n_bits > 8 ? 0 : n_bits);
    m.permutation = parse_permutation(permutation);
    m.coupling = parse_coupling(coupling);
    check(m);
    return m;
}

}  // namespace glow
