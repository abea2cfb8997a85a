// What follows a matrix product where the vendor's library does not do it itself, and checks of small
// matrices beside its factorisations.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// C <- max(C + bias, 0), C [m, n] with rows `stride` elements apart; bias [n] or nullptr.
template <class T, class Bias>
void bias_relu(const Place& place, index_t m, index_t n, index_t stride, const Bias* bias, T* C);

// to[i] = from[i], rounded.
template <class From, class To>
void cast(const Place& place, index_t count, const From* from, To* to);

// log_abs_det[k] = sum of log|diagonal| of lu [count, n, n].
void log_abs_diagonal(const Place& place, index_t count, index_t n, const double* lu, double* log_abs_det);

// condition[k] = norm1(W) norm1(W^-1) of matrices [count, n, n]; inf where failed[k] or failed_too[k] is not
// 0, where it is above 1e14, or where an entry is not finite. partial: group_scratch(count) doubles.
void condition_numbers(const Place& place, index_t count, index_t n, const double* W, const double* inverse,
                       const int* failed, const int* failed_too, double* condition, double* partial);

// The identity, [n, n].
void identity(const Place& place, index_t n, double* matrix);

// pointers[k] = first + k * stride.
void row_pointers(const Place& place, index_t count, index_t stride, double* first, double** pointers);

}  // namespace glow::inline GLOW_REAL
