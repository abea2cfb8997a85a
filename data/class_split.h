// Which images of a labeled set a part or a limit takes, so that no class is lost.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/base.h"

namespace glow {

// Draws `count` of the images with these labels (each in 0 .. n_classes - 1) in the order of shuffled(seed,
// pass): true for those drawn. With two or more classes, `stay` images of each stay, or all but one of a
// smaller class (fewer than `count` are drawn if need be), and each class of at least two is drawn from while
// count allows: the last images drawn of classes with several make room. Without classes (n_classes below 2)
// the labels do not matter.
std::vector<bool> draw_part(const std::vector<std::int32_t>& labels, std::int32_t n_classes, index_t count,
                            index_t stay, std::uint64_t seed, std::uint64_t pass);

// How many images of each class to take, so that all together are `limit` (or all there are) and the numbers
// are as even as the classes' sizes allow. What cannot be divided goes to the first classes.
std::vector<index_t> spread_over_classes(const std::vector<index_t>& sizes, index_t limit);

}  // namespace glow
