// Maps of log-densities: their sum, and which pixels a position depends on.
// tests/reference/compare_density_map.py compares their values with an independent model.
#include "inference/density_map.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/formats/hdf5_file.h"
#include "inference/evaluate.h"
#include "inference/loaded_model.h"
#include "tests/data/files.h"
#include "tests/support.h"

namespace glow {
namespace {

std::filesystem::path golden(const std::string& name) {
    return std::filesystem::path(GLOW_GOLDEN_FOLDER) / (name + ".h5");
}

std::vector<std::uint8_t> random_pixels(index_t count) {
    test::Random random(3);
    std::vector<std::uint8_t> pixels;
    for (index_t i = 0; i < count; ++i) pixels.push_back(static_cast<std::uint8_t>(random.integer(0, 255)));
    return pixels;
}

class DensityMap : public testing::TestWithParam<std::string> {};

TEST_P(DensityMap, SumsToLogDensity) {
    const Backend backend(Device::cpu, 2);
    LoadedModel model(golden(GetParam()), false, Precision::fp32, 3, backend);
    const index_t N = 5;  // two passes
    const std::vector<std::int32_t> labels = {0, 2, 1, 1, 0};
    for (const ImageSize& size : {image_size(model.config()), ImageSize{16, 8}, ImageSize{24, 40}}) {
        model.resize(size, 3);
        const ModelConfig& config = model.config();
        const ImageSize map_size = density_map_size(config);
        EXPECT_EQ(map_size.H, size.H >> config.levels);
        const index_t positions = map_size.H * map_size.W;
        const std::vector<std::uint8_t> pixels = random_pixels(N * config.dimensions());
        const PixelArray images{N, pixels.data(), config.y_cond ? labels.data() : nullptr};
        std::vector<double> maps(static_cast<std::size_t>(N * positions)), log_density(N);
        DensityMaps(model, backend).run(images, evaluation_noise(model.config(), 7), 2, maps.data());
        log_densities(model.runnable(), images, 7, 2, log_density.data());
        for (index_t n = 0; n < N; ++n) {
            const double* const map = maps.data() + n * positions;
            const double sum = std::accumulate(map, map + positions, 0.0);
            // Double sums of the same terms in another order.
            EXPECT_NEAR(sum, -config.bits_per_dim(log_density[n]) * config.nats_per_bit_dim(),
                        1e-10 * std::abs(sum));
            const auto [least, most] = std::minmax_element(map, map + positions);
            EXPECT_EQ(*least == *most, positions == 1);
        }
    }
}

// A CPU's memory is only reserved, so the process would be killed later.
TEST(PassMemory, MapsAndGradientsRefuseMoreThanTheHostHas) {
    const Backend backend(Device::cpu, 1);
    const auto load = [&](index_t images) {
        return std::make_unique<LoadedModel>(golden("affine"), false, Precision::fp32, images, backend);
    };
    index_t fitting = 1;  // the most images for which likelihoods fit
    for (index_t more = index_t{1} << 32; more > 0; more /= 2) {
        try {
            load(fitting + more);
            fitting += more;
        } catch (const InputError& error) {
            EXPECT_NE(std::string(error.what()).find("at once, need"), std::string::npos) << error.what();
        }
    }
    const auto model = load(fitting);
    EXPECT_THROW(DensityGradient(*model, backend), InputError);
    EXPECT_THROW(DensityMaps(*model, backend), InputError);
    const auto less = load(fitting / 64);
    DensityGradient(*less, backend);
    DensityMaps(*less, backend);
}

// Each fits alone, but not both.
TEST(PassMemory, MapsAndGradientsAreCheckedTogether) {
    const Backend backend(Device::cpu, 1);
    const auto load = [&](index_t images) {
        return std::make_unique<LoadedModel>(golden("affine"), false, Precision::fp32, images, backend);
    };
    const auto fits = [&](index_t images) {
        try {
            const auto model = load(images);
            DensityGradient(*model, backend);
            DensityMaps(*model, backend);
            return true;
        } catch (const InputError&) {
            return false;
        }
    };
    index_t fitting = 1;
    for (index_t more = index_t{1} << 32; more > 0; more /= 2)
        if (fits(fitting + more)) fitting += more;

    const auto model = load(fitting);
    DensityTools both(*model, backend), other_order(*model, backend);
    both.gradient();
    EXPECT_GT(both.gradient().bytes(), 0u);
    EXPECT_THROW(both.maps(), InputError);
    other_order.maps();
    EXPECT_THROW(other_order.gradient(), InputError);
    both.reset();
    both.maps();  // alone again
}

INSTANTIATE_TEST_SUITE_P(Golden, DensityMap,
                         testing::Values("affine", "additive", "conditional", "five_bit", "four_channels",
                                         "invconv_lu", "no_edge_bias", "no_learn_top", "one_channel",
                                         "reverse", "shuffle"),
                         [](const auto& named) { return named.param; });

// The map of one image of 96x96 pixels.
class LargeDensityMap : public testing::Test {
  protected:
    std::vector<double> map(const std::vector<std::uint8_t>& pixels) {
        std::vector<double> map(static_cast<std::size_t>(kSide * kSide));
        DensityMaps(model_, backend_)
            .run({1, pixels.data(), nullptr}, {.kind = Dequantization::center}, 0, map.data());
        return map;
    }

    static constexpr index_t kPixels = 96, kChannels = 2, kSide = 24;  // two levels
    // How far a pixel's influence reaches, in positions. Each of the two steps per level has two 3x3
    // convolutions: 4 pixels of level 0, which are 2 positions, and 4 positions of level 1; the prior of the
    // split adds less than one.
    static constexpr index_t kReach = 7;
    Backend backend_{Device::cpu, 2};
    LoadedModel model_{golden("affine"), false, Precision::fp32, 1, backend_, ImageSize{kPixels, kPixels}};
};

TEST_F(LargeDensityMap, DependsOnNeighborhoodOnly) {
    std::vector<std::uint8_t> pixels = random_pixels(kPixels * kPixels * kChannels);
    const std::vector<double> before = map(pixels);
    const index_t row = 11, column = 14;  // the block at (4 row, 4 column)
    for (index_t y = 0; y < 4; ++y)
        for (index_t i = 0; i < 4 * kChannels; ++i) {
            std::uint8_t& pixel =
                pixels[static_cast<std::size_t>(((4 * row + y) * kPixels + 4 * column) * kChannels + i)];
            pixel = static_cast<std::uint8_t>(255 - pixel);
        }
    const std::vector<double> after = map(pixels);
    double center = 0, inside = 0, outside = 0;
    for (index_t y = 0; y < kSide; ++y)
        for (index_t x = 0; x < kSide; ++x) {
            const index_t distance = std::max(std::abs(y - row), std::abs(x - column));
            const double change = std::abs(after[y * kSide + x] - before[y * kSide + x]);
            if (distance == 0) center = change;
            double& largest = distance <= kReach ? inside : outside;
            largest = std::max(largest, change);
        }
    EXPECT_GT(center, 1);
    EXPECT_GT(inside, 1);
    EXPECT_EQ(outside, 0);
}

TEST_F(LargeDensityMap, MovesWithTheImage) {
    const std::vector<std::uint8_t> pixels = random_pixels(kPixels * kPixels * kChannels);
    const std::vector<double> here = map(pixels);
    std::vector<std::uint8_t> moved = pixels;  // by 8 pixels down and 4 to the right, around the edges
    for (index_t y = 0; y < kPixels; ++y)
        for (index_t i = 0; i < kPixels * kChannels; ++i)
            moved[static_cast<std::size_t>((y + 8) % kPixels * kPixels * kChannels +
                                           (i + 4 * kChannels) % (kPixels * kChannels))] =
                pixels[static_cast<std::size_t>(y * kPixels * kChannels + i)];
    const std::vector<double> there = map(moved);
    // Where neither sees an edge. The constants are equal too.
    double largest = 0, change = 0;
    for (index_t y = kReach; y + 2 < kSide - kReach; ++y)
        for (index_t x = kReach; x + 1 < kSide - kReach; ++x) {
            largest = std::max(largest, std::abs(there[(y + 2) * kSide + x + 1] - here[y * kSide + x]));
            change = std::max(change, std::abs(there[y * kSide + x] - here[y * kSide + x]));
        }
    EXPECT_LT(largest, 1e-4);  // float networks with pixels at other places of a product
    EXPECT_GT(change, 1);
}

TEST(DensityMaps, NameImagesThatAreNotFinite) {
    const Backend backend(Device::cpu, 1);
    LoadedModel model(golden("additive"), false, Precision::fp32, 2, backend);
    const index_t D = model.config().dimensions();
    std::vector<double> values(static_cast<std::size_t>(3 * D), 100.0), maps(3 * 2 * 3);
    values[static_cast<std::size_t>(2 * D + 5)] = INFINITY;
    expect_throw<InputError>(
        [&] {
            DensityMaps(model, backend).run({3, values.data()}, {}, 0, maps.data());
        },
        {"image 2"});
}

}  // namespace
}  // namespace glow
