// Epochs, learning rate and derived constants. The published code has no decay of the learning rate.
#pragma once

#include "kernels/optimizer.h"
#include "train/options.h"

namespace glow {

// The options with defaults resolved for a data set of N training images.
struct Schedule {
    double epoch_images, schedule_images, beta2, ema_decay;
    index_t batch, steps_per_epoch;  // of epoch_images
    index_t init_images;
    double end_steps, end_images, end_minutes;  // where a decay ends; 0: no such limit
};
Schedule make_schedule(const TrainingOptions& options, index_t train_images);

// Pixels of an image at the deepest level, each of which is one value per channel.
index_t top_pixels(const ModelConfig& model);
// Too few values per channel to initialize an actnorm: of one value, the standard deviation is 0, and the
// scale the largest possible.
inline constexpr index_t kFewInitValues = 16;

// Position of step t = 1, 2, ... in its run. The step uses images [(t-1) B, t B).
struct StepTime {
    index_t t = 1;
    double lr_scale = 1;  // learning-rate factor from roll-backs
    double minutes = 0;   // the run's clock before the step
};
// Completed fraction of the run before the step, in [0, 1]: the largest of those in steps, images and
// minutes.
double run_fraction(const Schedule& schedule, const StepTime& step);
// Whether --max-minutes counts all parts of the run, because a decay ends with it.
bool counts_minutes_of_whole_run(const TrainingOptions& options, const Schedule& schedule);
// Length of the warm-up in images.
double warmup_images(const TrainingOptions& options, const Schedule& schedule);
// The learning rate of the step: warm-up, times the decay by run_fraction().
double learning_rate(const TrainingOptions& options, const Schedule& schedule, const StepTime& step);
// The update of the step: bias correction, zero-debiased EMA, number of its random roundings. gradient_scale
// is 1.
OptimizerStep optimizer_at(const TrainingOptions& options, const Schedule& schedule, const StepTime& step);

}  // namespace glow
