#include "data/formats/photo.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <tuple>

#include "data/formats/exif.h"
#include "data/formats/gif.h"
#include "data/formats/jpeg.h"
#include "data/formats/tiff.h"
#include "data/formats/webp.h"
#include "data/image_folder.h"
#include "tests/data/files.h"
#include "tests/data/formats/gif_cases.h"
#include "tests/data/formats/png_cases.h"
#include "tests/data/formats/tiff_cases.h"
#include "tests/data/formats/webp_cases.h"
#include "tests/data/make_files.h"
#include "tests/little_memory.h"
#include "tests/support.h"

namespace glow {
namespace {

std::span<const std::uint8_t> span_of(const std::string& bytes) {
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}
std::vector<std::uint8_t> decoded(const std::string& bytes, index_t C) {
    return decode_photo(span_of(bytes), "x", C).pixels;
}
// Inverts one bit among the first `limit` bytes of each file, `times` times: it ends as a picture, or as
// InputError.
void expect_damage_is_refused_or_read(const make::NamedFiles& files, int times, test::Random& random,
                                      std::size_t limit = std::numeric_limits<std::size_t>::max()) {
    for (const auto& [name, whole] : files)
        for (int i = 0; i < times; ++i) {
            std::string bytes = whole;
            const int last = static_cast<int>(std::min(limit, whole.size())) - 1;
            char& byte = bytes[static_cast<std::size_t>(random.integer(0, last))];
            byte = static_cast<char>(byte ^ (1 << random.integer(0, 7)));
            try {
                decoded(bytes, 3);
            } catch (const InputError&) {
            }
        }
}
using Pixels = std::vector<std::uint8_t>;

TEST(Photo, ReadsEveryKindOfPng) {
    using namespace std::string_literals;
    // 16 bits without gamma: the rounded high byte, not darkened as in linear light.
    EXPECT_EQ(decoded(make::png(2, 1, 16, 2, "\0\x80\0\x40\0\x20\0\xff\xff\0\0\x10\0"s), 3),
              (Pixels{128, 64, 32, 255, 0, 16}));
    EXPECT_EQ(decoded(make::png(2, 1, 16, 0, "\0\x80\0\xff\xff"s), 1), (Pixels{128, 255}));
    const std::string palette = make::png_chunk("PLTE", "\x0a\x14\x1e\xc8\x64\x32"s);
    EXPECT_EQ(decoded(make::png(2, 1, 1, 3, "\0\x40"s, palette), 3), (Pixels{10, 20, 30, 200, 100, 50}));
    // A palette with alpha, composited over black.
    EXPECT_EQ(decoded(make::png(2, 1, 1, 3, "\0\x40"s, palette + make::png_chunk("tRNS", "\0"s)), 3),
              (Pixels{0, 0, 0, 200, 100, 50}));
    EXPECT_EQ(decoded(make::png(4, 1, 2, 0, "\0\x1b"s), 1), (Pixels{0, 85, 170, 255}));
    EXPECT_EQ(decoded(make::png({1, 2, 2, {200, 255, 200, 0}}), 3), (Pixels{200, 200, 200, 0, 0, 0}));
    EXPECT_EQ(decoded(make::png({1, 1, 3, {100, 150, 200}}), 3), (Pixels{100, 150, 200}));
}

TEST(Photo, DecodesJpegAccurately) {
    for (const bool progressive : {false, true})
        for (const index_t C : {1, 3}) {
            const Image image = make::smooth(40, 56, C);
            const Image read = decode_jpeg(span_of(make::jpeg(image, 98, progressive)), "x");
            ASSERT_EQ((std::vector<index_t>{read.H, read.W, read.C}), (std::vector<index_t>{40, 56, C}));
            for (std::size_t i = 0; i < image.pixels.size(); ++i)
                ASSERT_NEAR(read.pixels[i], image.pixels[i], 4) << i;  // 98% quality: a few gray levels
        }
    // Inks: 255 means none; light is the product of what color and black transmit.
    const Image inks{16, 16, 4, [] {
                         Pixels pixels;
                         for (int p = 0; p < 256; ++p) pixels.insert(pixels.end(), {255, 128, 0, 128});
                         return pixels;
                     }()};
    for (const bool ycck : {false, true})
        for (const bool marker : {true, false}) {
            if (ycck && !marker) continue;  // would be decoded as CMYK
            const Image read = decode_jpeg(span_of(make::inks_jpeg(inks, ycck, marker)), "x");
            ASSERT_EQ(read.C, 3);
            EXPECT_NEAR(read.pixels[0], 128, 3);
            EXPECT_NEAR(read.pixels[1], 64, 3);
            EXPECT_NEAR(read.pixels[2], 0, 3);
        }
}

TEST(Photo, ReadsWebp) {
    if (!reads_webp()) {
        expect_throw<InputError>([] { decoded(make::webp_file("lossless"), 3); },
                                 {"x", "WebP", "libwebp-dev"});
        EXPECT_FALSE(is_photo_name("a.webp"));
        return;
    }
    EXPECT_TRUE(is_photo_name("a.WebP"));
    const auto value = [](index_t y, index_t x, index_t c) { return (37 * y + 23 * x + 60 * c) % 256; };
    const Image plain = decode_photo(span_of(make::webp_file("lossless")), "x", 3),
                turned = decode_photo(span_of(make::webp_file("turned")), "x", 3),
                alpha = decode_photo(span_of(make::webp_file("lossless_alpha")), "x", 3),
                lossy = decode_photo(span_of(make::webp_file("lossy")), "x", 3);
    ASSERT_EQ((std::vector<index_t>{plain.H, plain.W, plain.C}), (std::vector<index_t>{5, 7, 3}));
    ASSERT_EQ((std::vector<index_t>{turned.H, turned.W, turned.C}), (std::vector<index_t>{7, 5, 3}));
    ASSERT_EQ((std::vector<index_t>{alpha.H, alpha.W, alpha.C}), (std::vector<index_t>{6, 4, 3}));
    EXPECT_EQ((std::vector<index_t>{lossy.H, lossy.W, lossy.C}), (std::vector<index_t>{5, 7, 3}));
    for (index_t y = 0; y < 5; ++y)
        for (index_t x = 0; x < 7; ++x)
            for (index_t c = 0; c < 3; ++c) {
                EXPECT_EQ(plain.pixels[(y * 7 + x) * 3 + c], value(y, x, c));
                // Orientation 6: the first row is the right side.
                EXPECT_EQ(turned.pixels[(x * 5 + 4 - y) * 3 + c], value(y, x, c));
            }
    for (index_t y = 0; y < 6; ++y)
        for (index_t x = 0; x < 4; ++x)
            for (index_t c = 0; c < 3; ++c)
                EXPECT_EQ(alpha.pixels[(y * 4 + x) * 3 + c], (value(y, x, c) * value(y, x, 3) + 127) / 255);

    expect_throw<InputError>([] { decoded(make::webp_file("animation"), 3); }, {"x", "animation"});
    for (const std::string name : {"lossless", "lossy", "lossless_alpha", "lossy_alpha"}) {
        const std::string whole = make::webp_file(name);
        for (std::size_t length = 0; length < whole.size() - 1; ++length)
            EXPECT_THROW(decoded(whole.substr(0, length), 3), InputError) << name << ' ' << length;
    }
    // Damage may go unnoticed, as WebP has no checksums, but ends as a picture or as this error.
    test::Random random(5);
    expect_damage_is_refused_or_read(make::webp_files(), 300, random);
    const Image image = make::smooth(40, 30, 3);
    EXPECT_LT(webp_bytes(image).value(), png_bytes(image));
    EXPECT_FALSE(webp_bytes({1, 16384, 1, Pixels(16384)}).has_value());
    EXPECT_FALSE(webp_bytes(make::smooth(4, 4, 4)).has_value());
}

// The picture as the encoded values of its samples say, over black.
Image expected_pixels(const make::TiffCase& c) {
    const int colors = c.photometric >= 2 ? 3 : 1, color_samples = c.photometric == 2 ? 3 : 1;
    const bool alpha =
        c.extra == -1 ? c.samples == color_samples + 1 : c.samples > color_samples && c.extra == 2;
    const auto eight = [&](std::uint32_t y, std::uint32_t x, int s) {
        const std::uint32_t value = c.sample(y, x, s);
        return c.bits == 16 ? (value + 128) / 257 : value;
    };
    Image image{c.H, c.W, 3, {}};
    for (std::uint32_t y = 0; y < c.H; ++y)
        for (std::uint32_t x = 0; x < c.W; ++x)
            for (int s = 0; s < 3; ++s) {
                std::uint32_t value = eight(y, x, std::min(s, colors - 1));
                if (c.photometric == 0) value = 255 - value;
                if (alpha) value = (value * eight(y, x, color_samples) + 127) / 255;
                image.pixels.push_back(static_cast<std::uint8_t>(value));
            }
    return upright(std::move(image), c.orientation);
}

TEST(Photo, ReadsTiff) {
    if (!reads_tiff()) {
        expect_throw<InputError>([] { decoded(make::tiff({}), 3); }, {"x", "TIFF", "libtiff-dev"});
        EXPECT_FALSE(is_photo_name("a.tif"));
        return;
    }
    EXPECT_TRUE(is_photo_name("a.TIF"));
    EXPECT_TRUE(is_photo_name("a.tiff"));
    for (const auto& [name, one] : make::tiff_cases()) {
        const Image read = decode_photo(span_of(make::tiff(one)), "x", 3), expected = expected_pixels(one);
        EXPECT_EQ(read.H, expected.H) << name;
        EXPECT_EQ(read.W, expected.W) << name;
        EXPECT_EQ(read.pixels, expected.pixels) << name;
    }
    make::TiffCase gray;
    gray.samples = gray.photometric = 1;
    make::TiffCase alpha;
    alpha.samples = 4;
    EXPECT_EQ(decode_tiff(span_of(make::tiff(gray)), "x").C, 1);
    EXPECT_EQ(decode_tiff(span_of(make::tiff(alpha)), "x").C, 4);
    // Several extra samples of undeclared kinds: no alpha.
    for (const auto& [samples, photometric] : {std::pair{3, 1}, {4, 1}, {5, 2}, {7, 2}})
        for (const bool planar : {false, true}) {
            make::TiffCase several;
            several.samples = samples;
            several.photometric = photometric;
            several.planar = planar;
            std::string lost;
            const Image read = decode_tiff(span_of(make::tiff(several)), "x", &lost);
            EXPECT_EQ(read.C, photometric == 1 ? 1 : 3) << samples;
            EXPECT_EQ(with_channels(read, 3).pixels, expected_pixels(several).pixels) << samples;
            EXPECT_EQ(lost, "it has a further channel");
        }

    // Alpha of CMYK changes the colors, a channel of another kind does not.
    const auto inks = [](int samples, int extra) {
        make::TiffCase one;
        one.photometric = 5;
        one.samples = samples;
        one.extra = extra;
        return one;
    };
    const Image opaque = decode_tiff(span_of(make::tiff(inks(4, -1))), "x");
    EXPECT_EQ(decode_tiff(span_of(make::tiff(inks(5, 0))), "x").pixels, opaque.pixels);
    const Image clear = decode_tiff(span_of(make::tiff(inks(5, 2))), "x");
    ASSERT_EQ(clear.C, 4);
    for (std::uint32_t y = 0; y < 5; ++y)
        for (std::uint32_t x = 0; x < 7; ++x) {
            const std::size_t pixel = 7 * y + x;
            EXPECT_EQ(clear.pixels[4 * pixel + 3], inks(5, 2).sample(y, x, 4));
            for (std::size_t c = 0; c < 3; ++c)
                EXPECT_EQ(clear.pixels[4 * pixel + c], opaque.pixels[3 * pixel + c]);
        }
    expect_throw<InputError>([&] { decoded(make::tiff(inks(5, 1)), 3); }, {"x", "CMYK", "alpha"});

    const make::NamedFiles compressed = make::compressed_tiff_files();
    const auto pixels = [&](const std::string& name) {
        return decoded(make::file_named(compressed, name), 3);
    };
    const Pixels rgb = expected_pixels({}).pixels;
    for (const std::string name : {"rgb_lzw", "rgb_deflate", "rgb_packbits"})
        EXPECT_EQ(pixels(name), rgb) << name;
    EXPECT_EQ(pixels("gray_lzw"), expected_pixels(gray).pixels);
    EXPECT_EQ(pixels("rgba_deflate"), expected_pixels(alpha).pixels);
    EXPECT_EQ(pixels("palette").size(), rgb.size());
    EXPECT_EQ(pixels("cmyk").size(), rgb.size());
    for (const std::uint8_t value : pixels("bilevel_g4")) EXPECT_EQ(value % 255, 0);
}

TEST(Photo, RejectsBadTiff) {
    if (!reads_tiff()) GTEST_SKIP() << "this build has no libtiff";
    for (const int format : {2, 3}) {
        make::TiffCase numbers;
        numbers.format = format;
        expect_throw<InputError>([&] { decoded(make::tiff(numbers), 3); }, {"x", "unsigned"});
    }
    const std::string whole = make::tiff({});
    for (std::size_t length = 4; length < whole.size(); ++length)
        expect_throw<InputError>([&] { decoded(whole.substr(0, length), 3); }, {"x", "TIFF"});
    std::string wide = whole;
    wide.replace(18, 4, std::string("\0\0\0\x7f", 4));  // the value of the first entry, the width
    expect_throw<InputError>([&] { decoded(wide, 3); }, {"x"});
    // Damage may go unnoticed, as TIFF has no checksums, but ends as a picture or as this error.
    make::NamedFiles files = make::compressed_tiff_files();
    for (const auto& [name, one] : make::tiff_cases()) files.emplace_back(name, make::tiff(one));
    test::Random random(6);
    expect_damage_is_refused_or_read(files, 100, random, 301);
}

// libtiff returns success for damaged fax and JPEG data, and guesses the pixels.
TEST(Photo, RejectsDamagedPixelsOfTiff) {
    if (!reads_tiff()) GTEST_SKIP() << "this build has no libtiff";
    const make::NamedFiles files = make::compressed_tiff_files();
    const auto refused_flips = [](const std::string& whole, std::size_t begin, std::size_t end) {
        int refused = 0;
        for (std::size_t bit = 8 * begin; bit < 8 * end; ++bit) {
            std::string bytes = whole;
            bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
            try {
                decoded(bytes, 3);
            } catch (const InputError&) {
                ++refused;
            }
        }
        return refused;
    };
    // The first strip of each file; some flips give other valid codes.
    const std::string fax = make::file_named(files, "bilevel_g4"), jpeg = make::file_named(files, "rgb_jpeg");
    EXPECT_GT(refused_flips(fax, 8, 20), 40);
    EXPECT_GT(refused_flips(jpeg, 40, 60), 0);
    std::string zeroed = fax;
    zeroed.replace(12, 8, 8, '\0');
    expect_throw<InputError>([&] { decoded(zeroed, 3); }, {"x", "TIFF", "Premature EOL"});
    // A damaged tag that the pixels do not need is only a warning.
    std::string tag = make::tiff({});
    const std::size_t orientation = tag.find(std::string("\x12\x01\x03\x00", 4));
    ASSERT_NE(orientation, std::string::npos);
    tag[orientation + 8] = 77;
    EXPECT_EQ(decoded(tag, 3), expected_pixels({}).pixels);
    // The reason is the damage, not the tag.
    const std::size_t compression = tag.find(std::string("\x03\x01\x03\x00", 4));
    ASSERT_NE(compression, std::string::npos);
    tag[compression + 8] = 8;  // deflate
    try {
        decoded(tag, 3);
        ADD_FAILURE() << "uncompressed pixels were decompressed";
    } catch (const InputError& error) {
        EXPECT_EQ(std::string(error.what()).find("Orientation"), std::string::npos) << error.what();
    }
}

TEST(Photo, ReadsGif) {
    if (!reads_gif()) {
        expect_throw<InputError>([] { decoded(make::gif_file("plain"), 3); }, {"x", "GIF", "libgif-dev"});
        EXPECT_FALSE(is_photo_name("a.gif"));
        return;
    }
    EXPECT_TRUE(is_photo_name("a.Gif"));
    const Image plain = decode_gif(span_of(make::gif_file("plain")), "x"),
                transparent = decode_gif(span_of(make::gif_file("transparent")), "x"),
                rows = decode_gif(span_of(make::gif_file("interlaced")), "x");
    ASSERT_EQ((std::vector<index_t>{plain.H, plain.W, plain.C}), (std::vector<index_t>{5, 7, 3}));
    ASSERT_EQ((std::vector<index_t>{transparent.H, transparent.W, transparent.C}),
              (std::vector<index_t>{5, 7, 4}));
    index_t holes = 0;
    for (std::size_t p = 0; p < 35; ++p) {
        const bool hole = transparent.pixels[4 * p + 3] == 0;
        holes += hole ? 1 : 0;
        for (std::size_t c = 0; c < 3; ++c)
            EXPECT_EQ(transparent.pixels[4 * p + c], hole ? 0 : plain.pixels[3 * p + c]);
    }
    EXPECT_GT(holes, 0);
    EXPECT_LT(holes, 35);
    // Every row was stored four times; the file has them in another order.
    ASSERT_EQ((std::vector<index_t>{rows.H, rows.W}), (std::vector<index_t>{20, 20}));
    for (index_t y = 0; y < 20; ++y)
        EXPECT_TRUE(std::equal(rows.pixels.begin() + y * 60, rows.pixels.begin() + (y + 1) * 60,
                               rows.pixels.begin() + y / 4 * 4 * 60))
            << y;
    std::string lost;
    EXPECT_EQ(decode_gif(span_of(make::gif_file("animation")), "x", &lost).pixels, plain.pixels);
    EXPECT_EQ(lost, "it is an animation");
    lost.clear();
    decode_gif(span_of(make::gif_file("plain")), "x", &lost);
    EXPECT_EQ(lost, "");
    // A canvas larger than the frame is transparent around it.
    std::string larger = make::gif_file("plain");
    larger[6] = 9;  // width
    const Image around = decode_gif(span_of(larger), "x");
    ASSERT_EQ((std::vector<index_t>{around.H, around.W, around.C}), (std::vector<index_t>{5, 9, 4}));
    EXPECT_EQ(around.pixels[4 * 8 + 3], 0);
    EXPECT_EQ(around.pixels[4 * 6 + 3], 255);
}

TEST(Photo, RejectsBadGif) {
    if (!reads_gif()) GTEST_SKIP() << "this build has no giflib";
    const std::string whole = make::gif_file("plain");
    for (std::size_t length = 4; length + 3 < whole.size(); ++length)
        expect_throw<InputError>([&] { decoded(whole.substr(0, length), 3); }, {"x", "GIF"});
    std::string narrow = whole;
    narrow[6] = 3;
    expect_throw<InputError>([&] { decoded(narrow, 3); }, {"x", "outside its canvas"});
    std::string no_palette = whole;
    no_palette[10] = 0;
    expect_throw<InputError>([&] { decoded(no_palette, 3); }, {"x", "GIF"});
    test::Random random(7);
    expect_damage_is_refused_or_read(make::gif_files(), 300, random);
}

TEST(Photo, CodingWithoutLossRefusesPagesFramesAndDepth) {
    const TemporaryFolder folder;
    const auto refuse = [&](const std::string& bytes, const char* why) {
        write_bytes(folder / "x", bytes);
        expect_throw<InputError>([&] { read_photo_exactly(folder / "x", 3); }, {"without loss", why});
    };
    if (reads_tiff()) {
        make::TiffCase deep, pages, alpha;
        deep.bits = 16;
        pages.pages = 2;
        alpha.samples = 4;
        alpha.extra = 1;
        refuse(make::tiff(deep), "8 bits");
        refuse(make::tiff(pages), "pages");
        for (const int photometric : {1, 2})
            for (const bool planar : {false, true}) {
                make::TiffCase further;
                further.photometric = photometric;
                further.samples = photometric == 1 ? 2 : 4;
                further.extra = 0;  // of unspecified kind
                further.planar = planar;
                refuse(make::tiff(further), "further channel");
            }
        refuse(make::tiff(alpha), "transparent");
        refuse(make::file_named(make::compressed_tiff_files(), "cmyk"), "not RGB");
        std::string palette = make::file_named(make::compressed_tiff_files(), "palette");
        write_bytes(folder / "fine", palette);  // 8 bits in the high byte
        EXPECT_EQ(read_photo_exactly(folder / "fine", 3).image.C, 3);
        palette[134] = 1;  // the low byte of the first color
        refuse(palette, "8 bits");
        write_bytes(folder / "fine", make::tiff({}));
        EXPECT_FALSE(read_photo_exactly(folder / "fine", 3).gray);
    }
    if (reads_gif()) {
        refuse(make::gif_file("animation"), "animation");
        refuse(make::gif_file("transparent"), "transparent");
        write_bytes(folder / "fine", make::gif_file("plain"));
        EXPECT_EQ(read_photo_exactly(folder / "fine", 3).image.W, 7);
    }
    const auto accept = [&](const std::string& bytes) {
        write_bytes(folder / "x", bytes);
        EXPECT_EQ(read_photo_exactly(folder / "x", 3).image.C, 3);
    };
    const std::string frames = make::png_chunk("acTL", make::big_endian(2, 4) + make::big_endian(0, 4)),
                      row(4, '\0');
    refuse(make::png(1, 1, 8, 2, row, frames), "animation");
    accept(make::png(1, 1, 8, 2, row));
    accept(make::png(1, 1, 8, 2, row) + frames);
    const std::string picture = make::jpeg(make::smooth(8, 8, 3));
    refuse(picture + make::big_endian(24, 4) + "ftypmp42", "video");
    accept(picture + std::string(100, '\0'));
    const Image inks = make::smooth(8, 8, 4);
    refuse(make::inks_jpeg(inks, false, true), "not RGB");
    refuse(make::inks_jpeg(inks, true, true), "not RGB");
    // The index of pictures in a JPEG file: a TIFF structure with their number in tag 0xb001.
    for (const int pictures : {1, 2}) {
        std::string file = make::jpeg(make::smooth(8, 8, 3));
        accept(file);
        const std::string index = std::string("MPF\0MM\0\x2a\0\0\0\x08\0\x01\xb0\x01\0\x04\0\0\0\x01", 22) +
                                  make::big_endian(static_cast<std::uint64_t>(pictures), 4) +
                                  std::string(4, '\0');
        file.insert(2, "\xff\xe2" + make::big_endian(index.size() + 2, 2) + index);
        if (pictures == 1)
            accept(file);
        else
            refuse(file, "several pictures");
    }
}

// A TIFF structure with one entry: the orientation.
std::string exif(int orientation, bool big_endian) {
    using namespace std::string_literals;
    const char value = static_cast<char>(orientation);
    return big_endian ? "MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"s + value + "\0\0\0\0\0\0"s
                      : "II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"s + value + "\0\0\0\0\0\0\0"s;
}

// Corners of an upright picture with one dark corner, by the definitions of TIFF 6.0: what the stored row 0
// and column 0 are to the eye.
TEST(Photo, AppliesExifOrientation) {
    const auto dark_corner = [](const Image& image) {
        const auto dark = [&](index_t y, index_t x) {
            return image.pixels[static_cast<std::size_t>((y * image.W + x) * image.C)] < 100;
        };
        const index_t H = image.H - 1, W = image.W - 1;
        return std::string(dark(0, 0)   ? "top left"
                           : dark(0, W) ? "top right"
                           : dark(H, 0) ? "bottom left"
                                        : "bottom right");
    };
    const char* const expected[] = {"top left", "top left",  "top right",    "bottom right", "bottom left",
                                    "top left", "top right", "bottom right", "bottom left"};
    Image stored{16, 32, 3, Pixels(16 * 32 * 3, 200)};
    for (index_t y = 0; y < 8; ++y)
        for (index_t x = 0; x < 24; ++x) stored.pixels[static_cast<std::size_t>(y * 96 + x)] = 10;
    for (int orientation = 1; orientation <= 8; ++orientation)
        for (const bool big_endian : {false, true}) {
            const std::string block = exif(orientation, big_endian);
            std::string jpeg = make::jpeg(stored, 95);
            const std::size_t length = block.size() + 8;
            jpeg.insert(2, std::string("\xff\xe1") + static_cast<char>(length >> 8) +
                               static_cast<char>(length) + std::string("Exif\0\0", 6) + block);
            const std::string png = make::png(stored), chunk = make::png_chunk("eXIf", block);
            std::string before = png, after = png, prefixed = png;
            before.insert(33, chunk);              // behind IHDR
            after.insert(png.size() - 12, chunk);  // before IEND
            prefixed.insert(33, make::png_chunk("eXIf", std::string("Exif\0\0", 6) + block));
            for (const std::string& bytes : {jpeg, before, after, prefixed}) {
                const Image image = decode_photo(span_of(bytes), "x", 3);
                EXPECT_EQ(image.H, orientation < 5 ? 16 : 32);
                EXPECT_EQ(image.W, orientation < 5 ? 32 : 16);
                EXPECT_EQ(dark_corner(image), expected[orientation]) << orientation;
            }
        }
    // A chunk with a wrong checksum means nothing.
    std::string damaged = make::png(stored), wrong = make::png_chunk("eXIf", exif(6, true));
    wrong.back() ^= 1;
    damaged.insert(33, wrong);
    EXPECT_EQ(decode_photo(span_of(damaged), "x", 3).H, 16);
    using namespace std::string_literals;  // as LONG instead of SHORT, which some programs write
    EXPECT_EQ(
        exif_orientation(span_of("MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0"s)), 6);
    EXPECT_EQ(
        exif_orientation(span_of("II\x2a\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"s)), 8);
    EXPECT_EQ(exif_orientation(span_of("Exif\0\0Exif\0\0"s + exif(6, true))), 6);
    // Damaged blocks mean nothing.
    for (std::size_t cut = 0; cut < 20; ++cut)
        EXPECT_EQ(exif_orientation(span_of(exif(6, true).substr(0, cut))), 1);
    EXPECT_EQ(exif_orientation(span_of(exif(9, true))), 1);
    EXPECT_EQ(exif_orientation(span_of(exif(0, false))), 1);
}

TEST(Photo, ConvertsGrayAndColor) {
    EXPECT_EQ(decoded(make::png({1, 2, 1, {7, 200}}), 3), (Pixels{7, 7, 7, 200, 200, 200}));
    EXPECT_EQ(decoded(make::png({1, 3, 3, {255, 0, 0, 0, 255, 0, 9, 9, 9}}), 1), (Pixels{76, 150, 9}));
    const Image gray = make::smooth(16, 16, 1);
    EXPECT_EQ(decode_photo(span_of(make::jpeg(gray)), "x", 3).C, 3);
}

TEST(Photo, DetectsFormatByContent) {
    const TemporaryFolder folder;
    write_bytes(folder / "a.png", make::jpeg(make::smooth(16, 16, 3)));
    EXPECT_EQ(read_photo(folder / "a.png", 3).H, 16);
    write_bytes(folder / "b.png", "a text");
    expect_throw<InputError>([&] { read_photo(folder / "b.png", 3); },
                             {"b.png", "not a PNG, JPEG, WebP, TIFF or GIF"});
    write_bytes(folder / "c.png", "");
    expect_throw<InputError>([&] { read_photo(folder / "c.png", 3); },
                             {"c.png", "not a PNG, JPEG, WebP, TIFF or GIF"});
    expect_throw<InputError>([&] { read_photo(folder / "none.png", 3); }, {"none.png"});
    expect_throw<InputError>([&] { read_photo(folder.path(), 3); }, {"cannot read"});
}

TEST(Photo, RejectsTruncatedJpeg) {
    const std::string bytes = make::jpeg(make::smooth(64, 64, 3));
    for (std::size_t length = 0; length + 3 < bytes.size(); length += 11)
        expect_throw<InputError>([&] { decode_jpeg(span_of(bytes.substr(0, length)), "cut.jpg"); },
                                 {"cut.jpg"});
}

// Samsung phones write an end of spectral selection of 0. The parameters mean nothing in a sequential file.
TEST(Photo, ReadsJpegWithInvalidScanParameters) {
    const std::string whole = make::jpeg(make::smooth(64, 48, 3));
    std::string samsung = whole;
    const std::size_t scan = samsung.rfind("\xff\xda");
    ASSERT_NE(scan, std::string::npos);
    const std::size_t components = static_cast<std::uint8_t>(samsung[scan + 4]);
    samsung[scan + 5 + 2 * components + 1] = 0;
    ASSERT_NE(samsung, whole);
    EXPECT_EQ(decode_jpeg(span_of(samsung), "x").pixels, decode_jpeg(span_of(whole), "x").pixels);
}

TEST(Photo, ReportsSizeBeforeReadingPixels) {
    std::vector<std::string> files = {make::png(make::smooth(5, 7, 3)), make::jpeg(make::smooth(5, 7, 3))};
    if (reads_tiff()) files.push_back(make::tiff({}));
    if (reads_gif()) files.push_back(make::gif_file("plain"));
    if (reads_webp()) files.push_back(make::webp_file("lossless"));
    for (const std::string& bytes : files) {
        ImageSize size;
        const auto note = [&size](index_t H, index_t W) { size = {H, W}; };
        const Image image = decode_photo(span_of(bytes), "x", 3, note);
        EXPECT_EQ(size.H, image.H);
        EXPECT_EQ(size.W, image.W);
        const auto refuse = [](index_t, index_t) { throw InputError("too large"); };
        expect_throw<InputError>([&] { decode_photo(span_of(bytes), "x", 3, refuse); }, {"too large"});
    }
}

TEST(Photo, RejectsHugeJpegBeforeAllocating) {
    std::string bytes = make::jpeg(make::smooth(16, 16, 1));
    const std::size_t frame = bytes.find("\xff\xc0");
    ASSERT_NE(frame, std::string::npos);
    bytes.replace(frame + 5, 4, "\xff\x00\xff\x00", 4);
    expect_throw<InputError>([&] { decode_jpeg(span_of(bytes), "huge.jpg"); }, {"huge.jpg", "65280 x 65280"});
}

#if !defined(__SANITIZE_ADDRESS__)
// A photograph that there is no memory for is not damaged: glow_data images would leave it out.
TEST(Photo, LackOfMemoryIsNoDamagedWebp) {
    if (!reads_webp()) GTEST_SKIP() << "this build has no libwebp";
    const std::string bytes = make::large_webp();
    std::optional<LittleMemory> little;
    const auto decode = [&] {  // pixels of 46 MiB, in libwebp 61
        decode_webp(span_of(bytes), "x", [&](index_t, index_t) { little.emplace(rlim_t{80} << 20); });
    };
    EXPECT_THROW(decode(), std::bad_alloc);
}

TEST(Photo, LackOfMemoryIsNoDamagedJpeg) {
    std::string bytes = make::jpeg(make::smooth(16, 16, 1), 95, true);
    const std::size_t frame = bytes.find("\xff\xc2");
    ASSERT_NE(frame, std::string::npos);
    bytes.replace(frame + 5, 4, "\x17\x70\x17\x70", 4);  // 6000 x 6000: pixels of 34 MiB, coefficients of 69
    std::optional<LittleMemory> little;
    const auto decode = [&] {
        decode_jpeg(span_of(bytes), "x", nullptr,
                    [&](index_t, index_t) { little.emplace(rlim_t{60} << 20); });
    };
    EXPECT_THROW(decode(), std::bad_alloc);
}

TEST(Photo, LackOfMemoryIsNoDamagedTiff) {
    if (!reads_tiff()) GTEST_SKIP() << "this build has no libtiff";
    std::string bytes = make::file_named(make::compressed_tiff_files(), "palette");
    bytes.replace(54, 2, "\x05\x80", 2);  // PackBits
    // Width, height and rows of a strip: 3000. Pixels take 34 MiB, and libtiff 9 for a strip.
    for (const std::size_t entry : {10, 22, 82}) bytes.replace(entry + 8, 4, "\xb8\x0b\0\0", 4);
    expect_throw<InputError>([&] { decoded(bytes, 3); }, {"x", "TIFF"});
    std::optional<LittleMemory> little;
    const auto decode = [&] {
        decode_tiff(span_of(bytes), "x", nullptr,
                    [&](index_t, index_t) { little.emplace(rlim_t{40} << 20); });
    };
    EXPECT_THROW(decode(), std::bad_alloc);
}
#endif

// Each repeated scan is a pass over all pixels.
TEST(Photo, RejectsJpegWithManyScans) {
    const std::string bytes = make::jpeg(make::smooth(16, 16, 1), 95, true);
    const std::size_t scan = bytes.rfind("\xff\xda"), end = bytes.rfind("\xff\xd9");
    std::string many = bytes.substr(0, end);
    for (int n = 0; n < 400; ++n) many += bytes.substr(scan, end - scan);
    many += bytes.substr(end);
    expect_throw<InputError>([&] { decode_jpeg(span_of(many), "scans.jpg"); }, {"scans.jpg"});
}

TEST(CropAndShrink, AveragesCenterSquare) {
    // 2 x 6: the center 2 x 2 becomes one pixel.
    Pixels result(1);
    crop_and_shrink({2, 6, 1, {9, 9, 10, 20, 9, 9, 9, 9, 30, 41, 9, 9}}, {1, 1}, result.data());
    EXPECT_EQ(result, (Pixels{25}));  // 101 / 4 = 25.25
    // 3 x 3 to 2 x 2: the middle row and column are split in half.
    result.resize(4);
    crop_and_shrink({3, 3, 1, {0, 90, 180, 90, 90, 90, 90, 90, 90}}, {2, 2}, result.data());
    EXPECT_EQ(result, (Pixels{50, 130, 90, 90}));
    // Equal size: pixels are unchanged.
    const Image image = make::smooth(8, 9, 3);
    result.resize(192);
    crop_and_shrink(image, {8, 8}, result.data());
    for (index_t y = 0; y < 8; ++y)
        for (index_t i = 0; i < 24; ++i)
            ASSERT_EQ(result[static_cast<std::size_t>(y * 24 + i)],
                      image.pixels[static_cast<std::size_t>(y * 27 + i)]);
}

// Compared with a floating-point reference for sizes that do not divide each other.
TEST(CropAndShrink, MatchesAreaIntegral) {
    test::Random random(1);
    struct Case {
        int H, W;
        ImageSize to;
        int high, wide;  // the centered part of the same proportions
    };
    for (const auto& [H, W, to, high, wide] : {Case{7, 11, {3, 3}, 7, 7},
                                               {13, 13, {12, 12}, 13, 13},
                                               {100, 64, {17, 17}, 64, 64},
                                               {31, 40, {31, 31}, 31, 31},
                                               {31, 40, {8, 5}, 31, 19},
                                               {40, 31, {8, 5}, 40, 25},
                                               {90, 31, {8, 5}, 50, 31},
                                               {9, 50, {9, 50}, 9, 50}}) {
        Image image{H, W, 1, {}};
        for (int i = 0; i < H * W; ++i)
            image.pixels.push_back(static_cast<std::uint8_t>(random.integer(0, 255)));
        Pixels result(static_cast<std::size_t>(to.H * to.W));
        crop_and_shrink(image, to, result.data());
        const int top = (H - high) / 2, left = (W - wide) / 2;
        const double step_y = high / static_cast<double>(to.H), step_x = wide / static_cast<double>(to.W);
        const auto overlap = [](int i, double begin, double end) {
            return std::max(0.0, std::min(i + 1.0, end) - std::max<double>(i, begin));
        };
        for (index_t y = 0; y < to.H; ++y)
            for (index_t x = 0; x < to.W; ++x) {
                const auto at_y = static_cast<double>(y), at_x = static_cast<double>(x);
                double sum = 0;
                for (int i = 0; i < high; ++i)
                    for (int j = 0; j < wide; ++j)
                        sum += overlap(i, at_y * step_y, (at_y + 1) * step_y) *
                               overlap(j, at_x * step_x, (at_x + 1) * step_x) *
                               image.pixels[static_cast<std::size_t>((top + i) * W + left + j)];
                ASSERT_NEAR(result[static_cast<std::size_t>(y * to.W + x)], sum / (step_y * step_x),
                            0.5 + 1e-9);
            }
    }
}

struct PhotoFolder : testing::Test {
    ImageFolderOptions options() const {
        ImageFolderOptions options;
        options.size = 8;
        options.threads = 2;
        return options;
    }
    // All images of a split and their labels.
    std::pair<Pixels, std::vector<std::int32_t>> read(ImageFolder& source, SourceSplit split,
                                                      Pixels& usable) {
        const index_t N = source.info().images(split);
        Pixels images(static_cast<std::size_t>(N * source.info().image_bytes()));
        std::vector<std::int32_t> labels(static_cast<std::size_t>(N));
        usable.assign(static_cast<std::size_t>(N), 1);
        source.read(split, 0, N, images.data(), source.info().n_classes > 0 ? labels.data() : nullptr,
                    usable.data());
        return {images, labels};
    }
    void put(const std::string& name, int first, index_t side = 8) {
        std::filesystem::create_directories((folder / name).parent_path());
        const Image image = make::smooth(side, side, 3, first);
        write_bytes(folder / name, name.ends_with("png") ? make::png(image) : make::jpeg(image));
    }
    TemporaryFolder folder;
};

TEST_F(PhotoFolder, SortsFilesByName) {
    put("b.png", 20);
    put("a.PNG", 10);
    std::filesystem::rename(folder / "a.PNG", folder / "A.Png");
    write_bytes(folder / "A.Png", make::png(make::smooth(8, 8, 3, 10)));
    put("c.jpeg", 30);
    put("d.jpe", 40);
    put("e.JFIF", 50);  // as Windows saves JPEG files
    put(".hidden.png", 40);
    write_bytes(folder / "notes.txt", "hello");
    std::filesystem::create_directory(folder / "d.png");  // a folder
    ImageFolderOptions all = options();
    all.test = 0;
    ImageFolder source(folder.path(), all);
    EXPECT_EQ(source.info().train, 5);
    EXPECT_EQ(source.other_files(), (std::map<std::string, index_t>{{".txt", 1}}));
    EXPECT_EQ(source.info().n_classes, 0);
    Pixels usable;
    const Pixels images = read(source, SourceSplit::train, usable).first;
    EXPECT_EQ(images[0], 10);
    EXPECT_EQ(images[192], 20);
    EXPECT_NEAR(images[384], 30, 5);
    EXPECT_NEAR(images[4 * 192], 50, 5);
    EXPECT_EQ(usable, Pixels(5, 1));
}

TEST_F(PhotoFolder, ReadsRecursivelyInPathOrder) {
    put("top.png", 40);
    put("b/1.png", 30);
    put("a/deeper/2.png", 20);
    put("a/1.png", 10);
    std::filesystem::create_directory(folder / "empty");
    ImageFolderOptions all = options();
    all.test = 0;
    ImageFolder source(folder.path(), all);
    EXPECT_EQ(source.info().n_classes, 0);
    Pixels usable;
    const Pixels images = read(source, SourceSplit::train, usable).first;
    std::vector<std::string> names;
    for (index_t n = 0; n < source.info().train; ++n) {
        names.push_back(source.name(SourceSplit::train, n));
        EXPECT_EQ(images[static_cast<std::size_t>(n * 192)], 10 * (n + 1));
    }
    EXPECT_EQ(names, (std::vector<std::string>{"a/1.png", "a/deeper/2.png", "b/1.png", "top.png"}));
}

TEST_F(PhotoFolder, LinkedFoldersAreReadOnce) {
    const TemporaryFolder elsewhere;
    put("a/1.png", 10);
    write_bytes(elsewhere / "2.png", read_bytes(folder / "a/1.png"));
    std::filesystem::create_directory_symlink(elsewhere.path(), folder / "outside");
    std::filesystem::create_directory_symlink(elsewhere.path(), folder / "again");
    std::filesystem::create_directory_symlink("a", folder / "twice");
    std::filesystem::create_directory_symlink("..", folder / "a/up");
    std::filesystem::create_directory_symlink("/", folder / "root");
    ImageFolderOptions options = this->options();
    options.classes = false;
    ImageFolder source(folder.path(), options);
    EXPECT_EQ(source.files().size(), 2u);
    const std::vector<std::string> skipped = source.take_skipped();
    ASSERT_EQ(skipped.size(), 4u);
    for (const std::string& problem : skipped)
        EXPECT_NE(problem.find("symbolic link to a folder that is already read"), std::string::npos)
            << problem;
}

TEST_F(PhotoFolder, SkipsRunsInFolder) {
    put("a/1.png", 10);
    put("b/runs/quick/samples/step-00000030.png", 20);
    put("b/2.png", 30);
    const std::filesystem::path run = folder / "b/runs/quick";
    std::filesystem::create_directory(run / "checkpoints");
    write_bytes(run / "config.toml", {});
    const PhotoFiles listed = list_photos(folder.path());
    EXPECT_EQ(listed.names, (std::vector<std::string>{"a/1.png", "b/2.png"}));
    ASSERT_EQ(listed.skipped.size(), 1u);
    EXPECT_EQ(listed.skipped[0], run.string() + ": the folder of a training run, whose pictures are samples");
    expect_throw<InputError>([&] { ImageFolder(folder / "b/runs", options()); },
                             {"no image can be read", "the folder of a training run"});
}

// Leaving out class b would change the label of c.
TEST_F(PhotoFolder, LinkToAnotherClassIsError) {
    namespace fs = std::filesystem;
    const TemporaryFolder elsewhere;
    put("a/deeper/1.png", 10);
    put("c/1.png", 20);
    write_bytes(elsewhere / "1.png", read_bytes(folder / "a/deeper/1.png"));
    fs::create_directory(folder / "c/none");
    const auto expect_refused = [&](const fs::path& target, const fs::path& link, const std::string& photo) {
        fs::create_directory_symlink(target, folder / link);
        expect_throw<InputError>([&] { ImageFolder(folder.path(), options()); },
                                 {link.string() + " is a symbolic link", photo, "--no-classes"});
        ImageFolderOptions all = options();
        all.classes = false;
        EXPECT_EQ(ImageFolder(folder.path(), all).take_skipped().size(), 1u);
        all.strict = true;
        all.classes.reset();
        expect_throw<InputError>([&] { ImageFolder(folder.path(), all); }, {link.string(), "--strict"});
        fs::remove(folder / link);
    };
    expect_refused("a", "b", "a/deeper/1.png");
    expect_refused("a/deeper", "b", "a/deeper/1.png");
    expect_refused(".", "b", "a/deeper/1.png");
    expect_refused("../a", "c/more", "a/deeper/1.png");
    fs::create_directory_symlink(elsewhere.path(), folder / "b");
    expect_refused(elsewhere.path(), "d", "b/1.png");
    // Links within a class, and to no photograph, change no label.
    fs::create_directory_symlink("deeper", folder / "a/link");
    fs::create_directory_symlink("../a", folder / "a/self");
    fs::create_directory_symlink("c/none", folder / "e");
    ImageFolder source(folder.path(), options());
    EXPECT_EQ(source.classes(), (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(source.files().size(), 3u);
    EXPECT_EQ(source.take_skipped().size(), 3u);
}

// Otherwise a photograph could be in training and test.
TEST_F(PhotoFolder, LinkedFilesAreReadOnce) {
    const TemporaryFolder elsewhere;
    put("all/1.png", 10);
    put("all/2.png", 20);
    write_bytes(elsewhere / "3.png", read_bytes(folder / "all/1.png"));
    std::filesystem::create_directory(folder / "a");
    std::filesystem::create_symlink("../all/1.png", folder / "a/1.png");
    std::filesystem::create_hard_link(folder / "all/2.png", folder / "all/twin.png");
    std::filesystem::create_symlink(elsewhere / "3.png", folder / "a/3.png");
    std::filesystem::create_symlink(elsewhere / "3.png", folder / "all/3.png");
    const PhotoFiles listed = list_photos(folder.path());
    EXPECT_EQ(listed.names, (std::vector<std::string>{"a/3.png", "all/1.png", "all/2.png"}));
    EXPECT_TRUE(listed.skipped.empty());
    EXPECT_EQ(listed.repeats.size(), 3u);
    const std::string told = describe_repeats(folder.path(), listed.repeats);
    for (const char* const part : {"3 further names", "all/twin.png of all/2.png"})
        EXPECT_NE(told.find(part), std::string::npos) << told;
    ImageFolderOptions options = this->options();
    options.strict = true;
    // Which class would 1.png be of?
    expect_throw<InputError>([&] { ImageFolder(folder.path(), options); },
                             {"all/1.png", "a/1.png", "two classes", "--no-classes"});
    options.classes = false;
    EXPECT_EQ(ImageFolder(folder.path(), options).files().size(), 3u);
}

TEST_F(PhotoFolder, LinkGivesPhotographItsClass) {
    for (const int number : {1, 2}) {
        const std::string name = fmt::format("{}.png", number), kind = number == 1 ? "cat" : "dog";
        put(name, 10 * number);
        std::filesystem::create_directory(folder / kind);
        std::filesystem::create_symlink(folder / name, folder / kind / name);
    }
    ImageFolderOptions options = this->options();
    EXPECT_EQ(ImageFolder(folder.path(), options).info().n_classes, 0);
    options.classes = true;
    const ImageFolder source(folder.path(), options);
    EXPECT_EQ(source.classes(), (std::vector<std::string>{"cat", "dog"}));
    EXPECT_EQ(source.files().size(), 2u);
}

TEST_F(PhotoFolder, TopFolderIsClass) {
    put("dog/1.png", 30);
    put("cat/1.png", 10);
    put("cat/deeper/3.png", 20);
    put("top.png", 1);
    ImageFolderOptions all = options();
    all.test = 0;
    all.classes = true;
    ImageFolder source(folder.path(), all);
    EXPECT_EQ(source.classes(), (std::vector<std::string>{"cat", "dog"}));
    Pixels usable;
    const auto [images, labels] = read(source, SourceSplit::train, usable);
    EXPECT_EQ(labels, (std::vector<std::int32_t>{0, 0, 1}));
    EXPECT_EQ(images[384], 30);
    const std::vector<std::string> skipped = source.take_skipped();
    ASSERT_EQ(skipped.size(), 1u);
    EXPECT_NE(skipped[0].find("1 image is in no folder"), std::string::npos) << skipped[0];
    all.classes.reset();  // images next to the folders: no classes
    EXPECT_EQ(ImageFolder(folder.path(), all).info().n_classes, 0);
    EXPECT_EQ(ImageFolder(folder.path(), all).info().train, 4);
    std::filesystem::remove(folder / "top.png");
    EXPECT_EQ(ImageFolder(folder.path(), all).info().n_classes, 2);
    all.classes = false;
    EXPECT_EQ(ImageFolder(folder.path(), all).info().n_classes, 0);
    std::filesystem::remove_all(folder / "dog");
    all.classes.reset();
    EXPECT_EQ(ImageFolder(folder.path(), all).info().n_classes, 0);
    all.classes = true;
    expect_throw<InputError>([&] { ImageFolder(folder.path(), all); }, {"--classes", "found 1"});
}

TEST_F(PhotoFolder, CropsStayInOneSplit) {
    for (int n = 0; n < 12; ++n) put(fmt::format("{:02}.png", n), 10 * n, 20);
    ImageFolderOptions crops = options();
    crops.test = 0.25;
    crops.crops = 5;
    crops.crop_side = 10;  // 20 pixels leave 11 positions along each side
    ImageFolder source(folder.path(), crops);
    EXPECT_EQ(source.info().train, 45);
    EXPECT_EQ(source.info().test, 15);
    std::set<std::string> trained, squares;
    for (const SourceSplit split : {SourceSplit::train, SourceSplit::test}) {
        Pixels usable;
        const Pixels images = read(source, split, usable).first;
        const std::vector<index_t> groups = source.groups(split);
        for (index_t n = 0; n < source.info().images(split); ++n) {
            const std::string name = source.name(split, n);
            char file[16] = "";
            index_t side = 0, side_again = 0, x = -1, y = -1;
            ASSERT_EQ(std::sscanf(name.c_str(), "%6s[%ldx%ld+%ld+%ld]", file, &side, &side_again, &x, &y), 5)
                << name;
            ASSERT_TRUE(side == 10 && side_again == 10 && x >= 0 && x <= 10 && y >= 0 && y <= 10) << name;
            squares.insert(fmt::format("{} {}", x, y));
            Pixels expected(192);
            shrink(read_photo(folder / file, 3), {x, y, {side, side}}, {8, 8}, expected.data());
            ASSERT_TRUE(std::equal(expected.begin(), expected.end(), images.begin() + n * 192)) << name;
            if (split == SourceSplit::train)
                trained.insert(file);
            else
                EXPECT_EQ(trained.count(file), 0u) << name;
            EXPECT_EQ(groups[static_cast<std::size_t>(n)], std::atoi(file));
        }
    }
    EXPECT_GT(squares.size(), 30u);  // of 121
    ++crops.seed;
    crops.test = 0;
    ImageFolder other(folder.path(), crops);
    Pixels usable;
    read(other, SourceSplit::train, usable);
    EXPECT_NE(other.name(SourceSplit::train, 0), source.name(SourceSplit::train, 0));
}

TEST_F(PhotoFolder, TilesFormACenteredGrid) {
    const auto squares = [&](const ImageFolderOptions& tiled) {
        ImageFolder source(folder.path(), tiled);
        Pixels usable;
        read(source, SourceSplit::train, usable);
        std::vector<std::string> names;
        for (index_t n = 0; n < source.info().train; ++n) names.push_back(source.name(SourceSplit::train, n));
        return names;
    };
    const Image image{19, 27, 3, Pixels(19 * 27 * 3, 100)};
    write_bytes(folder / "a.png", make::png(image));
    put("too-small.png", 1, 7);
    ImageFolderOptions tiled = options();
    tiled.test = 0;
    tiled.tile = true;
    using Names = std::vector<std::string>;
    EXPECT_EQ(squares(tiled), (Names{"a.png[8x8+1+1]", "a.png[8x8+9+1]", "a.png[8x8+17+1]", "a.png[8x8+1+9]",
                                     "a.png[8x8+9+9]", "a.png[8x8+17+9]"}));
    tiled.overlap = 0.5;  // every 4 pixels
    EXPECT_EQ(squares(tiled).size(), 5u * 3u);
    tiled.crop_side = 19;
    tiled.overlap = 0;
    EXPECT_EQ(squares(tiled), (Names{"a.png[19x19+4+0]"}));
    tiled.crop_side = 4;
    expect_throw<InputError>([&] { ImageFolder(folder.path(), tiled); }, {"--crop-side 4", "--size 8"});
}

TEST_F(PhotoFolder, TestPartDependsOnSeed) {
    for (int n = 0; n < 40; ++n) put(fmt::format("{:02}.png", n), n);
    ImageFolderOptions quarter = options();
    quarter.test = 0.25;
    ImageFolder source(folder.path(), quarter), again(folder.path(), quarter);
    quarter.seed = 1;
    ImageFolder other(folder.path(), quarter);
    Pixels usable;
    const Pixels test = read(source, SourceSplit::test, usable).first,
                 train = read(source, SourceSplit::train, usable).first;
    EXPECT_EQ(test.size(), 10 * 192u);
    std::vector<int> firsts;
    for (std::size_t i = 0; i < test.size(); i += 192) firsts.push_back(test[i]);
    for (std::size_t i = 0; i < train.size(); i += 192) firsts.push_back(train[i]);
    std::sort(firsts.begin(), firsts.end());
    for (int n = 0; n < 40; ++n) EXPECT_EQ(firsts[static_cast<std::size_t>(n)], n);
    EXPECT_EQ(read(again, SourceSplit::test, usable).first, test);
    EXPECT_NE(read(other, SourceSplit::test, usable).first, test);
}

TEST_F(PhotoFolder, SkipsAndReportsBrokenAndSmallImages) {
    for (int n = 0; n < 6; ++n) put(fmt::format("{}.png", n), 10 * n);
    write_bytes(folder / "1.png", read_bytes(folder / "1.png").substr(0, 60));
    write_bytes(folder / "3.png", "a text");
    put("4.png", 40, 7);
    ImageFolderOptions all = options();
    all.test = 0;
    ImageFolder source(folder.path(), all);
    Pixels usable;
    read(source, SourceSplit::train, usable);
    EXPECT_EQ(usable, (Pixels{1, 0, 1, 0, 0, 1}));
    const std::vector<std::string> skipped = source.take_skipped();
    ASSERT_EQ(skipped.size(), 3u);
    EXPECT_NE(skipped[0].find("1.png"), std::string::npos);
    EXPECT_NE(skipped[1].find("3.png: is not a PNG"), std::string::npos) << skipped[1];
    EXPECT_NE(skipped[2].find("4.png: 7x7 pixels (height x width), fewer than 8x8"), std::string::npos)
        << skipped[2];
    EXPECT_TRUE(source.take_skipped().empty());
    all.strict = true;
    ImageFolder strict(folder.path(), all);
    expect_throw<InputError>([&] { read(strict, SourceSplit::train, usable); }, {"1.png", "--strict"});
}

TEST_F(PhotoFolder, RejectsFoldersWithoutImages) {
    expect_throw<InputError>([&] { ImageFolder(folder / "none", options()); }, {"none"});
    expect_throw<InputError>([&] { ImageFolder(folder.path(), options()); }, {"found no .png"});
    for (const char* const name : {"a.bmp", "b.BMP", "c.txt"}) write_bytes(folder / name, "x");
    expect_throw<InputError>([&] { ImageFolder(folder.path(), options()); },
                             {"found no .png", "subfolders, only 2 .bmp, 1 .txt"});
    put("1.png", 1);
    for (const double test : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
        ImageFolderOptions wrong = options();
        wrong.test = test;
        expect_throw<InputError>([&] { ImageFolder(folder.path(), wrong); }, {"--test"});
    }
}

}  // namespace
}  // namespace glow
