// The sheet of samples: the position of each image, and the noise it is made from.
#include "inference/sample_sheet.h"

#include "inference/sample.h"
#include "tests/train/training.h"

namespace glow {
namespace {

TEST(SampleSheet, PanelsShareNoiseAcrossTemperatures) {
    const TrainingOptions options = small_options();
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    trainer.use_ema(false);
    const index_t H = options.model.image_height, W = options.model.image_width, D = H * W * 3;
    const std::optional<SampleSheet> sheet = sample_sheet(trainer.runnable(), options.seed);
    ASSERT_TRUE(sheet);
    std::vector<Panel> panels;
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(16 * D));
    for (const auto& [temperature, label] : {std::pair{0.0, "T = 0"},
                                             {0.25, "T = 0.25"},
                                             {0.5, "T = 0.5"},
                                             {0.6, "T = 0.6"},
                                             {0.7, "T = 0.7"},
                                             {0.8, "T = 0.8"},
                                             {0.9, "T = 0.9"},
                                             {1.0, "T = 1"}}) {
        sample(trainer.runnable(), {16, temperature, options.seed}, pixels.data());
        panels.push_back({label, tile_images(pixels.data(), 16, H, W, 3, {4, 4})});
        if (temperature > 0) continue;
        for (index_t n = 1; n < 16; ++n)
            EXPECT_TRUE(std::equal(pixels.begin(), pixels.begin() + D, pixels.begin() + n * D)) << n;
    }
    EXPECT_EQ(sheet->image.pixels, side_by_side(panels, 4).pixels);
}

TEST(SampleSheet, ReportsNonFiniteSamples) {
    const TrainingOptions options = small_options();
    Training training(options);
    Trainer& trainer = training.random_start().trainer;
    trainer.use_ema(false);
    const auto sheet = [&] { return sample_sheet(trainer.runnable(), options.seed).value(); };
    EXPECT_EQ(sheet().invalid_samples, "");
    const Tensor& bias = training.tensor("level1/step0/coupling/conv3/bias");
    for (index_t i = 1; i < bias.count; i += 2) training.params()[bias.offset + i] = -1e30f;
    trainer.weights_changed();
    trainer.use_ema(false);
    const SampleSheet broken = sheet();
    EXPECT_NE(broken.invalid_samples.find("T = 0.9: 16 of 16 not finite (crossed out); T = 1: 16 of 16"),
              std::string::npos)
        << broken.invalid_samples;
    // The last tile of the last panel: its corner is white, the pixel to its right black.
    const Image& image = broken.image;
    const index_t tile_h = options.model.image_height * 8, tile_w = options.model.image_width * 8;
    const std::uint8_t* const corner =
        image.pixels.data() + ((image.H - 2 - tile_h) * image.W + image.W - 2 - tile_w) * 3;
    EXPECT_EQ(corner[0], 255);
    EXPECT_EQ(corner[8 * 3], 0);
}

TEST(SampleSheet, NoiseDependsOnlyOnSeed) {
    const TrainingOptions options = small_options();
    Training training(options), other(options);
    training.random_start(3);
    other.random_start(4);
    const auto latents = [](Training& of) {
        Trainer& trainer = of.trainer;
        trainer.use_ema(false);
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(4 * of.options.model.dimensions()));
        sample_sheet(trainer.runnable(), of.options.seed);
        // Encode what the last batch of the last panel (temperature 1) left in the buffer: its noise.
        Flow flow = trainer.buffers().flow(4);
        trainer.glow().encode(trainer.context(), flow);
        return std::vector<double>(flow.h, flow.h + 4 * of.options.model.dimensions());
    };
    const std::vector<double> a = latents(training), b = latents(other);
    for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4) << i;
}

TEST(SampleSheet, HasOneColumnPerClass) {
    TrainingOptions options = small_options();
    options.model.y_cond = true;
    options.model.n_classes = 3;
    EXPECT_EQ(sheet_grid(options.model)->columns, 3);
    Training training(options);
    Trainer& trainer = training.trainer;
    const std::vector<std::int32_t> labels = {0, 1, 2, 0, 1, 2};
    Batch init_images = training.init_images.batch();
    init_images.labels = labels.data();
    trainer.initialize(init_images);
    test::Random random(3);  // classes differ
    for (index_t i = 0; i < trainer.glow().parameters().size(); ++i)
        training.params()[i] += static_cast<float>(0.05 * random.normal());
    trainer.weights_changed();
    trainer.use_ema(false);
    const Image sheet = sample_sheet(trainer.runnable(), options.seed).value().image;
    // At temperature 0 an image depends only on its class: equal within a column, different between columns.
    const index_t tile_h = options.model.image_height * 8, tile_w = options.model.image_width * 8;
    const auto tile = [&](index_t row, index_t column) {
        std::vector<std::uint8_t> pixels;
        for (index_t y = 0; y < tile_h; ++y) {
            const index_t top = 22 + 2 + row * (tile_h + 2) + y, left = 2 + column * (tile_w + 2);
            const auto first = sheet.pixels.begin() + (top * sheet.W + left) * 3;
            pixels.insert(pixels.end(), first, first + tile_w * 3);
        }
        return pixels;
    };
    for (index_t column = 0; column < 3; ++column) {
        EXPECT_EQ(tile(0, column), tile(3, column)) << column;
        EXPECT_NE(tile(0, column), tile(0, (column + 1) % 3)) << column;
    }
}

TEST(SampleSheet, HasFewerLargeImages) {
    const auto grid = [](index_t size, index_t classes = 0) {
        ModelConfig model;
        model.image_height = model.image_width = size;
        model.y_cond = classes > 0;
        model.n_classes = classes;
        return sheet_grid(model);
    };
    const auto is = [](const std::optional<GridSize>& grid, index_t rows, index_t columns) {
        return grid && grid->rows == rows && grid->columns == columns;
    };
    EXPECT_TRUE(is(grid(32), 4, 4));
    EXPECT_TRUE(is(grid(32, 10), 4, 10));
    EXPECT_TRUE(is(grid(32, 1000), 4, 10));
    EXPECT_TRUE(is(grid(128), 4, 4));
    EXPECT_TRUE(is(grid(256), 2, 4));
    EXPECT_TRUE(is(grid(512), 1, 2));
    EXPECT_TRUE(is(grid(2048), 1, 1));
    EXPECT_FALSE(grid(4096));
}

}  // namespace
}  // namespace glow
