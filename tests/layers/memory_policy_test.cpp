// What the memory policies save, and their cost: network work, bytes, equal gradients.
#include "layers/memory_policy.h"

#include <algorithm>
#include <bit>

#include "kernels/saved_state.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

MemoryPolicy policy(index_t anchor_every, bool maps = false) {
    MemoryPolicy policy;
    policy.anchor_every = anchor_every;
    policy.maps = maps;
    return policy;
}
MemoryPolicy with_bits(MemoryPolicy policy) {
    policy.rounding_bits = true;
    return policy;
}

// Channel mixings that shrink every other output, so that the inverse magnifies rounding step by step.
void make_ill_conditioned(Model& model, double factor) {
    for (const Tensor& tensor : model.glow.parameters().tensors())
        if (tensor.name.find("invconv/weight") != std::string::npos)
            for (index_t o = 0; o < tensor.shape[0]; o += 2)
                for (index_t i = 0; i < tensor.shape[0]; ++i)
                    model.values.value[tensor.offset + o * tensor.shape[0] + i] /= static_cast<real>(factor);
    model.prepare();
}

index_t different_bits(const std::vector<real>& x, const std::vector<real>& y) {
    index_t count = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        count += std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i]);
    return count;
}

std::vector<Precision> precisions() {
    if (Backend(Device::cpu, 1).blas().has_bf16()) return {Precision::fp32, Precision::bf16};
    return {Precision::fp32};
}

TEST(RoundingBits, ReconstructEqualsStoreBitForBit) {
    for (const Precision precision : precisions()) {
        Model model(make_config(32, 32, 3, 2, 12, 16), 8, {precision, 0}, 0.02);
        make_ill_conditioned(model, 3.3);
        const auto gradients = [&](const MemoryPolicy& policy) {
            model.run(policy);
            std::vector<real> all = model.values.gradient;
            all.insert(all.end(), model.dh.begin(), model.dh.end());
            return all;
        };
        const std::vector<real> store = gradients(policy(1, true));
        EXPECT_EQ(different_bits(gradients(policy(1)), store), 0);
        EXPECT_EQ(different_bits(gradients(with_bits(policy(0))), store), 0) << to_string(precision);
        EXPECT_EQ(different_bits(gradients(with_bits(policy(5))), store), 0) << to_string(precision);
        EXPECT_LT(largest_difference(model.h, model.x), 1e-9) << "more drift than the bits are for";
        // Without rounding bits, some network input rounds to another value (for bf16 rarely).
        const index_t without = different_bits(gradients(policy(0)), store);
        if (precision == Precision::fp32) {
            EXPECT_GT(without, 0);
        }
    }
}

TEST(RoundingBits, UseOneSixtyFourthOfFloatStates) {
    const Backend backend(Device::cpu, 1);
    const auto stored = [&](MemoryPolicy policy) {
        Memory memory;
        const Context context = backend.counting_context(memory[Category::workspace]);
        Glow glow(make_config(64, 64, 3, 3, 32, 16), {});
        glow.allocate(memory[Category::derived]);
        Flow flow;
        flow.N = 8;
        SavedActivations saved(memory[Category::stored], std::move(policy));
        glow.forward(context, flow, &saved);
        return static_cast<double>(memory[Category::stored].used());
    };
    MemoryPolicy in_float = policy(1);
    in_float.float_states = true;
    const double starts = stored(policy(0)), floats = stored(in_float) - starts;
    const double bits = stored(with_bits(policy(0))) - starts;
    EXPECT_NEAR(floats / (stored(policy(1)) - starts), 0.5, 0.02);  // the images stay in double
    EXPECT_NEAR(bits / floats, 1.0 / 64, 0.05 / 64);  // 62 of 64 bits; whole words, whole cache lines
}

TEST(FloatStates, GiveStoreGradients) {
    for (const Precision precision : precisions()) {
        Model model(make_config(16, 16, 3, 2, 6, 16), 4, {precision, 0});
        model.run(policy(1, true));
        const std::vector<real> store = model.values.gradient;
        MemoryPolicy in_float = policy(1);
        in_float.float_states = true;
        model.run(in_float);
        // Networks and gradients read a state only as float.
        EXPECT_EQ(different_bits(model.values.gradient, store), 0);
        EXPECT_GT(largest_difference(model.h, model.x), 1e-9);
    }
}

// Counts multiply-adds of all products.
class CountingBlas : public Blas {
  public:
    explicit CountingBlas(Blas& blas) : blas_(blas) {}
    std::size_t scratch_bytes(const Gemm& gemm) override { return blas_.scratch_bytes(gemm); }
    void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        multiplies += static_cast<double>(gemm.m * gemm.n * gemm.k);
        blas_.run(gemm, a, b, c, data, scratch);
    }
    bool has_bf16() const override { return blas_.has_bf16(); }
    double multiplies = 0;

  private:
    Blas& blas_;
};

TEST(NetworkWork, CostsThreeUnitsStoredAndFourReconstructed) {
    // Widths without padding (9 * 8 outputs; 9 * 4 + 1 -> 40 columns stays near 36), no splits and no edge
    // channel: only the networks' work remains, plus a few percent for the mixings.
    ModelConfig config = make_config(16, 16, 2, 1, 6, 128);
    config.edge_bias = false;
    Model model(config, 4);
    CountingBlas blas(model.machine.backend.blas());
    const Context& plain = model.machine.context;
    const Context context{plain.exec, blas, plain.solver, plain.conv, plain.communicator, plain.workspace};
    model.h = model.x;
    model.glow.forward(context, model.flow);
    const double unit = blas.multiplies;
    EXPECT_NEAR(unit / (4 * 64 * 6 * network_multiplies(config, level_shape(config, 0))), 1, 0.05);
    const auto units = [&](const MemoryPolicy& policy) {
        blas.multiplies = 0;
        model.h = model.x;
        SavedActivations saved(model.machine.stored, policy);
        model.glow.forward(context, model.flow, &saved);
        Gradient gradient{model.dh.data(), 1.0, 0, {model.values.gradient.data()}};
        model.glow.backward(context, model.flow, gradient, saved);
        return blas.multiplies / unit;
    };
    EXPECT_NEAR(units(policy(1, true)), 3, 0.05);
    for (const MemoryPolicy& recomputed : {policy(0), policy(1), policy(3), with_bits(policy(0))})
        EXPECT_NEAR(units(recomputed), 4, 0.05);
    // The reported work equals the actual work, also for intermediate budgets.
    for (const index_t steps : {0, 2, 6}) {
        MemoryPolicy some;
        some.last_maps = {steps};
        EXPECT_NEAR(units(some), model.glow.network_units(some), 0.05);
        EXPECT_NEAR(units(some), 4 - steps / 6.0, 0.05);
    }
    EXPECT_EQ(model.glow.network_units(policy(1, true)), 3);
    EXPECT_EQ(model.glow.network_units(policy(0)), 4);
}

TEST(AutoPolicy, FillsDeepestLevelFirst) {
    const ModelConfig config = make_config(32, 32, 3, 3, 4, 24);
    const Backend backend(Device::cpu, 1);
    Glow glow(config, {});
    const auto stored = [&](const MemoryPolicy& policy) {
        Memory memory;
        const Context context = backend.counting_context(memory[Category::workspace]);
        glow.allocate(memory[Category::derived]);
        Flow flow;
        flow.N = 5;
        SavedActivations saved(memory[Category::stored], policy);
        glow.forward(context, flow, &saved);
        return memory[Category::stored].used();
    };
    const std::size_t none = stored(policy(0)), all = stored(policy(0, true)) - none;
    EXPECT_EQ(glow.policy_within(5, 0).last_maps, (std::vector<index_t>{0, 0, 0}));
    EXPECT_EQ(glow.policy_within(5, all).last_maps, (std::vector<index_t>{4, 4, 4}));
    EXPECT_EQ(glow.policy_within(5, all - 1).last_maps, (std::vector<index_t>{3, 4, 4}));
    double units = 4;
    for (std::size_t budget = 0; budget <= all; budget += all / 23) {
        const MemoryPolicy chosen = glow.policy_within(5, budget);
        EXPECT_LE(stored(chosen) - none, budget);
        EXPECT_TRUE(chosen.last_maps[0] == 0 || chosen.last_maps[1] == 4);
        EXPECT_TRUE(chosen.last_maps[1] == 0 || chosen.last_maps[2] == 4);
        EXPECT_LE(glow.network_units(chosen), units);
        units = glow.network_units(chosen);
    }
    // A byte of maps saves more work at deeper levels.
    for (index_t l = 1; l < 3; ++l) {
        const auto work_per_byte = [&](index_t level) {
            const Shape shape = level_shape(config, level);
            return network_multiplies(config, shape) / static_cast<double>(2 * config.width + shape.C);
        };
        EXPECT_GT(work_per_byte(l), work_per_byte(l - 1));
    }
}

TEST(AutoPolicy, GradientsEqualStore) {
    Model model(make_config(16, 16, 3, 3, 3, 16), 4);
    model.run(policy(1, true));
    const std::vector<real> store = model.values.gradient;
    MemoryPolicy some;
    some.last_maps = {1, 2, 3};
    model.run(some);
    EXPECT_LT(largest_difference(model.values.gradient, store), 1e-5);
    some.rounding_bits = true;
    model.run(some);
    EXPECT_EQ(different_bits(model.values.gradient, store), 0);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
