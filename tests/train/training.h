// A trainer with memory of exactly the planned size, and its own images.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/math.h"
#include "layers/weights.h"
#include "tests/data/files.h"
#include "tests/support.h"
#include "train/memory_plan.h"
#include "train/trainer.h"

namespace glow {

inline TrainingOptions small_options(index_t height = 8, index_t width = 12, index_t channels = 3,
                                     index_t levels = 2, index_t depth = 2, index_t hidden = 12) {
    TrainingOptions options;
    options.model.image_height = height;
    options.model.image_width = width;
    options.model.channels = channels;
    options.model.levels = levels;
    options.model.depth = depth;
    options.model.width = hidden;
    options.batch = 4;
    options.init_batch = 6;
    options.seed = 5;
    return options;
}

// N images of smooth random pixels, numbered from 0.
struct Images {
    Images(index_t N, const ModelConfig& model, std::uint64_t seed = 1) : N(N) {
        test::Random random(seed);
        for (index_t i = 0; i < N * model.dimensions(); ++i)
            pixels.push_back(static_cast<std::uint8_t>(std::clamp(128 + 40 * random.normal(), 0.0, 255.0)));
        for (index_t n = 0; n < N; ++n) numbers.push_back(static_cast<std::uint64_t>(n));
    }
    Batch batch() const { return {N, pixels.data(), numbers.data()}; }

    index_t N;
    std::vector<std::uint8_t> pixels;
    std::vector<std::uint64_t> numbers;
};

struct Training {
    // conv: vendor convolutions, which a CPU does not have.
    explicit Training(const TrainingOptions& options, int threads = 2, std::unique_ptr<Conv> conv = nullptr)
        : options(options),
          backend(Device::cpu, threads, 0, nullptr, std::move(conv)),
          plan(memory_plan(options, options.init_batch, backend)),
          memory(Device::cpu, capacity_of(plan, Device::cpu)),
          trainer(options, backend, memory),
          init_images(options.init_batch, options.model, 1),
          images(options.batch, options.model, 2) {}

    // Initialized from data, then every parameter is perturbed, so that no gradient is 0 and no two tensors
    // look alike.
    Training& random_start(std::uint64_t seed = 3, double scale = 0.02) {
        trainer.initialize(init_images.batch());
        test::Random random(seed);
        for (const Tensor& tensor : tensors())
            for (index_t i = 0; i < tensor.count; ++i)
                params()[tensor.offset + i] += static_cast<float>(scale * random.normal());
        trainer.reset_optimizer();
        return *this;
    }
    // Computes the gradient without changing the weights; moments do change.
    std::vector<float> gradient(const Batch& batch, StepResult* result = nullptr) {
        OptimizerStep update;
        update.beta1 = 0;  // m = g
        update.lr_t = 0;
        const StepResult step = trainer.step(batch, update);
        if (result != nullptr) *result = step;
        return copy(trainer.weights().m);
    }
    std::vector<float> gradient(StepResult* result = nullptr) { return gradient(images.batch(), result); }

    float* params() { return trainer.weights().params; }
    const std::vector<Tensor>& tensors() { return trainer.glow().parameters().tensors(); }
    const Tensor& tensor(const std::string& name) {
        for (const Tensor& tensor : tensors())
            if (tensor.name == name) return tensor;
        throw Error("no tensor " + name);
    }
    std::vector<float> copy(const float* values) {
        return {values, values + trainer.glow().parameters().size()};
    }
    // All weights, averages and moments.
    std::vector<float> everything() {
        std::vector<float> all;
        const auto add = [&](const auto* values) {
            std::transform(values, values + trainer.glow().parameters().size(), std::back_inserter(all),
                           [](auto x) { return widen(x); });
        };
        const Weights& w = trainer.weights();
        add(w.params);
        add(w.ema);
        with_moments(w, [&](const auto* m, const auto* v) {
            add(m);
            add(v);
        });
        return all;
    }

    TrainingOptions options;
    Backend backend;
    MemoryPlan plan;
    Memory memory;
    Trainer trainer;
    Images init_images, images;
};

// |a - b| / |b| of the elements first .. first + count - 1.
template <class A, class B>
double relative_l2(const A* a, const B* b, std::size_t count) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < count; ++i) {
        difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        norm += std::pow(static_cast<double>(b[i]), 2);
    }
    return std::sqrt(difference / norm);
}

inline double relative_l2(const std::vector<float>& a, const std::vector<float>& b) {
    return relative_l2(a.data(), b.data(), std::min(a.size(), b.size()));
}

// Compares bits, so that NaN equals itself.
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
               return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
           });
}

}  // namespace glow
