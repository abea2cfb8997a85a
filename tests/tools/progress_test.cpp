// Lines of progress on a terminal, and other output of a command.
#include "tools/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "tools/printable_text.h"

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

// A name could otherwise clear the screen, or retitle the window.
TEST(Progress, NamesDoNotControlTheTerminal) {
    const CommandLine command("glow_test", "");
    const std::string name = "a\x1b[2J\x7f\xc2\x9b\xc3\xa9\t\xff.h5",
                      shown = "a\\x1b[2J\\x7f\\xc2\\x9b\xc3\xa9\t\xff.h5";
    EXPECT_EQ(printable_text(name + "\n"), shown + "\n");
    EXPECT_EQ(errors_of([&] {
                  command.warn("{}", name);
                  command.info("{}", name);
                  command.draw_line(name);
              }),
              "glow_test: warning: " + shown + "\n" + shown + "\n" + kLine + shown);
    // The result, for a program and for a terminal.
    testing::internal::CaptureStdout();
    command.result(name, {});
    EXPECT_EQ(testing::internal::GetCapturedStdout(), name + "\n");
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK), before = dup(STDOUT_FILENO);
    ASSERT_TRUE(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    const int shell = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    dup2(shell, STDOUT_FILENO);
    command.result(name, {});
    dup2(before, STDOUT_FILENO);
    char text[256];
    const ssize_t length = read(terminal, text, sizeof text);
    for (const int file : {terminal, before, shell}) close(file);
    ASSERT_GT(length, 0);
    EXPECT_EQ(std::string(text, static_cast<std::size_t>(length)).find(shown.substr(0, shown.find('\t'))),
              0u);
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
