// Opening a device.
#include "runtime/context.h"

#include <omp.h>

#include "runtime/cuda.h"
#include "runtime/device.h"

namespace glow {

void Context::gemm(const Gemm& product, const void* a, const void* b, void* c, const void* bias) const {
    const Arena::Scope scope(workspace);
    void* const scratch = workspace.take_bytes(blas.scratch_bytes(product));
    if (!dry()) blas.run(product, a, b, c, bias, scratch);
}

std::vector<double> Context::to_host(const double* values, index_t count) const {
    return downloaded(place, count, values);
}

Backend::Backend(Device device, int threads, int ordinal) : ordinal_(ordinal) {
    if (device == Device::cuda) stream_ = cuda::open_stream(ordinal);
    place_ = {device, threads > 0 ? threads : omp_get_num_procs(), stream_.get()};
    open_libraries();
}

std::string Backend::description() const {
    return place_.device == Device::cuda ? "cuda: " + cuda::describe(ordinal_) : "cpu";
}

Backend Backend::for_plans(Device device, int threads) {
    Backend backend;
    backend.place_ = {device, threads > 0 ? threads : omp_get_num_procs(), nullptr};
    backend.open_libraries();
    return backend;
}

void Backend::open_libraries() {
    omp_set_num_threads(place_.threads);  // oneDNN reads it when a product is made and when it runs
    blas_ = place_.device == Device::cuda ? cuda::make_blas(place_) : make_cpu_blas(place_.threads);
    solver_ = place_.device == Device::cuda ? cuda::make_solver(place_) : make_cpu_solver();
}

}  // namespace glow
