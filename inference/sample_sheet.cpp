#include "inference/sample_sheet.h"

#include <fmt/format.h>

#include <algorithm>

#include "inference/sample.h"
#include "inference/sample_health.h"

namespace glow {
namespace {

constexpr auto kPanels = static_cast<index_t>(std::size(kSheetTemperatures));
constexpr index_t kClassColumns = 10;  // of a panel, at most
// limit on pixels of all tiles, if fewer tiles are possible
constexpr index_t kSheetPixels = index_t{1} << 22;
constexpr index_t kMaxSheet = index_t{1} << 26;  // limit with one tile per panel

index_t tile_pixels(const ModelConfig& model) {
    const index_t scale = tile_scale(model.image_height, model.image_width);
    return model.image_height * model.image_width * scale * scale;
}

}  // namespace

std::optional<GridSize> sheet_grid(const ModelConfig& model) {
    const index_t tile = tile_pixels(model);
    if (tile > kMaxSheet / kPanels) return {};
    GridSize grid{4, model.y_cond ? std::min(model.n_classes, kClassColumns) : 4};
    const auto large = [&] { return tile * grid.tiles() * kPanels > kSheetPixels; };
    while (large() && grid.rows > 1) grid.rows /= 2;
    while (large() && grid.columns > 1) grid.columns /= 2;
    return grid;
}

std::vector<std::int32_t> column_classes(index_t count, index_t columns, index_t n_classes) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) labels[i] = static_cast<std::int32_t>(i % columns % n_classes);
    return labels;
}

std::optional<SampleSheet> sample_sheet(const RunnableModel& model, std::uint64_t seed,
                                        const std::function<bool()>& stop) {
    const ModelConfig& config = model.glow.config();
    const std::optional<GridSize> grid = sheet_grid(config);
    if (!grid) return {};
    Communicator& processes = model.context.communicator;
    const index_t N = grid->tiles(), D = config.dimensions();
    const std::vector<std::int32_t> classes =
        column_classes(N, grid->columns, std::max<index_t>(1, config.n_classes));
    const Slice mine = processes.slice(N);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(N * D));
    std::vector<double> largest(static_cast<std::size_t>(N));
    std::vector<Panel> panels;
    std::string invalid_samples;
    for (const double temperature : kSheetTemperatures) {
        if (stop && stop()) return {};
        sample(model, {mine.count, temperature, seed, classes.data() + mine.first, mine.first},
               pixels.data() + mine.first * D, largest.data() + mine.first);
        processes.all_gather_slices(N, static_cast<std::size_t>(D), pixels.data());
        processes.all_gather_slices(N, sizeof(double), largest.data());
        if (!processes.is_root()) continue;
        const SampleHealth found = cross_out_not_finite(config, N, largest.data(), pixels.data());
        const std::string label = fmt::format("T = {:g}", temperature);
        if (found.any())
            invalid_samples +=
                fmt::format("{}{}: {}", invalid_samples.empty() ? "" : "; ", label, found.text());
        panels.push_back({label, tile_images(pixels.data(), N, config.image_height, config.image_width,
                                             config.channels, *grid)});
    }
    if (panels.empty()) return {};
    // Wide panels: two per row, others four.
    return SampleSheet{side_by_side(panels, grid->columns > 4 ? 2 : 4), invalid_samples};
}

}  // namespace glow
