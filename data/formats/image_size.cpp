#include "data/formats/image_size.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "data/formats/decimal.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kMaxSide = 1 << 16;

}  // namespace

ImageSize parse_image_size(const std::string& option, const std::string& text) {
    const auto side = [&](std::string_view digits) {
        index_t value = 0;
        const std::errc error = parse_decimal(digits, value);
        if (error == std::errc::result_out_of_range ||
            (error == std::errc() && (value < 1 || value > kMaxSide)))
            throw InputError(fmt::format("{} \"{}\": height and width must be between 1 and {} pixels",
                                         option, text, kMaxSide));
        if (error != std::errc())
            throw InputError(fmt::format(
                "{} \"{}\": expected height x width in pixels, such as 64x96, or the side of a square",
                option, text));
        return value;
    };
    const std::string_view all = text;
    const std::size_t cross = std::min(all.find('x'), all.size());
    const index_t H = side(all.substr(0, cross));
    return {H, cross == all.size() ? H : side(all.substr(cross + 1))};
}

}  // namespace glow
