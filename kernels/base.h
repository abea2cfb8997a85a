// Scalar types and the few macros every file shares. Included by .cu files, so no fmt and no vendor headers.
// `real` (network scalars) is float in library glow_f32 and double in glow_f64, which serves gradient checks.
// The libraries use different inline namespaces so that one test can link both.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GLOW_HD __host__ __device__
#else
#define GLOW_HD
#endif

#if defined(GLOW_REAL_DOUBLE)
#define GLOW_REAL f64
#else
#define GLOW_REAL f32
#endif

namespace glow {

using index_t = std::int64_t;  // all sizes and indices, 64 bits
using state_t = double;        // state of the flow

constexpr index_t round_up(index_t value, index_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// Upper half of a float: storage of bf16 networks. Rounds to nearest even; NaN stays NaN.
struct bfloat16 {
    std::uint16_t bits;
};

// count_only runs no kernels: to plan memory, the code of a step is executed with arenas that only count
// bytes.
enum class Device { cpu, cuda, count_only };
class LaunchObserver;
// Shared memory per block that our own tensor-core kernels need. Compute capability 8.0, 9.0 and 10.0 have
// it; 8.6 and 8.9 have tensor cores, but only 99 KiB.
inline constexpr index_t kTensorCoreSharedBytes = 160 << 10;
// Where and how a kernel runs.
struct Exec {
    Device device = Device::cpu;
    int threads = 1;             // of the CPU
    void* stream = nullptr;      // a cudaStream_t; unused on the CPU
    bool use_gpu_paths = false;  // test only: take the GPU code paths on the CPU

    LaunchObserver* observer = nullptr;  // receives every launch; for tests

    // Use our own tensor-core kernels: a GPU with kTensorCoreSharedBytes, or counting memory for one. Other
    // GPUs use library matrix products instead.
    bool tensor_cores = false;

    bool tuned_for_gpu() const { return device == Device::cuda || use_gpu_paths; }
};

// Receives every kernel, product and copy that goes to a device, for tests that count them and for glow_bench
// --kernels. bytes: the minimum that it must move; 0 if not declared.
class LaunchObserver {
  public:
    virtual void launch(const char* name, double bytes) = 0;

  protected:
    ~LaunchObserver() = default;
};

}  // namespace glow

namespace glow::inline GLOW_REAL {

#if defined(GLOW_REAL_DOUBLE)
using real = double;
#else
using real = float;
#endif

}  // namespace glow::inline GLOW_REAL
