// The stream of training images.
#include "train/training_images.h"

#include <numeric>
#include <set>

#include "tests/train/training.h"

namespace glow {
namespace {

// Image n consists of the bytes n, n, n, ...; row 0 is brighter by 100, column 0 by 50.
ImageSet numbered(index_t N, bool plain) {
    ImageSet set{N, 4, 4, 1, {}, {}, 0};
    for (index_t n = 0; n < N; ++n)
        for (index_t i = 0; i < 16; ++i)
            set.images.push_back(
                static_cast<std::uint8_t>(plain ? n : n + (i < 4 ? 100 : 0) + (i % 4 == 0 ? 50 : 0)));
    return set;
}

TEST(TrainingImages, WithoutShufflingComeInTheFilesOrder) {
    TrainingImages images(numbered(5, true), {}, false, 1);
    const Batch batch = images.take(3, 9);  // crosses two passes
    for (index_t i = 0; i < 9; ++i) {
        EXPECT_EQ(batch.pixels[i * 16], (3 + i) % 5);
        EXPECT_EQ(batch.numbers[i], static_cast<std::uint64_t>(3 + i));
    }
}

TEST(TrainingImages, ShufflingIsAPermutationInEveryPass) {
    TrainingImages images(numbered(50, true), {}, true, 1);
    std::vector<std::vector<int>> passes;
    for (index_t pass = 0; pass < 3; ++pass) {
        const Batch batch = images.take(pass * 50, 50);
        std::vector<int> order;
        for (index_t i = 0; i < 50; ++i) order.push_back(batch.pixels[i * 16]);
        EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), 50u);
        passes.push_back(order);
    }
    EXPECT_NE(passes[0], passes[1]);
    EXPECT_NE(passes[1], passes[2]);
}

TEST(TrainingImages, DoNotDependOnTheBatchSize) {
    for (const bool shuffle : {true, false}) {
        TrainingImages one(numbered(7, false), {true, true}, shuffle, 9),
            many(numbered(7, false), {true, true}, shuffle, 9);
        const Batch whole = many.take(0, 30);
        for (index_t s = 0; s < 30;) {
            const index_t count = std::min<index_t>(1 + s % 4, 30 - s);
            const Batch part = one.take(s, count);
            EXPECT_TRUE(std::equal(part.pixels, part.pixels + count * 16, whole.pixels + s * 16)) << s;
            EXPECT_TRUE(std::equal(part.numbers, part.numbers + count, whole.numbers + s)) << s;
            s += count;
        }
    }
}

TEST(TrainingImages, AnotherSeedIsAnotherOrder) {
    TrainingImages a(numbered(50, true), {}, true, 1), b(numbered(50, true), {}, true, 2);
    const Batch x = a.take(0, 50), y = b.take(0, 50);
    EXPECT_FALSE(std::equal(x.pixels, x.pixels + 50 * 16, y.pixels));
}

}  // namespace
}  // namespace glow
