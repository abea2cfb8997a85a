#include "tests/process_guard.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/tools/process.h"

namespace glow {
namespace {

using namespace std::chrono_literals;

// A child, a grandchild, and one in its own session; their pids appear in the folder.
const char* const kFamily =
    "echo $$ > child.tmp; "
    "sh -c 'echo $$ > grandchild.tmp; mv grandchild.tmp grandchild; exec sleep 600' & "
    "setsid sh -c 'echo $$ > session.tmp; mv session.tmp session; exec sleep 600' & "
    "mv child.tmp child; exec sleep 600";

// Not a test: the program that the tests below start and kill.
TEST(ProcessGuard, DISABLED_StartsProcessTree) {
    const char* const folder = std::getenv("GLOW_FAMILY_FOLDER");
    ASSERT_NE(folder, nullptr);
    Process("/", "/bin/sh", {"-c", std::string("cd ") + folder + " && " + kFamily}).wait();
}

struct Family {
    std::vector<pid_t> pids() const {
        std::vector<pid_t> pids;
        for (const char* const name : {"child", "grandchild", "session"}) {
            int pid = 0;
            std::ifstream(folder / name) >> pid;
            if (pid > 0) pids.push_back(pid);
        }
        return pids;
    }
    // Waits up to a minute.
    template <class Condition>
    static bool soon(Condition&& condition) {
        for (int i = 0; i < 6000; ++i, std::this_thread::sleep_for(10ms))
            if (condition()) return true;
        return false;
    }
    bool started() const {
        return soon([&] { return pids().size() == 3; });
    }
    // Gone, or a zombie not yet reaped by init.
    static bool ended(pid_t pid) {
        std::string state, line;
        std::ifstream status("/proc/" + std::to_string(pid) + "/status");
        while (std::getline(status, line))
            if (line.starts_with("State:")) state = line;
        return state.empty() || state.find('Z') != std::string::npos;
    }
    bool all_ended() const {
        for (const pid_t pid : pids())
            if (!ended(pid)) return false;
        return true;
    }
    TemporaryFolder folder;
};

TEST(ProcessGuard, KilledTestLeavesNoProcess) {
    const Family family;
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    const pid_t test = fork();
    if (test == 0) {
        // Runs outside this test's own guard, so that only the inner one is observed.
        unsetenv("GLOW_TEST_PROCESS");
        setenv("GLOW_FAMILY_FOLDER", family.folder.path().c_str(), 1);
        execl(self.c_str(), self.c_str(), "--gtest_filter=ProcessGuard.DISABLED_StartsProcessTree",
              "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
        _exit(98);
    }
    EXPECT_TRUE(family.started());
    EXPECT_FALSE(family.all_ended());
    kill(test, SIGKILL);
    waitpid(test, nullptr, 0);
    EXPECT_TRUE(Family::soon([&] { return family.all_ended(); }));
    for (const pid_t pid : family.pids()) kill(pid, SIGKILL);
}

TEST(ProcessGuard, AbandonedProcessEndsWithDescendants) {
    const Family family;
    {
        const Process process(family.folder.path(), "/bin/sh", {"-c", kFamily});
        EXPECT_TRUE(family.started());
    }
    EXPECT_TRUE(Family::soon([&] { return family.all_ended(); }));
}

TEST(ProcessGuard, OtherProcessesSurvive) {
    const Family family;
    const Process keeps_running(family.folder.path(), "/bin/sh", {"-c", kFamily});
    ASSERT_TRUE(family.started());
    { const Process other(family.folder.path(), "/bin/sh", {"-c", "sleep 600"}); }
    for (const pid_t pid : family.pids()) EXPECT_FALSE(Family::ended(pid));
}

TEST(RunGuarded, KeepsExitStatusAndEndsChildren) {
    const Family family;
    Process guarded(family.folder.path(), GLOW_RUN_GUARDED,
                    {"/bin/sh", "-c",
                     "setsid sh -c 'echo $$ > session; exec sleep 600' & "
                     "while [ ! -s session ]; do sleep 0.05; done; echo out; exit 77"});
    const Outcome outcome = guarded.wait();
    EXPECT_EQ(outcome.code, 77);
    EXPECT_EQ(outcome.out, "out\n");
    EXPECT_EQ(family.pids().size(), 1u);
    EXPECT_TRUE(family.all_ended());
}

}  // namespace
}  // namespace glow
