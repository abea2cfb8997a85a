// Functions for the two directions are next to each other: the same steps in opposite order.
#include "inference/lossless.h"

#include <algorithm>
#include <cmath>

#include "kernels/coupling_scale.h"
#include "kernels/error.h"
#include "kernels/math.h"
#include "kernels/squeeze_split.h"

namespace glow {
namespace {

__extension__ using Int128 = __int128;

constexpr int kRatioBits = 24;
constexpr std::int64_t kOne = std::int64_t{1} << kRatioBits;
constexpr std::int64_t kLargest = std::int64_t{1} << 38;  // limit on |x|, so that R x + r stays below 2^63
constexpr double kCells = static_cast<double>(std::int64_t{1} << kFractionBits);

// Buckets of a standard normal number, from -8 to 8.
constexpr int kBucketBits = kFractionBits - 5;
constexpr std::int64_t kHalf = 8 << 5, kBuckets = 2 * kHalf;
constexpr int kTotalBits = 24, kLookupBits = 12;
constexpr std::int64_t kEscape = std::int64_t{1} << 32;  // more buckets
constexpr std::uint64_t kTotal = std::uint64_t{1} << kTotalBits;

[[noreturn]] void refuse_range() {
    throw InputError(
        "a state of the flow exceeds the integer range: the run diverged, or the file is damaged");
}

void check_range(std::int64_t x) {
    if (x < -kLargest || x >= kLargest) refuse_range();
}

// floor(v / n) for n > 0.
std::int64_t floor_divide(std::int64_t v, std::int64_t n) {
    if (n == kOne) return v >> kRatioBits;
    const std::int64_t quotient = v / n;
    return quotient - (v % n < 0 ? 1 : 0);
}

// Rounds a number to cells.
std::int64_t in_cells(double value) {
    const double cells = value * kCells;
    if (!(std::fabs(cells) < static_cast<double>(kLargest)))
        throw InputError("a network's output is not finite or far out of range: the run may have diverged");
    return std::llround(cells);
}

// sum_j row[j] x[j] over begin <= j < end, rounded from 2^-24 cells to cells. Exact, so equal in both
// directions.
std::int64_t shear(const std::int64_t* row, const std::int64_t* x, index_t begin, index_t end) {
    Int128 sum = Int128{1} << (kRatioBits - 1);
    for (index_t j = begin; j < end; ++j) sum += static_cast<Int128>(row[j]) * x[j];
    sum >>= kRatioBits;
    if (sum < -kLargest || sum >= kLargest) refuse_range();
    return static_cast<std::int64_t>(sum);
}

// b <- (b + shift) scale, or b <- (z - mean) / sigma, in integers, from a network's output. Shared by both
// directions, because two copies of a floating-point formula may round differently.
struct Affine {
    std::int64_t shift;
    Ratio scale;
};

template <CouplingScale kScale>
[[gnu::noinline]] Affine affine_of_coupling(real shift, real scale) {
    return {in_cells(shift), ratio_of(coupling_scale<kScale>(scale).value)};
}

[[gnu::noinline]] Affine affine_of_density(real mean, real logs) {
    return {-in_cells(mean), ratio_of(exp_of(-static_cast<double>(logs)))};
}

// Calls f(index before, index after) for every value of a squeeze.
template <class F>
void each_squeezed(index_t N, const Shape& squeezed, F f) {
    const index_t W = squeezed.W, C = squeezed.C / 4;
    for (index_t q = 0; q < N * squeezed.H; ++q)
        for (index_t x = 0; x < W; ++x)
            for (index_t c = 0; c < C; ++c) {
                const SqueezeBlock block(2 * W, C, q, x, c);
                for (int i = 0; i < 4; ++i) f(block.before(i), block.after(i));
            }
}

}  // namespace

Ratio ratio_of(double s) {
    if (!(s > 0)) return {1, kOne};  // underflow; NaN throws when shifts are computed
    if (s <= 1) return {std::max<std::int64_t>(1, std::llround(s * static_cast<double>(kOne))), kOne};
    return {kOne, std::max<std::int64_t>(1, std::llround(static_cast<double>(kOne) / s))};
}

std::int64_t scale_up(BitStack& stack, const Ratio& ratio, std::int64_t x) {
    check_range(x);
    if (ratio.R == ratio.S) return x;
    const std::int64_t r = static_cast<std::int64_t>(stack.pop(static_cast<std::uint64_t>(ratio.R)));
    const std::int64_t v = ratio.R * x + r, y = floor_divide(v, ratio.S);
    stack.push(static_cast<std::uint64_t>(v - ratio.S * y), static_cast<std::uint64_t>(ratio.S));
    check_range(y);
    return y;
}

std::int64_t scale_back(BitStack& stack, const Ratio& ratio, std::int64_t y) {
    check_range(y);
    if (ratio.R == ratio.S) return y;
    const std::int64_t s = static_cast<std::int64_t>(stack.pop(static_cast<std::uint64_t>(ratio.S)));
    const std::int64_t v = ratio.S * y + s, x = floor_divide(v, ratio.R);
    stack.push(static_cast<std::uint64_t>(v - ratio.R * x), static_cast<std::uint64_t>(ratio.R));
    check_range(x);
    return x;
}

// ---- Mixing --------------------------------------------------------------------------------------

IntegerMixing IntegerMixing::of(index_t C, const double* matrix, const double* shift,
                                const std::string& name) {
    // Elimination with the largest pivot of each column, so that |L| <= 1. Not Solver::factorize(): LAPACK
    // rounds differently, so existing files would no longer decode.
    std::vector<double> a(matrix, matrix + C * C);
    IntegerMixing mixing;
    mixing.C = C;
    for (index_t i = 0; i < C; ++i) mixing.rows.push_back(i);
    for (index_t k = 0; k < C; ++k) {
        index_t pivot = k;
        for (index_t i = k + 1; i < C; ++i)
            if (std::fabs(a[i * C + k]) > std::fabs(a[pivot * C + k])) pivot = i;
        std::swap(mixing.rows[k], mixing.rows[pivot]);
        for (index_t j = 0; j < C; ++j) std::swap(a[k * C + j], a[pivot * C + j]);
        for (index_t i = k + 1; i < C; ++i) {
            a[i * C + k] /= a[k * C + k];
            for (index_t j = k + 1; j < C; ++j) a[i * C + j] -= a[i * C + k] * a[k * C + j];
        }
    }
    const auto coefficient = [&](double value) {
        if (!(std::fabs(value) < 0x1p20))
            throw InputError(name + ": its channel mixing is too close to singular for integer coding");
        return std::llround(value * static_cast<double>(kOne));
    };
    mixing.lower.assign(static_cast<std::size_t>(C * C), 0);
    mixing.upper.assign(static_cast<std::size_t>(C * C), 0);
    for (index_t i = 0; i < C; ++i) {
        const double d = a[i * C + i];
        if (!(std::fabs(d) >= 0x1p-20 && std::fabs(d) <= 0x1p20)) coefficient(HUGE_VAL);
        for (index_t j = 0; j < i; ++j) mixing.lower[i * C + j] = coefficient(a[i * C + j]);
        for (index_t j = i + 1; j < C; ++j) mixing.upper[i * C + j] = coefficient(a[i * C + j] / d);
        mixing.diagonal.push_back(ratio_of(std::fabs(d)));
        mixing.negative.push_back(d < 0);
        mixing.shift.push_back(in_cells(shift[i]));
    }
    mixing.scratch_.resize(static_cast<std::size_t>(C));
    return mixing;
}

void IntegerMixing::forward(BitStack& stack, std::int64_t* x) const {
    for (index_t i = 0; i < C; ++i) x[i] += shear(&upper[i * C], x, i + 1, C);
    for (index_t i = 0; i < C; ++i) {
        x[i] = scale_up(stack, diagonal[i], x[i]);
        if (negative[i]) x[i] = ~x[i];  // the cell [x, x + 1) becomes [-x - 1, -x)
    }
    for (index_t i = C; i-- > 0;) x[i] += shear(&lower[i * C], x, 0, i);
    for (index_t i = 0; i < C; ++i) scratch_[rows[i]] = x[i] + shift[rows[i]];
    std::copy(scratch_.begin(), scratch_.end(), x);
}

void IntegerMixing::inverse(BitStack& stack, std::int64_t* x) const {
    for (index_t i = 0; i < C; ++i) scratch_[i] = x[rows[i]] - shift[rows[i]];
    std::copy(scratch_.begin(), scratch_.end(), x);
    for (index_t i = 0; i < C; ++i) x[i] -= shear(&lower[i * C], x, 0, i);
    for (index_t i = C; i-- > 0;) {
        if (negative[i]) x[i] = ~x[i];
        x[i] = scale_back(stack, diagonal[i], x[i]);
    }
    for (index_t i = C; i-- > 0;) x[i] -= shear(&upper[i * C], x, i + 1, C);
}

// ---- Latents -------------------------------------------------------------------------------------

NormalCode::NormalCode() {
    // Every bucket has a frequency of at least 1; the rounding remainder goes to the middle.
    const auto below = [](std::int64_t bucket) {
        return 0.5 * std::erfc(-static_cast<double>(bucket) / 32.0 / std::sqrt(2.0));
    };
    const double spread = static_cast<double>(kTotal - static_cast<std::uint64_t>(kBuckets) - 1);
    std::vector<std::uint32_t> counts;
    std::uint64_t sum = 1;  // 1 for the escape
    for (std::int64_t b = -kHalf; b < kHalf; ++b) {
        counts.push_back(1 + static_cast<std::uint32_t>(spread * (below(b + 1) - below(b))));
        sum += counts.back();
    }
    counts[kHalf] += static_cast<std::uint32_t>(kTotal - sum);
    first_ = {0};
    for (const std::uint32_t count : counts) first_.push_back(first_.back() + count);
    first_.push_back(static_cast<std::uint32_t>(kTotal));
    for (std::uint32_t lead = 0; lead < 1u << kLookupBits; ++lead) {
        const std::uint32_t frequency = lead << (kTotalBits - kLookupBits);
        bucket_.push_back(static_cast<std::uint16_t>(
            std::upper_bound(first_.begin(), first_.end(), frequency) - first_.begin() - 1));
    }
}

void NormalCode::push(BitStack& stack, std::int64_t eps) const {
    check_range(eps);
    const std::int64_t bucket = (eps >> kBucketBits) + kHalf;
    stack.push(static_cast<std::uint64_t>(eps) & ((1u << kBucketBits) - 1), 1u << kBucketBits);
    const bool escapes = bucket < 0 || bucket >= kBuckets;
    if (escapes) stack.push(static_cast<std::uint64_t>(bucket + kEscape / 2), kEscape);
    const std::size_t symbol = static_cast<std::size_t>(escapes ? kBuckets : bucket);
    const std::uint64_t first = first_[symbol];
    stack.push(first + stack.pop(first_[symbol + 1] - first), kTotal);
}

std::int64_t NormalCode::pop(BitStack& stack) const {
    const std::uint64_t frequency = stack.pop(kTotal);
    std::size_t symbol = bucket_[frequency >> (kTotalBits - kLookupBits)];
    while (first_[symbol + 1] <= frequency) ++symbol;
    stack.push(frequency - first_[symbol], first_[symbol + 1] - first_[symbol]);
    std::int64_t bucket = static_cast<std::int64_t>(symbol);
    if (bucket == kBuckets) bucket = static_cast<std::int64_t>(stack.pop(kEscape)) - kEscape / 2;
    const std::int64_t within = static_cast<std::int64_t>(stack.pop(1u << kBucketBits));
    const std::int64_t eps = (bucket - kHalf) * (std::int64_t{1} << kBucketBits) + within;
    check_range(eps);
    return eps;
}

// ---- The flow ------------------------------------------------------------------------------------

LosslessCoder::LosslessCoder(LoadedModel& model) : model_(model) {
    const Context& context = model.context();
    if (context.exec.device != Device::cpu)
        throw InputError("lossless coding runs only on the CPU: omit --device cuda");
    for (std::size_t l = 0; l < model.glow().levels().size(); ++l) {
        Glow::Level& level = model.glow().levels()[l];
        std::vector<IntegerMixing>& mixings = mixings_.emplace_back();
        for (std::size_t k = 0; k < level.mixings.size(); ++k) {
            const MixingValues& values = level.mixings[k]->values();
            mixings.push_back(IntegerMixing::of(level.shape.C, values.M, values.shift, level.steps[k]->name));
        }
    }
}

const state_t* LosslessCoder::states() {
    state_t* const h = model_.buffers().h;
    for (std::size_t i = 0; i < x_.size(); ++i) h[i] = (static_cast<double>(x_[i]) + 0.5) / kCells;
    return h;
}

void LosslessCoder::couple(BitStack& stack, CodingPass pass, Glow::Level& level, Coupling& coupling,
                           index_t N) {
    const index_t C = level.shape.C, rows = N * level.shape.pixels(), outputs = coupling.outputs();
    predicted_.resize(static_cast<std::size_t>(rows * outputs));
    coupling.predict(model_.context(), N, states(), predicted_.data());
    const bool affine = config().coupling == CouplingKind::affine, forward = pass == CodingPass::forward;
    const auto affine_of = config().coupling_scale == CouplingScale::tanh
                               ? affine_of_coupling<CouplingScale::tanh>
                               : affine_of_coupling<CouplingScale::sigmoid>;
    for_each_value(pass, rows * (C / 2), [&](index_t i) {
        const index_t row = i / (C / 2), c = i % (C / 2);
        std::int64_t& b = x_[row * C + C / 2 + c];
        const real* const out = predicted_.data() + row * outputs;
        if (!affine) {
            const std::int64_t shift = in_cells(out[c]);
            b += forward ? shift : -shift;
            return;
        }
        const Affine map = affine_of(out[2 * c], out[2 * c + 1]);
        b = forward ? scale_up(stack, map.scale, b + map.shift) : scale_back(stack, map.scale, b) - map.shift;
    });
}

void LosslessCoder::code_latent(BitStack& stack, CodingPass pass, real mean, real logs, std::int64_t& z) {
    const Affine map = affine_of_density(mean, logs);
    if (pass == CodingPass::forward)
        normal_.push(stack, scale_up(stack, map.scale, z + map.shift));
    else
        z = scale_back(stack, map.scale, normal_.pop(stack)) - map.shift;
}

// Forward: x_ [N, H, W, C] -> a [N, H, W, C/2], with b coded on the stack.
void LosslessCoder::code_split(BitStack& stack, CodingPass pass, Glow::Level& level, index_t N) {
    const index_t C = level.shape.C, half = C / 2, rows = N * level.shape.pixels();
    const bool forward = pass == CodingPass::forward;
    if (!forward) {
        moved_.assign(static_cast<std::size_t>(rows * C), 0);
        for (index_t row = 0; row < rows; ++row) std::copy_n(&x_[row * half], half, &moved_[row * C]);
        x_.swap(moved_);
    }
    predicted_.resize(static_cast<std::size_t>(rows * C));
    level.split->predict(model_.context(), N, states(), predicted_.data());
    for_each_value(pass, rows * half, [&](index_t i) {
        const index_t row = i / half, c = i % half;
        code_latent(stack, pass, predicted_[row * C + 2 * c], predicted_[row * C + 2 * c + 1],
                    x_[row * C + half + c]);
    });
    if (!forward) return;
    moved_.resize(static_cast<std::size_t>(rows * half));
    for (index_t row = 0; row < rows; ++row) std::copy_n(&x_[row * C], half, &moved_[row * half]);
    x_.swap(moved_);
}

void LosslessCoder::code_top(BitStack& stack, CodingPass pass, index_t N, const std::int32_t* labels) {
    const Shape shape = model_.glow().levels().back().shape;
    const index_t C = shape.C, values = N * shape.size();
    if (pass == CodingPass::inverse) x_.resize(static_cast<std::size_t>(values));
    predicted_.resize(static_cast<std::size_t>(2 * values));
    model_.glow().top().predict(model_.context(), N, labels, predicted_.data());
    for_each_value(pass, values, [&](index_t i) {
        const index_t row = i / C, c = i % C;
        code_latent(stack, pass, predicted_[row * 2 * C + c], predicted_[row * 2 * C + C + c], x_[i]);
    });
}

LosslessCoder::Borrowed LosslessCoder::encode(BitStack& stack, index_t N, const std::uint8_t* pixels,
                                              const std::int32_t* labels) {
    const int bits = config().n_bits, noise = kFractionBits - bits;
    const auto bits_without_supply = [&] {
        return static_cast<std::int64_t>(stack.bits()) - static_cast<std::int64_t>(32 * stack.supplied());
    };
    const std::int64_t before = bits_without_supply();
    std::int64_t borrowed = 0;
    const auto update_borrowed = [&] { borrowed = std::max(borrowed, before - bits_without_supply()); };
    x_.resize(static_cast<std::size_t>(N * config().dimensions()));
    for (std::size_t i = 0; i < x_.size(); ++i) {
        const std::int64_t bin = pixels[i] >> (8 - bits);
        x_[i] = (bin << noise) + static_cast<std::int64_t>(stack.pop(std::uint64_t{1} << noise)) -
                (std::int64_t{1} << (kFractionBits - 1));
    }
    update_borrowed();
    model_.glow().for_each_layer(
        [&](Glow::Level& level) {
            moved_.resize(x_.size());
            each_squeezed(N, level.shape, [&](index_t from, index_t to) { moved_[to] = x_[from]; });
            x_.swap(moved_);
        },
        [&](Glow::Level& level, Glow::Step& step, index_t l, index_t k) {
            const index_t C = level.shape.C, rows = N * level.shape.pixels();
            for (index_t row = 0; row < rows; ++row) mixings_[l][k].forward(stack, &x_[row * C]);
            update_borrowed();
            couple(stack, CodingPass::forward, level, step.coupling, N);
            update_borrowed();
        },
        [&](Glow::Level& level) { code_split(stack, CodingPass::forward, level, N); });
    code_top(stack, CodingPass::forward, N, labels);
    if (config().y_cond)
        for (index_t n = 0; n < N; ++n)
            stack.push(static_cast<std::uint64_t>(labels[n]), static_cast<std::uint64_t>(config().n_classes));
    return {static_cast<std::uint64_t>(borrowed)};
}

void LosslessCoder::decode(BitStack& stack, index_t N, std::uint8_t* pixels, std::int32_t* labels) {
    if (config().y_cond)
        for (index_t n = N; n-- > 0;)
            labels[n] = static_cast<std::int32_t>(stack.pop(static_cast<std::uint64_t>(config().n_classes)));
    code_top(stack, CodingPass::inverse, N, labels);
    model_.glow().for_each_layer_backwards(
        [&](Glow::Level& level) { code_split(stack, CodingPass::inverse, level, N); },
        [&](Glow::Level& level, Glow::Step& step, index_t l, index_t k) {
            const index_t C = level.shape.C, rows = N * level.shape.pixels();
            couple(stack, CodingPass::inverse, level, step.coupling, N);
            for (index_t row = rows; row-- > 0;) mixings_[l][k].inverse(stack, &x_[row * C]);
        },
        [&](Glow::Level& level) {
            moved_.resize(x_.size());
            each_squeezed(N, level.shape, [&](index_t from, index_t to) { moved_[from] = x_[to]; });
            x_.swap(moved_);
        });
    const int bits = config().n_bits, noise = kFractionBits - bits;
    for (std::size_t i = x_.size(); i-- > 0;) {
        const std::int64_t x = x_[i] + (std::int64_t{1} << (kFractionBits - 1)), bin = x >> noise;
        if (bin < 0 || bin >= std::int64_t{1} << bits)
            throw InputError("the decoded data is not an image: different model or build, or a damaged file");
        stack.push(static_cast<std::uint64_t>(x) & ((std::uint64_t{1} << noise) - 1),
                   std::uint64_t{1} << noise);
        pixels[i] = static_cast<std::uint8_t>(bin << (8 - bits));
    }
}

}  // namespace glow
