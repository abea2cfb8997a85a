// Sheets of images: a grid of tiles, several grids side by side, each with a label.
#pragma once

#include <string>
#include <vector>

#include "data/formats/png.h"

namespace glow {

struct GridSize {
    index_t rows, columns;
    index_t tiles() const { return rows * columns; }
};

// "8x8", rows x columns, each 1..1000. InputError otherwise.
GridSize parse_grid(const std::string& text);

// The smallest enlargement that makes the shorter side of a tile 64 pixels or more.
index_t tile_scale(index_t H, index_t W);

// images [N, H, W, C], row by row; places beyond N stay white, images beyond rows * columns are left out.
// Each pixel becomes scale x scale; scale 0: tile_scale(). A gap of 2 pixels between and around tiles.
// InputError where the sheet would be above kPngPixelLimit.
Image tile_images(const std::uint8_t* images, index_t N, index_t H, index_t W, index_t C, GridSize grid,
                  index_t scale = 0);

// A cross from corner to corner over an image [H, W, C], of white pixels with black ones to their right, so
// that it shows on any ground. Alpha is opaque there.
void cross_out(std::uint8_t* image, index_t H, index_t W, index_t C);

struct Panel {
    std::string label;  // printable ASCII; empty on all panels: no line for labels
    Image image;
};

// Panels from left to right, `a_row` of them in each row (0: all), labels above in black on white (a built-in
// 5x7 font). All have the same C.
Image side_by_side(const std::vector<Panel>& panels, index_t a_row = 0);

}  // namespace glow
