// Reconstruction error of states and gradients with difficult weights: trained ones, ill-conditioned W, large
// scales. Compared with a float state, which fails for such weights.
#include <cstdio>
#include <utility>

#include "tests/train/training.h"
#include "train/audit.h"
#include "train/schedule.h"

namespace glow {
namespace {

constexpr index_t kDepth = 8;
constexpr float kLargeLogs = 0.4f;

TrainingOptions deep_options() {
    TrainingOptions options = small_options(16, 16, 3, 2, kDepth, 16);
    options.batch = 8;
    options.init_batch = 32;
    options.warmup_epochs = 0;
    options.audit_every = 1;
    return options;
}

// Images with learnable structure: two smooth waves, a disc, some noise.
struct Pictures : Images {
    Pictures(index_t N, const ModelConfig& model, std::uint64_t seed) : Images(N, model, seed) {
        test::Random random(seed + 100);
        const index_t H = model.image_height, W = model.image_width, C = model.channels;
        for (index_t n = 0; n < N; ++n) {
            const double cx = 8 + 3 * random.normal(), cy = 8 + 3 * random.normal(),
                         light = 40 * random.normal(), fx = 0.3 * random.normal(), fy = 0.3 * random.normal();
            for (index_t y = 0; y < H; ++y)
                for (index_t x = 0; x < W; ++x)
                    for (index_t c = 0; c < C; ++c) {
                        const double r = std::hypot(static_cast<double>(x) - cx, static_cast<double>(y) - cy);
                        const double value =
                            120 + 40 * std::sin(fx * static_cast<double>(x) + fy * static_cast<double>(y)) +
                            (r < 5 ? light : 0) * static_cast<double>(c + 1) / 3 + 2 * random.normal();
                        pixels[((n * H + y) * W + x) * C + c] =
                            static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0));
                    }
        }
    }
};

// Weights after training, computed once for all tests.
const std::vector<float>& trained_weights() {
    static const std::vector<float> weights = [] {
        const TrainingOptions options = deep_options();
        Training training(options);
        const Pictures pictures(options.batch * 40, options.model, 1);
        const index_t D = options.model.dimensions();
        training.trainer.initialize(pictures.batch().slice(0, options.init_batch, D));
        const Schedule schedule = make_schedule(options, 40 * options.batch);
        double first = 0, last = 0;
        for (int t = 1; t <= 200; ++t) {
            last = training.trainer
                       .step(pictures.batch().slice((t - 1) % 40 * options.batch, options.batch, D),
                             optimizer_at(options, schedule, {t}))
                       .bits_per_dim;
            if (t == 1) first = last;
        }
        std::printf("trained from %.2f to %.2f bits/dim\n", first, last);
        EXPECT_LT(last, first - 1);
        return training.copy(training.params());
    }();
    return weights;
}

enum class Kind { trained, ill_conditioned, large_scales };
const char* name_of(Kind kind) {
    return kind == Kind::trained           ? "trained"
           : kind == Kind::ill_conditioned ? "ill-conditioned"
                                           : "large scales";
}

// A trainer with such weights.
struct HardTraining : Training {
    HardTraining(Kind kind, TrainingOptions options)
        : Training(options), pictures(options.batch, options.model, 9) {
        trainer.initialize(init_images.batch());
        std::copy(trained_weights().begin(), trained_weights().end(), params());
        for (const Tensor& tensor : tensors()) {
            const auto is = [&](const char* part) { return tensor.name.find(part) != std::string::npos; };
            float* const values = params() + tensor.offset;
            // Shrink every other output: each step's inverse magnifies errors by this factor.
            if (kind == Kind::ill_conditioned && is("invconv/weight"))
                for (index_t o = 0; o < tensor.shape[0]; o += 2)
                    for (index_t i = 0; i < tensor.shape[0]; ++i) values[o * tensor.shape[0] + i] /= 4.0f;
            // Coupling scales far from 1, which the inverse divides by.
            if (kind == Kind::large_scales && is("coupling/conv3/logs"))
                for (index_t i = 1; i < tensor.count; i += 2) values[i] += kLargeLogs;
        }
        trainer.reset_optimizer();
    }

    // Forward and back by hand on the test's images, with every state rounded by `round` between layers;
    // returns the largest error of the reconstructed images.
    template <class Round>
    double round_trip_error(Round round) {
        trainer.use_ema(false);
        const Context& context = trainer.context();
        Glow& glow = trainer.glow();
        const index_t N = pictures.N, D = options.model.dimensions();
        Flow flow = trainer.buffers().flow(N);
        dequantize(context.exec, {N, D, 8, pictures.pixels.data()}, {.kind = Dequantization::center}, flow.h);
        const std::vector<double> x(flow.h, flow.h + N * D);
        const auto rounded = [&] {
            for (index_t i = 0; i < N * D; ++i) flow.h[i] = round(flow.h[i]);
        };
        for (Glow::Level& level : glow.levels()) {
            level.squeeze.forward(context, flow);
            for (auto& step : level.steps) {
                step->mixing.forward(context, flow);
                rounded();
                step->coupling.forward(context, flow);
                rounded();
            }
            if (level.split) level.split->forward(context, flow);
        }
        for (std::size_t l = glow.levels().size(); l-- > 0;) {
            Glow::Level& level = glow.levels()[l];
            if (level.split) level.split->inverse(context, flow);
            for (std::size_t k = level.steps.size(); k-- > 0;) {
                level.steps[k]->coupling.inverse(context, flow);
                rounded();
                level.steps[k]->mixing.inverse(context, flow);
                rounded();
            }
            level.squeeze.inverse(context, flow);
        }
        double largest = 0;
        for (index_t i = 0; i < N * D; ++i)
            if (!(std::abs(flow.h[i] - x[static_cast<std::size_t>(i)]) <= largest))
                largest = std::abs(flow.h[i] - x[static_cast<std::size_t>(i)]);
        return largest;
    }

    Pictures pictures;
};

constexpr Kind kAll[] = {Kind::trained, Kind::ill_conditioned, Kind::large_scales};

TEST(Drift, DoubleStateSurvivesWhereFloatFails) {
    for (const Kind kind : kAll) {
        HardTraining model(kind, deep_options());
        const double in_double = model.round_trip_error([](double h) { return h; });
        const double in_float =
            model.round_trip_error([](double h) { return static_cast<double>(static_cast<float>(h)); });
        std::printf("%s: reconstructed images are off by %.1e, with a state in float by %.1e\n",
                    name_of(kind), in_double, in_float);
        // within the tolerance that would repeat a step
        EXPECT_LE(in_double, 1e-5) << name_of(kind);
        if (kind == Kind::trained)
            EXPECT_GT(in_float, 100 * in_double);  // trained weights are gentle
        else
            EXPECT_GT(in_float, 1e-4) << name_of(kind);
    }
}

// Without anchors other than level starts, and without repeated steps.
TEST(Drift, ReconstructedGradientsMatchStored) {
    for (const Kind kind : kAll) {
        TrainingOptions options = deep_options();
        options.drift_tolerance = 1e30;
        StepResult result;
        std::vector<std::vector<float>> gradients;
        for (const MemoryMode memory : {MemoryMode::store, MemoryMode::reconstruct}) {
            options.memory = memory;
            HardTraining model(kind, options);
            gradients.push_back(model.gradient(model.pictures.batch(), &result));
            const Audit audit = model.trainer.audit(model.pictures.batch());
            EXPECT_TRUE(audit.holds()) << name_of(kind) << audit.cosine << " " << audit.worst().name;
        }
        std::printf("%s: drift %.1e, gradients differ by %.1e\n", name_of(kind), result.drift,
                    relative_l2(gradients[1], gradients[0]));
        EXPECT_LE(result.drift, 1e-5) << name_of(kind);
        EXPECT_LE(relative_l2(gradients[1], gradients[0]), 1e-3) << name_of(kind);
    }
}

TEST(Drift, RoundingBitsGiveStoreGradients) {
    for (const Kind kind : kAll)
        for (const Precision precision : {Precision::fp32, Precision::bf16}) {
            TrainingOptions options = deep_options();
            options.precision = precision;
            if (options.precision == Precision::bf16 && !Backend(Device::cpu, 1).blas().has_bf16()) continue;
            std::vector<std::vector<float>> gradients;
            for (const MemoryMode memory : {MemoryMode::store, MemoryMode::reconstruct}) {
                options.memory = memory;
                options.rounding_bits = options.memory == MemoryMode::reconstruct;
                HardTraining model(kind, options);
                StepResult result;
                gradients.push_back(model.gradient(model.pictures.batch(), &result));
                EXPECT_FALSE(result.redone);
            }
            EXPECT_TRUE(same_bits(gradients[1], gradients[0])) << name_of(kind) << to_string(precision);
        }
}

// With few bits, many pixels with noise lie exactly between two floats.
TEST(Drift, RoundingBitsGiveStoreGradientsOfFewBits) {
    for (const auto& [n_bits, precision] :
         {std::pair{1, Precision::fp32}, {5, Precision::fp32}, {5, Precision::bf16}}) {
        TrainingOptions options = small_options();
        options.model.n_bits = n_bits;
        options.precision = precision;
        if (precision == Precision::bf16 && !Backend(Device::cpu, 1).blas().has_bf16()) continue;
        std::vector<std::vector<float>> gradients;
        for (const MemoryMode memory : {MemoryMode::store, MemoryMode::reconstruct}) {
            options.memory = memory;
            options.rounding_bits = options.memory == MemoryMode::reconstruct;
            gradients.push_back(Training(options).random_start().gradient());
        }
        EXPECT_TRUE(same_bits(gradients[1], gradients[0])) << n_bits << to_string(precision);
    }
}

}  // namespace
}  // namespace glow
