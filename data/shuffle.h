// Stateless shuffling of training images: a bijection of 0 .. N - 1 for every N, seed and pass. Feistel
// network on Philox over the next power of two, repeated until the result is below N (cycle walking; Black &
// Rogaway 2002).
#pragma once

#include <cstdint>

#include "kernels/base.h"

namespace glow {

// Element `position` (0 .. N - 1) of permutation `pass` of 0 .. N - 1. Throws Error unless N >= 1.
index_t shuffled(std::uint64_t seed, std::uint64_t pass, index_t N, index_t position);

// The image that has number s >= 0 in the run: element s mod N of permutation floor(s / N).
inline index_t image_of_run(std::uint64_t seed, index_t N, index_t s) {
    return shuffled(seed, static_cast<std::uint64_t>(s / N), N, s % N);
}

}  // namespace glow
