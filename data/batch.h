// A batch of images: non-owning views of pixels, numbers and labels.
#pragma once

#include "kernels/base.h"

namespace glow {

// pixels [N, H, W, C]. numbers [N] seed each image's noise. labels [N], or null without labels.
struct Batch {
    index_t N = 0;
    const std::uint8_t* pixels = nullptr;
    const std::uint64_t* numbers = nullptr;
    const std::int32_t* labels = nullptr;
    bool on_device = false;  // the arrays are in the memory of a GPU

    // Images first .. first + count - 1, of D = H * W * C bytes each.
    Batch slice(index_t first, index_t count, index_t D) const {
        return {count, pixels + first * D, numbers + first, labels != nullptr ? labels + first : nullptr,
                on_device};
    }
};

}  // namespace glow
