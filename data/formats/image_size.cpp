#include "data/formats/image_size.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "data/formats/decimal.h"
#include "kernels/error.h"

namespace glow {

ImageSize parse_image_size(const std::string& option, const std::string& text) {
    const auto side = [&](std::string_view digits) {
        index_t value = 0;
        if (parse_decimal(digits, value) != std::errc() || value < 1 || value > 1 << 16)
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
