// Reads photographs of any size and turns them into images of one size: center crop, then downscale.
#pragma once

#include "data/formats/image_size.h"
#include "data/formats/png.h"

namespace glow {

// The suffixes of files that read_photo() reads: ".png, .jpg, .jpeg, .jpe, .jfif, .webp, .tif, .tiff or
// .gif", except those whose library the build lacks.
std::string photo_suffixes();
// Whether the path has one of them, in upper or lower case.
bool is_photo_name(const std::filesystem::path& path);

// Reads a PNG, JPEG, WebP, TIFF or GIF file, identified by its first bytes, not its name. C = 1: gray, 3:
// RGB, converted as in with_channels(). Throws InputError if it is missing, empty, of another format, damaged
// or above a limit.
Image read_photo(const std::filesystem::path& path, index_t C, const SizeHook& on_size = {});
// The same from the bytes of a file.
Image decode_photo(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C,
                   const SizeHook& on_size = {});

// The same for coding without loss: throws InputError if conversion to C channels would lose part of the
// picture: 16 bits per channel or palette color, transparency, further channels, pages, pictures or frames,
// CMYK, or colors if C = 1. `gray` is true if the file has no colors; for C = 3 its three channels are then
// equal.
struct ExactPhoto {
    Image image;
    bool gray = false;
};
ExactPhoto read_photo_exactly(const std::filesystem::path& path, index_t C);

// Part of a photograph: its top left pixel (x, y) and its size.
struct Crop {
    index_t x = 0, y = 0;
    ImageSize size = {};
};
// The largest centered part of a photograph with the proportions of `target`, in whole pixels. An odd
// remainder is split with the smaller part at the top and left.
Crop centered_crop(const ImageSize& photo, const ImageSize& target);
// Scales a part of the image down to `size` by averaging areas, result [H, W, C], rounded to nearest. Uses
// integer arithmetic, so that results are equal on every machine. Throws Error if the part is not within the
// image, or a side of it is shorter than that of `size`.
void shrink(const Image& image, const Crop& part, const ImageSize& size, std::uint8_t* result);
// The same with the centered_crop().
void crop_and_shrink(const Image& image, const ImageSize& size, std::uint8_t* result);

}  // namespace glow
