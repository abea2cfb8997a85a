// Asynchronous copies from global to shared memory (PTX, compute capability 8.0). On the host a copy happens
// immediately, or at the latest time that a GPU allows: in wait_for_copies() (kernels/block.cuh).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/pack.cuh"

namespace glow::inline GLOW_REAL {

#if defined(__CUDACC__)
__device__ inline unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#endif

struct AsyncCopy {
    void* shared;
    const void* global;
    bool present;
    int group;
    void run() const {
        if (present)
            std::memcpy(shared, global, 16);
        else
            std::memset(shared, 0, 16);
    }
};
// On the CPU: the copies that a simulated GPU thread has started and not waited for.
class AsyncCopies {
  public:
    void add(void* shared, const void* global, bool present) {
        waiting_.push_back({shared, global, present, group_});
    }
    void commit() { ++group_; }
    void wait_for_all_but(int pending) {
        const auto rest = std::find_if(waiting_.begin(), waiting_.end(),
                                       [&](const AsyncCopy& copy) { return copy.group >= group_ - pending; });
        std::for_each(waiting_.begin(), rest, [](const AsyncCopy& copy) { copy.run(); });
        waiting_.erase(waiting_.begin(), rest);
    }
    void clear() { waiting_.clear(); }

    // The copies of the simulated thread that is running; nullptr: copies happen immediately.
    static inline thread_local AsyncCopies* current = nullptr;

  private:
    std::vector<AsyncCopy> waiting_;
    int group_ = 0;
};

// 16 bytes from global memory, or zeros. Both addresses are multiples of 16.
GLOW_HD inline void copy_async(void* shared, const void* global, bool present = true) {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(present ? 16 : 0));
#else
    check_aligned(shared), check_aligned(global);
    if (AsyncCopies::current != nullptr) return AsyncCopies::current->add(shared, global, present);
    AsyncCopy{shared, global, present, 0}.run();
#endif
}
// Ends a group of copies.
GLOW_HD inline void commit_copies() {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.commit_group;");
#else
    if (AsyncCopies::current != nullptr) AsyncCopies::current->commit();
#endif
}
// Waits until all but the last kPending groups of this thread's copies are done.
template <int kPending>
GLOW_HD inline void wait_for_copies() {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#else
    if (AsyncCopies::current != nullptr) AsyncCopies::current->wait_for_all_but(kPending);
#endif
}

}  // namespace glow::inline GLOW_REAL
