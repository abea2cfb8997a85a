#include "train/memory_point.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "inference/host_weights.h"
#include "kernels/philox.h"
#include "runtime/device.h"
#include "train/gradient_comparison.h"
#include "train/schedule.h"

namespace glow {
namespace {

TrainingOptions options_of(const MemoryPoint& point) {
    TrainingOptions options = point.options;
    options.init_batch = options.batch;
    // Drift is a result here, not an error.
    options.drift_tolerance = std::numeric_limits<double>::max();
    return options;
}

// Smoothly varying pixels with noise: neither constant nor white noise.
struct RandomImages {
    RandomImages(index_t N, const ModelConfig& model, std::uint64_t seed)
        : pixels(static_cast<std::size_t>(N * model.dimensions())), numbers(static_cast<std::size_t>(N)) {
        std::iota(numbers.begin(), numbers.end(), std::uint64_t{0});
        const index_t D = model.dimensions();
        for (index_t n = 0; n < N; ++n)
            for (index_t i = 0; i < D; i += 4) {
                const PhiloxWords words = philox_block(seed, Purpose::synthetic, numbers[n], i / 4);
                for (index_t j = i; j < std::min(i + 4, D); ++j)
                    pixels[n * D + j] = static_cast<std::uint8_t>(
                        128 + 60 * std::sin(0.003 * static_cast<double>(j) + static_cast<double>(n)) +
                        60 * (philox_uniform(words.word[j - i]) - 0.5));
            }
    }
    Batch batch() const {
        Batch batch;
        batch.N = static_cast<index_t>(numbers.size());
        batch.pixels = pixels.data();
        batch.numbers = numbers.data();
        return batch;
    }
    std::vector<std::uint8_t> pixels;
    std::vector<std::uint64_t> numbers;
};

// Whether the deepest level has fewer values per channel than channels. Their deviations in some directions are 0,
// or nearly so, and the scales of the actnorms would enlarge a move in these directions in every step.
bool has_few_values(const TrainingOptions& options) {
    const ModelConfig& model = options.model;
    return options.batch * top_pixels(model) < model.channels << (model.levels + 1);
}

// Initial networks output zeros, so most gradients would be 0. Moves shrink with the number of steps, so that
// states of any depth stay of order one.
void move_off_start(Trainer& trainer, const Exec& exec, const TrainingOptions& options) {
    const std::uint64_t seed = options.seed;
    const double size = 0.01 / std::sqrt(static_cast<double>(options.model.depth));
    const bool unit_scales = has_few_values(options);
    const Parameters& parameters = trainer.glow().parameters();
    HostWeights host(exec, parameters, {.params = trainer.weights().params});
    host.fetch();
    float* const params = host.get().params;
    for (const Tensor& tensor : parameters.tensors()) {
        if (unit_scales && tensor.name.ends_with("/actnorm/logs"))
            std::fill_n(params + tensor.offset, tensor.count, 0.0f);
        for (index_t i = 0; i < tensor.count; ++i) {
            const PhiloxWords words = philox_block(seed + 1, Purpose::weights, tensor.offset, i);
            params[tensor.offset + i] +=
                static_cast<float>(size * philox_normal(words.word[0], words.word[1]).first);
        }
    }
    host.send();
}

std::size_t bytes_taken(const Backend& backend) {
    return backend.exec().device == Device::cuda ? device_bytes_in_use() : process_peak_bytes();
}

// Counting and real trainers use the same parts.
struct Parts {
    Parts(const MemoryPoint& point, const MemoryPlan& plan, const Backend& backend)
        : options(options_of(point)),
          memory(backend.exec().device, plan.bytes),
          trainer(options, backend, memory, {.gradients_only = !point.with_optimizer}),
          images(options.batch, options.model, options.seed) {}
    TrainingOptions options;
    Memory memory;
    Trainer trainer;
    RandomImages images;
};

}  // namespace

MemoryPlan memory_plan(const MemoryPoint& point, const Backend& backend) {
    return memory_plan(options_of(point), point.options.batch, backend,
                       point.with_optimizer ? PlanScope::trainer : PlanScope::gradients);
}

MemoryMeasurement measure_memory(const MemoryPoint& point, const MemoryPlan& plan, const Backend& backend) {
    using Clock = std::chrono::steady_clock;
    const std::size_t before = bytes_taken(backend);
    MemoryMeasurement measured;
    Parts parts(point, plan, backend);
    Trainer& trainer = parts.trainer;
    trainer.initialize(parts.images.batch());
    move_off_start(trainer, backend.exec(), point.options);
    trainer.reset_optimizer();
    OptimizerStep update;
    update.lr_t = 0;  // every pass uses the same weights
    measured.step_ms = HUGE_VAL;
    for (int pass = 0; pass < point.passes; ++pass) {
        const auto start = Clock::now();
        measured.drift = trainer.step(parts.images.batch(), update).drift;
        measured.step_ms = std::min(measured.step_ms,
                                    std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
    measured.peak = parts.memory.peak();
    const std::size_t after =
        bytes_taken(backend);  // on a GPU of all processes: others may have given some back
    measured.process_bytes = after > before ? after - before : 0;
    const index_t size = trainer.glow().parameters().size();
    measured.params = downloaded(backend.exec(), size, trainer.weights().params);
    if (trainer.gradients() != nullptr)
        measured.gradients = downloaded(backend.exec(), size, trainer.gradients());
    return measured;
}

std::optional<double> gradient_cosine(const MemoryPoint& point, const MemoryMeasurement& measured,
                                      const Backend& backend, std::size_t available) {
    MemoryPoint exact = point;
    exact.with_optimizer = false;
    exact.options.memory =
        point.options.memory == MemoryMode::checkpoint ? MemoryMode::store : MemoryMode::checkpoint;
    exact.options.float_states = exact.options.rounding_bits = exact.options.fused_update = false;
    const MemoryPlan plan = memory_plan(exact, backend);
    if (total(plan.bytes) > available) return std::nullopt;
    Parts parts(exact, plan, backend);
    upload(backend.exec(), std::ssize(measured.params), measured.params.data(),
           parts.trainer.weights().params);
    parts.trainer.reset_optimizer();
    parts.trainer.step(parts.images.batch(), {});
    const std::vector<float> gradients =
        downloaded(backend.exec(), std::ssize(measured.gradients), parts.trainer.gradients());
    GradientComparison comparison;
    comparison.add(measured.gradients, gradients);
    return comparison.cosine();
}

}  // namespace glow
