// Epochs, learning rate and derived constants.
#pragma once

#include "kernels/optimizer.h"
#include "train/options.h"

namespace glow {

// The options with defaults resolved for a data set of N training images.
struct Schedule {
    double epoch_images, beta2, ema_decay;
    index_t batch, steps_per_epoch;
    index_t init_images;
};
Schedule make_schedule(const TrainingOptions& options, index_t train_images);

// The update of step t = 1, 2, ..., which sees images [(t-1) B, t B): warm-up, bias correction, zero-debiased
// EMA, number of its random roundings. gradient_scale is 1. lr_scale: learning-rate factor from roll-backs.
OptimizerStep optimizer_at(const TrainingOptions& options, const Schedule& schedule, index_t t,
                           double lr_scale = 1);
// The learning rate at step t, including warm-up.
double learning_rate(const TrainingOptions& options, const Schedule& schedule, index_t t,
                     double lr_scale = 1);

}  // namespace glow
