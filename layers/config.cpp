#include "layers/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "kernels/math.h"

namespace glow {
namespace {

void check_range(const char* name, index_t value, index_t low, index_t high) {
    if (value < low || value > high)
        throw InputError(fmt::format("{} is {}; it must be between {} and {}", name, value, low, high));
}

}  // namespace

double ModelConfig::nats_per_bit_dim() const {
    return static_cast<double>(dimensions()) * kLn2;
}

double ModelConfig::bits_per_dim(double log_density) const {
    return n_bits - log_density / nats_per_bit_dim();
}

std::string option_name(const char* field) {
    std::string name = field;
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
}

Shape level_shape(const ModelConfig& config, index_t level) {
    const index_t factor = index_t{1} << (level + 1);
    return {config.image_height / factor, config.image_width / factor, config.channels * 4 << level};
}

void check(const ModelConfig& config) {
    check_range("image height", config.image_height, 2, 1 << 16);
    check_range("image width", config.image_width, 2, 1 << 16);
    check_range("image channels", config.channels, 1, 4);
    check_range("--n-bits", config.n_bits, 1, 8);
    check_range("--levels", config.levels, 1, 15);
    check_range("--depth", config.depth, 1, 100000);
    check_range("--width", config.width, 1, 1 << 16);
    if (config.coupling == CouplingKind::additive && config.coupling_scale != CouplingScale::sigmoid)
        throw InputError(fmt::format("--coupling-scale {}: an additive coupling has no scale",
                                     to_string(config.coupling_scale)));
    const index_t factor = index_t{1} << config.levels;
    if (config.image_height % factor != 0 || config.image_width % factor != 0)
        throw InputError(
            fmt::format("images of {}x{} do not fit --levels {}: height and width must be divisible by {}",
                        config.image_height, config.image_width, config.levels, factor));
    if (!(config.weight_y >= 0 && config.weight_y <= 1e6))
        throw InputError(fmt::format("--weight-y is {}; it must be between 0 and 1e6", config.weight_y));
    if (config.weight_y > 0 && !config.y_cond)
        throw InputError("--weight-y trains the classifier of a conditional model and requires --y-cond");
    check_range("--dequant-depth", config.dequant_depth, 0, 1000);
    check_range("--dequant-width", config.dequant_width, 1, 1 << 12);
    check_range("the number of classes", config.n_classes, config.y_cond ? 1 : 0, 1 << 20);
}

}  // namespace glow
