// The published model, L = 3, K = 32, 32x32x3: how exactly backward's inverse reconstructs the state.
// Compiled with float networks (as in training) and double ones.
#include "tests/layers/round_trip.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr bool kDouble = sizeof(real) == sizeof(double);

// Initial: data-dependent initialization, as training starts. Large: random last convolutions and hidden
// scales, so that the networks act on the state as strongly as the state itself; actnorms initialized from
// data, so that it neither vanishes nor explodes.
template <class Map>
void expect_inverse_undoes_forward(bool strong, Precision precision, double exact, double worst) {
    constexpr index_t kImages = 8;
    RoundTrip model(make_config(32, 32, 3, 3, 32, kDouble ? 8 : 64), kImages, {precision, 0});
    Parameters& parameters = model.glow.parameters();
    Solver& solver = model.machine.backend.solver();
    if (!strong) parameters.initialize(21, solver);
    for (const Tensor& tensor : parameters.tensors())  // W orthogonal, as initialized
        if (strong && tensor.init == Init::orthogonal) {
            std::vector<double> W = Random(tensor.offset + 1).normals(tensor.count);
            solver.orthogonalize(tensor.shape[0], W.data());
            std::copy(W.begin(), W.end(), model.values.value.begin() + tensor.offset);
        }
    model.h = model.x;
    model.glow.initialize(model.machine.context, model.flow);
    model.prepare();
    // Large weights amplify errors until some input of most images rounds differently.
    expect_inverse<Map>(model, exact, worst, strong ? worst : exact);
}

#if defined(GLOW_REAL_DOUBLE)
TEST(RoundTrip, InitialWeights) {
    expect_inverse_undoes_forward<double>(false, Precision::fp32, 1e-10, 1e-10);
}
TEST(RoundTrip, LargeWeights) {
    // Double networks read the state's last digits and propagate their errors: 96 steps amplify 1e-15 by up
    // to 1e6. (Float networks round them away, and do better unless an input lies on a rounding boundary.)
    expect_inverse_undoes_forward<double>(true, Precision::fp32, 1e-7, 1e-7);
}
#else
// The state's rounding errors, which large weights amplify: 0.4e-12 to 1.3e-12, by compiler and processor.
constexpr double kLargeWeights = 1e-11;

TEST(RoundTrip, InitialWeights) {
    expect_inverse_undoes_forward<float>(false, Precision::fp32, 1e-12, 1e-5);
}
TEST(RoundTrip, LargeWeights) {
    expect_inverse_undoes_forward<float>(true, Precision::fp32, kLargeWeights, 1e-5);
}
TEST(RoundTrip, Bf16Networks) {
    if (!Backend(Device::cpu, 1).blas().has_bf16())
        GTEST_SKIP() << "no bf16 products on this machine or in this build";
    expect_inverse_undoes_forward<bfloat16>(false, Precision::bf16, 1e-12, 1e-2);
    expect_inverse_undoes_forward<bfloat16>(true, Precision::bf16, kLargeWeights, 1e-2);
}
#endif

}  // namespace
}  // namespace glow::inline GLOW_REAL
