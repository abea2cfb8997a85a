// Memory by purpose: every byte belongs to a category, the peak of each is known, and nothing is allocated
// inside a step. An arena is one reserved range, carved from the front; scopes give back what was taken since
// they began.
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
    // `none` counts only: pointers are not to be read or written, and there is no limit.
    // guards: a pattern after every block, verified when it is given back, and new blocks full of NaN; for
    // tests.
    Arena(Device device, Category category, std::size_t capacity_bytes, bool guards = false);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // `count` elements, aligned, not initialized. Throws Error when the arena is full: a plan that was wrong.
    template <class T>
    T* take(index_t count) {
        return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }
    void* take_bytes(std::size_t bytes);

    // A larger memory in reserve, which is taken by enlarge(); where a device commits what is never touched.
    void reserve(std::size_t bytes) { reserve_ = bytes; }
    // Of an arena of which nothing is taken: as much room as there is in reserve, if that is more. On a GPU
    // what there was before stays too: recordings may refer to it. InputError where the device has not got so
    // much.
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
    std::vector<std::byte*> outgrown_;  // of a GPU
    std::size_t used_ = 0;
    std::size_t peak_ = 0;
};

// Bytes by category: a plan before a run, a measured peak during it.
using MemoryBytes = std::array<std::size_t, kCategories>;
std::size_t total(const MemoryBytes& bytes);
inline std::size_t& at(MemoryBytes& bytes, Category category) {
    return bytes[static_cast<int>(category)];
}
inline std::size_t at(const MemoryBytes& bytes, Category category) {
    return bytes[static_cast<int>(category)];
}

// One arena a category.
class Memory {
  public:
    // Arenas that only count (a plan is being made).
    Memory();
    // Arenas of exactly the planned sizes.
    Memory(Device device, const MemoryBytes& capacity, bool guards = false);

    Arena& operator[](Category category) { return arenas_[static_cast<int>(category)]; }
    MemoryBytes peak() const;

  private:
    std::array<Arena, kCategories> arenas_;
};

// Bytes of memory that this machine has, or that the process's control group may use.
std::size_t machine_memory_bytes();
// Bytes of the process's memory that were ever resident at once (VmHWM), and "1.5 GiB" for people.
std::size_t process_peak_bytes();
std::string human_bytes(std::size_t bytes);

}  // namespace glow
