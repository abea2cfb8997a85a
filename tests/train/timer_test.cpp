#include "train/timer.h"

#include <gtest/gtest.h>

namespace glow {
namespace {

// A clock that stands still until it is moved.
struct FakeClock {
    Clock::time_point now{};
    void advance(double seconds) {
        now += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    }
    auto reader() {
        return [this] { return now; };
    }
};

TEST(Timer, CountsSteps) {
    Timer timer({3, false}, 0);
    for (index_t step = 1; step <= 9; ++step) EXPECT_EQ(timer.due(step), step % 3 == 0) << step;
    Timer never({0, true}, 0);
    EXPECT_FALSE(never.due(3));
}

TEST(Timer, FirstMinutesComeEarly) {
    FakeClock clock;
    Timer soon({60, true}, 6, clock.reader());
    clock.advance(5.9);
    EXPECT_FALSE(soon.due(1));
    clock.advance(0.2);
    EXPECT_TRUE(soon.due(1));
    // Not after the interval if that is shorter.
    Timer often({0.5, true}, 600, clock.reader());
    clock.advance(29);
    EXPECT_FALSE(often.due(1));
    clock.advance(2);
    EXPECT_TRUE(often.due(1));
}

TEST(Timer, IntervalsDouble) {
    FakeClock clock;
    Timer timer({60, true}, 6, clock.reader());
    for (const double wait : {6.0, 12.0, 24.0, 48.0}) {
        clock.advance(wait - 0.5);
        EXPECT_FALSE(timer.due(1)) << wait;
        clock.advance(1);
        EXPECT_TRUE(timer.due(1)) << wait;
        timer.done();
    }
}

TEST(Timer, RestsInProportionToActions) {
    FakeClock clock;
    Timer timer({60, true}, 0, clock.reader());
    ASSERT_TRUE(timer.due(1));
    clock.advance(10);  // the action
    timer.done();
    clock.advance(99);
    EXPECT_FALSE(timer.due(2));
    clock.advance(2);
    EXPECT_TRUE(timer.due(3));
    Timer often({0.5, true}, 0, clock.reader());
    ASSERT_TRUE(often.due(1));
    clock.advance(10);
    often.done();
    clock.advance(31);
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
