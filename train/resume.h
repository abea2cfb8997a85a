// Going on with a run: the checkpoint to go on from, options that may not change, what was done already.
#pragma once

#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "inference/model_file.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace glow {

struct ResumedRun {
    std::filesystem::path from;
    CheckpointInfo checkpoint;
    std::vector<std::filesystem::path> damaged;  // newer checkpoints of the folder that cannot be used
};
// The checkpoint that a request goes on from; none where it starts afresh. In the run's own folder that is
// latest.h5, or where this is damaged or gone the newest older checkpoint that is whole, which is told.
// InputError where the folder holds a run and the request is for a new one, where the request names a file
// that is no checkpoint, and where the folder has checkpoints and none is whole.
std::optional<ResumedRun> find_run_to_resume(const RunRequest& request, const RunFolder& folder);

// The data set of the run in `folder`, whose config.toml holds these options. Where the file is not at the place
// that it names, or names a place relative to the folder in which the run was started (as it did before names
// were absolute), the file that lies at the same place as seen from the run's folder, if there is one.
std::string find_data_of_run(const TrainingOptions& configured, const RunFolder& folder);

// The number of threads that a checkpoint was made with, 0 where it does not say.
int threads_of(const CheckpointInfo& checkpoint);
// Its `engines` (train/tune.h), "" where it does not say.
std::string engines_of(const CheckpointInfo& checkpoint);

// Changes between a checkpoint's options and those of now: told, or refused with an InputError.
void compare_options(const CheckpointInfo& checkpoint, const TrainingOptions& options,
                     const std::function<void(const std::string&)>& say);
// The course to go on with: the checkpoint's, but with the whole learning rate where that is a new one.
TrainingHistory resumed_history(const CheckpointInfo& checkpoint, const TrainingOptions& options);

// What was done before a run stopped at a checkpoint: bits/dim of the validation images in eval.csv.
struct Evaluated {
    std::optional<double> raw, ema;  // at the checkpoint's step
    double best = std::numeric_limits<double>::infinity();  // EMA, of all; where there is a best.h5
};
Evaluated read_evaluations(const RunFolder& folder, index_t step);

}  // namespace glow
