// Multiplies every row by a small matrix: the state's affine maps per pixel.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/block.cuh"
#include "kernels/math.h"
#include "kernels/pack.cuh"

namespace glow::inline GLOW_REAL {

inline constexpr index_t kMatvecRows = 8;  // rows staged together: one vector of doubles

// GPU version: a block stages the matrix and some rows in shared memory. A thread computes kOutputs outputs
// of one row, so that each element is read once for kOutputs products, and the threads of a warp share
// coefficients. A matrix too large for shared memory is read from global memory (kStaged = false).
template <class F, int kOutputs, bool kStaged>
struct RowMatvecTile {
    static constexpr const char* name = F::name;
    static constexpr int kThreads = 192, kBlocks = 4, kPhases = 4;
    using T = typename F::Value;
    struct Locals {
        T sum[kOutputs];
    };
    index_t rows;
    int groups, line;  // of outputs; elements of a staged row, odd to avoid bank conflicts between rows
    Divisor n, tile_rows;
    F f;

    static RowMatvecTile fit(index_t rows, index_t n, const F& f) {
        const index_t groups = (n + kOutputs - 1) / kOutputs;
        return {rows,
                static_cast<int>(groups),
                static_cast<int>(n | 1),
                Divisor(n),
                Divisor(std::max<index_t>(1, kThreads / groups)),
                f};
    }
    double bytes() const { return bytes_of<F>(rows * n.divisor); }
    BlockGrid grid() const {
        return {(rows + tile_rows.divisor - 1) / tile_rows.divisor, 1,
                (matrix_size() + index_t{tile_rows.divisor} * line) * static_cast<index_t>(sizeof(T))};
    }
    GLOW_HD int padded() const { return groups * kOutputs; }
    GLOW_HD index_t matrix_size() const { return kStaged ? index_t{n.divisor} * padded() : 0; }
    GLOW_HD T* matrix(const BlockThread& at) const {
        return static_cast<T*>(at.shared);
    }  // [n, padded()], by input
    GLOW_HD T* tile(const BlockThread& at) const { return matrix(at) + matrix_size(); }  // [tile_rows, line]
    GLOW_HD index_t first_row(const BlockThread& at) const { return index_t{at.x} * tile_rows.divisor; }
    GLOW_HD int count(const BlockThread& at) const {  // rows in the tile
        const index_t left = rows - first_row(at);
        return left < tile_rows.divisor ? static_cast<int>(left) : tile_rows.divisor;
    }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        const index_t first = first_row(at);
        T* const staged = tile(at);
        copy_items<kThreads, 4>(
            at.thread, count(at) * n.divisor,
            [&](int k) {
                const int r = n.quotient(k);
                return f.load(first + r, k - r * n.divisor);
            },
            [&](int k, T x) {
                const int r = n.quotient(k);
                staged[r * line + k - r * n.divisor] = x;
            });
        if constexpr (kStaged) {
            T* const m = matrix(at);
            copy_items<kThreads, 4>(
                at.thread, padded() * n.divisor,
                [&](int k) {
                    const int o = n.quotient(k);
                    return f.coefficient(o < n.divisor ? o : 0, k - o * n.divisor);
                },
                [&](int k, T x) {
                    const int o = n.quotient(k);
                    m[(k - o * n.divisor) * padded() + o] = x;
                });
        }
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals& own) const {
        const int group = tile_rows.quotient(at.thread), r = at.thread - group * tile_rows.divisor;
        for (int k = 0; k < kOutputs; ++k) own.sum[k] = 0;
        if (group >= groups || r >= count(at)) return;
        const T* const x = tile(at) + r * line;
        if constexpr (kStaged) {
            constexpr int kSize = static_cast<int>(Pack<T>::kSize);
            const T* m = matrix(at) + group * kOutputs;
            for (int i = 0; i < n.divisor; ++i, m += padded())
                for (int k = 0; k < kOutputs; k += kSize) {
                    const Pack<T> pack = load_pack(m + k);
                    for (int j = 0; j < kSize; ++j)
                        own.sum[k + j] = multiply_add(pack.value[j], x[i], own.sum[k + j]);
                }
        } else {
            const int last = n.divisor - 1;
            for (int i = 0; i < n.divisor; ++i)
                for (int k = 0; k < kOutputs; ++k) {
                    const int o = group * kOutputs + k;
                    own.sum[k] = multiply_add(f.coefficient(o < last ? o : last, i), x[i], own.sum[k]);
                }
        }
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals& own) const {
        const int group = tile_rows.quotient(at.thread), r = at.thread - group * tile_rows.divisor;
        for (int k = 0; k < kOutputs; ++k)
            if (group * kOutputs + k < n.divisor) tile(at)[r * line + group * kOutputs + k] = own.sum[k];
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals&) const {
        const index_t first = first_row(at);
        for (int k = at.thread; k < count(at) * n.divisor; k += kThreads) {
            const int r = n.quotient(k);
            f.store(first + r, k - r * n.divisor, tile(at)[r * line + k - r * n.divisor]);
        }
    }
};

template <int kOutputs, class F>
void run_row_matvec_tiles(const Exec& exec, index_t rows, index_t n, const F& f) {
    const auto staged = RowMatvecTile<F, kOutputs, true>::fit(rows, n, f);
    if (staged.grid().shared_bytes <= kSharedBytes) return run_blocks(exec, staged.grid(), staged);
    const auto tile = RowMatvecTile<F, kOutputs, false>::fit(rows, n, f);
    if (tile.groups > tile.kThreads)
        throw_error(std::string(F::name) + ": " + std::to_string(n) + " channels are too many for a GPU");
    run_blocks(exec, tile.grid(), tile);
}

// Per row: store(row, o, sum over i of coefficient(o, i) * load(row, i)), i, o < n; may work in place. Stages
// kMatvecRows rows transposed, so that the host's inner loop is one vector wide for any n.
template <Functor F>
void row_matvec(const Exec& exec, index_t rows, index_t n, const F& f) {
    using T = typename F::Value;
    if (rows <= 0) return;
    if (exec.tuned_for_gpu()) {
        if (n > 24) return run_row_matvec_tiles<8>(exec, rows, n, f);
        return run_row_matvec_tiles<4>(exec, rows, n, f);
    }
    if (!begin_launch(exec, f, rows * n)) return;
    constexpr index_t R = kMatvecRows;
#pragma omp parallel num_threads(exec.threads) if (rows * n > 1024)
    {
        std::vector<T> staging(static_cast<std::size_t>(n * R));
        T* const staged = staging.data();
#pragma omp for schedule(static)
        for (index_t block = 0; block < (rows + R - 1) / R; ++block) {
            const index_t first = block * R;
            const index_t count = std::min(R, rows - first);
            for (index_t r = 0; r < R; ++r) {
                if (r < count)
                    for (index_t i = 0; i < n; ++i) staged[i * R + r] = f.load(first + r, i);
                else
                    for (index_t i = 0; i < n; ++i) staged[i * R + r] = T{0};
            }
            constexpr index_t O = 4;  // outputs at once: independent accumulators hide FMA latency
            for (index_t o = 0; o < n; o += O) {
                T sum[O][R] = {};
                const index_t outputs = std::min(O, n - o);
                if (outputs == O) {
                    for (index_t i = 0; i < n; ++i)
                        for (index_t k = 0; k < O; ++k) {
                            const T m = f.coefficient(o + k, i);
#pragma omp simd
                            for (index_t r = 0; r < R; ++r)
                                sum[k][r] = multiply_add(m, staged[i * R + r], sum[k][r]);
                        }
                } else {
                    for (index_t k = 0; k < outputs; ++k)
                        for (index_t i = 0; i < n; ++i) {
                            const T m = f.coefficient(o + k, i);
#pragma omp simd
                            for (index_t r = 0; r < R; ++r)
                                sum[k][r] = multiply_add(m, staged[i * R + r], sum[k][r]);
                        }
                }
                for (index_t k = 0; k < outputs; ++k)
                    for (index_t r = 0; r < count; ++r) f.store(first + r, o + k, sum[k][r]);
            }
        }
    }
}

}  // namespace glow::inline GLOW_REAL
