#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/optimizer.h"
#include "kernels/pack.cuh"
#include "kernels/philox.h"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

template <class Moment>
struct Arrays {
    OptimizerStep step;
    const real* gradient;
    real* w;
    Moment* m;
    Moment* v;
    real* ema;
};

struct Update : Arrays<real> {
    static constexpr const char* name = "optimizer_step";
    static constexpr double kBytes =
        9 * sizeof(real);  // the gradient in; weight, moments and average in and out
    GLOW_HD void operator()(index_t i) const {
        real average = ema != nullptr ? ema[i] : real{0};
        update(step, gradient[i], w[i], m[i], v[i], average);
        if (ema != nullptr) ema[i] = average;
    }
    GLOW_HD static void update(const OptimizerStep& step, real gradient, real& w, real& m, real& v,
                               real& ema) {
        const double g = step.gradient_scale * gradient;
        const double mean = step.beta1 * m + (1.0 - step.beta1) * g;
        double second, denominator;
        if (step.adam) {
            second = step.beta2 * v + (1.0 - step.beta2) * g * g;
            denominator = sqrt_of(second) + 1e-8;
        } else {
            const double size = g < 0.0 ? -g : g, decayed = step.beta2 * v;
            second = decayed > size ? decayed : size;
            denominator = second + 1e-8;
        }
        const double weight = (1.0 - step.weight_decay) * w - step.lr_t * mean / denominator;
        m = static_cast<real>(mean);
        v = static_cast<real>(second);
        w = static_cast<real>(weight);
        ema = static_cast<real>(ema + (w - ema) * step.ema_rate);
    }
};

// GPU version, 16 bytes at a time.
struct UpdatePack : Arrays<real> {
    static constexpr const char* name = "optimizer_step_pack";
    static constexpr double kBytes = 9 * sizeof(Pack<real>);
    static constexpr index_t kSize = Pack<real>::kSize;
    GLOW_HD void operator()(index_t pack) const {
        const index_t i = pack * kSize;
        const Pack<real> gs = load_pack(gradient + i);
        Pack<real> ws = load_pack(w + i), ms = load_pack(m + i), vs = load_pack(v + i), averages{};
        if (ema != nullptr) averages = load_pack(ema + i);
        for (index_t j = 0; j < kSize; ++j)
            Update::update(step, gs.value[j], ws.value[j], ms.value[j], vs.value[j], averages.value[j]);
        store_pack(ws, w + i);
        store_pack(ms, m + i);
        store_pack(vs, v + i);
        if (ema != nullptr) store_pack(averages, ema + i);
    }
};

// Rounds x >= 0 to a neighbor in bf16, to the upper one with probability equal to x's relative distance from
// the lower one: adds 16 random bits to the 16 bits that are cut off.
GLOW_HD inline bfloat16 round_at_random(double x, std::uint32_t random16) {
    const float value = static_cast<float>(x);
    std::uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits >= 0x7f800000u) return round_to<bfloat16>(x);  // not finite, and rounding must not change that
    return {static_cast<std::uint16_t>((bits + random16) >> 16)};
}

// Moments in bf16, eight at a time: one Philox block provides 16 random bits for each.
struct UpdateBf16 : Arrays<bfloat16> {
    static constexpr const char* name = "optimizer_step_bf16";
    static constexpr index_t kSize = 8;
    static constexpr double kBytes = kSize * (5 * sizeof(real) + 4 * sizeof(bfloat16));
    index_t count, first;
    GLOW_HD void operator()(index_t group) const {
        const PhiloxWords random =
            philox_block(step.seed, Purpose::moments, step.number, first / kSize + group);
        const index_t begin = group * kSize, end = begin + kSize < count ? begin + kSize : count;
        for (index_t i = begin; i < end; ++i) {
            const index_t j = i - begin;
            real mean = widen(m[i]), second = widen(v[i]), average = ema != nullptr ? ema[i] : real{0};
            Update::update(step, gradient[i], w[i], mean, second, average);
            m[i] = round_to<bfloat16>(mean);
            // Named, because indexing an array in a loop would put it on the GPU's stack.
            const std::uint32_t low = j < 2 ? random.word[0] : random.word[1],
                                high = j < 6 ? random.word[2] : random.word[3], word = j < 4 ? low : high;
            v[i] = round_at_random(second, word >> 16 * (j % 2) & 0xffffu);
            if (ema != nullptr) ema[i] = average;
        }
    }
};

template <class Base>
struct GuardedUpdate {
    static constexpr const char* name = Base::name;
    static constexpr double kBytes = Base::kBytes;
    Base base;
    const OptimizerStep* step;
    const double* squares;
    GLOW_HD void operator()(index_t i) const {
        if (!(*squares < HUGE_VAL)) return;
        Base now = base;
        now.step = *step;
        now(i);
    }
};

constexpr index_t kSquareRow = 256, kSquareGroups = 64;

// Contribution of an element to a sum.
struct Square {
    static constexpr const char* name = "sum_of_squares";
    GLOW_HD static double term(real x) { return static_cast<double>(x) * x; }
};
// A sum of up to 2^21 integers below 2^32 is exact in double; beyond that it is still deterministic.
struct Word {
    static constexpr const char* name = "checksum";
    GLOW_HD static double term(real x) {
        std::uint32_t words[sizeof(real) / sizeof(std::uint32_t)];
        std::memcpy(words, &x, sizeof(real));
        double sum = 0;
        for (const std::uint32_t word : words) sum += word;
        return sum;
    }
};
// GPU version for whole packs, kSize elements at a time.
template <class F, index_t kSize>
struct Terms {
    static constexpr const char* name = F::name;
    static constexpr bool kMaximum = false;
    index_t count, rows;
    const real* x;
    GLOW_HD double operator()(index_t group, index_t row, index_t c) const {
        const index_t i = (group * rows + row) * kSquareRow + c * kSize;
        double sum = 0;
        if (kSize > 1 && i + kSize <= count) {
            const Pack<real> pack = load_pack(x + i);
            for (index_t k = 0; k < kSize; ++k) sum += F::term(pack.value[k]);
        } else {
            for (index_t k = 0; k < kSize; ++k) sum += i + k < count ? F::term(x[i + k]) : 0.0;
        }
        return sum;
    }
};
struct Store {
    double* result;
    GLOW_HD void operator()(index_t group, double sum) const { result[group] = sum; }
};
struct Value {
    static constexpr const char* name = "sum_of_group_sums";
    static constexpr bool kMaximum = false;
    const double* x;
    GLOW_HD double operator()(index_t, index_t, index_t c) const { return x[c]; }
};

}  // namespace

namespace {

// run(functor, count, elements per item).
template <class Run>
void with_update(const Exec& exec, index_t count, index_t, const Arrays<real>& all, Run run) {
    if (packs_fit(exec, count, all.gradient, all.w, all.m, all.v, all.ema))
        run(UpdatePack{all}, count / UpdatePack::kSize, 1);
    else
        run(Update{all}, count, 1);
}
template <class Run>
void with_update(const Exec&, index_t count, index_t first, const Arrays<bfloat16>& all, Run run) {
    run(UpdateBf16{all, count, first}, (count + UpdateBf16::kSize - 1) / UpdateBf16::kSize,
        UpdateBf16::kSize);
}

}  // namespace

template <class Moment>
void optimizer_step(const Exec& exec, index_t count, const OptimizerStep& step, const real* g,
                    const OptimizerArrays<Moment>& arrays) {
    const auto& [w, m, v, ema, first] = arrays;
    with_update(
        exec, count, first, Arrays<Moment>{step, g, w, m, v, ema},
        [&](const auto& update, index_t items, index_t work) { for_each(exec, items, update, work); });
}

template <class Moment>
void optimizer_step(const Exec& exec, index_t count, const OptimizerStep* step, const double* squares,
                    const real* g, const OptimizerArrays<Moment>& arrays) {
    const auto& [w, m, v, ema, first] = arrays;
    with_update(exec, count, first, Arrays<Moment>{{}, g, w, m, v, ema},
                [&](const auto& update, index_t items, index_t work) {
                    using Base = std::decay_t<decltype(update)>;
                    for_each(exec, items, GuardedUpdate<Base>{update, step, squares}, work);
                });
}

#define GLOW_INSTANTIATE(Moment)                                                                    \
    template void optimizer_step<Moment>(const Exec&, index_t, const OptimizerStep&, const real*,   \
                                         const OptimizerArrays<Moment>&);                           \
    template void optimizer_step<Moment>(const Exec&, index_t, const OptimizerStep*, const double*, \
                                         const real*, const OptimizerArrays<Moment>&);
GLOW_INSTANTIATE(real)
GLOW_INSTANTIATE(bfloat16)
#undef GLOW_INSTANTIATE

namespace {

// *result = sum of F over x.
template <class F>
void sum_of(const Exec& exec, index_t count, const real* x, double* result, double* partial) {
    const index_t rows = (count + kSquareGroups * kSquareRow - 1) / (kSquareGroups * kSquareRow);
    double* const sums = partial + kSquareGroups * kGroupParts;
    constexpr index_t kPack = Pack<real>::kSize;
    if (packs_fit(exec, kPack, x))
        reduce_groups(exec, kSquareGroups, rows, kSquareRow / kPack, partial, Terms<F, kPack>{count, rows, x},
                      Store{sums});
    else
        reduce_groups(exec, kSquareGroups, rows, kSquareRow, partial, Terms<F, 1>{count, rows, x},
                      Store{sums});
    reduce_groups(exec, 1, 1, kSquareGroups, partial, Value{sums}, Store{result});
}

}  // namespace

void sum_of_squares(const Exec& exec, index_t count, const real* x, double* result, double* partial) {
    sum_of<Square>(exec, count, x, result, partial);
}

void checksum(const Exec& exec, index_t count, const real* x, double* result, double* partial) {
    sum_of<Word>(exec, count, x, result, partial);
}

index_t square_scratch() {
    return kSquareGroups * (kGroupParts + 1);
}

}  // namespace glow::inline GLOW_REAL
