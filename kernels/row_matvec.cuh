// A small matrix times every row: the state's affine maps per pixel.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/launch.cuh"

namespace glow::inline GLOW_REAL {

inline constexpr index_t kMatvecRows = 8;  // rows that row_matvec stages together: one vector of doubles

#if defined(__CUDACC__)
// The elements of [kRows, n] row by row, kBlockThreads at a time: neighboring threads touch neighboring
// elements, and only the first position takes a division.
struct RowWalk {
    int n, row, column, row_step, column_step;
    __device__ explicit RowWalk(int n)
        : n(n),
          row(static_cast<int>(threadIdx.x) / n),
          column(static_cast<int>(threadIdx.x) - row * n),
          row_step(kBlockThreads / n),
          column_step(kBlockThreads - row_step * n) {}
    __device__ void next() {
        row += row_step;
        column += column_step;
        if (column >= n) {
            column -= n;
            ++row;
        }
    }
};

// kRows rows at a time, transposed through shared memory (one element between the lines keeps banks apart):
// in the product a warp's threads have a row each and the coefficient in common.
template <int kRows, class F>
__global__ void row_matvec_kernel(index_t rows, int n_in, int n_out, F f) {
    using T = typename F::Value;
    constexpr int kLine = kRows + 1;
    extern __shared__ double shared_bytes[];
    T* const staged = reinterpret_cast<T*>(shared_bytes);  // [n_in, kLine]
    T* const sums = staged + n_in * kLine;                 // [n_out, kLine]
    for (index_t first = index_t{blockIdx.x} * kRows; first < rows; first += index_t{gridDim.x} * kRows) {
        for (RowWalk at(n_in); at.row < kRows; at.next())
            staged[at.column * kLine + at.row] =
                first + at.row < rows ? f.load(first + at.row, at.column) : T{0};
        __syncthreads();
        const int r = static_cast<int>(threadIdx.x) % kRows;
        for (int o = static_cast<int>(threadIdx.x) / kRows; o < n_out; o += kBlockThreads / kRows) {
            T sum = 0;
            for (int i = 0; i < n_in; ++i) sum += f.coefficient(o, i) * staged[i * kLine + r];
            sums[o * kLine + r] = sum;
        }
        __syncthreads();
        for (RowWalk at(n_out); at.row < kRows; at.next())
            if (first + at.row < rows) f.store(first + at.row, at.column, sums[at.column * kLine + at.row]);
        __syncthreads();
    }
}
#endif  // __CUDACC__

#if defined(__CUDACC__)
// As many rows at a time as shared memory holds without being asked for more than its usual size.
template <int kRows, class F>
void launch_row_matvec(const Exec& exec, index_t rows, index_t n_in, index_t n_out, F f) {
    constexpr index_t kSharedBytes = 48 << 10;
    const index_t bytes = (n_in + n_out) * (kRows + 1) * static_cast<index_t>(sizeof(typename F::Value));
    if (bytes <= kSharedBytes) {
        row_matvec_kernel<kRows>
            <<<grid_size(rows, kRows), kBlockThreads, static_cast<std::size_t>(bytes), stream_of(exec)>>>(
                rows, static_cast<int>(n_in), static_cast<int>(n_out), f);
        check_launch(F::name, __FILE__, __LINE__);
    } else if constexpr (kRows > 1) {
        launch_row_matvec<kRows / 2>(exec, rows, n_in, n_out, f);
    } else {
        throw_error(std::string(F::name) + ": " + std::to_string(n_in) + " channels are too many for a GPU");
    }
}
#endif

// Per row: store(row, o, sum over i of coefficient(o, i) * load(row, i)), in place allowed: rows are staged,
// kMatvecRows at a time, transposed, so that the host's inner loop is one vector wide whatever n_in is.
template <Functor F>
void row_matvec(const Exec& exec, index_t rows, index_t n_in, index_t n_out, F f) {
    using T = typename F::Value;
    if (exec.device == Device::count_only) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        launch_row_matvec<32>(exec, rows, n_in, n_out, f);
        return;
    }
#endif
    constexpr index_t R = kMatvecRows;
#pragma omp parallel num_threads(exec.threads) if (rows * n_in > 1024)
    {
        std::vector<T> staging(static_cast<std::size_t>(n_in * R));
        T* const staged = staging.data();
#pragma omp for schedule(static)
        for (index_t block = 0; block < (rows + R - 1) / R; ++block) {
            const index_t first = block * R;
            const index_t count = std::min(R, rows - first);
            for (index_t r = 0; r < R; ++r) {
                if (r < count)
                    for (index_t i = 0; i < n_in; ++i) staged[i * R + r] = f.load(first + r, i);
                else
                    for (index_t i = 0; i < n_in; ++i) staged[i * R + r] = T{0};
            }
            constexpr index_t O = 4;  // outputs at once: independent accumulators hide the latency of the FMA
            for (index_t o = 0; o < n_out; o += O) {
                T sum[O][R] = {};
                const index_t outputs = std::min(O, n_out - o);
                if (outputs == O) {
                    for (index_t i = 0; i < n_in; ++i)
                        for (index_t k = 0; k < O; ++k) {
                            const T m = f.coefficient(o + k, i);
#pragma omp simd
                            for (index_t r = 0; r < R; ++r) sum[k][r] += m * staged[i * R + r];
                        }
                } else {
                    for (index_t k = 0; k < outputs; ++k)
                        for (index_t i = 0; i < n_in; ++i) {
                            const T m = f.coefficient(o + k, i);
#pragma omp simd
                            for (index_t r = 0; r < R; ++r) sum[k][r] += m * staged[i * R + r];
                        }
                }
                for (index_t k = 0; k < outputs; ++k)
                    for (index_t r = 0; r < count; ++r) f.store(first + r, o + k, sum[k][r]);
            }
        }
    }
}

}  // namespace glow::inline GLOW_REAL
