// Epochs, the learning rate and the constants that follow from them (spec section 1, optimizers).
#pragma once

#include "kernels/optimizer.h"
#include "train/options.h"

namespace glow {

// The options with their rules applied for a data set of N training images.
struct Schedule {
    double epoch_images, beta2, ema_decay;
    index_t batch, steps_per_epoch;
    index_t init_images;
};
Schedule make_schedule(const TrainingOptions& options, index_t train_images);

// The update of step t = 1, 2, ..., which sees images [(t-1) B, t B): warm-up, bias correction, zero-debiased
// EMA, the numbers of its roundings. gradient_scale is left at 1. lr_scale: what roll-backs left of the
// learning rate.
OptimizerStep optimizer_at(const TrainingOptions& options, const Schedule& schedule, index_t t,
                           double lr_scale = 1);
// The learning rate itself at step t, warm-up included.
double learning_rate(const TrainingOptions& options, const Schedule& schedule, index_t t,
                     double lr_scale = 1);

}  // namespace glow
