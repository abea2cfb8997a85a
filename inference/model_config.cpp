#include "inference/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "kernels/error.h"

namespace glow {
namespace {

// Keys that older files lack; a missing key has its default value.
constexpr std::string_view kOptionalKeys[] = {"coupling_scale", "dequant_depth", "dequant_width"};

template <class T>
void read(const nlohmann::ordered_json& config, const char* key, T& value) {
    const auto found = config.find(key);
    if (found == config.end()) {
        if (std::ranges::find(kOptionalKeys, key) != std::end(kOptionalKeys)) return;
        throw InputError(fmt::format("config has no \"{}\"", key));
    }
    const bool fine = std::is_same_v<T, bool> ? found->is_boolean()
                      : Named<T>              ? found->is_string()
                      : std::is_integral_v<T> ? found->is_number_integer()
                                              : found->is_number();
    if (!fine)
        throw InputError(fmt::format("config's \"{}\" has the wrong type, {}", key, found->type_name()));
    if constexpr (Named<T>)
        value = parse_name<T>(found->template get<std::string>());
    else if constexpr (std::is_same_v<T, int>)  // check() refuses what does not fit
        value = static_cast<int>(std::clamp<index_t>(found->template get<index_t>(),
                                                     std::numeric_limits<int>::min(),
                                                     std::numeric_limits<int>::max()));
    else
        value = found->template get<T>();
}

}  // namespace

nlohmann::ordered_json to_json(const ModelConfig& model) {
    nlohmann::ordered_json json;
    visit_model_options(
        model, [&](const char* name, const auto& value, const char*) { json[name] = printable(value); });
    return json;
}

ModelConfig model_from_json(const nlohmann::ordered_json& config) {
    if (!config.is_object()) throw InputError("config is not a JSON object");
    ModelConfig model;
    visit_model_options(model,
                        [&](const char* name, auto& value, const char*) { read(config, name, value); });
    check(model);
    return model;
}

ImageSize image_size(const ModelConfig& model) {
    return {model.image_height, model.image_width};
}

ModelConfig with_image_size(ModelConfig model, const ImageSize& size) {
    model.image_height = size.H;
    model.image_width = size.W;
    const index_t divisor = index_t{1} << model.levels;
    if (size.H % divisor != 0 || size.W % divisor != 0)
        throw InputError(
            fmt::format("images of {}x{} do not fit the model: its {} levels need a height and width "
                        "divisible by {}",
                        size.H, size.W, model.levels, divisor));
    check(model);
    return model;
}

bool differ_in_image_size_only(ModelConfig a, const ModelConfig& b) {
    a.image_height = b.image_height;
    a.image_width = b.image_width;
    return a == b;
}

std::string other_size_note(const ModelConfig& trained, const ImageSize& size) {
    if (image_size(trained) == size) return "";
    return fmt::format("the model was trained on {}x{} images; these are {}x{}", trained.image_height,
                       trained.image_width, size.H, size.W);
}

}  // namespace glow
