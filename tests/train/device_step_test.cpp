// Training on a GPU against the CPU, and what can be tested without a GPU: the memory plan.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "inference/evaluate.h"
#include "inference/host_weights.h"
#include "inference/model_file.h"
#include "inference/sample.h"
#include "kernels/error.h"
#include "runtime/device.h"
#include "tests/train/training.h"
#include "train/batch_prefetcher.h"
#include "train/memory_plan.h"
#include "train/schedule.h"

namespace glow {
namespace {

// A trainer on any device, with memory of exactly the planned size.
struct OnDevice {
    OnDevice(const TrainingOptions& options, Device device, LaunchObserver* observer = nullptr)
        : options(options),
          backend(observed(device, observer)),
          memory(device, capacity_of(memory_plan(options, options.init_batch, backend), Device::cpu)),
          trainer(options, backend, memory),
          images(options.batch, options.model, 2) {}

    static Backend observed(Device device, LaunchObserver* observer) {
        Backend backend(device, 2);
        backend.set_observer(observer);
        return backend;
    }
    void start() {
        Images init(options.init_batch, options.model, 1);
        trainer.initialize(init.batch());
    }
    std::vector<double> losses(int steps) {
        const Schedule schedule = make_schedule(options, 1000);
        std::vector<double> losses;
        for (int t = 1; t <= steps; ++t) {
            last = trainer.step(images.batch(), optimizer_at(options, schedule, {t}));
            losses.push_back(last.loss);
        }
        return losses;
    }
    std::vector<float> params() {
        HostWeights host(backend.exec(), trainer.glow().parameters(), trainer.weights());
        host.fetch();
        return {host.get().params, host.get().params + trainer.glow().parameters().size()};
    }

    TrainingOptions options;
    Backend backend;
    Memory memory;
    Trainer trainer;
    Images images;
    StepResult last;
};

class DeviceStep : public testing::Test {
  protected:
    void SetUp() override {
        if (!cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
    }
};

TrainingOptions options_with(Precision precision, index_t micro_batch = 0) {
    TrainingOptions options = small_options();
    options.precision = precision;
    options.micro_batch = micro_batch;
    options.warmup_epochs = 0;
    options.model.width = 16;
    return options;
}

// Losses of the first steps differ by rounding of float networks, amplified by two updates.
TEST_F(DeviceStep, TrainsLikeCpu) {
    for (const index_t micro_batch : {0, 3}) {
        OnDevice cpu(options_with(Precision::fp32, micro_batch), Device::cpu),
            gpu(options_with(Precision::fp32, micro_batch), Device::cuda);
        cpu.start();
        gpu.start();
        const std::vector<double> expected = cpu.losses(3), found = gpu.losses(3);
        for (std::size_t t = 0; t < 3; ++t) EXPECT_NEAR(found[t], expected[t], 1e-4 * expected[t]) << t;
        EXPECT_NEAR(gpu.last.grad_norm, cpu.last.grad_norm, 1e-2 * cpu.last.grad_norm);
        EXPECT_LE(gpu.last.drift, 1e-5);
        EXPECT_LE(total(gpu.memory.peak()), total(memory_plan(gpu.options, 6, gpu.backend).bytes));
    }
}

TEST_F(DeviceStep, GraphStepIsBitEqual) {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
        for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::store})
            for (const index_t micro_batch : {0, 3}) {
                TrainingOptions options = options_with(precision, micro_batch);
                options.memory = memory;
                OnDevice recorded(options, Device::cuda);
                options.graph = false;
                OnDevice plain(options, Device::cuda);
                recorded.start();
                plain.start();
                EXPECT_EQ(recorded.losses(5), plain.losses(5))
                    << to_string(precision) << to_string(memory) << micro_batch;
                EXPECT_EQ(recorded.params(), plain.params())
                    << to_string(precision) << to_string(memory) << micro_batch;
            }
}

// Prefetched images equal those that the step uploads itself.
TEST_F(DeviceStep, UsesPrefetchedBatches) {
    for (const index_t micro_batch : {0, 3}) {
        const TrainingOptions options = options_with(Precision::fp32, micro_batch);
        OnDevice uploaded(options, Device::cuda), host(options, Device::cuda);
        uploaded.start();
        host.start();
        Arena arena(Device::cuda, Category::state, std::size_t{1} << 20);
        BatchPrefetcher batches(uploaded.backend.exec(), Device::cuda, arena, options.model, options.batch,
                                options.batch, [&](index_t) { return uploaded.images.batch(); });
        const Schedule schedule = make_schedule(options, 1000);
        std::vector<double> losses;
        for (int t = 1; t <= 4; ++t)
            losses.push_back(
                uploaded.trainer.step(batches.next(), optimizer_at(options, schedule, {t})).loss);
        EXPECT_EQ(losses, host.losses(4));
        EXPECT_EQ(uploaded.params(), host.params());
    }
}

TEST_F(DeviceStep, IsDeterministic) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
        OnDevice once(options_with(precision), Device::cuda), again(options_with(precision), Device::cuda);
        once.start();
        again.start();
        EXPECT_EQ(once.losses(4), again.losses(4)) << to_string(precision);
        EXPECT_EQ(once.params(), again.params()) << to_string(precision);
    }
}

// Fails at a kernel while `armed`.
class FailingLaunch : public LaunchObserver {
  public:
    explicit FailingLaunch(std::string kernel) : kernel_(std::move(kernel)) {}
    void launch(const char* name, double) override {
        if (armed && name == kernel_) throw InputError("no memory left");
    }
    bool armed = false;

  private:
    const std::string kernel_;
};

class FailedStep : public testing::TestWithParam<Device> {
  protected:
    void SetUp() override {
        if (GetParam() == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
    }
};
INSTANTIATE_TEST_SUITE_P(Devices, FailedStep, testing::Values(Device::cpu, Device::cuda),
                         [](const auto& info) { return to_string(info.param); });

// A step that fails in forward or backward can be repeated, whether it ran directly (the first) or was being
// captured as a graph (the second). With fused updates the failed step may have changed weights, so the run
// continues with other losses.
TEST_P(FailedStep, CanBeRepeated) {
    struct Case {
        bool fused;
        const char* kernel;  // of forward, or of the end of backward
        int failing;
    };
    for (const Case& c : {Case{false, "squeeze", 1},
                          {false, "sum_log_density", 1},
                          {false, "sum_log_density", 2},
                          {true, "sum_log_density", 2}}) {
        SCOPED_TRACE(testing::Message() << c.kernel << " in step " << c.failing << ", fused " << c.fused);
        TrainingOptions options = options_with(Precision::fp32);
        options.fused_update = c.fused;
        FailingLaunch launches(c.kernel);
        OnDevice undisturbed(options, GetParam()), device(options, GetParam(), &launches);
        undisturbed.start();
        device.start();
        const std::vector<double> losses = undisturbed.losses(3);
        const Schedule schedule = make_schedule(options, 1000);
        for (int t = 1; t <= 3; ++t) {
            const auto step = [&] {
                return device.trainer.step(device.images.batch(), optimizer_at(options, schedule, {t}));
            };
            if (t == c.failing) {
                launches.armed = true;
                EXPECT_THROW(step(), InputError);
                launches.armed = false;
            }
            const double loss = step().loss;
            if (!c.fused) {
                EXPECT_EQ(loss, losses[static_cast<std::size_t>(t - 1)]) << t;
            }
        }
        if (!c.fused) {
            EXPECT_EQ(device.params(), undisturbed.params());
        }
    }
}

// Checkpoints written on a GPU load on a CPU, and vice versa.
TEST_F(DeviceStep, CheckpointsMoveBetweenDevices) {
    const TemporaryFolder folder;
    OnDevice gpu(options_with(Precision::fp32), Device::cuda),
        cpu(options_with(Precision::fp32), Device::cpu);
    gpu.start();
    gpu.losses(2);
    const auto path = folder.path() / "gpu.h5";
    save_checkpoint(path, to_json(gpu.options), {2, 8, 0.25}, nullptr, gpu.trainer.glow().parameters(),
                    gpu.backend.exec(), gpu.trainer.weights());
    load_checkpoint(path, cpu.trainer.glow().parameters(), cpu.backend.exec(), cpu.trainer.weights());
    cpu.trainer.weights_changed();
    EXPECT_EQ(cpu.params(), gpu.params());
    gpu.trainer.check_usable();
    EXPECT_NEAR(cpu.losses(1)[0], gpu.losses(1)[0], 1e-4);
}

// Bits/dim match the CPU's; pixels differ only if a value lies on a bin edge.
TEST_F(DeviceStep, EvaluatesAndSamplesLikeCpu) {
    OnDevice gpu(options_with(Precision::fp32), Device::cuda),
        cpu(options_with(Precision::fp32), Device::cpu);
    std::vector<double> bits[2];
    std::vector<std::uint8_t> pixels[2];
    int side = 0;
    for (OnDevice* const one : {&cpu, &gpu}) {
        one->start();
        one->trainer.use_ema(false);
        Images images(7, one->options.model, 9);
        bits[side].resize(7);
        evaluate(one->trainer.runnable(), images.batch(),
                 {Dequantization::uniform, 3, Purpose::evaluate, nullptr},
                 {.bits_per_dim = bits[side].data()});
        pixels[side].resize(7 * one->options.model.dimensions());
        sample(one->trainer.runnable(), {7, 0.7, 5}, pixels[side].data());
        ++side;
    }
    for (int n = 0; n < 7; ++n) EXPECT_NEAR(bits[1][n], bits[0][n], 1e-4 * bits[0][n]);
    int different = 0;
    for (std::size_t i = 0; i < pixels[0].size(); ++i) different += pixels[0][i] != pixels[1][i];
    EXPECT_LE(different, static_cast<int>(pixels[0].size() / 100));
}

#if defined(GLOW_WITH_CUDA)
// A run on a GPU, planned on a machine that may not have one.
TEST(DevicePlan, IncludesGpuOverhead) {
    TrainingOptions options = options_with(Precision::fp32);
    const Backend cpu = Backend::for_plans(Device::cpu, 2), gpu = Backend::for_plans(Device::cuda, 2);
    const MemoryBytes here = memory_plan(options, 6, cpu).bytes, there = memory_plan(options, 6, gpu).bytes;
    for (const Category same :
         {Category::parameters, Category::gradients, Category::moments, Category::ema, Category::stored})
        EXPECT_EQ(at(there, same), at(here, same));
    // The folded network weights of both steps of a level: conv1 [16, 64] and [16, 120], conv2 [16, 16] with
    // bias, conv3 [112, 16] and [216, 16], and in double the scales of 12 and 24 channels.
    const std::size_t floats = 2 * (16 * (64 + 120) + 2 * (16 * 16 + 16) + 16 * (112 + 216));
    EXPECT_EQ(at(there, Category::derived), at(here, Category::derived) + 4 * floats + 8 * 2 * (12 + 24));
    // The images of a pass: 6 of 288 bytes, and their numbers.
    EXPECT_EQ(at(there, Category::state), at(here, Category::state) + 1728 + 64);
    // The current and the next batch: 4 images, numbers and labels each.
    const MemoryBytes of_run = memory_plan(options, 6, gpu, PlanScope::run).bytes;
    EXPECT_EQ(at(of_run, Category::state), at(there, Category::state) + 2 * (4 * (288 + 8 + 4) + 16));
    EXPECT_EQ(memory_plan(options, 6, cpu, PlanScope::run).bytes, here);
    // Workspace of the matrix products.
    EXPECT_GE(at(there, Category::workspace), std::size_t{32} << 20);
    EXPECT_LE(at(there, Category::workspace), at(here, Category::workspace) + (std::size_t{34} << 20));
}

// A plan is made for the largest slice or pass; a smaller one may use other kernels, but not more memory.
TEST(DevicePlan, SmallerBatchesNeedNoMoreMemory) {
    const Backend gpu = Backend::for_plans(Device::cuda, 2);
    for (const auto& [size, width, batch] : {std::tuple{32, 512, 64}, {32, 128, 64}, {64, 512, 16}})
        for (const Precision precision : {Precision::bf16, Precision::fp32}) {
            TrainingOptions options;
            options.precision = precision;
            options.model.image_height = options.model.image_width = size;
            options.model.depth = 1;
            options.model.width = width;
            const auto workspace = [&](index_t images) {
                options.batch = images;
                return at(memory_plan(options, 0, gpu, PlanScope::gradients).bytes, Category::workspace);
            };
            const std::size_t planned = workspace(batch);
            for (index_t images = 1; images < batch; ++images)
                EXPECT_LE(workspace(images), planned) << images << " of " << batch << ", width " << width;
        }
}

// The published model at its published batch size fits every supported GPU; depth costs only parameters.
TEST(DevicePlan, PublishedModel) {
    TrainingOptions options;
    options.batch = 512;
    options.precision = Precision::bf16;
    options.model.image_height = options.model.image_width = 32;
    const Backend gpu = Backend::for_plans(Device::cuda, 2);
    const MemoryBytes bytes = memory_plan(options, 256, gpu).bytes;
    EXPECT_NEAR(static_cast<double>(at(bytes, Category::parameters)), 44.6e6 * 4, 2e6);
    EXPECT_LE(total(bytes), std::size_t{4} << 30);
    options.model.depth = 4;
    EXPECT_EQ(at(memory_plan(options, 256, gpu).bytes, Category::workspace), at(bytes, Category::workspace));
}
#endif

}  // namespace
}  // namespace glow
