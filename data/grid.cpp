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
    {'\xdf', ".##..#..#.#..#.#.##.#...##...##.##."},  // sharp s
};
// clang-format on

// Letters of Latin-1 from U+00C0 on as a base letter with an accent: grave, acute, circumflex, tilde,
// diaeresis, ring, or - for none. ? has no glyph.
constexpr char32_t kFirstAccented = 0xc0;
constexpr std::string_view kBases =
    "AAAAAAACEEEEIIIIDNOOOOOxOUUUUY?\xdf"
    "aaaaaaaceeeeiiiidnooooo/ouuuuy?y";
constexpr std::string_view kAccents =
    "gactdr--gacdgacd-tgactd--gacda--"
    "gactdr--gacdgacd-tgactd--gacda-d";
struct Accent {
    char name;
    char32_t combining;  // as a character of its own, behind the letter
    const char* dots;    // [5]
};
constexpr Accent kAccentDots[] = {{'g', 0x300, ".#..."}, {'a', 0x301, "...#."}, {'c', 0x302, ".###."},
                                  {'t', 0x303, ".##.#"}, {'d', 0x308, ".#.#."}, {'r', 0x30a, "..#.."}};

// An empty box replaces characters without a glyph.
constexpr const char* kUnknownGlyph = "######...##...##...##...##...######";

const char* dots_of(char character) {
    for (const Letter& letter : kLetters) {
        if (letter.character == character) return letter.dots;
    }
    return kUnknownGlyph;
}

ImageSize checked(const ImageSize& sheet) {
    const auto [H, W] = sheet;
    if (H > kPngSideLimit || W > kPngSideLimit || H > kPngPixelLimit / W)
        throw InputError(
            fmt::format("a sheet of {} x {} pixels is too large: ask for fewer or smaller tiles", H, W));
    return sheet;
}

Image white(index_t H, index_t W, index_t C) {
    return {H, W, C, std::vector<std::uint8_t>(static_cast<std::size_t>(H * W * C), kWhite)};
}

// False for alpha channels.
bool is_color(index_t channel, index_t C) {
    return C % 2 == 1 || channel != C - 1;
}

// One place in a line.
struct Glyph {
    char letter;
    const char* accent;  // dots above it, or nullptr
};

const char* accent_of(char name, char32_t combining) {
    for (const Accent& accent : kAccentDots)
        if (accent.name == name || accent.combining == combining) return accent.dots;
    return nullptr;
}

// The first character of UTF-8, which is removed. 0 for a byte that begins none.
char32_t take_character(std::string_view& text) {
    const auto first = static_cast<unsigned char>(text.front());
    const std::size_t length = first < 0x80    ? 1
                               : first >= 0xf0 ? 4
                               : first >= 0xe0 ? 3
                               : first >= 0xc0 ? 2
                                               : 0;
    char32_t character = first < 0x80 ? first : first & (0x7fu >> length);
    std::size_t taken = 1;
    for (; taken < std::min(length, text.size()); ++taken) {
        const auto next = static_cast<unsigned char>(text[taken]);
        if ((next & 0xc0) != 0x80) break;
        character = character << 6 | (next & 0x3f);
    }
    text.remove_prefix(taken);
    return taken == length ? character : 0;
}

std::vector<std::vector<Glyph>> lines_of(std::string_view label) {
    std::vector<std::vector<Glyph>> lines;
    if (!label.empty()) lines.emplace_back();
    while (!label.empty()) {
        const char32_t character = take_character(label);
        std::vector<Glyph>& line = lines.back();
        const std::size_t accented = character - kFirstAccented;
        if (character == '\n' && !label.empty())
            lines.emplace_back();
        else if (const char* const accent = accent_of('\0', character); accent != nullptr && !line.empty())
            line.back().accent = accent;
        else if (character >= kFirstAccented && accented < kBases.size())
            line.push_back({kBases[accented], accent_of(kAccents[accented], 0)});
        else if (character != '\n')
            line.push_back({character < 0x80 ? static_cast<char>(character) : '\0', nullptr});
    }
    return lines;
}

// rows [H, 5] of dots
void draw_dots(const char* dots, index_t H, Image& image, index_t top, index_t left) {
    for (index_t y = 0; y < H * kLetterScale; ++y)
        for (index_t x = 0; x < kLetterW * kLetterScale; ++x) {
            if (dots[y / kLetterScale * kLetterW + x / kLetterScale] != '#' || left + x >= image.W) continue;
            std::uint8_t* pixel = image.pixels.data() + ((top + y) * image.W + left + x) * image.C;
            for (index_t c = 0; c < image.C; ++c) pixel[c] = is_color(c, image.C) ? 0 : kWhite;
        }
}

void draw_line(const std::vector<Glyph>& line, Image& image, index_t top, index_t left) {
    for (const Glyph& glyph : line) {
        draw_dots(dots_of(glyph.letter), kLetterH, image, top, left);
        // Small letters leave two rows free, and a line two rows above it.
        const bool is_small = glyph.letter >= 'a' && glyph.letter <= 'z';
        if (glyph.accent != nullptr)
            draw_dots(glyph.accent, 1, image, is_small ? top : top - 2 * kLetterScale, left);
        left += kLetterAdvance;
    }
}

struct Arrangement {
    std::vector<index_t> widths, heights;  // of columns and rows: those of their largest panels
    index_t label_height = 0;
    ImageSize sheet = {};
};

Arrangement arrange(const std::vector<PanelSize>& panels, index_t per_row) {
    if (panels.empty()) throw Error("side_by_side: expected at least one panel");
    const index_t count = std::ssize(panels), columns = per_row > 0 ? std::min(per_row, count) : count;
    Arrangement result;
    result.widths.resize(static_cast<std::size_t>(columns), 0);
    result.heights.resize(static_cast<std::size_t>((count + columns - 1) / columns), 0);
    for (index_t n = 0; n < count; ++n) {
        const auto& [label, size] = panels[n];
        const auto lines = lines_of(label);
        result.label_height = std::max(result.label_height, std::ssize(lines) * kLabelHeight);
        index_t &W = result.widths[n % columns], &H = result.heights[n / columns];
        W = std::max(W, size.W);
        for (const auto& line : lines) W = std::max(W, 2 * kGap + std::ssize(line) * kLetterAdvance);
        H = std::max(H, size.H);
    }
    ImageSize sheet{-kPanelGap, -kPanelGap};
    for (const index_t H : result.heights) sheet.H += result.label_height + H + kPanelGap;
    for (const index_t W : result.widths) sheet.W += W + kPanelGap;
    result.sheet = checked(sheet);
    return result;
}

index_t parse_dimension(const char* begin, const char* end, const std::string& text) {
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
    const index_t rows = parse_dimension(begin, begin + cross, text);
    return {rows, parse_dimension(std::min(begin + cross + 1, end), end, text)};
}

index_t tile_scale(index_t H, index_t W) {
    return (kVisible + std::min(H, W) - 1) / std::min(H, W);
}

ImageSize tiled_size(index_t H, index_t W, GridSize grid, index_t scale) {
    if (scale == 0) scale = tile_scale(H, W);
    return checked({kGap + grid.rows * (H * scale + kGap), kGap + grid.columns * (W * scale + kGap)});
}

Image tile_images(const std::uint8_t* images, index_t N, index_t H, index_t W, index_t C, GridSize grid,
                  index_t scale) {
    const ImageSize size = tiled_size(H, W, grid, scale);
    if (scale == 0) scale = tile_scale(H, W);
    const index_t tile_h = H * scale, tile_w = W * scale;
    Image sheet = white(size.H, size.W, C);
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

void draw_text(Image& image, index_t top, index_t left, const std::string& text) {
    draw_line(lines_of(text).at(0), image, top, left);
}

ImageSize side_by_side_size(const std::vector<PanelSize>& panels, index_t per_row) {
    return arrange(panels, per_row).sheet;
}

Image side_by_side(const std::vector<Panel>& panels, index_t per_row) {
    std::vector<PanelSize> sizes;
    for (const auto& [label, image] : panels) {
        if (image.C != panels[0].image.C)
            throw Error("side_by_side: expected panels with equal numbers of channels");
        sizes.push_back({label, {image.H, image.W}});
    }
    const auto [widths, heights, label_height, size] = arrange(sizes, per_row);
    const index_t count = std::ssize(panels), columns = std::ssize(widths), C = panels[0].image.C;
    Image sheet = white(size.H, size.W, C);
    index_t top = 0, left = 0;
    for (index_t n = 0; n < count; ++n) {
        const auto& [label, image] = panels[n];
        index_t line_top = top + (kLabelHeight - kLetterScale * kLetterH) / 2;
        for (const auto& line : lines_of(label)) {
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
