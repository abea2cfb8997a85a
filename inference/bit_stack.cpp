// The head is in 2^32 .. 2^64 - 1; words move between it and the stack.
//
// push(v, n): head' = head n + v, in 2^32 n .. 2^64 n. If it reaches 2^64, its low word moves to the stack,
// and the rest is below 2^32 n for n <= 2^32. So pop() knows from head < 2^32 n that a word must return: the
// cases never overlap, and every call can be undone exactly for any n.
#include "inference/bit_stack.h"

#include "kernels/error.h"
#include "kernels/philox.h"

namespace glow {
namespace {

__extension__ using Uint128 = unsigned __int128;

std::uint32_t supply(std::uint64_t number) {
    return philox_block(0, Purpose::compress, 0, number / 4).word[number % 4];
}

}  // namespace

BitStack::BitStack(std::vector<std::uint32_t> words, std::uint64_t head, std::uint64_t supplied)
    : words_(std::move(words)), head_(head), supplied_(supplied), endless_(false) {
    if (head < kLow) throw InputError("the bit stack is damaged: its head is out of range");
}

std::uint32_t BitStack::take_word() {
    if (!words_.empty()) {
        const std::uint32_t word = words_.back();
        words_.pop_back();
        return word;
    }
    if (!endless_) throw InputError("the bit stack is damaged: it ends too early");
    return supply(supplied_++);
}

void BitStack::push(std::uint64_t value, std::uint64_t range) {
    const Uint128 head = static_cast<Uint128>(head_) * range + value;
    head_ = static_cast<std::uint64_t>(head);
    if (head >> 64 == 0) return;
    words_.push_back(static_cast<std::uint32_t>(head));
    head_ = static_cast<std::uint64_t>(head >> 32);
}

std::uint64_t BitStack::pop(std::uint64_t range) {
    if (head_ >> 32 >= range) {
        const std::uint64_t value = head_ % range;
        head_ /= range;
        return value;
    }
    const Uint128 head = static_cast<Uint128>(head_) << 32 | take_word();
    const std::uint64_t value = static_cast<std::uint64_t>(head % range);
    head_ = static_cast<std::uint64_t>(head / range);
    return value;
}

bool BitStack::is_in_initial_state() const {
    if (head_ != kLow || words_.size() != supplied_) return false;
    for (std::size_t i = 0; i < words_.size(); ++i)
        if (words_[i] != supply(supplied_ - 1 - i)) return false;
    return true;
}

}  // namespace glow
