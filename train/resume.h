// Resuming a run: choice of the checkpoint, and options that may not change.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "inference/model_file.h"
#include "inference/statistics.h"
#include "runtime/communicator.h"
#include "train/history.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace glow {

struct ResumedRun {
    std::filesystem::path from;
    CheckpointInfo checkpoint;
    TrainingOptions options;                     // the checkpoint's; missing ones come from the request
    std::vector<std::filesystem::path> damaged;  // newer checkpoints in the folder that are unusable

    // Counters and history to continue with: the checkpoint's, with the learning-rate factor reset if `now`
    // gives a new learning rate.
    TrainingProgress progress(const TrainingOptions& now) const;
    bool is_latest_of(const RunFolder& folder) const;
    // Images per epoch: the option, or the number of training images that the run began with. 0 if unknown.
    double epoch_images() const;
    // The checkpoint's options to reuse in this group: if the run had another number of processes on the
    // host, without its threads and act_budget, which were chosen for that number.
    TrainingOptions options_for(const ProcessGroup& group) const;
    // Processes on root's host; 0 if unknown.
    index_t processes_per_host() const;
};
// The checkpoint to resume from; empty to start a new run. In the run's own folder that is latest.h5, or if
// it is damaged or missing the newest valid checkpoint, with a warning. Throws InputError if the folder has a
// run but the request is for a new one or for a checkpoint of another run, if the requested file is not a
// checkpoint, or if the folder has checkpoints but none is valid. Throws Error if a checkpoint cannot be read:
// it must not count as damaged.
std::optional<ResumedRun> find_run_to_resume(const RunRequest& request, const RunFolder& folder);

// The data set of the run in `folder`, whose config.toml has these options. If the file does not exist there,
// or its path is relative to the folder in which the run was started (as in earlier versions), the file at
// the same path relative to the run's folder, if it exists.
std::string find_data_of_run(const TrainingOptions& configured, const RunFolder& folder);

// "width is 16, expected 8; depth is 2, expected 4"; empty if the models are equal.
std::string model_differences(const ModelConfig& found, const ModelConfig& expected);

// Reports changed options between a checkpoint and now, or throws InputError.
void compare_options(const ResumedRun& resumed, const TrainingOptions& options,
                     const std::function<void(const std::string&)>& info);
// Compares data set fingerprints. A different data set is accepted if the request names another file or
// allows it; otherwise throws InputError.
void compare_data(const ResumedRun& resumed, const nlohmann::ordered_json& data, const RunRequest& request);

}  // namespace glow
