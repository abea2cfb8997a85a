#include "inference/equal_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "data/data_fingerprint.h"
#include "inference/model_fingerprint.h"
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

void require_equal_images(Communicator& processes, const std::string& file, const SplitImages& images) {
    if (processes.size() == 1) return;
    const ImageSet& set = images.set();
    const nlohmann::ordered_json mine = {
        {"images", fmt::format("{} images of {}x{}x{}", images.N(), set.H, set.W, set.C)},
        {"data", data_fingerprint(images, nullptr)}};
    const auto root = nlohmann::ordered_json::parse(broadcast_text(processes, mine.dump()));
    const auto here = mine["images"].get<std::string>(), there = root["images"].get<std::string>();
    require_no_difference(processes, file,
                          here == there ? data_difference(root["data"], mine["data"])
                                        : fmt::format("has {}, not {}", here, there));
}

void require_equal_weights(Communicator& processes, const std::string& file, LoadedModel& model) {
    if (processes.size() == 1) return;
    struct Version {
        index_t step;
        std::uint64_t weights;
    };
    const Version mine{model.info().progress.step, fingerprint(model)};
    Version root = mine;
    processes.broadcast(sizeof(root), &root);
    std::string difference;
    if (mine.step != root.step)
        difference = fmt::format("has the weights of step {}, not {}", mine.step, root.step);
    else if (mine.weights != root.weights)
        difference = "has other weights";
    require_no_difference(processes, file, difference);
}

}  // namespace glow
