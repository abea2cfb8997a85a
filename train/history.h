// Statistics of past steps that judge the next one: moving averages and roll-backs. Saved in checkpoints, so
// that a resumed run makes the same decisions.
#pragma once

#include <nlohmann/json.hpp>

#include "inference/model_file.h"
#include "train/schedule.h"

namespace glow {

struct TrainingHistory {
    // State of roll-backs.
    double lr_scale = 1;         // learning-rate factor
    index_t rollbacks = 0;       // consecutive
    index_t failed_step = 0;     // step that caused the last one
    index_t rolled_back_to = 0;  // step

    // Exponential moving averages since the start or the last roll-back.
    index_t steps = 0;
    double loss = 0, loss_variance = 0;  // mean and variance, bits/dim
    double log_condition = 0;            // mean log of W's largest condition number

    void add(double loss, double condition);
    // Takes over the state of roll-backs, but not the averages.
    void take_rollbacks(const TrainingHistory& other);
    bool operator==(const TrainingHistory&) const = default;
};

// Throws InputError if the JSON is not a history.
TrainingHistory history_from_json(const nlohmann::ordered_json& json);

// Progress of a run, with its history.
struct TrainingProgress : Progress {
    TrainingHistory history{};
    // The run's clock, minutes of training summed over all parts of the run: before the last step; in a
    // checkpoint, when it was written.
    double minutes = 0;
    StepTime time_of_last_step() const { return {step, history.lr_scale, minutes}; }
};
// The part that a checkpoint stores in addition to Progress.
nlohmann::ordered_json to_json(const TrainingProgress& progress);
// Throws InputError if the file's history is invalid. Files of other programs may have none.
TrainingProgress training_progress(const CheckpointInfo& checkpoint);

}  // namespace glow
