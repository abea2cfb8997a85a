// Going on with a run: the checkpoint to go on from, options that may not change, what was done already.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "train/checkpoint.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace glow {

struct ResumedRun {
    std::filesystem::path from;
    CheckpointInfo checkpoint;
};
// The checkpoint that a request goes on from; none where it starts afresh. InputError where the folder holds
// a run and the request is for a new one, or where the checkpoint is none.
std::optional<ResumedRun> find_run_to_resume(const RunRequest& request, const RunFolder& folder);

// The number of threads that a checkpoint was made with, 0 where it does not say.
int threads_of(const CheckpointInfo& checkpoint);

// Changes between a checkpoint's options and those of now: told, or refused with an InputError.
void compare_options(const CheckpointInfo& checkpoint, const TrainingOptions& options,
                     const std::function<void(const std::string&)>& say);

// What was done before a run stopped at a checkpoint: bits/dim of the validation images in eval.csv.
struct Evaluated {
    std::optional<double> raw, ema;  // at the checkpoint's step
    double best = 1e300;             // EMA, of all; where there is a best.h5
};
Evaluated read_evaluations(const RunFolder& folder, index_t step);

}  // namespace glow
