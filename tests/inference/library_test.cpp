// The public library in programs with their own OpenMP settings, threads and parallel regions.
#include <gtest/gtest.h>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <thread>

#include "glow/glow.h"
#include "inference/image_arrays.h"
#include "inference/likelihood.h"
#include "inference/model_file.h"
#include "tests/data/files.h"
#include "tests/train/checkpoint_edit.h"
#include "tests/train/training.h"
#include "train/options.h"

namespace glow {
namespace {

struct Library : testing::Test {
    Library() {
        for (int i = 0; i < 16 * 16 * 16 * 3; ++i)
            images.push_back(static_cast<std::uint8_t>(64 + i % 24 + 8 * (i / 48 % 16)));
        ModelTrainer trainer(options(1));
        trainer.initialize(images);
        for (int step = 0; step < 3; ++step) trainer.step(images);
        trainer.save(file);
        right = model(4).bits_per_dim(images);
    }
    static TrainOptions options(int threads) {
        TrainOptions options;
        options.shape = {.height = 16, .width = 16, .channels = 3, .levels = 2, .depth = 2, .hidden = 16};
        options.batch = 16;
        options.warmup_images = 0;
        options.device = "cpu";
        options.threads = threads;
        return options;
    }
    TrainedModel model(int threads) const {
        return TrainedModel(file, {.averaged = false, .device = "cpu", .batch = 16, .threads = threads});
    }
    // Largest difference from the correct likelihoods; NaN if one is NaN.
    double error(TrainedModel& model) const {
        const std::vector<double> found = model.bits_per_dim(images);
        double largest = 0;
        for (std::size_t i = 0; i < right.size(); ++i) {
            const double difference = std::abs(found[i] - right[i]);
            if (!(difference <= largest)) largest = difference;
        }
        return largest;
    }

    static constexpr double kRounding = 1e-5;  // float products summed in another order
    TemporaryFolder folder;
    std::string file = (folder / "model.h5").string();
    std::vector<std::uint8_t> images;
    std::vector<double> right;
};

// A trainer without options records what a run of glow_train without options records.
TEST_F(Library, TrainsWithDefaultsOfTheCommand) {
    TrainOptions defaults;
    defaults.shape = options(1).shape;
    defaults.device = "cpu";
    ModelTrainer trainer(defaults);
    trainer.initialize(images);
    trainer.save(file);
    const auto recorded = read_checkpoint_info(file).config["training"];
    const auto command = to_json(TrainingOptions{})["training"];
    for (const char* const key :
         {"optimizer", "lr", "beta1", "beta2", "ema-decay", "warmup-epochs", "warmup-steps", "lr-schedule",
          "batch", "weight-decay", "clip-norm", "moments", "seed", "precision"}) {
        ASSERT_TRUE(recorded.contains(key)) << key;
        EXPECT_EQ(recorded[key], command[key]) << key;
    }
    defaults.warmup_images = -2;
    EXPECT_THROW(ModelTrainer{defaults}, std::runtime_error);
}

TEST_F(Library, TrainerRefusesMoreMemoryThanThereIs) {
    TrainOptions huge = options(1);
    huge.shape.height = huge.shape.width = 512;
    huge.batch = 1 << 20;  // 6 TiB of states
    try {
        const ModelTrainer trainer(huge);
        FAIL();
    } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("training needs"), std::string::npos) << error.what();
    }
}

// A checkpoint that nothing can load must not replace one that can be loaded.
TEST_F(Library, SaveRefusesDivergedWeights) {
    TrainOptions diverging = options(1);
    diverging.learning_rate = 1e6;
    ModelTrainer trainer(diverging);
    trainer.initialize(images);
    try {
        for (int step = 0; step < 5; ++step) trainer.step(images);
    } catch (const std::runtime_error&) {  // which leaves the weights of the step before
    }
    EXPECT_THROW(trainer.save(file), std::runtime_error);
    TrainedModel kept = model(4);
    EXPECT_EQ(kept.bits_per_dim(images), right);
}

TEST_F(Library, SaveRefusesFilesOfRuns) {
    std::filesystem::create_directories(folder / "run" / "checkpoints");
    const std::filesystem::path latest = folder / "run" / "latest.h5";
    std::filesystem::copy_file(file, folder / "run" / "checkpoints" / "step-00000003.h5");
    std::filesystem::create_symlink("checkpoints/step-00000003.h5", latest);
    ModelTrainer trainer(options(1));
    trainer.initialize(images);
    for (const auto& name : {latest, folder / "run" / "checkpoints" / "step-00000003.h5"}) {
        try {
            trainer.save(name.string());
            FAIL() << name;
        } catch (const std::runtime_error& error) {
            EXPECT_NE(std::string(error.what()).find("is the name of a file of the run"), std::string::npos);
        }
    }
    EXPECT_EQ(TrainedModel(latest.string(), {.averaged = false, .device = "cpu", .batch = 16, .threads = 4})
                  .bits_per_dim(images),
              right);
}

TEST_F(Library, SaveRefusesSuffixesOfOtherFormats) {
    ModelTrainer trainer(options(1));
    trainer.initialize(images);
    for (const char* const name : {"w.safetensors", "w.npz", "w.ONNX"}) {
        EXPECT_THROW(trainer.save((folder / name).string()), std::runtime_error) << name;
        EXPECT_FALSE(std::filesystem::exists(folder / name));
    }
    trainer.save((folder / "w.checkpoint").string());
}

// The system would use the part before the null character.
TEST_F(Library, RefusesNamesWithNullCharacters) {
    ModelTrainer trainer(options(1));
    trainer.initialize(images);
    const std::string cut = file + std::string("\0.bak", 5);
    EXPECT_THROW(trainer.save(cut), InvalidArgument);
    EXPECT_THROW(ModelTrainer(cut, options(1)), InvalidArgument);
    EXPECT_THROW(TrainedModel{cut}, InvalidArgument);
}

// Noise depends on an image's index in the data set, not on the call or pass that it is in.
TEST_F(Library, ScoresInPartsLikeAtOnce) {
    TrainedModel trained(file, {.averaged = false, .device = "cpu", .batch = 4, .threads = 1});
    const NoiseOptions noise{.seed = 3, .first_image = 100};
    const NoiseOptions draws{.seed = 3, .first_image = 100, .iw_samples = 2, .dequant_samples = 2};
    std::vector<double> nats, bits, maps;
    InputGradient gradient;
    const auto append = [](auto& all, const auto& part) { all.insert(all.end(), part.begin(), part.end()); };
    const std::size_t D = 16 * 16 * 3;
    for (const std::size_t first : {0, 4, 12}) {  // multiples of the batch
        const std::size_t count = first == 4 ? 8 : 4;
        const ArrayView<std::uint8_t> part(images.data() + first * D, count * D);
        NoiseOptions here = noise, drawn = draws;
        here.first_image += static_cast<std::int64_t>(first);
        drawn.first_image += static_cast<std::int64_t>(first);
        append(nats, trained.log_prob(part, {}, here));
        append(bits, trained.bits_per_dim(part, {}, drawn));
        append(maps, trained.log_density_map(part, {}, here));
        const InputGradient found = trained.input_gradient(part, {}, here);
        append(gradient.log_prob, found.log_prob);
        append(gradient.gradient, found.gradient);
    }
    EXPECT_EQ(nats, trained.log_prob(images, {}, noise));
    EXPECT_NE(nats, trained.log_prob(images, {}, {.seed = 3}));
    EXPECT_EQ(bits, trained.bits_per_dim(images, {}, draws));
    EXPECT_EQ(maps, trained.log_density_map(images, {}, noise));
    const InputGradient whole = trained.input_gradient(images, {}, noise);
    EXPECT_EQ(gradient.log_prob, whole.log_prob);
    EXPECT_EQ(gradient.gradient, whole.gradient);
}

// glow_eval reports likelihoods(), which python/tests/test_model.py compares with the Python package.
TEST_F(Library, BoundsAreThoseOfTheCommand) {
    const Backend backend(Device::cpu, 4);
    LoadedModel loaded(file, false, Precision::fp32, 16, backend);
    const SplitImages split(ImageSet{16, 16, 16, 3, images, {}, 0});
    TrainedModel trained = model(4);
    for (const NoiseOptions& noise :
         {NoiseOptions{}, NoiseOptions{.seed = 7}, NoiseOptions{.iw_samples = 3},
          NoiseOptions{.seed = 1, .first_image = 0, .iw_samples = 2, .dequant_samples = 2}}) {
        LikelihoodRequest request;
        request.seed = noise.seed;
        request.iw_samples = noise.iw_samples;
        request.dequant_samples = noise.dequant_samples;
        EXPECT_EQ(trained.bits_per_dim(images, {}, noise), likelihoods(loaded, split, request).bits_per_dim);
    }
    // Of the same draws, the importance-weighted bound is the tighter one (Jensen's inequality).
    const std::vector<double> weighted = trained.bits_per_dim(images, {}, {.iw_samples = 4}),
                              averaged = trained.bits_per_dim(images, {}, {.dequant_samples = 4});
    for (std::size_t n = 0; n < weighted.size(); ++n) EXPECT_LT(weighted[n], averaged[n]);
}

TEST_F(Library, TellsInvalidArgumentsFromFailures) {
    TrainedModel trained = model(1);
    ModelTrainer untrained(options(1));
    const std::vector<std::pair<const char*, std::function<void()>>> calls = {
        {"file", [&] { TrainedModel((folder / "none.h5").string()); }},
        {"device", [&] { TrainedModel(file, {.device = "tpu"}); }},
        {"precision", [&] { TrainedModel(file, {.device = "cpu", .precision = "fp33"}); }},
        {"threads", [&] { model(-1); }},
        {"size", [&] { trained.set_image_size(8, 22); }},
        {"images",
         [&] {
             trained.log_prob({images.data(), 7});
         }},
        {"no images", [&] { trained.bits_per_dim(std::vector<std::uint8_t>()); }},
        {"labels",
         [&] {
             trained.log_prob(images, {0, 1});
         }},
        {"first_image", [&] { trained.log_prob(images, {}, {.first_image = -1}); }},
        {"first_image", [&] { trained.input_gradient(images, {}, {.first_image = std::int64_t{1} << 40}); }},
        {"iw_samples", [&] { trained.bits_per_dim(images, {}, {.iw_samples = 0}); }},
        {"draws", [&] { trained.log_prob(images, {}, {.iw_samples = 1 << 20, .dequant_samples = 2}); }},
        {"map", [&] { trained.log_density_map(images, {}, {.iw_samples = 2}); }},
        {"gradient", [&] { trained.input_gradient(images, {}, {.dequant_samples = 2}); }},
        {"not finite", [&] { trained.input_gradient(std::vector<double>(16 * 16 * 3, std::nan(""))); }},
        {"count", [&] { trained.sample(0); }},
        {"temperature", [&] { trained.sample(1, {.temperature = -1}); }},
        {"latents", [&] { trained.decode(std::vector<double>(5)); }},
        {"initialize",
         [&] {
             untrained.initialize({images.data(), 5});
         }},
        {"step before initialize", [&] { untrained.step(images); }},
        {"save before initialize", [&] { untrained.save(file); }},
        {"suffix", [&] { untrained.initialize(images), untrained.save((folder / "w.npz").string()); }},
        {"batch",
         [&] {
             untrained.step({images.data(), 8 * 16 * 16 * 3});
         }},
        {"options", [&] { ModelTrainer({.batch = 0}); }},
    };
    for (const auto& [what, call] : calls) EXPECT_THROW(call(), InvalidArgument) << what;

    TrainOptions diverging = options(1);
    diverging.learning_rate = 1e6;
    ModelTrainer trainer(diverging);
    trainer.initialize(images);
    try {
        for (int step = 0; step < 5; ++step) trainer.step(images);
        trainer.save(file);
        FAIL();
    } catch (const InvalidArgument& error) {
        FAIL() << error.what();
    } catch (const std::runtime_error&) {  // divergence is no wrong argument
    }
}

TEST_F(Library, TrainingContinuesFromCheckpoint) {
    TrainOptions decaying = options(1);
    decaying.warmup_images = 16 * 10;  // the learning rate depends on the step
    ModelTrainer whole(decaying), first(decaying);
    for (ModelTrainer* const trainer : {&whole, &first}) {
        trainer->initialize(images);
        for (int step = 0; step < 3; ++step) trainer->step(images);
    }
    const std::string saved = (folder / "saved.h5").string(), a = (folder / "a.h5").string(),
                      b = (folder / "b.h5").string();
    first.save(saved);
    decaying.shape = {};  // not used
    ModelTrainer second(saved, decaying);
    EXPECT_EQ(second.steps(), 3);
    EXPECT_EQ(second.shape().height, 16);
    EXPECT_EQ(second.last_step().bits_per_dim, 0);
    for (int step = 0; step < 2; ++step) EXPECT_EQ(second.step(images), whole.step(images)) << step;
    whole.save(a);
    second.save(b);
    const CheckpointEdit expected(a), found(b);
    EXPECT_EQ(found.step, 5);
    EXPECT_EQ(found.images_seen, expected.images_seen);
    for (const auto& [name, tensor] : expected.tensors)
        EXPECT_EQ(found.tensors.at(name).values, tensor.values) << name;

    // Without the state of training, only the weights are taken; a variant of the model is kept.
    CheckpointEdit weights(saved);
    std::erase_if(weights.tensors, [](const auto& tensor) { return !tensor.first.starts_with("/params/"); });
    nlohmann::ordered_json config = nlohmann::ordered_json::parse(weights.config);
    config["coupling_scale"] = "tanh";
    weights.config = config.dump();
    weights.version = 2;
    weights.write(folder / "weights.h5");
    ModelTrainer tuned((folder / "weights.h5").string(), decaying);
    EXPECT_EQ(tuned.steps(), 0);
    tuned.save(a);
    const CheckpointEdit tuned_file(a);
    EXPECT_NE(tuned_file.config.find("tanh"), std::string::npos);
    for (const auto& [name, tensor] : weights.tensors)
        EXPECT_EQ(tuned_file.tensors.at(name).values, tensor.values) << name;
    EXPECT_THROW(ModelTrainer((folder / "none.h5").string(), decaying), InvalidArgument);
    std::filesystem::resize_file(saved, 1000);
    EXPECT_THROW(ModelTrainer(saved, decaying), InvalidArgument);
}

TEST_F(Library, TrainingContinuesWithVariationalNoise) {
    TrainingOptions variational = small_options();
    variational.model.dequant_depth = 1;
    variational.model.dequant_width = 8;
    variational.dequant = Dequantization::variational;
    variational.init_batch = variational.batch;
    Training training(variational);
    Images init(variational.batch, variational.model, 1);
    training.trainer.initialize(init.batch());
    const std::string saved = (folder / "v.h5").string();
    save_checkpoint(saved, to_json(variational), {}, nullptr, training.trainer.glow().parameters(),
                    training.backend.exec(), training.trainer.weights());
    TrainOptions given = options(1);
    given.batch = variational.batch;
    ModelTrainer trainer(saved, given);
    EXPECT_TRUE(std::isfinite(trainer.step(init.pixels)));
    EXPECT_EQ(trainer.steps(), 1);
}

TEST_F(Library, TakesViewsAndLabels) {
    TrainedModel trained = model(2);
    EXPECT_EQ(trained.bits_per_dim({images.data(), images.size()}), trained.bits_per_dim(images));
    const std::int64_t signed_size = 16 * trained.shape().dimensions();
    EXPECT_EQ(trained.bits_per_dim({images.data(), signed_size}), trained.bits_per_dim(images));
    EXPECT_THROW(trained.bits_per_dim({images.data(), -signed_size}), InvalidArgument);

    TrainOptions conditional = options(2);
    conditional.shape.classes = 3;
    conditional.batch = 4;
    ModelTrainer trainer(conditional);
    const ArrayView<std::uint8_t> four(images.data(), 4 * 16 * 16 * 3);
    const std::int32_t labels[] = {0, 1, 2, 0};
    trainer.initialize(four, {labels, 4});
    for (int step = 0; step < 3; ++step) trainer.step(four, {0, 1, 2, 0});
    trainer.save((folder / "conditional.h5").string());
    TrainedModel model((folder / "conditional.h5").string(), {.averaged = false, .device = "cpu"});
    EXPECT_EQ(model.shape().classes, 3);
    const std::vector<double> bits = model.bits_per_dim(four, {0, 1, 2, 0});
    EXPECT_EQ(bits, model.bits_per_dim(four, std::vector<std::int32_t>(labels, labels + 4)));
    EXPECT_NE(bits, model.bits_per_dim(four, {1, 1, 2, 0}));
    EXPECT_EQ(model.sample(3, {.labels = {0, 1, 2}}).size(), 3u * 16 * 16 * 3);
    EXPECT_THROW(model.bits_per_dim(four), InvalidArgument);
    EXPECT_THROW(model.sample(3, {.labels = {0, 1, 3}}), InvalidArgument);
}

TEST_F(Library, LatentsAreOrderedByLevel) {
    TrainedModel trained = model(2);
    const std::vector<LevelLatents> levels = trained.latent_levels();
    ASSERT_EQ(levels.size(), 2u);
    const auto expect = [](const LevelLatents& level, std::int64_t offset, std::int64_t side,
                           std::int64_t channels) {
        EXPECT_EQ(level.offset, offset);
        EXPECT_EQ(level.height, side);
        EXPECT_EQ(level.width, side);
        EXPECT_EQ(level.channels, channels);
    };
    expect(levels[0], 0, 8, 6);
    expect(levels[1], 8 * 8 * 6, 4, 24);

    // As in Python: one array for each level, level 0 first.
    const Backend backend(Device::cpu, 2);
    LoadedModel loaded(file, false, Precision::fp32, 16, backend);
    std::vector<double> finest(16 * 8 * 8 * 6), deepest(16 * 4 * 4 * 24);
    encode_levels(loaded.runnable(), {16, images.data()}, {finest.data(), deepest.data()});
    const std::vector<double> latents = trained.encode(images);
    ASSERT_EQ(latents.size(), images.size());
    for (std::size_t n = 0; n < 16; ++n) {
        const double* const image = latents.data() + n * 768;
        EXPECT_TRUE(std::equal(image, image + 384, finest.data() + n * 384)) << n;
        EXPECT_TRUE(std::equal(image + 384, image + 768, deepest.data() + n * 384)) << n;
    }
    EXPECT_EQ(trained.decode(latents), images);
}

TEST_F(Library, NamesImagesThatAreNotValid) {
    TrainedModel trained = model(2);
    std::vector<double> latents = trained.encode(images);
    ImageProblems problems{{77}, {77}};
    EXPECT_EQ(trained.decode(latents, {}, &problems), images);
    EXPECT_TRUE(problems.not_finite.empty() && problems.out_of_range.empty());
    latents[5 * 768 + 3] = std::nan("");
    for (std::size_t i = 9 * 768; i < 10 * 768; ++i) latents[i] = 300;
    const std::vector<std::uint8_t> decoded = trained.decode(latents, {}, &problems);
    EXPECT_EQ(problems.not_finite, std::vector<std::int64_t>{5});
    EXPECT_EQ(problems.out_of_range, std::vector<std::int64_t>{9});
    EXPECT_EQ(decoded[5 * 768], 255);  // the corner of the cross
    EXPECT_TRUE(std::equal(images.begin() + 6 * 768, images.begin() + 9 * 768, decoded.begin() + 6 * 768));

    EXPECT_EQ(trained.sample(3, {.temperature = 0.5, .seed = 4}, &problems),
              trained.sample(3, {.temperature = 0.5, .seed = 4}));
    EXPECT_TRUE(problems.not_finite.empty());
    EXPECT_NE(trained.sample(3, {.seed = 4}), trained.sample(3, {.seed = 5}));
}

TEST_F(Library, SamplesWithTheirLogDensities) {
    TrainedModel trained = model(2);
    std::vector<double> log_prob;
    const std::vector<std::uint8_t> samples = trained.sample(3, {.seed = 4}, nullptr, &log_prob);
    EXPECT_EQ(samples, trained.sample(3, {.seed = 4}));
    ASSERT_EQ(log_prob.size(), 3u);
    // The density at other points of the same bins.
    const std::vector<double> around = trained.log_prob(samples);
    for (std::size_t n = 0; n < 3; ++n) EXPECT_NEAR(log_prob[n], around[n], 0.05 * std::abs(around[n])) << n;
}

TEST_F(Library, TrainerReportsItsSteps) {
    ModelTrainer trainer(options(2));
    trainer.initialize(images);
    EXPECT_EQ(trainer.last_step().grad_norm, 0);
    for (int step = 0; step < 2; ++step) {
        const double bits = trainer.step(images);
        EXPECT_EQ(trainer.last_step().bits_per_dim, bits);
        EXPECT_GT(trainer.last_step().grad_norm, 0);
        EXPECT_LT(trainer.last_step().drift, 1e-5);
    }
}

TEST_F(Library, InputGradientIsSlopeOfLogProb) {
    TrainedModel trained = model(2);
    const InputGradient bytes = trained.input_gradient(images, {}, {.seed = 5});
    EXPECT_EQ(bytes.log_prob, trained.log_prob(images, {}, {.seed = 5}));

    std::vector<double> x(images.begin(), images.end());
    const InputGradient here = trained.input_gradient(x);
    double square = 0;
    for (const float g : here.gradient) square += static_cast<double>(g) * g;
    ASSERT_GT(square, 0);
    const auto along = [&](double step) {  // the sum of log-densities `step` gray levels along the gradient
        std::vector<double> moved = x;
        for (std::size_t i = 0; i < x.size(); ++i) moved[i] += step * here.gradient[i] / std::sqrt(square);
        double sum = 0;
        for (const double value : trained.input_gradient(moved).log_prob) sum += value;
        return sum;
    };
    // The networks are in float, and some ReLUs switch in between.
    EXPECT_NEAR((along(0.05) - along(-0.05)) / 0.1 / std::sqrt(square), 1, 5e-3);
}

TEST_F(Library, EncodeGradientIsSlopeOfLatents) {
    TrainedModel trained = model(2);
    std::vector<double> x(images.begin(), images.end());
    for (double& value : x) value += 0.5;
    EXPECT_EQ(trained.encode(x), trained.encode(images));  // centers of the bins
    std::vector<double> upstream(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) upstream[i] = std::sin(static_cast<double>(i));
    const std::vector<float> gradient = trained.encode_gradient(x, upstream);
    double square = 0;
    for (const float g : gradient) square += static_cast<double>(g) * g;
    ASSERT_GT(square, 0);
    const auto along = [&](double step) {  // the product of upstream and the latents, as above
        std::vector<double> moved = x;
        for (std::size_t i = 0; i < x.size(); ++i) moved[i] += step * gradient[i] / std::sqrt(square);
        const std::vector<double> latents = trained.encode(moved);
        return std::inner_product(latents.begin(), latents.end(), upstream.begin(), 0.0);
    };
    EXPECT_NEAR((along(0.05) - along(-0.05)) / 0.1 / std::sqrt(square), 1, 5e-3);
    EXPECT_THROW(trained.encode_gradient(x, {1.0, 2.0}), InvalidArgument);
    std::vector<double> bad = x;
    bad[0] = std::numeric_limits<double>::infinity();
    EXPECT_THROW(trained.encode_gradient(bad, upstream), InvalidArgument);
    EXPECT_EQ(trained.encode_gradient(x, upstream), gradient);
}

TEST_F(Library, TakesOtherImageSizes) {
    TrainedModel trained = model(2);
    trained.set_image_size(8, 24);
    EXPECT_EQ(trained.shape().dimensions(), 8 * 24 * 3);
    EXPECT_EQ(trained.trained_shape().dimensions(), 16 * 16 * 3);
    const std::vector<std::uint8_t> others(images.begin(), images.begin() + 5 * 8 * 24 * 3);
    const std::vector<double> bits = trained.bits_per_dim(others);
    ASSERT_EQ(bits.size(), 5u);
    const InputGradient gradient = trained.input_gradient(others);
    EXPECT_EQ(gradient.log_prob, trained.log_prob(others));
    EXPECT_EQ(gradient.gradient.size(), others.size());
    EXPECT_EQ(trained.decode(trained.encode(others)), others);
    const std::vector<double> maps = trained.log_density_map(others), nats = trained.log_prob(others);
    ASSERT_EQ(maps.size(), 5u * 2 * 6);
    for (std::size_t n = 0; n < nats.size(); ++n)
        EXPECT_NEAR(std::accumulate(&maps[12 * n], &maps[12 * n] + 12, 0.0), nats[n],
                    1e-9 * std::abs(nats[n]));
    EXPECT_EQ(trained.sample(2).size(), 2u * 8 * 24 * 3);

    // A size that does not fit changes nothing.
    for (const auto& [height, width] : {std::pair{8, 22}, {0, 8}, {1 << 17, 8}})
        EXPECT_THROW(trained.set_image_size(height, width), std::runtime_error) << height;
    EXPECT_EQ(trained.bits_per_dim(others), bits);
    trained.set_image_size(16, 16);
    EXPECT_EQ(trained.bits_per_dim(images), model(2).bits_per_dim(images));
    EXPECT_EQ(trained.input_gradient(images).log_prob, trained.log_prob(images));
}

TEST_F(Library, InputGradientOfDistantImages) {
    // So far from images, float rounding makes reconstruction drift, and every state is saved instead.
    TrainedModel trained = model(2);
    std::vector<double> x(images.begin(), images.end());
    for (double& value : x) value = 1e4 * (value - 128);
    const InputGradient first = trained.input_gradient(x), again = trained.input_gradient(x);
    EXPECT_EQ(first.log_prob, again.log_prob);
    EXPECT_EQ(first.gradient, again.gradient);
    for (const float slope : first.gradient) ASSERT_TRUE(std::isfinite(slope));
}

#if !defined(__SANITIZE_ADDRESS__)  // which needs all addresses itself
// Without memory for every state there is an error, and the model can still be used.
TEST_F(Library, InputGradientSurvivesLackOfMemory) {
    TrainedModel trained(file, {.averaged = false, .device = "cpu", .batch = 1 << 14, .threads = 1});
    std::vector<double> near(images.begin(), images.end()), distant = near;
    for (double& value : distant) value = 1e4 * (value - 128);
    const InputGradient expected = trained.input_gradient(near);

    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    const rlimit little{pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20),
                        before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_AS, &little), 0);
    for (int attempt = 0; attempt < 2; ++attempt)
        EXPECT_THROW(trained.input_gradient(distant), std::runtime_error);
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);

    EXPECT_EQ(trained.input_gradient(near).gradient, expected.gradient);
    EXPECT_EQ(trained.input_gradient(distant).log_prob.size(), expected.log_prob.size());
}
#endif

TEST_F(Library, InputGradientRefusesWhatIsNotFinite) {
    TrainedModel trained = model(1);
    std::vector<double> x(images.begin(), images.end());
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        x[3 * 16 * 16 * 3 + 7] = bad;
        try {
            trained.input_gradient(x);
            FAIL() << bad;
        } catch (const std::runtime_error& error) {
            EXPECT_NE(std::string(error.what()).find("image 3 is not finite"), std::string::npos);
        }
    }
    EXPECT_THROW(trained.input_gradient(std::vector<double>(7)), std::runtime_error);
}

TEST_F(Library, RefusesNumbersOutOfRange) {
    for (std::int64_t ModelShape::*const member :
         {&ModelShape::height, &ModelShape::width, &ModelShape::channels, &ModelShape::levels,
          &ModelShape::depth, &ModelShape::hidden})
        for (const std::int64_t value : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1},
                                         std::int64_t{0}, std::int64_t{1} << 40}) {
            TrainOptions wrong = options(1);
            wrong.shape.*member = value;
            EXPECT_THROW(ModelTrainer{wrong}, InvalidArgument) << value;
        }
    for (const int threads : {-5, 4097, 1000000}) {
        EXPECT_THROW(model(threads), std::runtime_error) << threads;
        EXPECT_THROW(ModelTrainer(options(threads)), std::runtime_error) << threads;
    }
    TrainedModel trained = model(1);
    for (const std::int64_t count : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{1} << 62})
        EXPECT_THROW(trained.sample(count), std::runtime_error) << count;
}

TEST_F(Library, OtherThreadsGetSameBits) {
    TrainedModel used = model(4), fresh = model(4);
    EXPECT_EQ(error(used), 0);
    std::thread([&] {
        EXPECT_EQ(error(used), 0);
        EXPECT_EQ(error(fresh), 0);
    }).join();
    EXPECT_EQ(error(fresh), 0);
    EXPECT_EQ(used.threads(), 4);
}

TEST_F(Library, OpenMpSettingsChangeNothing) {
    TrainedModel opened_before = model(4);
    const int before = omp_get_max_threads();
    for (const int threads : {1, 2, 9}) {
        omp_set_num_threads(threads);
        omp_set_dynamic(1);
        EXPECT_EQ(error(opened_before), 0);
        TrainedModel opened_now = model(4);
        EXPECT_EQ(error(opened_now), 0);
        EXPECT_EQ(omp_get_max_threads(), threads);
        EXPECT_EQ(omp_get_dynamic(), 1);
    }
    omp_set_dynamic(0);
    omp_set_num_threads(before);
}

TEST_F(Library, WorksInParallelRegion) {
    TrainedModel used = model(4), fresh = model(4);
    EXPECT_EQ(error(used), 0);
#pragma omp parallel num_threads(2)
#pragma omp single
    {
        EXPECT_LT(error(used), kRounding);
        EXPECT_LT(error(fresh), kRounding);
    }
    EXPECT_EQ(error(used), 0);
    EXPECT_EQ(error(fresh), 0);
}

TEST_F(Library, OneModelPerThreadOfParallelRegion) {
    double largest[3] = {};
    int threads[3] = {};
    std::vector<std::unique_ptr<TrainedModel>> models(3);
#pragma omp parallel for num_threads(3) schedule(static)
    for (int i = 0; i < 3; ++i) {
        models[i] = std::make_unique<TrainedModel>(model(4));
        threads[i] = models[i]->threads();
        for (int turn = 0; turn < 3; ++turn) {
            const double now = error(*models[i]);
            if (!(now <= largest[i])) largest[i] = now;
        }
    }
    for (int i = 0; i < 3; ++i) {
        EXPECT_LT(largest[i], kRounding);
        EXPECT_EQ(threads[i], 1);
        EXPECT_LT(error(*models[i]), kRounding);
    }
}

TEST_F(Library, TrainsInParallelRegion) {
    ModelTrainer normal(options(4)), inside(options(4));
    normal.initialize(images);
    inside.initialize(images);
    for (int step = 0; step < 3; ++step) {
        const double expected = normal.step(images);
        double found = 0;
#pragma omp parallel num_threads(2)
#pragma omp single
        found = inside.step(images);
        EXPECT_NEAR(found, expected, 1e-4);  // the steps' roundings add up
    }
}

}  // namespace
}  // namespace glow
