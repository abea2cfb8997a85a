#include "train/history.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/error.h"

namespace glow {
namespace {

constexpr double kRemembered = 64;  // averaging horizon in steps

// visitor(name, member) for every member of a history.
template <class C, class Visitor>
void visit(C& history, Visitor&& visitor) {
    visitor("lr_scale", history.lr_scale);
    visitor("rollbacks", history.rollbacks);
    visitor("trouble_step", history.failed_step);
    visitor("rolled_back_to", history.rolled_back_to);
    visitor("steps", history.steps);
    visitor("loss", history.loss);
    visitor("loss_variance", history.loss_variance);
    visitor("log_condition", history.log_condition);
}

}  // namespace

void TrainingHistory::add(double new_loss, double condition) {
    ++steps;
    const double weight = std::max(1.0 / static_cast<double>(steps), 1.0 / kRemembered);
    const double difference = new_loss - loss;
    loss += weight * difference;
    loss_variance = (1 - weight) * (loss_variance + weight * difference * difference);
    log_condition += weight * (std::log(std::max(1.0, condition)) - log_condition);
}

void TrainingHistory::take_rollbacks(const TrainingHistory& other) {
    lr_scale = other.lr_scale;
    rollbacks = other.rollbacks;
    failed_step = other.failed_step;
    rolled_back_to = other.rolled_back_to;
}

nlohmann::ordered_json to_json(const TrainingProgress& progress) {
    nlohmann::ordered_json json;
    visit(progress.history, [&](const char* name, const auto& value) { json[name] = value; });
    json["minutes"] = progress.minutes;
    return json;
}

TrainingHistory history_from_json(const nlohmann::ordered_json& json) {
    TrainingHistory history;
    visit(history, [&](const char* name, auto& value) {
        const auto found = json.find(name);
        constexpr bool whole = std::is_integral_v<std::decay_t<decltype(value)>>;
        if (found == json.end() || !(whole ? found->is_number_integer() : found->is_number()))
            throw InputError(std::string("attribute course has no number \"") + name + "\"");
        value = found->get<std::decay_t<decltype(value)>>();
    });
    const auto counts = {history.rollbacks, history.failed_step, history.rolled_back_to, history.steps};
    const bool valid = std::all_of(counts.begin(), counts.end(),
                                   [](index_t n) { return n >= 0 && n <= index_t{1} << 52; }) &&
                       history.lr_scale > 0 && history.lr_scale <= 1 && std::isfinite(history.loss) &&
                       history.loss_variance >= 0 && std::isfinite(history.loss_variance) &&
                       std::isfinite(history.log_condition);
    if (!valid) throw InputError("attribute course has a value out of range");
    return history;
}

namespace {

// 0 in files of versions that had no clock.
double minutes_from_json(const nlohmann::ordered_json& json) {
    const auto found = json.find("minutes");
    if (found == json.end()) return 0;
    if (!found->is_number() || !(found->get<double>() >= 0) || !std::isfinite(found->get<double>()))
        throw InputError("attribute course has minutes out of range");
    return found->get<double>();
}

}  // namespace

TrainingProgress training_progress(const CheckpointInfo& checkpoint) {
    TrainingProgress progress{checkpoint.progress};
    if (checkpoint.history.is_null()) return progress;
    progress.history = history_from_json(checkpoint.history);
    progress.minutes = minutes_from_json(checkpoint.history);
    return progress;
}

}  // namespace glow
