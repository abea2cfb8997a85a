// What a layer needs to run: where, with which libraries, beside which processes, and scratch memory. Passed,
// never global.
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

// How much work a device gets at a time: a fixed rule, so that forward and recomputation agree.
struct Blocking {
    index_t tile_elements = index_t{1} << 21;  // of a hidden map: images per tile (layers/layer.h)
    index_t block_pixels = 8192;               // of im2col and tap buffers, of copies of the state in real
};
// A CPU's caches like small pieces, a GPU wants enough of them to fill all its processors.
inline constexpr Blocking kCpuBlocking{}, kGpuBlocking{index_t{1} << 25, 65536};

struct Context {
    Exec exec;
    Blas& blas;
    Solver& solver;
    Conv* conv;
    Communicator& communicator;
    Arena& workspace;
    Blocking blocking = kCpuBlocking;

    // Nothing runs and memory is only counted: see Device::count_only.
    bool counting() const { return exec.device == Device::count_only; }

    // Runs a product with its scratch from the workspace; a counting context only counts that scratch.
    void gemm(const Gemm& product, const void* a, const void* b, void* c, const void* bias = nullptr) const;

    // The same of a convolution by the device's second engine.
    void convolve(const Convolution& convolution, const void* first, const void* second, void* result) const;

    // `count` values from the device memory, once what was started before has ended; a counting context has
    // none.
    std::vector<double> to_host(const double* values, index_t count) const;

    // Sums over all processes, in place, of values on the place and of a number here.
    void sum_over_processes(index_t count, double* values) const;
    double total(double value) const { return counting() ? value : communicator.all_reduce_sum(value); }
};

// The libraries of a device and its number of threads, opened once.
class Backend {
  public:
    // threads: see decide_threads(). ordinal: which of the machine's GPUs. Without a
    // communicator there is this process alone. Throws InputError where the build or the machine lacks the
    // device.
    explicit Backend(Device device, int threads = 0, int ordinal = 0, Communicator* communicator = nullptr);
    // Makes counting contexts only and needs no device: for memory plans of a machine elsewhere.
    static Backend for_plans(Device device, int threads = 0, Communicator* communicator = nullptr);

    Context context(Arena& workspace) const {
        return {exec_, *blas_, *solver_, conv_.get(), *communicator_, workspace, blocking()};
    }
    Context counting_context(Arena& workspace) const {
        // Takes the paths of the device, which may need other scratch.
        const Exec nowhere{Device::count_only, exec_.threads, nullptr, exec_.tuned_for_gpu()};
        return {nowhere, *blas_, *solver_, conv_.get(), *communicator_, workspace, blocking()};
    }
    const Blocking& blocking() const { return exec_.device == Device::cuda ? kGpuBlocking : kCpuBlocking; }
    const Exec& exec() const { return exec_; }
    // Decided when the backend opened; exec().threads is the number used.
    const ThreadCount& threads() const { return threads_; }
    // "cpu", or "cuda: " and the GPU's name.
    std::string description() const;
    Blas& blas() const { return *blas_; }
    Solver& solver() const { return *solver_; }
    Conv& conv() const { return *conv_; }
    // Another second engine than the device's, for tests.
    void set_conv(std::unique_ptr<Conv> conv) { conv_ = std::move(conv); }
    Communicator& communicator() const { return *communicator_; }

  private:
    Backend() = default;
    void open_libraries(Device device, int threads, Communicator* communicator,
                        ThreadCount (*count_threads)(int, int));

    int ordinal_ = 0;
    cuda::StreamPtr stream_;  // outlives the libraries
    ThreadCount threads_;
    Exec exec_;
    std::unique_ptr<Blas> blas_;
    std::unique_ptr<Solver> solver_;
    std::unique_ptr<Conv> conv_;
    std::unique_ptr<Communicator> alone_;
    Communicator* communicator_;
};

}  // namespace glow
