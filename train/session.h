// A run that is open: its options, data, model and folder. train/loop.h trains it.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "data/formats/file_lock.h"
#include "data/training_images.h"
#include "train/resume.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/stop_signals.h"

namespace glow {

// All functions are collective. Files are the root process's business, which has the members that say so.
class Session {
  public:
    // estimate: nothing is written, and a run in the folder does not matter.
    enum class Mode { train, estimate };

    // Opens data, model and folder, and makes or reads the weights that the next step starts from. Nothing is written
    // before everything that can be refused was accepted by all processes.
    Session(const RunRequest& request, Mode mode);

    // The weights, averages, moments and progress that this session began with.
    void begin_again();
    // A checkpoint of progress.step, to which latest.h5 then links. False where it cannot be written now.
    bool save();
    // Saves a state every so many steps of flow from now on, also when the run is resumed.
    void save_more_states(index_t anchor_every);

    // What was done at progress.step already: its checkpoint, evaluations, and the best evaluation so far.
    struct Done {
        index_t saved = -1, evaluated = -1;                     // steps
        double best = std::numeric_limits<double>::infinity();  // bits/dim
        std::optional<Mean> valid_ema, valid_raw;
    } done;
    // Sets it. saved: whether there is a checkpoint of progress.step (the root process's word counts).
    void recall(bool saved);

    // The root process's answers: clocks and files are each process's own, and all must do the same.
    template <std::size_t N>
    std::array<bool, N> root_decides(std::array<bool, N> answers) {
        processes.broadcast(sizeof(answers), answers.data());
        return answers;
    }
    // Memory in use since the session began: of this process (CPU), of the whole device (GPU).
    std::size_t memory_growth() const;

    const RunRequest request;
    Communicator& processes;
    TrainingOptions options;  // as they are used: completed by the data set, the machine and the checkpoint
    const RunFolder folder;
    std::optional<TrainingImages> images;
    std::optional<SplitImages> valid;
    Schedule schedule{};
    MemoryPlan plan;
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Memory> memory;
    std::unique_ptr<Trainer> trainer;
    TrainingProgress progress;
    std::optional<RunLog> log;
    std::optional<CsvLog> evaluations, audits;  // on the root process
    RetryingWrite retrying{request};

  private:
    void compare_requests();
    void open_folder();
    void lock_folder();
    void open_data();
    void open_model();
    void open_files();
    void load_weights();
    void write_checkpoint();
    void warn_of_fewer_threads();
    bool is_fresh() const { return !resuming_ && request.init_from.empty(); }

    const Mode mode_;
    Communicator alone_;
    TrainingOptions configured_;      // as they stand in config.toml
    std::unique_ptr<FileLock> lock_;  // of the folder, on the root process
    std::optional<StopSignals> signals_;
    nlohmann::ordered_json data_;  // fingerprint of the data set, on the root process
    index_t train_images_ = 0;
    bool on_disk_ = false;  // the images are read each time
    bool resuming_ = false;
    std::optional<ResumedRun> resumed_;  // on the root process
    TrainingProgress beginning_;
    std::size_t bytes_before_ = 0;
};

}  // namespace glow
