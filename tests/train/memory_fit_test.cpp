#include "train/memory_fit.h"

#include <gtest/gtest.h>

#include "runtime/device.h"

namespace glow {
namespace {

TEST(ActBudget, IsAQuarterOfWhatProcessesShare) {
    ProcessGroup eight;
    eight.size = eight.local_size = 8;
    const index_t alone = default_act_budget(Device::cpu, {});
    EXPECT_EQ(alone, static_cast<index_t>(memory_limit_bytes() / 4));
    EXPECT_EQ(default_act_budget(Device::cpu, eight), alone / 8);
    if (device_bytes() > 0) {
        EXPECT_EQ(default_act_budget(Device::cuda, {}), static_cast<index_t>(device_bytes() / 4));
    }
}

}  // namespace
}  // namespace glow
