// What a run remembers of its past steps to judge the next one: moving averages and roll-backs. Saved in checkpoints,
// so that a resumed run judges as an uninterrupted one.
#pragma once

#include <nlohmann/json.hpp>

#include "inference/model_file.h"
#include "train/options.h"

namespace glow {

struct TrainingHistory {
    // What rolling back left behind.
    double lr_scale = 1;         // factor of the learning rate
    index_t rollbacks = 0;       // in a row
    index_t failed_step = 0;    // that the last one was for
    index_t rolled_back_to = 0;  // step

    // Of the steps since the start or the last roll-back, the last ones counting most.
    index_t steps = 0;
    double loss = 0, loss_variance = 0;  // mean and variance, bits/dim
    double log_condition = 0;            // mean of the logarithm of W's largest condition number

    void add(double loss, double condition);
    bool operator==(const TrainingHistory&) const = default;
};

nlohmann::ordered_json to_json(const TrainingHistory& history);
// InputError for anything else than the JSON of a history.
TrainingHistory history_from_json(const nlohmann::ordered_json& json);

// How far a run is, with its history.
struct TrainingProgress : Progress {
    TrainingHistory history{};
};
// InputError where the file's history is not usable. Files of other programs need none.
TrainingProgress training_progress(const CheckpointInfo& checkpoint);

}  // namespace glow
