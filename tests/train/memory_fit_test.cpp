#include "train/memory_fit.h"

#include <gtest/gtest.h>

#include "kernels/error.h"
#include "runtime/device.h"
#include "train/resume.h"

namespace glow {
namespace {

TEST(ActBudget, IsAQuarterOfWhatProcessesShare) {
    ProcessGroup eight;
    eight.size = eight.local_size = 8;
    const index_t alone = default_act_budget(Device::cpu, {});
    EXPECT_EQ(alone, static_cast<index_t>(memory_limit_bytes() / 4));
    EXPECT_EQ(default_act_budget(Device::cpu, eight), alone / 8);
    if (device_bytes() > 0) {
        const auto quarter = static_cast<index_t>(device_bytes() / 4);
        EXPECT_EQ(default_act_budget(Device::cuda, {}), quarter);
        // Each of the eight processes sees a GPU of its own, or they share one.
        for (const int sharing : {1, 8}) {
            eight.gpu_sharing = sharing;
            EXPECT_EQ(default_act_budget(Device::cuda, eight), quarter / sharing);
        }
    }
}

// Resuming with another number of processes on the host.
TEST(ResumedRun, ReusesThreadsAndBudgetOfEqualGroups) {
    ResumedRun run;
    run.checkpoint.config = nlohmann::ordered_json::object();
    run.options.threads = 8;
    run.options.act_budget = 1000;
    run.options.micro_batch = 16;
    ProcessGroup two;
    two.size = two.local_size = 2;
    const auto expect = [&](const ProcessGroup& group, int threads, index_t act_budget) {
        const TrainingOptions reused = run.options_for(group);
        EXPECT_EQ(reused.threads, threads);
        EXPECT_EQ(reused.act_budget, act_budget);
        EXPECT_EQ(reused.micro_batch, 16);
    };
    expect(two, 8, 1000);  // not recorded
    run.checkpoint.config["processes_per_host"] = "2";
    expect({}, 8, 1000);
    run.checkpoint.config["processes_per_host"] = 2;
    expect(two, 8, 1000);
    expect({}, 0, 0);
}

TEST(ResumedRun, MicroBatchOfMaxMemoryMayChange) {
    ResumedRun run;
    run.options.micro_batch = 16;
    TrainingOptions now = run.options;
    now.micro_batch = 8;
    std::string changes;
    const auto info = [&](const std::string& line) { changes += line; };
    EXPECT_THROW(compare_options(run, now, info), InputError);
    now.max_memory = 1000;
    compare_options(run, now, info);
    EXPECT_EQ(changes, "changed on resume: micro-batch is 8 but was 16");
}

}  // namespace
}  // namespace glow
