#include "kernels/flat_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

TEST(SumOfSquares, IsSquaredNorm) {
    test::Random random(2);
    for (const index_t count : {1, 255, 256, 257, 100003}) {
        const std::vector<real> x = random.normals<real>(count);
        long double exact = 0;
        for (const real value : x) exact += static_cast<long double>(value) * value;
        double result = -1;
        std::vector<double> partial(square_scratch());
        sum_of_squares(test::cpu(), count, x.data(), &result, partial.data());
        // Partial sums of positive numbers in double.
        EXPECT_NEAR(result / static_cast<double>(exact), 1, 1e-12);
    }
}

TEST(SumOfSquares, PropagatesInfinityAndNaN) {
    std::vector<real> x(1000, real{1});
    std::vector<double> partial(square_scratch());
    double result = 0;
    x[999] = std::numeric_limits<real>::infinity();
    sum_of_squares(test::cpu(), 1000, x.data(), &result, partial.data());
    EXPECT_TRUE(std::isinf(result));
    x[3] = std::numeric_limits<real>::quiet_NaN();
    sum_of_squares(test::cpu(), 1000, x.data(), &result, partial.data());
    EXPECT_TRUE(std::isnan(result));
    // Squares beyond float's range must not overflow.
    x.assign(1000, real{1e30f});
    sum_of_squares(test::cpu(), 1000, x.data(), &result, partial.data());
    EXPECT_NEAR(result, 1e63, 1e57);
}

TEST(Checksum, DependsOnEveryBit) {
    std::vector<double> partial(static_cast<std::size_t>(square_scratch()));
    for (const index_t count : {1, 256, 1000}) {
        std::vector<real> x = test::Random(4).normals<real>(count);
        const auto sum = [&](int threads) {
            double result = -1;
            checksum(test::cpu(threads), count, x.data(), &result, partial.data());
            return result;
        };
        const double before = sum(1);
        EXPECT_EQ(sum(3), before);
        for (const index_t i : {index_t{0}, count / 2, count - 1})
            for (std::size_t bit = 0; bit < 8 * sizeof(real); ++bit) {
                auto* const byte = reinterpret_cast<unsigned char*>(x.data() + i) + bit / 8;
                *byte = static_cast<unsigned char>(*byte ^ (1u << bit % 8));
                EXPECT_NE(sum(1), before) << count << " " << i << " " << bit;
                *byte = static_cast<unsigned char>(*byte ^ (1u << bit % 8));
            }
        EXPECT_EQ(sum(1), before);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
