#include "train/estimate.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "train/loop.h"
#include "train/run_plan.h"

namespace glow {
namespace {

constexpr std::size_t kTimedSteps = 20, kTimedPairs = 10;  // at most
constexpr double kTimedSeconds = 60;
constexpr double kShortStep = 3;  // seconds; longer steps are not timed with another policy too

// Steps to the first of --max-steps and --epochs; empty without either.
std::optional<index_t> steps_left(const Session& session) {
    const TrainingOptions& options = session.options;
    double last = options.max_steps > 0 ? static_cast<double>(options.max_steps) : HUGE_VAL;
    if (options.epochs > 0)
        last = std::min(last, std::ceil(options.epochs * session.schedule.epoch_images /
                                        static_cast<double>(options.batch)));
    if (last == HUGE_VAL) return {};
    return std::max<index_t>(0, static_cast<index_t>(last) - session.progress.step);
}

// Seconds to --max-minutes; empty without it.
std::optional<double> seconds_to_max_minutes(const Session& session) {
    const TrainingOptions& options = session.options;
    if (options.max_minutes <= 0) return {};
    const bool whole_run = counts_minutes_of_whole_run(options, session.schedule);
    return std::max(0.0, 60 * (options.max_minutes - (whole_run ? session.progress.minutes : 0)));
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

double seconds_of_step(TrainingLoop& loop) {
    const Clock::time_point before = Clock::now();
    loop.step();
    return seconds_since(before);
}

// A signal to one process ends the work of all.
bool stop_requested(Session& session) {
    return session.processes.all_reduce_max(StopSignals::requested() ? 1 : 0) > 0;
}

// The first two steps load libraries and capture graphs.
void warm_up(Session& session, TrainingLoop& loop) {
    for (int i = 0; i < 2 && !stop_requested(session); ++i) loop.step();
}

// Calls `time` until enough is timed; root decides.
void repeat_timed(Session& session, std::size_t most, const std::function<void()>& time) {
    const Clock::time_point start = Clock::now();
    std::size_t times = 0;
    do {
        time();
        ++times;
    } while (session.root_decides<1>({times < most && seconds_since(start) < kTimedSeconds})[0] &&
             !stop_requested(session));
}

// Policy `store`, if it may be faster and both runs fit in memory at once; decided by root.
std::optional<StoreAlternative> offer_to_time(Session& session, double step_seconds) {
    const auto offer =
        store_alternative(session.options, session.init_images(), *session.backend, session.plan);
    const auto sharing = static_cast<std::size_t>(session.processes.group().local_size);
    const bool possible =
        offer && step_seconds <= kShortStep &&
        (2 * total(session.plan.bytes) + offer->more_bytes) * sharing <= host_memory_limit().bytes &&
        (session.request.device == Device::cpu || session.processes.size() == 1);
    const bool stopped = stop_requested(session);
    return session.root_decides<1>({possible})[0] && !stopped ? offer : std::nullopt;
}

// Alternates steps of both policies, so that other work on the machine slows both equally.
std::optional<StoreEstimate> time_store(RunRequest request, Session& session, TrainingLoop& loop,
                                        std::size_t more_bytes) {
    request.options.memory = MemoryMode::store;
    request.info = request.warn = nullptr;  // the first session has reported it all
    try {
        Session stored(request, Session::Mode::estimate);
        TrainingLoop stored_loop(stored);
        warm_up(stored, stored_loop);
        std::vector<double> ratios;
        repeat_timed(session, kTimedPairs, [&] {
            const double before = seconds_of_step(loop);
            ratios.push_back(before / seconds_of_step(stored_loop));
        });
        return StoreEstimate{more_bytes, median(ratios)};
    } catch (const Error&) {
        if (session.request.device == Device::cpu) throw;
        return {};  // the GPU's memory is too small for both
    }
}

}  // namespace

Estimate estimate_run(const RunRequest& request) {
    Session session(request, Session::Mode::estimate);
    const TrainingOptions& options = session.options;
    Estimate estimate;
    estimate.plan = session.plan;
    estimate.steps_left = steps_left(session);
    estimate.seconds_left = seconds_to_max_minutes(session);  // before the timed steps
    TrainingLoop loop(session);
    warm_up(session, loop);
    std::vector<double> seconds;
    repeat_timed(session, kTimedSteps, [&] { seconds.push_back(seconds_of_step(loop)); });
    estimate.timed_steps = std::ssize(seconds);
    estimate.step_seconds = median(seconds);
    estimate.images_per_s = static_cast<double>(options.batch) / estimate.step_seconds;
    estimate.epoch_seconds = session.schedule.epoch_images / estimate.images_per_s;
    if (estimate.steps_left) {
        const double by_steps = static_cast<double>(*estimate.steps_left) * estimate.step_seconds;
        estimate.ends_by_steps = by_steps <= estimate.seconds_left.value_or(HUGE_VAL);
        if (estimate.ends_by_steps) estimate.seconds_left = by_steps;
    }
    estimate.peak_bytes = total(session.memory->peak());
    estimate.process_growth_bytes = session.memory_growth();
    if (const auto offer = offer_to_time(session, estimate.step_seconds))
        estimate.store = time_store(request, session, loop, offer->more_bytes);
    return estimate;
}

}  // namespace glow
