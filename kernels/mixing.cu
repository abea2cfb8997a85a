#include "kernels/for_each.cuh"
#include "kernels/mixing.h"
#include "kernels/row_matvec.cuh"
#include "kernels/row_tiles.cuh"

namespace glow::inline GLOW_REAL {
namespace {

struct CastWithOne {
    static constexpr const char* name = "cast_with_one";
    index_t C;
    const state_t* h;
    real* out;
    GLOW_HD void operator()(index_t row, index_t c) const {
        out[row * (C + 1) + c] = c < C ? round_state<real>(h[row * C + c]) : real{1};
    }
};

// affine_rows() on a GPU: a block processes one tile of rows after another, and copies the next one to shared
// memory while it computes. Results are staged, so that whole lines are written.
struct AffineRowsTile {
    static constexpr const char* name = AffineRows::name;
    static constexpr int kThreads = 96, kBlocks = 4, kPhases = 3, kLoopPhases = 3;
    static constexpr index_t kElements = kThreads * kStrip * kStrip;  // of a tile, at most
    struct Locals {};
    RowTiles tiles;
    int C, line;
    Divisor packs, slots;  // packs of a row; threads with the same outputs
    AffineRows f;

    static AffineRowsTile fit(index_t rows, index_t C, const AffineRows& f) {
        const index_t tile_rows =
            tile_rows_of(rows, C, kElements, [&](index_t tile) { return shared_bytes(tile, C); });
        return {RowTiles(rows, tile_rows, kBlocks * kMultiprocessors),
                static_cast<int>(C),
                static_cast<int>(staged_line<state_t>(C)),
                packs_of<state_t>(C),
                Divisor(tile_rows / kStrip),
                f};
    }
    // A larger matrix would leave room for few blocks.
    static bool fits(index_t C) { return C % kStrip == 0 && shared_bytes(kStrip, C) <= kMaxSharedBytes / 2; }
    static index_t shared_bytes(index_t tile_rows, index_t C) {
        return (C * (C + 1) + 3 * tile_rows * staged_line<state_t>(C)) *
               static_cast<index_t>(sizeof(state_t));
    }
    double bytes() const { return bytes_of<AffineRows>(tiles.rows * C); }
    BlockGrid grid() const { return {tiles.blocks, 1, shared_bytes(tiles.tile_rows, C)}; }

    // Shared memory: the matrix [C, C], the shift [C], two tiles of x and one of y [tile_rows, line].
    GLOW_HD double* matrix(const BlockThread& at) const { return static_cast<double*>(at.shared); }
    GLOW_HD double* shift(const BlockThread& at) const { return matrix(at) + C * C; }
    GLOW_HD state_t* xs(const BlockThread& at, int round) const {
        return shift(at) + C + (round & 1) * tiles.tile_rows * line;
    }
    GLOW_HD state_t* ys(const BlockThread& at) const { return xs(at, 0) + 2 * tiles.tile_rows * line; }
    GLOW_HD int rounds(const BlockThread& at) const { return tiles.rounds(at.x); }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        if (at.round == 0) {
            stage_values<kThreads>(at.thread, C * C, f.M, matrix(at));
            stage_values<kThreads>(at.thread, C, f.shift, shift(at));
            stage_tile(at, 0);
            commit_copies();
        }
        if (at.round + 1 < rounds(at)) stage_tile(at, at.round + 1);
        commit_copies();
        wait_for_copies<1>();
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const int strip = slots.quotient(at.thread), slot = at.thread - strip * slots.divisor,
                  c0 = strip * kStrip;
        if (c0 >= C) return;
        double value[kStrip][kStrip];  // of rows slot, slot + slots, ...
        affine_strips({C, matrix(at), shift(at), nullptr}, xs(at, at.round) + slot * line,
                      slots.divisor * line, c0, value);
        for (int r = 0; r < kStrip; ++r)
            store_strip(value[r], ys(at) + (slot + r * slots.divisor) * line + c0);
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals&) const {
        const index_t first = tiles.first_row(at.x, at.round);
        store_rows<kThreads>(at.thread, tiles.count(first), packs, ys(at), line, f.h + first * C);
    }

  private:
    // Rows past the last one keep their old contents; their results are not stored.
    GLOW_HD void stage_tile(const BlockThread& at, int round) const {
        const index_t first = tiles.first_row(at.x, round);
        stage_rows<kThreads, state_t>(at.thread, tiles.count(first), packs, f.h + first * C, xs(at, round),
                                      line);
    }
};

}  // namespace

void affine_rows(const Exec& exec, index_t rows, index_t C, const double* M, const double* shift,
                 state_t* h) {
    const AffineRows f{C, M, shift, h};
    if (!exec.tuned_for_gpu() || !AffineRowsTile::fits(C)) return row_matvec(exec, rows, C, f);
    const AffineRowsTile tile = AffineRowsTile::fit(rows, C, f);
    run_blocks(exec, tile.grid(), tile);
}

void affine_rows_gradient(const Exec& exec, index_t rows, index_t C, const double* M, real* dh) {
    row_matvec(exec, rows, C, AffineRowsGradient{C, M, dh});
}

void cast_with_one(const Exec& exec, index_t rows, index_t C, const state_t* h, real* out) {
    for_each_row_channel(exec, rows, C + 1, CastWithOne{C, h, out});
}

}  // namespace glow::inline GLOW_REAL
