#include "data/shuffle.h"

#include <fmt/format.h>

#include <bit>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace glow {
namespace {

constexpr int kRounds = 8;

// A bijection of 0 .. 2^bits - 1. The number is split into a high and a low half (an odd bit goes to the low
// one); rounds alternately xor one half with a random function of the other. That is a bijection for any
// function.
std::uint64_t feistel(std::uint64_t seed, std::uint64_t pass, int bits, std::uint64_t number) {
    const int low_bits = (bits + 1) / 2;
    const std::uint64_t low_mask = (std::uint64_t{1} << low_bits) - 1;
    const std::uint64_t high_mask = (std::uint64_t{1} << (bits - low_bits)) - 1;
    std::uint64_t low = number & low_mask, high = number >> low_bits;
    for (int round = 0; round < kRounds; ++round) {
        const bool odd = round % 2 != 0;
        // A half has at most 31 bits, so the round fits above it.
        const std::uint64_t block = (static_cast<std::uint64_t>(round) << 32) | (odd ? high : low);
        const PhiloxWords words = philox_block(seed, Purpose::shuffle, pass, block);
        if (odd)
            low ^= words.word[0] & low_mask;
        else
            high ^= words.word[0] & high_mask;
    }
    return high << low_bits | low;
}

}  // namespace

index_t shuffled(std::uint64_t seed, std::uint64_t pass, index_t N, index_t position) {
    if (N < 1 || N > (index_t{1} << 62) || position < 0 || position >= N)
        throw Error(fmt::format("shuffled: expected a position in 0 .. N - 1, found position {} and N = {}",
                                position, N));
    const int bits = std::bit_width(static_cast<std::uint64_t>(N - 1));
    auto number = static_cast<std::uint64_t>(position);
    // Cycle walking ends because every orbit of a bijection returns; it takes fewer than two steps on
    // average.
    do {
        number = feistel(seed, pass, bits, number);
    } while (number >= static_cast<std::uint64_t>(N));
    return static_cast<index_t>(number);
}

}  // namespace glow
