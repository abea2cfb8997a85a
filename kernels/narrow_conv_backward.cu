#include <algorithm>
#include <string>
#include <vector>

#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/narrow_conv_backward.h"
#include "kernels/narrow_conv_kernels.cuh"

namespace glow::inline GLOW_REAL {
namespace {

#if defined(__CUDACC__)
using narrow_conv::InputBlocking;
using narrow_conv::OutputBlocking;
#endif
using narrow_conv::kMaxColumns;
using narrow_conv::kMaxTaps;
using narrow_conv::kRows;
using narrow_conv::kSlice;
using narrow_conv::SumPartials;

int tiles_of(index_t rows) {
    return static_cast<int>((rows + kRows - 1) / kRows);
}
// Parts of the pixels: each has a block, or a block for each slice of channels.
int input_parts(index_t rows) {
    return std::clamp(kMultiprocessors, 1, std::max(1, tiles_of(rows)));
}
int output_parts(index_t rows, index_t width) {
    const int slices = static_cast<int>(width / kSlice);
    return std::clamp(2 * kMultiprocessors / slices, 1, std::max(1, tiles_of(rows)));
}

#if defined(__CUDACC__)
__device__ inline BlockThread block_thread(void* shared) {
    return {static_cast<int>(threadIdx.x), static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), 0,
            shared};
}

__global__ void __launch_bounds__(OutputBlocking::kThreads, 2)
    output_conv_backward_kernel(const __grid_constant__ OutputConvBackward p, float* __restrict__ partial) {
    extern __shared__ uint4 shared[];
    narrow_conv::output_conv_backward(p, block_thread(shared), static_cast<int>(gridDim.y), partial);
}

template <int kSteps>
__global__ void __launch_bounds__(InputBlocking<kSteps>::kThreads, 1)
    input_conv_backward_kernel(const __grid_constant__ InputConvBackward p, float* __restrict__ partial) {
    extern __shared__ uint4 shared[];
    narrow_conv::input_conv_backward<InputBlocking<kSteps>>(p, block_thread(shared),
                                                            static_cast<int>(gridDim.x), partial);
}

struct Launch {
    const char* name;
    dim3 grid;
    int threads, shared_bytes;
};
template <class P>
void launch(const Exec& exec, const Launch& l, void (*kernel)(P, float*), const P& p, float* partial) {
    // An error is reported with the launch's. Two blocks need nearly all shared memory of a multiprocessor.
    static_cast<void>(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, l.shared_bytes));
    static_cast<void>(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                           cudaSharedmemCarveoutMaxShared));
    kernel<<<l.grid, l.threads, l.shared_bytes, stream_of(exec)>>>(p, partial);
    check_launch(l.name, __FILE__, __LINE__);
}
#endif  // __CUDACC__

#if !defined(GLOW_REAL_DOUBLE)
// The same in plain loops, as one part: for tests of the callers on a CPU.
void run_on_host(const OutputConvBackward& p, float* partial) {
    const index_t weights = p.taps * p.width;
    std::fill(partial, partial + weights + p.width, 0.0f);
    std::vector<float> out(static_cast<std::size_t>(p.width));
    for (index_t row = 0; row < p.rows; ++row) {
        const bfloat16* const hidden = p.hidden + row * p.width;
        std::fill(out.begin(), out.end(), 0.0f);
        for (index_t tap = 0; tap < p.taps; ++tap) {
            const float d = widen(p.dtaps[row * p.taps + tap]);
            for (index_t c = 0; c < p.width; ++c) {
                out[c] += d * widen(p.weight[tap * p.width + c]);
                partial[tap * p.width + c] += d * widen(hidden[c]);
            }
        }
        for (index_t c = 0; c < p.width; ++c) {
            const bfloat16 d = relu_gradient(hidden[c], round_to<bfloat16>(out[c]));
            p.dhidden[row * p.width + c] = d;
            partial[weights + c] += widen(d);
        }
    }
}
void run_on_host(const InputConvBackward& p, float* partial) {
    std::fill(partial, partial + p.width * p.columns, 0.0f);
    for (index_t row = 0; row < p.rows; ++row) {
        const bfloat16* const expanded = p.expanded + row * p.columns;
        float* const dexpanded = p.dexpanded + row * p.columns;
        std::fill(dexpanded, dexpanded + p.columns, 0.0f);
        for (index_t c = 0; c < p.width; ++c) {
            const float G = widen(relu_gradient(p.hidden[row * p.width + c], p.dhidden[row * p.width + c]));
            for (index_t j = 0; j < p.columns; ++j) {
                dexpanded[j] += G * widen(p.weight[c * p.columns + j]);
                partial[c * p.columns + j] += G * widen(expanded[j]);
            }
        }
    }
}
#endif  // GLOW_REAL_DOUBLE

// Calls f<kSteps>().
template <class F>
void with_steps(index_t width, F f) {
    if (width == 512) return f.template operator()<8>();
    if (width == 256) return f.template operator()<4>();
    f.template operator()<2>();
}

}  // namespace

bool output_conv_backward_fits(const Exec& exec, index_t taps, index_t width) {
    return exec.tensor_cores && taps % 8 == 0 && taps <= kMaxTaps && width > 0 && width % kSlice == 0;
}
bool input_conv_backward_fits(const Exec& exec, index_t columns, index_t width) {
    return exec.tensor_cores && columns % 8 == 0 && columns <= kMaxColumns &&
           (width == 128 || width == 256 || width == 512);
}

index_t output_conv_backward_scratch(index_t rows, index_t taps, index_t width) {
    return output_parts(rows, width) * (taps + 1) * width;
}
index_t input_conv_backward_scratch(index_t rows, index_t columns, index_t width) {
    return input_parts(rows) * columns * width;
}

void output_conv_backward(const Exec& exec, const OutputConvBackward& p, real* scratch) {
    if (!output_conv_backward_fits(exec, p.taps, p.width))
        throw_error("output_conv_backward: not for " + std::to_string(p.taps) + " taps, " +
                    std::to_string(p.width) + " channels, or this device");
    const int parts = exec.device == Device::cpu ? 1 : output_parts(p.rows, p.width);
    const double wide = static_cast<double>(p.rows * p.width), narrow = static_cast<double>(p.rows * p.taps);
    if (p.rows > 0 && begin_launch(exec, "output_conv_backward", 2 * (2 * wide + narrow))) {
#if defined(__CUDACC__)
        if (exec.device == Device::cuda)
            launch(exec,
                   {"output_conv_backward",
                    dim3(static_cast<unsigned>(p.width / kSlice), static_cast<unsigned>(parts)),
                    OutputBlocking::kThreads, OutputBlocking::kSharedBytes},
                   output_conv_backward_kernel, p, scratch);
#endif
#if !defined(GLOW_REAL_DOUBLE)
        if (exec.device == Device::cpu) run_on_host(p, scratch);
#endif
    }
    const index_t weights = p.taps * p.width, size = weights + p.width;
    for_each(exec, size,
             SumPartials{size, weights, p.rows > 0 ? parts : 0, scratch, p.accumulate, p.dweight, p.dbias});
}

void input_conv_backward(const Exec& exec, const InputConvBackward& p, real* scratch) {
    if (!input_conv_backward_fits(exec, p.columns, p.width))
        throw_error("input_conv_backward: not for " + std::to_string(p.columns) + " columns, " +
                    std::to_string(p.width) + " channels, or this device");
    const int parts = exec.device == Device::cpu ? 1 : input_parts(p.rows);
    const double wide = static_cast<double>(p.rows * p.width),
                 narrow = static_cast<double>(p.rows * p.columns);
    if (p.rows > 0 && begin_launch(exec, "input_conv_backward", 2 * 2 * wide + (2 + 4) * narrow)) {
#if defined(__CUDACC__)
        if (exec.device == Device::cuda)
            with_steps(p.width, [&]<int kSteps>() {
                launch(exec,
                       {"input_conv_backward", dim3(static_cast<unsigned>(parts)),
                        InputBlocking<kSteps>::kThreads, InputBlocking<kSteps>::kSharedBytes},
                       input_conv_backward_kernel<kSteps>, p, scratch);
            });
#endif
#if !defined(GLOW_REAL_DOUBLE)
        if (exec.device == Device::cpu) run_on_host(p, scratch);
#endif
    }
    const index_t size = p.columns * p.width;
    for_each(exec, size,
             SumPartials{size, size, p.rows > 0 ? parts : 0, scratch, p.accumulate, p.dweight, nullptr});
}

}  // namespace glow::inline GLOW_REAL
