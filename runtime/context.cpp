// Opening a device.
#include "runtime/context.h"

#include "runtime/cuda.h"
#include "runtime/cudnn.h"
#include "runtime/device.h"

namespace glow {

void Context::gemm(const Gemm& product, const void* a, const void* b, void* c, const void* bias) const {
    const Arena::Scope scope(workspace);
    void* const scratch = workspace.take_bytes(blas.scratch_bytes(product));
    if (dry()) return;
    blas.run(product, a, b, c, bias, scratch);
    communicator.pulse().beat();  // 98% of a step are products, none of which takes long
}

void Context::convolve(const Convolution& convolution, const void* first, const void* second,
                       void* result) const {
    const Arena::Scope scope(workspace);
    void* const scratch = workspace.take_bytes(conv->scratch_bytes());
    if (!dry()) conv->run(convolution, first, second, result, scratch);
}

std::vector<double> Context::to_host(const double* values, index_t count) const {
    return downloaded(place, count, values);
}

void Context::sum_over_processes(index_t count, double* values) const {
    if (!dry()) communicator.sum(place, count, values);
}

Backend::Backend(Device device, int threads, int ordinal, Communicator* communicator) : ordinal_(ordinal) {
    if (device == Device::cuda) stream_ = cuda::open_stream(ordinal);
    open_libraries(device, threads, communicator, decide_threads);
}

std::string Backend::description() const {
    return place_.device == Device::cuda ? "cuda: " + cuda::describe(ordinal_) : "cpu";
}

Backend Backend::for_plans(Device device, int threads, Communicator* communicator) {
    Backend backend;
    backend.open_libraries(device, threads, communicator, planned_threads);
    return backend;
}

void Backend::open_libraries(Device device, int threads, Communicator* communicator,
                             ThreadCount (*count_threads)(int, int)) {
    if (communicator == nullptr) alone_ = std::make_unique<Communicator>();
    communicator_ = communicator != nullptr ? communicator : alone_.get();
    threads_ = count_threads(threads, communicator_->group().local_size);
    place_ = {device, threads_.used, stream_ != nullptr ? cuda::native_handle(*stream_) : nullptr};
    blas_ = place_.device == Device::cuda ? cuda::make_blas(place_) : make_cpu_blas(place_.threads);
    solver_ = place_.device == Device::cuda ? cuda::make_solver(place_) : make_cpu_solver(place_.threads);
    conv_ = place_.device == Device::cuda ? cuda::make_conv(place_) : std::make_unique<Conv>();
}

}  // namespace glow
