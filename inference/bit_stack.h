// A stack of bits for numbers of any range: asymmetric numeral systems (Duda 2009), in the exact form for
// ranges that are not powers of two. Last in, first out; push and pop are exact inverses in any combination.
// Popping a number uniform in 0 .. n - 1 removes log2 n bits, pushing one adds them.
//
// This is enough to code with a model. For a symbol with frequencies first .. first + count - 1 out of total:
// pop a number in `count`, then push first + it in `total`, which adds log2(total / count) bits. Decoding
// reverses this.
#pragma once

#include <cstdint>
#include <vector>

namespace glow {

class BitStack {
  public:
    // Starts empty, on top of a fixed endless supply of random words. pop() takes words from the supply when
    // the stack is empty: these are the initial bits of bits-back coding.
    BitStack() = default;
    // Restores a stack: its words, its head, and the number of supply words in it. Popping beyond these
    // throws InputError: such a stack was not made by matching pushes.
    BitStack(std::vector<std::uint32_t> words, std::uint64_t head, std::uint64_t supplied);

    // value in 0 .. range - 1, range in 1 .. 2^32.
    void push(std::uint64_t value, std::uint64_t range);
    std::uint64_t pop(std::uint64_t range);

    // Bits on the stack, including those from the supply.
    std::uint64_t bits() const { return 32 * words_.size() + 32; }
    const std::vector<std::uint32_t>& words() const { return words_; }
    std::uint64_t head() const { return head_; }
    std::uint64_t supplied() const { return supplied_; }

    // True if every push has been undone: only words from the supply are left. False if more was popped than
    // pushed.
    bool is_in_initial_state() const;

  private:
    std::uint32_t take_word();

    static constexpr std::uint64_t kLow = std::uint64_t{1} << 32;  // head_ is in 2^32 .. 2^64 - 1
    std::vector<std::uint32_t> words_;
    std::uint64_t head_ = kLow;
    std::uint64_t supplied_ = 0;
    bool endless_ = true;
};

}  // namespace glow
