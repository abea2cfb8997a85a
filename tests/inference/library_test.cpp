// The public library in programs with their own OpenMP settings, threads and parallel regions.
#include <gtest/gtest.h>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <thread>

#include "glow/glow.h"
#include "inference/model_file.h"
#include "tests/data/files.h"
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

TEST_F(Library, InputGradientIsSlopeOfLogProb) {
    TrainedModel trained = model(2);
    const InputGradient bytes = trained.input_gradient(images, {}, 5);
    EXPECT_EQ(bytes.log_prob, trained.log_prob(images, {}, 5));

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
