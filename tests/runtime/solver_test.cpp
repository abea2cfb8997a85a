#include "runtime/solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "runtime/memory_limit.h"
#include "tests/little_memory.h"

namespace glow {
namespace {

std::vector<double> normals(index_t n, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    std::vector<double> values(n * n);
    for (double& value : values) value = normal(engine);
    return values;
}

// Reference: determinant by elimination with pivoting, in long double.
long double determinant(index_t n, const std::vector<double>& matrix) {
    std::vector<long double> m(matrix.begin(), matrix.end());
    long double product = 1;
    for (index_t k = 0; k < n; ++k) {
        index_t pivot = k;
        for (index_t r = k; r < n; ++r)
            if (std::abs(m[r * n + k]) > std::abs(m[pivot * n + k])) pivot = r;
        if (pivot != k) {
            for (index_t c = 0; c < n; ++c) std::swap(m[k * n + c], m[pivot * n + c]);
            product = -product;
        }
        product *= m[k * n + k];
        for (index_t r = k + 1; r < n; ++r)
            for (index_t c = n; c-- > k;) m[r * n + c] -= m[r * n + k] / m[k * n + k] * m[k * n + c];
    }
    return product;
}

struct Inverse {
    double log_abs_det = 0, condition = 0;
    bool singular() const { return std::isinf(condition); }
};
Inverse invert(Solver& solver, index_t n, const double* W, double* inverse) {
    Inverse result;
    solver.invert(1, n, W, inverse, &result.log_abs_det, &result.condition);
    return result;
}

TEST(Solver, InvertsAndReturnsLogDeterminant) {
    const auto solver = make_cpu_solver();
    for (const index_t n : {1, 2, 3, 4, 12, 48, 96}) {
        const std::vector<double> W = normals(n, 10 + n);
        const std::vector<double> before = W;
        std::vector<double> inverse(n * n);
        const Inverse result = invert(*solver, n, W.data(), inverse.data());
        ASSERT_FALSE(result.singular());
        EXPECT_EQ(W, before);
        EXPECT_NEAR(result.log_abs_det, static_cast<double>(std::log(std::abs(determinant(n, W)))), 1e-10);
        double worst = 0, norm = 0, inverse_norm = 0;
        for (index_t c = 0; c < n; ++c) {
            double sum = 0, inverse_sum = 0;
            for (index_t r = 0; r < n; ++r) {
                double product = 0;
                for (index_t k = 0; k < n; ++k) product += W[r * n + k] * inverse[k * n + c];
                worst = std::max(worst, std::abs(product - (r == c)));
                sum += std::abs(W[r * n + c]);
                inverse_sum += std::abs(inverse[r * n + c]);
            }
            norm = std::max(norm, sum);
            inverse_norm = std::max(inverse_norm, inverse_sum);
        }
        // Residual of an LU solution: n units in the last place times the condition number.
        EXPECT_LE(worst, 1e-16 * static_cast<double>(n) * result.condition + 1e-15);
        EXPECT_NEAR(result.condition / (norm * inverse_norm), 1, 1e-12);
    }
}

TEST(Solver, RejectsSingularMatrices) {
    const auto solver = make_cpu_solver();
    std::vector<double> inverse(9);
    const std::vector<double> zero(9, 0.0), rank_one = {1, 2, 3, 2, 4, 6, 3, 6, 9},
                                            nearly = {1, 1, 0, 1, 1 + 1e-15, 0, 0, 0, 1};
    EXPECT_TRUE(invert(*solver, 3, zero.data(), inverse.data()).singular());
    EXPECT_TRUE(invert(*solver, 3, rank_one.data(), inverse.data()).singular());
    EXPECT_TRUE(invert(*solver, 3, nearly.data(), inverse.data()).singular());
    // Small values are not singular.
    const std::vector<double> small = {1e-200, 0, 0, 0, 1e-200, 0, 0, 0, 1e-200};
    const Inverse result = invert(*solver, 3, small.data(), inverse.data());
    EXPECT_FALSE(result.singular());
    EXPECT_NEAR(result.log_abs_det, -600 * std::log(10.0), 1e-9);
    EXPECT_NEAR(result.condition, 1, 1e-12);
}

TEST(Solver, RejectsNonFiniteMatrices) {
    const auto solver = make_cpu_solver();
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
        for (const index_t exec : {0, 3, 8}) {
            std::vector<double> W = {2, 0, 0, 0, 2, 0, 0, 0, 2}, inverse(9);
            W[exec] = bad;
            EXPECT_TRUE(invert(*solver, 3, W.data(), inverse.data()).singular());
        }
}

#if !defined(__SANITIZE_ADDRESS__)
// LAPACKE copies a matrix and may lack the memory for that. Weights are not to be refused as singular then.
TEST(Solver, LackOfMemoryIsNoSingularMatrix) {
    constexpr index_t n = 2200;  // 37 MiB
    std::vector<double> W(n * n), inverse(n * n);
    for (index_t i = 0; i < n; ++i) W[i * n + i] = 1;
    double log_abs_det = 0, condition = 0;
    const std::unique_ptr<Solver> solver = make_cpu_solver();
    const LittleMemory little(rlim_t{16} << 20);
    EXPECT_THROW(solver->invert(1, n, W.data(), inverse.data(), &log_abs_det, &condition), std::bad_alloc);
    EXPECT_THROW(solver->orthogonalize(n, W.data()), std::bad_alloc);
}

// The message about a lack of memory names the limit.
TEST(MemoryLimit, IsFoundWithoutMemory) {
    constexpr std::size_t kBlock = 4096;
    std::vector<void*> blocks(1 << 16);
    const LittleMemory little(0);
    std::size_t count = 0;
    while (count < blocks.size() && (blocks[count] = std::malloc(kBlock)) != nullptr) ++count;
    std::size_t left = kBlock;
    EXPECT_NO_THROW(left = process_memory_limit().bytes);
    for (std::size_t i = 0; i < count; ++i) std::free(blocks[i]);
    EXPECT_LT(count, blocks.size());
    EXPECT_LT(left, std::size_t{1} << 20);
}
#endif

TEST(Solver, OrthogonalizeSpansSameSubspaces) {
    const auto solver = make_cpu_solver();
    int negative = 0;
    for (const index_t n : {1, 2, 3, 12, 48})
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
            const std::vector<double> A = normals(n, seed);
            std::vector<double> Q = A, again = A;
            solver->orthogonalize(n, Q.data());
            solver->orthogonalize(n, again.data());
            EXPECT_EQ(Q, again);
            // Q^T Q = 1, and R = Q^T A is upper triangular with a positive diagonal.
            for (index_t i = 0; i < n; ++i)
                for (index_t j = 0; j < n; ++j) {
                    double QQ = 0, R = 0;
                    for (index_t k = 0; k < n; ++k) {
                        QQ += Q[k * n + i] * Q[k * n + j];
                        R += Q[k * n + i] * A[k * n + j];
                    }
                    ASSERT_NEAR(QQ, i == j, 1e-14);  // a few units in the last place
                    ASSERT_TRUE(i <= j || std::abs(R) < 1e-13);
                    ASSERT_TRUE(i != j || R > 0);
                }
            negative += determinant(n, Q) < 0;
        }
    // Determinants of both signs: 40 fair coin flips.
    EXPECT_GT(negative, 5);
    EXPECT_LT(negative, 35);
}

// A batch gives the same results as single matrices, including a singular one.
TEST(Solver, InvertsManyAtOnce) {
    const auto solver = make_cpu_solver();
    const index_t n = 5, count = 4;
    std::vector<double> W;
    for (index_t k = 0; k < count; ++k) {
        const std::vector<double> one = k == 2 ? std::vector<double>(n * n, 1.0) : normals(n, 70 + k);
        W.insert(W.end(), one.begin(), one.end());
    }
    std::vector<double> inverse(W.size()), alone(n * n), log_abs_det(count), condition(count);
    solver->invert(count, n, W.data(), inverse.data(), log_abs_det.data(), condition.data());
    for (index_t k = 0; k < count; ++k) {
        const Inverse one = invert(*solver, n, W.data() + k * n * n, alone.data());
        EXPECT_EQ(condition[k], one.condition);
        EXPECT_EQ(std::isinf(condition[k]), k == 2);
        if (k == 2) continue;
        EXPECT_EQ(log_abs_det[k], one.log_abs_det);
        EXPECT_EQ(std::vector<double>(inverse.begin() + k * n * n, inverse.begin() + (k + 1) * n * n), alone);
    }
}

TEST(Solver, FactorsMultiplyToMatrix) {
    const auto solver = make_cpu_solver();
    for (const index_t n : {1, 2, 3, 12, 48}) {
        const std::vector<double> W = normals(n, 90 + n);
        std::vector<double> LU = W;
        std::vector<index_t> permutation(n);
        solver->factorize(n, LU.data(), permutation.data());
        for (index_t r = 0; r < n; ++r)
            for (index_t c = 0; c < n; ++c) {
                const index_t row = permutation[r];
                double sum = row <= c ? LU[row * n + c] : 0.0;
                for (index_t k = 0; k < row && k <= c; ++k) sum += LU[row * n + k] * LU[k * n + c];
                ASSERT_NEAR(sum, W[r * n + c], 1e-13 * static_cast<double>(n));
                if (row > c) {
                    ASSERT_LE(std::abs(LU[row * n + c]), 1.0);  // pivoting
                }
            }
    }
}

}  // namespace
}  // namespace glow
