#include "kernels/elementwise.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/pack.cuh"

namespace glow::inline GLOW_REAL {
namespace {

template <class T>
struct Fill {
    static constexpr const char* name = "fill";
    static constexpr double kBytes = sizeof(T);
    T value;
    T* values;
    GLOW_HD void operator()(index_t i) const { values[i] = value; }
};

// GPU version, 16 bytes at a time.
template <class T>
struct FillPack {
    static constexpr const char* name = "fill";
    static constexpr index_t kSize = Pack<T>::kSize;
    index_t count;
    T value;
    T* values;
    double bytes() const { return static_cast<double>(count) * sizeof(T); }
    GLOW_HD void operator()(index_t pack) const {
        const index_t i = pack * kSize, rest = count - i;
        if (rest < kSize) {
            for (index_t j = 0; j < rest; ++j) values[i + j] = value;
            return;
        }
        Pack<T> all;
        for (index_t j = 0; j < kSize; ++j) all.value[j] = value;
        store_pack(all, values + i);
    }
};

template <class T>
struct Copy {
    static constexpr const char* name = "copy";
    static constexpr double kBytes = 2 * sizeof(T);
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t i) const { to[i] = from[i]; }
};

template <class From, class To>
struct Cast {
    static constexpr const char* name = "cast";
    static constexpr double kBytes = sizeof(From) + sizeof(To);
    const From* from;
    To* to;
    GLOW_HD void operator()(index_t i) const { to[i] = round_to<To>(static_cast<double>(from[i])); }
};

}  // namespace

template <class T>
void fill(const Exec& exec, index_t count, T value, T* values) {
    constexpr index_t kPack = Pack<T>::kSize;
    if (packs_fit(exec, kPack, values))  // also where the last pack is not whole
        for_each(exec, (count + kPack - 1) / kPack, FillPack<T>{count, value, values});
    else
        for_each(exec, count, Fill<T>{value, values});
}

template <class T>
void copy(const Exec& exec, index_t count, const T* from, T* to) {
    for_each(exec, count, Copy<T>{from, to});
}

template <class From, class To>
void cast(const Exec& exec, index_t count, const From* from, To* to) {
    for_each(exec, count, Cast<From, To>{from, to});
}

#define GLOW_INSTANTIATE(T)                             \
    template void fill<T>(const Exec&, index_t, T, T*); \
    template void copy<T>(const Exec&, index_t, const T*, T*);
GLOW_INSTANTIATE(double)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE(float)
template void fill<bfloat16>(const Exec&, index_t, bfloat16, bfloat16*);
#endif
#undef GLOW_INSTANTIATE
template void cast<float, bfloat16>(const Exec&, index_t, const float*, bfloat16*);

}  // namespace glow::inline GLOW_REAL
