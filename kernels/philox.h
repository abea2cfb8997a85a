// Philox4x32-10, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as easy as 1,
// 2, 3", section 4). Every random number in the project is a pure function of (key, counter), so noise, order
// and augmentation do not depend on the number of processes, threads or tiles.
#pragma once

#include "kernels/base.h"
#include "kernels/math.h"

namespace glow {

struct PhiloxWords {
    std::uint32_t word[4];
};

GLOW_HD inline PhiloxWords philox4x32(PhiloxWords counter, std::uint32_t key0, std::uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter.word[0];
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter.word[2];
        counter = {
            {static_cast<std::uint32_t>(p1 >> 32) ^ counter.word[1] ^ key0, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ counter.word[3] ^ key1, static_cast<std::uint32_t>(p0)}};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// Purpose of a random stream. It is part of the key, so different purposes never share numbers.
enum class Purpose : std::uint32_t {
    dequantize = 1,
    shuffle = 2,
    augment = 3,
    weights = 4,
    sample = 5,
    synthetic = 6,
    evaluate = 7,
    moments = 8,
    compress = 9,
    crop = 10,
};

// Words 4*block .. 4*block+3 of stream `item` (an image or tensor number) of `purpose`.
GLOW_HD inline PhiloxWords philox_block(std::uint64_t seed, Purpose purpose, std::uint64_t item,
                                        std::uint64_t block) {
    const std::uint64_t key = seed ^ (std::uint64_t{static_cast<std::uint32_t>(purpose)} << 56);
    return philox4x32({{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                        static_cast<std::uint32_t>(item), static_cast<std::uint32_t>(item >> 32)}},
                      static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32));
}

// A number in (0, 1) on the grid (r + 1/2) 2^-24: never 0, never 1, exact in float.
GLOW_HD inline double philox_uniform(std::uint32_t word) {
    return ((word >> 8) + 0.5) * 0x1p-24;
}

// Two independent standard normal numbers from two words (Box-Muller), in double.
struct NormalPair {
    double first, second;
};
GLOW_HD inline NormalPair philox_normal(std::uint32_t word0, std::uint32_t word1) {
    const double radius = sqrt_of(-2.0 * log_of((word0 + 0.5) * 0x1p-32));
    const double turn = (word1 + 0.5) * 0x1p-32;
    return {radius * cos_2pi(turn), radius * sin_2pi(turn)};
}

}  // namespace glow
