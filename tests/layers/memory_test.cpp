// The workspace does not grow with depth, and a counting step uses exactly as much memory as a real one.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/layers/model.h"
#include "tests/layers/random_model.h"

namespace glow::inline GLOW_REAL {
namespace {

// Everything a training step takes from its arenas, real or counting.
void step(const Backend& backend, bool count_only, Memory& memory, const ModelConfig& config,
          const NetworkSettings& settings, index_t N, const MemoryPolicy& policy, bool initialize) {
    const Context context = count_only ? backend.counting_context(memory[Category::workspace])
                                       : backend.context(memory[Category::workspace]);
    Glow glow(config, settings);
    Parameters& parameters = glow.parameters();
    parameters.bind(memory[Category::parameters].take<real>(parameters.size()));
    real* const gradients = memory[Category::gradients].take<real>(parameters.size());
    parameters.bind_fixed(memory[Category::parameters].take<real>(parameters.fixed_size()));
    glow.allocate(memory[Category::derived]);
    const index_t D = config.dimensions();
    Arena& state = memory[Category::state];
    const std::vector<std::int32_t> labels(static_cast<std::size_t>(N), 0);
    Flow flow{N,
              state.take<state_t>(N * D),
              state.take<double>(N),
              state.take<double>(N),
              labels.data(),
              state.take<double>(N),
              state.take<double>(N)};
    Gradient gradient{state.take<real>(N * D), 1.0, 0.1, {gradients}};
    if (!count_only) {
        parameters.initialize(1, backend.solver());
        std::fill_n(gradients, parameters.size(), real{0});
        const std::vector<double> x = Random(2).normals(N * D, 0.3);
        std::copy(x.begin(), x.end(), flow.h);
    }
    EXPECT_EQ(glow.derive_and_check(context).bad_layer, "");
    if (initialize) glow.initialize(context, flow);
    {
        SavedActivations saved(memory[Category::stored], policy);
        glow.forward(context, flow, &saved);
        glow.backward(context, flow, gradient, saved);
    }
    glow.encode(context, flow);
    glow.decode(context, flow);
    if (!count_only) {
        double largest = 0;
        for (index_t i = 0; i < parameters.size(); ++i)
            largest = std::max<double>(largest, std::abs(gradients[i]));
        EXPECT_GT(largest, 0);
        EXPECT_TRUE(std::isfinite(largest));
    }
}

struct Case {
    ModelConfig config;
    NetworkSettings settings;
    index_t N = 0;
    MemoryPolicy policy;
    bool initialize = false;
};

std::vector<Case> cases() {
    std::vector<Case> result;
    const auto add = [&result](const ModelConfig& config, const NetworkSettings& settings, index_t N,
                               const MemoryPolicy& policy, bool initialize) {
        Case& one = result.emplace_back();
        one.config = config;
        one.settings = settings;
        one.N = N;
        one.policy = policy;
        one.initialize = initialize;
    };
    const ModelConfig small = make_config(16, 16, 3, 3, 2, 24), flat = make_config(4, 64, 1, 2, 3, 17);
    for (const MemoryPolicy& policy :
         {MemoryPolicy{}, MemoryPolicy{1, false}, MemoryPolicy{1, true}, MemoryPolicy{2, false}})
        for (const bool initialize : {false, true}) add(small, {}, 5, policy, initialize);
    for (const index_t tile : {1, 2, 7}) add(flat, {Precision::fp32, tile}, 7, {}, false);
    ModelConfig bare = small;
    bare.coupling = CouplingKind::additive;
    bare.edge_bias = bare.learn_top = false;
    add(bare, {}, 3, {}, true);
    for (const Permutation permutation : {Permutation::invconv_lu, Permutation::shuffle}) {
        ModelConfig conditional = small;
        conditional.permutation = permutation;
        conditional.y_cond = true;
        conditional.n_classes = 3;
        conditional.weight_y = permutation == Permutation::shuffle ? 0.01 : 0;
        add(conditional, {}, 5, {}, true);
    }
    // Blocks of im2col rows within an image.
    add(make_config(256, 128, 1, 1, 1, 8), {}, 2, {}, true);
    if (sizeof(real) == sizeof(float) && Backend(Device::cpu, 1).blas().has_bf16())
        add(small, {Precision::bf16, 0}, 5, {}, true);
    for (std::uint64_t seed = 0; seed < 24; ++seed) {
        const RandomModel drawn = random_model(seed, 500);
        add(drawn.config, {Precision::fp32, drawn.tile}, drawn.N, drawn.policy, seed % 3 == 0);
    }
    return result;
}

TEST(MemoryPlan, EqualsMeasuredPeak) {
    const Backend backend(Device::cpu, 2);
    for (const Case& c : cases()) {
        Memory counting;
        step(backend, true, counting, c.config, c.settings, c.N, c.policy, c.initialize);
        const MemoryBytes plan = counting.peak();
        // Exactly the planned sizes: one more byte would throw.
        Memory memory(Device::cpu, plan);
        step(backend, false, memory, c.config, c.settings, c.N, c.policy, c.initialize);
        EXPECT_EQ(memory.peak(), plan);
        for (int i = 0; i < kCategories; ++i)
            EXPECT_EQ(memory[static_cast<Category>(i)].peak(), plan[i]) << kCategoryNames[i];
        EXPECT_GT(at(plan, Category::workspace), 0u);
        EXPECT_EQ(memory[Category::workspace].used(), 0u);
        EXPECT_EQ(memory[Category::stored].used(), 0u);
    }
}

TEST(MemoryPlan, PlannedWorkspaceIsConstantInDepth) {
    const Backend backend(Device::cpu, 2);
    const auto peak = [&](index_t depth, const MemoryPolicy& policy) {
        Memory memory;
        step(backend, true, memory, make_config(32, 32, 3, 3, depth, 32), {}, 4, policy, false);
        return memory.peak();
    };
    const MemoryBytes shallow = peak(4, {}), deep = peak(32, {});
    for (const Category category : {Category::workspace, Category::state, Category::stored})
        EXPECT_EQ(at(deep, category), at(shallow, category));
    EXPECT_GT(at(deep, Category::parameters), 7 * at(shallow, Category::parameters));
    // Less than one latent in total is saved by default: the states entering levels 1 and 2.
    EXPECT_LT(at(deep, Category::stored), 4 * 32 * 32 * 3 * sizeof(state_t));
    // Policies that save more grow with depth.
    EXPECT_GT(at(peak(32, {1, false}), Category::stored), 7 * at(peak(4, {1, false}), Category::stored));
    EXPECT_GT(at(peak(32, {1, true}), Category::stored), at(peak(32, {1, false}), Category::stored));
}

TEST(MemoryPlan, MeasuredWorkspaceIsConstantInDepth) {
    const Backend backend(Device::cpu, 2);
    std::size_t workspace[2];
    for (const index_t depth : {4, 32}) {
        const ModelConfig config = make_config(16, 16, 3, 3, depth, 16);
        MemoryBytes room;
        room.fill(std::size_t{1} << 28);
        Memory memory(Device::cpu, room, false);
        step(backend, false, memory, config, {}, 4, {}, false);
        workspace[depth == 32] = memory.peak()[static_cast<int>(Category::workspace)];
    }
    EXPECT_EQ(workspace[0], workspace[1]);
}

TEST(MemoryPlan, LayersStayWithinBlocks) {
    const Backend backend(Device::cpu, 2);
    for (const Case& c : cases()) {
        MemoryBytes room;
        room.fill(std::size_t{1} << 28);
        Memory memory(Device::cpu, room, true);  // guards abort on overrun
        step(backend, false, memory, c.config, c.settings, c.N, c.policy, c.initialize);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
