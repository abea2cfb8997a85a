// The sheet of samples that a training run leaves from time to time: a panel for every temperature at which
// the published code drew its own, all of the same noise, whichever step the weights are of.
#pragma once

#include <optional>
#include <string>

#include "runtime/context.h"
#include "data/grid.h"
#include "inference/inference.h"

namespace glow {

inline constexpr double kSheetTemperatures[] = {0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1};

// Rows x columns of a panel: 4 x 4, with classes a column for each of the first ten; fewer where images are
// large, so that a sheet stays within some megabytes. Nothing where 8 images are too many.
std::optional<GridSize> sheet_grid(const ModelConfig& model);

struct SampleSheet {
    Image image;
    std::string
        no_images;  // which panels' samples are none: "T = 1: 3 of 16 not finite (crossed out)"; else empty
};

// Images of the weights that `glow` is bound to. Image i of every panel is made of the noise of sample i of
// `seed`, times the temperature. Collective: every process makes its share of the images, and the first one
// the sheet, which elsewhere is nothing, as it is where there is no grid.
std::optional<SampleSheet> sample_sheet(const RunnableModel& model, std::uint64_t seed);

}  // namespace glow
