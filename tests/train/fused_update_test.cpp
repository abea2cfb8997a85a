// Fused updates: bit-equal to unfused steps, gradients of only one layer in memory, and failures in steps
// that cannot be repeated.
#include "tests/train/training.h"
#include "train/schedule.h"
#include "train/update.h"

namespace glow {
namespace {

TrainingOptions fused(TrainingOptions options) {
    options.fused_update = true;
    return options;
}

std::size_t largest_block_bytes(Trainer& trainer) {
    index_t largest = 0;
    for (const ParameterBlock& block : trainer.glow().blocks()) largest = std::max(largest, block.count);
    return static_cast<std::size_t>(largest) * sizeof(float);
}

struct Ended {
    std::vector<float> weights;
    StepResult last;
};
Ended after_steps(const TrainingOptions& options, int steps) {
    Training training(options);
    training.random_start();
    const Schedule schedule = make_schedule(options, 40);
    Ended ended;
    for (int t = 1; t <= steps; ++t)
        ended.last = training.trainer.step(training.images.batch(), optimizer_at(options, schedule, {t}));
    ended.weights = training.everything();
    return ended;
}

TEST(FusedUpdate, EqualsUnfusedBitForBit) {
    for (const Optimizer optimizer : {Optimizer::adamax, Optimizer::adam})
        for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::store})
            for (const MomentPrecision moments : {MomentPrecision::fp32, MomentPrecision::bf16}) {
                TrainingOptions options = small_options();
                options.optimizer = optimizer;
                options.memory = memory;
                options.moments = moments;
                options.weight_decay = 1e-3;
                options.warmup_epochs = 0;
                const Ended plain = after_steps(options, 4), other = after_steps(fused(options), 4);
                EXPECT_TRUE(same_bits(other.weights, plain.weights))
                    << to_string(optimizer) << to_string(memory) << to_string(moments);
                EXPECT_EQ(other.last.loss, plain.last.loss);
                // The same squares in another order.
                EXPECT_NEAR(other.last.grad_norm / plain.last.grad_norm, 1, 1e-12);
                options.beta1 = 0.8;  // make sure that the runs can differ
                EXPECT_FALSE(same_bits(after_steps(options, 4).weights, plain.weights));
            }
}

TEST(FusedUpdate, SupportsConditionalModels) {
    TrainingOptions options = small_options();
    options.model.y_cond = true;
    options.model.n_classes = 3;
    options.model.weight_y = 0.1;
    std::vector<std::vector<float>> ends;
    for (const bool fuse : {false, true}) {
        options.fused_update = fuse;
        Training training(options);
        const std::vector<std::int32_t> labels = {0, 2, 1, 2, 0, 1};
        Batch init = training.init_images.batch(), batch = training.images.batch();
        init.labels = batch.labels = labels.data();
        training.trainer.initialize(init);
        OptimizerStep update;
        update.lr_t = 1e-3;
        for (int t = 0; t < 3; ++t) training.trainer.step(batch, update);
        ends.push_back(training.everything());
    }
    EXPECT_TRUE(same_bits(ends[0], ends[1]));
}

TEST(FusedUpdate, GradientMemoryIsOneLayerAtAnyDepth) {
    const auto gradient_bytes = [](index_t depth) {
        Training training(fused(small_options(16, 16, 3, 2, depth, 16)));
        training.trainer.initialize(training.init_images.batch());
        training.trainer.step(training.images.batch(), {});
        EXPECT_EQ(at(training.memory.peak(), Category::gradients),
                  at(training.plan.bytes, Category::gradients));
        EXPECT_EQ(at(training.memory.peak(), Category::gradients), largest_block_bytes(training.trainer));
        EXPECT_LE(total(training.memory.peak()), total(training.plan.bytes));
        return at(training.memory.peak(), Category::gradients);
    };
    EXPECT_EQ(gradient_bytes(2), gradient_bytes(8));
    const Training whole(small_options(16, 16, 3, 2, 8, 16));
    EXPECT_GT(at(whole.plan.bytes, Category::gradients), 8 * gradient_bytes(8));
}

TEST(FusedUpdate, ReportsNonFiniteLoss) {
    Training training(fused(small_options()));
    training.random_start();
    const Tensor& logs = training.tensor("level0/split/logs");
    training.params()[logs.offset] = 300;  // exp(900) overflows
    training.trainer.weights_changed();
    OptimizerStep update;
    update.lr_t = 1e-3;
    std::string message;
    try {
        training.trainer.step(training.images.batch(), update);
    } catch (const StepFailure& failure) {
        message = failure.what();
    }
    EXPECT_NE(message.find("not finite"), std::string::npos) << message;
    EXPECT_NE(message.find("level0/split"), std::string::npos) << message;
    // No block was updated with non-finite values.
    for (const float value : training.everything()) ASSERT_TRUE(std::isfinite(value));
}

TEST(FusedUpdate, ReportsFirstNonFiniteGradientBlock) {
    Training training(fused(small_options()));
    training.random_start();
    const std::vector<float> before = training.copy(training.params());
    // Finite forward, but gradients of the hidden layers overflow.
    const Tensor& conv3 = training.tensor("level0/step1/coupling/conv3/logs");
    const Tensor& conv1 = training.tensor("level0/step1/coupling/conv1/weight");
    std::fill_n(training.params() + conv3.offset, conv3.count, -25.0f);
    std::fill_n(training.params() + conv1.offset, conv1.count, 3e37f);
    training.trainer.weights_changed();
    OptimizerStep update;
    update.lr_t = 1e-3;
    try {
        training.trainer.step(training.images.batch(), update);
        FAIL() << "nothing was lost";
    } catch (const StepFailure& failure) {
        EXPECT_NE(std::string(failure.what()).find("level0/step1"), std::string::npos) << failure.what();
    }
    // The blocks above were updated: such weights must be reloaded.
    const Tensor& top = training.tensor("prior/top/bias");
    EXPECT_NE(training.params()[top.offset], before[top.offset]);
    for (const float value : training.everything()) ASSERT_TRUE(std::isfinite(value));
}

TEST(FusedUpdate, DriftDiscardsStepAndSavesMore) {
    TrainingOptions options = fused(small_options());
    options.drift_tolerance = 1e-300;
    Training training(options);
    training.random_start();
    OptimizerStep update;
    for (const index_t anchor_every : {16, 1}) {
        try {
            training.trainer.step(training.images.batch(), update);
            FAIL() << "nothing was lost";
        } catch (const DriftError& lost) {
            EXPECT_NE(std::string(lost.what()).find("--drift-tolerance"), std::string::npos) << lost.what();
        }
        EXPECT_EQ(training.trainer.policy().anchor_every, anchor_every);
    }
    // Fits the planned memory; afterwards there is no further fallback.
    EXPECT_THROW(
        {
            try {
                training.trainer.step(training.images.batch(), update);
            } catch (const DriftError&) {
                FAIL() << "repeats the step forever";
            }
        },
        Error);
    EXPECT_LE(at(training.memory.peak(), Category::stored), training.plan.fallback_stored);
}

}  // namespace
}  // namespace glow
