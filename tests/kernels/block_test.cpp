// The block-functor driver on the CPU: phases, rounds, shared memory, and detection of races.
#define GLOW_HOST_ONLY  // use the host loop of run_blocks() on host memory in a CUDA build too
#include "kernels/block.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace glow::inline GLOW_REAL {
namespace {

const Exec kGpuPaths{Device::cpu, 2, nullptr, true};

// Reverses each block of kThreads numbers.
struct Reverse {
    static constexpr const char* name = "reverse";
    static constexpr int kThreads = 8, kBlocks = 1, kPhases = 2;
    struct Locals {};
    double* x;
    double* element(const BlockThread& at, int i) const { return x + (at.y * 2 + at.x) * kThreads + i; }
    void run(Phase<0>, const BlockThread& at, Locals&) const {
        static_cast<double*>(at.shared)[at.thread] = *element(at, at.thread);
    }
    void run(Phase<1>, const BlockThread& at, Locals&) const {
        *element(at, at.thread) = static_cast<double*>(at.shared)[kThreads - 1 - at.thread];
    }
};
// The same without the required phases: wrong on a GPU.
struct RacyReverse : Reverse {
    static constexpr int kPhases = 1;
    void run(Phase<0> first, const BlockThread& at, Locals& own) const {
        Reverse::run(first, at, own);
        Reverse::run(Phase<1>{}, at, own);
    }
};
template <class F>
std::vector<double> reversed() {
    std::vector<double> x(6 * F::kThreads);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
    run_blocks(kGpuPaths, {2, 3, F::kThreads * sizeof(double)}, F{x.data()});
    return x;
}
template <class F>
bool reverses() {
    const std::vector<double> x = reversed<F>();
    for (int i = 0; i < 6 * F::kThreads; ++i)
        if (x[i] != i / F::kThreads * F::kThreads + F::kThreads - 1 - i % F::kThreads) return false;
    return true;
}

TEST(Blocks, PhasesSeeWhatEarlierOnesWrote) {
    EXPECT_TRUE(reverses<Reverse>());
}

TEST(Blocks, RacesShow) {
    EXPECT_FALSE(reverses<RacyReverse>());
}

// Sums numbers tile by tile: repeated phases, and locals that outlive them.
struct TiledSum {
    static constexpr const char* name = "tiled_sum";
    static constexpr int kThreads = 4, kBlocks = 1, kPhases = 4, kLoopPhases = 2;
    struct Locals {
        double sum;
    };
    int tiles;
    const double* x;
    double* sums;
    int rounds(const BlockThread& at) const { return tiles - at.x; }  // block 1 skips the last tile
    void run(Phase<0>, const BlockThread& at, Locals& own) const {
        if (at.round == 0) own.sum = 0;
        static_cast<double*>(at.shared)[at.thread] = x[at.round * kThreads + at.thread];
    }
    void run(Phase<1>, const BlockThread& at, Locals& own) const {
        own.sum += static_cast<double*>(at.shared)[(at.thread + 1) % kThreads];
    }
    void run(Phase<2>, const BlockThread& at, Locals& own) const {
        static_cast<double*>(at.shared)[at.thread] = own.sum;
    }
    void run(Phase<3>, const BlockThread& at, Locals&) const {
        if (at.thread != 0) return;
        sums[at.x] = 0;
        for (int i = 0; i < kThreads; ++i) sums[at.x] += static_cast<double*>(at.shared)[i];
    }
};

TEST(Blocks, RoundsRepeatTheFirstPhases) {
    std::vector<double> x(12), sums(2, -1.0);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(1 << i);
    run_blocks(kGpuPaths, {2, 1, 4 * sizeof(double)}, TiledSum{3, x.data(), sums.data()});
    EXPECT_EQ(sums, (std::vector<double>{4095, 255}));
}

// Sums tiles of packs, the next one copied while one is summed.
template <int kPending>
struct PipelinedSum {
    static constexpr const char* name = "pipelined_sum";
    static constexpr int kThreads = 4, kBlocks = 1, kPhases = 3, kLoopPhases = 2, kPack = 2;
    struct Locals {
        double sum;
    };
    int tiles;
    const double* x;
    double* sums;
    int rounds(const BlockThread&) const { return tiles; }
    void copy(const BlockThread& at, int tile) const {
        const int i = at.thread * kPack;
        if (tile < tiles)
            copy_async(static_cast<double*>(at.shared) + tile % 2 * kThreads * kPack + i,
                       x + tile * kThreads * kPack + i);
        commit_copies();
    }
    void run(Phase<0>, const BlockThread& at, Locals& own) const {
        if (at.round == 0) own.sum = 0, copy(at, 0);
        copy(at, at.round + 1);
        wait_for_copies<kPending>();
    }
    void run(Phase<1>, const BlockThread& at, Locals& own) const {
        const double* const tile = static_cast<double*>(at.shared) + at.round % 2 * kThreads * kPack;
        for (int i = 0; i < kPack; ++i) own.sum += tile[(at.thread + 1) % kThreads * kPack + i];
    }
    void run(Phase<2>, const BlockThread& at, Locals& own) const { sums[at.thread] = own.sum; }
};
template <int kPending>
std::vector<double> pipelined_sums() {
    alignas(16) double x[24];
    std::vector<double> sums(4, -1.0);
    for (int i = 0; i < 24; ++i) x[i] = i;
    run_blocks(kGpuPaths, {1, 1, 2 * 8 * sizeof(double)}, PipelinedSum<kPending>{3, x, sums.data()});
    return sums;
}

TEST(Blocks, CopiesArriveWhenTheyAreWaitedFor) {
    const std::vector<double> expected{2 * (2 + 10 + 18) + 3, 2 * (4 + 12 + 20) + 3, 2 * (6 + 14 + 22) + 3,
                                       2 * (0 + 8 + 16) + 3};
    EXPECT_EQ(pipelined_sums<1>(), expected);
    EXPECT_NE(pipelined_sums<2>(), expected);  // reads a tile that may not be there
}

TEST(Blocks, RejectsTooMuchSharedMemory) {
    double x = 0;
    EXPECT_THROW(run_blocks(kGpuPaths, {1, 1, kMaxSharedBytes + 1}, Reverse{&x}), Error);
}

TEST(Blocks, CopiesEveryItemOnce) {
    for (const int count : {1, 7, 8, 9, 100}) {
        std::vector<int> copied(100);
        for (int thread = 0; thread < 4; ++thread)
            copy_items<4, 2>(
                thread, count, [&](int i) { return 10 * i; }, [&](int i, int x) { copied[i] += x + 1; });
        for (int i = 0; i < 100; ++i) EXPECT_EQ(copied[i], i < count ? 10 * i + 1 : 0);
    }
}

TEST(Divisor, DividesExactly) {
    for (const index_t divisor : {1, 2, 3, 7, 12, 13, 255, 256, 1365, 46341, 65536, 1 << 30}) {
        const Divisor by(divisor);
        const auto last = ((index_t{1} << 31) - 1) / divisor;
        for (index_t i = 0; i <= last; i = i < 100000 ? i + 1 : i + 9973)
            ASSERT_EQ(by.quotient(static_cast<int>(i)), i / divisor) << i << " / " << divisor;
        ASSERT_EQ(by.quotient(static_cast<int>(last)), last / divisor);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
