#include "tools/density_map_output.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "data/formats/npy.h"
#include "data/formats/output_name.h"
#include "data/grid.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "tools/numbers.h"

namespace glow {
namespace {

constexpr index_t kShortSide = 192;                        // pixels; smaller images are enlarged
constexpr double kLowOpacity = 0.25, kHighOpacity = 0.75;  // of the colors over the image
constexpr index_t kBarWidth = 16, kTickWidth = 4, kTextWidth = 72, kTextHeight = 14;
constexpr int kTicks = 5;

struct ColorScale {
    double low, high;  // bits/dim
    double position(double bits) const { return std::clamp((bits - low) / (high - low), 0.0, 1.0); }
};

// Bits/dim by position: their mean is the image's bits/dim.
std::vector<double> bits_of(const ModelConfig& model, const std::vector<double>& maps) {
    const ImageSize size = density_map_size(model);
    const double nats = model.nats_per_bit_dim() / static_cast<double>(size.H * size.W);
    std::vector<double> bits(maps.size());
    std::transform(maps.begin(), maps.end(), bits.begin(), [nats](double value) { return -value / nats; });
    return bits;
}

double percentile(std::vector<double> values, double fraction) {
    const auto at = values.begin() + std::llround(fraction * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

ColorScale scale_of(const MapOptions& options, const std::vector<double>& bits) {
    if (const auto ends = options.ends()) return {ends->first, ends->second};
    const double low = percentile(bits, 0.01), high = percentile(bits, 0.99);
    return {low, high > low ? high : low + 1};
}

// Blends the colors of a map over a gray image [H, W, 1].
Image draw_over(const Image& gray, const ColorScale& scale, const ImageSize& map, const double* bits) {
    Image image{gray.H, gray.W, 3, {}};
    image.pixels.reserve(static_cast<std::size_t>(3 * gray.H * gray.W));
    const index_t block_H = gray.H / map.H, block_W = gray.W / map.W;
    for (index_t y = 0; y < gray.H; ++y)
        for (index_t x = 0; x < gray.W; ++x) {
            const double t = scale.position(bits[y / block_H * map.W + x / block_W]);
            const double opacity = kLowOpacity + (kHighOpacity - kLowOpacity) * t;
            const std::uint8_t below = gray.pixels[static_cast<std::size_t>(y * gray.W + x)];
            for (const std::uint8_t color : heat_color(t))
                image.pixels.push_back(
                    static_cast<std::uint8_t>(std::lround(opacity * color + (1 - opacity) * below)));
        }
    return image;
}

// A color bar, highest value at the top, with tick labels to its right.
Image draw_scale(const ColorScale& scale, index_t H) {
    Image image{H, kBarWidth + kTickWidth + kTextWidth, 3, {}};
    image.pixels.assign(static_cast<std::size_t>(3 * image.H * image.W), 255);
    for (index_t y = 0; y < H; ++y) {
        const auto color = heat_color(1 - (static_cast<double>(y) + 0.5) / static_cast<double>(H));
        for (index_t x = 0; x < kBarWidth; ++x)
            std::copy(color.begin(), color.end(), image.pixels.begin() + 3 * (y * image.W + x));
    }
    for (int tick = 0; tick < kTicks; ++tick) {
        const double t = static_cast<double>(tick) / (kTicks - 1);
        const index_t y = std::lround((1 - t) * static_cast<double>(H - 1));
        for (index_t x = kBarWidth; x < kBarWidth + kTickWidth; ++x)
            std::fill_n(image.pixels.begin() + 3 * (y * image.W + x), 3, std::uint8_t{0});
        draw_text(image, std::clamp<index_t>(y - kTextHeight / 2, 0, H - kTextHeight),
                  kBarWidth + kTickWidth + 4,
                  fmt::format("{:.2f}", scale.low + t * (scale.high - scale.low)));
    }
    return image;
}

index_t enlargement_of(const ImageSet& set) {
    return std::max<index_t>(1, (kShortSide + std::min(set.H, set.W) - 1) / std::min(set.H, set.W));
}

void draw_heatmaps(const std::filesystem::path& folder, const ScoredImages& scored, const ModelConfig& model,
                   const std::vector<double>& bits, const ColorScale& scale) {
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    if (failed)
        throw InputError(fmt::format("{}: cannot create the folder: {}", folder.string(), failed.message()));
    const ImageSet& set = scored.images.set();
    const ImageSize map = density_map_size(model);
    const index_t enlarged = enlargement_of(set);
    const auto enlarge = [&](const Image& image) {
        return tile_images(image.pixels.data(), 1, image.H, image.W, image.C, {1, 1}, enlarged);
    };
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(set.image_bytes()));
    for (index_t n = 0; n < scored.images.N(); ++n) {
        scored.images.gather(&n, 1, pixels.data());
        const Image image{set.H, set.W, set.C, pixels};
        const auto i = static_cast<std::size_t>(n);
        const std::vector<Panel> panels = {
            {scored.names.empty() ? fmt::format("image {}", n) : short_name(scored.names[i]),
             enlarge(with_channels(image, 3))},
            {fmt::format("{:.4f} bits/dim", scored.bits[i]),
             enlarge(draw_over(with_channels(image, 1), scale, map, bits.data() + n * map.H * map.W))},
            {"", draw_scale(scale, set.H * enlarged)}};
        write_png(folder / fmt::format("{:06d}.png", n), side_by_side(panels));
    }
}

}  // namespace

void check_heatmaps(const ScoredImages& scored) {
    const ImageSet& set = scored.images.set();
    const index_t enlarged = enlargement_of(set);
    const ImageSize picture = tiled_size(set.H, set.W, {1, 1}, enlarged);
    side_by_side_size({{"image", picture},
                       {"00.0000 bits/dim", picture},
                       {"", {set.H * enlarged, kBarWidth + kTickWidth + kTextWidth}}});
}

std::array<std::uint8_t, 3> heat_color(double t) {
    // OKLab lightness 0.22 .. 0.96 in equal steps, so that equal differences look equal, also to the
    // color-blind.
    static constexpr std::uint8_t kColors[][3] = {{26, 4, 78},    {75, 0, 104},   {127, 0, 108},
                                                  {179, 4, 95},   {215, 61, 72},  {240, 107, 44},
                                                  {255, 154, 27}, {255, 203, 87}, {251, 246, 166}};
    constexpr int kLast = std::size(kColors) - 1;
    const double at = std::clamp(t, 0.0, 1.0) * kLast;
    const int below = std::min(static_cast<int>(at), kLast - 1);
    std::array<std::uint8_t, 3> color{};
    for (std::size_t c = 0; c < 3; ++c)
        color[c] = static_cast<std::uint8_t>(
            std::lround(kColors[below][c] + (at - below) * (kColors[below + 1][c] - kColors[below][c])));
    return color;
}

void MapOptions::check() const {
    if (!map.empty()) require_npy_name(map);
    refuse_other_name(heatmap, "a folder of PNG files");
    if (!range.empty() && heatmap.empty())
        throw InputError("--heatmap-range needs --heatmap, whose color scale it sets");
    ends();
}

std::optional<std::pair<double, double>> MapOptions::ends() const {
    if (range.empty()) return {};
    const std::vector<double> numbers = parse_numbers("--heatmap-range", range, -1e6, 1e6);
    if (numbers.size() != 2 || !(numbers[0] < numbers[1]))
        throw InputError(
            fmt::format("--heatmap-range \"{}\": expected LOW,HIGH in bits/dim, with LOW < HIGH", range));
    return std::pair(numbers[0], numbers[1]);
}

void add_map_options(CLI::App& app, MapOptions& options) {
    app.add_option(
        "--map", options.map,
        "Write log-densities by position, float64 [images, H / 2^levels, W / 2^levels] in nats, to a NumPy "
        "file, NAME.npy");
    app.add_option("--heatmap", options.heatmap,
                   "Folder for pictures of bits/dim by position over each image, brighter for more");
    app.add_option(
        "--heatmap-range", options.range,
        "Bits/dim of the darkest and brightest color, LOW,HIGH; default: the 1st and 99th percentile of all "
        "positions");
}

void write_maps(const MapOptions& options, const ScoredImages& scored, const ModelConfig& model,
                const std::vector<double>& maps, EvalResult& result) {
    const ImageSize size = density_map_size(model);
    const index_t N = scored.images.N();
    if (!options.map.empty()) {
        write_npy(options.map, {N, size.H, size.W}, maps);
        result.text += fmt::format("\n{}: float64 [{}, {}, {}]", options.map, N, size.H, size.W);
        result.json["map"] = options.map;
    }
    result.json["map_size"] = {size.H, size.W};
    if (options.heatmap.empty()) return;
    const std::vector<double> bits = bits_of(model, maps);
    const ColorScale scale = scale_of(options, bits);
    draw_heatmaps(options.heatmap, scored, model, bits, scale);
    result.text +=
        fmt::format("\n{}: {}, colors from {:.4f} to {:.4f} bits/dim (--heatmap-range {:.6g},{:.6g})",
                    options.heatmap, counted(N, "picture"), scale.low, scale.high, scale.low, scale.high);
    result.json["heatmap"] = options.heatmap;
    result.json["heatmap_range"] = {scale.low, scale.high};
}

}  // namespace glow
