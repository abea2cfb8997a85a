#include "kernels/step_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

TEST(StepSums, AddUpOverMicroBatches) {
    StepSums sums;
    sums.squares = 11;
    std::vector<double> partial(group_scratch(1));
    const double logdet[] = {1, 2, 3}, prior[] = {10, 20, 30}, bits[] = {0.5, 0.25, 1}, error[] = {0, 1, 1};
    const double drift[] = {1e-9, 3e-9, 2e-9};
    add_step_sums(test::cpu(), 3, {logdet, prior, bits, error, drift}, &sums, partial.data());
    EXPECT_EQ(sums.log_density, 66);
    EXPECT_EQ(sums.bits_y, 1.75);
    EXPECT_EQ(sums.error_y, 2);
    EXPECT_EQ(sums.drift, 3e-9);
    add_step_sums(test::cpu(), 1, {logdet, prior, nullptr, nullptr, drift}, &sums, partial.data());
    EXPECT_EQ(sums.log_density, 77);
    EXPECT_EQ(sums.bits_y, 1.75);
    EXPECT_EQ(sums.drift, 3e-9);
    EXPECT_EQ(sums.squares, 11);
}

// A NaN anywhere in the state counts as infinite drift.
TEST(StepSums, ReportNonFiniteDrift) {
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), HUGE_VAL}) {
        StepSums sums;
        std::vector<double> partial(group_scratch(1));
        const double zeros[3] = {}, drift[] = {1e-9, bad, 2e-9};
        add_step_sums(test::cpu(), 3, {zeros, zeros, nullptr, nullptr, drift}, &sums, partial.data());
        EXPECT_TRUE(std::isinf(sums.drift));
        add_step_sums(test::cpu(), 1, {zeros, zeros, nullptr, nullptr, drift}, &sums, partial.data());
        EXPECT_TRUE(std::isinf(sums.drift));
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
