// The golden files against the double build: two independent programs that differ only by double rounding
// (tests/reference/README.md). Float networks: golden_test.cpp.
#include <algorithm>
#include <cstdio>

#include "data/formats/hdf5_file.h"
#include "inference/model_config.h"
#include "kernels/dequantize.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

// Differences are 1e-13 and less, of numbers of order one.
constexpr double kTolerance = 1e-10;

template <class T>
std::vector<T> read(const Hdf5File& file, const std::string& name) {
    return file.read<T>(name, file.describe(name).shape);
}

// |a - b| / |b| of `count` elements.
double relative_l2(const double* a, const std::vector<double>& b) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return std::sqrt(difference / norm);
}

// A golden checkpoint's model with its weights, and its images as x.
struct GoldenModel {
    explicit GoldenModel(const std::string& name)
        : file(Hdf5File::open(std::string(GLOW_GOLDEN_FOLDER) + "/" + name + ".h5")),
          config(model_from_json(nlohmann::ordered_json::parse(file.string_attribute("/", "config")))),
          images(read<std::uint8_t>(file, "/golden/images")),
          N(static_cast<index_t>(images.size()) / config.dimensions()),
          model(config, N) {
        Parameters& parameters = model.glow.parameters();
        for (const Tensor& tensor : parameters.tensors())
            fill_from(file.read<float>("/params/" + tensor.name, tensor.shape),
                      parameters.values() + tensor.offset);
        for (const Tensor& tensor : parameters.fixed_tensors()) {
            real* const values = parameters.fixed() + tensor.offset;
            if (tensor.integer)
                fill_from(file.read<std::int32_t>("/params/" + tensor.name, tensor.shape), values);
            else
                fill_from(file.read<float>("/params/" + tensor.name, tensor.shape), values);
        }
        model.prepare();
        if (file.exists("/golden/labels")) model.labels = read<std::int32_t>(file, "/golden/labels");
        model.flow.labels = model.labels.data();
        dequantize(model.machine.context.exec, {N, config.dimensions(), config.n_bits, images.data()},
                   {.kind = Dequantization::center}, model.x.data());
    }
    template <class T>
    static void fill_from(const std::vector<T>& from, real* to) {
        std::copy(from.begin(), from.end(), to);
    }
    // The largest relative error of a tensor's gradient, with expected gradients scaled by `factor`.
    double gradient_error(const MemoryPolicy& policy, double factor) {
        std::fill(model.values.gradient.begin(), model.values.gradient.end(), 0.0);
        SavedActivations saved(model.machine.stored, policy);
        model.forward(&saved);
        const double images_in_all = static_cast<double>(N);
        Gradient gradient{model.dh.data(),
                          -1.0 / (static_cast<double>(config.dimensions()) * std::log(2.0) * images_in_all),
                          config.weight_y / images_in_all,
                          {model.values.gradient.data()}};
        model.glow.backward(model.machine.context, model.flow, gradient, saved);
        double worst = 0;
        for (const Tensor& tensor : model.glow.parameters().tensors()) {
            auto expected = file.read<double>("/golden/gradients/" + tensor.name, tensor.shape);
            for (double& value : expected) value *= factor;
            const double error = relative_l2(model.values.gradient.data() + tensor.offset, expected);
            if (!(error <= worst)) worst = error;
        }
        return worst;
    }

    Hdf5File file;
    ModelConfig config;
    std::vector<std::uint8_t> images;
    index_t N;
    Model model;
};

class GoldenDouble : public testing::TestWithParam<const char*> {};

TEST_P(GoldenDouble, LikelihoodAndLatents) {
    GoldenModel golden(GetParam());
    Model& model = golden.model;
    model.h = model.x;
    model.glow.encode(model.machine.context, model.flow);
    const auto bits = read<double>(golden.file, "/golden/bpd");
    for (index_t n = 0; n < golden.N; ++n)
        EXPECT_NEAR(model.glow.config().bits_per_dim(model.logdet[n] + model.prior[n]), bits[n], kTolerance);
    if (model.glow.has_classifier()) {
        const auto bits_y = read<double>(golden.file, "/golden/bits_y");
        for (index_t n = 0; n < golden.N; ++n) EXPECT_NEAR(model.bits_y[n], bits_y[n], kTolerance);
    }
    std::vector<double> eps;  // deepest level first, as in the flow
    for (index_t l = golden.config.levels; l-- > 0;) {
        const auto part = read<double>(golden.file, "/golden/eps/level" + std::to_string(l));
        eps.insert(eps.end(), part.begin(), part.end());
    }
    EXPECT_LE(largest_difference(model.h, eps), kTolerance);

    model.h = eps;
    model.glow.decode(model.machine.context, model.flow);
    EXPECT_LE(largest_difference(model.h, model.x), kTolerance);
}

TEST_P(GoldenDouble, GradientOfEveryTensor) {
    GoldenModel golden(GetParam());
    for (const MemoryPolicy& policy : {MemoryPolicy{}, MemoryPolicy{1, false}, MemoryPolicy{1, true}}) {
        const double error = golden.gradient_error(policy, 1.0);
        std::printf("worst relative error of a tensor's gradient: %.1e\n", error);
        EXPECT_LE(error, kTolerance);
    }
    EXPECT_GE(golden.gradient_error({}, 1.000001), 5e-7);  // what is wrong by a millionth is seen
}

TEST_P(GoldenDouble, GradientOfImages) {
    GoldenModel golden(GetParam());
    Model& model = golden.model;
    SavedActivations saved(model.machine.stored, {});
    model.forward(&saved);
    Gradient gradient{model.dh.data(), 1.0 / 256, 0, {model.values.gradient.data()}};  // per gray level
    model.glow.backward(model.machine.context, model.flow, gradient, saved);
    const auto expected = read<double>(golden.file, "/golden/input_gradient");
    EXPECT_LE(relative_l2(model.dh.data(), expected), kTolerance);
    for (double& value : model.dh) value *= 1.000001;
    EXPECT_GE(relative_l2(model.dh.data(), expected), 5e-7);
}

INSTANTIATE_TEST_SUITE_P(Variants, GoldenDouble,
                         testing::Values("affine", "additive", "no_edge_bias", "no_learn_top", "five_bit",
                                         "one_channel", "four_channels", "invconv_lu", "shuffle", "reverse",
                                         "conditional", "bounded_scale"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GoldenDouble, InitializationFromData) {
    GoldenModel golden("initialization");
    Model& model = golden.model;
    model.h = model.x;
    model.glow.initialize(model.machine.context, model.flow);
    int seen = 0;
    for (const Tensor& tensor : model.glow.parameters().tensors()) {
        if (tensor.name.find("actnorm") == std::string::npos) continue;
        ++seen;
        const auto expected = golden.file.read<double>("/golden/initialised/" + tensor.name, tensor.shape);
        EXPECT_LE(relative_l2(model.values.value.data() + tensor.offset, expected), kTolerance)
            << tensor.name;
    }
    EXPECT_EQ(seen, 2 * 3 * 2);  // levels, actnorms a step, bias and logs
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
