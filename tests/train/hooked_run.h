// A request to train with the hooks of a test.
#pragma once

#include "train/run.h"

namespace glow {

struct HookedRun : RunRequest {
    RunHooks hooks;
};

inline RunResult run_training(const HookedRun& run) {
    return run_training(run, run.hooks);
}

}  // namespace glow
