// The inverse with trained weights at L = 3 and K = 32. In training, networks start to act and W moves away
// from orthogonal; both amplify errors of the state.
#include "data/cifar10.h"
#include "data/synthetic_shapes.h"
#include "tests/layers/round_trip.h"
#include "tests/train/training.h"
#include "train/schedule.h"

namespace glow {
namespace {

TrainingOptions deep_options(index_t hidden, index_t batch) {
    TrainingOptions options = small_options(32, 32, 3, 3, 32, hidden);
    options.batch = batch;
    options.init_batch = 2 * batch;
    options.warmup_epochs = 0;
    return options;
}

// Trains on consecutive batches from `pixels` [n, D], then encodes `images` of them, with noise, and decodes.
void expect_inverse_after(index_t steps, const TrainingOptions& options,
                          const std::vector<std::uint8_t>& pixels, index_t images) {
    const index_t D = options.model.dimensions(), n = static_cast<index_t>(pixels.size()) / D;
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) numbers[i] = static_cast<std::uint64_t>(i);
    const auto part = [&](index_t first, index_t count) {
        return Batch{count, pixels.data() + first * D, numbers.data() + first};
    };
    Training training(options);
    Trainer& trainer = training.trainer;
    trainer.initialize(part(0, options.init_batch));
    const Schedule schedule = make_schedule(options, n);
    double first = 0, last = 0;
    for (index_t t = 1; t <= steps; ++t) {
        const StepResult result =
            trainer.step(part((t - 1) * options.batch % (n - options.batch + 1), options.batch),
                         optimizer_at(options, schedule, {t}));
        (t == 1 ? first : last) = result.bits_per_dim;
    }
    std::printf("%lld steps: %.3f -> %.3f bits/dim\n", static_cast<long long>(steps), first, last);
    EXPECT_LT(last, first - 0.5) << "not trained";

    RoundTrip model(options.model, images);
    ASSERT_EQ(model.glow.parameters().size(), trainer.glow().parameters().size());
    std::copy_n(training.params(), model.values.value.size(), model.values.value.begin());
    model.prepare();
    const Noise noise{Dequantization::uniform, options.seed, Purpose::dequantize, numbers.data()};
    dequantize(model.machine.context.exec, {images, D, options.model.n_bits, pixels.data()}, noise,
               model.x.data());
    expect_inverse<float>(model, 1e-12, 1e-5, 1e-12);
}

TEST(TrainedInverse, ReconstructsInput) {
    const TrainingOptions options = deep_options(16, 8);
    const index_t n = 64, D = options.model.dimensions();
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(n * D));
    for (index_t i = 0; i < n; ++i)
        make_shape(3, static_cast<std::uint64_t>(i), 32, 3, pixels.data() + i * D);
    expect_inverse_after(60, options, pixels, 16);
}

// Run by hand (`ctest -L slow`): takes minutes.
TEST(SlowTrainedInverse, ReconstructsCifar10) {
    const std::filesystem::path data = test_data_folder() / "cifar10";
    if (!std::filesystem::exists(data))
        GTEST_SKIP() << "no real images at " << data << " (set GLOW_TEST_DATA)";
    Cifar10Source source(find_cifar10(data));
    const TrainingOptions options = deep_options(64, 16);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(4000 * options.model.dimensions()));
    std::vector<std::int32_t> labels(4000);
    std::vector<std::uint8_t> usable(4000, 1);
    source.read(SourceSplit::train, 0, 4000, pixels.data(), labels.data(), usable.data());
    expect_inverse_after(1000, options, pixels, 64);
}

}  // namespace
}  // namespace glow
