#include "data/class_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "data/formats/hdf5_file.h"
#include "data/shuffle.h"

namespace glow {
namespace {

using Labels = std::vector<std::int32_t>;

// Labels with sizes[c] images of class c, sorted by class.
Labels sorted_labels(const std::vector<index_t>& sizes) {
    Labels labels;
    for (std::size_t c = 0; c < sizes.size(); ++c)
        labels.insert(labels.end(), static_cast<std::size_t>(sizes[c]), static_cast<std::int32_t>(c));
    return labels;
}

// Number of images drawn per class.
std::vector<index_t> drawn_of(const std::vector<index_t>& sizes, index_t count, std::uint64_t seed,
                              index_t stay = 1) {
    const Labels labels = sorted_labels(sizes);
    const auto taken = draw_holdout(labels, static_cast<std::int32_t>(sizes.size()), count, stay, seed, 1);
    std::vector<index_t> drawn(sizes.size());
    for (std::size_t n = 0; n < labels.size(); ++n)
        drawn[static_cast<std::size_t>(labels[n])] += taken[n] ? 1 : 0;
    return drawn;
}

TEST(ClassSplit, EqualsPlainDrawIfNoClassIsLost) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const Labels labels = sorted_labels({40, 50, 60});
        std::vector<bool> plain(150);
        for (index_t n = 0; n < 30; ++n) plain[static_cast<std::size_t>(shuffled(seed, 1, 150, n))] = true;
        EXPECT_EQ(draw_holdout(labels, 3, 30, 1, seed, 1), plain);
        EXPECT_EQ(draw_holdout(Labels(150), 0, 30, 1, seed, 1), plain);
    }
}

TEST(ClassSplit, KeepsEveryClassInBothParts) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const std::vector<index_t> sizes = {100, 1, 2, 3, 200}, drawn = drawn_of(sizes, 30, seed);
        EXPECT_EQ(std::accumulate(drawn.begin(), drawn.end(), index_t{0}), 30);
        EXPECT_EQ(drawn[1], 0);  // a class's only image stays for training
        for (const std::size_t c : {0u, 2u, 3u, 4u}) {
            EXPECT_GE(drawn[c], 1) << seed << c;
            EXPECT_LT(drawn[c], sizes[c]) << seed << c;
        }
    }
}

TEST(ClassSplit, DrawsEveryClassAndLeavesOneOfEach) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const std::vector<index_t> few = drawn_of({10, 10, 10, 10}, 3, seed);
        EXPECT_EQ(std::accumulate(few.begin(), few.end(), index_t{0}), 3);
        EXPECT_LE(*std::max_element(few.begin(), few.end()), 1);
        EXPECT_EQ(drawn_of({3, 3, 1}, 6, seed), (std::vector<index_t>{2, 2, 0}));
        EXPECT_EQ(drawn_of({3, 4, 2, 1}, 9, seed, 2), (std::vector<index_t>{1, 2, 1, 0}));
        EXPECT_EQ(drawn_of({3, 3, 3}, 0, seed), (std::vector<index_t>{0, 0, 0}));
    }
}

TEST(ClassSplit, SpreadsLimitsEvenly) {
    const auto spread = [](const std::vector<index_t>& sizes, index_t limit) {
        return shape_text(spread_over_classes(sizes, limit));
    };
    EXPECT_EQ(spread({10, 10, 10, 10}, 4), "[1, 1, 1, 1]");
    EXPECT_EQ(spread({10, 10, 10, 10}, 10), "[3, 3, 2, 2]");
    EXPECT_EQ(spread({10, 10, 10, 10}, 3), "[1, 1, 1, 0]");
    EXPECT_EQ(spread({1, 100, 2, 100}, 50), "[1, 24, 2, 23]");
    EXPECT_EQ(spread({5, 0, 2}, 100), "[5, 0, 2]");
    EXPECT_EQ(spread({5, 6}, 0), "[0, 0]");
    EXPECT_EQ(spread({7}, 3), "[3]");
}

}  // namespace
}  // namespace glow
