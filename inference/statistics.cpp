#include "inference/statistics.h"

#include <cmath>

namespace glow {

Mean mean_of(const double* values, index_t count) {
    Mean mean{0, 0, count};
    if (count == 0) return mean;
    for (index_t i = 0; i < count; ++i) mean.value += values[i];
    mean.value /= static_cast<double>(count);
    double squares = 0;
    for (index_t i = 0; i < count; ++i) squares += (values[i] - mean.value) * (values[i] - mean.value);
    if (count > 1)
        mean.standard_error =
            std::sqrt(squares / static_cast<double>(count - 1) / static_cast<double>(count));
    return mean;
}

}  // namespace glow
