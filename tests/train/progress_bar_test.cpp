#include "train/progress_bar.h"

#include <gtest/gtest.h>

namespace glow {
namespace {

TEST(ProgressBar, ShowsCompletedFraction) {
    EXPECT_EQ(progress_bar(0, "step 1", 80), "[------------------------------]   0%  step 1");
    EXPECT_EQ(progress_bar(0.5, "step 1", 80), "[###############---------------]  50%  step 1");
    EXPECT_EQ(progress_bar(1.5, "step 1", 80), "[##############################] 100%  step 1");
    EXPECT_EQ(progress_bar(-1, "step 1", 80), "step 1");
}

// A line that the terminal wraps cannot be redrawn.
TEST(ProgressBar, FitsAnyTerminal) {
    const std::string text = "step 1234567  4.4736 bits/dim  41.6 images/s  1h08m left";
    for (int columns = 1; columns < 200; ++columns) {
        const std::string line = progress_bar(0.3, text, columns);
        EXPECT_LE(line.size(), static_cast<std::size_t>(std::max(columns - 1, 1))) << columns;
        if (columns >= 80) {
            EXPECT_NE(line.find('#'), std::string::npos) << columns;
            EXPECT_TRUE(line.ends_with(text)) << columns;
        }
    }
}

}  // namespace
}  // namespace glow
