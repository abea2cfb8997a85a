// Logging of a run: its settings, and for every logged step a row of metrics.csv and a line on stderr, or on
// a terminal one progress line.
#pragma once

#include <optional>
#include <string>

#include "inference/statistics.h"
#include "runtime/threads.h"
#include "train/history.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/timer.h"
#include "train/trainer.h"

namespace glow {

// The effective options, one per line.
struct Settings {
    const TrainingOptions& options;
    const Schedule& schedule;
    index_t train_images, valid_images;
    bool on_disk;         // images are read from disk each time
    std::string machine;  // Backend::description()
    const ThreadCount& threads;
    const Communicator& processes;
};
std::string describe(const Settings& settings);

// "4.5510 +- 0.0266 bits/dim (EMA), 4.5454 +- 0.0267 (raw)"
std::string validation_text(const Mean& ema, const Mean& raw);

// Runs an action that may fail for external reasons, such as a full disk. Prints each failure as a warning,
// but repeats the same one only after a success or another failure.
class RetryingWrite {
  public:
    explicit RetryingWrite(const RunRequest& request) : request_(request) {}
    // True on success.
    bool operator()(const std::function<void()>& action);
    // Empty if the last action succeeded.
    const std::string& last_error() const { return last_error_; }

  private:
    const RunRequest& request_;
    std::string last_error_;
};

class RunLog {
  public:
    // options: the effective ones, completed from the request.
    RunLog(const RunRequest& request, const TrainingOptions& options, const Schedule& schedule);
    ~RunLog();
    RunLog(const RunLog&) = delete;
    RunLog& operator=(const RunLog&) = delete;

    // Opens a folder's metrics.csv on the writing process; drops rows after last_step.
    void open(const RunFolder& folder, index_t last_step, const std::unique_ptr<FileLock>& lock);
    // Drops rows after a step, when the run is rolled back to it.
    void roll_back_to(index_t step);
    // Starts the clock. progress: before the first step that will be logged.
    void start(const TrainingProgress& progress);
    // Called after every step; logs it according to --log-every. peak_bytes: of the arenas.
    void step(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes);
    // Names what the run does between two steps, such as "validation", in the progress line.
    void doing(const std::string& what);
    // Logs the last step of the run, if that is not yet done.
    void last_step(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes);
    // Waits until all rows are on the disk; warns if that fails.
    void sync();
    // Ends the log. Throws Error if rows could not be written.
    void end();
    double minutes() const { return seconds_since(start_) / 60; }

  private:
    void row(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes);
    void draw(const TrainingProgress& progress, const StepResult& step);
    void redraw(const std::string& more) const;
    void erase();
    double total_fraction(const TrainingProgress& progress) const;

    const RunRequest& request_;
    const TrainingOptions& options_;
    const Schedule& schedule_;
    const bool classifier_;
    const std::string columns_;  // of metrics.csv
    std::optional<CsvLog> metrics_;
    RetryingWrite retry_;
    Clock::time_point start_, last_row_, last_draw_;
    double first_fraction_ = 0;   // of the whole run, done before this process started
    double earlier_seconds_ = 0;  // of --max-minutes, spent by earlier processes
    index_t steps_since_row_ = 0, steps_since_draw_ = 0;
    // Of the progress line:
    double bar_ = -1;   // completed fraction of the run
    std::string text_;  // step and loss
    bool drawn_ = false;
};

}  // namespace glow
