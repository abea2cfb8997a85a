// The bound of variational dequantization against the known entropy of the data.
#include "data/synthetic_gauss.h"
#include "inference/evaluate.h"
#include "inference/statistics.h"
#include "tests/train/training.h"
#include "train/schedule.h"

namespace glow {
namespace {

// Gaussian images of known entropy. The bound must not be below it, and more importance samples must bring it
// nearer.
TEST(VariationalTraining, BoundStaysAboveTheEntropy) {
    constexpr index_t kSize = 4, kTrain = 4000, kTest = 2000;
    TrainingOptions options = small_options(kSize, kSize, 1, 1, 4, 24);
    options.dequant = Dequantization::variational;
    options.model.dequant_depth = 2;
    options.model.dequant_width = 16;
    options.batch = 100;
    options.init_batch = 200;
    options.lr = 2e-3;
    options.warmup_epochs = 0;
    Training training(options, 1);  // such small maps would only wait for each other
    Trainer& trainer = training.trainer;
    const auto images_from = [&](index_t first, index_t count) {
        Images images(0, options.model);
        images.N = count;
        images.pixels.resize(count * kSize * kSize);
        make_gauss_images(1, first, count, kSize, kSize, 1, 2, images.pixels.data());
        for (index_t n = 0; n < count; ++n) images.numbers.push_back(static_cast<std::uint64_t>(first + n));
        return images;
    };
    const Images train = images_from(0, kTrain), test = images_from(kGaussSplitStride, kTest);
    trainer.initialize(images_from(0, options.init_batch).batch());
    const Schedule schedule = make_schedule(options, kTrain);
    for (int t = 1; t <= 300; ++t)
        trainer.step(train.batch().slice((t - 1) % 40 * 100, 100, kSize * kSize),
                     optimizer_at(options, schedule, {t}));
    trainer.use_ema(false);
    const auto bits_of_draws = [&](int draws) {
        std::vector<double> best(kTest, 0), bits(kTest);
        std::vector<std::uint64_t> numbers = test.numbers;
        for (int draw = 0; draw < draws; ++draw) {
            for (index_t n = 0; n < kTest; ++n)
                numbers[n] = static_cast<std::uint64_t>(n + (index_t{draw} << 40));
            evaluate(trainer.runnable(), {kTest, test.pixels.data(), numbers.data()},
                     {Dequantization::variational, training.options.seed, Purpose::evaluate, nullptr},
                     {.bits_per_dim = bits.data()});
            for (index_t n = 0; n < kTest; ++n) best[n] += std::exp2(-bits[n] * kSize * kSize) / draws;
        }
        for (double& p : best) p = -std::log2(p) / (kSize * kSize);
        return mean_of(best.data(), kTest);
    };
    const double entropy = gauss_entropy_bpd(kSize, kSize, 1);
    const Mean one = bits_of_draws(1), many = bits_of_draws(8);
    EXPECT_LT(one.value, entropy + 0.25) << "the model has not learned";
    EXPECT_GT(many.value, entropy - 4 * many.standard_error);
    EXPECT_LT(many.value, one.value);
}

}  // namespace
}  // namespace glow
