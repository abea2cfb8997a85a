// Sums over a flat array in double, in an order that does not depend on threads: the squared norm of a
// gradient, and a checksum for comparing the weights of processes.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// *result = sum of squares of x in double (inf or NaN if x has one). partial: square_scratch() doubles.
void sum_of_squares(const Exec& exec, index_t count, const real* x, double* result, double* partial);
index_t square_scratch();

// *result = a checksum that depends on every bit of x, equal on every machine. partial: square_scratch()
// doubles.
void checksum(const Exec& exec, index_t count, const real* x, double* result, double* partial);

}  // namespace glow::inline GLOW_REAL
