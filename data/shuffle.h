// The order of training images without memory: a Feistel network on Philox over the next power of two, walked
// until it lands below N (cycle walking; Black & Rogaway 2002). A bijection of 0 .. N - 1 for every N, seed
// and pass.
#pragma once

#include <cstdint>

#include "kernels/base.h"

namespace glow {

// Element `position` (0 .. N - 1) of permutation number `pass` of 0 .. N - 1. N >= 1; Error otherwise.
index_t shuffled(std::uint64_t seed, std::uint64_t pass, index_t N, index_t position);

// Which of N images is number s >= 0 of the run: element s mod N of permutation floor(s / N).
inline index_t image_of_run(std::uint64_t seed, index_t N, index_t s) {
    return shuffled(seed, static_cast<std::uint64_t>(s / N), N, s % N);
}

}  // namespace glow
