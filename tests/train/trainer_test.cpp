// The training step: memory, gradients under every memory policy, drift and fallback, failures.
#include <memory>
#include <new>

#include "inference/evaluate.h"
#include "inference/sample.h"
#include "inference/statistics.h"
#include "tests/train/training.h"
#include "train/memory_plan.h"
#include "train/schedule.h"

namespace glow {
namespace {

OptimizerStep update_of(double lr_t) {
    OptimizerStep update;
    update.lr_t = lr_t;
    update.ema_rate = 0.5;
    return update;
}

// ---- Memory ----------------------------------------------------------------------------------------------

TEST(TrainerMemory, PlanEqualsPeak) {
    for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::checkpoint, MemoryMode::store})
        for (const index_t micro_batch : {0, 3})
            for (const index_t init_batch : {1, 9})
                for (const Precision precision : {Precision::fp32, Precision::bf16}) {
                    TrainingOptions options = small_options(16, 8, 3, 3, 2, 20);
                    options.memory = memory;
                    options.batch = 7;
                    options.micro_batch = micro_batch;
                    options.init_batch = init_batch;
                    options.precision = precision;
                    if (options.precision == Precision::bf16 && !Backend(Device::cpu, 1).blas().has_bf16())
                        continue;
                    Training training(options);
                    Trainer& trainer = training.trainer;
                    trainer.initialize(training.init_images.batch());
                    trainer.step(training.images.batch(), update_of(1e-3));
                    trainer.use_ema(true);
                    std::vector<double> bits(7);
                    evaluate(trainer.runnable(), training.images.batch(), {Dequantization::uniform, 1},
                             {.bits_per_dim = bits.data()});
                    std::vector<std::uint8_t> pixels(7 * options.model.dimensions());
                    sample(trainer.runnable(), {7, 0.7, 1}, pixels.data());
                    EXPECT_EQ(training.memory.peak(), training.plan.bytes)
                        << to_string(memory) << " " << micro_batch << " " << init_batch << " "
                        << to_string(precision);
                }
}

// Products of the tiles after the first one add to the gradients, for which oneDNN may take more scratch; the
// last tile is smaller.
TEST(TrainerMemory, PlanCountsTilesBetweenFirstAndLast) {
    for (const index_t tile : {2, 3}) {
        TrainingOptions options =
            tile == 2 ? small_options(28, 52, 4, 1, 1, 32) : small_options(48, 16, 1, 1, 1, 28);
        options.tile = tile;
        options.batch = 2 * tile + 1;
        options.init_batch = tile;
        Training training(options);
        training.trainer.initialize(training.init_images.batch());
        training.trainer.step(training.images.batch(), update_of(1e-3));
        EXPECT_EQ(at(training.memory.peak(), Category::workspace),
                  at(training.plan.bytes, Category::workspace));
    }
}

TEST(TrainerMemory, ActivationsDoNotGrowWithDepth) {
    const Backend backend(Device::cpu, 2);
    const auto activations = [&](index_t depth, MemoryMode memory) {
        TrainingOptions options = small_options(32, 32, 3, 3, depth, 64);
        options.memory = memory;
        const MemoryBytes bytes = memory_plan(options, 6, backend).bytes;
        return at(bytes, Category::state) + at(bytes, Category::workspace) + at(bytes, Category::stored);
    };
    EXPECT_EQ(activations(4, MemoryMode::reconstruct), activations(32, MemoryMode::reconstruct));
    EXPECT_GT(activations(32, MemoryMode::checkpoint), 3 * activations(4, MemoryMode::checkpoint) / 2);
    EXPECT_GT(activations(32, MemoryMode::store), 4 * activations(4, MemoryMode::store));
}

TEST(TrainerMemory, FallbackPlanMatchesRetriedStep) {
    TrainingOptions options = small_options();
    options.drift_tolerance = 1e-300;
    Training training(options);
    training.random_start();
    EXPECT_THROW(training.trainer.step(training.images.batch(), update_of(0)), Error);
    EXPECT_EQ(at(training.memory.peak(), Category::stored), training.plan.fallback_stored);
    EXPECT_GT(training.plan.fallback_stored, at(training.plan.bytes, Category::stored));
}

// ---- Gradients -------------------------------------------------------------------------------------------

TEST(TrainerGradient, StoreAndCheckpointAreBitEqual) {
    TrainingOptions options = small_options();
    std::vector<std::vector<float>> gradients;
    std::vector<StepResult> results(4);
    for (const MemoryMode memory : {MemoryMode::store, MemoryMode::checkpoint, MemoryMode::reconstruct}) {
        options.memory = memory;
        Training training(options);
        gradients.push_back(training.random_start().gradient(&results[gradients.size()]));
    }
    EXPECT_TRUE(same_bits(gradients[0], gradients[1]));
    EXPECT_EQ(results[0].bits_per_dim, results[1].bits_per_dim);
    EXPECT_EQ(results[0].bits_per_dim, results[2].bits_per_dim);
    // Reconstructed states have errors of 1e-15; rarely one crosses a rounding boundary of a float input
    // (6e-8).
    EXPECT_LT(relative_l2(gradients[2], gradients[0]), 1e-6);
    EXPECT_LT(results[2].drift, 1e-7);
}

TEST(TrainerGradient, MicroBatchesSumToBatch) {
    TrainingOptions options = small_options();
    options.batch = 8;
    StepResult whole, parts;
    Training one(options);
    const std::vector<float> expected = one.random_start().gradient(&whole);
    for (const index_t micro_batch : {1, 3, 4}) {  // 3 leaves a remainder
        options.micro_batch = micro_batch;
        Training training(options);
        const std::vector<float> gradient = training.random_start().gradient(&parts);
        // The same images, with float sums in another order.
        EXPECT_LT(relative_l2(gradient, expected), 1e-6) << micro_batch;
        EXPECT_NEAR(parts.bits_per_dim, whole.bits_per_dim, 1e-7) << micro_batch;
        EXPECT_NEAR(parts.grad_norm, whole.grad_norm, 1e-6 * whole.grad_norm) << micro_batch;
    }
}

TEST(TrainerGradient, IsDerivativeOfLoss) {
    Training training(small_options());
    training.random_start();
    const std::vector<float> g = training.gradient(), start = training.copy(training.params());
    double squares = 0;
    for (const float value : g) squares += static_cast<double>(value) * value;
    const auto loss_at = [&](double t) {  // along the gradient
        for (std::size_t i = 0; i < g.size(); ++i)
            training.params()[i] = static_cast<float>(start[i] + t * g[i] / std::sqrt(squares));
        training.trainer.weights_changed();
        StepResult result;
        training.gradient(&result);
        return result.bits_per_dim;
    };
    const double t = 1e-3, slope = (loss_at(t) - loss_at(-t)) / (2 * t);
    // Error of the central difference: t^2 of the third derivative plus 1e-7 / t from float networks, below
    // 1e-3.
    EXPECT_NEAR(slope, std::sqrt(squares), 2e-3 * std::sqrt(squares));
}

TEST(TrainerGradient, NormMatchesGradient) {
    Training training(small_options());
    StepResult result;
    const std::vector<float> g = training.random_start().gradient(&result);
    double squares = 0;
    for (const float value : g) squares += static_cast<double>(value) * value;
    EXPECT_NEAR(result.grad_norm, std::sqrt(squares), 1e-12 * result.grad_norm);
}

TEST(TrainerGradient, ThreadsChangeOnlyRounding) {
    TrainingOptions options = small_options();
    Training one(options, 1), three(options, 3), again(options, 3);
    const std::vector<float> a = one.random_start().gradient(), b = three.random_start().gradient();
    EXPECT_LT(relative_l2(b, a), 1e-6);
    EXPECT_TRUE(same_bits(b, again.random_start().gradient()));  // and a number of threads fixes the bits
}

// ---- The whole step --------------------------------------------------------------------------------------

TEST(TrainerStep, IsDeterministic) {
    const TrainingOptions options = small_options();
    std::vector<std::vector<float>> ends;
    for (int run = 0; run < 2; ++run) {
        Training training(options);
        training.trainer.initialize(training.init_images.batch());
        for (int t = 0; t < 5; ++t) training.trainer.step(training.images.batch(), update_of(1e-3));
        ends.push_back(training.everything());
    }
    EXPECT_TRUE(same_bits(ends[0], ends[1]));
}

TEST(TrainerStep, EvaluatingBetweenStepsChangesNothing) {
    const TrainingOptions options = small_options();
    std::vector<std::vector<float>> ends;
    for (const bool disturb : {false, true}) {
        Training training(options);
        Trainer& trainer = training.trainer;
        trainer.initialize(training.init_images.batch());
        for (int t = 0; t < 4; ++t) {
            trainer.step(training.images.batch(), update_of(1e-3));
            if (!disturb) continue;
            trainer.use_ema(t % 2 == 0);
            std::vector<double> bits(4);
            evaluate(trainer.runnable(), training.images.batch(), {Dequantization::uniform, 1},
                     {.bits_per_dim = bits.data()});
            std::vector<std::uint8_t> pixels(3 * options.model.dimensions());
            sample(trainer.runnable(), {3, 0.7, 1}, pixels.data());
            trainer.check_usable();
        }
        ends.push_back(training.everything());
    }
    EXPECT_TRUE(same_bits(ends[0], ends[1]));
}

TEST(TrainerStep, ClippingOnlyScalesDown) {
    TrainingOptions options = small_options();
    StepResult result;
    Training training(options);
    const std::vector<float> whole = training.random_start().gradient(&result);
    for (const double share : {0.5, 0.999, 1.001, 1e6}) {
        options.clip_norm = share * result.grad_norm;
        Training clipping(options);
        StepResult clipped_result;
        std::vector<float> clipped = clipping.random_start().gradient(&clipped_result);
        EXPECT_EQ(clipped_result.grad_norm, result.grad_norm);  // what is reported is not clipped
        for (float& value : clipped) value = static_cast<float>(value / std::min(1.0, share));
        // Two roundings of a float.
        EXPECT_LT(relative_l2(clipped, whole), 2e-7) << share;
    }
}

TEST(TrainerStep, LowersLossOnRepeatedBatch) {
    Training training(small_options());
    training.trainer.initialize(training.init_images.batch());
    double first = 0, last = 0;
    for (int t = 0; t < 60; ++t) {
        last = training.trainer.step(training.images.batch(), update_of(2e-3)).bits_per_dim;
        if (t == 0) first = last;
    }
    EXPECT_LT(last, first - 0.1);
}

TEST(TrainerStep, EvaluationUsesRequestedWeights) {
    Training training(small_options());
    Trainer& trainer = training.trainer;
    training.random_start();
    StepResult step;
    training.gradient(&step);  // lr 0: weights are unchanged
    for (std::size_t i = 0; i < training.copy(training.params()).size(); ++i)
        trainer.weights().ema[i] *= 1.1f;
    std::vector<double> raw(4), ema(4);
    const Noise noise{Dequantization::uniform, training.options.seed, Purpose::dequantize, nullptr};
    for (const bool averaged : {true, false}) {
        trainer.use_ema(averaged);
        evaluate(trainer.runnable(), training.images.batch(), noise,
                 {.bits_per_dim = (averaged ? ema : raw).data()});
    }
    EXPECT_NEAR(mean_of(raw.data(), 4).value, step.bits_per_dim, 1e-12);
    EXPECT_GT(std::abs(mean_of(ema.data(), 4).value - step.bits_per_dim), 1e-3);
}

TEST(TrainerInitialization, NormalizesFirstActnorm) {
    TrainingOptions options = small_options();
    options.dequant = Dequantization::center;
    Training training(options);
    Trainer& trainer = training.trainer;
    trainer.initialize(training.init_images.batch());
    EXPECT_TRUE(same_bits(training.copy(trainer.weights().ema), training.copy(training.params())));
    const index_t N = training.init_images.N, C = 12, pixels = 4 * 6;
    const Tensor &bias = training.tensor("level0/step0/actnorm/bias"),
                 &logs = training.tensor("level0/step0/actnorm/logs");
    Flow flow = trainer.buffers().flow(N);
    dequantize(trainer.context().exec, {N, pixels * C, 8, training.init_images.pixels.data()},
               {.kind = Dequantization::center}, flow.h);
    trainer.glow().levels()[0].squeeze.forward(trainer.context(), flow);
    for (index_t c = 0; c < C; ++c) {
        double mean = 0, squares = 0;
        for (index_t i = 0; i < N * pixels; ++i) mean += flow.h[i * C + c] / static_cast<double>(N * pixels);
        for (index_t i = 0; i < N * pixels; ++i)
            squares += std::pow(flow.h[i * C + c] - mean, 2) / static_cast<double>(N * pixels);
        EXPECT_NEAR(training.params()[bias.offset + c], -mean, 1e-7);
        EXPECT_NEAR(3 * training.params()[logs.offset + c], -std::log(std::sqrt(squares) + 1e-6), 1e-6);
    }
}

// ---- Drift -----------------------------------------------------------------------------------------------

// Channel mixings from step `first` on that shrink half of their outputs, so that the inverse magnifies
// rounding.
void make_ill_conditioned(Training& training, index_t first, double factor) {
    for (const Tensor& tensor : training.tensors()) {
        const std::size_t step = tensor.name.find("/step");
        if (tensor.name.find("invconv") == std::string::npos ||
            std::stoll(tensor.name.substr(step + 5)) < first)
            continue;
        const index_t C = tensor.shape[0];
        for (index_t o = 0; o < C; o += 2)
            for (index_t i = 0; i < C; ++i)
                training.params()[tensor.offset + o * C + i] /= static_cast<float>(factor);
    }
    training.trainer.reset_optimizer();
}

TEST(TrainerDrift, ImpossibleToleranceIsError) {
    TrainingOptions options = small_options();
    options.drift_tolerance = 1e-300;
    for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::checkpoint, MemoryMode::store}) {
        options.memory = memory;
        Training training(options);
        training.random_start();
        const std::vector<float> before = training.everything();
        expect_throw<Error>([&] { training.trainer.step(training.images.batch(), update_of(1e-3)); },
                            {"reconstructed images differ", "--drift-tolerance"});
        EXPECT_TRUE(same_bits(training.everything(), before)) << to_string(memory);
    }
}

// A plan that stores every network's maps must also leave room for recomputing them.
TEST(TrainerDrift, RedoesStepThatStoredAllMaps) {
    TrainingOptions options = small_options(8, 8, 3, 1, 8, 8);
    options.memory = MemoryMode::automatic;
    options.act_budget = index_t{1} << 30;
    options.batch = 64;
    Training training(options);
    ASSERT_EQ(training.trainer.policy().last_maps, std::vector<index_t>{8});
    training.random_start();
    make_ill_conditioned(training, 0, 60);
    StepResult rescued;
    training.gradient(&rescued);
    EXPECT_EQ(rescued.policy.anchor_every, 1);
    EXPECT_LT(rescued.drift, 1e-5);
}

TEST(TrainerDrift, RedoesStepWithAllStatesSaved) {
    TrainingOptions options = small_options(8, 8, 3, 1, 8, 8);
    Training training(options);
    training.random_start();
    make_ill_conditioned(training, 0, 60);
    StepResult rescued;
    const std::vector<float> gradient = training.gradient(&rescued);
    EXPECT_EQ(rescued.policy.anchor_every, 1);
    EXPECT_LT(rescued.drift, 1e-5);
    EXPECT_GT(rescued.max_condition, 60);

    // It drifted...
    options.drift_tolerance = 1e30;
    Training drifting(options);
    drifting.random_start();
    make_ill_conditioned(drifting, 0, 60);
    StepResult drifted;
    drifting.gradient(&drifted);
    EXPECT_EQ(drifted.policy.anchor_every, 0);
    EXPECT_GT(drifted.drift, 1e-5);

    // ... and the retried step equals a step with every state saved.
    options.memory = MemoryMode::checkpoint;
    Training exact(options);
    exact.random_start();
    make_ill_conditioned(exact, 0, 60);
    EXPECT_TRUE(same_bits(exact.gradient(), gradient));
}

// As on a GPU, where untouched memory counts as used.
TEST(TrainerDrift, FallbackAllocatesMemoryOnDemand) {
    TrainingOptions options = small_options(8, 8, 3, 1, 8, 8);
    Training exact(options);
    exact.random_start();
    make_ill_conditioned(exact, 0, 60);
    const std::vector<float> gradient = exact.gradient(), weights = exact.copy(exact.params());

    const Backend backend(Device::cpu, 2);
    const MemoryPlan plan = memory_plan(options, options.init_batch, backend);
    ASSERT_LT(at(plan.bytes, Category::stored), plan.fallback_stored);
    Memory memory(Device::cpu, plan.bytes);
    memory[Category::stored].reserve(plan.fallback_stored);
    Trainer trainer(options, backend, memory);
    trainer.initialize(exact.init_images.batch());
    std::copy(weights.begin(), weights.end(), trainer.weights().params);
    trainer.reset_optimizer();
    OptimizerStep update;
    update.beta1 = 0;              // m = g
    for (int t = 0; t < 2; ++t) {  // the second step already starts in the larger memory
        const StepResult result = trainer.step(exact.images.batch(), update);
        EXPECT_EQ(result.policy.anchor_every, 1);
        EXPECT_TRUE(same_bits(exact.copy(trainer.weights().m), gradient));
    }
    EXPECT_EQ(at(memory.peak(), Category::stored), plan.fallback_stored);
}

TEST(TrainerDrift, FirstFallbackIsAnchorsEverySixteenSteps) {
    const TrainingOptions options = small_options(4, 4, 3, 1, 24, 8);
    Training training(options);
    training.random_start(3, 0.005);
    make_ill_conditioned(training, 12, 20);
    StepResult result;
    training.gradient(&result);
    EXPECT_EQ(result.policy.anchor_every, 16);
    EXPECT_LT(result.drift, 1e-5);
}

// ---- Failures --------------------------------------------------------------------------------------------

TEST(TrainerFailure, NaNNamesLayerAndKeepsWeights) {
    Training training(small_options());
    training.random_start();
    const std::vector<float> good = training.copy(training.params());
    for (const Tensor& tensor : training.tensors()) {
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            std::copy(good.begin(), good.end(), training.params());
            training.params()[tensor.offset + tensor.count / 2] = bad;
            training.trainer.weights_changed();
            const std::vector<float> before = training.everything();
            // "level0/step1", "level0/split", "prior/top"
            const std::string layer = tensor.name.substr(0, tensor.name.find('/', tensor.name.find('/') + 1));
            SCOPED_TRACE(tensor.name + " = " + std::to_string(bad));
            expect_throw<Error>([&] { training.trainer.step(training.images.batch(), update_of(1e-3)); },
                                {layer});
            EXPECT_TRUE(same_bits(training.everything(), before));
        }
    }
}

TEST(TrainerFailure, SingularMixingNamesLayer) {
    Training training(small_options());
    training.random_start();
    const Tensor& W = training.tensor("level1/step1/invconv/weight");
    std::fill_n(training.params() + W.offset, W.shape[0], 0.0f);  // a row
    training.trainer.weights_changed();
    const std::vector<float> before = training.everything();
    expect_throw<Error>([&] { training.trainer.step(training.images.batch(), update_of(1e-3)); },
                        {"level1/step1", "singular"});
    EXPECT_TRUE(same_bits(training.everything(), before));
}

TEST(TrainerFailure, HugeLearningRateNamesLayer) {
    for (const double lr : {1e3, 1e6, 1e30}) {
        Training training(small_options());
        training.trainer.initialize(training.init_images.batch());
        std::vector<float> before;
        std::string message;
        for (int t = 0; t < 10 && message.empty(); ++t) {
            before = training.everything();
            try {
                training.trainer.step(training.images.batch(), update_of(lr));
            } catch (const InputError&) {
                FAIL() << "a failure at run time, not bad input";
            } catch (const Error& error) {
                message = error.what();
            }
        }
        EXPECT_NE(message.find("--lr"), std::string::npos) << message;
        EXPECT_TRUE(message.find("level") != std::string::npos || message.find("prior/") != std::string::npos)
            << message;
        EXPECT_TRUE(same_bits(training.everything(), before));
    }
}

TEST(TrainerFailure, UnusualImagesAreFineUnusualWeightsAreNot) {
    for (const index_t micro_batch : {0, 3}) {
        TrainingOptions options = small_options();
        options.batch = 5;
        options.micro_batch = micro_batch;
        Training training(options);
        training.random_start();
        OptimizerStep nothing;
        nothing.lr_t = 0;
        const auto loss = [&](const Limits& limits) {
            return training.trainer.step(training.images.batch(), nothing, limits).loss;
        };
        const double usual = loss({});
        const index_t D = options.model.dimensions();
        for (index_t i = 0; i < 2 * D; ++i)  // two of five
            training.images.pixels[static_cast<std::size_t>(D + i)] = i % 2 == 0 ? 0 : 255;
        const double strange = loss({});
        ASSERT_GT(strange, usual + 0.5);
        EXPECT_EQ(loss({.loss = (usual + strange) / 2}), strange);
        for (index_t i = 0; i < D; ++i)  // three
            training.images.pixels[static_cast<std::size_t>(3 * D + i)] = i % 2 == 0 ? 0 : 255;
        expect_throw<StepFailure>([&] { loss({.loss = (usual + strange) / 2}); },
                                  {"the loss jumps to", "above"});
        const std::vector<float> before = training.everything();
        expect_throw<StepFailure>([&] { loss({.condition = 1}); },
                                  {"the condition number of level", "jumps to", "above 1"});
        EXPECT_TRUE(same_bits(training.everything(), before));
    }
}

TEST(TrainerFailure, UnusableWeightsAreNotSaved) {
    Training training(small_options());
    training.random_start();
    EXPECT_NO_THROW(training.trainer.check_usable());
    const Weights& w = training.trainer.weights();
    const std::pair<float*, std::string> trees[] = {
        {w.params, "/params/"}, {w.ema, "/ema/"}, {w.m, "/optimizer/m/"}, {w.v, "/optimizer/v/"}};
    const Tensor& tensor = training.tensor("level0/split/bias");
    for (const auto& [values, tree] : trees) {
        float& value = values[tensor.offset];
        const float good = std::exchange(value, std::numeric_limits<float>::infinity());
        training.trainer.weights_changed();
        expect_throw<Error>([&] { training.trainer.check_usable(); }, {tree + tensor.name, "not finite"});
        value = good;
        training.trainer.weights_changed();
    }
    const Tensor& W = training.tensor("level0/step1/invconv/weight");
    std::fill_n(w.ema + W.offset, W.shape[0], 0.0f);
    training.trainer.weights_changed();
    expect_throw<Error>([&] { training.trainer.check_usable(); }, {"level0/step1", "singular"});
}

// One of two processes, whose sums do nothing.
struct SumsInFlight : Communicator {
    SumsInFlight() : Communicator({.rank = 0, .size = 2, .hosts = {"", ""}}) {}
    void all_reduce_async(const Exec&, index_t, float*, void*) override { ++running; }
    void finish_all_reduces(const Exec&) override { running = 0; }
    int running = 0;
};

// Runs out of memory while a sum is in flight.
struct FailsDuringSum : Blas {
    explicit FailsDuringSum(const SumsInFlight& sums) : sums(sums), blas(make_cpu_blas(1)) {}
    std::size_t scratch_bytes(const Gemm& gemm) override { return blas->scratch_bytes(gemm); }
    void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        if (sums.running > 0) throw std::bad_alloc();
        blas->run(gemm, a, b, c, data, scratch);
    }
    bool has_bf16() const override { return blas->has_bf16(); }
    const SumsInFlight& sums;
    std::unique_ptr<Blas> blas;
};

TEST(TrainerFailure, SumsEndBeforeTheirMemoryIsFreed) {
    TrainingOptions options = small_options(8, 8, 3, 2, 2, 512);  // more parameters than a bucket has
    for (const bool fused : {false, true}) {
        options.fused_update = fused;
        SumsInFlight sums;
        const Backend backend(Device::cpu, 1, 0, &sums, nullptr, std::make_unique<FailsDuringSum>(sums));
        const MemoryPlan plan = memory_plan(options, options.init_batch, backend);
        Memory memory(Device::cpu, capacity_of(plan, Device::cpu));
        const Images images(2, options.model);
        {
            Trainer trainer(options, backend, memory);
            trainer.initialize(images.batch());
            EXPECT_THROW(trainer.step(images.batch(), update_of(0)), std::bad_alloc);
            EXPECT_GT(sums.running, 0);
        }
        EXPECT_EQ(sums.running, 0) << fused;
    }
}

TEST(TrainerFailure, MissingHardwareIsBadInput) {
    TrainingOptions options = small_options();
    options.precision = Precision::tf32;
    expect_throw<InputError>([&] { Training training(options); }, {"tf32"});
}

}  // namespace
}  // namespace glow
