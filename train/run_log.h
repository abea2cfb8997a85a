// What a run tells of itself: its settings, a row of metrics.csv and a line for every logged step, and on a
// terminal a line of progress.
#pragma once

#include <optional>
#include <string>

#include "runtime/threads.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/timer.h"

namespace glow {

// The options as they will be used, a line each.
struct Settings {
    const TrainingOptions& options;
    const Schedule& schedule;
    index_t train_images, valid_images;
    bool on_disk;         // the images are read each time
    std::string machine;  // Backend::description()
    const ThreadCount& threads;
    const Communicator& processes;
};
std::string describe(const Settings& settings);

// Does what may fail for reasons outside, as a full disk: a failure is a warning, told once until another or
// none follows.
class RetryingWrite {
  public:
    explicit RetryingWrite(const RunRequest& request) : request_(request) {}
    // True where it worked.
    bool operator()(const std::function<void()>& action);
    const std::string& told() const { return told_; }  // what went wrong last, where nothing worked since

  private:
    const RunRequest& request_;
    std::string told_;
};

class RunLog {
  public:
    // options: as they are used, in which those of the request were completed.
    RunLog(const RunRequest& request, const TrainingOptions& options, const Schedule& schedule);

    // metrics.csv of a folder, on the process that writes: rows after last_step are dropped.
    void open(const RunFolder& folder, index_t last_step, const std::unique_ptr<FileLock>& lock);
    // The run goes on from a step: later rows are dropped.
    void go_back_to(index_t step);
    // From here on steps follow `progress`.
    void start(const TrainingProgress& progress);
    // After every step; it is logged where --log-every says so. peak_bytes: of the arenas.
    void step(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes);
    // Nothing more comes. Error where rows could not be written to the last.
    void end();
    double minutes() const { return seconds_since(start_) / 60; }

  private:
    void row(const TrainingProgress& progress, const StepResult& step, std::size_t peak_bytes);
    void draw(const TrainingProgress& progress);
    double total_fraction(const TrainingProgress& progress) const;

    const RunRequest& request_;
    const TrainingOptions& options_;
    const Schedule& schedule_;
    bool classifier_;
    std::optional<CsvLog> metrics_;
    RetryingWrite attempt_;
    Clock::time_point start_, last_row_, last_draw_;
    double first_fraction_ = 0;  // of the whole run, done before this process started
    index_t steps_since_row_ = 0;
};

}  // namespace glow
