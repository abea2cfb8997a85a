#include "layers/coupling.h"

#include <stdexcept>
#include <tuple>

#include "tests/layers/direct_conv.h"
#include "tests/layers/direct_network.h"
#include "tests/layers/layer_harness.h"

namespace glow::inline GLOW_REAL {
namespace {

struct Form {
    const char* name;
    CouplingKind kind;
    CouplingScale scale = CouplingScale::sigmoid;
};
constexpr Form kAffine{"affine", CouplingKind::affine},
    kBounded{"bounded", CouplingKind::affine, CouplingScale::tanh},
    kAdditive{"additive", CouplingKind::additive};
void PrintTo(const Form& form, std::ostream* out) {
    *out << form.name;
}

ModelConfig config_of(const Form& form, bool edge, index_t width) {
    ModelConfig config;
    config.coupling = form.kind;
    config.coupling_scale = form.scale;
    config.edge_bias = edge;
    config.width = width;
    return config;
}

struct CouplingHarness : LayerHarness {
    CouplingHarness(const ModelConfig& config, index_t N, const Shape& shape, index_t tile,
                    Engine engine = Engine::gemm)
        : LayerHarness(N, shape, [&](Parameters& parameters) {
              return std::make_unique<Coupling>(coupling_options(config), shape, Precision::fp32, engine,
                                                tile, "step", parameters);
          }) {}
    Coupling* coupling = static_cast<Coupling*>(layer.get());
};

// The scale of an affine coupling from the network's output, as specified.
double expected_scale(CouplingScale scale, double h) {
    return scale == CouplingScale::tanh ? std::exp(2 * std::tanh(h / 2)) : 1 / (1 + std::exp(-(h + 2)));
}

// A coupling whose network also sees 3 channels.
struct ConditionalCoupling : LayerHarness {
    ConditionalCoupling(const ModelConfig& config, index_t N, const Shape& shape, index_t tile)
        : LayerHarness(N, shape, [&](Parameters& parameters) {
              CouplingOptions options = coupling_options(config);
              options.condition = 3;
              return std::make_unique<Coupling>(options, shape, Precision::fp32, Engine::gemm, tile, "step",
                                                parameters);
          }) {
        condition = Random(9).normals(N * shape.pixels() * 3);
    }
};

class CouplingTest : public testing::TestWithParam<std::tuple<Form, bool>> {
  protected:
    ModelConfig config(index_t width) const {
        return config_of(std::get<0>(GetParam()), std::get<1>(GetParam()), width);
    }
};
INSTANTIATE_TEST_SUITE_P(Kinds, CouplingTest,
                         testing::Combine(testing::Values(kAffine, kBounded, kAdditive), testing::Bool()),
                         [](const auto& info) {
                             return std::string(std::get<0>(info.param).name) +
                                    (std::get<1>(info.param) ? "_edge" : "_no_edge");
                         });

TEST_P(CouplingTest, GradientsMatchDifferences) {
    CouplingHarness(config(7), 3, {4, 5, 4}, 2).expect_correct_gradients();  // a whole tile and a rest
    CouplingHarness(config(8), 2, {2, 1, 6}, 0).expect_correct_gradients();
}

// The vendor-convolution engine, with direct sums in place of the library: the same layer up to rounding, in
// blocks of whole images, with correct gradients.
TEST_P(CouplingTest, LibraryConvolutionIsEquivalent) {
    for (const index_t block_pixels : {1, 39, 40, 8192}) {
        const index_t N = 3;
        const Shape shape{4, 5, 4};
        CouplingHarness products(config(7), N, shape, 2), library(config(7), N, shape, 2, Engine::library);
        EXPECT_THROW(library.loss(), std::runtime_error);  // the CPU has none
        DirectConv conv;
        library.machine.context.conv = &conv;
        library.machine.context.blocking.block_pixels = block_pixels;
        EXPECT_NEAR(library.loss(), products.loss(), 1e-12);
        EXPECT_EQ(conv.calls, block_pixels < 40 ? 3 : 2);  // tiles of 2 and 1 images, of 20 pixels each
        for (CouplingHarness* const one : {&products, &library}) one->backward();
        EXPECT_LE(largest_difference(library.h, products.h), 1e-13);
        EXPECT_LE(largest_difference(library.dh, products.dh), 1e-12);
        EXPECT_LE(largest_difference(library.values.gradient, products.values.gradient), 1e-12);
        library.expect_correct_gradients();
    }
}

TEST_P(CouplingTest, BackwardReconstructsInput) {
    CouplingHarness(config(7), 3, {4, 5, 4}, 2).expect_reconstructed_input();
    CouplingHarness(config(8), 2, {1, 1, 2}, 0).expect_reconstructed_input();
}

TEST_P(CouplingTest, GradientsAccumulate) {
    CouplingHarness(config(6), 3, {3, 4, 4}, 1).expect_accumulating_gradients();
}

TEST_P(CouplingTest, LogDeterminantMatchesJacobian) {
    CouplingHarness(config(6), 2, {2, 2, 4}, 1).expect_log_determinant();
}

TEST_P(CouplingTest, ConditionIsPartOfTheInput) {
    ConditionalCoupling(config(7), 3, {4, 5, 4}, 2).expect_correct_gradients();
    ConditionalCoupling(config(8), 2, {1, 1, 2}, 0).expect_reconstructed_input();
    ConditionalCoupling(config(6), 3, {3, 4, 4}, 1).expect_accumulating_gradients();
    ConditionalCoupling(config(6), 2, {2, 2, 4}, 1).expect_log_determinant();
}

// The network of a and the condition, computed pixel by pixel.
TEST_P(CouplingTest, ConditionMatchesSpecification) {
    const Shape shape{3, 4, 4};
    const index_t N = 2, rows = N * shape.pixels(), E = 3;
    ConditionalCoupling conditional(config(7), N, shape, 1);
    conditional.loss();
    std::vector<double> input(rows * 2 * (2 + E));  // whose first half direct_network() reads
    for (index_t row = 0; row < rows; ++row) {
        double* const to = &input[row * 2 * (2 + E)];
        std::copy_n(&conditional.condition[row * E], E, std::copy_n(&conditional.x[row * 4], 2, to));
    }
    const Form& form = std::get<0>(GetParam());
    const bool affine = form.kind == CouplingKind::affine, edge = std::get<1>(GetParam());
    const DirectNetwork network = direct_network(conditional.parameters, "step/coupling", {3, 4, 2 * (2 + E)},
                                                 N, 7, affine ? 4 : 2, edge, input.data());
    for (index_t row = 0; row < rows; ++row)
        for (index_t c = 0; c < 2; ++c) {
            double y = conditional.x[row * 4 + 2 + c];
            if (affine)
                y = (y + network.out[row * 4 + 2 * c]) *
                    expected_scale(form.scale, network.out[row * 4 + 2 * c + 1]);
            else
                y += network.out[row * 2 + c];
            ASSERT_NEAR(conditional.h[row * 4 + 2 + c], y, 1e-13);
        }
}

TEST_P(CouplingTest, MatchesSpecification) {
    const Shape shape{3, 4, 6};
    const index_t N = 3, w = 9, half = shape.C / 2, rows = N * shape.pixels();
    const Form& form = std::get<0>(GetParam());
    const bool affine = form.kind == CouplingKind::affine, edge = std::get<1>(GetParam());
    CouplingHarness harness(config(w), N, shape, 2);
    harness.loss();
    const DirectNetwork network = direct_network(harness.parameters, "step/coupling", shape, N, w,
                                                 affine ? shape.C : half, edge, harness.x.data());
    std::vector<double> logdet(N, 0.0);
    for (index_t row = 0; row < rows; ++row)
        for (index_t c = 0; c < shape.C; ++c) {
            double y = harness.x[row * shape.C + c];
            if (c >= half && affine) {
                const double shift = network.out[row * shape.C + 2 * (c - half)];
                const double scale =
                    expected_scale(form.scale, network.out[row * shape.C + 2 * (c - half) + 1]);
                y = (y + shift) * scale;
                logdet[row / shape.pixels()] += std::log(scale);
            } else if (c >= half) {
                y += network.out[row * half + c - half];
            }
            ASSERT_NEAR(harness.h[row * shape.C + c], y, 1e-13);  // sums of up to 90 terms
        }
    EXPECT_LE(largest_difference(harness.logdet, logdet), 1e-12);
}

// A wide image that im2col blocks (8192 pixels) cut within a tile.
TEST(Coupling, BlockedLargeImagesHaveNoSeam) {
    const Shape shape{70, 128, 2};
    const index_t N = 2, w = 3;
    CouplingHarness harness(config_of(kAffine, true, w), N, shape, 2);
    harness.loss();
    const DirectNetwork network =
        direct_network(harness.parameters, "step/coupling", shape, N, w, shape.C, true, harness.x.data());
    double worst = 0;
    for (index_t row = 0; row < N * shape.pixels(); ++row) {
        const double scale = expected_scale(CouplingScale::sigmoid, network.out[row * 2 + 1]);
        const double y = (harness.x[row * 2 + 1] + network.out[row * 2]) * scale;
        worst = std::max(worst, std::abs(harness.h[row * 2 + 1] - y));
    }
    EXPECT_LE(worst, 1e-13);
    harness.expect_correct_gradients(true);
}

// Policy `store` and recomputation are bit-equal.
TEST_P(CouplingTest, SavedMapsGiveSameGradients) {
    CouplingHarness harness(config(8), 3, {4, 4, 4}, 2);
    harness.loss();
    const std::vector<double> y = harness.h, logdet = harness.logdet;
    std::fill(harness.values.gradient.begin(), harness.values.gradient.end(), 0.0);
    harness.backward();
    const std::vector<double> x = harness.h, dx = harness.dh, gradient = harness.values.gradient;

    const Coupling::SavedMaps saved =
        harness.coupling->take_maps(kCpuBlocking, harness.machine.stored, harness.N);
    harness.run(harness.x,
                [&](Flow& flow) { harness.coupling->forward(harness.machine.context, flow, &saved); });
    EXPECT_EQ(harness.h, y);
    EXPECT_EQ(harness.logdet, logdet);
    std::fill(harness.values.gradient.begin(), harness.values.gradient.end(), 0.0);
    harness.dh = harness.g;
    Flow flow{harness.N, harness.h.data(), harness.logdet.data(), harness.prior.data()};
    Gradient gradients{harness.dh.data(), harness.dlogp, 0, {harness.values.gradient.data()}};
    harness.coupling->backward(harness.machine.context, flow, gradients, &saved);
    EXPECT_EQ(harness.h, x);
    EXPECT_EQ(harness.dh, dx);
    EXPECT_EQ(harness.values.gradient, gradient);
}

TEST(Coupling, RejectsUnsupportedPrecisions) {
    Parameters parameters;
    const ModelConfig config = config_of(kAffine, true, 8);
    EXPECT_THROW(
        Coupling(coupling_options(config), {4, 4, 4}, Precision::tf32, Engine::gemm, 0, "step", parameters),
        std::runtime_error);
}

TEST(ImagesPerTile, FollowsRule) {
    EXPECT_EQ(images_per_tile(3, 1, 1, 100), 3);
    EXPECT_EQ(images_per_tile(30, 1, 1, 10), 10);
    EXPECT_EQ(images_per_tile(0, 256, 512, 100), 16);
    EXPECT_EQ(images_per_tile(0, 256, 512, 4), 4);
    EXPECT_EQ(images_per_tile(0, 1 << 20, 512, 4), 1);
    EXPECT_EQ(images_per_tile(0, 256, 512, 1000, kGpuBlocking), 256);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
