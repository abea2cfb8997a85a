// The file eval.csv of a run: validation results.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "inference/statistics.h"
#include "train/run_folder.h"

namespace glow {

inline constexpr const char* kEvaluationColumns = "step,split,bpd,stderr,images,weights";
// weights: "raw" or "ema".
std::string evaluation_row(index_t step, const Mean& mean, const std::string& weights);

// Validation results of a run up to a checkpoint, from its eval.csv.
struct Evaluated {
    std::optional<Mean> raw, ema;  // at the checkpoint's step
    // The step of the best checkpoint in the folder, which best.h5 should point to. Empty if there is none,
    // or best.h5 is a file of unknown step.
    std::optional<index_t> best_step;
    double best_bits_per_dim = std::numeric_limits<double>::infinity();  // of that checkpoint's EMA weights
};
Evaluated read_evaluations(const RunFolder& folder, index_t step);

}  // namespace glow
