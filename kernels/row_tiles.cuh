// Tiles of rows in shared memory, for the mixings on a GPU: copied in and out 16 bytes at a time, and
// multiplied by a matrix. A row has whole packs; a thread computes kStrip columns of kStrip rows.
#pragma once

#include "kernels/affine_rows.cuh"
#include "kernels/async_copy.cuh"
#include "kernels/block.cuh"
#include "kernels/pack.cuh"

namespace glow::inline GLOW_REAL {

inline constexpr int kStrip = 4;

// Elements of a staged row: an odd number of packs, so that a column of successive rows spreads over the
// banks.
template <class T>
constexpr index_t staged_line(index_t C) {
    return (C / Pack<T>::kSize | 1) * Pack<T>::kSize;
}
// Packs of a row.
template <class T>
Divisor packs_of(index_t C) {
    return Divisor(C / Pack<T>::kSize);
}

// Rows of consecutive pixels, from [rows, C] to [rows, line] and back. packs: of a row.
template <int kThreads, class T>
GLOW_HD inline void stage_rows(int thread, int rows, const Divisor& packs, const T* from, T* to, int line) {
    constexpr int kSize = static_cast<int>(Pack<T>::kSize);
    for (int k = thread; k < rows * packs.divisor; k += kThreads) {
        const int r = packs.quotient(k);
        copy_async(to + r * line + (k - r * packs.divisor) * kSize, from + index_t{k} * kSize);
    }
}
template <int kThreads, class T>
GLOW_HD inline void store_rows(int thread, int rows, const Divisor& packs, const T* from, int line, T* to) {
    constexpr int kSize = static_cast<int>(Pack<T>::kSize);
    for (int k = thread; k < rows * packs.divisor; k += kThreads) {
        const int r = packs.quotient(k);
        store_pack(load_pack(from + r * line + (k - r * packs.divisor) * kSize), to + index_t{k} * kSize);
    }
}
// count: a multiple of the pack.
template <int kThreads, class T>
GLOW_HD inline void stage_values(int thread, int count, const T* from, T* to) {
    constexpr int kSize = static_cast<int>(Pack<T>::kSize);
    for (int k = thread * kSize; k < count; k += kThreads * kSize) copy_async(to + k, from + k);
}

template <class T>
GLOW_HD inline void load_strip(const T* from, T* value) {
    constexpr int kSize = static_cast<int>(Pack<T>::kSize);
    for (int k = 0; k < kStrip; k += kSize) {
        const Pack<T> pack = load_pack(from + k);
        for (int j = 0; j < kSize; ++j) value[k + j] = pack.value[j];
    }
}
template <class T>
GLOW_HD inline void store_strip(const T* value, T* to) {
    constexpr int kSize = static_cast<int>(Pack<T>::kSize);
    for (int k = 0; k < kStrip; k += kSize) {
        Pack<T> pack;
        for (int j = 0; j < kSize; ++j) pack.value[j] = value[k + j];
        store_pack(pack, to + k);
    }
}

// value[r][o] = result of column c0 + o of the row at `row + r * step`. rows.M and rows.shift are in shared
// memory.
GLOW_HD inline void affine_strips(const AffineRows& rows, const state_t* row, int step, int c0,
                                  double (&value)[kStrip][kStrip]) {
    constexpr int kPack = static_cast<int>(Pack<double>::kSize);
    const auto C = static_cast<int>(rows.C);
    const double* const M = rows.M + c0 * C;
    for (int r = 0; r < kStrip; ++r)
        for (int o = 0; o < kStrip; ++o) value[r][o] = 0;
    for (int i = 0; i < C; i += kPack) {
        double m[kPack][kStrip], x[kPack][kStrip];
        for (int k = 0; k < kStrip; ++k) {
            const Pack<double> coefficients = load_pack(M + k * C + i);
            const Pack<double> inputs = load_pack(row + k * step + i);
            for (int j = 0; j < kPack; ++j) m[j][k] = coefficients.value[j], x[j][k] = inputs.value[j];
        }
        for (int j = 0; j < kPack; ++j)
            for (int r = 0; r < kStrip; ++r)
                for (int o = 0; o < kStrip; ++o) value[r][o] = multiply_add(m[j][o], x[j][r], value[r][o]);
    }
    for (int r = 0; r < kStrip; ++r)
        for (int o = 0; o < kStrip; ++o) value[r][o] = rows.result(c0 + o, value[r][o]);
}

// Rows per tile: the largest power of two that `elements` and shared memory allow, or less if most
// multiprocessors would otherwise have no tile.
template <class SharedBytes>
index_t tile_rows_of(index_t rows, index_t C, index_t elements, SharedBytes shared_bytes) {
    constexpr index_t kMost = 256, kFew = 16, kTiles = 128;
    index_t tile = kMost;
    while (tile > kStrip && (tile * C > elements || shared_bytes(tile) > kMaxSharedBytes)) tile /= 2;
    while (tile > kFew && tile * kTiles > rows) tile /= 2;
    return tile;
}

// Divides rows into tiles and tiles over blocks: a block processes every `blocks`-th tile, one after another.
struct RowTiles {
    index_t rows;
    int tile_rows, tiles, blocks;

    RowTiles(index_t rows, index_t tile_rows, index_t most_blocks)
        : rows(rows),
          tile_rows(static_cast<int>(tile_rows)),
          tiles(static_cast<int>((rows + tile_rows - 1) / tile_rows)) {
        const auto most = static_cast<int>(most_blocks), rounds = std::max(1, (tiles + most - 1) / most);
        blocks = (tiles + rounds - 1) / rounds;
    }
    GLOW_HD int rounds(int block) const { return (tiles - block + blocks - 1) / blocks; }
    GLOW_HD index_t first_row(int block, int round) const {
        return (index_t{block} + index_t{round} * blocks) * tile_rows;
    }
    GLOW_HD int count(index_t first) const {  // rows in the tile
        const index_t left = rows - first;
        return left < tile_rows ? static_cast<int>(left) : tile_rows;
    }
};

}  // namespace glow::inline GLOW_REAL
