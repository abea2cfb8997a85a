// The golden files: results of an independent PyTorch model in double for the same checkpoints
// (tests/reference/README.md).
#include "data/formats/hdf5_file.h"
#include "inference/evaluate.h"
#include "inference/image_arrays.h"
#include "inference/loaded_model.h"
#include "inference/model_file.h"
#include "tests/train/training.h"

namespace glow {
namespace {

std::filesystem::path golden(const std::string& name) {
    return std::filesystem::path(GLOW_GOLDEN_FOLDER) / (name + ".h5");
}

template <class T>
std::vector<T> read(const Hdf5File& file, const std::string& name) {
    return file.read<T>(name, file.describe(name).shape);
}

TrainingOptions golden_options(const std::string& name) {
    TrainingOptions options;
    options.model = read_checkpoint_info(golden(name)).model;
    options.batch = options.init_batch = 4;
    options.dequant = Dequantization::center;
    return options;
}

// Classes of the images, or -1, which no kernel may read, if the model is not conditional.
std::vector<std::int32_t> golden_labels(const Hdf5File& file) {
    if (!file.exists("/golden/labels")) return std::vector<std::int32_t>(4, -1);
    return read<std::int32_t>(file, "/golden/labels");
}

class Golden : public testing::TestWithParam<std::string> {
  protected:
    Golden() : file_(Hdf5File::open(golden(GetParam()))) {}

    std::vector<std::uint8_t> images() const { return read<std::uint8_t>(file_, "/golden/images"); }
    std::vector<std::int32_t> labels() const { return golden_labels(file_); }
    // /golden/eps in the flow's order, deepest level first.
    std::vector<double> eps(index_t levels) const {
        std::vector<double> all;
        for (index_t l = levels; l-- > 0;) {
            const auto part = read<double>(file_, "/golden/eps/level" + std::to_string(l));
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }

    Hdf5File file_;
};

TEST_P(Golden, BitsPerDim) {
    const Backend backend(Device::cpu, 2);
    LoadedModel model(golden(GetParam()), false, Precision::fp32, 4, backend);
    const auto pixels = images();
    const auto classes = labels();
    const std::uint64_t numbers[4] = {};
    std::vector<double> bits(4), bits_y(4);
    evaluate(model.runnable(), {4, pixels.data(), numbers, classes.data()}, {.kind = Dequantization::center},
             {.bits_per_dim = bits.data(), .bits_y = bits_y.data()});
    const auto expected = read<double>(file_, "/golden/bpd");
    // Float networks: 6e-8 relative in about a dozen network outputs of order one.
    for (int n = 0; n < 4; ++n) EXPECT_NEAR(bits[n], expected[n], 1e-6);
    ASSERT_EQ(model.glow().has_classifier(), file_.exists("/golden/bits_y"));
    if (!model.glow().has_classifier()) return;
    const auto expected_y = read<double>(file_, "/golden/bits_y");
    for (int n = 0; n < 4; ++n) EXPECT_NEAR(bits_y[n], expected_y[n], 1e-5);
}

TEST_P(Golden, GradientOfImages) {
    const Backend backend(Device::cpu, 2);
    LoadedModel model(golden(GetParam()), false, Precision::fp32, 3, backend);  // two passes
    const ModelConfig& config = model.info().model;
    const auto classes = labels();
    std::vector<double> centers;  // of the pixels' bins
    const double width = 1 << (8 - config.n_bits);
    for (const std::uint8_t pixel : images()) centers.push_back((std::floor(pixel / width) + 0.5) * width);
    std::vector<double> log_density(4);
    std::vector<float> gradient(centers.size());
    const PixelArray array{4, centers.data(), config.y_cond ? classes.data() : nullptr};
    DensityGradient(model, backend).run(array, 0, log_density.data(), gradient.data());

    const auto bits = read<double>(file_, "/golden/bpd");
    for (int n = 0; n < 4; ++n) EXPECT_NEAR(config.bits_per_dim(log_density[n]), bits[n], 1e-6);
    const auto expected = read<double>(file_, "/golden/input_gradient");
    const auto error = [&](double factor) {
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            difference += std::pow(factor * gradient[i] - expected[i], 2);
            norm += std::pow(expected[i], 2);
        }
        return std::sqrt(difference / norm);
    };
    EXPECT_LE(error(1), 1e-5);  // rounding of float networks
    EXPECT_GE(error(1.0001), 5e-5);
}

TEST_P(Golden, EncodingMatchesLatents) {
    const Backend backend(Device::cpu, 2);
    LoadedModel model(golden(GetParam()), false, Precision::fp32, 4, backend);
    const index_t D = model.info().model.dimensions();
    const auto pixels = images();
    const auto classes = labels();
    Flow flow = model.buffers().flow(4, classes.data());
    dequantize(model.context().exec, {4, D, model.info().model.n_bits, pixels.data()},
               {.kind = Dequantization::center}, flow.h);
    model.glow().encode(model.context(), flow);
    const auto expected = eps(model.info().model.levels);
    ASSERT_EQ(static_cast<index_t>(expected.size()), 4 * D);
    // As above, amplified by scales of up to 10.
    for (index_t i = 0; i < 4 * D; ++i) ASSERT_NEAR(flow.h[i], expected[i], 1e-5) << i;
}

TEST_P(Golden, DecodingRestoresImages) {
    const Backend backend(Device::cpu, 2);
    LoadedModel model(golden(GetParam()), false, Precision::fp32, 4, backend);
    const int n_bits = model.info().model.n_bits;
    const auto expected = eps(model.info().model.levels);
    const auto classes = labels();
    Flow flow = model.buffers().flow(4, classes.data());
    std::copy(expected.begin(), expected.end(), flow.h);
    model.glow().decode(model.context(), flow);
    std::vector<std::uint8_t> pixels(expected.size());
    quantize(model.context().exec, static_cast<index_t>(pixels.size()), n_bits, flow.h, pixels.data());
    // Bin centers are at least 1/512 from the edges, more than float rounding.
    auto wanted = images();
    for (auto& pixel : wanted) pixel = static_cast<std::uint8_t>(pixel >> (8 - n_bits) << (8 - n_bits));
    EXPECT_EQ(pixels, wanted);
}

// The largest relative error of a tensor's gradient, with expected gradients scaled by `factor`.
double gradient_error(const std::string& name, const Hdf5File& file, MemoryMode memory, double factor) {
    TrainingOptions options = golden_options(name);
    options.memory = memory;
    Training training(options);
    load_checkpoint(golden(name), training.trainer.glow().parameters(), training.backend.exec(),
                    training.trainer.weights());
    training.trainer.weights_changed();
    const auto pixels = read<std::uint8_t>(file, "/golden/images");
    const auto classes = golden_labels(file);
    const std::uint64_t numbers[4] = {};
    StepResult result;
    const auto gradient = training.gradient({4, pixels.data(), numbers, classes.data()}, &result);
    // Float networks; see BitsPerDim.
    EXPECT_NEAR(result.loss, read<double>(file, "/golden/loss")[0], 1e-6);
    EXPECT_EQ(file.arrays("/golden/gradients").size(), training.tensors().size());
    double worst = 0;
    for (const Tensor& tensor : training.tensors()) {
        auto expected = file.read<double>("/golden/gradients/" + tensor.name, tensor.shape);
        for (double& value : expected) value *= factor;
        const double error = relative_l2(gradient.data() + tensor.offset, expected.data(), expected.size());
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

TEST_P(Golden, GradientOfEveryTensor) {
    for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::checkpoint, MemoryMode::store})
        // Sums of about a thousand float products: 1e-6 of their norm. No ReLU of these models is within
        // rounding of 0.
        EXPECT_LT(gradient_error(GetParam(), file_, memory, 1.0), 1e-5) << to_string(memory);
    EXPECT_GT(gradient_error(GetParam(), file_, MemoryMode::reconstruct, 1.01),
              5e-3);  // what is wrong by 1% is seen
}

INSTANTIATE_TEST_SUITE_P(Variants, Golden,
                         testing::Values("affine", "additive", "no_edge_bias", "no_learn_top", "five_bit",
                                         "one_channel", "four_channels", "invconv_lu", "shuffle", "reverse",
                                         "conditional", "bounded_scale"),
                         [](const auto& info) { return info.param; });

TEST(GoldenInitialization, ActnormsFromData) {
    const Hdf5File file = Hdf5File::open(golden("initialization"));
    Training training(golden_options("initialization"));
    Trainer& trainer = training.trainer;
    load_checkpoint(golden("initialization"), trainer.glow().parameters(), training.backend.exec(),
                    {.params = trainer.weights().params});
    const auto pixels = read<std::uint8_t>(file, "/golden/images");
    Flow flow = trainer.buffers().flow(4);
    const ModelConfig& model = training.options.model;
    dequantize(trainer.context().exec, {4, model.dimensions(), model.n_bits, pixels.data()},
               {.kind = Dequantization::center}, flow.h);
    trainer.glow().initialize(trainer.context(), flow);
    const auto names = file.arrays("/golden/initialised");
    std::size_t seen = 0;
    for (const Tensor& tensor : training.tensors()) {
        if (tensor.name.find("actnorm") == std::string::npos) continue;
        ++seen;
        const auto expected = file.read<double>("/golden/initialised/" + tensor.name, tensor.shape);
        for (index_t i = 0; i < tensor.count; ++i)
            // Means and deviations of float network outputs, rounded to float.
            ASSERT_NEAR(training.params()[tensor.offset + i], expected[i], 2e-6 * (1 + std::abs(expected[i])))
                << tensor.name;
    }
    EXPECT_EQ(seen, names.size());
    EXPECT_EQ(seen, 2u * 3 * 2);  // levels, actnorms a step, bias and logs
}

}  // namespace
}  // namespace glow
