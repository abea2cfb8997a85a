// CPU arenas reserve virtual memory: pages are committed when first touched, so an arena costs only what it
// uses. CUDA arenas are one allocation.
#include "runtime/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/memory_limit.h"

namespace glow {
namespace {

constexpr std::byte kGuard{0xA5};
constexpr std::size_t kGuardBytes = kAlignment;

std::string_view name_of(Category category) {
    return kCategoryNames[static_cast<int>(category)];
}

}  // namespace

Arena::Arena(Device device, Category category, std::size_t capacity_bytes, bool guards)
    : device_(device), category_(category), guards_(guards && device == Device::cpu) {
    allocate(capacity_bytes);
}

void Arena::allocate(std::size_t capacity_bytes) {
    if (device_ == Device::count_only || (capacity_bytes == 0 && !guards_)) return;
    if (device_ == Device::cuda) {
        base_ = static_cast<std::byte*>(cuda::allocate(capacity_bytes));
        capacity_ = capacity_bytes;
        return;
    }
    if (capacity_bytes > std::numeric_limits<std::size_t>::max() / 4)
        throw InputError(fmt::format("{} arena: {} bytes is more than any machine has", name_of(category_),
                                     capacity_bytes));
    // Guards and rounding need extra room, which the plan does not count.
    const std::size_t bytes = guards_ ? capacity_bytes * 2 + (std::size_t{1} << 24) : capacity_bytes;
    void* const base =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        throw InputError(fmt::format("{} arena: the system cannot provide {}; use a smaller model or batch",
                                     name_of(category_), format_bytes(bytes)));
    base_ = static_cast<std::byte*>(base);
    capacity_ = bytes;
}

Arena::~Arena() {
    give_back(base_);
    for (std::byte* const base : outgrown_) give_back(base);
}

void Arena::give_back(std::byte* base) const {
    if (base == nullptr) return;
    if (device_ == Device::cuda)
        cuda::release(base);
    else
        munmap(base, capacity_);
}

void Arena::enlarge() {
    if (reserve_ <= capacity_) return;
    if (used_ > 0)
        throw Error(
            fmt::format("{} arena: cannot be enlarged while {} bytes are in use", name_of(category_), used_));
    std::byte* const old = base_;
    if (device_ != Device::cuda) {
        give_back(old);
        base_ = nullptr;
        capacity_ = 0;
    }
    allocate(reserve_);
    if (device_ == Device::cuda && old != nullptr) outgrown_.push_back(old);
}

void* Arena::take_bytes(std::size_t bytes) {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t total = rounded + (guards_ ? kGuardBytes + kAlignment : 0);
    if (device_ != Device::count_only && (total < bytes || total > capacity_ - used_))
        throw Error(fmt::format("{} arena: {} more bytes needed, {} of {} in use: the memory plan was wrong",
                                name_of(category_), bytes, used_, capacity_));
    // A counting arena returns dummy addresses other than nullptr.
    std::byte* const block = base_ != nullptr ? base_ + used_ : reinterpret_cast<std::byte*>(kAlignment);
    if (guards_) {
        // The block's size is stored after its guard, so that release can walk back through the blocks.
        std::memset(block, 0xFF, rounded);
        std::memset(block + rounded, static_cast<int>(kGuard), kGuardBytes);
        std::memcpy(block + rounded + kGuardBytes, &total, sizeof total);
    }
    used_ += total;
    peak_ = std::max(peak_, used_);
    return block;
}

void Arena::release(std::size_t mark) {
    while (guards_ && used_ > mark) {
        std::size_t total;
        std::memcpy(&total, base_ + used_ - kAlignment, sizeof total);
        const std::byte* const guard = base_ + used_ - kAlignment - kGuardBytes;
        if (!std::all_of(guard, guard + kGuardBytes, [](std::byte b) { return b == kGuard; })) {
            std::fprintf(stderr, "glow: a block of the %s arena was written past its end\n",
                         std::string(name_of(category_)).c_str());
            std::abort();  // a destructor cannot throw, and memory is corrupt
        }
        used_ -= total;
    }
    used_ = mark;
}

std::size_t total(const MemoryBytes& bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), std::size_t{0});
}

namespace {

template <std::size_t... I>
std::array<Arena, kCategories> make_arenas(Device device, const MemoryBytes& capacity, bool guards,
                                           std::index_sequence<I...>) {
    return {Arena(device, static_cast<Category>(I), capacity[I], guards)...};
}

}  // namespace

Memory::Memory()
    : arenas_(make_arenas(Device::count_only, {}, false, std::make_index_sequence<kCategories>())) {}

namespace {

void refuse_beyond_process(Device device, std::size_t bytes) {
    if (device != Device::cpu) return;
    if (const MemoryLimit limit = process_memory_limit(); bytes + kLibraryBytes > limit.bytes)
        throw InputError(
            fmt::format("{} are needed, but {} {}: use a smaller model or batch, or raise the limit",
                        format_bytes(bytes + kLibraryBytes), limit.source, format_bytes(limit.bytes)));
}

}  // namespace

Memory::Memory(Device device, const MemoryBytes& capacity, bool guards)
    : arenas_((refuse_beyond_process(device, total(capacity)),
               make_arenas(device, capacity, guards, std::make_index_sequence<kCategories>()))) {}

MemoryBytes Memory::peak() const {
    MemoryBytes bytes{};
    for (int i = 0; i < kCategories; ++i) bytes[i] = arenas_[i].peak();
    return bytes;
}

std::size_t process_peak_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind("VmHWM:", 0) == 0) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
    return 0;
}

std::string format_bytes(std::size_t bytes) {
    if (bytes >= std::size_t{1} << 30) return fmt::format("{:.2f} GiB", bytes / double(1 << 30));
    if (bytes >= std::size_t{1} << 20) return fmt::format("{:.1f} MiB", bytes / double(1 << 20));
    if (bytes >= std::size_t{1} << 10) return fmt::format("{:.1f} KiB", bytes / double(1 << 10));
    return fmt::format("{} B", bytes);
}

}  // namespace glow
