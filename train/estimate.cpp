// Estimates a run's memory and duration from its first steps.
#include <algorithm>
#include <cmath>
#include <vector>

#include "train/loop.h"

namespace glow {
namespace {

constexpr std::size_t kTimedSteps = 20;  // at most
constexpr double kTimedSeconds = 60;

// Steps to the nearest of --max-steps and --epochs; 0 without a limit.
index_t steps_left(const Session& session) {
    const TrainingOptions& options = session.options;
    double last = options.max_steps > 0 ? static_cast<double>(options.max_steps) : HUGE_VAL;
    if (options.epochs > 0)
        last = std::min(last, std::ceil(options.epochs * session.schedule.epoch_images /
                                        static_cast<double>(options.batch)));
    if (last == HUGE_VAL) return 0;
    return std::max<index_t>(0, static_cast<index_t>(last) - session.progress.step);
}

}  // namespace

Estimate estimate_run(const RunRequest& request) {
    Session session(request, Session::Mode::estimate);
    const TrainingOptions& options = session.options;
    Estimate estimate;
    estimate.plan = session.plan;
    estimate.steps_left = steps_left(session);
    TrainingLoop loop(session);
    // The first two steps load libraries and capture graphs; a step also waits for work started by the
    // previous one.
    for (int i = 0; i < 2 && !StopSignals::asked(); ++i) loop.step();
    std::vector<double> seconds;
    const Clock::time_point start = Clock::now();
    do {
        const Clock::time_point before = Clock::now();
        loop.step();
        seconds.push_back(seconds_since(before));
    } while (
        session.root_decides<1>({seconds.size() < kTimedSteps && seconds_since(start) < kTimedSeconds})[0] &&
        !(session.processes.all_reduce_max(StopSignals::asked() ? 1 : 0) > 0));
    std::sort(seconds.begin(), seconds.end());
    estimate.timed_steps = std::ssize(seconds);
    estimate.step_seconds = seconds[seconds.size() / 2];
    estimate.images_per_s = static_cast<double>(options.batch) / estimate.step_seconds;
    estimate.epoch_seconds = session.schedule.epoch_images / estimate.images_per_s;
    estimate.seconds_left = static_cast<double>(estimate.steps_left) * estimate.step_seconds;
    if (options.max_minutes > 0)
        estimate.seconds_left = estimate.steps_left > 0
                                    ? std::min(estimate.seconds_left, options.max_minutes * 60)
                                    : options.max_minutes * 60;
    estimate.peak_bytes = total(session.memory->peak());
    estimate.process_growth_bytes = session.memory_growth();
    return estimate;
}

}  // namespace glow
