// A step that went wrong, and where: which layer and tensor, with their statistics.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "kernels/base.h"
#include "kernels/error.h"

namespace glow {

// Of some values; the last four of the finite ones.
struct Statistics {
    index_t count = 0, nan = 0, infinite = 0;
    double smallest = 0, largest = 0, mean = 0, rms = 0;
};
Statistics statistics_of(index_t count, const float* values);  // [count], host memory
std::string describe(const Statistics& statistics);
nlohmann::ordered_json to_json(const Statistics& statistics);
// As JSON, which has no word for these: "nan", "inf", "-inf".
nlohmann::ordered_json json_number(double value);

// What is thrown for it: a loss, gradient or weight that is not finite, a singular W, a jump of the loss or
// of a condition number, drift that nothing helps against. The weights may be the cause: whoever goes on must
// take earlier ones. Of several processes all throw the same.
struct StepFailure : Error {
    // `found` has kind, layer, tensor and statistics at least; the message goes into it.
    StepFailure(const std::string& message, nlohmann::ordered_json found);
    nlohmann::ordered_json found;  // docs/formats.md lists its keys
};

}  // namespace glow
