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
    TrainingOptions options;  // the checkpoint's; those that it lacks are the request's
    std::vector<std::filesystem::path> damaged;  // newer checkpoints of the folder that cannot be used

    // Counters and history to continue with: the checkpoint's, but with the whole learning rate where `now` gives
    // another one.
    TrainingProgress progress(const TrainingOptions& now) const;
    bool is_latest_of(const RunFolder& folder) const;
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

// Changes between a checkpoint's options and those of now: told, or refused with an InputError.
void compare_options(const ResumedRun& resumed, const TrainingOptions& options,
                     const std::function<void(const std::string&)>& say);
// Another data set, by its fingerprint, is accepted where the request names another file or says so. InputError.
void compare_data(const ResumedRun& resumed, const nlohmann::ordered_json& data, const RunRequest& request);

// What was done before a run stopped at a checkpoint: bits/dim of the validation images in eval.csv.
struct Evaluated {
    std::optional<double> raw, ema;  // at the checkpoint's step
    double best = std::numeric_limits<double>::infinity();  // EMA, of all; where there is a best.h5
};
Evaluated read_evaluations(const RunFolder& folder, index_t step);

}  // namespace glow
