// Opening a device.
#include "runtime/context.h"

#include <omp.h>

#include "kernels/error.h"

namespace glow {

void Context::gemm(const Gemm& product, const void* a, const void* b, void* c, const void* bias) const {
    const Arena::Scope scope(workspace);
    void* const scratch = workspace.take_bytes(blas.scratch_bytes(product));
    if (!dry()) blas.run(product, a, b, c, bias, scratch);
}

std::vector<double> Context::to_host(const double* values, index_t count) const {
    if (dry()) return {};
    return {values, values + count};
}

Backend::Backend(Device device, int threads) {
    if (device == Device::cuda)
        throw InputError("--device cuda: this build has no CUDA backend; use --device cpu");
    place_ = {device, threads > 0 ? threads : omp_get_num_procs(), nullptr};
    omp_set_num_threads(place_.threads);  // oneDNN reads it when a product is made and when it runs
    blas_ = make_cpu_blas(place_.threads);
    solver_ = make_cpu_solver();
}

}  // namespace glow
