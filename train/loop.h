// The training loop: runs steps until a limit, with evaluations, samples and checkpoints in between.
#pragma once

#include <future>
#include <string>

#include "train/batch_prefetcher.h"
#include "train/recovery.h"
#include "train/session.h"
#include "train/timer.h"

namespace glow {

class TrainingLoop {
  public:
    explicit TrainingLoop(Session& session);

    RunResult run();
    // One step on the next batch. Throws StepFailure and DriftError like Trainer::step.
    StepResult step();

  private:
    double clock();
    std::string limit_reached();
    void step_and_log();
    void evaluate();
    void draw_samples();
    void wait_for_samples();
    bool save();
    void audit(const Batch& batch);
    void finish();

    Session& session_;
    BatchPrefetcher batches_;
    Recovery recovery_;
    Timer evaluate_timer_, sample_timer_, save_timer_;
    const double minutes_before_;  // minutes of training before this process resumed the run
    index_t step_ = 0;             // number of the current step
    StepResult last_result_;       // of the latest step
    std::future<void> sheet_;      // writes the latest sample sheet in the background
    RunResult result_;
};

}  // namespace glow
