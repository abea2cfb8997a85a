// Runs a kernel whose warps exchange values within a phase on the CPU: the instructions that
// kernels/tensor_core.cuh declares, for the threads of one block. The host loop of block.cuh cannot run such
// a kernel, because it finishes a phase in one thread before it starts the next.
//
// Each thread is a fiber. It runs until it needs values of other lanes or a barrier; the last thread that
// arrives completes the operation. Threads that wait are continued in last-in, first-out order, so one warp
// runs as far ahead of the others as the barriers allow. This exposes missing barriers, as do shared memory
// that is filled with NaN at the start and copies that every second thread delays until it waits for them.
//
// Define GLOW_HOST_ONLY before including this header.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "kernels/block.cuh"
#include "kernels/math.h"
#include "kernels/tensor_core.cuh"

namespace glow::test {

class WarpEmulator {
  public:
    using Kernel = std::function<void(const BlockThread&)>;

    WarpEmulator(int threads, index_t shared_bytes)
        : shared_(static_cast<std::size_t>(shared_bytes + 15) / 16),
          threads_(static_cast<std::size_t>(threads)),
          warps_(threads_.size() / 32) {
        for (Thread& thread : threads_) thread.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
    }

    // Runs one block.
    void run(int x, int y, const Kernel& kernel) {
        std::memset(shared_.data(), 0xff, shared_.size() * sizeof(Unit));
        kernel_ = &kernel, x_ = x, y_ = y, running_ = this, finished_ = 0, at_barrier_.clear(),
        ready_.clear();
        for (Warp& warp : warps_) warp.waiting.clear();
        const int count = static_cast<int>(threads_.size());
        for (int i = 0; i < count; ++i) {
            const int number = static_cast<int>(index_t{i} * kStride % count);
            prepare(threads_[static_cast<std::size_t>(number)]);
            ready_.push_back(number);
        }
        error_ = nullptr;
        while (!ready_.empty() && error_ == nullptr) continue_at(take_ready(), main_);
        AsyncCopies::current = nullptr, running_ = nullptr;
        if (error_ != nullptr) std::rethrow_exception(error_);
        if (finished_ != count) throw std::logic_error("a thread waits for others that have ended");
    }

    // Instructions of the thread that runs.
    static WarpEmulator& running() { return *running_; }
    unsigned address(const void* pointer) const {
        return static_cast<unsigned>(static_cast<const char*>(pointer) -
                                     reinterpret_cast<const char*>(shared_.data()));
    }
    void sync_threads() {
        at_barrier_.push_back(current_);
        if (at_barrier_.size() < threads_.size()) return wait();
        at_barrier_.pop_back();
        ready_.insert(ready_.end(), at_barrier_.begin(), at_barrier_.end());
        at_barrier_.clear();
    }
    void load_matrices(unsigned (&m)[4], unsigned address, bool transposed) {
        Lane& mine = lane();
        mine.address = address;
        exchange([&](Warp& warp) { load_matrices(warp, transposed); });
        std::copy(mine.a, mine.a + 4, m);
    }
    void multiply_add(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        Lane& mine = lane();
        std::copy(a, a + 4, mine.a), std::copy(b, b + 2, mine.b), std::copy(c, c + 4, mine.c);
        exchange([](Warp& warp) { multiply_add(warp); });
        std::copy(mine.c, mine.c + 4, c);
    }

  private:
    static constexpr std::size_t kStackBytes = 64 << 10;
    static constexpr int kStride = 167;  // prime: visits all threads, each far from the previous one

    struct alignas(16) Unit {
        unsigned char byte[16];
    };
    struct Thread {
        ucontext_t context;
        std::unique_ptr<char[]> stack;
        AsyncCopies copies;
    };
    // Registers of an instruction's operands and results.
    struct Lane {
        unsigned address, a[4], b[2];
        float c[4];
    };
    struct Warp {
        Lane lanes[32];
        std::vector<int> waiting;  // threads
    };

    void prepare(Thread& thread) {
        thread.copies.clear();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = kStackBytes;
        thread.context.uc_link = &main_;  // when it ends
        makecontext(&thread.context, &WarpEmulator::enter, 0);
    }
    static void enter() {
        WarpEmulator& block = running();
        try {
            (*block.kernel_)({block.current_, block.x_, block.y_, 0, block.shared_.data()});
            ++block.finished_;
        } catch (...) {
            block.error_ = std::current_exception();
        }
    }
    int take_ready() {
        const int thread = ready_.back();
        ready_.pop_back();
        return thread;
    }
    void continue_at(int thread, ucontext_t& from) {
        Thread& next = threads_[static_cast<std::size_t>(thread)];
        current_ = thread;
        AsyncCopies::current = thread % 2 == 0 ? nullptr : &next.copies;
        swapcontext(&from, &next.context);
    }
    // Continues another thread; returns when this one is continued.
    void wait() {
        ucontext_t& mine = threads_[static_cast<std::size_t>(current_)].context;
        if (ready_.empty())
            swapcontext(&mine, &main_);  // run() reports it
        else
            continue_at(take_ready(), mine);
    }
    Warp& warp() { return warps_[static_cast<std::size_t>(current_) / 32]; }
    Lane& lane() { return warp().lanes[current_ % 32]; }
    template <class F>
    void exchange(F operation) {
        Warp& mine = warp();
        mine.waiting.push_back(current_);
        if (mine.waiting.size() < 32) return wait();
        operation(mine);
        mine.waiting.pop_back();
        ready_.insert(ready_.end(), mine.waiting.begin(), mine.waiting.end());
        mine.waiting.clear();
    }

    // The two instructions with the distribution of elements over lanes that the PTX manual defines.
    void load_matrices(Warp& warp, bool transposed) const {
        const char* const memory = reinterpret_cast<const char*>(shared_.data());
        for (int m = 0; m < 4; ++m) {
            std::uint16_t element[8][8];
            for (int row = 0; row < 8; ++row) {
                const unsigned address = warp.lanes[8 * m + row].address;
                if (address % 16 != 0 || address + 16 > shared_.size() * sizeof(Unit))
                    throw std::logic_error("ldmatrix: misaligned or outside shared memory");
                std::memcpy(element[row], memory + address, 16);
            }
            for (int l = 0; l < 32; ++l) {
                const int major = l / 4, minor = l % 4 * 2;
                const auto value = [&](int e) -> unsigned {
                    return transposed ? element[minor + e][major] : element[major][minor + e];
                };
                warp.lanes[l].a[m] = value(0) | value(1) << 16;
            }
        }
    }
    static float half_of(unsigned word, int half) {
        return widen(bfloat16{static_cast<std::uint16_t>(word >> 16 * half)});
    }
    static void multiply_add(Warp& warp) {
        float a[16][16], b[16][8];
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 2; ++e) {
                const Lane& lane = warp.lanes[l];
                const int major = l / 4, minor = l % 4 * 2 + e;
                for (int i = 0; i < 4; ++i) a[major + i % 2 * 8][minor + i / 2 * 8] = half_of(lane.a[i], e);
                for (int i = 0; i < 2; ++i) b[minor + i * 8][major] = half_of(lane.b[i], e);
            }
        for (int l = 0; l < 32; ++l)
            for (int i = 0; i < 4; ++i) {
                const float* const row = a[l / 4 + i / 2 * 8];
                const int column = l % 4 * 2 + i % 2;
                float& sum = warp.lanes[l].c[i];
                for (int k = 0; k < 16; ++k) sum += row[k] * b[k][column];
            }
    }

    static inline WarpEmulator* running_ = nullptr;

    std::vector<Unit> shared_;
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    std::vector<int> ready_, at_barrier_;
    ucontext_t main_{};
    const Kernel* kernel_ = nullptr;
    std::exception_ptr error_;
    int current_ = 0, x_ = 0, y_ = 0, finished_ = 0;
};

}  // namespace glow::test

namespace glow::inline GLOW_REAL {

inline unsigned shared_address(const void* pointer) {
    return test::WarpEmulator::running().address(pointer);
}
inline void load_matrices(unsigned (&m)[4], unsigned address) {
    test::WarpEmulator::running().load_matrices(m, address, false);
}
inline void load_matrices_transposed(unsigned (&m)[4], unsigned address) {
    test::WarpEmulator::running().load_matrices(m, address, true);
}
inline void multiply_add(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    test::WarpEmulator::running().multiply_add(c, a, b);
}
inline unsigned pack_bf16(float first, float second) {
    return round_to<bfloat16>(first).bits | unsigned{round_to<bfloat16>(second).bits} << 16;
}
inline void sync_threads() {
    test::WarpEmulator::running().sync_threads();
}

}  // namespace glow::inline GLOW_REAL
