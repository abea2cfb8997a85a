#include "train/timer.h"

#include <gtest/gtest.h>

#include <thread>

namespace glow {
namespace {

void sleep_ms(int ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

TEST(Timer, CountsSteps) {
    Timer timer({3, false}, 0);
    for (index_t step = 1; step <= 9; ++step) EXPECT_EQ(timer.due(step), step % 3 == 0) << step;
    Timer never({0, true}, 0);
    EXPECT_FALSE(never.due(3));
}

TEST(Timer, FirstMinutesComeEarly) {
    Timer soon({60, true}, 0.01), later({60, true}, 600);
    EXPECT_FALSE(later.due(1));
    sleep_ms(20);
    EXPECT_TRUE(soon.due(1));
    EXPECT_FALSE(later.due(1));
    // Not before the interval if that is shorter.
    Timer often({0.0001, true}, 600);
    sleep_ms(20);
    EXPECT_TRUE(often.due(1));
}

TEST(Timer, RestsInProportionToActions) {
    Timer timer({60, true}, 0);
    ASSERT_TRUE(timer.due(1));
    sleep_ms(100);  // the action
    timer.done();
    EXPECT_FALSE(timer.due(2));  // for a second
    sleep_ms(1100);
    EXPECT_TRUE(timer.due(3));
    Timer often({0.0001, true}, 0);
    ASSERT_TRUE(often.due(1));
    sleep_ms(100);
    often.done();
    sleep_ms(20);
    EXPECT_TRUE(often.due(2));  // the interval is the limit
}

TEST(Timer, FirstActionIsAtATenthOfShortRuns) {
    TrainingOptions options;
    EXPECT_EQ(first_seconds(options), 60);
    options.max_minutes = 3;
    EXPECT_DOUBLE_EQ(first_seconds(options), 18);
    options.max_minutes = 600;
    EXPECT_EQ(first_seconds(options), 60);
}

}  // namespace
}  // namespace glow
