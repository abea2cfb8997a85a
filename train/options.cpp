#include "train/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "data/formats/decimal.h"
#include "inference/model_config.h"
#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/threads.h"
#include "train/toml_text.h"
#include "train/tune.h"

namespace glow {
namespace {

constexpr double kMost = 1e15;  // limit on images, steps and minutes, so that their sums stay exact in double

}  // namespace

Interval parse_interval(const std::string& text) {
    Interval interval;
    interval.minutes = text.ends_with('m');
    const std::string number = text.substr(0, text.size() - (interval.minutes ? 1 : 0));
    const bool read = !number.starts_with('-') && parse_decimal(number, interval.count) == std::errc();
    const bool whole = interval.minutes || interval.count == std::floor(interval.count);
    if (!read || interval.count > kMost || !whole)
        throw InputError(fmt::format(
            "\"{}\" is not an interval: expected a number of steps (100) or minutes (10m), or 0", text));
    return interval;
}

std::string to_string(const Interval& interval) {
    return fmt::format("{}{}", interval.count, interval.minutes ? "m" : "");
}

bool has_limit(const TrainingOptions& o) {
    return o.max_steps > 0 || o.epochs > 0 || o.max_minutes > 0;
}

index_t images_per_pass(const TrainingOptions& options, int processes) {
    const index_t largest = slice_of(options.batch, 0, processes).count;  // rank 0 has the largest slice
    return options.micro_batch > 0 ? std::min(largest, options.micro_batch) : largest;
}

namespace {

void check_ranges(const TrainingOptions& o) {
    const auto require = [](bool valid, const char* option, const auto& value, const char* range) {
        if (!valid) throw InputError(fmt::format("--{} {}: it must be {}", option, value, range));
    };
    const auto up_to = [](double value, double most) { return value >= 0 && value <= most; };  // rejects NaN
    require(up_to(o.lr, 1e30), "lr", o.lr, "between 0 and 1e30");
    require(up_to(o.lr_final, 1e30), "lr-final", o.lr_final, "between 0 and 1e30");
    require(o.warmup_steps >= 0 && o.warmup_steps <= index_t{1} << 48, "warmup-steps", o.warmup_steps,
            "between 0 and 2^48");
    require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "in [0, 1)");
    require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "in [0, 1)");
    require(up_to(o.warmup_epochs, kMost), "warmup-epochs", o.warmup_epochs, "between 0 and 1e15");
    require(up_to(o.epoch_images, kMost), "epoch-images", o.epoch_images, "between 0 and 1e15");
    require(up_to(o.schedule_images, kMost), "schedule-images", o.schedule_images, "between 0 and 1e15");
    require(o.weight_decay >= 0 && o.weight_decay < 1, "weight-decay", o.weight_decay, "in [0, 1)");
    require(up_to(o.clip_norm, 1e30), "clip-norm", o.clip_norm, "between 0 and 1e30");
    require(o.ema_decay >= 0 && o.ema_decay < 1, "ema-decay", o.ema_decay, "in [0, 1)");
    require(o.batch >= 1 && o.batch <= 1 << 24, "batch", o.batch, "between 1 and 2^24");
    require(o.micro_batch >= 0 && o.micro_batch <= o.batch, "micro-batch", o.micro_batch,
            "between 0 and the batch");
    require(o.init_batch >= 0 && o.init_batch <= 1 << 24, "init-batch", o.init_batch, "between 0 and 2^24");
    require(up_to(o.epochs, kMost), "epochs", o.epochs, "between 0 and 1e15");
    require(o.max_steps >= 0 && o.max_steps <= index_t{1} << 48, "max-steps", o.max_steps,
            "between 0 and 2^48");
    require(up_to(o.max_minutes, kMost), "max-minutes", o.max_minutes, "between 0 and 1e15");
    require(o.threads >= 0 && o.threads <= kMaxThreads, "threads", o.threads,
            fmt::format("between 0 and {}", kMaxThreads).c_str());
    require(o.act_budget >= 0 && o.act_budget <= index_t{1} << 60, "act-budget", o.act_budget,
            "between 0 and 2^60 bytes");
    require(o.max_memory >= 0 && o.max_memory <= index_t{1} << 60, "max-memory", o.max_memory,
            "between 0 and 2^60 bytes");
    require(o.anchor_every >= 0, "anchor-every", o.anchor_every, "not below 0");
    require(o.tile >= 0, "tile", o.tile, "not below 0");
    require(o.audit_every >= 0, "audit-every", o.audit_every, "not below 0");
    require(up_to(o.drift_tolerance, 1e30), "drift-tolerance", o.drift_tolerance, "between 0 and 1e30");
    require(o.rollbacks >= 0 && o.rollbacks <= 1000, "rollbacks", o.rollbacks, "between 0 and 1000");
    require(o.rollback_lr > 0 && o.rollback_lr <= 1, "rollback-lr", o.rollback_lr, "in (0, 1]");
    require(up_to(o.loss_jump, 1e30), "loss-jump", o.loss_jump, "between 0 and 1e30");
    require(o.condition_jump == 0 || (o.condition_jump > 1 && o.condition_jump <= 1e30), "condition-jump",
            o.condition_jump, "0 or between 1 and 1e30");
    require(o.log_every >= 1, "log-every", o.log_every, "at least 1");
    require(o.keep >= 2, "keep", o.keep, "at least 2");
}

void check_combinations(const TrainingOptions& o) {
    if (o.lr_schedule != LrSchedule::constant && !has_limit(o))
        throw InputError(
            fmt::format("--lr-schedule {} decays until the run ends: give --max-steps, --epochs or "
                        "--max-minutes",
                        to_string(o.lr_schedule)));
    if (o.lr_schedule == LrSchedule::constant && o.lr_final > 0)
        throw InputError(fmt::format(
            "--lr-final {} needs --lr-schedule cosine or linear, which decay to it; found constant",
            o.lr_final));
    if (o.fused_update && o.clip_norm > 0)
        throw InputError(
            "--fused-update and --clip-norm exclude each other: the norm of the whole gradient is known only "
            "after the first layers are updated");
    if (o.fused_update && o.micro_batch > 0 && o.micro_batch < o.batch)
        throw InputError(
            "--fused-update and --micro-batch exclude each other: micro-batches accumulate gradients, whose "
            "memory a fused update reuses");
    if (o.model.dequant_depth > 0 && o.dequant != Dequantization::variational)
        throw InputError(fmt::format(
            "--dequant-depth {} needs --dequant variational, whose noise it describes; found --dequant {}",
            o.model.dequant_depth, to_string(o.dequant)));
}

}  // namespace

void check(const TrainingOptions& o) {
    check_ranges(o);
    check_combinations(o);
    parse_engines(o.engines, o.model.levels);
    parse_algorithms(o.algorithms);
}

std::string unused_memory_option(const TrainingOptions& o) {
    const bool rebuilds = o.memory == MemoryMode::reconstruct || o.memory == MemoryMode::automatic;
    const std::string memory = to_string(o.memory);
    if (o.act_budget > 0 && o.memory != MemoryMode::automatic)
        return fmt::format(
            "--act-budget {} needs --memory auto, whose maps it limits; found --memory {} (--act-budget 0: none)",
            o.act_budget, memory);
    if (o.anchor_every > 1 && !rebuilds)
        return fmt::format(
            "--anchor-every {} needs --memory reconstruct or auto: {} saves every state (--anchor-every 0: none)",
            o.anchor_every, memory);
    if (o.rounding_bits && !rebuilds)
        return fmt::format(
            "--rounding-bits needs --memory reconstruct or auto: {} saves every state (--no-rounding-bits omits "
            "them)",
            memory);
    if (o.float_states && rebuilds && o.anchor_every == 0)
        return fmt::format(
            "--float-states needs saved states, of --memory checkpoint or store or of --anchor-every; found --memory "
            "{} (--no-float-states: none)",
            memory);
    if (o.float_states && o.rounding_bits)
        return "--rounding-bits needs exact saved states, but --float-states rounds those of --anchor-every: "
               "give --no-float-states or --no-rounding-bits";
    return "";
}

nlohmann::ordered_json to_json(const TrainingOptions& options) {
    nlohmann::ordered_json training;
    visit_training_options(options, [&](const char* name, const auto& value, OnResume, const char*) {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Interval>)
            training[name] = to_string(value);
        else
            training[name] = printable(value);
    });
    nlohmann::ordered_json config = to_json(options.model);
    config["training"] = training;
    return config;
}

namespace {

std::string toml_value(bool value) {
    return value ? "true" : "false";
}
std::string toml_value(const std::string& value) {
    return toml_string(value);
}
std::string toml_value(const Interval& value) {
    return toml_value(to_string(value));
}
std::string toml_value(std::uint64_t number) {
    // Quoted if it exceeds TOML's largest integer.
    const bool fits = number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return fits ? fmt::format("{}", number) : fmt::format("'{}'", number);
}
template <class T>
std::string toml_value(T number) {
    return fmt::format("{}", number);
}

}  // namespace

std::string to_toml(const TrainingOptions& options) {
    std::string text =
        "# The options of a run (TOML). To repeat it: glow_train --config THIS_FILE --out OTHER_FOLDER\n";
    const auto line = [&text](const std::string& name, const auto& value) {
        text += fmt::format("{} = {}\n", name, toml_value(printable(value)));
    };
    visit_model_options(options.model, [&](const char* name, const auto& value, const char* help) {
        if (help != nullptr) line(option_name(name), value);
    });
    visit_training_options(options, [&](const char* name, const auto& value, OnResume, const char*) {
        // Presets set neither data nor folder.
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>)
            if (value.empty()) return;
        line(name, value);
    });
    return text;
}

namespace {

// False if the JSON has another type than the member.
template <class T>
bool read_json(const nlohmann::ordered_json& json, T& value) {
    if constexpr (std::is_same_v<T, Interval>) {
        if (!json.is_string()) return false;
        value = parse_interval(json.get<std::string>());
    } else if constexpr (Named<T>) {
        const std::optional<T> found =
            json.is_string() ? find_name<T>(json.get<std::string>()) : std::nullopt;
        if (!found) return false;
        value = *found;
    } else if constexpr (std::is_same_v<T, std::string>) {
        if (!json.is_string()) return false;
        value = json.get<std::string>();
    } else if constexpr (std::is_same_v<T, bool>) {
        if (!json.is_boolean()) return false;
        value = json.get<bool>();
    } else if constexpr (std::is_floating_point_v<T>) {
        if (!json.is_number()) return false;
        value = json.get<T>();
    } else {
        if (!json.is_number_integer()) return false;
        value = json.get<T>();
        return nlohmann::ordered_json(value) == json;  // exact conversion
    }
    return true;
}

}  // namespace

TrainingOptions training_from_json(const nlohmann::ordered_json& config, const TrainingOptions& otherwise) {
    TrainingOptions options = otherwise;
    const nlohmann::ordered_json training = config.value("training", nlohmann::ordered_json::object());
    visit_training_options(options, [&](const char* name, auto& value, OnResume, const char*) {
        const auto found = training.find(name);
        if (found != training.end() && !read_json(*found, value))
            throw InputError(fmt::format("the training option {} cannot be {}", name, found->dump()));
    });
    return options;
}

}  // namespace glow
