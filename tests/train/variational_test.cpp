// Training with variational dequantization has the same properties as training without it.
#include "inference/evaluate.h"
#include "inference/sample.h"
#include "inference/statistics.h"
#include "tests/train/training.h"
#include "train/memory_plan.h"
#include "train/schedule.h"

namespace glow {
namespace {

TrainingOptions variational(TrainingOptions options = small_options()) {
    options.dequant = Dequantization::variational;
    options.model.dequant_depth = 2;
    options.model.dequant_width = 6;
    return options;
}

Noise noise_of(const Training& training) {
    return {Dequantization::variational, training.options.seed, Purpose::dequantize, nullptr};
}

TEST(VariationalTraining, PlanEqualsPeak) {
    for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::store})
        for (const index_t micro_batch : {0, 3})
            for (const index_t init_batch : {1, 9}) {
                TrainingOptions options = variational(small_options(16, 8, 3, 1, 1, 4));
                options.model.dequant_width = 40;  // its networks need more memory than the flow's
                options.memory = memory;
                options.batch = 7;
                options.micro_batch = micro_batch;
                options.init_batch = init_batch;
                Training training(options);
                training.trainer.initialize(training.init_images.batch());
                training.trainer.step(training.images.batch(), {});
                training.trainer.use_ema(true);
                std::vector<double> bits(7);
                evaluate(training.trainer.runnable(), training.images.batch(), noise_of(training),
                         {.bits_per_dim = bits.data()});
                std::vector<std::uint8_t> pixels(7 * options.model.dimensions());
                sample(training.trainer.runnable(), {7, 0.7, 1}, pixels.data());
                EXPECT_EQ(training.memory.peak(), training.plan.bytes) << micro_batch << " " << init_batch;
            }
}

TEST(VariationalTraining, DequantizerNeedsNoMemoryPerStep) {
    const Backend backend(Device::cpu, 2);
    const auto activations = [&](index_t depth) {
        TrainingOptions options = variational(small_options(32, 32, 3, 2, 2, 16));
        options.model.dequant_depth = depth;
        const MemoryBytes bytes = memory_plan(options, 6, backend).bytes;
        return at(bytes, Category::state) + at(bytes, Category::workspace) + at(bytes, Category::stored);
    };
    EXPECT_EQ(activations(2), activations(16));
}

TEST(VariationalTraining, StepReportsWhatEvaluationReports) {
    Training training(variational());
    training.random_start();
    StepResult step;
    training.gradient(&step);  // lr 0: weights are unchanged
    training.trainer.use_ema(false);
    std::vector<double> bits(4), minus_log_q(4);
    evaluate(training.trainer.runnable(), training.images.batch(), noise_of(training),
             {.bits_per_dim = bits.data(), .minus_log_q = minus_log_q.data()});
    EXPECT_NEAR(mean_of(bits.data(), 4).value, step.bits_per_dim, 1e-12);
    for (const double nats : minus_log_q) EXPECT_NE(nats, 0);
    EXPECT_GT(step.drift, 0);
    EXPECT_LT(step.drift, 1e-6);
}

TEST(VariationalTraining, MicroBatchesSumToBatch) {
    TrainingOptions options = variational();
    options.batch = 5;
    Training whole(options);
    StepResult expected;
    const std::vector<float> gradient = whole.random_start().gradient(&expected);
    options.micro_batch = 2;
    Training parts(options);
    StepResult found;
    const std::vector<float> summed = parts.random_start().gradient(&found);
    EXPECT_LT(relative_l2(summed, gradient), 1e-6);  // sums in another order
    // OpenBLAS rounds a row of a product by its place among the rows (seen on an AMD EPYC).
    EXPECT_NEAR(found.bits_per_dim, expected.bits_per_dim, 1e-7);
}

TEST(VariationalTraining, MemoryPoliciesAgree) {
    TrainingOptions options = variational();
    options.memory = MemoryMode::store;
    Training store(options);
    const std::vector<float> gradient = store.random_start().gradient();
    for (const MemoryMode memory : {MemoryMode::checkpoint, MemoryMode::reconstruct}) {
        options.memory = memory;
        Training other(options);
        const std::vector<float> found = other.random_start().gradient();
        if (memory == MemoryMode::checkpoint) {
            EXPECT_TRUE(same_bits(found, gradient));
        }
        EXPECT_LT(relative_l2(found, gradient), 1e-5);
    }
}

TEST(VariationalTraining, FusedUpdatesEqualUnfusedBitForBit) {
    const auto after_steps = [](bool fused) {
        TrainingOptions options = variational();
        options.fused_update = fused;
        options.warmup_epochs = 0;
        Training training(options);
        training.random_start();
        const Schedule schedule = make_schedule(options, 40);
        for (int t = 1; t <= 3; ++t)
            training.trainer.step(training.images.batch(), optimizer_at(options, schedule, {t}));
        return training.everything();
    };
    EXPECT_TRUE(same_bits(after_steps(true), after_steps(false)));
}

TEST(VariationalTraining, SingularMixingNamesLayer) {
    Training training(variational());
    training.random_start();
    const Tensor& tensor = training.tensor("dequantizer/step1/invconv/weight");
    std::fill_n(training.params() + tensor.offset, tensor.count, 0.0f);
    training.trainer.weights_changed();
    try {
        training.gradient();
        FAIL() << "a step with a singular W";
    } catch (const StepFailure& failure) {
        EXPECT_NE(std::string(failure.what()).find("dequantizer/step1"), std::string::npos) << failure.what();
    }
}

}  // namespace
}  // namespace glow
