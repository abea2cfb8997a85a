// Output of glow_eval's log-density maps: a NumPy file, and heat maps over the images.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inference/density_map.h"
#include "tools/eval_scores.h"

namespace glow {

struct MapOptions {
    std::string map, heatmap;  // file and folder; empty: not written
    std::string range;         // "LOW,HIGH" in bits/dim

    bool any() const { return !map.empty() || !heatmap.empty(); }
    // Throws InputError for a bad range, file name or combination of options.
    void check() const;
    // The ends of the color scale in bits/dim, if given.
    std::optional<std::pair<double, double>> ends() const;
};
void add_map_options(CLI::App& app, MapOptions& options);

// The color of t in 0 .. 1 (clamped): from dark violet over magenta and orange to pale yellow, with steps of
// equal lightness.
std::array<std::uint8_t, 3> heat_color(double t);

// Throws InputError if a heat map of these images would be too large a picture.
void check_heatmaps(const ScoredImages& scored);

// Writes the requested outputs and adds them to the result. maps: result of density_maps().
void write_maps(const MapOptions& options, const ScoredImages& scored, const ModelConfig& model,
                const std::vector<double>& maps, EvalResult& result);

}  // namespace glow
