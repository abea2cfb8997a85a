#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace glow {

index_t top_pixels(const ModelConfig& model) {
    return std::max<index_t>(1, (model.image_height >> model.levels) * (model.image_width >> model.levels));
}

Schedule make_schedule(const TrainingOptions& o, index_t train_images) {
    Schedule s;
    s.batch = o.batch;
    s.epoch_images = o.epoch_images > 0 ? o.epoch_images : static_cast<double>(train_images);
    s.schedule_images = o.schedule_images > 0 ? o.schedule_images : s.epoch_images;
    const auto steps = [&o](double images) {
        return std::max<index_t>(1, static_cast<index_t>(std::ceil(images / static_cast<double>(o.batch))));
    };
    s.steps_per_epoch = steps(s.epoch_images);
    s.beta2 = o.beta2 > 0 ? o.beta2 : 1.0 - 1.0 / static_cast<double>(steps(s.schedule_images));
    s.ema_decay = o.ema_decay > 0 ? o.ema_decay : s.beta2;
    const index_t D = o.model.dimensions();
    const index_t rule = std::min({index_t{256}, train_images, std::max(o.batch, (index_t{1} << 23) / D)});
    // A small data set is repeated, with new noise and augmentation.
    const index_t few = (kFewInitValues + top_pixels(o.model) - 1) / top_pixels(o.model);
    s.init_images = o.init_batch > 0 ? std::min(o.init_batch, train_images) : std::max(rule, few);
    s.end_steps = static_cast<double>(o.max_steps);
    s.end_images = o.epochs * s.epoch_images;
    s.end_minutes = o.max_minutes;
    return s;
}

double run_fraction(const Schedule& s, const StepTime& step) {
    const double steps = static_cast<double>(step.t - 1);
    double fraction = 0;
    const auto towards = [&](double done, double limit) {
        if (limit > 0) fraction = std::max(fraction, done / limit);
    };
    towards(steps, s.end_steps);
    towards(steps * static_cast<double>(s.batch), s.end_images);
    towards(step.minutes, s.end_minutes);
    return std::min(fraction, 1.0);
}

bool counts_minutes_of_whole_run(const TrainingOptions& o, const Schedule& s) {
    return o.lr_schedule != LrSchedule::constant && s.end_minutes == o.max_minutes;
}

double warmup_images(const TrainingOptions& o, const Schedule& s) {
    return o.warmup_steps > 0 ? static_cast<double>(o.warmup_steps) * static_cast<double>(s.batch)
                              : o.warmup_epochs * s.schedule_images;
}

double learning_rate(const TrainingOptions& o, const Schedule& s, const StepTime& step) {
    const double warmup = warmup_images(o, s);
    // Including the images of this step.
    const double seen = static_cast<double>(step.t) * static_cast<double>(s.batch);
    double left = 1;  // of the way from lr_final to lr
    if (o.lr_schedule != LrSchedule::constant) {
        const double fraction = run_fraction(s, step);
        left = o.lr_schedule == LrSchedule::linear ? 1 - fraction
                                                   : (1 + std::cos(std::numbers::pi * fraction)) / 2;
    }
    const double lr = left == 1 ? o.lr : o.lr_final + left * (o.lr - o.lr_final);
    return lr * step.lr_scale * (warmup > 0 ? std::min(1.0, seen / warmup) : 1.0);
}

// lr_t = learning rate sqrt(1 - b2^t) / (1 - b1^t).
OptimizerStep optimizer_at(const TrainingOptions& o, const Schedule& s, const StepTime& time) {
    const double steps = static_cast<double>(time.t);
    OptimizerStep step;
    step.adam = o.optimizer == Optimizer::adam;
    step.beta1 = o.beta1;
    step.beta2 = s.beta2;
    step.lr_t = learning_rate(o, s, time) * std::sqrt(1.0 - std::pow(s.beta2, steps)) /
                (1.0 - std::pow(o.beta1, steps));
    step.weight_decay = o.weight_decay;
    step.ema_rate = (1.0 - s.ema_decay) / (1.0 - std::pow(s.ema_decay, steps));
    step.seed = o.seed;
    step.number = static_cast<std::uint64_t>(time.t);
    return step;
}

}  // namespace glow
