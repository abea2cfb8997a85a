// Augmentation of training images. A pure function of (seed, image number), so the result does not depend on
// the number of processes, threads or micro-batches.
#pragma once

#include <cstdint>

#include "kernels/base.h"
#include "kernels/enum_names.h"

namespace glow {

struct Augmentation {
    bool flip = false;   // left-right, with probability 1/2
    bool shift = false;  // up to 10% of the side, rounded down, in each direction; edges replicated
    bool operator==(const Augmentation&) const = default;
};
template <>
struct EnumNames<Augmentation> {
    static constexpr const char* what = "augmentation";
    static constexpr EnumName<Augmentation> values[] = {{{}, "none"},
                                                        {{.flip = true}, "flip"},
                                                        {{.shift = true}, "shift"},
                                                        {{.flip = true, .shift = true}, "shift+flip"}};
};

// source [H, W, C] -> result [H, W, C]; they must not overlap. image_number: the number of the image in the
// run, from which its random numbers are derived.
void augment_image(Augmentation augmentation, std::uint64_t seed, std::uint64_t image_number,
                   const std::uint8_t* source, index_t H, index_t W, index_t C, std::uint8_t* result);

}  // namespace glow
