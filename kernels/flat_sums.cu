#include <cstring>

#include "kernels/flat_sums.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

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
