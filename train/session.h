// An open run: options, data, model and folder. train/loop.h trains it.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "data/training_images.h"
#include "inference/statistics.h"
#include "train/checkpoint_writer.h"
#include "train/history.h"
#include "train/memory_plan.h"
#include "train/resume.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/stop_signals.h"
#include "train/trainer.h"

namespace glow {

// The parts of an open run, which the loop uses directly, and the functions that involve several of them. All
// functions are collective. Only root accesses files; members marked "root only" are unset elsewhere.
struct Session {
    // estimate: writes nothing and ignores an existing run in the folder.
    enum class Mode { train, estimate };

    // Opens data, model and folder, and initializes or reads the weights for the next step. Writes nothing
    // before all processes have accepted all inputs.
    Session(const RunRequest& request, Mode mode);

    const RunRequest request;
    Communicator& processes;
    TrainingOptions options;  // effective options: completed by data set, machine and checkpoint
    const RunFolder folder;
    CheckpointWriter checkpoints;  // root only
    std::optional<TrainingImages> images;
    std::optional<SplitImages> valid;
    Schedule schedule{};
    MemoryPlan plan;
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Memory> memory;
    std::unique_ptr<Trainer> trainer;
    TrainingProgress progress;
    std::optional<RunLog> log;
    std::optional<CsvLog> evaluations, audits;  // root only
    RetryingWrite retry{request};
    std::optional<index_t> best_to_link;  // empty: best.h5 is up to date

    // Completed work at progress.step: its checkpoint and evaluations; also the best evaluation so far.
    struct CompletedWork {
        index_t saved = -1, evaluated = -1;                                  // steps
        double best_bits_per_dim = std::numeric_limits<double>::infinity();  // of EMA weights
        std::optional<Mean> valid_ema, valid_raw;
    } completed;

    // Restores the weights, averages, moments and progress at the start of this session.
    void restart();
    // Writes a checkpoint of progress.step and links latest.h5 to it. minutes: the run's clock now. Returns
    // false if it cannot be written now.
    bool save(double minutes);
    // Links best.h5 to the checkpoint of best_to_link. save() does too, before it removes older checkpoints;
    // if the link fails, the next save() tries again.
    void link_best();
    // Sets the option anchor_every, also in config.toml, so that a resumed run has it too.
    void set_anchor_every(index_t anchor_every);
    // Sets `completed`. saved: whether a checkpoint of progress.step exists (decided by root).
    void restore_completed(bool saved);

    // Broadcasts root's decisions: clocks and files differ between processes, but all must act the same.
    template <std::size_t N>
    std::array<bool, N> root_decides(std::array<bool, N> answers) {
        processes.broadcast(sizeof(answers), answers.data());
        return answers;
    }
    // Images that initialize the actnorms; 0 if the weights come from a checkpoint.
    index_t init_images() const { return is_fresh() ? schedule.init_images : 0; }
    // Memory in use since the session began: of this process (CPU), of the whole device (GPU).
    std::size_t memory_growth() const;

  private:
    void compare_requests();
    void open_folder();
    void open_data();
    void reuse_recorded_epoch();
    void report_limits();
    void open_model();
    void choose_memory();
    // Makes the run's files. Returns whether there is a checkpoint of progress.step.
    bool open_files();
    void load_weights();
    void write_checkpoint(double minutes);
    void sync_logs();
    bool is_fresh() const { return !resuming_ && request.init_from.empty(); }

    const Mode mode_;
    Communicator single_process_;
    TrainingOptions configured_;  // as stored in config.toml
    std::optional<StopSignals> signals_;
    nlohmann::ordered_json data_;  // fingerprint of the data set
    index_t train_images_ = 0;
    bool on_disk_ = false;  // images are read from disk each time
    std::size_t image_bytes_ = 0;
    bool resuming_ = false;
    double recorded_epoch_images_ = 0;   // of the resumed run; 0: unknown, or a new run
    std::optional<ResumedRun> resumed_;  // root only
    TrainingProgress beginning_;
    std::size_t bytes_before_ = 0;
};

}  // namespace glow
