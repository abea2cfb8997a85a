// lr_t = lr sqrt(1 - b2^t) / (1 - b1^t), times the warm-up.
#include "train/schedule.h"

#include <algorithm>
#include <cmath>

namespace glow {

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
    s.init_images = o.init_batch > 0 ? std::min(o.init_batch, train_images) : rule;
    return s;
}

double learning_rate(const TrainingOptions& o, const Schedule& s, index_t t, double lr_scale) {
    const double warmup = o.warmup_epochs * s.schedule_images;
    // including the images of this step
    const double seen = static_cast<double>(t) * static_cast<double>(s.batch);
    return o.lr * lr_scale * (warmup > 0 ? std::min(1.0, seen / warmup) : 1.0);
}

OptimizerStep optimizer_at(const TrainingOptions& o, const Schedule& s, index_t t, double lr_scale) {
    const double steps = static_cast<double>(t);
    OptimizerStep step;
    step.adam = o.optimizer == Optimizer::adam;
    step.beta1 = o.beta1;
    step.beta2 = s.beta2;
    step.lr_t = learning_rate(o, s, t, lr_scale) * std::sqrt(1.0 - std::pow(s.beta2, steps)) /
                (1.0 - std::pow(o.beta1, steps));
    step.weight_decay = o.weight_decay;
    step.ema_rate = (1.0 - s.ema_decay) / (1.0 - std::pow(s.ema_decay, steps));
    step.seed = o.seed;
    step.number = static_cast<std::uint64_t>(t);
    return step;
}

}  // namespace glow
