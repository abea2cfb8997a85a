// The training loop: runs steps until a limit, with evaluations, samples and checkpoints in between.
#pragma once

#include <functional>
#include <future>
#include <optional>

#include "train/batch_prefetcher.h"
#include "train/recovery.h"
#include "train/session.h"
#include "train/timer.h"

namespace glow {

class TrainingLoop {
  public:
    explicit TrainingLoop(Session& session, RunHooks hooks = {});

    RunResult run();
    // The next batch. If it cannot be read, saves a checkpoint before throwing, when possible.
    const Batch& next_batch();
    // One step on the next batch. Throws StepFailure and DriftError like Trainer::step.
    StepResult step();

  private:
    // Minutes of training since the run began, summed over its parts. If a limit or the decay of the learning
    // rate depends on them, all processes get root's value.
    double minutes();
    // The limit reached, or a request to stop; empty if none.
    std::optional<RunEnd> limit_reached();
    // Whether a signal, or the caller, asks to end the run: of one process, to end all.
    bool stop_requested();
    // A signal may have ended the validation or the sampling of the step at which the run continues.
    void finish_interrupted_step();
    void step_and_log();
    // stop: ends the evaluation or the sampling without a result.
    void evaluate(const std::function<bool()>& stop);
    void draw_samples(const std::function<bool()>& stop);
    // Returns false if they cannot be written.
    bool wait_for_samples();
    // Whether the weights of this step were evaluated and are better than those of best.h5.
    bool is_best_so_far() const;
    // Saves a checkpoint of this step, unless there is one. Returns false if it cannot be written now.
    bool save();
    void audit(const Batch& batch);
    void finish();

    Session& session_;
    const RunHooks hooks_;
    BatchPrefetcher batches_;
    Recovery recovery_;
    Timer evaluate_timer_, sample_timer_, save_timer_;
    const double minutes_before_;  // minutes of training before this process resumed the run
    index_t step_ = 0;             // number of the current step
    StepResult last_result_;       // of the latest step
    std::future<void> sheet_;      // completion of the background write of the latest sample sheet
    RunResult result_;
};

}  // namespace glow
