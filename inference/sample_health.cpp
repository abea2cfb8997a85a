#include "inference/sample_health.h"

#include <fmt/format.h>

#include <cmath>

#include "data/grid.h"

namespace glow {

void SampleHealth::add(index_t N, const double* largest) {
    of += N;
    for (index_t n = 0; n < N; ++n) {
        not_finite += !std::isfinite(largest[n]);
        out_of_range += std::isfinite(largest[n]) && largest[n] > kOutOfRange;
    }
}

void SampleHealth::add(const SampleHealth& others) {
    of += others.of;
    not_finite += others.not_finite;
    out_of_range += others.out_of_range;
}

std::string SampleHealth::text() const {
    std::string text;
    if (not_finite > 0) text = fmt::format("{} of {} not finite (crossed out)", not_finite, of);
    if (out_of_range > 0)
        text += fmt::format("{}{} of {} far out of range", text.empty() ? "" : ", ", out_of_range, of);
    return text;
}

SampleHealth cross_out_not_finite(const ModelConfig& model, index_t N, const double* largest,
                                  std::uint8_t* images) {
    for (index_t n = 0; n < N; ++n)
        if (!std::isfinite(largest[n]))
            cross_out(images + n * model.dimensions(), model.image_height, model.image_width, model.channels);
    SampleHealth health;
    health.add(N, largest);
    return health;
}

}  // namespace glow
