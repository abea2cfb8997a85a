// Horizontal fusion: two independent block functors (kernels/block.cuh) in one launch. Each has its own blocks
// and computes what it computes alone. A GPU starts and drains one kernel instead of two, which takes longer
// than the work of a small one.
#pragma once

#include <algorithm>

#include "kernels/block.cuh"

namespace glow::inline GLOW_REAL {

// The first blocks run A, the others B. A block of kThreadCount threads runs as many blocks of a functor as
// have that many threads together. Derive from it to name the kernel:
//
//     struct Both : HorizontalFusion<A, B, 256, 4> {
//         static constexpr const char* name = "a_and_b";
//         using HorizontalFusion::HorizontalFusion;
//     };
//     const Both both(a, a_grid, b, b_grid);
//     run_blocks(exec, both.grid(), both);
template <class A, class B, int kThreadCount, int kMinBlocks>
struct HorizontalFusion {
    static constexpr int kThreads = kThreadCount, kBlocks = kMinBlocks;
    static constexpr int kPhases = std::max(A::kPhases, B::kPhases);
    static_assert(loop_phases<A>() == 0 && loop_phases<B>() == 0, "phases that are not repeated");
    struct Locals {
        typename A::Locals a;
        typename B::Locals b;
    };
    // One of the two functors.
    template <class F>
    struct Part {
        static_assert(kThreads % F::kThreads == 0, "whole blocks of the functor");
        static constexpr int kPerBlock = kThreads / F::kThreads;
        F f;
        int count, shared_bytes;  // blocks of the functor, and shared memory of each

        Part(const F& f, const BlockGrid& grid)
            : f(f),
              count(static_cast<int>(grid.x)),
              shared_bytes(static_cast<int>((grid.shared_bytes + 15) / 16 * 16)) {}
        GLOW_HD int blocks() const { return (count + kPerBlock - 1) / kPerBlock; }
        // block: of this part.
        template <int kPhase>
        GLOW_HD void run(Phase<kPhase> phase, const BlockThread& at, int block,
                         typename F::Locals& own) const {
            if constexpr (kPhase < F::kPhases) {
                const int slot = at.thread / F::kThreads, x = block * kPerBlock + slot;
                if (x < count)
                    f.run(phase,
                          {at.thread - slot * F::kThreads, x, 0, 0,
                           static_cast<char*>(at.shared) + slot * shared_bytes},
                          own);
            }
        }
    };
    Part<A> a;
    Part<B> b;

    // Grids with one row of blocks.
    HorizontalFusion(const A& a, const BlockGrid& a_grid, const B& b, const BlockGrid& b_grid)
        : a(a, a_grid), b(b, b_grid) {}

    double bytes() const { return bytes_of_part(a.f) + bytes_of_part(b.f); }
    BlockGrid grid() const {
        return {a.blocks() + b.blocks(), 1,
                std::max(a.shared_bytes * Part<A>::kPerBlock, b.shared_bytes * Part<B>::kPerBlock)};
    }
    template <int kPhase>
    GLOW_HD void run(Phase<kPhase> phase, const BlockThread& at, Locals& own) const {
        if (at.x < a.blocks())
            a.run(phase, at, at.x, own.a);
        else
            b.run(phase, at, at.x - a.blocks(), own.b);
    }

  private:
    template <class F>
    static double bytes_of_part(const F& f) {
        if constexpr (requires { f.bytes(); }) return f.bytes();
        return 0;
    }
};

}  // namespace glow::inline GLOW_REAL
