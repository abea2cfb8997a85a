#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/reduce.cuh"
#include "kernels/small_matrix.h"

namespace glow::inline GLOW_REAL {
namespace {

struct LogAbsDiagonal {
    static constexpr const char* name = "log_abs_diagonal";
    index_t n;
    const double* lu;
    double* log_abs_det;
    GLOW_HD void operator()(index_t k) const {
        double sum = 0;
        for (index_t i = 0; i < n; ++i) sum += log_of(fabs(lu[(k * n + i) * n + i]));
        log_abs_det[k] = sum;
    }
};

// Inf if the sum is not finite.
struct ColumnNorm {
    static constexpr const char* name = "column_norm";
    static constexpr bool kMaximum = true;
    index_t n;
    const double* W;
    GLOW_HD double operator()(index_t k, index_t column, index_t) const {
        return inf_if_not_finite(absolute_column_sum(n, W + k * n * n, column));
    }
};
struct StoreNorm {
    double* norm;
    GLOW_HD void operator()(index_t k, double largest) const { norm[k] = largest; }
};
struct FinishCondition {
    const int* lu_failed;
    const int* inverse_failed;
    double* condition;  // in: norm1(W)
    GLOW_HD void operator()(index_t k, double inverse_norm) const {
        const double product = condition[k] * inverse_norm;
        const bool usable = lu_failed[k] == 0 && inverse_failed[k] == 0 && product < kSingularCondition;
        condition[k] = usable ? product : HUGE_VAL;
    }
};

struct Identity {
    static constexpr const char* name = "identity";
    index_t n;
    double* matrix;
    GLOW_HD void operator()(index_t row, index_t c) const { matrix[row * n + c] = row == c ? 1.0 : 0.0; }
};

struct RowPointers {
    static constexpr const char* name = "row_pointers";
    index_t stride;
    double* first;
    double** pointers;
    GLOW_HD void operator()(index_t k) const { pointers[k] = first + k * stride; }
};

}  // namespace

void log_abs_diagonal(const Exec& exec, index_t count, index_t n, const double* lu, double* log_abs_det) {
    for_each(exec, count, LogAbsDiagonal{n, lu, log_abs_det}, n);
}

void condition_numbers(const Exec& exec, index_t count, index_t n, const InvertedMatrices& matrices,
                       double* condition, double* partial) {
    reduce_groups(exec, count, n, 1, partial, ColumnNorm{n, matrices.W}, StoreNorm{condition});
    reduce_groups(exec, count, n, 1, partial, ColumnNorm{n, matrices.inverse},
                  FinishCondition{matrices.lu_failed, matrices.inverse_failed, condition});
}

void identity(const Exec& exec, index_t n, double* matrix) {
    for_each_row_channel(exec, n, n, Identity{n, matrix});
}

void row_pointers(const Exec& exec, index_t count, index_t stride, double* first, double** pointers) {
    for_each(exec, count, RowPointers{stride, first, pointers});
}

}  // namespace glow::inline GLOW_REAL
