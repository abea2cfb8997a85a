#include "runtime/memory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/error.h"
#include "runtime/context.h"
#include "runtime/device.h"

namespace glow {
namespace {

TEST(Arena, BlocksAreAlignedAndDisjoint) {
    for (const bool guards : {false, true}) {
        Arena arena(Device::cpu, Category::workspace, 1 << 16, guards);
        double* const x = arena.take<double>(3);
        char* const y = arena.take<char>(1);
        float* const z = arena.take<float>(100);
        for (void* const block : {static_cast<void*>(x), static_cast<void*>(y), static_cast<void*>(z)})
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % kAlignment, 0u);
        std::memset(x, 1, 3 * sizeof(double));
        *y = 2;
        std::memset(z, 3, 100 * sizeof(float));
        EXPECT_EQ(*y, 2);
        EXPECT_EQ(reinterpret_cast<char*>(x)[23], 1);
    }
}

TEST(Arena, ScopesReleaseMemoryAndKeepPeak) {
    Arena arena(Device::cpu, Category::state, 1 << 16);
    float* const kept = arena.take<float>(16);
    EXPECT_EQ(arena.used(), 64u);
    float* first;
    {
        const Arena::Scope outer(arena);
        first = arena.take<float>(17);
        {
            const Arena::Scope inner(arena);
            arena.take_bytes(1000);
            EXPECT_EQ(arena.used(), 64u + 128 + 1024);
        }
        EXPECT_EQ(arena.used(), 64u + 128);
    }
    EXPECT_EQ(arena.used(), 64u);
    EXPECT_EQ(arena.peak(), 64u + 128 + 1024);
    EXPECT_EQ(arena.take<float>(1), first);  // the same memory again
    EXPECT_NE(kept, first);
    EXPECT_EQ(arena.category(), Category::state);
}

TEST(Arena, HoldsExactCapacityWithoutGuards) {
    Arena arena(Device::cpu, Category::workspace, 256);
    arena.take_bytes(192);
    arena.take_bytes(64);
    arena.take_bytes(0);
    EXPECT_EQ(arena.used(), 256u);
    EXPECT_EQ(arena.peak(), 256u);
}

TEST(Arena, ThrowsWhenFull) {
    Arena arena(Device::cpu, Category::moments, 256);
    arena.take_bytes(200);
    try {
        arena.take_bytes(1);
        FAIL() << "nothing was thrown";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("moments"), std::string::npos) << error.what();
    }
    EXPECT_EQ(arena.used(), 256u);
    EXPECT_THROW(arena.take_bytes(~std::size_t{0} - 10), Error);  // rounding up overflows
    Arena empty(Device::cpu, Category::ema, 0);
    EXPECT_THROW(empty.take_bytes(1), Error);
    EXPECT_NO_THROW(empty.take_bytes(0));
    Arena guarded(Device::cpu, Category::ema, 0, true);
    EXPECT_NO_THROW(guarded.take_bytes(0));
}

TEST(Arena, RejectsImpossibleSize) {
    EXPECT_THROW(Arena(Device::cpu, Category::state, ~std::size_t{0}), InputError);
    EXPECT_THROW(Arena(Device::cpu, Category::state, ~std::size_t{0} / 8), InputError);
}

TEST(Arena, EnlargeUsesReserve) {
    constexpr std::size_t kReserve = std::size_t{1} << 26;  // more than guards add to the arena
    for (const bool guards : {false, true}) {
        Arena arena(Device::cpu, Category::stored, 128, guards);
        arena.enlarge();  // nothing reserved: unchanged
        arena.reserve(kReserve);
        if (!guards) {
            EXPECT_THROW(arena.take_bytes(129), Error);
        }
        {
            const Arena::Scope scope(arena);
            arena.take_bytes(128);
            EXPECT_THROW(arena.enlarge(), Error);
        }
        arena.enlarge();
        void* const all = arena.take_bytes(kReserve);
        std::memset(all, 1, kReserve);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(all) % kAlignment, 0u);
        if (!guards) {
            EXPECT_EQ(arena.peak(), kReserve);
            EXPECT_THROW(arena.take_bytes(1), Error);
        }
    }
}

// It has no memory then, and must not give out addresses as if it had.
TEST(Arena, StaysUsableAfterFailedEnlarge) {
    for (const Device device : {Device::cpu, Device::cuda}) {
        if (device == Device::cuda && cuda_problem().empty()) continue;  // this GPU may have 2^60 bytes
        Arena arena(device, Category::stored, 0);
        arena.reserve(std::size_t{1} << 60);
        EXPECT_THROW(arena.enlarge(), Error);
        EXPECT_THROW(arena.take_bytes(1), Error) << to_string(device);
        EXPECT_THROW(arena.enlarge(), Error);
        if (device == Device::cuda) continue;
        arena.reserve(256);
        arena.enlarge();
        std::memset(arena.take_bytes(256), 1, 256);
    }
}

TEST(Arena, CountingArenaIsUnlimitedAndAgrees) {
    Arena counting(Device::count_only, Category::workspace, 0),
        real(Device::cpu, Category::workspace, 1 << 20);
    for (Arena* const arena : {&counting, &real}) {
        arena->take<double>(1000);
        const Arena::Scope scope(*arena);
        arena->take<char>(1);
        arena->take<char>(0);
    }
    EXPECT_NE(counting.take<double>(1), nullptr);
    EXPECT_EQ(counting.used(), 8000u + 64);
    EXPECT_EQ(counting.peak(), real.peak());
    EXPECT_NO_THROW(counting.take_bytes(std::size_t{1} << 50));
}

TEST(Arena, GuardedBlocksStartAsNaN) {
    Arena arena(Device::cpu, Category::workspace, 1 << 12, true);
    const double* const x = arena.take<double>(10);
    const float* const y = arena.take<float>(10);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(std::isnan(x[i]) && std::isnan(y[i]));
}

TEST(ArenaDeathTest, GuardsDetectOverrun) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_DEATH(
        {
            Arena arena(Device::cpu, Category::workspace, 1 << 12, true);
            const Arena::Scope scope(arena);
            char* const x = arena.take<char>(64);
            arena.take<char>(64);
            x[64] = 1;
        },
        "workspace arena was written past its end");
}

TEST(Arena, GuardsAllowCorrectUse) {
    Arena arena(Device::cpu, Category::workspace, 1 << 12, true);
    for (int time = 0; time < 3; ++time) {
        const Arena::Scope scope(arena);
        for (const int bytes : {64, 1, 0, 100}) std::memset(arena.take_bytes(bytes), 0, bytes);
        const Arena::Scope inner(arena);
        std::memset(arena.take_bytes(500), 0, 500);
    }
    EXPECT_EQ(arena.used(), 0u);
}

TEST(Memory, ArenasHavePlannedSizes) {
    MemoryBytes plan{};
    for (int i = 0; i < kCategories; ++i) plan[i] = 64 * (i + 1);
    Memory memory(Device::cpu, plan);
    for (int i = 0; i < kCategories; ++i) {
        Arena& arena = memory[static_cast<Category>(i)];
        EXPECT_EQ(arena.category(), static_cast<Category>(i));
        arena.take_bytes(plan[i]);
        EXPECT_THROW(arena.take_bytes(1), Error);
    }
    EXPECT_EQ(memory.peak(), plan);
    EXPECT_EQ(total(plan), 64u * 45);
    EXPECT_EQ(at(plan, Category::parameters), 64u);
}

TEST(Memory, ProcessPeakCountsTouchedMemory) {
    const std::size_t before = process_peak_bytes();
    ASSERT_GT(before, 0u);
    const std::size_t bytes = std::size_t{64} << 20;
    Arena arena(Device::cpu, Category::stored, 16 * bytes);
    EXPECT_LT(process_peak_bytes(), before + bytes / 2);
    std::memset(arena.take_bytes(bytes), 1, bytes);
    EXPECT_GE(process_peak_bytes(), bytes);
}

TEST(Memory, FormatsBytes) {
    EXPECT_EQ(format_bytes(12), "12 B");
    EXPECT_EQ(format_bytes(1536), "1.5 KiB");
    EXPECT_EQ(format_bytes(std::size_t{5} << 19), "2.5 MiB");
    EXPECT_EQ(format_bytes(std::size_t{9} << 29), "4.50 GiB");
}

TEST(Backend, CountingContextRunsNothing) {
    const Backend backend(Device::cpu, 2);
    Arena workspace(Device::count_only, Category::workspace, 0);
    const Context context = backend.counting_context(workspace);
    EXPECT_TRUE(context.counting());
    float* const nowhere = workspace.take<float>(1);
    context.gemm({.m = 8, .n = 8, .k = 8, .lda = 8, .ldb = 8, .ldc = 8}, nowhere, nowhere, nowhere);
    Arena real(Device::cpu, Category::workspace, 1 << 20);
    EXPECT_FALSE(backend.context(real).counting());
}

}  // namespace
}  // namespace glow
