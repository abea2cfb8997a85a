// Dense linear algebra on the small matrices of the channel mixings, in double, row-major.
#pragma once

#include <memory>

#include "kernels/base.h"

namespace glow {

struct Inverse {
    bool singular = false;   // exactly, or with a condition number above 1e14: nothing else is then valid
    double log_abs_det = 0;  // nats
    double condition = 0;    // norm1(W) norm1(W^-1)
};

class Solver {
  public:
    virtual ~Solver() = default;
    // inverse [n, n] = W^-1, W [n, n] left alone. Not-finite entries count as singular.
    virtual Inverse invert(index_t n, const double* W, double* inverse) = 0;
    // Q [n, n] in place of a square matrix of independent normal numbers: the Q of its QR decomposition with
    // R's diagonal made positive, which is distributed uniformly over the orthogonal matrices.
    virtual void orthogonalise(index_t n, double* matrix) = 0;
};

std::unique_ptr<Solver> make_cpu_solver();

}  // namespace glow
