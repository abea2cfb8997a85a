// What a layer needs to run: device, libraries, communicator and scratch memory. Passed as an argument, never
// global.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/blas.h"
#include "runtime/communicator.h"
#include "runtime/conv.h"
#include "runtime/cuda.h"
#include "runtime/memory.h"
#include "runtime/solver.h"
#include "runtime/threads.h"

namespace glow {

// Work sizes per device; fixed, so that forward and recomputation agree.
struct Blocking {
    index_t tile_elements = index_t{1} << 21;  // of a hidden map: determines images per tile (layers/layer.h)
    // pixels per block of im2col, taps, and copies of the state in real
    index_t block_pixels = 8192;
};
// CPUs prefer blocks that fit their caches, GPUs enough work for all processors.
inline constexpr Blocking kCpuBlocking{}, kGpuBlocking{index_t{1} << 25, 65536};

struct Context {
    Exec exec;
    Blas& blas;
    Solver& solver;
    Conv* conv;
    Communicator& communicator;
    Arena& workspace;
    Blocking blocking = kCpuBlocking;

    // Nothing runs and memory is only counted; see Device::count_only.
    bool counting() const { return exec.device == Device::count_only; }
    // Whether a loop over equal blocks may skip those between the first and the last: counting memory does
    // not need them, but a launch observer needs every block.
    bool skips_blocks() const { return counting() && exec.observer == nullptr; }

    // Runs a product with scratch from the workspace; a counting context only counts the scratch.
    void gemm(const Gemm& product, const void* a, const void* b, void* c,
              const EpilogueData& data = {}) const;

    // The same for a library convolution.
    void convolve(const Convolution& convolution, const void* first, const void* second, void* result) const;

    // Sums over all processes: of device values, in place, or of a host value.
    void sum_over_processes(index_t count, double* values) const;
    double sum_over_processes(double value) const {
        return counting() ? value : communicator.all_reduce_sum(value);
    }
};

// The libraries of a device and its number of threads, opened once.
class Backend {
  public:
    // threads: see decide_threads(). ordinal: GPU number. Without a communicator there is only this process.
    // conv, blas: replace the device's library convolutions and products. Throws InputError if this build or
    // machine lacks the device.
    explicit Backend(Device device, int threads = 0, int ordinal = 0, Communicator* communicator = nullptr,
                     std::unique_ptr<Conv> conv = nullptr, std::unique_ptr<Blas> blas = nullptr);
    // A backend for planning the memory of other machines: creates only counting contexts, needs no device.
    static Backend for_plans(Device device, int threads = 0, Communicator* communicator = nullptr);

    Context context(Arena& workspace) const {
        return {exec_, *blas_, *solver_, conv_.get(), *communicator_, workspace, blocking()};
    }
    Context counting_context(Arena& workspace) const {
        Exec counted = exec_;
        counted.device = Device::count_only;
        counted.use_gpu_paths = exec_.tuned_for_gpu();  // GPU code paths may need different scratch
        return {counted, *blas_, *solver_, conv_.get(), *communicator_, workspace, blocking()};
    }
    const Blocking& blocking() const { return exec_.tuned_for_gpu() ? kGpuBlocking : kCpuBlocking; }
    const Exec& exec() const { return exec_; }
    // Decided when the backend opened; exec().threads is the number in use.
    const ThreadCount& threads() const { return threads_; }
    // Call before the backend's contexts run in this thread. Selects the backend's GPU for the calling thread
    // while the result lives (cuda::DeviceScope); nothing on the CPU. Throws Error if a fork lost the
    // backend's threads.
    [[nodiscard]] std::unique_ptr<cuda::DeviceScope> select_device() const;
    // "cpu", or "cuda: " and the GPU's name.
    std::string description() const;
    Blas& blas() const { return *blas_; }
    Solver& solver() const { return *solver_; }
    Conv& conv() const { return *conv_; }
    // Uses the GPU's code paths, kernels and block sizes, on the CPU too; for tests.
    void use_gpu_paths() { exec_.use_gpu_paths = true; }
    // Observes the launches of contexts created from now on.
    void set_observer(LaunchObserver* observer) { exec_.observer = observer; }
    Communicator& communicator() const { return *communicator_; }

  private:
    Backend() = default;
    void open_libraries(Device device, int threads, Communicator* communicator,
                        ThreadCount (*count_threads)(int, int, int));

    int ordinal_ = 0;
    cuda::StreamPtr stream_;  // outlives the libraries
    ThreadCount threads_;
    Exec exec_;
    std::unique_ptr<Blas> blas_;
    std::unique_ptr<Solver> solver_;
    std::unique_ptr<Conv> conv_;
    std::unique_ptr<Communicator> single_process_;
    Communicator* communicator_;
};

}  // namespace glow
