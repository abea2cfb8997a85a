// The model at its published depth, L = 3 and K = 32, 32x32x3: how exactly backward's inverse rebuilds the
// state. The same source is compiled with float networks (as in training) and with double ones.
#include <algorithm>
#include <cstdio>

#include "kernels/math.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr index_t kImages = 8;
constexpr bool kDouble = sizeof(real) == sizeof(double);

// Fresh: as training starts, from data. Strong: random last convolutions and hidden scales, so that the
// networks act on the state as much as the state itself; actnorms from data, so that it neither dies nor
// explodes.
struct Deep : Model {
    Deep(bool strong, Precision precision, index_t N = kImages)
        : Model(make_config(32, 32, 3, 3, 32, kDouble ? 8 : 64), N, {precision, 0}) {
        Parameters& parameters = glow.parameters();
        if (!strong) parameters.start(21, machine.backend.solver());
        for (const Tensor& tensor : parameters.tensors())  // W orthogonal, as it starts
            if (strong && tensor.start == Start::orthogonal) {
                std::vector<double> W = Random(tensor.offset + 1).normals(tensor.count);
                machine.backend.solver().orthogonalise(tensor.shape[0], W.data());
                std::copy(W.begin(), W.end(), values.value.begin() + tensor.offset);
            }
        h = x;
        glow.initialise(machine.context, flow);
        prepare();
    }

    // Forward by hand; the state every coupling sees, in order.
    std::vector<std::vector<double>> walk_forward() {
        std::vector<std::vector<double>> inputs;
        h = x;
        for (Glow::Level& level : glow.levels()) {
            level.squeeze.forward(machine.context, flow);
            for (auto& step : level.steps) {
                step->mixing.forward(machine.context, flow);
                inputs.emplace_back(h.begin(), h.begin() + flow.N * level.shape.size());
                step->coupling.forward(machine.context, flow);
            }
            if (level.split) level.split->forward(machine.context, flow);
        }
        return inputs;
    }
    // Back again; with `fed`, every network gets forward's input. Returns how many network inputs differ from
    // forward's once rounded to the network's type, which is all that a network sees of them.
    template <class Map>
    std::vector<index_t> walk_back(std::vector<std::vector<double>> inputs, bool fed) {
        std::vector<index_t> flips(static_cast<std::size_t>(flow.N));
        for (std::size_t l = glow.levels().size(); l-- > 0;) {
            Glow::Level& level = glow.levels()[l];
            if (level.split) level.split->inverse(machine.context, flow);
            for (std::size_t k = level.steps.size(); k-- > 0;) {
                const std::vector<double>& input = inputs.back();
                const index_t C = level.shape.C;
                for (std::size_t i = 0; i < input.size(); ++i)
                    if (static_cast<index_t>(i) % C < C / 2)
                        flips[static_cast<index_t>(i) / level.shape.size()] +=
                            to_float(round_state<Map>(input[i])) != to_float(round_state<Map>(h[i]));
                level.steps[k]->coupling.inverse(machine.context, flow, fed ? input.data() : nullptr);
                level.steps[k]->mixing.inverse(machine.context, flow);
                inputs.pop_back();
            }
            level.squeeze.inverse(machine.context, flow);
        }
        return flips;
    }
    // The largest error of every image.
    std::vector<double> errors() const {
        const index_t D = glow.config().dimensions();
        std::vector<double> result;
        for (index_t n = 0; n < flow.N; ++n) {
            double largest = 0;
            for (index_t i = n * D; i < (n + 1) * D; ++i)
                if (!(std::abs(h[i] - x[i]) <= largest)) largest = std::abs(h[i] - x[i]);
            result.push_back(largest);
        }
        return result;
    }
};

std::vector<double> sorted(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values;
}

// What the state's own arithmetic allows, fed with forward's network inputs or not, and what the networks'
// precision allows for an image one of whose network inputs rounds to another value than in forward.
template <class Map>
void expect_inverse_undoes_forward(bool strong, Precision precision, double exact, double worst) {
    Deep model(strong, precision);
    const std::vector<std::vector<double>> inputs = model.walk_forward();
    const std::vector<double> z = model.h;
    ASSERT_LT(largest_difference(z, std::vector<double>(z.size(), 0.0)), 1e3) << "the state has exploded";

    // Fed with forward's inputs the networks give forward's outputs, and only the double arithmetic of the
    // state is left: 1e-14 after 96 steps, and what the mixings amplify.
    model.walk_back<Map>(inputs, true);
    const std::vector<double> fed = sorted(model.errors());
    std::printf("fed with forward's network inputs: median %.1e, worst %.1e\n", fed[kImages / 2], fed.back());
    EXPECT_LE(fed.back(), 1e-10);

    model.h = z;
    const std::vector<index_t> flips = model.walk_back<Map>(inputs, false);
    const std::vector<double> errors = model.errors(), free = sorted(errors);
    index_t entries = 0, flipped = 0;
    for (const auto& input : inputs) entries += static_cast<index_t>(input.size()) / 2;
    for (const index_t count : flips) flipped += count;
    std::printf("by itself: median %.1e, worst %.1e, %lld of %lld network inputs round to another value\n",
                free[kImages / 2], free.back(), static_cast<long long>(flipped),
                static_cast<long long>(entries));
    // Only an image of which an input rounds to another value is off by more than the state's arithmetic.
    for (index_t n = 0; n < kImages; ++n)
        EXPECT_LE(errors[n], flips[n] == 0 ? exact : worst) << "image " << n;
    if (!strong) {  // strong weights amplify errors until, by chance, some input of most images does
        EXPECT_LE(free[kImages / 2], exact);
    }

    // The layers' own inverse is the same walk.
    std::vector<double> rebuilt = model.h;
    model.h = z;
    model.glow.inverse(model.machine.context, model.flow);
    EXPECT_EQ(model.h, rebuilt);
}

#if defined(GLOW_REAL_DOUBLE)
TEST(Deep, InverseUndoesForwardWithFreshWeights) {
    expect_inverse_undoes_forward<double>(false, Precision::fp32, 1e-10, 1e-10);
}
TEST(Deep, InverseUndoesForwardWithStrongWeights) {
    // Double networks see the state's last digits and hand their errors on: 96 steps amplify 1e-15 by up to
    // 1e6. (Float networks round them away, and do better unless an input lies on the edge of a rounding.)
    expect_inverse_undoes_forward<double>(true, Precision::fp32, 1e-7, 1e-7);
}
#else
TEST(Deep, InverseUndoesForwardWithFreshWeights) {
    expect_inverse_undoes_forward<float>(false, Precision::fp32, 1e-12, 1e-5);
}
TEST(Deep, InverseUndoesForwardWithStrongWeights) {
    expect_inverse_undoes_forward<float>(true, Precision::fp32, 1e-12, 1e-5);
}
TEST(Deep, InverseUndoesForwardWithNarrowNetworks) {
    if (!Backend(Device::cpu, 1).blas().has_bf16())
        GTEST_SKIP() << "no bf16 products on this machine or in this build";
    expect_inverse_undoes_forward<bfloat16>(false, Precision::bf16, 1e-12, 1e-2);
    expect_inverse_undoes_forward<bfloat16>(true, Precision::bf16, 1e-12, 1e-2);
}
#endif

}  // namespace
}  // namespace glow::inline GLOW_REAL
