// Checks that all ranks have opened the same inputs: on several hosts, a file's name may mean different files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "inference/loaded_model.h"
#include "runtime/communicator.h"

namespace glow {

// Throws InputError on all processes if the data set of some rank, given by its data_fingerprint(), is not
// that of rank 0. file: its name in the message. Collective.
void require_equal_data(Communicator& processes, const std::string& file,
                        const nlohmann::ordered_json& fingerprint);

// The same for images to evaluate, with their labels.
void require_equal_images(Communicator& processes, const std::string& file, const SplitImages& images);

// The same for the weights of a checkpoint.
void require_equal_weights(Communicator& processes, const std::string& file, LoadedModel& model);

}  // namespace glow
