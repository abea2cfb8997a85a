// Locks a run's folder and writes its config.toml, checkpoints and the links to them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "data/formats/file_lock.h"
#include "inference/model_file.h"
#include "train/history.h"
#include "train/resume.h"
#include "train/run_folder.h"

namespace glow {

struct CheckpointContents {
    nlohmann::ordered_json config;  // options and data set
    const TrainingProgress& progress;
    const Parameters& parameters;
    const Weights& weights;
    const Exec& exec;
};

// Only root uses it.
class CheckpointWriter {
  public:
    CheckpointWriter(const RunRequest& request, const RunFolder& folder)
        : request_(request), folder_(folder) {}

    // Locks the folder against other processes, or again if it was replaced since.
    void lock_folder();
    // The current lock, which the logs check; locking again replaces it.
    const std::unique_ptr<FileLock>& lock() const { return lock_; }
    // Makes the folder, without config.toml, if there is none.
    void open_folder();
    // Sets damaged checkpoints aside, and makes latest.h5 point to the checkpoint that the run resumes from,
    // if that is the run's own.
    void take_over(ResumedRun& resumed);
    // Writes a checkpoint and links latest.h5 to it. Makes a deleted folder again, with this config.toml.
    // Calls sync_logs() before the link.
    void write(const CheckpointContents& contents, const std::string& config,
               const std::function<void()>& sync_logs);
    // Links latest.h5 or best.h5 to the checkpoint of a step.
    void link(const std::filesystem::path& name, index_t step);
    // Links best.h5 to the checkpoint of a step; removes it if there is none.
    void relink_best(std::optional<index_t> step);

  private:
    const RunRequest& request_;
    const RunFolder& folder_;
    std::unique_ptr<FileLock> lock_;
    bool reported_links_ = false;
};

}  // namespace glow
