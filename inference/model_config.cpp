#include "inference/model_config.h"

#include <fmt/format.h>

#include <string>
#include <type_traits>

#include "kernels/error.h"

namespace glow {
namespace {

template <class T>
void get(const nlohmann::ordered_json& config, const char* key, T& value) {
    const auto found = config.find(key);
    if (found == config.end()) throw InputError(fmt::format("config has no \"{}\"", key));
    const bool fine = std::is_same_v<T, bool>          ? found->is_boolean()
                      : std::is_same_v<T, std::string> ? found->is_string()
                      : std::is_integral_v<T>          ? found->is_number_integer()
                                                       : found->is_number();
    if (!fine)
        throw InputError(fmt::format("config's \"{}\" has the wrong type, {}", key, found->type_name()));
    value = found->template get<T>();
}

}  // namespace

nlohmann::ordered_json to_json(const ModelConfig& m) {
    return {{"image_height", m.image_height},
            {"image_width", m.image_width},
            {"channels", m.channels},
            {"n_bits", m.n_bits},
            {"levels", m.levels},
            {"depth", m.depth},
            {"width", m.width},
            {"permutation", to_string(m.permutation)},
            {"coupling", to_string(m.coupling)},
            {"edge_bias", m.edge_bias},
            {"learn_top", m.learn_top},
            {"y_cond", m.y_cond},
            {"n_classes", m.n_classes},
            {"weight_y", m.weight_y}};
}

ModelConfig model_from_json(const nlohmann::ordered_json& config) {
    if (!config.is_object()) throw InputError("config is not a JSON object");
    ModelConfig m;
    std::string permutation, coupling;
    index_t n_bits = 0;
    get(config, "image_height", m.image_height);
    get(config, "image_width", m.image_width);
    get(config, "channels", m.channels);
    get(config, "n_bits", n_bits);
    get(config, "levels", m.levels);
    get(config, "depth", m.depth);
    get(config, "width", m.width);
    get(config, "permutation", permutation);
    get(config, "coupling", coupling);
    get(config, "edge_bias", m.edge_bias);
    get(config, "learn_top", m.learn_top);
    get(config, "y_cond", m.y_cond);
    get(config, "n_classes", m.n_classes);
    get(config, "weight_y", m.weight_y);
    m.n_bits = static_cast<int>(n_bits < 1 || n_bits > 8 ? 0 : n_bits);
    m.permutation = parse_permutation(permutation);
    m.coupling = parse_coupling(coupling);
    check(m);
    return m;
}

}  // namespace glow
