// A training run: data, model, steps, evaluations, checkpoints, logs.
#pragma once

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "inference/model_file.h"
#include "inference/statistics.h"
#include "kernels/enum_names.h"
#include "runtime/communicator.h"
#include "train/options.h"

namespace glow {

class Trainer;

struct RunLimits {
    index_t max_steps = 0;
    double max_minutes = 0;
};

struct RunRequest {
    TrainingOptions options;
    Device device = Device::cpu;
    // Resume from resume_from, or from the folder's latest.h5; start a new run if there is none.
    bool resume = false;
    // The run's limits, to be recorded in place of the options', which then limit only this part of the run.
    std::optional<RunLimits> recorded_limits;
    bool accept_new_data = false;                  // resume even if the data set has changed
    std::string resume_from;                       // a checkpoint; empty: the folder's latest.h5
    std::string init_from;                         // a checkpoint whose raw weights to start from
    std::function<void(const std::string&)> info;  // message line
    std::function<void(const std::string&)> warn;  // warning line, printed even with --quiet
    bool verbose = false;                          // with options.tune: print cuDNN's result for each engine
    bool terminal = false;        // stderr is one: a progress line instead of a line per logged step
    bool answer_signals = false;  // the first signal to stop is answered on stderr
    // Called before every step, and during validation and sampling between steps, on the thread of the
    // run: returns whether to end it with a checkpoint. Empty: signals decide (train/stop_signals.h).
    std::function<bool()> stop;
    // Called on root with every row of metrics.csv and the names of its columns.
    std::function<void(const std::string& columns, const std::string& cells)> metrics;
    // With several processes, all make the same request; nullptr: only this process. Root reads and writes
    // the run's folder and should print the messages.
    Communicator* processes = nullptr;
};

// For tests, which inject faults and replace the clock.
struct RunHooks {
    // Called before every step on every process.
    std::function<void(index_t step, Trainer& trainer)> before_step;
    // Minutes of training in this process; empty: the real clock.
    std::function<double()> minutes;
};

enum class RunEnd { max_steps, max_minutes, epochs, signal };
template <>
struct EnumNames<RunEnd> {
    static constexpr const char* what = "end";
    static constexpr EnumName<RunEnd> values[] = {{RunEnd::max_steps, "max-steps"},
                                                  {RunEnd::max_minutes, "max-minutes"},
                                                  {RunEnd::epochs, "epochs"},
                                                  {RunEnd::signal, "signal"}};
};

struct RunResult {
    Progress progress;
    RunEnd ended = RunEnd::signal;
    double bits_per_dim = std::numeric_limits<double>::quiet_NaN();  // of the last step, if any ran
    std::optional<Mean> valid_ema, valid_raw;  // the last ones, if the data set has /valid
    index_t valid_step = -1;                   // their step: before the last one if a signal ended the run
    std::size_t planned_bytes = 0, peak_bytes = 0, process_growth_bytes = 0;
    std::string checkpoint;
    index_t rollbacks = 0;
    double lr_scale = 1;  // remaining learning-rate factor
};
// As glow_train --json prints it (docs/formats.md).
nlohmann::ordered_json to_json(const RunResult& result);

// A failed step (train/recovery.h) rolls the run back to its last checkpoint, with a lower learning rate and
// a report in the folder; throws Error after options.rollbacks consecutive ones. Failed writes are reported
// and retried at the next checkpoint; throws Error if they still fail at the end.
RunResult run_training(const RunRequest& request, const RunHooks& hooks = {});

}  // namespace glow
