// Likelihoods of more images than the buffers hold.
#include "inference/evaluate.h"

#include "tests/train/training.h"

namespace glow {
namespace {

TEST(Evaluate, ProcessesLargeBatchesInParts) {
    TrainingOptions options = small_options();
    options.batch = 3;  // buffer size
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    const Images images(8, options.model, 4);
    const Noise noise{Dequantization::uniform, 1, Purpose::evaluate, nullptr};
    const auto bits_of = [&](index_t first, index_t count) {
        std::vector<double> bits(static_cast<std::size_t>(count));
        evaluate(trainer.runnable(), images.batch().slice(first, count, options.model.dimensions()), noise,
                 {.bits_per_dim = bits.data()});
        return bits;
    };
    const std::vector<double> all = bits_of(0, 8);
    // Alone or in a batch: float networks with differently sized products.
    for (index_t n = 0; n < 8; ++n) EXPECT_NEAR(bits_of(n, 1)[0], all[n], 1e-6) << n;
    for (index_t n = 1; n < 8; ++n) EXPECT_NE(all[n], all[0]);
}

}  // namespace
}  // namespace glow
