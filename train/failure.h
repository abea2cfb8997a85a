// A failed training step and its location: layer and tensor, with statistics.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "kernels/base.h"
#include "kernels/error.h"

namespace glow {

// Statistics of some values; the last four members cover finite values only.
struct Statistics {
    index_t count = 0, nan = 0, infinite = 0;
    double smallest = 0, largest = 0, mean = 0, rms = 0;
};
Statistics statistics_of(index_t count, const float* values);  // [count], host memory
std::string describe(const Statistics& statistics);
nlohmann::ordered_json to_json(const Statistics& statistics);
// A JSON number; NaN and infinities become strings: "nan", "inf", "-inf".
nlohmann::ordered_json json_number(double value);

// Thrown for a non-finite loss, gradient or weight, a singular W, a jump of the loss or of a condition
// number, or unrecoverable drift. The weights may be the cause: continue only from an earlier checkpoint. All
// processes throw the same.
struct StepFailure : Error {
    // `found` must have kind, layer, tensor and statistics; the message is added.
    StepFailure(const std::string& message, nlohmann::ordered_json found);
    nlohmann::ordered_json found;  // keys: see docs/formats.md
};

}  // namespace glow
