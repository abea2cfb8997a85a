// The model at its published depth, L = 3 and K = 32, 32x32x3: how exactly backward's inverse rebuilds the state. The
// same source is compiled with float networks (as in training) and with double ones.
#include <algorithm>
#include <cstdio>

#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr index_t kImages = 8;
constexpr bool kDouble = sizeof(real) == sizeof(double);

// Fresh: as training starts, from data. Strong: random last convolutions and hidden scales, so that the networks act
// on the state as much as the state itself; actnorms from data, so that it neither dies nor explodes.
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
    // forward's once rounded to float, which is all that a float network sees of them.
    index_t walk_back(std::vector<std::vector<double>> inputs, bool fed) {
        index_t flips = 0;
        for (std::size_t l = glow.levels().size(); l-- > 0;) {
            Glow::Level& level = glow.levels()[l];
            if (level.split) level.split->inverse(machine.context, flow);
            for (std::size_t k = level.steps.size(); k-- > 0;) {
                const std::vector<double>& input = inputs.back();
                const index_t C = level.shape.C;
                for (std::size_t i = 0; i < input.size(); ++i)
                    if (static_cast<index_t>(i) % C < C / 2)
                        flips += static_cast<float>(input[i]) != static_cast<float>(h[i]);
                level.steps[k]->coupling.inverse(machine.context, flow, fed ? input.data() : nullptr);
                level.steps[k]->mixing.inverse(machine.context, flow);
                inputs.pop_back();
            }
            level.squeeze.inverse(machine.context, flow);
        }
        return flips;
    }
    // The largest error of every image, sorted.
    std::vector<double> errors() const {
        const index_t D = glow.config().dimensions();
        std::vector<double> result;
        for (index_t n = 0; n < flow.N; ++n) {
            double largest = 0;
            for (index_t i = n * D; i < (n + 1) * D; ++i)
                if (!(std::abs(h[i] - x[i]) <= largest)) largest = std::abs(h[i] - x[i]);
            result.push_back(largest);
        }
        std::sort(result.begin(), result.end());
        return result;
    }
};

class DeepTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Weights, DeepTest, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "strong" : "fresh"); });

TEST_P(DeepTest, InverseUndoesForward) {
    Deep model(GetParam(), Precision::fp32);
    const std::vector<std::vector<double>> inputs = model.walk_forward();
    const std::vector<double> z = model.h;
    ASSERT_LT(largest_difference(z, std::vector<double>(z.size(), 0.0)), 1e3) << "the state has exploded";

    // Fed with forward's inputs the networks give forward's outputs, and only the double arithmetic of the state is
    // left: 1e-14 after 96 steps, and what the mixings amplify.
    model.walk_back(inputs, true);
    const std::vector<double> fed = model.errors();
    std::printf("fed with forward's network inputs: median %.1e, worst %.1e\n", fed[kImages / 2], fed.back());
    EXPECT_LE(fed.back(), 1e-10);

    model.h = z;
    const index_t flips = model.walk_back(inputs, false);
    const std::vector<double> free = model.errors();
    index_t entries = 0;
    for (const auto& input : inputs) entries += static_cast<index_t>(input.size()) / 2;
    std::printf("by itself: median %.1e, worst %.1e, %lld of %lld network inputs round to another float\n",
                free[kImages / 2], free.back(), static_cast<long long>(flips), static_cast<long long>(entries));
    if (kDouble) {
        EXPECT_LE(free.back(), 1e-10);
    } else {
        // An image whose inputs round as in forward is exact; one where a float flips falls to float precision.
        EXPECT_LE(free[kImages / 2], 1e-12);
        EXPECT_LE(free.back(), 1e-5);
    }

    // The layers' own inverse is the same walk.
    std::vector<double> rebuilt = model.h;
    model.h = z;
    model.glow.inverse(model.machine.context, model.flow);
    EXPECT_EQ(model.h, rebuilt);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
