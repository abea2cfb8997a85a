#include "layers/precision.h"

#include "kernels/error.h"

namespace glow {

void check_precision(const Backend& backend, Precision precision) {
    if (precision == Precision::bf16 && !backend.blas().has_bf16())
        throw InputError(
            "--precision bf16: this processor or build does not support bf16 products; use --precision fp32");
    if (precision == Precision::tf32 && !backend.blas().has_tf32())
        throw InputError("--precision tf32: requires a GPU; use --precision fp32 or --device cuda");
}

double drift_tolerance(Precision precision) {
    return precision == Precision::fp32 ? 1e-5 : 1e-2;
}

}  // namespace glow
