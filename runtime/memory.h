// Memory by purpose: every byte belongs to a category with a known peak, and a step allocates nothing. An
// arena is one reserved range, carved from the front; a scope returns everything taken since it began.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base.h"

namespace glow {

enum class Category { parameters, gradients, moments, ema, derived, state, workspace, stored, communication };
inline constexpr int kCategories = 9;
inline constexpr std::array<std::string_view, kCategories> kCategoryNames = {
    "parameters", "gradients", "moments", "ema", "derived", "state", "workspace", "stored", "communication"};

inline constexpr std::size_t kAlignment = 64;  // bytes: a cache line, and one AVX-512 vector

class Arena {
  public:
    // Device::count_only counts without limit; its pointers must not be dereferenced. guards (for tests):
    // writes a pattern after every block, verifies it on release, and fills new blocks with NaN.
    Arena(Device device, Category category, std::size_t capacity_bytes, bool guards = false);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Takes `count` aligned, uninitialized elements. Throws Error if the arena is full, which means the plan
    // was wrong.
    template <class T>
    T* take(index_t count) {
        return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }
    void* take_bytes(std::size_t bytes);

    // Sets a larger size for enlarge(). For GPUs, where memory is taken when it is allocated, not when it is
    // first touched.
    void reserve(std::size_t bytes) { reserve_ = bytes; }
    // Grows an empty arena to the reserved size, if larger. On a GPU the old memory stays allocated because
    // captured graphs may refer to it. Throws InputError if the device does not have enough memory.
    void enlarge();

    std::size_t used() const { return used_; }
    std::size_t peak() const { return peak_; }
    Category category() const { return category_; }

    class Scope {
      public:
        explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
        ~Scope() { arena_.release(mark_); }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

      private:
        Arena& arena_;
        std::size_t mark_;
    };

  private:
    void release(std::size_t mark);
    void allocate(std::size_t capacity_bytes);
    void give_back(std::byte* base) const;

    Device device_;
    Category category_;
    std::size_t capacity_ = 0;
    bool guards_ = false;
    std::byte* base_ = nullptr;
    std::size_t reserve_ = 0;
    std::vector<std::byte*> outgrown_;  // on a GPU
    std::size_t used_ = 0;
    std::size_t peak_ = 0;
};

// Bytes per category: planned, or the measured peak.
using MemoryBytes = std::array<std::size_t, kCategories>;
std::size_t total(const MemoryBytes& bytes);
inline std::size_t& at(MemoryBytes& bytes, Category category) {
    return bytes[static_cast<int>(category)];
}
inline std::size_t at(const MemoryBytes& bytes, Category category) {
    return bytes[static_cast<int>(category)];
}

// One arena per category.
class Memory {
  public:
    // Counting arenas, for planning.
    Memory();
    // Arenas of exactly the planned sizes.
    Memory(Device device, const MemoryBytes& capacity, bool guards = false);

    Arena& operator[](Category category) { return arenas_[static_cast<int>(category)]; }
    MemoryBytes peak() const;

  private:
    std::array<Arena, kCategories> arenas_;
};

// Peak resident memory of the process in bytes (VmHWM), and formatting as "1.5 GiB".
std::size_t process_peak_bytes();
std::string format_bytes(std::size_t bytes);

}  // namespace glow
