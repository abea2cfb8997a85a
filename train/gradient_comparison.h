// Difference between two gradients: cosine and relative L2 distance.
#pragma once

#include <cmath>
#include <vector>

namespace glow {

// Sums over the elements of a gradient g and the exact gradient e.
struct GradientComparison {
    double product = 0, squares = 0, exact_squares = 0, difference_squares = 0;

    void add(const std::vector<float>& g, const std::vector<float>& e) {
        for (std::size_t i = 0; i < g.size(); ++i) {
            const double x = g[i], y = e[i];
            product += x * y;
            squares += x * x;
            exact_squares += y * y;
            difference_squares += (x - y) * (x - y);
        }
    }
    void add(const GradientComparison& other) {
        product += other.product;
        squares += other.squares;
        exact_squares += other.exact_squares;
        difference_squares += other.difference_squares;
    }
    // Two zero vectors count as parallel.
    double cosine() const {
        return squares == 0 && exact_squares == 0 ? 1 : product / std::sqrt(squares * exact_squares);
    }
    double relative_l2() const {
        return difference_squares == 0 ? 0 : std::sqrt(difference_squares / exact_squares);
    }
};

}  // namespace glow
