#include "data/shuffle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "kernels/error.h"

namespace glow {
namespace {

std::vector<index_t> permutation(std::uint64_t seed, std::uint64_t pass, index_t N) {
    std::vector<index_t> result;
    for (index_t n = 0; n < N; ++n) result.push_back(shuffled(seed, pass, N, n));
    return result;
}

bool is_permutation_of_all(const std::vector<index_t>& values) {
    std::vector<bool> seen(values.size());
    for (const index_t value : values) {
        if (value < 0 || value >= static_cast<index_t>(values.size()) ||
            seen[static_cast<std::size_t>(value)])
            return false;
        seen[static_cast<std::size_t>(value)] = true;
    }
    return true;
}

TEST(Shuffle, IsAPermutationForEverySize) {
    for (index_t N = 1; N <= 300; ++N) EXPECT_TRUE(is_permutation_of_all(permutation(7, 3, N))) << N;
    for (const index_t N : {4095, 4096, 4097, 50000, 65537})
        EXPECT_TRUE(is_permutation_of_all(permutation(7, 3, N))) << N;
}

TEST(Shuffle, StaysInRangeForHugeSizes) {
    for (const index_t N : {(index_t{1} << 40) + 1, index_t{1} << 62, (index_t{1} << 62) - 1}) {
        for (const index_t position : {index_t{0}, index_t{1}, N / 2, N - 1}) {
            const index_t element = shuffled(1, 2, N, position);
            EXPECT_GE(element, 0);
            EXPECT_LT(element, N);
        }
    }
}

TEST(Shuffle, SeedsAndPassesGiveDifferentOrders) {
    const index_t N = 1000;
    const auto base = permutation(1, 0, N);
    for (const auto& other :
         {permutation(1, 1, N), permutation(2, 0, N), permutation(1, std::uint64_t{1} << 32, N)}) {
        index_t equal = 0;
        for (std::size_t n = 0; n < base.size(); ++n) equal += base[n] == other[n];
        EXPECT_LT(equal, 10);  // one expected; ten or more have probability 1e-7
    }
    EXPECT_EQ(base, permutation(1, 0, N));
}

// Resumed runs depend on these values: they are part of the format.
TEST(Shuffle, MatchesKnownValues) {
    EXPECT_EQ(permutation(0, 0, 10), (std::vector<index_t>{3, 4, 7, 1, 9, 0, 5, 2, 6, 8}));
    EXPECT_EQ(shuffled(123, 4, 50000, 49999), 46093);
    EXPECT_EQ(shuffled(std::uint64_t{1} << 63, 1, index_t{1} << 61, 12345), 2021631178567933217);
}

TEST(Shuffle, EveryElementIsEquallyLikelyAtEveryPosition) {
    constexpr index_t N = 10;
    constexpr int passes = 20000;
    double counts[N][N] = {};
    for (int pass = 0; pass < passes; ++pass) {
        for (index_t n = 0; n < N; ++n) counts[n][shuffled(5, static_cast<std::uint64_t>(pass), N, n)] += 1;
    }
    double chi_squared = 0;
    for (const auto& row : counts) {
        for (const double count : row)
            chi_squared += (count - passes / 10.0) * (count - passes / 10.0) / (passes / 10.0);
    }
    // 81 degrees of freedom: mean 81, standard deviation 12.7; five deviations are one in a million.
    EXPECT_LT(chi_squared, 81 + 5 * 12.7);
}

TEST(Shuffle, AllOrdersOfThreeAreEquallyLikely) {
    constexpr int passes = 12000;
    std::map<std::vector<index_t>, int> counts;
    for (int pass = 0; pass < passes; ++pass) ++counts[permutation(9, static_cast<std::uint64_t>(pass), 3)];
    EXPECT_EQ(counts.size(), 6u);
    for (const auto& [order, count] : counts)
        EXPECT_NEAR(count, passes / 6, 5 * std::sqrt(passes * 5.0 / 36));
}

TEST(Shuffle, NeighborsAreUncorrelated) {
    constexpr index_t N = 50000;
    const auto order = permutation(3, 1, N);
    double product = 0;
    const double mean = (N - 1) / 2.0, variance = (static_cast<double>(N) * N - 1) / 12;
    for (std::size_t n = 1; n < order.size(); ++n)
        product += (static_cast<double>(order[n - 1]) - mean) * (static_cast<double>(order[n]) - mean);
    EXPECT_LT(std::abs(product / (N * variance)), 5 / std::sqrt(N));  // five standard deviations
}

TEST(Shuffle, EveryPassVisitsAllImages) {
    constexpr index_t N = 37;
    for (index_t pass = 0; pass < 3; ++pass) {
        std::vector<index_t> images;
        for (index_t n = 0; n < N; ++n) images.push_back(image_of_run(11, N, pass * N + n));
        EXPECT_TRUE(is_permutation_of_all(images));
        EXPECT_EQ(images, permutation(11, static_cast<std::uint64_t>(pass), N));
    }
}

TEST(Shuffle, RejectsOutOfRange) {
    EXPECT_THROW(shuffled(0, 0, 0, 0), Error);
    EXPECT_THROW(shuffled(0, 0, -5, 0), Error);
    EXPECT_THROW(shuffled(0, 0, 5, 5), Error);
    EXPECT_THROW(shuffled(0, 0, 5, -1), Error);
}

}  // namespace
}  // namespace glow
