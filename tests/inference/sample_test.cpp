// Samples of more images than the buffers hold, their noise, and reports of invalid ones.
#include "inference/sample.h"

#include "inference/image_arrays.h"
#include "inference/sample_health.h"
#include "tests/train/training.h"

namespace glow {
namespace {

TEST(Sample, DependsOnlyOnNumber) {
    TrainingOptions options = small_options();
    options.batch = 3;
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    const index_t D = options.model.dimensions();
    const auto pixels_of = [&](index_t first, index_t count) {
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * D));
        std::vector<index_t> reported;
        sample(trainer.runnable(),
               {count, 0.7, 1, nullptr, first, [&](index_t done) { reported.push_back(done); }},
               pixels.data());
        EXPECT_EQ(reported, count == 8 ? (std::vector<index_t>{3, 6, 8}) : (std::vector<index_t>{1}));
        return pixels;
    };
    const std::vector<std::uint8_t> all = pixels_of(0, 8);
    for (index_t n = 0; n < 8; ++n) {
        const std::vector<std::uint8_t> one = pixels_of(n, 1);
        index_t other = 0;
        for (index_t i = 0; i < D; ++i) other += one[i] != all[n * D + i];
        EXPECT_LE(other, D / 50) << n;  // now and then a pixel lies on the edge of its bin
        if (n == 0) continue;
        index_t alike = 0;
        for (index_t i = 0; i < D; ++i) alike += all[i] == all[n * D + i];
        EXPECT_LT(alike, D / 2) << n;
    }
}

TEST(Sample, LatentsHaveDistinctNoise) {
    TrainingOptions options = small_options();
    options.batch = 2;
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    const index_t D = options.model.dimensions();
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(2 * D));
    // sample() leaves the images in the buffer before quantization, so encoding recovers the noise.
    sample(trainer.runnable(), {2, 1.0, 1}, pixels.data());
    Flow flow = trainer.buffers().flow(2);
    trainer.glow().encode(trainer.context(), flow);
    std::vector<double> eps(flow.h, flow.h + 2 * D);
    std::sort(eps.begin(), eps.end());
    for (std::size_t i = 1; i < eps.size(); ++i) ASSERT_GT(eps[i] - eps[i - 1], 1e-9) << i;
    EXPECT_LT(eps.front(), -2);
    EXPECT_GT(eps.back(), 2);
}

TEST(Sample, LogDensityIsThatOfTheImagesBeforeRounding) {
    TrainingOptions options = small_options();
    options.batch = 3;
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    const index_t N = 5, D = options.model.dimensions();
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(N * D)), plain = pixels, one = pixels;
    std::vector<double> found(static_cast<std::size_t>(N)), expected(static_cast<std::size_t>(N));
    sample(trainer.runnable(), {N, 1.0, 1}, plain.data());
    sample(trainer.runnable(), {N, 1.0, 1}, pixels.data(), nullptr, found.data());
    EXPECT_EQ(pixels, plain);
    for (index_t n = 0; n < N; ++n) {
        // Alone in the buffer, in pixel units.
        sample(trainer.runnable(), {1, 1.0, 1, nullptr, n}, one.data());
        std::vector<double> x(trainer.buffers().h, trainer.buffers().h + D);
        for (double& value : x) value = 256 * (value + 0.5);
        log_densities(trainer.runnable(), {1, x.data()}, 0, 0, &expected[n]);
        EXPECT_NEAR(found[n], expected[n], 1e-3) << n;  // rounding in float networks of another batch
    }
    EXPECT_NE(found[0], found[1]);
}

// The last coupling on the way to an image divides by scales of about sigmoid(logit).
void break_scales(Training& training, float logit) {
    const Tensor& tensor = training.tensor("level0/step0/coupling/conv3/bias");
    for (index_t i = 1; i < tensor.count; i += 2) training.params()[tensor.offset + i] = logit;
    training.trainer.weights_changed();
    training.trainer.use_ema(false);
}

TEST(Sample, ReportsNonFiniteSamples) {
    TrainingOptions options = small_options();
    options.batch = 3;
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    trainer.use_ema(false);
    const index_t N = 5, D = options.model.dimensions();
    const auto largest_of = [&](std::vector<std::uint8_t>* pixels = nullptr) {
        std::vector<std::uint8_t> made(static_cast<std::size_t>(N * D));
        std::vector<double> largest(static_cast<std::size_t>(N), -1);
        sample(trainer.runnable(), {N, 1.0, 1}, made.data(), largest.data());
        if (pixels != nullptr) *pixels = made;
        return largest;
    };
    SampleHealth found;
    const std::vector<double> good = largest_of();
    found.add(N, good.data());
    EXPECT_FALSE(found.any());
    EXPECT_EQ(found.text(), "");
    // The last images are still in the buffer.
    for (index_t n = 3; n < N; ++n) {
        double largest = 0;
        for (index_t i = 0; i < D; ++i)
            largest = std::max(largest, std::abs(trainer.buffers().h[(n - 3) * D + i]));
        EXPECT_EQ(good[n], largest) << n;
    }

    break_scales(training, -20);
    const std::vector<double> far = largest_of();
    found = {};
    found.add(N, far.data());
    EXPECT_EQ(found.out_of_range, N);
    EXPECT_EQ(found.not_finite, 0);
    EXPECT_EQ(found.text(), "5 of 5 far out of range");

    break_scales(training, -1e30f);
    std::vector<std::uint8_t> pixels;
    const std::vector<double> broken = largest_of(&pixels);
    found.add(N, broken.data());
    EXPECT_EQ(found.not_finite, N);
    EXPECT_EQ(found.of, 2 * N);
    EXPECT_EQ(found.text(), "5 of 10 not finite (crossed out), 5 of 10 far out of range");
    const std::vector<double> mixed = {broken[0], good[1], far[2], good[3], broken[4]};
    std::vector<std::uint8_t> crossed = pixels;
    cross_out_not_finite(options.model, N, mixed.data(), crossed.data());
    for (index_t n = 0; n < N; ++n) {
        const bool same = std::equal(&pixels[n * D], &pixels[n * D] + D, &crossed[n * D]);
        EXPECT_EQ(same, n != 0 && n != 4) << n;
    }
}

}  // namespace
}  // namespace glow
