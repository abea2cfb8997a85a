#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/optimizer.h"
#include "kernels/pack.cuh"
#include "kernels/philox.h"

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

// Adam or Adamax, one element at a time.
struct AdamUpdate : Arrays<real> {
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
            denominator = sqrt_of(second) + kOptimizerEpsilon;
        } else {
            const double size = g < 0.0 ? -g : g, decayed = step.beta2 * v;
            second = decayed > size ? decayed : size;
            denominator = second + kOptimizerEpsilon;
        }
        const double weight = (1.0 - step.weight_decay) * w - step.lr_t * mean / denominator;
        m = static_cast<real>(mean);
        v = static_cast<real>(second);
        w = static_cast<real>(weight);
        ema = static_cast<real>(ema + (w - ema) * step.ema_rate);
    }
};

// GPU version, 16 bytes at a time.
struct AdamUpdatePack : Arrays<real> {
    static constexpr const char* name = "optimizer_step_pack";
    static constexpr double kBytes = 9 * sizeof(Pack<real>);
    static constexpr index_t kSize = Pack<real>::kSize;
    GLOW_HD void operator()(index_t pack) const {
        const index_t i = pack * kSize;
        const Pack<real> gs = load_pack(gradient + i);
        Pack<real> ws = load_pack(w + i), ms = load_pack(m + i), vs = load_pack(v + i), averages{};
        if (ema != nullptr) averages = load_pack(ema + i);
        for (index_t j = 0; j < kSize; ++j)
            AdamUpdate::update(step, gs.value[j], ws.value[j], ms.value[j], vs.value[j], averages.value[j]);
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
struct AdamUpdateBf16 : Arrays<bfloat16> {
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
            AdamUpdate::update(step, gradient[i], w[i], mean, second, average);
            m[i] = round_to<bfloat16>(mean);
            // Named, because indexing an array in a loop would put it on the GPU's stack.
            const std::uint32_t low = j < 2 ? random.word[0] : random.word[1],
                                high = j < 6 ? random.word[2] : random.word[3], word = j < 4 ? low : high;
            v[i] = round_at_random(second, word >> 16 * (j % 2) & 0xffffu);
            if (ema != nullptr) ema[i] = average;
        }
    }
};

// An update that happens only if the gradient is finite.
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

// run(functor, count, elements per item).
template <class Run>
void with_update(const Exec& exec, index_t count, index_t, const Arrays<real>& all, Run run) {
    if (packs_fit(exec, count, all.gradient, all.w, all.m, all.v, all.ema))
        run(AdamUpdatePack{all}, count / AdamUpdatePack::kSize, 1);
    else
        run(AdamUpdate{all}, count, 1);
}
template <class Run>
void with_update(const Exec&, index_t count, index_t first, const Arrays<bfloat16>& all, Run run) {
    run(AdamUpdateBf16{all, count, first}, (count + AdamUpdateBf16::kSize - 1) / AdamUpdateBf16::kSize,
        AdamUpdateBf16::kSize);
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

}  // namespace glow::inline GLOW_REAL
