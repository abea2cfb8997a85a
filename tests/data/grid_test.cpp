#include "data/grid.h"

#include <algorithm>
#include <set>

#include "tests/data/files.h"

namespace glow {
namespace {

std::uint8_t pixel(const Image& image, index_t y, index_t x, index_t c = 0) {
    return image.pixels[static_cast<std::size_t>((y * image.W + x) * image.C + c)];
}

TEST(Grid, ParsesSizes) {
    EXPECT_EQ(parse_grid("8x4").rows, 8);
    EXPECT_EQ(parse_grid("8x4").columns, 4);
    EXPECT_EQ(parse_grid("1x1000").tiles(), 1000);
    for (const char* text : {"", "x", "8", "8x", "x8", "0x8", "8x0", "-1x8", "8x8x8", "8X8", " 8x8", "8x8 ",
                             "1001x1", "8.5x2", "99999999999999999999x1"})
        expect_throw<InputError>([&] { parse_grid(text); }, {"8x8", std::string("\"") + text + "\""});
}

TEST(Grid, PlacesTilesInRowsWithGaps) {
    // Three images of 1 x 2 pixels with two channels, enlarged by 3, in a 2 x 2 grid.
    const std::uint8_t images[] = {1, 101, 2, 102, 3, 103, 4, 104, 5, 105, 6, 106};
    const Image sheet = tile_images(images, 3, 1, 2, 2, {2, 2}, 3);
    ASSERT_EQ(sheet.H, 2 + 2 * (3 + 2));
    ASSERT_EQ(sheet.W, 2 + 2 * (6 + 2));
    ASSERT_EQ(sheet.C, 2);
    for (index_t y = 0; y < sheet.H; ++y) {
        for (index_t x = 0; x < sheet.W; ++x) {
            const index_t row = (y - 2) / 5, column = (x - 2) / 8, in_y = (y - 2) % 5, in_x = (x - 2) % 8;
            const index_t tile = row * 2 + column;
            const bool inside = y >= 2 && x >= 2 && in_y < 3 && in_x < 6 && tile < 3;
            const int expected = inside ? static_cast<int>(1 + tile * 2 + in_x / 3) : 255;
            EXPECT_EQ(pixel(sheet, y, x, 0), expected);
            EXPECT_EQ(pixel(sheet, y, x, 1), inside ? expected + 100 : 255);
        }
    }
}

TEST(Grid, LabelsHaveLines) {
    const Image image{10, 60, 1, std::vector<std::uint8_t>(600, 7)};
    const Image a = side_by_side({{"ab", image}}), b = side_by_side({{"c", image}}),
                both = side_by_side({{"ab\nc", image}, {"c", image}});
    const index_t label = a.H - image.H;
    ASSERT_EQ(both.H, 2 * label + image.H);
    for (index_t y = 0; y < label; ++y)
        for (index_t x = 0; x < image.W; ++x) {
            EXPECT_EQ(pixel(both, y, x), pixel(a, y, x));
            EXPECT_EQ(pixel(both, label + y, x), pixel(b, y, x));
        }
    EXPECT_EQ(pixel(both, 2 * label, 0), 7);
}

TEST(Grid, DrawsLettersWithAccents) {
    const Image image{4, 60, 1, std::vector<std::uint8_t>(240, 7)};
    const auto drawn = [&](const std::string& label) { return side_by_side({{label, image}}).pixels; };
    const auto dark = [&](const std::string& label) {
        const auto pixels = drawn(label);
        return std::count(pixels.begin(), pixels.end(), 0);
    };
    const index_t dot = 4;  // pixels
    EXPECT_EQ(dark("\u00fc"), dark("u") + 2 * dot);
    EXPECT_EQ(dark("\u00c4"), dark("A") + 2 * dot);
    EXPECT_EQ(dark("\u00e9"), dark("e") + dot);
    EXPECT_EQ(drawn("u\u0308x"), drawn("\u00fcx")) << "as macOS writes names";
    EXPECT_EQ(drawn("\u00e7"), drawn("c"));
    EXPECT_NE(drawn("\u00df"), drawn("\u4e00"));
    // One box for what has no letter, whether or not it is UTF-8.
    EXPECT_EQ(drawn("\u4e00a"), drawn("\u0416a"));
    EXPECT_EQ(drawn("\xff\x61"), drawn("\u4e00a"));
    EXPECT_EQ(drawn("\xe4\xb8"), drawn("\u4e00")) << "cut";
}

TEST(Grid, CrossIsDiagonalAndVisible) {
    for (const index_t C : {1, 2, 3, 4})
        for (const std::uint8_t ground : {std::uint8_t{0}, std::uint8_t{255}}) {
            Image image{8, 12, C, std::vector<std::uint8_t>(static_cast<std::size_t>(8 * 12 * C), ground)};
            cross_out(image.pixels.data(), image.H, image.W, C);
            index_t changed = 0;
            for (index_t y = 0; y < image.H; ++y)
                for (index_t x = 0; x < image.W; ++x) changed += pixel(image, y, x) != ground;
            EXPECT_GE(changed, 10) << C << " channels on " << int{ground};
            EXPECT_LE(changed, 32);
            for (const auto& [y, x] : {std::pair{0, 0}, {0, 11}, {4, 6}, {7, 10}, {7, 1}})
                EXPECT_EQ(pixel(image, y, x), 255) << y << ' ' << x;
            EXPECT_EQ(pixel(image, 0, 1), 0);
            EXPECT_EQ(pixel(image, 0, 5), ground);
            if (C % 2 == 0) {
                EXPECT_EQ(pixel(image, 0, 1, C - 1), 255) << "alpha";
            }
        }
}

TEST(Grid, AutomaticScaleEnlargesTiles) {
    const std::vector<std::uint8_t> images(100 * 100);
    const auto side = [&](index_t size) {
        return tile_images(images.data(), 1, size, size, 1, {1, 1}).H - 4;
    };
    EXPECT_EQ(side(1), 64);
    EXPECT_EQ(side(32), 64);
    EXPECT_EQ(side(33), 66);
    EXPECT_EQ(side(64), 64);
    EXPECT_EQ(side(100), 100);
}

TEST(Grid, IgnoresImagesBeyondGrid) {
    const std::vector<std::uint8_t> images(4, 9);
    const Image sheet = tile_images(images.data(), 4, 1, 1, 1, {1, 2}, 1);
    index_t dark = 0;
    for (const std::uint8_t value : sheet.pixels) dark += value == 9;
    EXPECT_EQ(dark, 2);
}

TEST(Grid, RejectsTooLargeSheet) {
    const std::vector<std::uint8_t> images(64 * 64);
    expect_throw<InputError>(
        [&] {
            tile_images(images.data(), 1, 64, 64, 1, {1000, 1000}, 64);
        },
        {"too large"});
}

TEST(Grid, PlacesLabeledPanelsSideBySide) {
    const std::uint8_t gray = 9;
    const Image tile = tile_images(&gray, 1, 1, 1, 1, {1, 1}, 100);
    const Image sheet = side_by_side({{"T = 0.7", tile}, {"", tile}});
    EXPECT_GT(sheet.H, tile.H);
    EXPECT_GE(sheet.W, 2 * tile.W);
    const index_t label = sheet.H - tile.H;
    index_t left = 0, right = 0;
    for (index_t y = 0; y < label; ++y)
        for (index_t x = 0; x < sheet.W; ++x) (x < tile.W ? left : right) += pixel(sheet, y, x) == 0;
    EXPECT_GT(left, 100);
    EXPECT_EQ(right, 0);
    EXPECT_EQ(pixel(sheet, label + 2, 2), 9);
    EXPECT_EQ(pixel(sheet, label + 2, sheet.W - 3), 9);
    EXPECT_EQ(side_by_side({{"", tile}}).pixels, tile.pixels);
}

TEST(Grid, PanelsWrapIntoRows) {
    const std::uint8_t gray = 9;
    const Image small = tile_images(&gray, 1, 1, 1, 1, {1, 1}, 40);
    const Image large = tile_images(&gray, 1, 1, 1, 1, {1, 1}, 60);
    const Image sheet = side_by_side({{"A", small}, {"B", small}, {"C", large}}, 2);
    const index_t label = sheet.H - small.H - large.H - 8;  // height of two label rows
    EXPECT_EQ(label, 2 * 22);
    EXPECT_EQ(sheet.W, large.W + 8 + small.W);
    EXPECT_EQ(pixel(sheet, 22 + 2, 2), 9);
    EXPECT_EQ(pixel(sheet, 22 + 2, large.W + 8 + 2), 9);  // next to the wider panel of the column
    EXPECT_EQ(pixel(sheet, 22 + small.H + 8 + 22 + 2, 2), 9);
    EXPECT_EQ(pixel(sheet, sheet.H - 3, sheet.W - 3), 255);  // no fourth panel
    EXPECT_EQ(side_by_side({{"A", small}, {"B", small}}, 5).pixels,
              side_by_side({{"A", small}, {"B", small}}).pixels);
}

TEST(Grid, PrintableCharactersHaveDistinctGlyphs) {
    const Image tile = {1, 1, 1, {255}};
    const std::string letters =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz .,:-+=/()%_<>*";
    std::set<std::string> seen;
    const auto drawn = [&](const std::string& label) {
        const Image sheet = side_by_side({{label, tile}});
        return std::string(sheet.pixels.begin(), sheet.pixels.end());
    };
    for (const char letter : letters) seen.insert(drawn({letter, '|'}));
    EXPECT_EQ(seen.size(), letters.size());
    EXPECT_TRUE(seen.insert(drawn("\x01|")).second);  // unknown characters become a box
}

TEST(Grid, RejectsPanelsWithDifferentChannels) {
    EXPECT_THROW(side_by_side({}), Error);
    EXPECT_THROW(side_by_side({{"", {1, 1, 1, {0}}}, {"", {1, 1, 3, {0, 0, 0}}}}), Error);
}

}  // namespace
}  // namespace glow
