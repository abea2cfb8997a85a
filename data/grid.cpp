#include "data/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "data/formats/decimal.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kGap = 2;       // pixels between and around tiles
constexpr index_t kVisible = 64;  // minimum shorter side of a tile at automatic scale
constexpr index_t kPanelGap = 8;  // pixels between panels
constexpr index_t kLetterW = 5, kLetterH = 7;
constexpr index_t kLetterScale = 2;  // pixels per dot of the font
constexpr index_t kLetterAdvance = kLetterScale * (kLetterW + 1);
constexpr index_t kLabelHeight = kLetterScale * kLetterH + 8;
constexpr std::uint8_t kWhite = 255;

struct Letter {
    char character;
    const char* dots;  // [7, 5], rows top to bottom
};
// clang-format off
constexpr Letter kLetters[] = {
    {'0', ".###.#...##..###.#.###..##...#.###."},
    {'1', "..#...##....#....#....#....#...###."},
    {'2', ".###.#...#....#...#...#...#...#####"},
    {'3', "#####...#...#.....#.....##...#.###."},
    {'4', "...#...##..#.#.#..#.#####...#....#."},
    {'5', "######....####.....#....##...#.###."},
    {'6', "..##..#...#....####.#...##...#.###."},
    {'7', "#####....#...#...#...#....#....#..."},
    {'8', ".###.#...##...#.###.#...##...#.###."},
    {'9', ".###.#...##...#.####....#...#..##.."},
    {'A', ".###.#...##...#######...##...##...#"},
    {'B', "####.#...##...#####.#...##...#####."},
    {'C', ".###.#...##....#....#....#...#.###."},
    {'D', "####.#...##...##...##...##...#####."},
    {'E', "######....#....####.#....#....#####"},
    {'F', "######....#....####.#....#....#...."},
    {'G', ".###.#...##....#.####...##...#.###."},
    {'H', "#...##...##...#######...##...##...#"},
    {'I', ".###...#....#....#....#....#...###."},
    {'J', "..###...#....#....#....#.#..#..##.."},
    {'K', "#...##..#.#.#..##...#.#..#..#.#...#"},
    {'L', "#....#....#....#....#....#....#####"},
    {'M', "#...###.###.#.##.#.##...##...##...#"},
    {'N', "#...###..##.#.##..###...##...##...#"},
    {'O', ".###.#...##...##...##...##...#.###."},
    {'P', "####.#...##...#####.#....#....#...."},
    {'Q', ".###.#...##...##...##.#.##..#..##.#"},
    {'R', "####.#...##...#####.#.#..#..#.#...#"},
    {'S', ".#####....#.....###.....#....#####."},
    {'T', "#####..#....#....#....#....#....#.."},
    {'U', "#...##...##...##...##...##...#.###."},
    {'V', "#...##...##...##...##...#.#.#...#.."},
    {'W', "#...##...##...##.#.##.#.###.###...#"},
    {'X', "#...##...#.#.#...#...#.#.#...##...#"},
    {'Y', "#...##...#.#.#...#....#....#....#.."},
    {'Z', "#####....#...#...#...#...#....#####"},
    {'a', "...........###.....#.#####...#.####"},
    {'b', "#....#....#.##.##..##...##...#####."},
    {'c', "...........###.#....#....#...#.###."},
    {'d', "....#....#.##.##..###...##...#.####"},
    {'e', "...........###.#...#######.....###."},
    {'f', "..##..#..#.#...###...#....#....#..."},
    {'g', "......#####...##...#.####....#.###."},
    {'h', "#....#....#.##.##..##...##...##...#"},
    {'i', "..#........##....#....#....#...###."},
    {'j', "...#........##....#....#.#..#..##.."},
    {'k', "#....#....#..#.#.#..##...#.#..#..#."},
    {'l', ".##....#....#....#....#....#...###."},
    {'m', "..........##.#.#.#.##.#.##...##...#"},
    {'n', "..........#.##.##..##...##...##...#"},
    {'o', "...........###.#...##...##...#.###."},
    {'p', ".....####.#...##...#####.#....#...."},
    {'q', "......#####...##...#.####....#....#"},
    {'r', "..........#.##.##..##....#....#...."},
    {'s', "...........###.#.....###.....#####."},
    {'t', ".#....#...###...#....#....#..#..##."},
    {'u', "..........#...##...##...##..##.##.#"},
    {'v', "..........#...##...##...#.#.#...#.."},
    {'w', "..........#...##...##.#.##.#.#.#.#."},
    {'x', "..........#...#.#.#...#...#.#.#...#"},
    {'y', ".....#...##...##...#.####....#.###."},
    {'z', "..........#####...#...#...#...#####"},
    {' ', "..................................."},
    {'.', "..........................##...##.."},
    {',', ".....................##....#...#..."},
    {':', "......##...##........##...##......."},
    {'-', "...............#####..............."},
    {'+', ".......#....#..#####..#....#......."},
    {'=', "..........#####.....#####.........."},
    {'/', ".........#...#...#...#...#........."},
    {'(', "...#...#...#....#....#.....#.....#."},
    {')', ".#.....#.....#....#....#...#...#..."},
    {'%', "##...##..#...#...#...#...#..##...##"},
    {'_', "..............................#####"},
    {'<', "...#...#...#...#.....#.....#.....#."},
    {'>', ".#.....#.....#.....#...#...#...#..."},
    {'*', ".......#..#.#.#.###.#.#.#..#......."},
};
// clang-format on

// An empty box replaces characters without a glyph.
constexpr const char* kUnknown = "######...##...##...##...##...######";

const char* dots_of(char character) {
    for (const Letter& letter : kLetters) {
        if (letter.character == character) return letter.dots;
    }
    return kUnknown;
}

Image white(index_t H, index_t W, index_t C) {
    if (H > kPngPixelLimit / W)
        throw InputError(
            fmt::format("a sheet of {} x {} pixels is too large: ask for fewer or smaller tiles", H, W));
    return {H, W, C, std::vector<std::uint8_t>(static_cast<std::size_t>(H * W * C), kWhite)};
}

// False for alpha channels.
bool is_color(index_t channel, index_t C) {
    return C % 2 == 1 || channel != C - 1;
}

std::vector<std::string> lines_of(const std::string& label) {
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin < label.size();) {
        const std::size_t end = std::min(label.find('\n', begin), label.size());
        lines.push_back(label.substr(begin, end - begin));
        // A character of UTF-8 takes one place: its first byte.
        std::erase_if(lines.back(),
                      [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; });
        begin = end + 1;
    }
    return lines;
}

void draw_line(const std::string& label, Image& image, index_t top, index_t left) {
    for (std::size_t n = 0; n < label.size(); ++n) {
        const char* dots = dots_of(label[n]);
        const index_t x0 = left + static_cast<index_t>(n) * kLetterAdvance;
        for (index_t y = 0; y < kLetterH * kLetterScale; ++y) {
            for (index_t x = 0; x < kLetterW * kLetterScale; ++x) {
                if (dots[y / kLetterScale * kLetterW + x / kLetterScale] != '#' || x0 + x >= image.W)
                    continue;
                std::uint8_t* pixel = image.pixels.data() + ((top + y) * image.W + x0 + x) * image.C;
                for (index_t c = 0; c < image.C; ++c) pixel[c] = is_color(c, image.C) ? 0 : kWhite;
            }
        }
    }
}

index_t parse_side(const char* begin, const char* end, const std::string& text) {
    index_t value = 0;
    const std::string_view side(begin, static_cast<std::size_t>(end - begin));
    if (parse_decimal(side, value) != std::errc() || value < 1 || value > 1000)
        throw InputError(
            fmt::format("expected a grid such as 8x8 (rows x columns, each 1..1000), found \"{}\"", text));
    return value;
}

}  // namespace

GridSize parse_grid(const std::string& text) {
    const std::size_t cross = std::min(text.find('x'), text.size());
    const char* begin = text.data();
    const char* end = begin + text.size();
    const index_t rows = parse_side(begin, begin + cross, text);
    return {rows, parse_side(std::min(begin + cross + 1, end), end, text)};
}

index_t tile_scale(index_t H, index_t W) {
    return (kVisible + std::min(H, W) - 1) / std::min(H, W);
}

Image tile_images(const std::uint8_t* images, index_t N, index_t H, index_t W, index_t C, GridSize grid,
                  index_t scale) {
    if (scale == 0) scale = tile_scale(H, W);
    const index_t tile_h = H * scale, tile_w = W * scale;
    Image sheet = white(kGap + grid.rows * (tile_h + kGap), kGap + grid.columns * (tile_w + kGap), C);
    for (index_t n = 0; n < std::min(N, grid.tiles()); ++n) {
        const index_t top = kGap + n / grid.columns * (tile_h + kGap);
        const index_t left = kGap + n % grid.columns * (tile_w + kGap);
        for (index_t y = 0; y < tile_h; ++y) {
            const std::uint8_t* from = images + (n * H + y / scale) * W * C;
            std::uint8_t* to = sheet.pixels.data() + ((top + y) * sheet.W + left) * C;
            for (index_t x = 0; x < tile_w; ++x) std::copy_n(from + x / scale * C, C, to + x * C);
        }
    }
    return sheet;
}

void cross_out(std::uint8_t* image, index_t H, index_t W, index_t C) {
    const auto paint = [&](index_t y, index_t x, std::uint8_t value) {
        if (x >= W) return;
        for (index_t c = 0; c < C; ++c) image[(y * W + x) * C + c] = is_color(c, C) ? value : kWhite;
    };
    for (index_t y = 0; y < H; ++y) {
        const index_t x = y * W / H;
        for (const index_t at : {x, W - 1 - x}) paint(y, at + 1, 0);
        for (const index_t at : {x, W - 1 - x}) paint(y, at, kWhite);
    }
}

Image side_by_side(const std::vector<Panel>& panels, index_t a_row) {
    if (panels.empty()) throw Error("side_by_side: expected at least one panel");
    const auto count = std::ssize(panels);
    const index_t columns = a_row > 0 ? std::min(a_row, count) : count, C = panels[0].image.C;
    // Columns are as wide and rows as high as their largest panels.
    std::vector<index_t> widths(static_cast<std::size_t>(columns), 0);
    std::vector<index_t> heights(static_cast<std::size_t>((count + columns - 1) / columns), 0);
    index_t label_height = 0;
    for (index_t n = 0; n < count; ++n) {
        const auto& [label, image] = panels[n];
        if (image.C != C) throw Error("side_by_side: expected panels with equal numbers of channels");
        const std::vector<std::string> lines = lines_of(label);
        label_height = std::max(label_height, std::ssize(lines) * kLabelHeight);
        index_t &W = widths[n % columns], &H = heights[n / columns];
        W = std::max(W, image.W);
        for (const std::string& line : lines) W = std::max(W, 2 * kGap + std::ssize(line) * kLetterAdvance);
        H = std::max(H, image.H);
    }
    index_t sheet_H = -kPanelGap, sheet_W = -kPanelGap;
    for (const index_t H : heights) sheet_H += label_height + H + kPanelGap;
    for (const index_t W : widths) sheet_W += W + kPanelGap;
    Image sheet = white(sheet_H, sheet_W, C);
    index_t top = 0, left = 0;
    for (index_t n = 0; n < count; ++n) {
        const auto& [label, image] = panels[n];
        index_t line_top = top + (kLabelHeight - kLetterScale * kLetterH) / 2;
        for (const std::string& line : lines_of(label)) {
            draw_line(line, sheet, line_top, left + kGap);
            line_top += kLabelHeight;
        }
        for (index_t y = 0; y < image.H; ++y)
            std::copy_n(image.pixels.data() + y * image.W * C, image.W * C,
                        sheet.pixels.data() + ((top + label_height + y) * sheet.W + left) * C);
        left += widths[n % columns] + kPanelGap;
        if ((n + 1) % columns != 0) continue;
        left = 0;
        top += label_height + heights[n / columns] + kPanelGap;
    }
    return sheet;
}

}  // namespace glow
