// Sheets of images: a grid of tiles, or several labeled grids side by side.
#pragma once

#include <string>
#include <vector>

#include "data/formats/image_size.h"
#include "data/formats/png.h"

namespace glow {

struct GridSize {
    index_t rows, columns;
    index_t tiles() const { return rows * columns; }
};

// Parses "8x8" (rows x columns, each 1..1000); throws InputError otherwise.
GridSize parse_grid(const std::string& text);

// The smallest enlargement that makes the shorter side of a tile 64 pixels or more.
index_t tile_scale(index_t H, index_t W);

// Tiles images [N, H, W, C] row by row. Unused cells stay white; images beyond rows * columns are left out.
// Each pixel becomes scale x scale (scale 0: tile_scale()). Gaps of 2 pixels between and around tiles. Throws
// InputError if the sheet exceeds kPngPixelLimit or kPngSideLimit.
Image tile_images(const std::uint8_t* images, index_t N, index_t H, index_t W, index_t C, GridSize grid,
                  index_t scale = 0);
// The size of that sheet, to refuse one that is too large before there are images.
ImageSize tiled_size(index_t H, index_t W, GridSize grid, index_t scale = 0);

// Draws a diagonal cross over an image [H, W, C]: white pixels with black ones to their right, visible on any
// background, alpha opaque.
void cross_out(std::uint8_t* image, index_t H, index_t W, index_t C);

struct Panel {
    // Lines of UTF-8 separated by \n. A box replaces characters other than printable ASCII and the letters of
    // Latin-1 (composed or not). If all labels are empty, no space is left for them.
    std::string label;
    Image image;
};

// Draws a line of black text in the font of labels; `top` and `left` are the corner of its first letter. It
// needs 14 pixels of height; parts beyond the right edge are left out.
void draw_text(Image& image, index_t top, index_t left, const std::string& text);

// Panels from left to right, `per_row` per row (0: all), with black labels on white above them (built-in 5x7
// font). All panels must have the same C.
Image side_by_side(const std::vector<Panel>& panels, index_t per_row = 0);
// The size of that sheet, and InputError as from tiled_size().
struct PanelSize {
    std::string label;
    ImageSize size;
};
ImageSize side_by_side_size(const std::vector<PanelSize>& panels, index_t per_row = 0);

}  // namespace glow
