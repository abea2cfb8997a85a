// Checks that all ranks have opened the same inputs: on several hosts, a file's name may mean different files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/communicator.h"

namespace glow {

// Throws InputError on all processes if the data set of some rank, given by its data_fingerprint(), is not
// that of rank 0. file: its name in the message. Collective.
void require_equal_data(Communicator& processes, const std::string& file,
                        const nlohmann::ordered_json& fingerprint);

}  // namespace glow
