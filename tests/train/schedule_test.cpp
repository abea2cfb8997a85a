// Epochs, learning rate and constants against the specification's formulas; whole steps against a scalar
// model.
#include "train/schedule.h"

#include "tests/train/training.h"

namespace glow {
namespace {

TEST(Schedule, RoundsStepsPerEpochUp) {
    TrainingOptions o = small_options();
    o.batch = 64;
    EXPECT_EQ(make_schedule(o, 50000).steps_per_epoch, 782);  // 781.25
    EXPECT_EQ(make_schedule(o, 64).steps_per_epoch, 1);
    EXPECT_EQ(make_schedule(o, 65).steps_per_epoch, 2);
    EXPECT_EQ(make_schedule(o, 3).steps_per_epoch, 1);
    o.epoch_images = 50000;
    EXPECT_EQ(make_schedule(o, 3).steps_per_epoch, 782);
    EXPECT_EQ(make_schedule(o, 3).epoch_images, 50000);
}

TEST(Schedule, DecaysDefaultToOneEpoch) {
    TrainingOptions o = small_options();
    o.batch = 64;
    const Schedule s = make_schedule(o, 50000);
    EXPECT_EQ(s.beta2, 1 - 1.0 / 782);
    EXPECT_EQ(s.ema_decay, s.beta2);
    o.beta2 = 0.9;
    EXPECT_EQ(make_schedule(o, 50000).beta2, 0.9);
    EXPECT_EQ(make_schedule(o, 50000).ema_decay, 0.9);
    o.ema_decay = 0.5;
    EXPECT_EQ(make_schedule(o, 50000).beta2, 0.9);
    EXPECT_EQ(make_schedule(o, 50000).ema_decay, 0.5);
}

TEST(Schedule, InitializationImages) {
    TrainingOptions o;  // 32x32x3
    o.batch = 64;
    EXPECT_EQ(make_schedule(o, 50000).init_images, 256);
    EXPECT_EQ(make_schedule(o, 100).init_images, 100);
    o.model.image_height = o.model.image_width = 256;
    EXPECT_EQ(make_schedule(o, 50000).init_images, 64);
    o.batch = 1;
    EXPECT_EQ(make_schedule(o, 50000).init_images, (1 << 23) / (256 * 256 * 3));
    o.init_batch = 5;
    EXPECT_EQ(make_schedule(o, 50000).init_images, 5);
    EXPECT_EQ(make_schedule(o, 3).init_images, 3);
}

// Actnorms need several values per channel, also at the deepest level.
TEST(Schedule, InitializationRepeatsFewImages) {
    TrainingOptions o;
    o.batch = 4;
    for (const auto& [size, images] :
         {std::pair<index_t, index_t>{8, 16}, {16, 4}, {24, 2}, {32, 1}, {64, 1}}) {
        o.model.image_height = o.model.image_width = size;
        EXPECT_EQ(make_schedule(o, 1).init_images, images) << size;
        EXPECT_EQ(make_schedule(o, 100).init_images, 100) << size;
    }
    o.model.image_height = o.model.image_width = 8;
    o.init_batch = 2;
    EXPECT_EQ(make_schedule(o, 100).init_images, 2);
}

TEST(Schedule, WarmUpIsLinearInImages) {
    TrainingOptions o = small_options();
    o.batch = 10;
    o.lr = 2e-3;
    o.warmup_epochs = 0.5;
    const Schedule s = make_schedule(o, 200);  // 100 images of warm-up
    for (index_t t = 1; t <= 20; ++t) {
        const double images_seen = 10.0 * static_cast<double>(t - 1);
        EXPECT_DOUBLE_EQ(learning_rate(o, s, {t}), 2e-3 * std::min(1.0, (images_seen + 10) / (0.5 * 200)))
            << t;
    }
    o.warmup_epochs = 0;
    EXPECT_EQ(learning_rate(o, s, {1}), 2e-3);
}

TEST(Schedule, WarmUpStepsReplaceEpochs) {
    TrainingOptions o = small_options();
    o.batch = 10;
    o.warmup_epochs = 3;
    o.warmup_steps = 4;
    const Schedule s = make_schedule(o, 200);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {1}), o.lr / 4);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {4}), o.lr);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {40}), o.lr);
}

TEST(Schedule, DecaysFromFirstStepToEnd) {
    TrainingOptions o = small_options();
    o.batch = 10;
    o.lr = 1e-2;
    o.lr_final = 1e-3;
    o.warmup_epochs = 0;
    o.max_steps = 8;
    const Schedule s = make_schedule(o, 200);
    o.lr_schedule = LrSchedule::linear;
    EXPECT_EQ(learning_rate(o, s, {1}), 1e-2);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {3}), 1e-2 - 0.25 * 9e-3);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {9}), 1e-3);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {100}), 1e-3);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {3, 0.5}), 0.5 * (1e-2 - 0.25 * 9e-3));
    o.lr_schedule = LrSchedule::cosine;
    EXPECT_EQ(learning_rate(o, s, {1}), 1e-2);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {3}), 1e-3 + 9e-3 * (1 + std::sqrt(0.5)) / 2);
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {5}), 1e-3 + 9e-3 / 2);
    EXPECT_NEAR(learning_rate(o, s, {9}), 1e-3, 1e-18);
    o.warmup_steps = 4;
    EXPECT_DOUBLE_EQ(learning_rate(o, s, {3}), 0.75 * (1e-3 + 9e-3 * (1 + std::sqrt(0.5)) / 2));
}

TEST(Schedule, DecaysTowardsTheNearestLimit) {
    TrainingOptions o = small_options();
    o.batch = 10;
    o.lr_schedule = LrSchedule::linear;
    const auto fraction = [&](double minutes) {
        return run_fraction(make_schedule(o, 200), {7, 1, minutes});
    };
    EXPECT_EQ(fraction(3), 0);
    o.max_steps = 12;
    EXPECT_DOUBLE_EQ(fraction(3), 0.5);
    o.epochs = 0.4;  // 80 images
    EXPECT_DOUBLE_EQ(fraction(3), 0.75);
    o.max_minutes = 3.75;
    EXPECT_DOUBLE_EQ(fraction(3), 0.8);
    EXPECT_EQ(fraction(5), 1);
}

TEST(Schedule, DecayNeedsAnEnd) {
    TrainingOptions o = small_options();
    o.lr_schedule = LrSchedule::cosine;
    o.max_steps = 0;
    o.epochs = o.max_minutes = 0;
    expect_throw<InputError>([&] { check(o); }, {"--lr-schedule cosine", "--max-steps"});
    o.max_minutes = 1;
    check(o);
}

TEST(Schedule, FinalLearningRateNeedsADecay) {
    TrainingOptions o = small_options();
    o.lr_final = 1e-5;
    expect_throw<InputError>([&] { check(o); }, {"--lr-final 1e-05", "--lr-schedule cosine or linear"});
    o.lr_schedule = LrSchedule::linear;
    o.max_steps = 10;
    check(o);
}

TEST(Schedule, BiasCorrectionAndAverageAtEveryStep) {
    TrainingOptions o = small_options();
    o.warmup_epochs = 0;
    o.beta1 = 0.8;
    o.beta2 = 0.99;
    o.ema_decay = 0.95;
    o.weight_decay = 1e-4;
    const Schedule s = make_schedule(o, 1000);
    for (const index_t t : {1, 2, 17, 1000, 100000000}) {
        const OptimizerStep step = optimizer_at(o, s, {t});
        const double T = static_cast<double>(t);
        EXPECT_DOUBLE_EQ(step.lr_t, 1e-3 * std::sqrt(1 - std::pow(0.99, T)) / (1 - std::pow(0.8, T)));
        EXPECT_DOUBLE_EQ(step.ema_rate, (1 - 0.95) / (1 - std::pow(0.95, T)));
        EXPECT_EQ(step.beta1, 0.8);
        EXPECT_EQ(step.beta2, 0.99);
        EXPECT_EQ(step.weight_decay, 1e-4);
        EXPECT_FALSE(step.adam);
    }
    EXPECT_EQ(optimizer_at(o, s, {1}).ema_rate, 1.0);  // the average starts as the weights
    o.optimizer = Optimizer::adam;
    EXPECT_TRUE(optimizer_at(o, s, {1}).adam);
}

TEST(Schedule, OneStepPerEpochStaysFinite) {
    TrainingOptions o = small_options();
    o.batch = 100;
    const Schedule s = make_schedule(o, 10);
    EXPECT_EQ(s.beta2, 0);
    const OptimizerStep step = optimizer_at(o, s, {3});
    EXPECT_TRUE(std::isfinite(step.lr_t));
    EXPECT_EQ(step.ema_rate, 1);
}

// Reference: formulas of the specification in double, one number at a time.
struct ScalarWeight {
    double w = 0, m = 0, v = 0, ema = 0;
    void step(const TrainingOptions& o, double t, double g) {
        m = o.beta1 * m + (1 - o.beta1) * g;
        v = o.optimizer == Optimizer::adam ? o.beta2 * v + (1 - o.beta2) * g * g
                                           : std::max(o.beta2 * v, std::abs(g));
        const double root = o.optimizer == Optimizer::adam ? std::sqrt(v) : v;
        const double lr_t = o.lr * std::sqrt(1 - std::pow(o.beta2, t)) / (1 - std::pow(o.beta1, t));
        w = (1 - o.weight_decay) * w - lr_t * m / (root + 1e-8);
        ema += (w - ema) * (1 - o.ema_decay) / (1 - std::pow(o.ema_decay, t));
    }
};

void follow_scalar_model(Optimizer optimizer, double sabotage, bool& followed) {
    TrainingOptions o = small_options();
    o.optimizer = optimizer;
    o.warmup_epochs = 0;
    o.beta2 = 0.9;
    o.ema_decay = 0.8;
    o.weight_decay = 1e-3;
    o.clip_norm = 0.3;  // below the gradient norm of about 1
    Training training(o), twin(o);
    training.random_start();
    const Schedule s = make_schedule(o, 100);
    const std::vector<float> start = training.copy(training.params());
    std::vector<ScalarWeight> scalar(start.size());
    for (std::size_t i = 0; i < start.size(); ++i) scalar[i] = {start[i], 0, 0, start[i]};
    for (index_t t = 1; t <= 6; ++t) {
        const Images images(o.batch, o.model, 10 + static_cast<std::uint64_t>(t));
        // The gradient, from a second trainer without updates.
        std::copy_n(training.params(), start.size(), twin.params());
        twin.trainer.weights_changed();
        StepResult result;
        // The second trainer clips too: its m is the clipped gradient.
        const std::vector<float> g = twin.gradient(images.batch(), &result);
        EXPECT_GT(result.grad_norm, o.clip_norm);
        double clipped = 0;
        for (const float value : g) clipped += std::pow(static_cast<double>(value), 2);
        EXPECT_NEAR(std::sqrt(clipped), o.clip_norm, 1e-6);
        training.trainer.step(images.batch(), optimizer_at(o, s, {t}));
        for (std::size_t i = 0; i < start.size(); ++i)
            scalar[i].step(o, static_cast<double>(t), sabotage * static_cast<double>(g[i]));
    }
    const Weights& w = training.trainer.weights();
    followed = true;
    const auto near = [&](float value, double expected) {
        // Six steps, each rounding to float once.
        followed = followed && std::abs(value - expected) <= 1e-6 * std::abs(expected) + 1e-7;
    };
    for (std::size_t i = 0; i < start.size(); ++i) {
        near(w.params[i], scalar[i].w);
        near(w.m[i], scalar[i].m);
        near(w.v[i], scalar[i].v);
        near(w.ema[i], scalar[i].ema);
    }
}

TEST(OptimizerSteps, MatchScalarModel) {
    for (const Optimizer optimizer : {Optimizer::adamax, Optimizer::adam}) {
        bool followed = false;
        follow_scalar_model(optimizer, 1.0, followed);
        EXPECT_TRUE(followed) << to_string(optimizer);
        follow_scalar_model(optimizer, 1.01, followed);
        EXPECT_FALSE(followed) << to_string(optimizer) << ": a gradient 1% off must be seen";
    }
}

}  // namespace
}  // namespace glow
