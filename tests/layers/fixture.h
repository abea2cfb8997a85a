// Shared by the layer tests, float and double: CPU backend, arenas with guards and NaN-filled blocks, random
// numbers and parameters.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "layers/glow.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {

using test::Random;

// Arenas reserve addresses and commit what is touched. One thread unless a test is about threads: with such
// small maps, threads would mostly wait for each other.
struct Machine {
    static constexpr std::size_t kBytes = std::size_t{1} << 30;
    explicit Machine(int threads = 1) : backend(Device::cpu, threads) {}

    Backend backend;
    Arena workspace{Device::cpu, Category::workspace, kBytes, true};
    Arena derived{Device::cpu, Category::derived, kBytes, true};
    Arena stored{Device::cpu, Category::stored, kBytes, true};
    Context context = backend.context(workspace);
};

// Nonzero values for all tensors of a model or layer: logs 0.1 N(0, 1), biases 0.3 N(0, 1), weights that
// preserve the size of activations, W orthogonal plus a perturbation that keeps it well conditioned.
struct Values {
    explicit Values(Parameters& parameters, Solver& solver, std::uint64_t seed, double logs_scale = 0.1)
        : value(parameters.size()), gradient(parameters.size()), fixed(parameters.fixed_size()) {
        parameters.bind(value.data());
        parameters.bind_fixed(fixed.data());
        parameters.initialize(seed, solver);
        Random random(seed + 1);
        for (const Tensor& tensor : parameters.tensors()) {
            const auto ends_with = [&](const std::string& end) {
                return tensor.name.size() >= end.size() &&
                       tensor.name.compare(tensor.name.size() - end.size(), end.size(), end) == 0;
            };
            double scale = 0.7 / std::sqrt(static_cast<double>(tensor.count / tensor.shape[0]));
            if (ends_with("logs")) scale = logs_scale;
            if (ends_with("bias")) scale = 0.3;
            if (ends_with("invconv/weight")) scale *= 0.3;
            if (ends_with("lower") || ends_with("upper") || ends_with("log_diag")) scale = 0.1;
            real* const values = value.data() + tensor.offset;
            for (index_t i = 0; i < tensor.count; ++i) {
                const bool keeps_init = tensor.init == Init::orthogonal || tensor.init == Init::lu;
                const double base = keeps_init ? values[i] : 0.0;
                values[i] = static_cast<real>(base + scale * random.normal());
            }
        }
    }

    std::vector<real> value, gradient, fixed;
};

// log|det| of a matrix [n, n], in nats.
inline double log_abs_det(Solver& solver, index_t n, const std::vector<double>& matrix) {
    std::vector<double> inverse(matrix.size());
    double result = 0, condition = 0;
    solver.invert(1, n, matrix.data(), inverse.data(), &result, &condition);
    EXPECT_TRUE(std::isfinite(condition)) << "singular";
    return result;
}

inline double sum(const std::vector<double>& values) {
    double total = 0;
    for (const double value : values) total += value;
    return total;
}

template <class T>
double largest_difference(const std::vector<T>& x, const std::vector<T>& y) {
    double largest = x.size() == y.size() ? 0 : HUGE_VAL;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
        const double difference = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
        if (!(difference <= largest)) largest = difference;  // also catches NaN
    }
    return largest;
}

}  // namespace glow::inline GLOW_REAL
