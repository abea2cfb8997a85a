#include "kernels/for_each.cuh"
#include "kernels/horizontal_fusion.cuh"
#include "kernels/lu_factors.cuh"
#include "kernels/mixing_gradient.h"
#include "kernels/network_unfolding.cuh"
#include "kernels/row_tiles.cuh"

namespace glow::inline GLOW_REAL {
namespace {

// G[o, i] = (dM + dc b^T)[o, i] s_i, without and with the scale.
GLOW_HD inline double unscaled_gradient(double dM, double dc, double bias) {
    return dM + dc * bias;
}
GLOW_HD inline double weight_gradient(const real* dMc, index_t C, index_t o, index_t i,
                                      const ActnormParameters& actnorm) {
    return unscaled_gradient(dMc[o * (C + 1) + i], dMc[o * (C + 1) + C], actnorm.bias[i]) *
           scale_of(actnorm.logs[i]);
}

struct DenseWeightGradient {
    static constexpr const char* name = "dense_weight_gradient";
    index_t C;
    const real* dMc;
    const double* W_inverse;
    ActnormParameters actnorm;
    double dlogdet;
    real* dW;
    GLOW_HD void operator()(index_t o, index_t i) const {
        dW[o * C + i] +=
            static_cast<real>(weight_gradient(dMc, C, o, i, actnorm) + dlogdet * W_inverse[i * C + o]);
    }
};

// dLU = P^T G.
struct LuProductGradient {
    static constexpr const char* name = "lu_product_gradient";
    index_t C;
    const real* dMc;
    const real* permutation;
    ActnormParameters actnorm;
    double* dLU;
    GLOW_HD void operator()(index_t o, index_t i) const {
        dLU[static_cast<index_t>(permutation[o]) * C + i] = weight_gradient(dMc, C, o, i, actnorm);
    }
};

struct LuGradient {
    static constexpr const char* name = "lu_gradient";
    index_t C;
    LuFactors f;
    const double* dLU;
    double dlogdet;
    LuGradients gradients;
    GLOW_HD void operator()(index_t r, index_t c) const {
        if (r > c) {  // row r of dLU times row c of B
            double sum = dLU[r * C + c] * lu_diagonal(f, 0, 0, c);
            for (index_t j = c + 1; j < C; ++j) sum += dLU[r * C + j] * f.upper[c * C + j];
            gradients.lower[r * C + c] += static_cast<real>(sum);
            return;
        }
        double sum = 0;  // column r of A times column c of dLU
        for (index_t j = r; j < C; ++j) sum += lu_lower(f, C, 0, j, r) * dLU[j * C + c];
        if (r < c)
            gradients.upper[r * C + c] += static_cast<real>(sum);
        else
            gradients.log_diag[r] += static_cast<real>(sum * lu_diagonal(f, 0, 0, r) + dlogdet);
    }
};

// dbias and dlogs of input channel i, from sums over outputs o.
struct ActnormSums {
    double GW = 0, Wdc = 0;
    GLOW_HD void add(double dM, double dc, double bias, double W) {
        GW += unscaled_gradient(dM, dc, bias) * W;
        Wdc += W * dc;
    }
    GLOW_HD void add(const ActnormSums& other) {
        GW += other.GW;
        Wdc += other.Wdc;
    }
    // scale: of channel i.
    GLOW_HD real bias_gradient(double scale) const { return static_cast<real>(scale * Wdc); }
    GLOW_HD real logs_gradient(double scale, double dlogdet) const {
        return static_cast<real>(kLogsFactor * (scale * GW + dlogdet));
    }
};
struct ActnormGradient {
    static constexpr const char* name = "actnorm_gradient";
    index_t C;
    const real* dMc;
    const double* W;
    ActnormParameters actnorm;
    double dlogdet;
    ActnormGradients gradients;
    GLOW_HD void operator()(index_t i) const {
        ActnormSums sums;
        for (index_t o = 0; o < C; ++o)
            sums.add(dMc[o * (C + 1) + i], dMc[o * (C + 1) + C], actnorm.bias[i], W[o * C + i]);
        const double scale = scale_of(actnorm.logs[i]);
        gradients.bias[i] += sums.bias_gradient(scale);
        gradients.logs[i] += sums.logs_gradient(scale, dlogdet);
    }
};

// The layer's backward on a GPU, in one pass over state and gradient: x = M^-1 y - b in place (kInverse;
// otherwise x is given), dx = M^T dy in place, and (dM, dc) = dy^T (x, 1).
// A block holds the matrices in shared memory and processes one tile of rows after another; the next tile is
// copied to shared memory while it computes. First, one half of the threads computes x and the other dx, each
// thread one strip of columns for kStrip rows (a strip is kStrip adjacent columns); the results are staged,
// so that whole lines are written. Then each thread adds outer products of one strip of dy and one of (x, 1)
// over every groups()th row. Finally the block writes its sums to partial [blocks, C + 1, C], by input.
template <bool kInverse>
struct MixingBackwardTile {
    static constexpr const char* name = kInverse ? "mixing_backward" : "mixing_gradient";
    static constexpr int kThreads = 192, kBlocks = 2, kPhases = 5, kLoopPhases = 3;
    static constexpr index_t kElements = kThreads / 2 * kStrip * kStrip;  // of a tile, at most
    static constexpr int kSumLine = kThreads + 1;                         // threads of a staged sum
    static constexpr int kStates = kInverse ? 3 : 2;                      // staged tiles of states
    struct Locals {
        real sum[kStrip][kStrip];
    };
    RowTiles tiles;
    int C, state_line, line;
    Divisor channels, packs, state_packs;  // of a row
    Divisor slots;      // threads that compute the same columns; the rows of a thread are `slots` apart
    Divisor in_strips;  // strips of (x, 1)
    Divisor strips;     // in_strips times the strips of dy; each group has one thread for each
    AffineRows inverse;
    AffineRowsGradient gradient;
    const state_t* x;
    real* partial;

    static MixingBackwardTile fit(const MixingRows& rows, index_t C, const MixingValues& values,
                                  real* partial) {
        const index_t tile_rows =
            tile_rows_of(rows.count, C, kElements, [&](index_t tile) { return shared_bytes(tile, C); });
        const index_t strips = C / kStrip;
        return {RowTiles(rows.count, tile_rows, kBlocks * kMultiprocessors),
                static_cast<int>(C),
                static_cast<int>(staged_line<state_t>(C)),
                static_cast<int>(staged_line<real>(C)),
                Divisor(C),
                packs_of<real>(C),
                packs_of<state_t>(C),
                Divisor(tile_rows / kStrip),
                Divisor(strips + 1),
                Divisor(strips * (strips + 1)),
                {C, values.M_inverse, values.minus_bias, rows.h},
                {C, values.M, rows.dh},
                rows.x,
                partial};
    }
    // Rows of whole packs, and threads and shared memory for a block's sums and matrices.
    static bool fits(index_t C) {
        return C % kStrip == 0 && C / kStrip * (C / kStrip + 1) <= kThreads &&
               shared_bytes(kStrip, C) <= kMaxSharedBytes;
    }
    static index_t shared_bytes(index_t tile_rows, index_t C) {
        const index_t states = (kInverse ? C * (C + 1) : 0) + kStates * tile_rows * staged_line<state_t>(C);
        const index_t reals = C * C + 4 * tile_rows * staged_line<real>(C);
        const index_t sums = kStrip * kStrip * kSumLine;
        return std::max(
            states * static_cast<index_t>(sizeof(state_t)) + reals * static_cast<index_t>(sizeof(real)),
            sums * static_cast<index_t>(sizeof(real)));
    }
    // The state (in and out, or in alone), its gradient in and out.
    double bytes() const {
        return static_cast<double>(tiles.rows * C) *
               ((kInverse ? 2 : 1) * sizeof(state_t) + 2 * sizeof(real));
    }
    BlockGrid grid() const { return {tiles.blocks, 1, shared_bytes(tiles.tile_rows, C)}; }

    // Shared memory, in this order: M^-1 [C, C] and -b [C]; y of two tiles (or x, if it is given) and x of
    // one, [tile_rows, state_line] each; M [C, C]; dy of two tiles, dx and rounded x of one, [tile_rows,
    // line] each.
    GLOW_HD double* M_inverse(const BlockThread& at) const { return static_cast<double*>(at.shared); }
    GLOW_HD double* minus_bias(const BlockThread& at) const { return M_inverse(at) + C * C; }
    GLOW_HD state_t* ys(const BlockThread& at, int round) const {
        return M_inverse(at) + (kInverse ? C * (C + 1) : 0) + (round & 1) * tiles.tile_rows * state_line;
    }
    GLOW_HD state_t* xs(const BlockThread& at) const { return ys(at, 0) + 2 * tiles.tile_rows * state_line; }
    GLOW_HD real* M(const BlockThread& at) const {
        return reinterpret_cast<real*>(ys(at, 0) + kStates * tiles.tile_rows * state_line);
    }
    GLOW_HD real* dys(const BlockThread& at, int round) const {
        return M(at) + C * C + (round & 1) * tiles.tile_rows * line;
    }
    GLOW_HD real* dxs(const BlockThread& at) const { return dys(at, 0) + 2 * tiles.tile_rows * line; }
    GLOW_HD real* rounded_xs(const BlockThread& at) const { return dxs(at) + tiles.tile_rows * line; }

    GLOW_HD int groups() const { return kThreads / strips.divisor; }
    GLOW_HD int rounds(const BlockThread& at) const { return tiles.rounds(at.x); }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals& own) const {
        if (at.round == 0) {
            stage_tile(at, 0);
            if constexpr (kInverse) {
                stage_values<kThreads>(at.thread, C * C, inverse.M, M_inverse(at));
                stage_values<kThreads>(at.thread, C, inverse.shift, minus_bias(at));
            }
            commit_copies();
        }
        if (at.round + 1 < rounds(at)) stage_tile(at, at.round + 1);
        commit_copies();
        if (at.round == 0) {
            stage_M(at);
            for (int o = 0; o < kStrip; ++o)
                for (int i = 0; i < kStrip; ++i) own.sum[o][i] = 0;
        }
        wait_for_copies<1>();
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const int tasks = slots.divisor * (C / kStrip);
        if (at.thread < tasks)
            compute_x(at, at.thread);
        else if (at.thread < 2 * tasks)
            compute_dx(at, at.thread - tasks);
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals& own) const {
        const index_t first = tiles.first_row(at.x, at.round);
        const int count = tiles.count(first);
        if constexpr (kInverse)
            store_rows<kThreads>(at.thread, count, state_packs, xs(at), state_line, inverse.h + first * C);
        store_rows<kThreads>(at.thread, count, packs, dxs(at), line, gradient.dh + first * C);
        add_products(at, count, own);
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals& own) const {
        real* const sums = static_cast<real*>(at.shared) + at.thread;  // [kStrip, kStrip, kSumLine]
        for (int o = 0; o < kStrip; ++o)
            for (int i = 0; i < kStrip; ++i) sums[(o * kStrip + i) * kSumLine] = own.sum[o][i];
    }
    GLOW_HD void run(Phase<4>, const BlockThread& at, Locals&) const {
        const real* const sums = static_cast<const real*>(at.shared);
        real* const to = partial + index_t{at.x} * C * (C + 1);
        for (int k = at.thread; k < C * (C + 1); k += kThreads) {
            const int i = channels.quotient(k), o = k - i * C;
            const int strip = o / kStrip * in_strips.divisor + i / kStrip;
            const real* const from = sums + (o % kStrip * kStrip + i % kStrip) * kSumLine + strip;
            double total = 0;
            for (int g = 0; g < groups(); ++g) total += from[g * strips.divisor];
            to[k] = static_cast<real>(total);
        }
    }

  private:
    // Rows past the last one keep their old contents; their results are not stored.
    GLOW_HD void stage_tile(const BlockThread& at, int round) const {
        const index_t first = tiles.first_row(at.x, round);
        const int count = tiles.count(first);
        stage_rows<kThreads, state_t>(at.thread, count, state_packs, (kInverse ? inverse.h : x) + first * C,
                                      ys(at, round), state_line);
        stage_rows<kThreads, real>(at.thread, count, packs, gradient.dh + first * C, dys(at, round), line);
    }
    GLOW_HD void stage_M(const BlockThread& at) const {
        constexpr int kSize = static_cast<int>(Pack<double>::kSize);
        real* const m = M(at);
        copy_items<kThreads, 6>(
            at.thread, C * C / kSize, [&](int k) { return load_pack(gradient.M + k * kSize); },
            [&](int k, const Pack<double>& pack) {
                for (int j = 0; j < kSize; ++j) m[k * kSize + j] = static_cast<real>(pack.value[j]);
            });
    }

    GLOW_HD void compute_x(const BlockThread& at, int task) const {
        const int strip = slots.quotient(task), slot = task - strip * slots.divisor, c0 = strip * kStrip;
        const state_t* const row = ys(at, at.round) + slot * state_line;
        double value[kStrip][kStrip];  // of rows slot, slot + slots, ...
        if constexpr (kInverse) {
            affine_strips({C, M_inverse(at), minus_bias(at), nullptr}, row, slots.divisor * state_line, c0,
                          value);
            for (int r = 0; r < kStrip; ++r)
                store_strip(value[r], xs(at) + (slot + r * slots.divisor) * state_line + c0);
        } else {
            for (int r = 0; r < kStrip; ++r) load_strip(row + r * slots.divisor * state_line + c0, value[r]);
        }
        for (int r = 0; r < kStrip; ++r) {
            real rounded[kStrip];
            for (int o = 0; o < kStrip; ++o) rounded[o] = round_state<real>(value[r][o]);
            store_strip(rounded, rounded_xs(at) + (slot + r * slots.divisor) * line + c0);
        }
    }
    GLOW_HD void compute_dx(const BlockThread& at, int task) const {
        const int strip = slots.quotient(task), slot = task - strip * slots.divisor, c0 = strip * kStrip;
        const real* const dy = dys(at, at.round) + slot * line;
        const real* const m = M(at) + c0;
        const int step = slots.divisor * line;
        constexpr int kPack = static_cast<int>(Pack<real>::kSize);
        real sum[kStrip][kStrip] = {};
        for (int o = 0; o < C; o += kPack) {
            Pack<real> d[kStrip];
            for (int r = 0; r < kStrip; ++r) d[r] = load_pack(dy + r * step + o);
            for (int j = 0; j < kPack; ++j) {
                real ms[kStrip];
                load_strip(m + (o + j) * C, ms);
                for (int r = 0; r < kStrip; ++r)
                    for (int i = 0; i < kStrip; ++i)
                        sum[r][i] = multiply_add(ms[i], d[r].value[j], sum[r][i]);
            }
        }
        for (int r = 0; r < kStrip; ++r)
            store_strip(sum[r], dxs(at) + (slot + r * slots.divisor) * line + c0);
    }
    GLOW_HD void add_products(const BlockThread& at, int count, Locals& own) const {
        const int group = strips.quotient(at.thread), strip = at.thread - group * strips.divisor;
        const int out_strip = in_strips.quotient(strip), in_strip = strip - out_strip * in_strips.divisor;
        if (group >= groups()) return;
        const bool of_x = in_strip * kStrip < C;  // otherwise of the 1
        const real* const dy = dys(at, at.round) + out_strip * kStrip;
        const real* const input = rounded_xs(at) + (of_x ? in_strip * kStrip : 0);
        for (int r = group; r < count; r += groups()) {
            real d[kStrip], v[kStrip];
            load_strip(dy + r * line, d);
            load_strip(input + r * line, v);
            for (int i = 0; i < kStrip; ++i) v[i] = of_x ? v[i] : i == 0 ? real{1} : real{0};
            for (int o = 0; o < kStrip; ++o)
                for (int i = 0; i < kStrip; ++i) own.sum[o][i] += d[o] * v[i];
        }
    }
};

// Final stage of a mixing's backward on a GPU: each block handles one input channel, sums its dM and dc over
// the blocks of MixingBackwardTile, and computes the parameter gradients. Loads from memory are issued as
// early as possible.
struct MixingFinish {
    static constexpr const char* name = "mixing_finish";
    static constexpr int kThreads = 256, kBlocks = 3, kPhases = 4, kAhead = 16;
    static constexpr int kMaxSplits = 16;    // of the parts
    static constexpr int kSums = 768;        // of all splits, at most
    static constexpr int kFinalThreads = 8;  // threads that add up the actnorm's sums
    struct Locals {
        double W, W_inverse, scale;
        real dW, dbias, dlogs, bias, logs;
    };
    int C, parts, splits;
    Divisor outputs;      // sums of a split: C of dM and C of dc
    const real* partial;  // [parts, C + 1, C]
    const double *W, *W_inverse;
    ActnormParameters actnorm;
    double dlogdet;
    MixingGradients gradients;

    static MixingFinish fit(index_t C, index_t parts, const real* partial, const MixingValues& values,
                            const ActnormParameters& actnorm, double dlogdet,
                            const MixingGradients& gradients) {
        if (2 * C > kThreads) throw_error("mixing_finish: too many channels");
        return {static_cast<int>(C),
                static_cast<int>(parts),
                static_cast<int>(std::min<index_t>(kMaxSplits, kSums / (2 * C))),
                Divisor(2 * C),
                partial,
                values.W,
                values.W_inverse,
                actnorm,
                dlogdet,
                gradients};
    }
    BlockGrid grid() const {
        return {C, 1,
                (splits * outputs.divisor + 3 * C) * static_cast<index_t>(sizeof(double)) +
                    kFinalThreads * static_cast<index_t>(sizeof(ActnormSums))};
    }
    // Shared memory: sums of the splits [splits, 2 C]; dM [C] and dc [C]; W [C]; the actnorm's sums
    // [kFinalThreads].
    GLOW_HD static double* sums(const BlockThread& at) { return static_cast<double*>(at.shared); }
    GLOW_HD double* dM(const BlockThread& at) const { return sums(at) + splits * outputs.divisor; }
    GLOW_HD double* column_of_W(const BlockThread& at) const { return dM(at) + 2 * C; }
    GLOW_HD ActnormSums* actnorm_sums(const BlockThread& at) const {
        return reinterpret_cast<ActnormSums*>(column_of_W(at) + C);
    }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals& own) const {
        const int i = at.x;
        own = {};
        own.bias = actnorm.bias[i];
        if (at.thread < C) {
            const int k = at.thread * C + i;
            own.logs = actnorm.logs[i];
            own.W = W[k];
            if (gradients.dW != nullptr) {
                own.W_inverse = W_inverse[i * C + at.thread];
                own.dW = gradients.dW[k];
            }
            if (at.thread == 0) {
                own.dbias = gradients.actnorm.bias[i];
                own.dlogs = gradients.actnorm.logs[i];
            }
        }
        for (int k = at.thread; k < splits * outputs.divisor; k += kThreads) {
            const int split = outputs.quotient(k), j = k - split * outputs.divisor;
            sums(at)[k] = sum_parts(split, partial + (j < C ? i * C + j : C * C + j - C));
        }
        if (at.thread >= C) return;
        own.scale = scale_of(own.logs);
        column_of_W(at)[at.thread] = own.W;
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const int j = at.thread, i = at.x;
        if (j >= outputs.divisor) return;
        double sum = 0;
        for (int split = 0; split < splits; ++split) sum += sums(at)[split * outputs.divisor + j];
        const real total = static_cast<real>(sum);
        dM(at)[j] = total;
        if (gradients.dMc == nullptr) return;
        if (j < C)
            gradients.dMc[j * (C + 1) + i] = total;
        else if (i == 0)
            gradients.dMc[(j - C) * (C + 1) + C] = total;
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals& own) const {
        const int o = at.thread, i = at.x;
        if (o < C && gradients.dW != nullptr) {
            const double G = unscaled_gradient(dM(at)[o], dM(at)[C + o], own.bias) * own.scale;
            gradients.dW[o * C + i] = own.dW + static_cast<real>(G + dlogdet * own.W_inverse);
        }
        const int part = at.thread - kThreads / 2;  // other warps than those with dW
        if (part < 0 || part >= kFinalThreads) return;
        ActnormSums total;
        for (int c = part; c < C; c += kFinalThreads)
            total.add(dM(at)[c], dM(at)[C + c], own.bias, column_of_W(at)[c]);
        actnorm_sums(at)[part] = total;
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals& own) const {
        if (at.thread > 0) return;
        ActnormSums total;
        for (int part = 0; part < kFinalThreads; ++part) total.add(actnorm_sums(at)[part]);
        gradients.actnorm.bias[at.x] = own.dbias + total.bias_gradient(own.scale);
        gradients.actnorm.logs[at.x] = own.dlogs + total.logs_gradient(own.scale, dlogdet);
    }

  private:
    GLOW_HD double sum_parts(int split, const real* from) const {
        const int part_size = C * (C + 1), step = splits * part_size, end = parts * part_size;
        double sum = 0;
        for (int part = split * part_size; part < end; part += kAhead * step) {
            real ahead[kAhead];
            for (int k = 0; k < kAhead; ++k) {
                const int at = part + k * step;
                ahead[k] = at < end ? from[at] : real{0};
            }
            for (int half = kAhead / 2; half > 0; half /= 2)
                for (int k = 0; k < half; ++k) ahead[k] += ahead[k + half];
            sum += ahead[0];
        }
        return sum;
    }
};

// Also unfolds the gradients of the coupling network, in other blocks.
struct MixingFinishAndUnfold : HorizontalFusion<MixingFinish, UnfoldNetwork, MixingFinish::kThreads, 4> {
    static constexpr const char* name = "mixing_finish_and_unfold_network";
    using HorizontalFusion::HorizontalFusion;
};

}  // namespace

void dense_weight_gradient(const Exec& exec, index_t C, const real* dMc, const double* W_inverse,
                           const ActnormParameters& actnorm, double dlogdet, real* dW) {
    for_each_row_channel(exec, C, C, DenseWeightGradient{C, dMc, W_inverse, actnorm, dlogdet, dW});
}

void lu_gradient(const Exec& exec, index_t C, const real* dMc, const LuFactors& factors,
                 const ActnormParameters& actnorm, double dlogdet, double* scratch,
                 const LuGradients& gradients) {
    for_each_row_channel(exec, C, C, LuProductGradient{C, dMc, factors.permutation, actnorm, scratch});
    for_each_row_channel(exec, C, C, LuGradient{C, factors, scratch, dlogdet, gradients});
}

void actnorm_gradient(const Exec& exec, index_t C, const real* dMc, const double* W,
                      const ActnormParameters& actnorm, double dlogdet, const ActnormGradients& gradients) {
    for_each(exec, C, ActnormGradient{C, dMc, W, actnorm, dlogdet, gradients}, C);
}

bool has_mixing_backward(const Exec& exec, index_t C) {
    return exec.tuned_for_gpu() && MixingBackwardTile<true>::fits(C);
}

index_t mixing_backward_scratch(index_t rows, index_t C) {
    const MixingRows counted{rows, nullptr, nullptr, nullptr};
    const int blocks = std::max(MixingBackwardTile<true>::fit(counted, C, {}, nullptr).tiles.blocks,
                                MixingBackwardTile<false>::fit(counted, C, {}, nullptr).tiles.blocks);
    return blocks * C * (C + 1);
}

void mixing_backward(const Exec& exec, index_t C, const MixingRows& rows, const MixingValues& values,
                     const ActnormParameters& actnorm, double dlogdet, const MixingGradients& gradients,
                     real* partial, const NetworkUnfolding* network) {
    const auto run = [&](const auto& tile) {
        run_blocks(exec, tile.grid(), tile);
        const auto finish =
            MixingFinish::fit(C, tile.tiles.blocks, partial, values, actnorm, dlogdet, gradients);
        if (network == nullptr) return run_blocks(exec, finish.grid(), finish);
        const UnfoldNetwork unfold(*network);
        const MixingFinishAndUnfold both(finish, finish.grid(), unfold, unfold.grid());
        run_blocks(exec, both.grid(), both);
    };
    if (rows.x == nullptr)
        run(MixingBackwardTile<true>::fit(rows, C, values, partial));
    else
        run(MixingBackwardTile<false>::fit(rows, C, values, partial));
}

}  // namespace glow::inline GLOW_REAL
