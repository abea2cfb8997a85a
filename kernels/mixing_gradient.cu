#include "kernels/affine_rows.cuh"
#include "kernels/block.cuh"
#include "kernels/for_each.cuh"
#include "kernels/lu_factors.cuh"
#include "kernels/mixing_gradient.h"
#include "kernels/pack.cuh"

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
    GLOW_HD void add_gradients(index_t i, const real* logs, double dlogdet,
                               const ActnormGradients& gradients) const {
        const double s = scale_of(logs[i]);
        gradients.bias[i] += static_cast<real>(s * Wdc);
        gradients.logs[i] += static_cast<real>(kLogsFactor * (s * GW + dlogdet));
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
        sums.add_gradients(i, actnorm.logs, dlogdet, gradients);
    }
};

// The layer's backward on a GPU, in one pass over state and gradient: x = M^-1 y - b in place (kInverse;
// otherwise x is given), dx = M^T dy in place, and (dM, dc) = dy^T (x, 1).
// A block holds the matrices in shared memory and loads one tile of rows after another. First, each thread
// computes kSide outputs of both products for one row; then it adds outer products of kSide elements of dy
// and kSide of (x, 1) over every groups()th row. Finally the block's sums go to partial [blocks, C + 1, C],
// by input.
template <bool kInverse>
struct MixingBackwardTile {
    static constexpr const char* name = kInverse ? "mixing_backward" : "mixing_gradient";
    static constexpr int kThreads = 256, kBlocks = 3, kPhases = 5, kLoopPhases = 3, kSide = 4;
    static constexpr int kPack = static_cast<int>(Pack<real>::kSize),
                         kStatePack = static_cast<int>(Pack<double>::kSize);
    struct Locals {
        real sum[kSide][kSide];
    };
    index_t rows;
    int C, tile_rows, tiles, blocks,
        state_line;         // elements of a staged state row; odd, to avoid bank conflicts
    bool packed;            // rows consist of whole packs
    Divisor line, in_line;  // elements of a staged dy, and of a staged (x, 1): multiples of kSide
    // threads with kSide outputs; kSide groups of (x, 1); groups of (x, 1) times dy
    Divisor row_tasks, in_sides, sides;
    AffineRows inverse;
    AffineRowsGradient gradient;
    const state_t* x;
    double* partial;

    static MixingBackwardTile fit(const MixingRows& rows, index_t C, const MixingValues& values,
                                  double* partial) {
        const index_t line = round_up(C, kSide), in_line = round_up(C + 1, kSide);
        index_t tile_rows = 64;
        while (tile_rows > 1 && tile_rows * (line / kSide) > kThreads) tile_rows /= 2;
        const index_t tiles = (rows.count + tile_rows - 1) / tile_rows;
        // Few enough blocks that their sums are small compared with the state.
        const index_t most = std::clamp<index_t>((index_t{1} << 19) / (C * (C + 1)), 128, 384);
        const index_t rounds = std::max<index_t>(1, (tiles + most - 1) / most);
        return {rows.count,
                static_cast<int>(C),
                static_cast<int>(tile_rows),
                static_cast<int>(tiles),
                static_cast<int>((tiles + rounds - 1) / rounds),
                static_cast<int>(C | 1),
                C % kSide == 0,
                Divisor(line),
                Divisor(in_line),
                Divisor(tile_rows),
                Divisor(in_line / kSide),
                Divisor(line / kSide * (in_line / kSide)),
                {C, values.M_inverse, values.minus_bias, rows.h},
                {C, values.M, rows.dh},
                rows.x,
                partial};
    }
    // The state (in and out, or in alone), its gradient in and out.
    double bytes() const {
        return static_cast<double>(rows * C) * ((kInverse ? 2 : 1) * sizeof(state_t) + 2 * sizeof(real));
    }
    BlockGrid grid() const {
        const index_t staged = states_size() * static_cast<index_t>(sizeof(double)) +
                               (index_t{C} * line.divisor + tile_rows * (line.divisor + in_line.divisor)) *
                                   static_cast<index_t>(sizeof(real));
        return {blocks, 1, std::max(staged, kThreads * kSide * kSide * static_cast<index_t>(sizeof(real)))};
    }
    // A block's sums need at most kThreads threads.
    bool fits() const { return sides.divisor <= kThreads && grid().shared_bytes <= kSharedBytes; }

    GLOW_HD index_t states_size() const {
        return kInverse ? round_up(index_t{C} * line.divisor + tile_rows * state_line, kStatePack) : 0;
    }
    GLOW_HD double* M_inverse(const BlockThread& at) const {
        return static_cast<double*>(at.shared);
    }  // [C, line], by input
    GLOW_HD double* ys(const BlockThread& at) const {
        return M_inverse(at) + C * line.divisor;
    }                                               // [tile_rows, state_line]
    GLOW_HD real* M(const BlockThread& at) const {  // [C, line], by output
        return reinterpret_cast<real*>(M_inverse(at) + states_size());
    }
    GLOW_HD real* dys(const BlockThread& at) const { return M(at) + C * line.divisor; }  // [tile_rows, line]
    GLOW_HD real* xs(const BlockThread& at) const {
        return dys(at) + tile_rows * line.divisor;
    }  // [tile_rows, in_line]
    GLOW_HD index_t first_row(const BlockThread& at) const {
        return (index_t{at.x} + index_t{at.round} * blocks) * tile_rows;
    }
    GLOW_HD int count(const BlockThread& at) const {  // rows in the tile
        const index_t left = rows - first_row(at);
        return left < tile_rows ? static_cast<int>(left) : tile_rows;
    }
    GLOW_HD int groups() const { return kThreads / sides.divisor; }
    GLOW_HD int rounds(const BlockThread& at) const { return (tiles - at.x + blocks - 1) / blocks; }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals& own) const {
        const index_t first = first_row(at);
        const int present_rows = count(at);
        real* const dy = dys(at);
        double* const y = ys(at);
        real* const input = xs(at);
        struct Element {
            real dy;
            double state;
        };
        // Rows past the last one, and padding, are 0, so they do not affect sums.
        copy_items<kThreads, 4>(
            at.thread, tile_rows * line.divisor,
            [&](int k) {
                const int r = line.quotient(k), c = k - r * line.divisor;
                const bool present = r < present_rows && c < C;
                const index_t row = first + (present ? r : 0), column = present ? c : 0;
                const Element element{gradient.load(row, column),
                                      kInverse ? inverse.load(row, column) : x[row * C + column]};
                return present ? element : Element{0, 0};
            },
            [&](int k, const Element& element) {
                const int r = line.quotient(k), c = k - r * line.divisor;
                dy[k] = element.dy;
                if (c >= C) return;
                if (kInverse)
                    y[r * state_line + c] = element.state;
                else
                    input[r * in_line.divisor + c] = round_state<real>(element.state);
            });
        for (int r = at.thread; r < tile_rows; r += kThreads)
            for (int c = C; c < in_line.divisor; ++c)
                input[r * in_line.divisor + c] = r < present_rows && c == C ? real{1} : real{0};
        if (kInverse)  // rows that phase 1 does not reach
            for (int k = at.thread + present_rows * in_line.divisor; k < tile_rows * in_line.divisor;
                 k += kThreads)
                input[k] = 0;
        if (at.round > 0) return;
        for (int o = 0; o < kSide; ++o)
            for (int i = 0; i < kSide; ++i) own.sum[o][i] = 0;
        double* const m_inverse = M_inverse(at);
        real* const m = M(at);
        for (int k = at.thread; k < C * line.divisor; k += kThreads) {
            const int from = line.quotient(k), to = k - from * line.divisor;
            if (kInverse) m_inverse[k] = to < C ? inverse.coefficient(to, from) : 0.0;
            m[k] = to < C ? gradient.coefficient(to, from) : real{0};
        }
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const int side = row_tasks.quotient(at.thread), r = at.thread - side * tile_rows, c0 = side * kSide;
        if (c0 >= C || r >= count(at)) return;
        const index_t to = first_row(at) + r;
        if constexpr (kInverse) {
            double sum[kSide] = {};
            const double* m = M_inverse(at) + c0;
            const double* const y = ys(at) + r * state_line;
            for (int i = 0; i < C; ++i, m += line.divisor)
                for (int k = 0; k < kSide; k += kStatePack) {
                    const Pack<double> ms = load_pack(m + k);
                    for (int j = 0; j < kStatePack; ++j) sum[k + j] += ms.value[j] * y[i];
                }
            for (int k = 0; k < kSide; ++k) sum[k] = c0 + k < C ? inverse.result(c0 + k, sum[k]) : 0.0;
            for (int k = 0; k < kSide; ++k)
                if (c0 + k < C) xs(at)[r * in_line.divisor + c0 + k] = round_state<real>(sum[k]);
            store_side(sum, inverse.h + to * C + c0, c0);
        }
        real sum[kSide] = {};
        const real* m = M(at) + c0;
        const real* const dy = dys(at) + r * line.divisor;
        for (int o = 0; o < C; ++o, m += line.divisor)
            for (int k = 0; k < kSide; k += kPack) {
                const Pack<real> ms = load_pack(m + k);
                for (int j = 0; j < kPack; ++j) sum[k + j] += ms.value[j] * dy[o];
            }
        store_side(sum, gradient.dh + to * C + c0, c0);
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals& own) const {
        const int group = sides.quotient(at.thread), side = at.thread - group * sides.divisor;
        const int out_side = in_sides.quotient(side), in_side = side - out_side * in_sides.divisor;
        if (group >= groups()) return;
        const real* const dy = dys(at) + out_side * kSide;
        const real* const input = xs(at) + in_side * kSide;
        for (int r = group; r < tile_rows; r += groups()) {
            real d[kSide], v[kSide];
            load_side(dy + r * line.divisor, d);
            load_side(input + r * in_line.divisor, v);
            for (int o = 0; o < kSide; ++o)
                for (int i = 0; i < kSide; ++i) own.sum[o][i] += d[o] * v[i];
        }
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals& own) const {
        real* const sums = static_cast<real*>(at.shared) + at.thread;  // [kSide, kSide, kThreads]
        for (int o = 0; o < kSide; ++o)
            for (int i = 0; i < kSide; ++i) sums[(o * kSide + i) * kThreads] = own.sum[o][i];
    }
    GLOW_HD void run(Phase<4>, const BlockThread& at, Locals&) const {
        const real* const sums = static_cast<const real*>(at.shared);
        for (int k = at.thread; k < sides.divisor * kSide * kSide; k += kThreads) {
            const int element = sides.quotient(k), side = k - element * sides.divisor;
            const int out_side = in_sides.quotient(side), in_side = side - out_side * in_sides.divisor;
            const int o = out_side * kSide + element / kSide, i = in_side * kSide + element % kSide;
            double total = 0;
            for (int g = 0; g < groups(); ++g) total += sums[element * kThreads + g * sides.divisor + side];
            if (o < C && i <= C) partial[(index_t{at.x} * (C + 1) + i) * C + o] = total;
        }
    }

  private:
    GLOW_HD static void load_side(const real* from, real* value) {
        for (int k = 0; k < kSide; k += kPack) {
            const Pack<real> pack = load_pack(from + k);
            for (int j = 0; j < kPack; ++j) value[k + j] = pack.value[j];
        }
    }
    template <class T>
    GLOW_HD void store_side(const T* value, T* to, int c0) const {
        constexpr int kSize = static_cast<int>(Pack<T>::kSize);
        if (packed)
            for (int k = 0; k < kSide; k += kSize) {
                Pack<T> pack;
                for (int j = 0; j < kSize; ++j) pack.value[j] = value[k + j];
                store_pack(pack, to + k);
            }
        else
            for (int k = 0; k < kSide; ++k)
                if (c0 + k < C) to[k] = value[k];
    }
};
// Final stage of a mixing's backward on a GPU: each block handles one input channel, sums its dM and dc over
// the blocks of MixingBackwardTile, and computes the parameter gradients.
struct MixingFinish {
    static constexpr const char* name = "mixing_finish";
    static constexpr int kThreads = 512, kBlocks = 2, kPhases = 4, kAhead = 8;
    struct Locals {};
    int C, parts;
    Divisor outputs;        // threads per part: C of dM and C of dc
    const double* partial;  // [parts, C + 1, C]
    const double *W, *W_inverse;
    ActnormParameters actnorm;
    double dlogdet;
    MixingGradients gradients;

    BlockGrid grid() const { return {C, 1, (kThreads + 2 * C) * static_cast<index_t>(sizeof(double))}; }
    GLOW_HD int splits() const { return kThreads / outputs.divisor; }
    GLOW_HD static double* sums(const BlockThread& at) {
        return static_cast<double*>(at.shared);
    }                                                                                 // [splits, 2 C]
    GLOW_HD static double* dM(const BlockThread& at) { return sums(at) + kThreads; }  // [C], dc [C]

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        const int split = outputs.quotient(at.thread), j = at.thread - split * outputs.divisor;
        if (split >= splits()) return;
        const double* const from = partial + (j < C ? at.x * C + j : C * C + j - C);
        const index_t part_size = index_t{C + 1} * C;
        double sum = 0;
        for (int part = split; part < parts; part += kAhead * splits()) {
            double ahead[kAhead];
            for (int k = 0; k < kAhead; ++k) {
                const int p = part + k * splits();
                const double value = from[(p < parts ? p : part) * part_size];
                ahead[k] = p < parts ? value : 0.0;
            }
            for (int half = kAhead / 2; half > 0; half /= 2)
                for (int k = 0; k < half; ++k) ahead[k] += ahead[k + half];
            sum += ahead[0];
        }
        sums(at)[at.thread] = sum;
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const int j = at.thread, i = at.x;
        if (j >= outputs.divisor) return;
        double sum = 0;
        for (int split = 0; split < splits(); ++split) sum += sums(at)[split * outputs.divisor + j];
        const real total = static_cast<real>(sum);
        dM(at)[j] = total;
        if (gradients.dMc == nullptr) return;
        if (j < C)
            gradients.dMc[j * (C + 1) + i] = total;
        else if (i == 0)
            gradients.dMc[(j - C) * (C + 1) + C] = total;
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals&) const {
        const int o = at.thread, i = at.x;
        if (o >= C) return;
        const double G =
            unscaled_gradient(dM(at)[o], dM(at)[C + o], actnorm.bias[i]) * scale_of(actnorm.logs[i]);
        if (gradients.dW != nullptr)
            gradients.dW[o * C + i] += static_cast<real>(G + dlogdet * W_inverse[i * C + o]);
        sums(at)[o] = W[o * C + i];  // read by all threads simultaneously
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals&) const {
        if (at.thread > 0) return;
        const int i = at.x;
        ActnormSums total;
        for (int o = 0; o < C; ++o) total.add(dM(at)[o], dM(at)[C + o], actnorm.bias[i], sums(at)[o]);
        total.add_gradients(i, actnorm.logs, dlogdet, gradients.actnorm);
    }
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
    return exec.tuned_for_gpu() &&
           MixingBackwardTile<true>::fit({1, nullptr, nullptr, nullptr}, C, {}, nullptr).fits();
}

index_t mixing_backward_scratch(index_t rows, index_t C) {
    return MixingBackwardTile<true>::fit({rows, nullptr, nullptr, nullptr}, C, {}, nullptr).blocks * C *
           (C + 1);
}

void mixing_backward(const Exec& exec, index_t C, const MixingRows& rows, const MixingValues& values,
                     const ActnormParameters& actnorm, double dlogdet, const MixingGradients& gradients,
                     double* partial) {
    const auto run = [&](const auto& tile) {
        run_blocks(exec, tile.grid(), tile);
        const MixingFinish finish{static_cast<int>(C), tile.blocks, Divisor(2 * C), partial,  values.W,
                                  values.W_inverse,    actnorm,     dlogdet,        gradients};
        run_blocks(exec, finish.grid(), finish);
    };
    if (rows.x == nullptr)
        run(MixingBackwardTile<true>::fit(rows, C, values, partial));
    else
        run(MixingBackwardTile<false>::fit(rows, C, values, partial));
}

}  // namespace glow::inline GLOW_REAL
