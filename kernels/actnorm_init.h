// Data-dependent initialization of actnorm: moments over rows of pixels, then bias and logs.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// moments[c] += sum of x, moments[C + c] += sum of x^2 over rows of x, `stride` elements per row, T real or
// state_t. partial: column_scratch(2, C) doubles.
template <class T>
void add_moments(const Exec& exec, index_t rows, index_t C, const T* x, index_t stride, double* moments,
                 double* partial);
// Data-dependent initialization from the moments of `count` rows: bias = -mean,
// 3 logs = log(spread) - log(s + 1e-6), s = sqrt(mean((x + bias)^2)): the output's standard deviation is
// `spread`.
void actnorm_from_moments(const Exec& exec, double count, index_t C, const double* moments, real* bias,
                          real* logs, double spread = 1);

}  // namespace glow::inline GLOW_REAL
