// Usage: write_pictures FOLDER
// Writes PNG, JPEG, WebP, TIFF and GIF files of every kind, and for each NAME its decoded pixels as NAME.raw:
// "H W" in a line and RGB.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "data/formats/gif.h"
#include "data/formats/photo.h"
#include "data/formats/tiff.h"
#include "data/formats/webp.h"
#include "tests/data/formats/gif_cases.h"
#include "tests/data/formats/png_cases.h"
#include "tests/data/formats/tiff_cases.h"
#include "tests/data/formats/webp_cases.h"

namespace {

using namespace glow;

void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    const Image read =
        decode_photo({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path.string(), 3);
    std::ofstream raw(path.string() + ".raw", std::ios::binary);
    raw << read.H << " " << read.W << "\n";
    raw.write(reinterpret_cast<const char*>(read.pixels.data()),
              static_cast<std::streamsize>(read.pixels.size()));
}

void write_all(const std::filesystem::path& folder) {
    for (const auto& [H, W] : {std::pair<index_t, index_t>{1, 1}, {3, 5}, {7, 9}, {16, 33}})
        for (const auto& [name, image] : make::png_kinds(H, W))
            write(folder / (name + ".png"), make::png_file(image));
    for (const auto& [name, image] : make::png_kinds(4, 6))
        for (const auto& [extra, before_palette, before_pixels] : make::png_extras(image.color)) {
            make::PngCase with = image;
            with.before_palette = before_palette;
            with.before_pixels = before_pixels;
            write(folder / (name + "_" + extra + ".png"), make::png_file(with));
        }
    make::PngCase alphas{.H = 256, .W = 256, .color = 4};
    for (unsigned i = 0; i < 65536; ++i) alphas.samples.insert(alphas.samples.end(), {i >> 8, i & 255});
    write(folder / "graya8_all.png", make::png_file(alphas));

    const Image inks = make::smooth(24, 40, 4, 20);
    write(folder / "cmyk_adobe.jpg", make::inks_jpeg(inks, false, true));
    write(folder / "cmyk_no_marker.jpg", make::inks_jpeg(inks, false, false));
    write(folder / "ycck_adobe.jpg", make::inks_jpeg(inks, true, true));
    write(folder / "gray.jpg", make::jpeg(make::smooth(24, 40, 1)));
    write(folder / "rgb.jpg", make::jpeg(make::smooth(24, 40, 3)));
    for (const auto& [name, bytes] : make::webp_files())
        if (name != "animation" && reads_webp()) write(folder / (name + ".webp"), bytes);
    if (reads_gif())
        for (const auto& [name, bytes] : make::gif_files()) write(folder / (name + ".gif"), bytes);
    if (reads_tiff()) {
        for (const auto& [name, bytes] : make::compressed_tiff_files())
            write(folder / (name + ".tif"), bytes);
        for (const auto& [name, one] : make::tiff_cases()) write(folder / (name + ".tif"), make::tiff(one));
    }
    write(folder / "progressive.jpg", make::jpeg(make::smooth(24, 40, 3), 90, true));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    try {
        write_all(argv[1]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "write_pictures: %s\n", error.what());
        return 1;
    }
}
