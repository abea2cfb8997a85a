#include "inference/model_fingerprint.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "data/formats/fingerprint.h"
#include "inference/host_weights.h"

namespace glow {

std::uint64_t fingerprint(LoadedModel& model) {
    // Only the configuration that affects coding: weight_y affects training only, and a dequantizer is not
    // used. The default coupling_scale is left out, so that files older than this key keep their
    // fingerprints.
    std::string shape;
    const ModelConfig& config = model.glow().config();
    visit_model_options(config, [&](const char* name, const auto& value, const char*) {
        const std::string_view field = name;
        if (field == "weight_y" || field.starts_with("dequant_")) return;
        if (field == "coupling_scale" && config.coupling_scale == CouplingScale::sigmoid) return;
        shape += fmt::format("{}{}", shape.empty() ? "" : " ", printable(value));
    });
    const Parameters& parameters = model.glow().parameters();
    HostWeights weights(model.context().exec, parameters,
                        {.params = parameters.values(), .fixed = parameters.fixed()});
    weights.fetch();
    const auto bytes = [](index_t count) { return static_cast<std::size_t>(count) * sizeof(float); };
    std::uint64_t hash = fingerprint(shape.data(), shape.size());
    hash = fingerprint(weights.get().params, bytes(parameters.size()), hash);
    return fingerprint(weights.get().fixed, bytes(parameters.fixed_size()), hash);
}

}  // namespace glow
