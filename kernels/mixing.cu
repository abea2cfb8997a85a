#include <limits>

#include "kernels/block.cuh"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/mixing.h"
#include "kernels/row_matvec.cuh"

namespace glow::inline GLOW_REAL {
namespace {

struct AffineRows {
    static constexpr const char* name = "affine_rows";
    using Value = double;
    index_t C;
    const double* M;
    const double* shift;
    state_t* h;
    GLOW_HD double load(index_t row, index_t i) const { return h[row * C + i]; }
    GLOW_HD double coefficient(index_t o, index_t i) const { return M[o * C + i]; }
    GLOW_HD double result(index_t o, double sum) const { return sum + shift[o]; }
    GLOW_HD void store(index_t row, index_t o, double sum) const { h[row * C + o] = result(o, sum); }
};

struct AffineRowsGradient {
    static constexpr const char* name = "affine_rows_gradient";
    using Value = real;
    index_t C;
    const double* M;
    real* dh;
    GLOW_HD real load(index_t row, index_t o) const { return dh[row * C + o]; }
    GLOW_HD real coefficient(index_t i, index_t o) const { return static_cast<real>(M[o * C + i]); }
    GLOW_HD void store(index_t row, index_t i, real sum) const { dh[row * C + i] = sum; }
};

struct CastWithOne {
    static constexpr const char* name = "cast_with_one";
    index_t C;
    const state_t* h;
    real* out;
    GLOW_HD void operator()(index_t row, index_t c) const {
        out[row * (C + 1) + c] = c < C ? round_state<real>(h[row * C + c]) : real{1};
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

    static MixingBackwardTile fit(index_t rows, index_t C, const AffineRows& inverse,
                                  const AffineRowsGradient& gradient, const state_t* x, double* partial) {
        const index_t line = round_up(C, kSide), in_line = round_up(C + 1, kSide);
        index_t tile_rows = 64;
        while (tile_rows > 1 && tile_rows * (line / kSide) > kThreads) tile_rows /= 2;
        const index_t tiles = (rows + tile_rows - 1) / tile_rows;
        // Few enough blocks that their sums are small compared with the state.
        const index_t most = std::clamp<index_t>((index_t{1} << 19) / (C * (C + 1)), 128, 384);
        const index_t rounds = std::max<index_t>(1, (tiles + most - 1) / most);
        return {rows,
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
                inverse,
                gradient,
                x,
                partial};
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
struct DenseWeight {
    static constexpr const char* name = "dense_weight";
    index_t C, stride;
    const real* weight;
    double* W;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        W[(k * C + o) * C + i] = weight[k * stride + o * C + i];
    }
};

// L of the step whose parameters are offset by `at` and `fixed_at` from the first step's.
GLOW_HD inline double lu_lower(const LuFactors& f, index_t C, index_t at, index_t r, index_t c) {
    return r == c ? 1.0 : static_cast<double>(f.lower[at + r * C + c]);
}
GLOW_HD inline double lu_diagonal(const LuFactors& f, index_t at, index_t fixed_at, index_t i) {
    return f.sign[fixed_at + i] * exp_of(f.log_diag[at + i]);
}

struct LuWeight {
    static constexpr const char* name = "lu_weight";
    index_t C, stride, fixed_stride;
    LuFactors f;
    double* W;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = k * stride, fixed_at = k * fixed_stride;
        const index_t r = static_cast<index_t>(f.permutation[fixed_at + o]);
        const index_t last = r < i ? r : i - 1;  // last term with an entry of upper
        double sum = i <= r ? lu_lower(f, C, at, r, i) * lu_diagonal(f, at, fixed_at, i) : 0.0;
        for (index_t c = 0; c <= last; ++c)
            sum += lu_lower(f, C, at, r, c) * static_cast<double>(f.upper[at + c * C + i]);
        W[(k * C + o) * C + i] = sum;
    }
};

struct LuLogDeterminant {
    static constexpr const char* name = "lu_log_determinant";
    index_t C, stride;
    const real* log_diag;
    double* log_abs_det;
    GLOW_HD void operator()(index_t k) const {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += log_diag[k * stride + i];
        log_abs_det[k] = sum;
    }
};

struct PermutationWeight {
    static constexpr const char* name = "permutation_weight";
    index_t C, fixed_stride;
    const real* indices;
    double* W;
    double* W_inverse;
    double* log_abs_det;
    double* condition;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t source =
            indices != nullptr ? static_cast<index_t>(indices[k * fixed_stride + o]) : C - 1 - o;
        const double entry = source == i ? 1.0 : 0.0;
        W[(k * C + o) * C + i] = entry;
        W_inverse[(k * C + i) * C + o] = entry;
        if (o == 0 && i == 0) {
            log_abs_det[k] = 0.0;
            condition[k] = 1.0;
        }
    }
};

struct FoldMixing {
    static constexpr const char* name = "fold_mixing";
    index_t C, stride;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = (k * C + o) * C + i;
        v.M[at] = v.W[at] * scale_of(logs[k * stride + i]);
    }
};

struct FoldInverse {
    static constexpr const char* name = "fold_mixing_inverse";
    index_t C, stride;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = (k * C + o) * C + i;
        v.M_inverse[at] = v.W_inverse[at] * inverse_scale_of(logs[k * stride + o]);
    }
};

struct FoldShift {
    static constexpr const char* name = "fold_mixing_shift";
    index_t C, stride;
    const real* bias;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o) const {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += v.M[(k * C + o) * C + i] * bias[k * stride + i];
        v.shift[k * C + o] = sum;
        v.minus_bias[k * C + o] = -static_cast<double>(bias[k * stride + o]);
    }
};

struct FoldLogdet {
    static constexpr const char* name = "fold_mixing_logdet";
    index_t C, pixels, stride;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k) const {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += log_scale_of(logs[k * stride + i]);
        v.actnorm_logdet[k] = sum * static_cast<double>(pixels);
    }
};

struct FoldDeterminant {
    static constexpr const char* name = "fold_mixing_determinant";
    index_t C, pixels, stride;
    const real* bias;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k) const {
        bool usable = true;
        for (index_t i = 0; i < C; ++i) {
            const double log_scale = log_scale_of(logs[k * stride + i]);
            // Scales must be between 2^-1000 and 2^1000, and not NaN.
            usable = usable && log_scale > -693.0 && log_scale < 693.0 &&
                     bias[k * stride + i] - bias[k * stride + i] == 0;
        }
        v.mixing_logdet[k] *= static_cast<double>(pixels);
        if (!usable) v.condition[k] = kInfinity;
    }
    static constexpr double kInfinity = std::numeric_limits<double>::infinity();
};

struct AddToAll {
    static constexpr const char* name = "add_to_all";
    const double* value;
    double* x;
    GLOW_HD void operator()(index_t n) const { x[n] += *value; }
};

struct AddLogdetsToAll {
    static constexpr const char* name = "add_logdets_to_all";
    index_t K;
    const double* actnorm;
    const double* mixing;
    double* x;
    GLOW_HD void operator()(index_t n) const {
        double sum = 0;
        for (index_t k = 0; k < K; ++k) sum += actnorm[k] + mixing[k];
        x[n] += sum;
    }
};

// G[o, i] = (dM + dc b^T)[o, i] s_i, without and with the scale.
GLOW_HD inline double unscaled_gradient(double dM, double dc, double bias) {
    return dM + dc * bias;
}
GLOW_HD inline double weight_gradient(const real* dMc, index_t C, index_t o, index_t i, const real* bias,
                                      const real* logs) {
    return unscaled_gradient(dMc[o * (C + 1) + i], dMc[o * (C + 1) + C], bias[i]) * scale_of(logs[i]);
}

struct DenseWeightGradient {
    static constexpr const char* name = "dense_weight_gradient";
    index_t C;
    const real* dMc;
    const double* W_inverse;
    const real* bias;
    const real* logs;
    double dlogdet;
    real* dW;
    GLOW_HD void operator()(index_t o, index_t i) const {
        dW[o * C + i] +=
            static_cast<real>(weight_gradient(dMc, C, o, i, bias, logs) + dlogdet * W_inverse[i * C + o]);
    }
};

// dLU = P^T G.
struct LuProductGradient {
    static constexpr const char* name = "lu_product_gradient";
    index_t C;
    const real* dMc;
    const real* permutation;
    const real* bias;
    const real* logs;
    double* dLU;
    GLOW_HD void operator()(index_t o, index_t i) const {
        dLU[static_cast<index_t>(permutation[o]) * C + i] = weight_gradient(dMc, C, o, i, bias, logs);
    }
};

struct LuGradient {
    static constexpr const char* name = "lu_gradient";
    index_t C;
    LuFactors f;
    const double* dLU;
    double dlogdet;
    real* dlog_diag;
    real* dlower;
    real* dupper;
    GLOW_HD void operator()(index_t r, index_t c) const {
        if (r > c) {  // row r of dLU times row c of B
            double sum = dLU[r * C + c] * lu_diagonal(f, 0, 0, c);
            for (index_t j = c + 1; j < C; ++j) sum += dLU[r * C + j] * f.upper[c * C + j];
            dlower[r * C + c] += static_cast<real>(sum);
            return;
        }
        double sum = 0;  // column r of A times column c of dLU
        for (index_t j = r; j < C; ++j) sum += lu_lower(f, C, 0, j, r) * dLU[j * C + c];
        if (r < c)
            dupper[r * C + c] += static_cast<real>(sum);
        else
            dlog_diag[r] += static_cast<real>(sum * lu_diagonal(f, 0, 0, r) + dlogdet);
    }
};

// dbias and dlogs of input channel i, from sums over outputs o.
struct ActnormSums {
    double GW = 0, Wdc = 0;
    GLOW_HD void add(double dM, double dc, double bias, double W) {
        GW += unscaled_gradient(dM, dc, bias) * W;
        Wdc += W * dc;
    }
    GLOW_HD void add_gradients(index_t i, const real* logs, double dlogdet, real* dbias, real* dlogs) const {
        const double s = scale_of(logs[i]);
        dbias[i] += static_cast<real>(s * Wdc);
        dlogs[i] += static_cast<real>(kLogsFactor * (s * GW + dlogdet));
    }
};
struct ActnormGradient {
    static constexpr const char* name = "actnorm_gradient";
    index_t C;
    const real* dMc;
    const double* W;
    const real* bias;
    const real* logs;
    double dlogdet;
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t i) const {
        ActnormSums sums;
        for (index_t o = 0; o < C; ++o)
            sums.add(dMc[o * (C + 1) + i], dMc[o * (C + 1) + C], bias[i], W[o * C + i]);
        sums.add_gradients(i, logs, dlogdet, dbias, dlogs);
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
    const real *bias, *logs;
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
        const double G = unscaled_gradient(dM(at)[o], dM(at)[C + o], bias[i]) * scale_of(logs[i]);
        if (gradients.dW != nullptr)
            gradients.dW[o * C + i] += static_cast<real>(G + dlogdet * W_inverse[i * C + o]);
        sums(at)[o] = W[o * C + i];  // read by all threads simultaneously
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals&) const {
        if (at.thread > 0) return;
        const int i = at.x;
        ActnormSums total;
        for (int o = 0; o < C; ++o) total.add(dM(at)[o], dM(at)[C + o], bias[i], sums(at)[o]);
        total.add_gradients(i, logs, dlogdet, gradients.dbias, gradients.dlogs);
    }
};

}  // namespace

void affine_rows(const Exec& exec, index_t rows, index_t C, const double* M, const double* shift,
                 state_t* h) {
    row_matvec(exec, rows, C, AffineRows{C, M, shift, h});
}

void affine_rows_gradient(const Exec& exec, index_t rows, index_t C, const double* M, real* dh) {
    row_matvec(exec, rows, C, AffineRowsGradient{C, M, dh});
}

bool has_mixing_backward(const Exec& exec, index_t C) {
    return exec.tuned_for_gpu() && MixingBackwardTile<true>::fit(1, C, {}, {}, nullptr, nullptr).fits();
}

index_t mixing_backward_scratch(index_t rows, index_t C) {
    return MixingBackwardTile<true>::fit(rows, C, {}, {}, nullptr, nullptr).blocks * C * (C + 1);
}

void mixing_backward(const Exec& exec, index_t rows, index_t C, const MixingValues& values, state_t* h,
                     const state_t* x, real* dh, const real* bias, const real* logs, double dlogdet,
                     const MixingGradients& gradients, double* partial) {
    const AffineRows inverse{C, values.M_inverse, values.minus_bias, h};
    const AffineRowsGradient gradient{C, values.M, dh};
    const auto run = [&](const auto& tile) {
        run_blocks(exec, tile.grid(), tile);
        const MixingFinish finish{static_cast<int>(C), tile.blocks, Divisor(2 * C), partial, values.W,
                                  values.W_inverse,    bias,        logs,           dlogdet, gradients};
        run_blocks(exec, finish.grid(), finish);
    };
    if (x == nullptr)
        run(MixingBackwardTile<true>::fit(rows, C, inverse, gradient, nullptr, partial));
    else
        run(MixingBackwardTile<false>::fit(rows, C, inverse, gradient, x, partial));
}

void cast_with_one(const Exec& exec, index_t rows, index_t C, const state_t* h, real* out) {
    for_each_row_channel(exec, rows, C + 1, CastWithOne{C, h, out});
}

void dense_weight(const Exec& exec, index_t K, index_t C, index_t stride, const real* weight, double* W) {
    for_each_group(exec, K, C, C, DenseWeight{C, stride, weight, W});
}

void lu_weight(const Exec& exec, index_t K, index_t C, index_t stride, index_t fixed_stride,
               const LuFactors& factors, double* W) {
    for_each_group(exec, K, C, C, LuWeight{C, stride, fixed_stride, factors, W});
}

void lu_log_determinant(const Exec& exec, index_t K, index_t C, index_t stride, const real* log_diag,
                        double* log_abs_det) {
    for_each(exec, K, LuLogDeterminant{C, stride, log_diag, log_abs_det}, C);
}

void permutation_weight(const Exec& exec, index_t K, index_t C, index_t fixed_stride, const real* indices,
                        double* W, double* W_inverse, double* log_abs_det, double* condition) {
    for_each_group(exec, K, C, C,
                   PermutationWeight{C, fixed_stride, indices, W, W_inverse, log_abs_det, condition});
}

void fold_mixing(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride, const real* bias,
                 const real* logs, const MixingValues& values) {
    for_each_group(exec, K, C, C, FoldMixing{C, stride, logs, values});
    for_each_row_channel(exec, K, C, FoldShift{C, stride, bias, values});
    for_each(exec, K, FoldLogdet{C, pixels, stride, logs, values}, C);
}

void fold_mixing_inverse(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                         const real* bias, const real* logs, const MixingValues& values) {
    for_each_group(exec, K, C, C, FoldInverse{C, stride, logs, values});
    for_each(exec, K, FoldDeterminant{C, pixels, stride, bias, logs, values}, C);
}

void add_to_all(const Exec& exec, index_t N, const double* value, double* x) {
    for_each(exec, N, AddToAll{value, x});
}

void add_logdets_to_all(const Exec& exec, index_t N, index_t K, const MixingValues& values, double* x) {
    for_each(exec, N, AddLogdetsToAll{K, values.actnorm_logdet, values.mixing_logdet, x}, K);
}

void dense_weight_gradient(const Exec& exec, index_t C, const real* dMc, const double* W_inverse,
                           const real* bias, const real* logs, double dlogdet, real* dW) {
    for_each_row_channel(exec, C, C, DenseWeightGradient{C, dMc, W_inverse, bias, logs, dlogdet, dW});
}

void lu_gradient(const Exec& exec, index_t C, const real* dMc, const LuFactors& factors, const real* bias,
                 const real* logs, double dlogdet, double* scratch, real* dlog_diag, real* dlower,
                 real* dupper) {
    for_each_row_channel(exec, C, C, LuProductGradient{C, dMc, factors.permutation, bias, logs, scratch});
    for_each_row_channel(exec, C, C, LuGradient{C, factors, scratch, dlogdet, dlog_diag, dlower, dupper});
}

void actnorm_gradient(const Exec& exec, index_t C, const real* dMc, const double* W, const real* bias,
                      const real* logs, double dlogdet, real* dbias, real* dlogs) {
    for_each(exec, C, ActnormGradient{C, dMc, W, bias, logs, dlogdet, dbias, dlogs}, C);
}

}  // namespace glow::inline GLOW_REAL
