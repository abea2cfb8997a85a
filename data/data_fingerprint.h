// Identifies a run's data set on resume by shapes, counts, labels and pixels. File name, date and layout do
// not matter.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/dataset.h"

namespace glow {

// Fingerprint of the training and validation images; `valid` may be nullptr. Hashes all labels, all images of
// splits held in memory, and 64 evenly spaced images of other splits.
nlohmann::ordered_json data_fingerprint(const SplitImages& train, const SplitImages* valid);

// Training images of a data set by its fingerprint; 0 if unknown.
index_t training_images(const nlohmann::ordered_json& data);

// Describes the difference: "was 64 training and 6 validation images of 8x8x3, now 40 and 6 of 8x8x3", or
// "has different images". Empty if the data set is the same. Values missing on either side are not compared.
// format: of a difference in numbers or shapes; {0} describes `was`, {1} `now`.
std::string data_difference(const nlohmann::ordered_json& was, const nlohmann::ordered_json& now,
                            const char* format = "was {0}, now {1}");

}  // namespace glow
