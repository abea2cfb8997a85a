#include "inference/equal_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "data/data_fingerprint.h"
#include "kernels/error.h"

namespace glow {
namespace {

// `difference` says how this rank's input differs from rank 0's; empty if it does not.
void require_no_difference(Communicator& processes, const std::string& input, const std::string& difference) {
    const std::vector<std::string> all = gather_texts(processes, difference);
    const auto other = std::find_if(all.begin(), all.end(), [](const auto& text) { return !text.empty(); });
    if (other == all.end()) return;
    const auto rank = static_cast<std::size_t>(other - all.begin());
    throw InputError(fmt::format(
        "{} of rank {} on {} differs from that of rank 0 on {}: it {}; all ranks need the same file", input,
        rank, processes.group().hosts[rank], processes.group().hosts[0], *other));
}

}  // namespace

void require_equal_data(Communicator& processes, const std::string& file,
                        const nlohmann::ordered_json& fingerprint) {
    if (processes.size() == 1) return;
    const auto root = nlohmann::ordered_json::parse(broadcast_text(processes, fingerprint.dump()));
    require_no_difference(processes, file, data_difference(root, fingerprint, "has {1}, not {0}"));
}

}  // namespace glow
