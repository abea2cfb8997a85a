#include "kernels/elementwise.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"

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
