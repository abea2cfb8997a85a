#include "runtime/epilogue.h"

#include "kernels/activation.h"
#include "kernels/relu_mask.h"

namespace glow {
namespace {

template <class T, class Bias>
void run(const Exec& exec, const Gemm& g, const EpilogueData& data, T* c) {
    const Bias* const bias = has_bias(g.epilogue) ? static_cast<const Bias*>(data.bias) : nullptr;
    auto* const mask = static_cast<std::uint8_t*>(data.mask);
    if (g.epilogue == Epilogue::masked)
        apply_relu_mask(exec, g.m, g.n, g.ldc, mask, c);
    else if (has_mask(g.epilogue))
        bias_relu_mask(exec, g.m, g.n, g.ldc, bias, c, mask);
    else
        bias_relu(exec, g.m, g.n, g.ldc, bias, c);
}

}  // namespace

void run_epilogue(const Exec& exec, const Gemm& g, const EpilogueData& data, void* c) {
    if (g.epilogue == Epilogue::none) return;
    if (g.out == Scalar::f64)
        run<double, double>(exec, g, data, static_cast<double*>(c));
    else if (g.out == Scalar::bf16)
        run<bfloat16, float>(exec, g, data, static_cast<bfloat16*>(c));
    else
        run<float, float>(exec, g, data, static_cast<float*>(c));
}

}  // namespace glow
