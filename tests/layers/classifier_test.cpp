#include "layers/classifier.h"

#include "tests/layers/direct_network.h"
#include "tests/layers/fixture.h"
#include "tests/layers/gradient_check.h"

namespace glow::inline GLOW_REAL {
namespace {

struct ClassifierHarness {
    ClassifierHarness(index_t classes, index_t N, const Shape& shape)
        : shape(shape),
          classes(classes),
          classifier(config(classes), shape, parameters),
          values(parameters, machine.backend.solver(), 5),
          z(Random(6).normals(N * shape.size())),
          dz(z.size(), real{0.25}),
          bits(N, -1.0),
          error(N, -1.0),
          labels(N),
          flow{N, z.data(), nullptr, nullptr, labels.data(), bits.data(), error.data()} {
        for (index_t n = 0; n < N; ++n) labels[n] = static_cast<std::int32_t>((n * n + 1) % classes);
    }
    static ModelConfig config(index_t classes) {
        ModelConfig config;
        config.y_cond = true;
        config.n_classes = classes;
        config.weight_y = 1;
        return config;
    }
    double loss() {
        classifier.forward(machine.context, flow);
        return 0.7 * sum(bits);
    }

    Machine machine;
    Shape shape;
    index_t classes;
    Parameters parameters;
    Classifier classifier;
    Values values;
    std::vector<double> z;
    std::vector<real> dz;
    std::vector<double> bits, error;
    std::vector<std::int32_t> labels;
    Flow flow;
};

TEST(Classifier, GradientsMatchDifferencesAndAccumulate) {
    for (const Shape& shape : {Shape{2, 3, 4}, Shape{1, 1, 5}}) {
        ClassifierHarness harness(3, 5, shape);
        harness.loss();
        Gradient gradient{harness.dz.data(), 0, 0.7, {harness.values.gradient.data()}};
        harness.classifier.backward(harness.machine.context, harness.flow, gradient);
        for (real& value : harness.dz) value -= real{0.25};  // subtract the initial value
        std::vector<Block> blocks = parameter_blocks(harness.parameters, harness.values.gradient);
        blocks.push_back({"z", harness.z.data(), harness.dz.data(), 5 * shape.size()});
        check_gradients(blocks, [&] { return harness.loss(); });
        const std::vector<double> once = harness.values.gradient;
        harness.classifier.backward(harness.machine.context, harness.flow, gradient);
        for (std::size_t i = 0; i < once.size(); ++i)
            ASSERT_NEAR(harness.values.gradient[i], 2 * once[i], 1e-12 * (1 + std::abs(once[i])));
    }
}

// -log2 softmax((mean z W + b) exp(3 logs))[y], and whether another class is equally likely.
TEST(Classifier, MatchesSpecification) {
    const Shape shape{2, 3, 4};
    for (const index_t classes : {1, 2, 7}) {
        ClassifierHarness harness(classes, 5, shape);
        harness.loss();
        const real* const W = tensor_values(harness.parameters, "classifier/weight");
        const real* const b = tensor_values(harness.parameters, "classifier/bias");
        const real* const logs = tensor_values(harness.parameters, "classifier/logs");
        for (index_t n = 0; n < 5; ++n) {
            std::vector<double> logits(classes);
            double total = 0;
            bool wrong = false;
            for (index_t k = 0; k < classes; ++k) {
                double sum = b[k];
                for (index_t p = 0; p < 6; ++p)
                    for (index_t c = 0; c < 4; ++c)
                        sum += harness.z[(n * 6 + p) * 4 + c] / 6 * W[c * classes + k];
                logits[k] = sum * std::exp(3 * logs[k]);
                total += std::exp(logits[k]);
            }
            for (index_t k = 0; k < classes; ++k)
                wrong = wrong || (k != harness.labels[n] && logits[k] >= logits[harness.labels[n]]);
            EXPECT_NEAR(harness.bits[n], std::log2(total) - logits[harness.labels[n]] / std::log(2.0), 1e-12);
            EXPECT_EQ(harness.error[n], wrong);
        }
    }
}

// A tie counts as an error regardless of class order, and huge logits do not overflow.
TEST(Classifier, CountsTiesAsErrorsAndHandlesLargeLogits) {
    ClassifierHarness harness(4, 3, {1, 2, 3});
    std::fill(harness.values.value.begin(), harness.values.value.end(), real{0});
    harness.loss();
    EXPECT_EQ(harness.bits, std::vector<double>(3, 2.0));  // log2(4)
    EXPECT_EQ(harness.error, std::vector<double>(3, 1.0));
    harness.values.value[harness.parameters.tensors()[1].offset] = real{1e5};  // bias of class 0
    harness.loss();
    for (index_t n = 0; n < 3; ++n) {
        EXPECT_NEAR(harness.bits[n], harness.labels[n] == 0 ? 0.0 : 1e5 / std::log(2.0), 1e-6);
        EXPECT_EQ(harness.error[n], harness.labels[n] != 0);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
