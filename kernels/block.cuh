// Kernels with shared memory, written once for both devices. A block functor is a functor
// (kernels/launch.cuh) that runs in phases. All threads of a block synchronize between phases: a phase may
// read shared memory that any thread wrote in an earlier phase, but nothing that another thread writes in the
// same phase.
//
//     static constexpr int kThreads, kBlocks;  // threads per block; minimum blocks per multiprocessor
//     static constexpr int kPhases;
//     struct Locals { ... };                   // a thread's variables that last from phase to phase
//     GLOW_HD void run(Phase<0>, const BlockThread& at, Locals& own) const;  // one run() per phase
//
// Optionally the first kLoopPhases phases form a loop that runs rounds(at) times. rounds() must return the
// same number for all threads of a block:
//
//     static constexpr int kLoopPhases;
//     GLOW_HD int rounds(const BlockThread& at) const;
//
// With Exec::use_gpu_paths a CPU runs the same source, each phase for one thread after another in scrambled
// order, so that tests can compare the results with those of a plain functor. This exposes races: if a phase
// reads what another thread writes in the same phase, some threads read it too early and the results differ.
// Asynchronous copies of every second thread happen only when the thread waits for them, those of the others
// immediately.
#pragma once

#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/async_copy.cuh"
#include "kernels/launch.cuh"

namespace glow::inline GLOW_REAL {

template <int kPhase>
using Phase = std::integral_constant<int, kPhase>;

struct BlockThread {
    int thread;     // within its block
    int x, y;       // block position in its grid
    int round = 0;  // of the repeated phases
    void* shared;   // aligned to 16 bytes, initially undefined
};

// Shared memory per block that every GPU provides without opt-in, and with it (from compute capability 8.0
// on).
inline constexpr index_t kSharedBytes = 48 << 10, kMaxSharedBytes = 96 << 10;

// Multiprocessors of an H100; a constant, because the order of sums depends on it.
inline constexpr int kMultiprocessors = 132;

// x by y blocks, each with `shared_bytes` of shared memory.
struct BlockGrid {
    index_t x, y, shared_bytes;
};

// Divides i by a divisor fixed at launch, for i * divisor < 2^31, using a multiplication.
struct Divisor {
    int divisor;
    std::uint32_t factor;
    explicit Divisor(index_t divisor)
        : divisor(static_cast<int>(divisor)),
          factor(static_cast<std::uint32_t>((index_t{1} << 31) / divisor + 1)) {}
    GLOW_HD int quotient(int i) const {
        return static_cast<int>(static_cast<std::uint64_t>(static_cast<std::uint32_t>(i)) * factor >> 31);
    }
};

// Calls store(i, load(i)) for the thread's items out of `count`, loading kAhead of them before storing the
// first. load() must not branch, which would prevent the loads from overlapping, and may be repeated for the
// last item.
template <int kThreads, int kAhead, class Load, class Store>
GLOW_HD inline void copy_items(int thread, int count, Load load, Store store) {
    for (int first = thread; first < count; first += kAhead * kThreads) {
        std::decay_t<decltype(load(0))> item[kAhead];
        for (int k = 0; k < kAhead; ++k) {
            const int i = first + k * kThreads;
            item[k] = load(i < count ? i : count - 1);
        }
        for (int k = 0; k < kAhead; ++k)
            if (first + k * kThreads < count) store(first + k * kThreads, item[k]);
    }
}

// Adds up values [kThreads] in shared memory, one from each thread, in two phases: first kFinalThreads
// threads add up every kFinalThreads-th value, then one thread adds up their sums.
inline constexpr int kFinalThreads = 16;
template <int kThreads>
GLOW_HD inline void start_thread_sum(int thread, double* values) {
    if (thread >= kFinalThreads) return;
    double sum = 0;
    for (int t = thread; t < kThreads; t += kFinalThreads) sum += values[t];
    values[thread] = sum;  // only this thread has read this element
}
GLOW_HD inline double finish_thread_sum(const double* values) {
    double sum = 0;
    for (int t = 0; t < kFinalThreads; ++t) sum += values[t];
    return sum;
}

// Number of repeated phases of a functor.
template <class F>
constexpr int loop_phases() {
    if constexpr (requires { F::kLoopPhases; })
        return F::kLoopPhases;
    else
        return 0;
}

#if defined(__CUDACC__)
template <int kFirst, class F, int... kPhase>
__device__ inline void run_phases(const F& f, const BlockThread& at, typename F::Locals& own,
                                  std::integer_sequence<int, kPhase...>) {
    (((kFirst + kPhase > 0 || at.round > 0 ? __syncthreads() : void()),
      f.run(Phase<kFirst + kPhase>{}, at, own)),
     ...);
}
template <class F>
__global__ void __launch_bounds__(F::kThreads, F::kBlocks) block_kernel(const __grid_constant__ F f) {
    extern __shared__ uint4 shared[];
    constexpr int kLoop = loop_phases<F>();
    BlockThread at{static_cast<int>(threadIdx.x), static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y),
                   0, shared};
    typename F::Locals own;
    if constexpr (kLoop > 0)
        for (const int rounds = f.rounds(at); at.round != rounds; ++at.round)
            run_phases<0>(f, at, own, std::make_integer_sequence<int, kLoop>{});
    run_phases<kLoop>(f, at, own, std::make_integer_sequence<int, F::kPhases - kLoop>{});
}
#endif  // __CUDACC__

// The threads of one block, run on the CPU.
template <class F>
class HostBlock {
  public:
    HostBlock(const F& f, index_t shared_bytes)
        : f_(f),
          shared_(static_cast<std::size_t>(shared_bytes + 15) / 16),
          own_(F::kThreads),
          copies_(F::kThreads) {}

    void run(int x, int y) {
        constexpr int kLoop = loop_phases<F>();
        if (!shared_.empty())  // fill with NaN to expose uninitialized reads
            std::memset(shared_.data(), 0xff, shared_.size() * sizeof(Unit));
        for (AsyncCopies& copies : copies_) copies.clear();
        at_ = {0, x, y, 0, shared_.data()};
        if constexpr (kLoop > 0)
            for (const int rounds = f_.rounds(at_); at_.round != rounds; ++at_.round)
                run_phases<0>(std::make_integer_sequence<int, kLoop>{});
        run_phases<kLoop>(std::make_integer_sequence<int, F::kPhases - kLoop>{});
    }

  private:
    struct alignas(16) Unit {
        unsigned char byte[16];
    };
    template <int kFirst, int... kPhase>
    void run_phases(std::integer_sequence<int, kPhase...>) {
        (run_threads(Phase<kFirst + kPhase>{}), ...);
    }
    template <int kPhase>
    void run_threads(Phase<kPhase> phase) {
        for (int i = 0; i < F::kThreads; ++i) {
            at_.thread = static_cast<int>(index_t{i} * kStride % F::kThreads);
            AsyncCopies::current = i % 2 == 0 ? &copies_[static_cast<std::size_t>(at_.thread)] : nullptr;
            f_.run(phase, at_, own_[static_cast<std::size_t>(at_.thread)]);
        }
        AsyncCopies::current = nullptr;
    }
    // Visits every thread once, each far from the previous one.
    static constexpr int scrambling_stride() {
        int stride = F::kThreads * 5 / 8;
        while (std::gcd(stride, F::kThreads) != 1) ++stride;
        return stride;
    }
    static constexpr int kStride = scrambling_stride();

    const F& f_;
    std::vector<Unit> shared_;
    std::vector<typename F::Locals> own_;
    std::vector<AsyncCopies> copies_;  // by thread
    BlockThread at_{};
};

template <Functor F>
void run_blocks(const Exec& exec, const BlockGrid& grid, const F& f) {
    static_assert(F::kThreads % 32 == 0 || F::kThreads < 32, "whole warps");
    static_assert(F::kBlocks >= 1 && F::kThreads * F::kBlocks <= 2048, "what a multiprocessor can hold");
    if (grid.x <= 0 || grid.y <= 0 || !begin_launch(exec, f)) return;
    if (grid.shared_bytes > kMaxSharedBytes || grid.x > (index_t{1} << 30) || grid.y > 65535)
        throw_error(std::string(F::name) + ": blocks too large or too many for a GPU");
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
        if (grid.shared_bytes > kSharedBytes)  // an error is reported with the launch's
            static_cast<void>(cudaFuncSetAttribute(block_kernel<F>,
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(grid.shared_bytes)));
        block_kernel<<<blocks, F::kThreads, static_cast<std::size_t>(grid.shared_bytes), stream_of(exec)>>>(
            f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel num_threads(exec.threads)
    {
        HostBlock<F> block(f, grid.shared_bytes);
#pragma omp for schedule(static)
        for (index_t i = 0; i < grid.x * grid.y; ++i)
            block.run(static_cast<int>(i % grid.x), static_cast<int>(i / grid.x));
    }
}

}  // namespace glow::inline GLOW_REAL
