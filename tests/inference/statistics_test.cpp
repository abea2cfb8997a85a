#include "inference/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace glow {
namespace {

TEST(Statistics, ReportsStandardError) {
    const double values[] = {1, 2, 4, 9};
    const Mean mean = mean_of(values, 4);
    EXPECT_EQ(mean.value, 4);
    // Variance (9 + 4 + 0 + 25) / 3 about the mean, over 4.
    EXPECT_NEAR(mean.standard_error, std::sqrt(38.0 / 3 / 4), 1e-15);
    EXPECT_EQ(mean.error(), mean.standard_error);
    EXPECT_EQ(mean_of(values, 1).error(), std::nullopt);
}

}  // namespace
}  // namespace glow
