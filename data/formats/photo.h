// Photographs of any size from files, and what becomes of them in a data set: the square in the middle,
// scaled down.
#pragma once

#include "data/formats/png.h"

namespace glow {

// A PNG or JPEG file, told apart by its first bytes, whatever its name. C = 1: gray, 3: RGB; converted as
// with_channels does. InputError: missing, empty, neither of the two, damaged, above a limit.
Image read_photo(const std::filesystem::path& path, index_t C);
// The same from the bytes of a file.
Image decode_photo(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C);

// The largest square in the middle (where the rest is odd, the smaller part is cut off above and on the
// left), each of S x S pixels of the result [S, S, C] the mean of the area it covers, rounded to nearest:
// whole numbers throughout, so the same on every machine. Error where a side of the image is below S.
void crop_and_shrink(const Image& image, index_t S, std::uint8_t* result);
// The same of the square of `side` pixels whose top left pixel is (x, y). Error where it is not within the image or
// smaller than S.
void shrink_square(const Image& image, index_t x, index_t y, index_t side, index_t S, std::uint8_t* result);

}  // namespace glow
