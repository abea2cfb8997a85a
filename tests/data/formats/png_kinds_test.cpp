// PNG files of every kind against the pixels of the specification, alpha, and damaged files.
#include "data/formats/photo.h"
#include "tests/data/files.h"
#include "tests/data/formats/png_cases.h"

namespace glow {
namespace {

using Pixels = std::vector<std::uint8_t>;
using namespace std::string_literals;

std::span<const std::uint8_t> png_bytes(const std::string& bytes) {
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}
Image decoded_png(const std::string& bytes, index_t C) {
    return decode_png(png_bytes(bytes), "x.png", C);
}
void expect_same(const Image& read, const Image& truth) {
    ASSERT_EQ((std::vector<index_t>{read.H, read.W, read.C}),
              (std::vector<index_t>{truth.H, truth.W, truth.C}));
    EXPECT_EQ(read.pixels, truth.pixels);
}

// Sizes with empty Adam7 passes, and larger ones.
TEST(PngKinds, PixelsAreExact) {
    int files = 0;
    for (const auto& [H, W] : {std::pair<index_t, index_t>{1, 1},
                               {1, 2},
                               {2, 1},
                               {1, 9},
                               {9, 1},
                               {2, 2},
                               {3, 5},
                               {4, 4},
                               {5, 3},
                               {7, 9},
                               {8, 8},
                               {17, 13},
                               {32, 33}})
        for (const auto& [name, image] : make::png_kinds(H, W)) {
            SCOPED_TRACE(name);
            const std::string bytes = make::png_file(image);
            for (const index_t C : {0, 1, 3}) expect_same(decoded_png(bytes, C), make::png_image(image, C));
            expect_same(decode_photo(png_bytes(bytes), "x", 3), make::png_image(image, 3));
            ++files;
        }
    EXPECT_EQ(files, 13 * 60);
}

// gAMA, sRGB, cHRM, iCCP (also damaged), sBIT, bKGD, text.
TEST(PngKinds, IgnoresOtherChunks) {
    for (const auto& [name, image] : make::png_kinds(5, 7))
        for (const auto& [extra, before_palette, before_pixels] : make::png_extras(image.color)) {
            SCOPED_TRACE(name + " " + extra);
            make::PngCase with = image;
            with.before_palette = before_palette;
            with.before_pixels = before_pixels;
            expect_same(decoded_png(make::png_file(with), 0), make::png_image(image, 0));
            expect_same(decoded_png(make::png_file(with), 3), make::png_image(image, 3));
        }
}

TEST(PngKinds, RoundsSixteenBitsToNearest) {
    for (const bool interlaced : {false, true}) {
        make::PngCase image{.H = 256, .W = 256, .color = 0, .bits = 16, .interlaced = interlaced};
        for (unsigned value = 0; value < 65536; ++value) image.samples.push_back(value);
        const Image read = decoded_png(make::png_file(image), 1);
        for (unsigned value = 0; value < 65536; ++value)
            ASSERT_EQ(read.pixels[value], static_cast<unsigned>(std::lround(value / 257.0))) << value;
    }
}

TEST(PngKinds, CompositesAlphaOverBlackInEncodedValues) {
    make::PngCase image{.H = 256, .W = 256, .color = 4};
    for (unsigned value = 0; value < 256; ++value)
        for (unsigned alpha = 0; alpha < 256; ++alpha)
            image.samples.insert(image.samples.end(), {value, alpha});
    const Image read = decoded_png(make::png_file(image), 1);
    for (unsigned value = 0; value < 256; ++value)
        for (unsigned alpha = 0; alpha < 256; ++alpha)
            ASSERT_EQ(read.pixels[256 * value + alpha], std::lround(value * (alpha / 255.0)))
                << value << " " << alpha;
}

// Pillow's result: Image.alpha_composite over black, then convert("RGB").
TEST(PngKinds, MatchesPillow) {
    const auto rgb = [](int color, int bits, const std::vector<unsigned>& samples,
                        const std::string& chunk = "") {
        make::PngCase image{.color = color, .bits = bits, .samples = samples};
        image.before_palette = chunk;
        return decoded_png(make::png_file(image), 3).pixels;
    };
    EXPECT_EQ(rgb(6, 8, {255, 255, 255, 128}), (Pixels{128, 128, 128}));
    EXPECT_EQ(rgb(6, 8, {200, 100, 50, 77}), (Pixels{60, 30, 15}));
    EXPECT_EQ(rgb(4, 8, {128, 77}), (Pixels{39, 39, 39}));
    EXPECT_EQ(rgb(4, 8, {1, 128}), (Pixels{1, 1, 1}));
    EXPECT_EQ(rgb(6, 8, {9, 9, 9, 0}), (Pixels{0, 0, 0}));
    for (const std::uint64_t gamma : {100000, 55556, 50000, 45455, 41667})
        EXPECT_EQ(rgb(0, 8, {128}, make::png_gamma(gamma)), (Pixels{128, 128, 128}));
    EXPECT_EQ(rgb(6, 8, {255, 255, 255, 128}, make::png_gamma(100000)), (Pixels{128, 128, 128}));
    make::PngCase palette{.W = 3, .color = 3, .bits = 2, .samples = {0, 1, 2}};
    palette.palette = {{10, 20, 30}, {255, 255, 255}, {200, 100, 50}};
    palette.palette_alpha = {0, 128};
    EXPECT_EQ(decoded_png(make::png_file(palette), 3).pixels, (Pixels{0, 0, 0, 128, 128, 128, 200, 100, 50}));
}

TEST(PngKinds, ReducesSixteenBitsBeforeCompositing) {
    const auto gray = [](unsigned value, unsigned alpha) {
        return decoded_png(make::png_file({.color = 4, .bits = 16, .samples = {value, alpha}}), 1).pixels[0];
    };
    EXPECT_EQ(gray(0xffff, 0x8080), 128);
    // 40.49 and alpha 205.51 become 40 and 206: 40 * 206 / 255 = 32.31. The opposite order would give 32.63,
    // rounded to 33.
    EXPECT_EQ(gray(40 * 257 + 126, 0xce4f), 32);
    // 0.75 and alpha 128.2 become 1 and 128: 0.502, rounded to 1. The opposite order would give 0.38, rounded
    // to 0.
    EXPECT_EQ(gray(0x00c2, 0x8033), 1);
}

TEST(PngKinds, ComparesColorKeysAtFullDepth) {
    make::PngCase image{.W = 3, .color = 2, .bits = 16};
    image.samples = {0x1234, 0x5678, 0x9abc, 0x1234, 0x5678, 0x9abd, 0x1235, 0x5678, 0x9abc};
    image.key = {0x1234, 0x5678, 0x9abc};
    EXPECT_EQ(decoded_png(make::png_file(image), 3).pixels, (Pixels{0, 0, 0, 18, 86, 154, 18, 86, 154}));
    // Bits above the depth are ignored.
    make::PngCase gray{.W = 4, .color = 0, .bits = 2, .samples = {0, 1, 2, 3}};
    gray.key = {0xfffe};
    EXPECT_EQ(decoded_png(make::png_file(gray), 1).pixels, (Pixels{0, 85, 0, 255}));
}

TEST(PngKinds, ColorsBeyondPaletteAreBlack) {
    make::PngCase image{.W = 3, .color = 3, .bits = 4, .samples = {1, 2, 15}};
    image.palette = {{1, 2, 3}, {4, 5, 6}};
    EXPECT_EQ(decoded_png(make::png_file(image), 3).pixels, (Pixels{4, 5, 6, 0, 0, 0, 0, 0, 0}));
}

TEST(PngKinds, RejectsEveryTruncation) {
    for (const auto& [name, image] : make::png_kinds(7, 9)) {
        SCOPED_TRACE(name);
        const std::string bytes = make::png_file(image);
        for (std::size_t length = 0; length < bytes.size() - 12; length += 7)  // 12: the empty last chunk
            expect_throw<InputError>([&] { decoded_png(bytes.substr(0, length), 3); }, {"x.png"});
        expect_throw<InputError>([&] { decoded_png(bytes.substr(0, bytes.size() - 13), 3); }, {"x.png"});
        expect_same(decoded_png(bytes + "trailing", 3), make::png_image(image, 3));
    }
}

// Includes tRNS, without which the pixels would be opaque. Other optional chunks do not matter.
TEST(PngKinds, RejectsWrongChecksumsOfPixelData) {
    make::PngCase image{.W = 2, .color = 3, .bits = 8, .samples = {0, 1}};
    image.palette = {{1, 2, 3}, {4, 5, 6}};
    image.palette_alpha = {0};
    image.before_pixels = make::png_chunk("tEXt", "Comment\0hello"s);
    const std::string bytes = make::png_file(image);
    for (const std::string type : {"IHDR", "PLTE", "tRNS", "IDAT", "tEXt"}) {
        std::string wrong = bytes;
        const std::size_t at = wrong.find(type);
        std::size_t length = 0;
        for (std::size_t i = 4; i > 0; --i) length = length << 8 | static_cast<std::uint8_t>(wrong[at - i]);
        wrong[at + 4 + length] ^= 1;
        if (type == "tEXt")
            EXPECT_EQ(decoded_png(wrong, 3).pixels, (Pixels{0, 0, 0, 4, 5, 6}));
        else
            expect_throw<InputError>([&] { decoded_png(wrong, 3); }, {"x.png", "CRC"});
    }
    image.palette_alpha = {0, 0, 0};  // more entries than colors
    expect_throw<InputError>([&] { decoded_png(make::png_file(image), 3); }, {"x.png", "tRNS"});
}

TEST(PngKinds, HugeSizesAllocateNothing) {
    const std::string rows(100, '\0');
    expect_throw<InputError>([&] { decoded_png(make::png(30000, 30000, 8, 2, rows), 3); }, {"30000 x 30000"});
    expect_throw<InputError>([&] { decoded_png(make::png(2000000, 1, 1, 0, rows), 3); }, {"2000000 x 1"});
    expect_throw<InputError>([&] { decoded_png(make::png(1, 2000000, 1, 0, rows), 3); }, {"1 x 2000000"});
    // Within the limits, but more pixels than its bytes can hold.
    expect_throw<InputError>([&] { decoded_png(make::png(16384, 16384, 16, 6, rows), 3); },
                             {"16384 x 16384", "do not fit"});
    // 64 MB of profile and text compressed to 64 kB each must be skipped, not inflated.
    const std::string bomb = make::deflated(std::string(64 << 20, 'x'), 15);
    make::PngCase image{.samples = {7}};
    image.before_palette = make::png_chunk("iCCP", "profile\0\0"s + bomb) +
                           make::png_chunk("zTXt", "Comment\0\0"s + bomb) +
                           make::png_chunk("iTXt", "Comment\0\1\0\0\0"s + bomb);
    EXPECT_EQ(decoded_png(make::png_file(image), 1).pixels, (Pixels{7}));
}

// Any bytes give an image or an InputError, clean under sanitizers.
TEST(PngKinds, SurvivesChangedBytes) {
    test::Random random(3);
    int read = 0, refused = 0;
    for (const auto& [name, image] : make::png_kinds(9, 5)) {
        const std::string bytes = make::png_file(image);
        for (int n = 0; n < 40; ++n) {
            std::string changed = bytes;
            for (int i = random.integer(1, 3); i > 0; --i)
                changed[static_cast<std::size_t>(random.integer(8, static_cast<int>(bytes.size()) - 1))] =
                    static_cast<char>(random.integer(0, 255));
            // Valid checksums let the changes reach the decoder.
            for (std::size_t at = 8; at + 12 <= changed.size();) {
                std::size_t length = 0;
                for (std::size_t i = 0; i < 4; ++i)
                    length = length << 8 | static_cast<std::uint8_t>(changed[at + i]);
                if (length > changed.size() - at - 12) break;
                changed.replace(at + 8 + length, 4,
                                make::big_endian(make::check_sum(changed.substr(at + 4, 4 + length)), 4));
                at += 12 + length;
            }
            try {
                const Image found = decoded_png(changed, n % 5);
                EXPECT_EQ(found.pixels.size(), static_cast<std::size_t>(found.H * found.W * found.C));
                ++read;
            } catch (const InputError&) {
                ++refused;
            }
        }
    }
    EXPECT_GT(read, 0);
    EXPECT_GT(refused, 0);
}

TEST(WithChannels, ConvertsBetweenAllCounts) {
    const Image rgba{1, 2, 4, {200, 100, 50, 128, 255, 255, 255, 255}};
    EXPECT_EQ(with_channels(rgba, 4).pixels, rgba.pixels);
    EXPECT_EQ(with_channels(rgba, 3).pixels, (Pixels{100, 50, 25, 255, 255, 255}));
    EXPECT_EQ(with_channels(rgba, 2).pixels, (Pixels{124, 128, 255, 255}));
    EXPECT_EQ(with_channels(rgba, 1).pixels, (Pixels{62, 255}));
    const Image gray{1, 2, 1, {7, 200}};
    EXPECT_EQ(with_channels(gray, 2).pixels, (Pixels{7, 255, 200, 255}));
    EXPECT_EQ(with_channels(gray, 3).pixels, (Pixels{7, 7, 7, 200, 200, 200}));
    EXPECT_EQ(with_channels(gray, 4).pixels, (Pixels{7, 7, 7, 255, 200, 200, 200, 255}));
    EXPECT_THROW(with_channels(gray, 0), Error);
    EXPECT_THROW(with_channels(gray, 5), Error);
}

}  // namespace
}  // namespace glow
