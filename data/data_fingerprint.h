// Recognizes the data set of a run when the run is resumed: shapes, counts, labels and pixels, whatever the
// file's name, date or layout.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/dataset.h"

namespace glow {

// Of the training and validation images; `valid` may be nullptr. Hashes all labels and 64 images of each
// split, evenly spaced, and all images of splits that are in memory.
nlohmann::ordered_json data_fingerprint(const SplitImages& train, const SplitImages* valid);

// "was 64 training and 6 validation images of 8x8x3, now 40 and 6 of 8x8x3", or "has other images"; empty for
// the same data set. What one of the two does not know is not compared.
std::string data_difference(const nlohmann::ordered_json& was, const nlohmann::ordered_json& now);

}  // namespace glow
