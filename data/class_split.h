// Splits and limits of a labeled data set that keep every class represented.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/base.h"

namespace glow {

// Draws `count` images in the order of shuffled(seed, pass) and marks them true. labels: 0 .. n_classes - 1.
// With n_classes < 2, labels are ignored. Otherwise:
// - At least `stay` images of each class are not drawn, even if that means drawing fewer than `count`. Of a
//   class of at most `stay` images, at most one is drawn, and never the only one.
// - Each class with two or more images contributes at least one, as far as `count` allows: it replaces the
//   last image drawn from a class that contributes several.
std::vector<bool> draw_holdout(const std::vector<std::int32_t>& labels, std::int32_t n_classes, index_t count,
                               index_t stay, std::uint64_t seed, std::uint64_t pass);

// How many images to take from each class so that the total is `limit` (or everything) and the numbers are as
// equal as the class sizes allow. The remainder goes to the first classes.
std::vector<index_t> spread_over_classes(const std::vector<index_t>& sizes, index_t limit);

}  // namespace glow
