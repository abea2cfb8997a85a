#include "data/augment.h"

#include <algorithm>
#include <cstring>

#include "kernels/philox.h"

namespace glow {
namespace {

// A whole number in -most .. most, uniform up to 2^-32.
index_t centered(std::uint32_t word, index_t most) {
    const auto choices = static_cast<std::uint64_t>(2 * most + 1);
    return static_cast<index_t>(word * choices >> 32) - most;
}

}  // namespace

void augment_image(Augmentation augmentation, std::uint64_t seed, std::uint64_t image_number,
                   const std::uint8_t* source, index_t H, index_t W, index_t C, std::uint8_t* result) {
    const PhiloxWords words = philox_block(seed, Purpose::augment, image_number, 0);
    const bool flip = augmentation.flip && (words.word[0] >> 31) != 0;
    const index_t down = augmentation.shift ? centered(words.word[1], H / 10) : 0;
    const index_t right = augmentation.shift ? centered(words.word[2], W / 10) : 0;
    for (index_t row = 0; row < H; ++row) {
        const std::uint8_t* from = source + std::clamp<index_t>(row - down, 0, H - 1) * W * C;
        std::uint8_t* to = result + row * W * C;
        if (!flip && right == 0) {
            std::memcpy(to, from, static_cast<std::size_t>(W * C));
            continue;
        }
        for (index_t column = 0; column < W; ++column) {
            const index_t shifted = std::clamp<index_t>(column - right, 0, W - 1);
            const index_t taken = flip ? W - 1 - shifted : shifted;
            for (index_t channel = 0; channel < C; ++channel)
                to[column * C + channel] = from[taken * C + channel];
        }
    }
}

}  // namespace glow
