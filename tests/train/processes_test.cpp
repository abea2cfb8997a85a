// A trainer on several processes against a single one, in every process: equal statistics, gradients and
// decisions. Every process runs the same tests; the launcher sets their number.
#include <cmath>

#include "data/dataset.h"
#include "tests/train/hooked_run.h"
#include "tests/train/training.h"
#include "train/memory_plan.h"
#include "train/run.h"

namespace glow {
namespace {

Communicator* g_processes = nullptr;  // opened by main()

// This process's slice of the images.
Batch slice_of_images(const Images& images, const ModelConfig& model) {
    const Slice mine = g_processes->slice(images.N);
    return images.batch().slice(mine.first, mine.count, model.dimensions());
}

struct Shared {
    explicit Shared(const TrainingOptions& options)
        : options(options),
          backend(Device::cpu, 1, 0, g_processes),
          plan(memory_plan(options, options.init_batch, backend)),
          memory(Device::cpu, capacity_of(plan, Device::cpu)),
          trainer(options, backend, memory) {}
    std::vector<float> copy(const float* values) {
        return {values, values + trainer.glow().parameters().size()};
    }
    TrainingOptions options;
    Backend backend;
    MemoryPlan plan;
    Memory memory;
    Trainer trainer;
};

// Both trainers, initialized and moved off the initial weights in the same way.
struct Pair {
    explicit Pair(const TrainingOptions& options) : alone(options, 1), shared(options) {
        alone.trainer.initialize(alone.init_images.batch());
        shared.trainer.initialize(slice_of_images(alone.init_images, options.model));
        initialized_alone = alone.copy(alone.params());
        initialized_shared = shared.copy(shared.trainer.weights().params);
        alone.random_start();
        std::copy_n(alone.params(), initialized_alone.size(), shared.trainer.weights().params);
        shared.trainer.reset_optimizer();
    }
    StepResult step_shared(const OptimizerStep& update = {}) {
        return shared.trainer.step(slice_of_images(alone.images, alone.options.model), update);
    }
    Training alone;
    Shared shared;
    std::vector<float> initialized_alone, initialized_shared;
};

TrainingOptions options_of(index_t batch) {
    TrainingOptions options = small_options();
    options.batch = batch;
    options.init_batch = batch + 1;
    return options;
}

// Initialization and a step on all processes give the parameters, loss and gradient of a single process, the
// same bits on every rank.
void expect_step_of_single_process(const TrainingOptions& options) {
    Pair pair(options);
    EXPECT_LT(relative_l2(pair.initialized_shared, pair.initialized_alone), 1e-6);  // a float's rounding
    StepResult alone;
    const std::vector<float> gradient = pair.alone.gradient(&alone);
    OptimizerStep update;
    update.beta1 = 0;  // m = g
    const StepResult shared = pair.step_shared(update);
    EXPECT_LT(relative_l2(pair.shared.copy(pair.shared.trainer.weights().m), gradient), 1e-5);
    EXPECT_NEAR(shared.bits_per_dim, alone.bits_per_dim, 1e-9);  // sums of doubles
    EXPECT_NEAR(shared.grad_norm / alone.grad_norm, 1, 1e-5);
    EXPECT_EQ(g_processes->all_reduce_max(shared.bits_per_dim), shared.bits_per_dim);
    EXPECT_EQ(g_processes->all_reduce_max(shared.grad_norm), shared.grad_norm);
    EXPECT_EQ(g_processes->all_reduce_max(shared.drift), shared.drift);
    EXPECT_NO_THROW(pair.shared.trainer.check_replicas_equal());
}

// More images than processes, and fewer.
TEST(DistributedTrainer, MatchSingleProcess) {
    for (const index_t batch : {7, 2}) expect_step_of_single_process(options_of(batch));
}

TEST(DistributedTrainer, VariationalNoiseMatchesSingleProcess) {
    TrainingOptions options = options_of(7);
    options.dequant = Dequantization::variational;
    options.model.dequant_depth = 2;
    options.model.dequant_width = 6;
    expect_step_of_single_process(options);
}

// All-reduce block by block during backward, then the same updates; also if a process has no images.
TEST(DistributedTrainer, FusedUpdatesAreBitEqual) {
    for (const index_t batch : {7, 2})
        for (const MomentPrecision moments : {MomentPrecision::fp32, MomentPrecision::bf16}) {
            TrainingOptions options = options_of(batch);
            options.moments = moments;
            Pair plain(options);
            options.fused_update = true;
            Pair fused(options);
            OptimizerStep update;
            update.lr_t = 1e-3;
            update.ema_rate = 0.5;
            for (int t = 0; t < 3; ++t) {
                const StepResult expected = plain.step_shared(update), found = fused.step_shared(update);
                EXPECT_EQ(found.loss, expected.loss);
                EXPECT_NEAR(found.grad_norm / expected.grad_norm, 1, 1e-12);
            }
            const Weights &expected = plain.shared.trainer.weights(), &found = fused.shared.trainer.weights();
            EXPECT_TRUE(same_bits(fused.shared.copy(found.params), plain.shared.copy(expected.params)));
            EXPECT_TRUE(same_bits(fused.shared.copy(found.ema), plain.shared.copy(expected.ema)));
            EXPECT_NO_THROW(fused.shared.trainer.check_replicas_equal());
            // Memory for two blocks of gradients, or one in a single process.
            const std::size_t bytes = at(fused.shared.memory.peak(), Category::gradients);
            index_t largest = 0;
            for (const ParameterBlock& block : fused.shared.trainer.glow().blocks())
                largest = std::max(largest, block.count);
            EXPECT_EQ(bytes,
                      static_cast<std::size_t>(largest) * sizeof(float) * (g_processes->size() > 1 ? 2 : 1));
        }
}

TEST(DistributedTrainer, PlanIncludesCommunication) {
    for (const bool fused : {false, true}) {
        TrainingOptions options = options_of(7);
        options.fused_update = fused;
        Pair pair(options);
        pair.step_shared();
        pair.shared.trainer.check_replicas_equal();
        const MemoryBytes peak = pair.shared.memory.peak();
        for (int c = 0; c < kCategories; ++c)
            EXPECT_LE(peak[c], pair.shared.plan.bytes[c]) << kCategoryNames[c];
        if (g_processes->is_root()) {
            EXPECT_EQ(peak, pair.shared.plan.bytes);
        }
        EXPECT_EQ(at(peak, Category::communication) > 0, g_processes->size() > 1);
    }
}

TEST(DistributedTrainer, DriftOnOneRankDiscardsStepOnAll) {
    TrainingOptions options = options_of(7);
    options.fused_update = true;
    options.drift_tolerance = 1e-300;
    Pair pair(options);
    EXPECT_THROW(pair.step_shared(), DriftError);
    EXPECT_EQ(pair.shared.trainer.policy().anchor_every, 16);
    EXPECT_EQ(g_processes->all_reduce_sum(1), g_processes->size());
}

TEST(DistributedTrainer, DriftOnOneRankRetriesStepOnAll) {
    TrainingOptions options = options_of(7);
    options.drift_tolerance = 1e-300;
    Pair pair(options);
    EXPECT_THROW(pair.step_shared(), Error);
    EXPECT_EQ(g_processes->all_reduce_sum(1), g_processes->size());  // no rank still waits in the step
}

TEST(DistributedTrainer, RanksAgreeOnNonFiniteLoss) {
    Pair pair(options_of(7));
    const Tensor& logs = pair.alone.tensor("level0/split/logs");
    pair.shared.trainer.weights().params[logs.offset] = 300;  // exp(900) overflows
    pair.shared.trainer.weights_changed();
    std::string message;
    try {
        pair.step_shared();
    } catch (const Error& error) {
        message = error.what();
    }
    EXPECT_NE(message.find("the loss is not finite: after level0/split"), std::string::npos) << message;
    EXPECT_EQ(broadcast_text(*g_processes, message), message);
}

TEST(DistributedTrainer, NamesRankThatDiffers) {
    if (g_processes->size() == 1) GTEST_SKIP() << "one process is equal to itself";
    Pair pair(options_of(7));
    const int last = g_processes->size() - 1;
    const Tensor& tensor = pair.alone.tensor("level0/step1/coupling/conv2/weight");
    const Weights& weights = pair.shared.trainer.weights();
    for (float* const values : {weights.params, weights.ema, weights.m, weights.v}) {
        float& value = values[tensor.offset + tensor.count - 1];
        const float before = value;
        if (g_processes->rank() == last) value = std::nextafter(value, 1e30f);
        std::string message;
        try {
            pair.shared.trainer.check_replicas_equal();
        } catch (const Error& error) {
            message = error.what();
        }
        EXPECT_NE(message.find("level0/step1/coupling/conv2/weight of rank " + std::to_string(last)),
                  std::string::npos)
            << message;
        value = before;
        pair.shared.trainer.check_replicas_equal();
    }
}

// As in faulty memory: a weight that is not finite, or a W whose condition number is too large, on one rank.
TEST(DistributedTrainer, BadWeightOfOneRankFailsOnAll) {
    if (g_processes->size() == 1) GTEST_SKIP() << "one process is equal to itself";
    for (const bool fused : {false, true})
        for (const int bad : {0, g_processes->size() - 1})
            for (const auto& [name, value] : {std::pair{"level0/split/logs", NAN},
                                              {"level0/step1/invconv/weight", NAN},
                                              {"level0/step1/invconv/weight", 1e6f}}) {
                TrainingOptions options = options_of(7);
                options.fused_update = fused;
                Limits limits;
                if (std::isfinite(value)) limits.condition = 1e4;
                Pair pair(options);
                if (g_processes->rank() == bad)
                    pair.shared.trainer.weights().params[pair.alone.tensor(name).offset] = value;
                pair.shared.trainer.weights_changed();
                std::string message;
                try {
                    pair.shared.trainer.step(slice_of_images(pair.alone.images, options.model), {}, limits);
                } catch (const Error& error) {
                    message = error.what();
                }
                EXPECT_NE(message.find(" differs from rank 0"), std::string::npos) << name << ": " << message;
                EXPECT_EQ(broadcast_text(*g_processes, message), message);
            }
}

// A folder of all ranks with a data set of 8x8 images, and requests to train on it. Its end waits for all.
class SharedRun {
  public:
    SharedRun(index_t train, index_t valid) : folder_(broadcast_text(*g_processes, own_.path().string())) {
        if (g_processes->is_root()) {
            DatasetInfo info;
            info.H = info.W = 8;
            info.C = 3;
            DatasetWriter writer(folder_ / "d.h5", info);
            const Images images(train + valid, small_options(8, 8).model, 7);
            writer.append("train", train, images.pixels.data(), nullptr);
            if (valid > 0) writer.append("valid", valid, images.pixels.data() + train * 8 * 8 * 3, nullptr);
            writer.commit();
        }
        g_processes->barrier();
    }
    ~SharedRun() { g_processes->barrier(); }
    SharedRun(const SharedRun&) = delete;
    SharedRun& operator=(const SharedRun&) = delete;

    HookedRun request(index_t steps, const std::string& out = "run") const {
        HookedRun request;
        request.options = small_options(8, 8, 3, 2, 2, 8);
        request.options.data = (folder_ / "d.h5").string();
        request.options.out = (folder_ / out).string();
        request.options.batch = 7;
        request.options.threads = 1;
        request.options.max_steps = steps;
        request.processes = g_processes;
        return request;
    }
    bool has(const std::string& name) const { return std::filesystem::exists(folder_ / "run" / name); }

  private:
    TemporaryFolder own_;
    std::filesystem::path folder_;
};

// An update that makes the weights unusable; root, which audits, sees it first.
TEST(DistributedTrainer, AllRanksRollBackAfterAudit) {
    const SharedRun shared(40, 0);
    HookedRun request = shared.request(4);
    request.options.model.permutation = Permutation::invconv_lu;
    request.options.lr = 1e30;
    request.options.rollback_lr = 1e-33;
    request.options.audit_every = 1;
    const RunResult result = run_training(request);
    EXPECT_EQ(result.rollbacks, 1);
    EXPECT_EQ(result.progress.step, 4);
}

// Clocks that differ, and a decay that ends with the run's recorded minutes, which do not limit this part.
TEST(DistributedTrainer, DecayByMinutesUsesOneClock) {
    const SharedRun shared(40, 0);
    HookedRun request = shared.request(4);
    request.options.checkpoint_every = {2, false};
    request.options.lr_schedule = LrSchedule::cosine;
    request.recorded_limits = RunLimits{0, 1};
    request.hooks.minutes = [minutes = 0.0]() mutable { return minutes += 0.01 * (g_processes->rank() + 1); };
    EXPECT_EQ(run_training(request).progress.step, 4);
}

// A stop that only the last process asks for, after the last step.
TEST(DistributedTrainer, AllRanksStopDuringFinalValidation) {
    const SharedRun shared(33, 7);
    HookedRun request = shared.request(2);
    int asked = 0;  // before each step, and after the last
    request.stop = [&] { return ++asked > 3 && g_processes->rank() == g_processes->size() - 1; };
    const RunResult stopped = run_training(request);
    EXPECT_EQ(stopped.ended, RunEnd::signal);
    EXPECT_EQ(stopped.progress.step, 2);
    EXPECT_FALSE(stopped.valid_ema);
    request.resume = true;
    request.stop = nullptr;
    const RunResult rest = run_training(request);
    EXPECT_EQ(rest.ended, RunEnd::max_steps);
    EXPECT_EQ(rest.progress.step, 2);
    EXPECT_TRUE(rest.valid_ema);
    EXPECT_TRUE(shared.has("samples/step-00000002.png"));
}

// A whole run with a single fault injected on every process.
TEST(DistributedTrainer, AllRanksRollBack) {
    const SharedRun shared(40, 0);
    HookedRun request = shared.request(9);
    request.options.checkpoint_every = {3, false};
    request.options.rollback_lr = 0.5;
    request.hooks.before_step = [done = false](index_t t, Trainer& trainer) mutable {
        if (t != 8 || std::exchange(done, true)) return;
        for (const Tensor& tensor : trainer.glow().parameters().tensors())  // exp(900) overflows
            if (tensor.name == "level0/split/logs") trainer.weights().params[tensor.offset] = 300;
        trainer.weights_changed();
    };
    const RunResult result = run_training(request);
    EXPECT_EQ(result.rollbacks, 1);
    EXPECT_EQ(result.lr_scale, 0.5);
    EXPECT_EQ(result.progress.step, 9);
    EXPECT_TRUE(std::isfinite(result.bits_per_dim));
    const double bits = result.bits_per_dim;
    EXPECT_EQ(g_processes->all_reduce_max(bits), bits);
    EXPECT_TRUE(shared.has("trouble/step-00000008-1.json"));
}

// A stop that only the last process asks for, in the middle of a validation. The processes have different
// numbers of validation images and micro-batches, or none.
TEST(DistributedTrainer, AllRanksStopDuringValidation) {
    const SharedRun shared(33, 7);
    for (const index_t batch : {3, 8}) {
        HookedRun request = shared.request(4, "run" + std::to_string(batch));
        request.options.batch = batch;
        request.options.eval_every = {2, false};
        request.options.sample_every = {2, false};
        bool validates = false;
        int asked = 0;
        request.hooks.before_step = [&](index_t t, Trainer&) { validates = t == 2; };
        request.stop = [&] {
            return validates && ++asked >= 2 && g_processes->rank() == g_processes->size() - 1;
        };
        const RunResult stopped = run_training(request);
        EXPECT_EQ(stopped.ended, RunEnd::signal);
        EXPECT_EQ(stopped.progress.step, 2);
        EXPECT_FALSE(stopped.valid_ema);
        request.resume = true;
        request.stop = nullptr;
        const RunResult rest = run_training(request);
        EXPECT_EQ(rest.progress.step, 4);
        EXPECT_TRUE(rest.valid_ema);
        g_processes->barrier();
    }
}

}  // namespace
}  // namespace glow

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    const auto processes = glow::open_communicator(glow::CommunicatorKind::automatic, glow::Device::cpu);
    glow::g_processes = processes.get();
    if (!processes->is_root()) testing::GTEST_FLAG(brief) = true;
    const int failed = RUN_ALL_TESTS();
    return processes->all_reduce_max(failed) > 0 ? 1 : 0;
}
