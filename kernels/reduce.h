// Scratch sizes in doubles for the reductions in kernels/reduce.cuh. Functions with a `partial` argument
// overwrite that many doubles.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Partial sums per group (an image, a matrix) and per column. Fixed, so that results do not depend on the
// number of threads.
inline constexpr index_t kGroupParts = 16;
inline constexpr index_t kColumnParts = 64;

// One sum for each of `groups` groups.
constexpr index_t group_scratch(index_t groups) {
    return groups * kGroupParts;
}

// `sums` sums for each of C columns.
constexpr index_t column_scratch(int sums, index_t C) {
    return kColumnParts * sums * C;
}

}  // namespace glow::inline GLOW_REAL
