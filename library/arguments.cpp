#include "library/arguments.h"

namespace glow {
namespace {

// Calls copy(member of ModelShape, field of ModelConfig) for each shared member.
template <class Shape, class Config, class Copy>
void visit_shape(Shape& shape, Config& config, Copy copy) {
    copy(shape.height, config.image_height);
    copy(shape.width, config.image_width);
    copy(shape.channels, config.channels);
    copy(shape.n_bits, config.n_bits);
    copy(shape.levels, config.levels);
    copy(shape.depth, config.depth);
    copy(shape.hidden, config.width);
    copy(shape.classes, config.n_classes);
}

}  // namespace

std::filesystem::path checked_name(const std::string& name) {
    if (name.find('\0') != std::string::npos)
        throw InputError("the name of a file cannot contain a null character");
    return name;
}

ModelShape shape_of(const ModelConfig& config) {
    ModelShape shape;
    visit_shape(shape, config, [](auto& member, const auto& field) { member = field; });
    if (!config.y_cond) shape.classes = 0;
    return shape;
}

ModelConfig config_of(const ModelShape& shape) {
    ModelConfig config;
    visit_shape(shape, config, [](const auto& member, auto& field) { field = member; });
    config.y_cond = shape.classes > 0;
    return config;
}

}  // namespace glow
