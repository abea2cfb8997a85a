// The model at its published depth, L = 3 and K = 32, 32x32x3: how exactly backward's inverse rebuilds the
// state. The same source is compiled with float networks (as in training) and with double ones.
#include "tests/layers/round_trip.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr bool kDouble = sizeof(real) == sizeof(double);

// Fresh: as training starts, from data. Strong: random last convolutions and hidden scales, so that the
// networks act on the state as much as the state itself; actnorms from data, so that it neither dies nor
// explodes.
template <class Map>
void expect_inverse_undoes_forward(bool strong, Precision precision, double exact, double worst) {
    constexpr index_t kImages = 8;
    RoundTrip model(make_config(32, 32, 3, 3, 32, kDouble ? 8 : 64), kImages, {precision, 0});
    Parameters& parameters = model.glow.parameters();
    Solver& solver = model.machine.backend.solver();
    if (!strong) parameters.start(21, solver);
    for (const Tensor& tensor : parameters.tensors())  // W orthogonal, as it starts
        if (strong && tensor.start == Init::orthogonal) {
            std::vector<double> W = Random(tensor.offset + 1).normals(tensor.count);
            solver.orthogonalize(tensor.shape[0], W.data());
            std::copy(W.begin(), W.end(), model.values.value.begin() + tensor.offset);
        }
    model.h = model.x;
    model.glow.initialize(model.machine.context, model.flow);
    model.prepare();
    // Strong weights amplify errors until, by chance, some input of most images rounds to another value.
    expect_inverse<Map>(model, exact, worst, strong ? worst : exact);
}

#if defined(GLOW_REAL_DOUBLE)
TEST(RoundTrip, InitialWeights) {
    expect_inverse_undoes_forward<double>(false, Precision::fp32, 1e-10, 1e-10);
}
TEST(RoundTrip, LargeWeights) {
    // Double networks see the state's last digits and hand their errors on: 96 steps amplify 1e-15 by up to
    // 1e6. (Float networks round them away, and do better unless an input lies on the edge of a rounding.)
    expect_inverse_undoes_forward<double>(true, Precision::fp32, 1e-7, 1e-7);
}
#else
TEST(RoundTrip, InitialWeights) {
    expect_inverse_undoes_forward<float>(false, Precision::fp32, 1e-12, 1e-5);
}
TEST(RoundTrip, LargeWeights) {
    expect_inverse_undoes_forward<float>(true, Precision::fp32, 1e-12, 1e-5);
}
TEST(RoundTrip, Bf16Networks) {
    if (!Backend(Device::cpu, 1).blas().has_bf16())
        GTEST_SKIP() << "no bf16 products on this machine or in this build";
    expect_inverse_undoes_forward<bfloat16>(false, Precision::bf16, 1e-12, 1e-2);
    expect_inverse_undoes_forward<bfloat16>(true, Precision::bf16, 1e-12, 1e-2);
}
#endif

}  // namespace
}  // namespace glow::inline GLOW_REAL
