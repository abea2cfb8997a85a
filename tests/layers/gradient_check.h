// Checks gradients against function values in double, along random directions v, by two measures:
//   order: the remainder |f(p + e v) - f(p) - e <gradient, v>| falls as e^2 for a correct gradient and as e
//     otherwise;
//   error: of <gradient, v> relative to the central difference.
// Every check is repeated with wrong gradients, 1.01 times the gradient and -gradient, which must fail both.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/layers/fixture.h"

namespace glow::inline GLOW_REAL {

// Inputs of the function, and its gradient with respect to them.
struct Block {
    std::string name;
    double* value;
    const double* gradient;
    index_t count;
};

struct Slope {
    double error, order;
};

// Values of f along one direction, compared with the gradient.
struct Ray {
    // Steps of the Taylor test: small enough that 1% of the gradient outweighs curvature and few ReLUs
    // switch, large enough that the remainder is far above rounding.
    static constexpr double kStep = 0x1p-14, kSmall = 0x1p-16, kCentral = 1e-5;

    double here, step, small, plus, minus;
    double derivative;  // <gradient, v>
    double typical;     // root mean square of the gradient: typical |<gradient, v>|
    double noise;       // rounding of f

    // For the gradient times `factor`.
    Slope slope(double factor) const {
        const double claimed = factor * derivative;
        const double difference = (plus - minus) / (2 * kCentral);
        const double scale = std::max({std::abs(difference), typical, 1e-12});
        // Do not count differences that rounding explains.
        const double error = std::max(0.0, std::abs(claimed - difference) - noise / kCentral) / scale;
        const double remainder = std::abs(step - here - kStep * claimed);
        const double smaller = std::abs(small - here - kSmall * claimed);
        // For a nearly linear function only rounding remains.
        const double order =
            remainder <= 20 * noise ? 2 : std::log2(remainder / std::max(smaller, noise)) / 2;
        return {error, order};
    }
};

// Evaluates f, a function of the blocks, along a unit direction.
inline Ray shoot(const Block& block, const std::function<double()>& f, double here, Random& random) {
    const std::vector<double> p(block.value, block.value + block.count);
    std::vector<double> v = random.normals(block.count);
    double norm = 0, gradient_norm = 0, derivative = 0;
    for (index_t i = 0; i < block.count; ++i) norm += v[i] * v[i];
    for (index_t i = 0; i < block.count; ++i) {
        v[i] /= std::sqrt(norm);
        derivative += v[i] * block.gradient[i];
        gradient_norm += block.gradient[i] * block.gradient[i];
    }
    const auto at = [&](double e) {
        for (index_t i = 0; i < block.count; ++i) block.value[i] = p[i] + e * v[i];
        return f();
    };
    Ray ray{};
    ray.here = here;
    ray.step = at(Ray::kStep);
    ray.small = at(Ray::kSmall);
    ray.plus = at(Ray::kCentral);
    ray.minus = at(-Ray::kCentral);
    ray.derivative = derivative;
    ray.typical = std::sqrt(gradient_norm / static_cast<double>(block.count));
    // Small enough that f changes only by rounding and its slope.
    constexpr double kClose = 1e-12;
    ray.noise = 1e-15 * std::abs(here);
    for (const double e : {kClose, -kClose, 2 * kClose})
        ray.noise = std::max(ray.noise, 2 * std::abs(at(e) - here - e * derivative));
    std::copy(p.begin(), p.end(), block.value);
    return ray;
}

// Checks the gradients of f() at the blocks' current values. Uses the median of five directions: a ReLU that
// switches within a step occasionally spoils one, a wrong gradient spoils all. many_relus: some units always
// switch, so the order is meaningless and skipped.
inline void check_gradients(const std::vector<Block>& blocks, const std::function<double()>& f,
                            bool many_relus = false) {
    constexpr int kRays = 5;
    Random random(17);
    const double here = f();
    ASSERT_TRUE(std::isfinite(here));
    for (const Block& block : blocks) {
        std::vector<Ray> rays;
        for (int i = 0; i < kRays; ++i) rays.push_back(shoot(block, f, here, random));
        const auto judge = [&](double factor) {
            std::array<double, kRays> error, order;
            for (int i = 0; i < kRays; ++i) {
                const Slope slope = rays[i].slope(factor);
                error[i] = slope.error;
                order[i] = slope.order;
            }
            std::sort(error.begin(), error.end());
            std::sort(order.begin(), order.end());
            return Slope{error[kRays / 2], order[kRays / 2]};
        };
        const Slope right = judge(1), scaled = judge(1.01), flipped = judge(-1);
        EXPECT_GT(rays[0].typical, 0) << block.name << ": the gradient is zero";
        // The central difference itself has an error of about 1e-9.
        EXPECT_LE(right.error, 1e-6) << block.name;
        EXPECT_GT(scaled.error, 1e-4) << block.name << ": the gradient x 1.01 passes";
        EXPECT_GT(flipped.error, 1e-2) << block.name << ": the gradient's negative passes";
        if (many_relus) continue;
        EXPECT_GE(right.order, 1.9) << block.name;
        EXPECT_LT(scaled.order, 1.7) << block.name << ": the gradient x 1.01 passes";
        EXPECT_LT(flipped.order, 1.7) << block.name << ": the gradient's negative passes";
    }
}

// One block per tensor.
inline std::vector<Block> parameter_blocks(const Parameters& parameters, std::vector<real>& gradient) {
    std::vector<Block> blocks;
    for (const Tensor& tensor : parameters.tensors())
        blocks.push_back({tensor.name, parameters.values() + tensor.offset, gradient.data() + tensor.offset,
                          tensor.count});
    return blocks;
}

}  // namespace glow::inline GLOW_REAL
