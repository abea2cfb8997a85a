// Statistics of results.
#pragma once

#include <optional>

#include "kernels/base.h"

namespace glow {

// Mean and standard error of the mean, which is undefined (0 here) for fewer than two values.
struct Mean {
    double value = 0, standard_error = 0;
    index_t count = 0;
    std::optional<double> error() const { return count > 1 ? std::optional(standard_error) : std::nullopt; }
};
Mean mean_of(const double* values, index_t count);

}  // namespace glow
