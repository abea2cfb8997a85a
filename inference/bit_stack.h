// A stack of bits that numbers of any range are pushed on and popped off (asymmetric numeral systems, Duda
// 2009, in the exact form for ranges that are no powers of two). What was pushed last comes off first, and
// push and pop undo each other bit for bit, whatever they are mixed with: popping a number uniform in
// 0 .. n - 1 takes log2 n bits away, pushing one adds them.
//
// Coding with a model is done with these two alone. A symbol with the frequencies first .. first + count - 1
// of total: pop one of `count`, push first + it of `total` (adds log2(total / count) bits); and back.
#pragma once

#include <cstdint>
#include <vector>

namespace glow {

class BitStack {
  public:
    // An empty stack stands on an endless supply of random words, always the same ones, which pop() takes
    // when nothing else is left: the bits that bits-back coding starts with.
    BitStack() = default;
    // One that was taken from another: its words, its head and how many words of the supply are in it. pop()
    // takes no more of the supply, but throws InputError: the stack was not made by matching pushes.
    BitStack(std::vector<std::uint32_t> words, std::uint64_t head, std::uint64_t supplied);

    // value in 0 .. range - 1, range in 1 .. 2^32.
    void push(std::uint64_t value, std::uint64_t range);
    std::uint64_t pop(std::uint64_t range);

    // Bits on the stack, those from the supply included.
    std::uint64_t bits() const { return 32 * words_.size() + 32; }
    const std::vector<std::uint32_t>& words() const { return words_; }
    std::uint64_t head() const { return head_; }
    std::uint64_t supplied() const { return supplied_; }

    // Has every push been undone: does the stack hold just what it took from its supply? Where it does not,
    // some number came off that was not put on.
    bool is_as_it_began() const;

  private:
    std::uint32_t take_word();

    static constexpr std::uint64_t kLow = std::uint64_t{1} << 32;  // head_ is in 2^32 .. 2^64 - 1
    std::vector<std::uint32_t> words_;
    std::uint64_t head_ = kLow;
    std::uint64_t supplied_ = 0;
    bool endless_ = true;
};

}  // namespace glow
