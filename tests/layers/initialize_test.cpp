// Data-dependent initialization, compared with running the layers one by one.
#include "tests/layers/direct_network.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

// Mean and mean square of every channel of y [rows, C].
void expect_normalized(const std::vector<double>& y, index_t C, const std::string& where) {
    const index_t rows = static_cast<index_t>(y.size()) / C;
    for (index_t c = 0; c < C; ++c) {
        double mean = 0, square = 0;
        for (index_t row = 0; row < rows; ++row) {
            mean += y[row * C + c] / static_cast<double>(rows);
            square += y[row * C + c] * y[row * C + c] / static_cast<double>(rows);
        }
        EXPECT_NEAR(mean, 0, 1e-11) << where << ", channel " << c;
        // s / (s + 1e-6) with deviations s of 0.01 and more.
        EXPECT_NEAR(square, 1, 2.1e-4) << where << ", channel " << c;
        EXPECT_LE(square, 1 + 1e-12) << where << ", channel " << c;
    }
}

struct Fresh : Model {
    Fresh(index_t N, index_t tile) : Model(make_config(8, 8, 3, 2, 3, 6), N, {Precision::fp32, tile}) {
        glow.parameters().initialize(9, machine.backend.solver());
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.2 * x[i] + 0.1 * static_cast<double>(i % 3);
    }
    void initialize() {
        h = x;
        glow.initialize(machine.context, flow);
    }
};

TEST(Initialize, NormalizesEveryActnorm) {
    for (const index_t tile : {0, 2}) {
        Fresh model(5, tile);
        model.initialize();
        const std::vector<double> z = model.h;
        // Second pass by hand, through the initialized layers.
        const Parameters& parameters = model.glow.parameters();
        model.h = model.x;
        for (std::size_t l = 0; l < 2; ++l) {
            Glow::Level& level = model.glow.levels()[l];
            const Shape& shape = level.shape;
            level.squeeze.forward(model.machine.context, model.flow);
            for (std::size_t k = 0; k < level.steps.size(); ++k) {
                const std::string name = "level" + std::to_string(l) + "/step" + std::to_string(k);
                const real* const bias = tensor_values(parameters, name + "/actnorm/bias");
                const real* const logs = tensor_values(parameters, name + "/actnorm/logs");
                std::vector<double> y(model.h.begin(), model.h.begin() + 5 * shape.size());
                for (std::size_t i = 0; i < y.size(); ++i)
                    y[i] = (y[i] + bias[i % shape.C]) * std::exp(3 * logs[i % shape.C]);
                expect_normalized(y, shape.C, name);
                level.steps[k]->mixing.forward(model.machine.context, model.flow);
                const DirectNetwork network = direct_network(parameters, name + "/coupling", shape, 5, 6,
                                                             shape.C, true, model.h.data());
                expect_normalized(network.normal1, 6, name + "/conv1");
                expect_normalized(network.normal2, 6, name + "/conv2");
                level.steps[k]->coupling.forward(model.machine.context, model.flow);
            }
            if (level.split) level.split->forward(model.machine.context, model.flow);
        }
        EXPECT_EQ(model.h, z);
    }
}

TEST(Initialize, DoesNotDependOnTiles) {
    Fresh all(5, 5);
    all.initialize();
    for (const index_t tile : {1, 2, 0}) {
        Fresh tiled(5, tile);
        tiled.initialize();
        // Moments are summed in another order, and each layer depends on the previous one.
        EXPECT_LE(largest_difference(tiled.values.value, all.values.value), 1e-10);
        EXPECT_LE(largest_difference(tiled.h, all.h), 1e-10);
    }
}

TEST(Initialize, EqualsForward) {
    Fresh model(4, 0);
    model.initialize();
    const std::vector<double> z = model.h, logdet = model.logdet, prior = model.prior;
    model.forward();  // without derive() in between
    EXPECT_EQ(model.h, z);
    EXPECT_EQ(model.logdet, logdet);
    EXPECT_EQ(model.prior, prior);
    model.prepare();
    model.forward();
    EXPECT_EQ(model.h, z);
}

TEST(Initialize, DependsOnlyOnData) {
    Fresh once(4, 0), twice(4, 0);
    once.initialize();
    twice.initialize();
    twice.initialize();
    EXPECT_EQ(twice.values.value, once.values.value);
    EXPECT_EQ(twice.h, once.h);
}

TEST(Parameters, InitialValuesMatchSpecification) {
    Fresh model(1, 0);
    const Parameters& parameters = model.glow.parameters();
    index_t end = 0, count = 0;
    for (const Tensor& tensor : parameters.tensors()) {
        EXPECT_EQ(tensor.offset % 16, 0);
        EXPECT_GE(tensor.offset, end);
        for (index_t i = end; i < tensor.offset; ++i) EXPECT_EQ(model.values.value[i], 0);  // a gap
        end = tensor.offset + tensor.count;
        count += tensor.count;
        const real* const values = parameters.values() + tensor.offset;
        double square = 0, largest = 0;
        for (index_t i = 0; i < tensor.count; ++i) {
            square += values[i] * values[i] / static_cast<double>(tensor.count);
            largest = std::max<double>(largest, std::abs(values[i]));
        }
        if (tensor.init == Init::zeros) {
            EXPECT_EQ(largest, 0) << tensor.name;
        } else if (tensor.init == Init::normal) {
            // Five standard deviations of the estimate.
            EXPECT_NEAR(square / 0.0025, 1, 5 * std::sqrt(2.0 / static_cast<double>(tensor.count)))
                << tensor.name;
        } else {
            const index_t C = tensor.shape[0];
            for (index_t i = 0; i < C; ++i)
                for (index_t j = 0; j < C; ++j) {
                    double product = 0;
                    for (index_t k = 0; k < C; ++k) product += values[k * C + i] * values[k * C + j];
                    EXPECT_NEAR(product, i == j, 1e-14) << tensor.name;
                }
        }
    }
    EXPECT_EQ(parameters.count(), count);
    EXPECT_LE(end, parameters.size());
    // Different seeds give different numbers, equal seeds equal ones.
    const std::vector<double> first = model.values.value;
    parameters.initialize(10, model.machine.backend.solver());
    EXPECT_NE(model.values.value, first);
    parameters.initialize(9, model.machine.backend.solver());
    EXPECT_EQ(model.values.value, first);
}

TEST(Parameters, HiddenWeightsHaveStandardDeviation) {
    ModelConfig config = make_config(2, 2, 1, 1, 1, 512);
    Glow glow(config, {});
    Machine machine;
    const Values values(glow.parameters(), machine.backend.solver(), 3);
    glow.parameters().initialize(9, machine.backend.solver());
    double squares = 0, count = 0;
    for (const Tensor& tensor : glow.parameters().tensors()) {
        if (tensor.init != Init::normal) continue;
        const real* const first = glow.parameters().values() + tensor.offset;
        for (index_t i = 0; i < tensor.count; ++i) squares += first[i] * first[i];
        count += static_cast<double>(tensor.count);
    }
    // 2.8e5 numbers: the estimate has standard deviation 1 / sqrt(2 n), 0.13%.
    EXPECT_GT(count, 2.7e5);
    EXPECT_NEAR(std::sqrt(squares / count) / 0.05, 1, 0.005);
}

TEST(Parameters, HaveCheckpointNamesAndShapes) {
    ModelConfig config = make_config(8, 8, 1, 2, 1, 6);
    const Glow glow(config, {});
    const auto text = [&] {
        std::string all;
        for (const Tensor& tensor : glow.parameters().tensors()) {
            all += tensor.name + " [";
            for (const index_t extent : tensor.shape) all += std::to_string(extent) + ",";
            all += "]\n";
        }
        return all;
    }();
    EXPECT_EQ(text,
              "level0/step0/actnorm/bias [4,]\n"
              "level0/step0/actnorm/logs [4,]\n"
              "level0/step0/invconv/weight [4,4,]\n"
              "level0/step0/coupling/conv1/weight [6,3,3,3,]\n"
              "level0/step0/coupling/conv1/actnorm/bias [6,]\n"
              "level0/step0/coupling/conv1/actnorm/logs [6,]\n"
              "level0/step0/coupling/conv2/weight [6,1,1,6,]\n"
              "level0/step0/coupling/conv2/actnorm/bias [6,]\n"
              "level0/step0/coupling/conv2/actnorm/logs [6,]\n"
              "level0/step0/coupling/conv3/weight [4,3,3,7,]\n"
              "level0/step0/coupling/conv3/bias [4,]\n"
              "level0/step0/coupling/conv3/logs [4,]\n"
              "level0/split/weight [4,3,3,3,]\n"
              "level0/split/bias [4,]\n"
              "level0/split/logs [4,]\n"
              "level1/step0/actnorm/bias [8,]\n"
              "level1/step0/actnorm/logs [8,]\n"
              "level1/step0/invconv/weight [8,8,]\n"
              "level1/step0/coupling/conv1/weight [6,3,3,5,]\n"
              "level1/step0/coupling/conv1/actnorm/bias [6,]\n"
              "level1/step0/coupling/conv1/actnorm/logs [6,]\n"
              "level1/step0/coupling/conv2/weight [6,1,1,6,]\n"
              "level1/step0/coupling/conv2/actnorm/bias [6,]\n"
              "level1/step0/coupling/conv2/actnorm/logs [6,]\n"
              "level1/step0/coupling/conv3/weight [8,3,3,7,]\n"
              "level1/step0/coupling/conv3/bias [8,]\n"
              "level1/step0/coupling/conv3/logs [8,]\n"
              "prior/top/weight [16,3,3,1,]\n"
              "prior/top/bias [16,]\n"
              "prior/top/logs [16,]\n");
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
