#include "runtime/context.h"

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/cudnn.h"
#include "runtime/openblas.h"
#include "runtime/watchdog.h"

namespace glow {

void Context::gemm(const Gemm& product, const void* a, const void* b, void* c,
                   const EpilogueData& data) const {
    const Arena::Scope scope(workspace);
    void* const scratch = workspace.take_bytes(blas.scratch_bytes(product));
    if (exec.observer != nullptr) exec.observer->launch("gemm", bytes_of(product));
    if (counting()) return;
    blas.run(product, a, b, c, data, scratch);
    Heartbeat::of_this_thread().beat();  // 98% of a step is products, each of them short
}

void Context::convolve(const Convolution& convolution, const void* first, const void* second,
                       void* result) const {
    const Arena::Scope scope(workspace);
    void* const scratch = workspace.take_bytes(conv->scratch_bytes());
    if (exec.observer != nullptr) exec.observer->launch("convolution", 0);
    if (!counting()) conv->run(convolution, first, second, result, scratch);
}

void Context::sum_over_processes(index_t count, double* values) const {
    if (!counting()) communicator.all_reduce_sum(exec, count, values);
}

Backend::Backend(Device device, int threads, int ordinal, Communicator* communicator,
                 std::unique_ptr<Conv> conv, std::unique_ptr<Blas> blas)
    : ordinal_(ordinal), blas_(std::move(blas)), conv_(std::move(conv)) {
    if (device == Device::cuda) stream_ = cuda::open_stream(ordinal);
    open_libraries(device, threads, communicator, decide_threads);
    if (device == Device::cpu) reserve_blas_buffers(exec_.threads);
}

std::unique_ptr<cuda::DeviceScope> Backend::select_device() const {
    if (exec_.threads > 1 && threads_lost_by_fork())
        throw Error(
            "this process was forked after Glow had started threads, which a fork does not copy: start it with another "
            "method (Python: multiprocessing's \"spawn\"), or load the model again in this process, for one thread");
    return exec_.device == Device::cuda ? std::make_unique<cuda::DeviceScope>(ordinal_) : nullptr;
}

std::string Backend::description() const {
    return exec_.device == Device::cuda ? "cuda: " + cuda::describe(ordinal_) : "cpu";
}

Backend Backend::for_plans(Device device, int threads, Communicator* communicator) {
    Backend backend;
    backend.open_libraries(device, threads, communicator, planned_threads);
    return backend;
}

void Backend::open_libraries(Device device, int threads, Communicator* communicator,
                             ThreadCount (*count_threads)(int, int, int)) {
    if (communicator == nullptr) single_process_ = std::make_unique<Communicator>();
    communicator_ = communicator != nullptr ? communicator : single_process_.get();
    const ProcessGroup& group = communicator_->group();
    threads_ = count_threads(threads, group.local_size, group.mask_share);
    exec_ = {device, threads_.used, stream_ != nullptr ? cuda::native_handle(*stream_) : nullptr};
    // A plan is for a GPU that has everything.
    exec_.tensor_cores =
        device == Device::cuda &&
        (stream_ == nullptr || cuda::shared_bytes_per_block(ordinal_) >= kTensorCoreSharedBytes);
    if (blas_ == nullptr)
        blas_ = exec_.device == Device::cuda ? cuda::make_blas(exec_) : make_cpu_blas(exec_.threads);
    solver_ = exec_.device == Device::cuda ? cuda::make_solver(exec_) : make_cpu_solver();
    if (conv_ == nullptr)
        conv_ = exec_.device == Device::cuda ? cuda::make_conv(exec_) : std::make_unique<Conv>();
}

}  // namespace glow
