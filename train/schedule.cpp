#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace glow {

Schedule make_schedule(const TrainingOptions& o, index_t train_images) {
    Schedule s;
    s.batch = o.batch;
    s.epoch_images = o.epoch_images > 0 ? o.epoch_images : static_cast<double>(train_images);
    s.steps_per_epoch =
        std::max<index_t>(1, static_cast<index_t>(std::ceil(s.epoch_images / static_cast<double>(o.batch))));
    s.beta2 = o.beta2 > 0 ? o.beta2 : 1.0 - 1.0 / static_cast<double>(s.steps_per_epoch);
    s.ema_decay = o.ema_decay > 0 ? o.ema_decay : s.beta2;
    const index_t D = o.model.dimensions();
    const index_t rule = std::min({index_t{256}, train_images, std::max(o.batch, (index_t{1} << 23) / D)});
    s.init_images = o.init_batch > 0 ? std::min(o.init_batch, train_images) : rule;
    return s;
}

double run_fraction(const TrainingOptions& o, const Schedule& s, const StepTime& step) {
    const double steps = static_cast<double>(step.t - 1);
    double fraction = 0;
    const auto towards = [&](double done, double limit) {
        if (limit > 0) fraction = std::max(fraction, done / limit);
    };
    towards(steps, static_cast<double>(o.max_steps));
    towards(steps * static_cast<double>(s.batch), o.epochs * s.epoch_images);
    towards(step.minutes, o.max_minutes);
    return std::min(fraction, 1.0);
}

double learning_rate(const TrainingOptions& o, const Schedule& s, const StepTime& step) {
    const double batch = static_cast<double>(s.batch), seen = static_cast<double>(step.t) * batch;
    const double warmup =  // in images, which include those of the step
        o.warmup_steps > 0 ? static_cast<double>(o.warmup_steps) * batch : o.warmup_epochs * s.epoch_images;
    double left = 1;  // of the way from lr_final to lr
    if (o.lr_schedule != LrSchedule::constant) {
        const double fraction = run_fraction(o, s, step);
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
