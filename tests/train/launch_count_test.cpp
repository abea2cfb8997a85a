// Counts the kernels that a training step launches on a GPU, without needing one. At small batches their
// number determines the step's time. A matrix product counts as one launch, although the library adds a
// kernel if it splits the sum over k, and a memset for some tiles. Not counted: other work of our wrapper
// around a product, the inverses of W, which run concurrently, and copies from and to the host.
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <string>

#include "train/memory_plan.h"
#include "train/trainer.h"

namespace glow {
namespace {

class LaunchLog : public LaunchObserver {
  public:
    void launch(const char* name, double bytes) override {
        auto& [count, moved] = kernels_[name];
        ++count;
        moved += bytes;
    }
    void clear() { kernels_.clear(); }
    int total() const {
        int sum = 0;
        for (const auto& [name, kernel] : kernels_) sum += kernel.first;
        return sum;
    }
    friend std::ostream& operator<<(std::ostream& out, const LaunchLog& log) {
        for (const auto& [name, kernel] : log.kernels_)
            out << name << ": " << kernel.first << ", " << kernel.second / 1e6 << " MB\n";
        return out << log.total() << " in all\n";
    }

  private:
    std::map<std::string, std::pair<int, double>> kernels_;
};

// The launches of one training step, gradient and update, without those of the initialization.
template <class Prepare>
LaunchLog launches(const TrainingOptions& options, const Backend& backend, LaunchLog& log,
                   Prepare memory_of) {
    Memory memory = memory_of();
    Trainer trainer(options, backend, memory, {.counting = backend.exec().device != Device::cpu});
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(options.batch * options.model.dimensions()), 7);
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(options.batch), 3);
    const Batch batch{options.batch, pixels.data(), numbers.data()};
    trainer.initialize(batch);
    log.clear();
    trainer.step(batch, {});
    return log;
}

#if defined(GLOW_WITH_CUDA)
LaunchLog launches_on_gpu(const TrainingOptions& options) {
    LaunchLog log;
    Backend backend = Backend::for_plans(Device::cuda, 1);
    backend.set_observer(&log);
    return launches(options, backend, log, [] { return Memory(); });
}

TrainingOptions published(index_t batch, MemoryMode memory) {
    TrainingOptions options;
    options.model.image_height = options.model.image_width = 32;
    options.batch = options.init_batch = batch;
    options.precision = Precision::bf16;
    options.memory = memory;
    return options;
}

// Upper limits on the launches.
TEST(LaunchCount, OfThePublishedModel) {
    struct Size {
        index_t batch;
        MemoryMode memory;
        int launches;
    };
    for (const auto& [batch, memory, most] :
         {Size{512, MemoryMode::reconstruct, 2713}, Size{64, MemoryMode::reconstruct, 2161},
          Size{512, MemoryMode::store, 2517}, Size{64, MemoryMode::store, 2061}}) {
        const LaunchLog log = launches_on_gpu(published(batch, memory));
        EXPECT_LE(log.total(), most) << to_string(memory) << " at batch " << batch << ":\n" << log;
        RecordProperty(to_string(memory) + "_" + std::to_string(batch), log.total());
    }
}

// A counting run reports as many launches as a real run of the same code paths.
TEST(LaunchCount, CountingRunEqualsRealRun) {
    TrainingOptions options = published(6, MemoryMode::reconstruct);
    options.model.image_height = options.model.image_width = 16;
    options.model.depth = 2;
    options.model.width = 16;
    options.precision = Precision::fp32;
    LaunchLog log;
    Backend cpu(Device::cpu, 1);
    cpu.use_gpu_paths();
    cpu.set_observer(&log);
    const LaunchLog run = launches(options, cpu, log, [&] {
        return Memory(Device::cpu, memory_plan(options, options.batch, cpu).bytes);
    });
    const LaunchLog counted = launches_on_gpu(options);
    EXPECT_EQ(run.total(), counted.total()) << run << counted;
}
#endif

}  // namespace
}  // namespace glow
