// Lines of progress on a terminal, and other output of a command.
#include "tools/progress.h"

#include <gtest/gtest.h>

namespace glow {
namespace {

constexpr const char* kLine = "\r\033[K";  // removes what the line holds

// What a command prints on stderr.
template <class Action>
std::string errors_of(Action action) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    action();
    testing::internal::GetCapturedStdout();
    return testing::internal::GetCapturedStderr();
}

TEST(Progress, OtherOutputRemovesTheLine) {
    const CommandLine command("glow_test", "");
    const std::string drawn = kLine + std::string("1 of 2");
    const auto draw = [&] { command.draw_line("1 of 2"); };
    EXPECT_EQ(errors_of([&] {
                  draw();
                  command.result("found", {});
                  command.result("more", {});
              }),
              drawn + kLine);
    EXPECT_EQ(errors_of([&] {
                  draw();
                  command.warn("odd");
                  draw();
                  command.info("note");
              }),
              drawn + kLine + "glow_test: warning: odd\n" + drawn + kLine + "note\n");
    EXPECT_EQ(errors_of([&] {
                  draw();
                  command.clear_line();
                  command.clear_line();
              }),
              drawn + kLine);
}

TEST(Progress, ShortJobsPrintNothing) {
    const CommandLine command("glow_test", "");
    EXPECT_EQ(errors_of([&] {
                  ProgressLine progress(command, "images");
                  for (index_t done = 1; done <= 5; ++done) progress.show(done, 5);
                  command.result("found", {});
              }),
              "");
}

}  // namespace
}  // namespace glow
