#include "runtime/epilogue.h"

#include "kernels/activation.h"

namespace glow {
namespace {

template <class T, class Bias>
void run(const Exec& exec, const Gemm& g, const EpilogueData& data, T* c) {
    const bool biased = g.epilogue == Epilogue::bias_relu;
    bias_relu(exec, g.m, g.n, g.ldc, biased ? static_cast<const Bias*>(data.bias) : nullptr, c);
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
