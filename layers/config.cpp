#include "layers/config.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "kernels/error.h"

namespace glow {
namespace {

template <class T, std::size_t n>
std::string name_of(const std::array<std::pair<T, const char*>, n>& names, T value) {
    for (const auto& [candidate, name] : names)
        if (candidate == value) return name;
    return "?";
}

template <class T, std::size_t n>
T parse(const std::array<std::pair<T, const char*>, n>& names, const char* what, const std::string& text) {
    std::string known;
    for (const auto& [value, name] : names) {
        if (text == name) return value;
        known += (known.empty() ? "" : ", ") + std::string(name);
    }
    throw InputError(fmt::format("unknown {} \"{}\"; expected one of {}", what, text, known));
}

constexpr std::array<std::pair<Permutation, const char*>, 4> kPermutations = {
    {{Permutation::invconv, "invconv"},
     {Permutation::invconv_lu, "invconv_lu"},
     {Permutation::shuffle, "shuffle"},
     {Permutation::reverse, "reverse"}}};
constexpr std::array<std::pair<CouplingKind, const char*>, 2> kCouplings = {
    {{CouplingKind::affine, "affine"}, {CouplingKind::additive, "additive"}}};
constexpr std::array<std::pair<Precision, const char*>, 3> kPrecisions = {
    {{Precision::fp32, "fp32"}, {Precision::tf32, "tf32"}, {Precision::bf16, "bf16"}}};

void check_range(const char* name, index_t value, index_t low, index_t high) {
    if (value < low || value > high)
        throw InputError(fmt::format("{} is {}; it must be between {} and {}", name, value, low, high));
}

}  // namespace

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
    const index_t factor = index_t{1} << config.levels;
    if (config.image_height % factor != 0 || config.image_width % factor != 0)
        throw InputError(
            fmt::format("images of {}x{} do not fit --levels {}: height and width must be divisible by {}",
                        config.image_height, config.image_width, config.levels, factor));
    if (!(config.weight_y >= 0 && config.weight_y <= 1e6))
        throw InputError(fmt::format("--weight-y is {}; it must be between 0 and 1e6", config.weight_y));
    if (config.weight_y > 0 && !config.y_cond)
        throw InputError("--weight-y trains the classifier of a conditional model and requires --y-cond");
    check_range("the number of classes", config.n_classes, config.y_cond ? 1 : 0, 1 << 20);
}

std::string to_string(Permutation permutation) {
    return name_of(kPermutations, permutation);
}
std::string to_string(CouplingKind coupling) {
    return name_of(kCouplings, coupling);
}
std::string to_string(Precision precision) {
    return name_of(kPrecisions, precision);
}
Permutation parse_permutation(const std::string& text) {
    return parse(kPermutations, "permutation", text);
}
CouplingKind parse_coupling(const std::string& text) {
    return parse(kCouplings, "coupling", text);
}
Precision parse_precision(const std::string& text) {
    return parse(kPrecisions, "precision", text);
}

}  // namespace glow
