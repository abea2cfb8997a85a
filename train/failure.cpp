// Statistics in words and as JSON.
#include "train/failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace glow {

Statistics statistics_of(index_t count, const float* values) {
    Statistics s;
    s.count = count;
    double sum = 0, squares = 0;
    index_t finite = 0;
    for (index_t i = 0; i < count; ++i) {
        const double x = values[i];
        if (std::isnan(x))
            ++s.nan;
        else if (std::isinf(x))
            ++s.infinite;
        else {
            s.smallest = finite == 0 ? x : std::min(s.smallest, x);
            s.largest = finite == 0 ? x : std::max(s.largest, x);
            sum += x;
            squares += x * x;
            ++finite;
        }
    }
    if (finite > 0) {
        s.mean = sum / static_cast<double>(finite);
        s.rms = std::sqrt(squares / static_cast<double>(finite));
    }
    return s;
}

std::string describe(const Statistics& s) {
    std::string text = fmt::format("{} values", s.count);
    if (s.nan > 0) text += fmt::format(", {} NaN", s.nan);
    if (s.infinite > 0) text += fmt::format(", {} infinite", s.infinite);
    if (s.nan + s.infinite < s.count)
        text += fmt::format(", {:.3g} to {:.3g}, rms {:.3g}", s.smallest, s.largest, s.rms);
    return text;
}

nlohmann::ordered_json json_number(double value) {
    if (std::isfinite(value)) return value;
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

nlohmann::ordered_json to_json(const Statistics& s) {
    return {{"count", s.count},
            {"nan", s.nan},
            {"infinite", s.infinite},
            {"smallest", s.smallest},
            {"largest", s.largest},
            {"mean", s.mean},
            {"rms", s.rms}};
}

StepFailure::StepFailure(const std::string& message, nlohmann::ordered_json found)
    : Error(message + "; lower --lr or resume from an earlier checkpoint"), found(std::move(found)) {
    this->found["message"] = message;
}

}  // namespace glow
