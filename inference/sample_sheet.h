// The sample sheets of a training run: one panel per temperature used by the published code, all from the
// same noise at every step.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/grid.h"
#include "inference/flow_buffers.h"
#include "layers/config.h"
#include "runtime/context.h"

namespace glow {

inline constexpr double kSheetTemperatures[] = {0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1};

// Rows x columns of a panel: 4 x 4, or with classes one column for each of the first ten. Smaller for large
// images, so that a sheet stays within a few megabytes. Empty if 8 images are too many.
std::optional<GridSize> sheet_grid(const ModelConfig& model);

// Classes of `count` samples in rows of `columns`: one class per column, cycling through the classes.
std::vector<std::int32_t> column_classes(index_t count, index_t columns, index_t n_classes);

struct SampleSheet {
    Image image;
    // Panels with invalid samples: "T = 1: 3 of 16 not finite (crossed out)"; empty if there are none.
    std::string invalid_samples;
};

// Samples from the model. Image i of every panel uses the noise of sample i of `seed`, scaled by the
// temperature. Collective: each process makes its slice of the images and rank 0 returns the sheet. Other
// ranks, and models without a grid, return nothing. stop: asked before every panel, with the same answer on
// all processes; true ends the sampling without a sheet.
std::optional<SampleSheet> sample_sheet(const RunnableModel& model, std::uint64_t seed,
                                        const std::function<bool()>& stop = nullptr);

}  // namespace glow
