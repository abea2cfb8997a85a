// Gradients against a function's values, in double. Two measures, both taken along random directions v:
//   order: the remainder |f(p + e v) - f(p) - e <gradient, v>| falls as e^2 where the gradient is right and
//   as e
//     where it is not;
//   error: of <gradient, v> relative to the central difference.
// Every check also runs its sabotaged twins, gradient x 1.01 and - gradient, which have to fail by both.
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

// Numbers that the function depends on, and its gradient with respect to them.
struct Block {
    std::string name;
    double* value;
    const double* gradient;
    index_t count;
};

struct Slope {
    double error, order;
};

// f's values along one direction, and what the gradient says about it.
struct Ray {
    // The steps of the Taylor test: so small that 1% of the gradient outweighs the curvature and that few
    // ReLUs switch within them, so large that the remainder is far above rounding.
    static constexpr double kStep = 0x1p-14, kSmall = 0x1p-16, kCentral = 1e-5;

    double here, step, small, plus, minus;
    double derivative;  // <gradient, v>
    double typical;     // the gradient's root mean square: what |<gradient, v>| is for most v
    double noise;       // rounding of f

    // For `factor` times the gradient.
    Slope slope(double factor) const {
        const double claimed = factor * derivative;
        const double difference = (plus - minus) / (2 * kCentral);
        const double scale = std::max({std::abs(difference), typical, 1e-12});
        // What rounding alone does to the difference is no error.
        const double error = std::max(0.0, std::abs(claimed - difference) - noise / kCentral) / scale;
        const double remainder = std::abs(step - here - kStep * claimed);
        const double smaller = std::abs(small - here - kSmall * claimed);
        // A function that is all but linear leaves nothing but rounding.
        const double order =
            remainder <= 20 * noise ? 2 : std::log2(remainder / std::max(smaller, noise)) / 2;
        return {error, order};
    }
};

// Values of f, of which the block is an argument, along a direction of length 1.
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
    // So close that f cannot have changed by more than rounding and its slope.
    constexpr double kClose = 1e-12;
    ray.noise = 1e-15 * std::abs(here);
    for (const double e : {kClose, -kClose, 2 * kClose})
        ray.noise = std::max(ray.noise, 2 * std::abs(at(e) - here - e * derivative));
    std::copy(p.begin(), p.end(), block.value);
    return ray;
}

// f() at the blocks' present values; their gradients belong to these. The median of five directions counts: a
// ReLU that switches within a step spoils a direction now and then, a wrong gradient spoils them all.
// many_relus: so many units that some always switch: the order means nothing then, and is left out.
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
        // 1e-6: the central difference itself errs by about 1e-9 here.
        EXPECT_LE(right.error, 1e-6) << block.name;
        EXPECT_GT(scaled.error, 1e-4) << block.name << ": the gradient x 1.01 passes";
        EXPECT_GT(flipped.error, 1e-2) << block.name << ": the gradient's negative passes";
        if (many_relus) continue;
        EXPECT_GE(right.order, 1.9) << block.name;
        EXPECT_LT(scaled.order, 1.7) << block.name << ": the gradient x 1.01 passes";
        EXPECT_LT(flipped.order, 1.7) << block.name << ": the gradient's negative passes";
    }
}

// One block a tensor.
inline std::vector<Block> parameter_blocks(const Parameters& parameters, std::vector<real>& gradient) {
    std::vector<Block> blocks;
    for (const Tensor& tensor : parameters.tensors())
        blocks.push_back({tensor.name, parameters.values() + tensor.offset,
                          gradient.data() + tensor.offset, tensor.count});
    return blocks;
}

}  // namespace glow::inline GLOW_REAL
