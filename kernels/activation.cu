#include "kernels/activation.h"
#include "kernels/for_each.cuh"
#include "kernels/horizontal_fusion.cuh"
#include "kernels/math.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

template <class T, class Bias>
struct BiasRelu {
    static constexpr const char* name = "bias_relu";
    index_t stride;
    const Bias* bias;
    T* C;
    GLOW_HD void operator()(index_t row, index_t c) const {
        T& value = C[row * stride + c];
        const double sum = static_cast<double>(widen(value)) + (bias != nullptr ? bias[c] : Bias{0});
        value = sum > 0.0 ? round_to<T>(sum) : T{};
    }
};

template <class Map>
struct ReluBackward {
    static constexpr const char* name = "relu_backward";
    static constexpr double kBytes = 3 * sizeof(Map);
    const Map* map;
    Map* dmap;
    GLOW_HD void operator()(index_t i) const { dmap[i] = relu_gradient(map[i], dmap[i]); }
};

template <class Map>
struct ReluBackwardSum {
    static constexpr const char* name = "relu_backward_sum";
    static constexpr double kBytes = 3 * sizeof(Map);
    static constexpr int kSums = 1;
    using Sum = real;
    index_t C;
    const Map* map;
    Map* dmap;
    struct Loaded {
        Map y, dy;
    };
    GLOW_HD Loaded load(index_t row, index_t c) const { return {map[row * C + c], dmap[row * C + c]}; }
    GLOW_HD void operator()(index_t row, index_t c, const Loaded& at, real* sum) const {
        const Map d = relu_gradient(at.y, at.dy);
        dmap[row * C + c] = d;
        sum[0] += widen(d);
    }
};
// The same 16 bytes at a time. A pack is treated as one column with one sum per element.
template <class Map>
struct ReluBackwardPack {
    static constexpr const char* name = "relu_backward_pack";
    static constexpr double kBytes = 3 * sizeof(Pack<Map>);
    static constexpr index_t kSize = Pack<Map>::kSize;
    const Map* map;
    Map* dmap;
    struct Loaded {
        Pack<Map> y, dy;
    };
    GLOW_HD Loaded load(index_t i) const { return {load_pack(map + i * kSize), load_pack(dmap + i * kSize)}; }
    GLOW_HD void store(index_t i, const Loaded& at) const {
        Pack<Map> d;
        for (index_t j = 0; j < kSize; ++j) d.value[j] = relu_gradient(at.y.value[j], at.dy.value[j]);
        store_pack(d, dmap + i * kSize);
    }
    GLOW_HD void operator()(index_t i) const { store(i, load(i)); }
};
template <class Map>
struct ReluBackwardSumPack {
    static constexpr const char* name = "relu_backward_sum_pack";
    static constexpr double kBytes = 3 * sizeof(Pack<Map>);
    static constexpr int kSums = Pack<Map>::kSize;
    using Sum = real;
    index_t C;
    const Map* map;
    Map* dmap;
    struct Loaded {
        Pack<Map> y, dy;
    };
    GLOW_HD Loaded load(index_t row, index_t pack) const {
        const index_t i = row * C + pack * kSums;
        return {load_pack(map + i), load_pack(dmap + i)};
    }
    GLOW_HD void operator()(index_t row, index_t pack, const Loaded& at, real* sum) const {
        Pack<Map> d;
        for (int j = 0; j < kSums; ++j) {
            d.value[j] = relu_gradient(at.y.value[j], at.dy.value[j]);
            sum[j] += static_cast<real>(widen(d.value[j]));
        }
        store_pack(d, dmap + row * C + pack * kSums);
    }
};
template <int kSize>
struct StoreSums {
    bool accumulate;
    real* sums;
    GLOW_HD void operator()(index_t column, const double* sum) const {
        for (int j = 0; j < kSize; ++j) {
            real& total = sums[column * kSize + j];
            total = (accumulate ? total : real{0}) + static_cast<real>(sum[j]);
        }
    }
};

// ReluBackwardPack in blocks that can run concurrently with those of another kernel.
template <class Map>
struct ReluBackwardBlocks {
    static constexpr int kThreads = 256, kPhases = 1, kAhead = 2;
    static constexpr int kPacks = kAhead * kThreads;  // of a block
    struct Locals {};
    index_t packs;
    ReluBackwardPack<Map> f;

    double bytes() const { return bytes_of<ReluBackwardPack<Map>>(packs); }
    BlockGrid grid() const { return {(packs + kPacks - 1) / kPacks, 1, 0}; }
    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        const index_t first = index_t{at.x} * kPacks, rest = packs - first;
        copy_items<kThreads, kAhead>(
            at.thread, rest < kPacks ? static_cast<int>(rest) : kPacks,
            [&](int i) { return f.load(first + i); },
            [&](int i, const auto& loaded) { f.store(first + i, loaded); });
    }
};
template <class Map>
using FinishReluSums = FinishColumns<static_cast<int>(Pack<Map>::kSize), StoreSums<Pack<Map>::kSize>>;
template <class Map>
struct ReluBackwardAndFinish : HorizontalFusion<FinishReluSums<Map>, ReluBackwardBlocks<Map>, 256, 4> {
    static constexpr const char* name = "relu_backward_and_finish_columns";
    using HorizontalFusion<FinishReluSums<Map>, ReluBackwardBlocks<Map>, 256, 4>::HorizontalFusion;
};
template <class Map>
FinishReluSums<Map> finish_of(const UnfinishedSums& sums) {
    return {kColumnParts, sums.C / Pack<Map>::kSize, sums.partial, {sums.accumulate, sums.sums}};
}

}  // namespace

template <class T, class Bias>
void bias_relu(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C) {
    for_each_row_channel(exec, m, n, BiasRelu<T, Bias>{stride, bias, C});
}

template <class Map>
void relu_backward(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap,
                   const UnfinishedSums& sums) {
    constexpr index_t kPack = Pack<Map>::kSize;
    const bool packs = packs_fit(exec, C, map, dmap);
    if (packs && sums.C > 0 && rows > 0) {
        const auto finish = finish_of<Map>(sums);
        const ReluBackwardBlocks<Map> relu{rows * C / kPack, {map, dmap}};
        const ReluBackwardAndFinish<Map> both(finish, finish.grid(), relu, relu.grid());
        return run_blocks(exec, both.grid(), both);
    }
    finish_relu_backward_sums<Map>(exec, sums);
    if (packs)
        for_each(exec, rows * C / kPack, ReluBackwardPack<Map>{map, dmap});
    else
        for_each(exec, rows * C, ReluBackward<Map>{map, dmap});
}

template <class Map>
void relu_backward_sums(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap, bool accumulate,
                        real* sums, double* partial) {
    finish_relu_backward_sums<Map>(
        exec, start_relu_backward_sums(exec, rows, C, map, dmap, accumulate, sums, partial));
}

template <class Map>
UnfinishedSums start_relu_backward_sums(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap,
                                        bool accumulate, real* sums, double* partial) {
    constexpr index_t kPack = Pack<Map>::kSize;
    if (!packs_fit(exec, C, map, dmap)) {
        sum_columns(exec, rows, C, partial, ReluBackwardSum<Map>{C, map, dmap},
                    StoreSums<1>{accumulate, sums});
        return {};
    }
    sum_column_parts(exec, rows, C / kPack, partial, ReluBackwardSumPack<Map>{C, map, dmap});
    return {C, accumulate, partial, sums};
}

template <class Map>
void finish_relu_backward_sums(const Exec& exec, const UnfinishedSums& sums) {
    if (sums.C == 0) return;
    const auto finish = finish_of<Map>(sums);
    run_blocks(exec, finish.grid(), finish);
}

template void bias_relu<double, double>(const Exec&, index_t, index_t, index_t, const double*, double*);
template void bias_relu<float, float>(const Exec&, index_t, index_t, index_t, const float*, float*);
template void bias_relu<bfloat16, float>(const Exec&, index_t, index_t, index_t, const float*, bfloat16*);
#define GLOW_INSTANTIATE(Map)                                                                              \
    template void relu_backward<Map>(const Exec&, index_t, index_t, const Map*, Map*,                      \
                                     const UnfinishedSums&);                                               \
    template void relu_backward_sums<Map>(const Exec&, index_t, index_t, const Map*, Map*, bool, real*,    \
                                          double*);                                                        \
    template UnfinishedSums start_relu_backward_sums<Map>(const Exec&, index_t, index_t, const Map*, Map*, \
                                                          bool, real*, double*);                           \
    template void finish_relu_backward_sums<Map>(const Exec&, const UnfinishedSums&);
GLOW_INSTANTIATE(real)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE(bfloat16)
#endif
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL
