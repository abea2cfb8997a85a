// Latent edits against reference results, and directions for known classes.
#include "inference/latent_images.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "tests/expect_throw.h"
#include "tests/support.h"

namespace glow {
namespace {

double length(const Latent& x) {
    return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

TEST(LatentEdits, InterpolationReachesEndpoints) {
    test::Random random(1);
    const Latent a = random.normals(50), b = random.normals(50, 2);
    for (const auto between : {between_linear, between_spherical})
        for (std::size_t i = 0; i < a.size(); ++i) {
            EXPECT_NEAR(between(a, b, 0)[i], a[i], 1e-12);
            EXPECT_NEAR(between(a, b, 1)[i], b[i], 1e-12);
        }
    EXPECT_NEAR(between_linear(a, b, 0.25)[3], 0.75 * a[3] + 0.25 * b[3], 1e-15);
}

TEST(LatentEdits, SphericalPathHasConstantLengthAndSpeed) {
    test::Random random(2);
    const Latent a = random.normals(300), b = random.normals(300);
    const auto angle = [&](const Latent& x, const Latent& y) {
        return std::acos(std::inner_product(x.begin(), x.end(), y.begin(), 0.0) / length(x) / length(y));
    };
    for (const double t : {0.1, 0.5, 0.8}) {
        const Latent x = between_spherical(a, b, t);
        EXPECT_NEAR(length(x), (1 - t) * length(a) + t * length(b), 1e-9);
        EXPECT_NEAR(angle(a, x), t * angle(a, b), 1e-9);
    }
    // Two independent vectors: the middle of the chord is shorter by about sqrt(1/2).
    EXPECT_LT(length(between_linear(a, b, 0.5)), 0.85 * length(a));
    // Parallel and opposite vectors span no circle: use the chord.
    Latent twice = a, opposite = a;
    for (double& value : twice) value *= 2;
    for (double& value : opposite) value = -value;
    EXPECT_NEAR(between_spherical(a, twice, 0.5)[7], 1.5 * a[7], 1e-12);
    EXPECT_NEAR(length(between_spherical(a, opposite, 0.5)), 0, 1e-12);
}

TEST(LatentEdits, ScalesAndSwapsSingleLevels) {
    ModelConfig model;
    model.image_height = model.image_width = 16;
    model.levels = 3;
    const auto D = static_cast<std::size_t>(model.dimensions());
    test::Random random(3);
    const Latent a = random.normals(model.dimensions()), b = random.normals(model.dimensions());
    Latent scaled = a, taken = a;
    scale_levels(model, {2, 3, 0}, scaled);
    take_level(model, 1, b, taken);
    std::vector<int> level_of(D, -1);
    for (const LatentLevel& level : latent_levels(model))
        for (index_t i = 0; i < level.shape.size(); ++i)
            level_of[level.offset + i] = static_cast<int>(level.level);
    // Level 0 holds half of the values, level 1 a quarter, the top a quarter.
    EXPECT_EQ(std::count(level_of.begin(), level_of.end(), 0), model.dimensions() / 2);
    EXPECT_EQ(std::count(level_of.begin(), level_of.end(), 2), model.dimensions() / 4);
    constexpr double kFactor[] = {2, 3, 0};
    for (std::size_t i = 0; i < D; ++i) {
        EXPECT_EQ(scaled[i], kFactor[level_of[i]] * a[i]);
        EXPECT_EQ(taken[i], level_of[i] == 1 ? b[i] : a[i]);
    }
}

// Two classes of normal numbers with known covariance and unequal sizes.
struct Classes {
    static constexpr index_t D = 20, N = 4000;
    Classes() {
        test::Random random(4);
        for (index_t n = 0; n < N; ++n) {
            has.push_back(n % 4 == 0);
            const double common = 3 * random.normal();  // shared by coordinates 0 and 1
            for (index_t i = 0; i < D; ++i) {
                double value = random.normal() + 0.3;
                if (i <= 1) value += common;
                if (i == 0 && has.back()) value += 1;
                latents.push_back(static_cast<float>(value));
            }
        }
    }
    std::vector<float> latents;
    std::vector<std::uint8_t> has;
};

TEST(Direction, IsDifferenceOfClassMeans) {
    const Classes classes;
    Direction direction(Classes::D);
    for (index_t n = 0; n < Classes::N; ++n)
        direction.add({&classes.latents[n * Classes::D], &classes.latents[n * Classes::D] + Classes::D},
                      classes.has[n] != 0);
    EXPECT_EQ(direction.with(), 1000);
    const Latent found = direction.mean_difference();
    EXPECT_NEAR(found[0], 1, 5 * 3.2 / std::sqrt(750.0));  // 5 deviations
    for (index_t i = 2; i < Classes::D; ++i) EXPECT_NEAR(found[i], 0, 5 / std::sqrt(750.0));
    Direction empty(Classes::D);
    empty.add(found, true);
    EXPECT_THROW(empty.mean_difference(), InputError);
}

TEST(Direction, EqualGroupsHaveNone) {
    const Latent x = {0.1, 0.2};
    Direction direction(2);
    for (const bool has : {true, false, false, false}) direction.add(x, has);
    EXPECT_THROW(direction.mean_difference(), InputError);
    EXPECT_THROW(linear_direction({0.1f, 0.2f, 0.1f, 0.2f}, 2, {0, 1}, 1), InputError);
}

TEST(Direction, RefusesLatentsThatAreNotFinite) {
    for (const double bad : {HUGE_VAL, std::nan("")}) {
        Direction direction(2);
        direction.add({0, bad}, true);
        direction.add({0, bad}, false);
        expect_throw<InputError>([&] { direction.mean_difference(); }, {"not finite"});
    }
}

TEST(Direction, ClassifierRemovesCommonOffset) {
    const Classes classes;
    const Latent w = linear_direction(classes.latents, Classes::D, classes.has, 1e-6);
    // Optimal weights for covariance [[10, 9], [9, 10]] and difference (1, 0): (10, -9) / 19.
    EXPECT_NEAR(w[1] / w[0], -0.9, 0.05);
    for (index_t i = 2; i < Classes::D; ++i) EXPECT_LT(std::fabs(w[i]), 0.35 * w[0]);  // 5 deviations
    // A step of 1 moves the classifier by the distance of the means: w.w = w.difference.
    Direction means(Classes::D);
    for (index_t n = 0; n < Classes::N; ++n)
        means.add({&classes.latents[n * Classes::D], &classes.latents[n * Classes::D] + Classes::D},
                  classes.has[n] != 0);
    const Latent apart = means.mean_difference();
    EXPECT_NEAR(std::inner_product(w.begin(), w.end(), apart.begin(), 0.0),
                std::inner_product(w.begin(), w.end(), w.begin(), 0.0), 1e-9);
    // Strong regularization gives the direction of the mean difference.
    const Latent ridged = linear_direction(classes.latents, Classes::D, classes.has, 1e6);
    EXPECT_NEAR(
        std::inner_product(ridged.begin(), ridged.end(), apart.begin(), 0.0) / length(ridged) / length(apart),
        1, 1e-4);
}

// Checks the normal equations at the solution.
TEST(Direction, ClassifierMinimizesLoss) {
    const Classes classes;
    const double ridge = 0.5;
    const Latent w = linear_direction(classes.latents, Classes::D, classes.has, ridge);
    const auto loss = [&](const Latent& weights) {
        // b lies halfway between the classes, with equal class weights.
        double scores[2] = {0, 0}, counts[2] = {0, 0};
        std::vector<double> score(static_cast<std::size_t>(Classes::N));
        for (index_t n = 0; n < Classes::N; ++n) {
            for (index_t i = 0; i < Classes::D; ++i)
                score[n] += weights[i] * classes.latents[n * Classes::D + i];
            scores[classes.has[n]] += score[n];
            counts[classes.has[n]] += 1;
        }
        const double b = -0.5 * (scores[0] / counts[0] + scores[1] / counts[1]);
        double sum = 0;
        for (index_t n = 0; n < Classes::N; ++n)
            sum += 0.5 / counts[classes.has[n]] * std::pow(score[n] + b - (classes.has[n] ? 1 : -1), 2);
        return sum + ridge * std::inner_product(weights.begin(), weights.end(), weights.begin(), 0.0);
    };
    // The length was rescaled: find the optimal length by a parabola through three points.
    const auto scaled = [&](double s) {
        Latent x = w;
        for (double& value : x) value *= s;
        return x;
    };
    const double l0 = loss(scaled(0)), l1 = loss(scaled(1)), l2 = loss(scaled(2));
    const double best = (4 * l1 - 3 * l0 - l2) / (2 * (2 * l1 - l0 - l2));
    const double least = loss(scaled(best));
    test::Random random(5);
    for (int i = 0; i < 20; ++i) {
        Latent moved = scaled(best);
        for (double& value : moved) value += 0.01 * random.normal();
        EXPECT_GT(loss(moved), least);
    }
}

}  // namespace
}  // namespace glow
