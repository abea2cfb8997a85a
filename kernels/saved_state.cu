// Stores rounding parities and snaps reconstructed states back to them.
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/saved_state.h"

namespace glow::inline GLOW_REAL {
namespace {

// Rows per word: a word holds one bit per row for the network inputs of one channel. Its last two bits are
// parities over these rows of the roundings to float: of channel c (bit 62; only if networks are narrower
// than float) and of channel c + C/2 (bit 63).
constexpr index_t kRows = 62;

// Neighbors on the grid of round_state<T>() have different parities: the last bit of the mantissa, or of the
// multiple if 2^-30 is the coarser grid.
template <class T>
GLOW_HD inline std::uint64_t parity(double x);
template <>
GLOW_HD inline std::uint64_t parity<float>(double x) {
    const float q = round_state<float>(x);
    if (::fabs(static_cast<double>(q)) < 0x1p-6)
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(q * 0x1p30f)) & 1;
    std::uint32_t bits;
    memcpy(&bits, &q, sizeof bits);
    return bits & 1;
}
template <>
GLOW_HD inline std::uint64_t parity<bfloat16>(double x) {
    const bfloat16 q = round_state<bfloat16>(x);
    const float value = widen(q);
    if (::fabs(static_cast<double>(value)) < 0x1p-22)
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(value * 0x1p30f)) & 1;
    return q.bits & 1u;
}

// The nearest value to x that rounds differently, found by bisection so that it works for any rounding rule.
template <class T>
GLOW_HD inline double across(double x) {
    const auto rounded = [](double value) { return static_cast<double>(widen(round_state<T>(value))); };
    const double q = rounded(x), size = ::fabs(q);
    const double relative = size * (sizeof(T) == 2 ? 0x1p-6 : 0x1p-22);  // more than one step
    const double step = relative > 0x1p-29 ? relative : 0x1p-29;
    double near = x, far = x >= q ? x + step : x - step;
    for (int i = 0; i < 64; ++i) {
        const double middle = near + (far - near) / 2;
        (rounded(middle) == q ? near : far) = middle;
    }
    return far;
}

template <class Map>
struct SaveRoundings {
    static constexpr const char* name = "save_roundings";
    index_t rows, C;
    const state_t* h;
    std::uint64_t* words;
    GLOW_HD void operator()(index_t group, index_t c) const {
        const index_t first = group * kRows, last = first + kRows < rows ? first + kRows : rows;
        std::uint64_t word = 0, own = 0, other = 0;
        for (index_t row = first; row < last; ++row) {
            const double a = h[row * C + c], b = h[row * C + C / 2 + c];
            word |= parity<Map>(a) << (row - first);
            own ^= parity<float>(a);
            other ^= parity<float>(b);
        }
        words[group * (C / 2) + c] = word | own << 62 | other << 63;
    }
};

template <class Map>
struct RestoreRoundings {
    static constexpr const char* name = "restore_roundings";
    index_t rows, C;
    const std::uint64_t* words;
    state_t* h;
    GLOW_HD void operator()(index_t group, index_t c) const {
        const index_t first = group * kRows, last = first + kRows < rows ? first + kRows : rows;
        const std::uint64_t word = words[group * (C / 2) + c];
        for (index_t row = first; row < last; ++row) {
            state_t& a = h[row * C + c];
            if (parity<Map>(a) != (word >> (row - first) & 1)) a = across<Map>(a);
        }
        if (sizeof(Map) < sizeof(float)) restore_parity(first, last, c, word >> 62 & 1);
        restore_parity(first, last, c + C / 2, word >> 63);
    }
    // If the parity over all rows differs from the saved one, one element rounds to a neighbor of its true
    // value. Choose the element nearest to a rounding boundary.
    GLOW_HD void restore_parity(index_t first, index_t last, index_t c, std::uint64_t saved) const {
        std::uint64_t sum = 0;
        for (index_t row = first; row < last; ++row) sum ^= parity<float>(h[row * C + c]);
        if (sum == saved) return;
        index_t nearest = first;
        double distance = HUGE_VAL;
        for (index_t row = first; row < last; ++row) {
            const double x = h[row * C + c], to = across<float>(x), d = ::fabs(to - x);
            // Do not change a network input that already rounds correctly.
            if (d < distance && (c >= C / 2 || parity<Map>(to) == parity<Map>(x))) {
                distance = d;
                nearest = row;
            }
        }
        if (distance < HUGE_VAL) h[nearest * C + c] = across<float>(h[nearest * C + c]);
    }
};

struct RestoreNoisyPixels {
    static constexpr const char* name = "restore_noisy_pixels";
    static constexpr double kBytes = 2 * sizeof(state_t);
    state_t* h;
    GLOW_HD void operator()(index_t i) const {
        const double kRound = 0x1.8p19;  // adding and subtracting it rounds to a multiple of 2^-33
        const double x = h[i], pixel = (x + kRound) - kRound;
        const bool is_tie = round_state<float>(pixel - 0x1p-35) != round_state<float>(pixel + 0x1p-35);
        if (is_tie && ::fabs(x - pixel) < 0x1p-35) h[i] = pixel;
    }
};

struct SaveFloat {
    static constexpr const char* name = "save_float";
    const state_t* from;
    float* to;
    GLOW_HD void operator()(index_t i) const { to[i] = round_state<float>(from[i]); }
};

struct RestoreFloat {
    static constexpr const char* name = "restore_float";
    const float* from;
    state_t* to;
    GLOW_HD void operator()(index_t i) const { to[i] = from[i]; }
};

index_t groups(index_t rows) {
    return (rows + kRows - 1) / kRows;
}

}  // namespace

index_t rounding_words(index_t rows, index_t C) {
    return groups(rows) * (C / 2);
}

template <class Map>
void save_roundings(const Exec& exec, index_t rows, index_t C, const state_t* h, std::uint64_t* words) {
    for_each_row_channel(exec, groups(rows), C / 2, SaveRoundings<Map>{rows, C, h, words});
}

template <class Map>
void restore_roundings(const Exec& exec, index_t rows, index_t C, const std::uint64_t* words, state_t* h) {
    for_each_row_channel(exec, groups(rows), C / 2, RestoreRoundings<Map>{rows, C, words, h});
}

void restore_noisy_pixels(const Exec& exec, index_t count, state_t* h) {
    for_each(exec, count, RestoreNoisyPixels{h});
}

void save_float(const Exec& exec, index_t count, const state_t* from, float* to) {
    for_each(exec, count, SaveFloat{from, to});
}

void restore_float(const Exec& exec, index_t count, const float* from, state_t* to) {
    for_each(exec, count, RestoreFloat{from, to});
}

#define GLOW_INSTANTIATE(Map)                                                                         \
    template void save_roundings<Map>(const Exec&, index_t, index_t, const state_t*, std::uint64_t*); \
    template void restore_roundings<Map>(const Exec&, index_t, index_t, const std::uint64_t*, state_t*);
GLOW_INSTANTIATE(float)
GLOW_INSTANTIATE(bfloat16)
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL
