// A training run in a thread of its own, as a source of events for Python.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "python/dataset.h"
#include "tools/training_request.h"

namespace glow {

// What a run reports: "metrics" with the columns and cells of a row of metrics.csv, or "message" or "warning"
// with a line.
struct TrainingEvent {
    std::string kind, text, columns;
};

// In a child process of fork(), a copy of this object has no thread, and its mutex may stay locked: stop()
// does nothing there, next() throws, and the copy must not be destroyed.
class Training {
  public:
    // arguments: those of glow_train. Throws InputError for bad ones. Starts the run.
    // images: to be written as the file of --data in the run's folder, or nullptr. If that file exists, throws
    // InputError unless it holds these images. A run that fails before its first file leaves none.
    Training(std::vector<std::string> arguments, const ArrayDataset* images);
    ~Training();  // stops the run, and waits for its checkpoint
    Training(const Training&) = delete;
    Training& operator=(const Training&) = delete;

    // Waits up to `seconds` for the next event; none if there is none, or after the end. Rethrows the
    // exception that ended the run.
    std::optional<TrainingEvent> next(double seconds);
    // Asks the run to end after its current step, with a checkpoint.
    void stop();
    bool ended() const;
    // The run's result as JSON; empty before its end, or if it failed.
    std::string result() const;
    bool in_this_process() const;

  private:
    void run();
    void write_images(const ArrayDataset& images);
    void remove_images();
    void push(TrainingEvent event);

    const pid_t process_;
    std::shared_ptr<TrainingRequest> request_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<TrainingEvent> events_;
    std::exception_ptr failure_;
    std::string result_;
    bool stopping_ = false, ended_ = false;
    bool wrote_images_ = false, made_folder_ = false;  // by write_images()
    std::thread thread_;
};

}  // namespace glow
