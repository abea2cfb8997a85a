// Batches of small square matrices in double: condition numbers, and determinants from LU factors.
#pragma once

#include <cmath>

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Matrices with norm1(W) norm1(W^-1) above this are treated as singular.
inline constexpr double kSingularCondition = 1e14;

// Of column c of W [n, n]; the largest over the columns is the 1-norm.
GLOW_HD inline double absolute_column_sum(index_t n, const double* W, index_t c) {
    double sum = 0;
    for (index_t row = 0; row < n; ++row) sum += fabs(W[row * n + c]);
    return sum;
}

// log_abs_det[k] = sum of log|diagonal| of lu [count, n, n].
void log_abs_diagonal(const Exec& exec, index_t count, index_t n, const double* lu, double* log_abs_det);

// Matrices [count, n, n] and their inverses. lu_failed[k], inverse_failed[k]: status of the factorization and of the
// inversion, nonzero if matrix k has no inverse.
struct InvertedMatrices {
    const double *W, *inverse;
    const int *lu_failed, *inverse_failed;
};
// condition[k] = norm1(W) norm1(W^-1); inf if lu_failed[k] or inverse_failed[k] is nonzero, the value exceeds
// kSingularCondition, or an entry is not finite. partial: group_scratch(count) doubles.
void condition_numbers(const Exec& exec, index_t count, index_t n, const InvertedMatrices& matrices,
                       double* condition, double* partial);

// The identity, [n, n].
void identity(const Exec& exec, index_t n, double* matrix);

// pointers[k] = first + k * stride.
void row_pointers(const Exec& exec, index_t count, index_t stride, double* first, double** pointers);

}  // namespace glow::inline GLOW_REAL
