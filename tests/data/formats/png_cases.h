// PNG files of every kind, written without libpng, and their pixels by the PNG specification.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "tests/data/make_files.h"
#include "tests/support.h"

namespace glow::make {

// color: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha.
inline int png_channels(int color) {
    return color == 0 || color == 3 ? 1 : color == 4 ? 2 : color == 2 ? 3 : 4;
}

struct PngCase {
    index_t H = 1, W = 1;
    int color = 0, bits = 8;
    bool interlaced = false;
    std::vector<unsigned> samples = {};  // [H, W, channels], as stored
    std::vector<std::array<std::uint8_t, 3>> palette = {};
    std::vector<std::uint8_t> palette_alpha = {};         // for the first colors; the others are opaque
    std::vector<unsigned> key = {};                       // tRNS of gray and RGB: the transparent color
    std::string before_palette = {}, before_pixels = {};  // other chunks

    index_t channels() const { return png_channels(color); }
};

// ---- The file ------------------------------------------------------------------------------------

// One pass: rows of `pixels` [height, width], cycling through the five filters.
inline std::string png_pass(const PngCase& image, const std::vector<index_t>& pixels, index_t width) {
    if (width == 0) return "";
    const index_t channels = image.channels(), row_bytes = (width * channels * image.bits + 7) / 8,
                  step = std::max<index_t>(1, channels * image.bits / 8);
    std::string rows;
    std::vector<int> above(static_cast<std::size_t>(row_bytes), 0);
    int filter = 0;
    for (std::size_t first = 0; first < pixels.size(); first += static_cast<std::size_t>(width)) {
        std::vector<int> row(static_cast<std::size_t>(row_bytes), 0);
        index_t bit = 0;
        for (index_t x = 0; x < width; ++x)
            for (index_t c = 0; c < channels; ++c, bit += image.bits) {
                const unsigned value = image.samples[static_cast<std::size_t>(
                    pixels[first + static_cast<std::size_t>(x)] * channels + c)];
                const auto at = static_cast<std::size_t>(bit / 8);
                if (image.bits == 16) {
                    row[at] = static_cast<int>(value >> 8);
                    row[at + 1] = static_cast<int>(value & 255);
                } else {
                    row[at] |= static_cast<int>(value << (8 - image.bits - bit % 8));
                }
            }
        rows += static_cast<char>(filter);
        for (index_t i = 0; i < row_bytes; ++i) {
            const auto at = static_cast<std::size_t>(i);
            const int a = i >= step ? row[static_cast<std::size_t>(i - step)] : 0, b = above[at],
                      c = i >= step ? above[static_cast<std::size_t>(i - step)] : 0;
            const int p = a + b - c, to_a = std::abs(p - a), to_b = std::abs(p - b), to_c = std::abs(p - c);
            const int paeth = to_a <= to_b && to_a <= to_c ? a : to_b <= to_c ? b : c;
            const int predicted[] = {0, a, b, (a + b) / 2, paeth};
            rows += static_cast<char>(row[at] - predicted[filter]);
        }
        above = row;
        filter = (filter + 1) % 5;
    }
    return rows;
}

inline std::string png_file(const PngCase& image) {
    std::string rows;
    constexpr int kPasses[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                   {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    constexpr int kWhole[4] = {0, 0, 1, 1};
    for (int n = 0; n < (image.interlaced ? 7 : 1); ++n) {
        const auto& [left, top, dx, dy] = image.interlaced ? kPasses[n] : kWhole;
        std::vector<index_t> pixels;
        for (index_t y = top; y < image.H; y += dy)
            for (index_t x = left; x < image.W; x += dx) pixels.push_back(y * image.W + x);
        rows += png_pass(image, pixels, left < image.W ? (image.W - left + dx - 1) / dx : 0);
    }
    std::string palette, transparency;
    for (const auto& entry : image.palette)
        for (const std::uint8_t value : entry) palette += static_cast<char>(value);
    for (const std::uint8_t alpha : image.palette_alpha) transparency += static_cast<char>(alpha);
    for (const unsigned value : image.key) transparency += big_endian(value, 2);
    const std::string packed = deflated(rows, 15);
    return "\x89PNG\r\n\x1a\n" +
           png_chunk("IHDR", big_endian(static_cast<std::uint64_t>(image.W), 4) +
                                 big_endian(static_cast<std::uint64_t>(image.H), 4) +
                                 static_cast<char>(image.bits) + static_cast<char>(image.color) +
                                 std::string(2, '\0') + static_cast<char>(image.interlaced)) +
           image.before_palette + (palette.empty() ? "" : png_chunk("PLTE", palette)) +
           (transparency.empty() ? "" : png_chunk("tRNS", transparency)) + image.before_pixels +
           png_chunk("IDAT", packed.substr(0, packed.size() / 2)) +
           png_chunk("IDAT", packed.substr(packed.size() / 2)) + png_chunk("IEND", "");
}

// ---- Its pixels ----------------------------------------------------------------------------------

// RGB and alpha, 8 bits each.
inline std::array<int, 4> png_pixel(const PngCase& image, index_t pixel) {
    const unsigned* const stored = image.samples.data() + pixel * image.channels();
    const double most = (1 << image.bits) - 1;
    const auto in_8_bits = [&](unsigned value) {
        return static_cast<int>(std::floor(value * 255.0 / most + 0.5));
    };
    if (image.color == 3) {
        if (stored[0] >= image.palette.size()) return {0, 0, 0, 255};
        const auto& entry = image.palette[stored[0]];
        const int alpha = stored[0] < image.palette_alpha.size() ? image.palette_alpha[stored[0]] : 255;
        return {entry[0], entry[1], entry[2], alpha};
    }
    const bool gray = image.color == 0 || image.color == 4, has_alpha = image.color >= 4;
    std::array<int, 4> result;
    for (int c = 0; c < 3; ++c) result[static_cast<std::size_t>(c)] = in_8_bits(stored[gray ? 0 : c]);
    bool transparent = !image.key.empty();
    for (std::size_t c = 0; c < image.key.size(); ++c)
        transparent = transparent && stored[c] == (image.key[c] & static_cast<unsigned>(most));
    result[3] = has_alpha ? in_8_bits(stored[gray ? 1 : 3]) : transparent ? 0 : 255;
    return result;
}

// C = 1 gray or 3 RGB, composited over black; 0 as stored, with alpha if present.
inline Image png_image(const PngCase& image, index_t C) {
    const bool alpha = image.color >= 4 || !image.key.empty() || !image.palette_alpha.empty();
    const bool gray = image.color == 0 || image.color == 4;
    Image result{image.H, image.W, C == 0 ? (gray ? 1 : 3) + alpha : C, {}};
    for (index_t pixel = 0; pixel < image.H * image.W; ++pixel) {
        std::array<int, 4> rgba = png_pixel(image, pixel);
        const auto push = [&](int value) { result.pixels.push_back(static_cast<std::uint8_t>(value)); };
        if (C != 0)
            for (std::size_t c = 0; c < 3; ++c)
                rgba[c] = static_cast<int>(std::floor(rgba[c] * (rgba[3] / 255.0) + 0.5));
        if (C == 1)
            push(static_cast<int>(
                std::floor((0.299 * rgba[0] + 0.587 * rgba[1] + 0.114 * rgba[2]) + 0.5 + 1e-9)));
        else
            for (std::size_t c = 0; c < (C == 0 && gray ? 1u : 3u); ++c) push(rgba[c]);
        if (C == 0 && alpha) push(rgba[3]);
    }
    return result;
}

// ---- Kinds ---------------------------------------------------------------------------------------

inline std::string png_gamma(std::uint64_t gamma) {
    return png_chunk("gAMA", big_endian(gamma, 4));
}

// Named chunks that do not change pixels: those before PLTE and those after it.
struct PngExtras {
    std::string name, before_palette, before_pixels;
};
inline std::vector<PngExtras> png_extras(int color) {
    using namespace std::string_literals;
    // A profile of 132 bytes: header without tags.
    std::string profile = big_endian(132, 4) + "none" + "\4\0\0\0"s + "mntrRGB XYZ " + std::string(12, '\0') +
                          "acsp" + std::string(40 - 12, '\0');
    profile.resize(132, '\0');
    std::string chromaticities;
    for (const std::uint64_t value : {31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000})
        chromaticities += big_endian(value, 4);
    const std::string background = color == 3 ? "\1"s : color == 0 || color == 4 ? "\0\1"s : "\0\1\0\1\0\1"s;
    const std::string significant(color == 3 ? 3 : static_cast<std::size_t>(png_channels(color)), '\1');
    return {{"plain", "", ""},
            {"gamma_1", png_gamma(100000), ""},
            {"gamma_1.8", png_gamma(55556), ""},
            {"gamma_2.2", png_gamma(45455), ""},
            {"gamma_2.4", png_gamma(41667), ""},
            {"gamma_0", png_gamma(0), ""},
            {"srgb", png_chunk("sRGB", "\0"s), ""},
            {"chrm", png_gamma(45455) + png_chunk("cHRM", chromaticities), ""},
            {"iccp", png_chunk("iCCP", "profile\0\0"s + deflated(profile, 15)), ""},
            {"broken_iccp", png_chunk("iCCP", "profile\0\0not deflated"s), ""},
            {"sbit", png_chunk("sBIT", significant), ""},
            {"bkgd", "", png_chunk("bKGD", background)},
            {"text", png_chunk("tEXt", "Comment\0hello"s), png_chunk("prVt", "private")}};
}

struct NamedPng {
    std::string name;
    PngCase image;
};

// Every color type, bit depth, interlacing and transparency, with random pixels.
inline std::vector<NamedPng> png_kinds(index_t H, index_t W) {
    std::vector<NamedPng> kinds;
    test::Random random(static_cast<std::uint64_t>(H * 1000 + W));
    const auto draw = [&](int high) { return static_cast<unsigned>(random.integer(0, high)); };
    for (const auto& [color, name] :
         {std::pair{0, "gray"}, {2, "rgb"}, {3, "palette"}, {4, "graya"}, {6, "rgba"}})
        for (const int bits : {1, 2, 4, 8, 16}) {
            if (color == 3 ? bits == 16 : color != 0 && bits < 8) continue;
            for (const bool interlaced : {false, true})
                for (const std::string transparency : {"opaque", "trns", "long_trns"}) {
                    if (color >= 4 ? transparency != "opaque" : color != 3 && transparency == "long_trns")
                        continue;
                    PngCase image{.H = H, .W = W, .color = color, .bits = bits, .interlaced = interlaced};
                    const int most = (1 << bits) - 1;
                    const int colors = color == 3 ? std::min(most + 1, 200) : 0;
                    for (index_t i = 0; i < H * W * image.channels(); ++i)
                        image.samples.push_back(draw(color == 3 ? colors - 1 : most));
                    for (int n = 0; n < colors; ++n) {
                        const auto byte = [&] { return static_cast<std::uint8_t>(draw(255)); };
                        image.palette.push_back({byte(), byte(), byte()});
                    }
                    if (transparency != "opaque" && color == 3) {
                        // Shorter than the palette, or equally long.
                        for (int n = 0; n < (transparency == "trns" ? (colors + 1) / 2 : colors); ++n)
                            image.palette_alpha.push_back(static_cast<std::uint8_t>(draw(255)));
                    } else if (transparency != "opaque") {
                        // The color of the first pixel; the second one differs only in its last bit.
                        image.key.assign(image.samples.begin(), image.samples.begin() + image.channels());
                        if (H * W > 1) {
                            std::copy(image.key.begin(), image.key.end(),
                                      image.samples.begin() + image.channels());
                            image.samples[static_cast<std::size_t>(2 * image.channels() - 1)] ^= 1;
                        }
                    }
                    kinds.push_back({fmt::format("{}{}_{}_{}_{}x{}", name, bits,
                                                 interlaced ? "interlaced" : "straight", transparency, H, W),
                                     image});
                }
        }
    return kinds;
}

// A 4:4:4 JPEG with four inks. transform: 0 CMYK, 2 YCCK; marker: Adobe's.
inline std::string inks_jpeg(const Image& inks, bool ycck, bool marker) {
    std::string bytes = jpeg(inks, 98, false, ycck);
    if (marker) return bytes;
    const std::size_t at = bytes.find("\xff\xee");  // APP14, then its length and "Adobe"
    if (at == std::string::npos || bytes.compare(at + 4, 5, "Adobe") != 0) throw Error("no Adobe marker");
    return bytes.erase(at, 2 + 14);
}

}  // namespace glow::make
