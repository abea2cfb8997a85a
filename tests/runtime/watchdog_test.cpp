// Slices, launchers and the watchdog, in a single process.
#include "runtime/watchdog.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/launcher.h"

namespace glow {
namespace {

using namespace std::chrono_literals;

TEST(Slice, AreConsecutiveAndBalanced) {
    for (const index_t total : {0, 1, 2, 7, 64, 1000})
        for (const int size : {1, 2, 3, 5, 8}) {
            index_t next = 0;
            for (int r = 0; r < size; ++r) {
                const Slice share = slice_of(total, r, size);
                EXPECT_EQ(share.first, next);
                EXPECT_LE(slice_of(total, 0, size).count - share.count, 1);
                EXPECT_GE(slice_of(total, 0, size).count, share.count);
                next += share.count;
            }
            EXPECT_EQ(next, total);
        }
}

// Sets environment variables for the duration of a test.
struct Launcher : testing::Test {
    Launcher() {
        for (const char* name : kNames) unsetenv(name);
    }
    ~Launcher() override {
        for (const char* name : kNames) unsetenv(name);
    }
    static constexpr const char* kNames[] = {
        "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE",       "PMI_RANK",
        "MV2_COMM_WORLD_SIZE",  "MV2_COMM_WORLD_RANK",  "PMIX_RANK",      "PALS_RANKID",
        "MVP_COMM_WORLD_SIZE",  "MVP_COMM_WORLD_RANK",  "SLURM_STEP_ID",  "SLURM_STEP_NUM_TASKS",
        "SLURM_PROCID",         "SLURM_NTASKS",         "SLURM_PTY_PORT", "SLURM_TASK_PID",
        "GLOW_WATCHDOG_SECONDS"};
};

TEST_F(Launcher, OneProcessWithoutLauncher) {
    EXPECT_EQ(detect_launch().launcher, "");
    EXPECT_EQ(open_communicator(CommunicatorKind::automatic, Device::cpu)->size(), 1);
    EXPECT_EQ(open_communicator(CommunicatorKind::automatic, Device::cpu)->name(), "one process");
}

// As in a build without MPI, which a job script may start with srun -n 1.
TEST_F(Launcher, OneProcessOfLauncherNeedsNoMpi) {
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    setenv("PMIX_RANK", "0", 1);
    EXPECT_EQ(open_communicator(CommunicatorKind::automatic, Device::cpu)->name(), "one process");
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    EXPECT_EQ(open_communicator(CommunicatorKind::automatic, Device::cpu)->name(), "one process");
}

TEST_F(Launcher, RecognizesLaunchers) {
    setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    setenv("PMIX_RANK", "0", 1);
    EXPECT_EQ(detect_launch().size, 4);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    EXPECT_EQ(detect_launch().size, 0);
    EXPECT_FALSE(detect_launch().is_one_process());
    for (const char* const variable : {"PMI_SIZE", "MV2_COMM_WORLD_SIZE", "MVP_COMM_WORLD_SIZE"}) {
        setenv(variable, "3", 1);
        EXPECT_EQ(detect_launch().size, 3) << variable;
        EXPECT_EQ(detect_launch().variable, variable);
        unsetenv(variable);
    }
}

TEST_F(Launcher, RanksAloneRevealSeveralProcesses) {
    for (const char* const variable : {"PMIX_RANK", "PMI_RANK", "PALS_RANKID", "SLURM_PROCID"}) {
        setenv(variable, "2", 1);
        const Launch launch = detect_launch();
        EXPECT_EQ(launch.variable, variable);
        EXPECT_EQ(launch.rank, 2) << variable;
        EXPECT_TRUE(launch.is_one_of_several()) << variable;
        setenv(variable, "0", 1);
        EXPECT_FALSE(detect_launch().is_one_of_several()) << variable;
        unsetenv(variable);
    }
}

TEST_F(Launcher, SlurmStepIsLauncherButAllocationIsNot) {
    setenv("SLURM_PROCID", "0", 1);  // as sbatch sets it for its own script
    setenv("SLURM_NTASKS", "8", 1);
    EXPECT_EQ(detect_launch().launcher, "");
    setenv("SLURM_STEP_ID", "4294967290", 1);  // as in the shell of salloc
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    setenv("SLURM_PTY_PORT", "34889", 1);
    EXPECT_TRUE(detect_launch().is_one_process());
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "8", 1);
    unsetenv("SLURM_PTY_PORT");
    EXPECT_EQ(detect_launch().launcher, "srun");
    EXPECT_EQ(detect_launch().size, 8);
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);  // of one component; ranks are those of the whole step
    setenv("SLURM_PROCID", "1", 1);
    EXPECT_FALSE(detect_launch().is_one_process());
    EXPECT_TRUE(detect_launch().is_one_of_several());
}

// In the shell of srun --mpi=pmi2 --pty, an srun of several tasks inherits PMI_SIZE=1. Open MPI's mpirun -n 1
// may run below its daemons, which are tasks of srun.
TEST_F(Launcher, StepOfSeveralTasksOverridesInheritedSize) {
    setenv("PMI_SIZE", "1", 1);
    EXPECT_TRUE(detect_launch().is_one_process());
    setenv("SLURM_STEP_ID", "1", 1);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    EXPECT_EQ(detect_launch().size, 4);
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    EXPECT_TRUE(detect_launch().is_one_process());
}

// The number of processes that a child with a terminal of its own detects; -1: there are no terminals here.
int size_detected_on_terminal(bool as_task) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) return -1;
    const char* const name = ptsname(terminal);
    const pid_t child = fork();
    if (child == 0) {
        setsid();
        if (open(name, O_RDWR) < 0) _exit(255);  // becomes the controlling terminal
        if (as_task) setenv("SLURM_TASK_PID", std::to_string(getpid()).c_str(), 1);
        _exit(detect_launch().size);
    }
    int status = 0;
    const bool ended = child > 0 && waitpid(child, &status, 0) == child;
    close(terminal);
    return ended && WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : -1;
}

TEST_F(Launcher, ShellOfSrunPtyIsOneProcess) {
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "8", 1);
    setenv("SLURM_PTY_PORT", "34889", 1);
    setenv("SLURM_TASK_PID", "1", 1);
    const int in_shell = size_detected_on_terminal(false);
    if (in_shell < 0) GTEST_SKIP() << "no pseudo terminals";
    EXPECT_EQ(in_shell, 1);
    EXPECT_EQ(size_detected_on_terminal(true), 8);  // srun -n 8 --pty glow_train
    unsetenv("SLURM_PTY_PORT");
    EXPECT_EQ(size_detected_on_terminal(false), 8);
}

TEST_F(Launcher, RejectsInvalidWatchdogTime) {
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    for (const char* text : {"", "soon", "-1", "0.5", "nan", "45s"}) {
        setenv("GLOW_WATCHDOG_SECONDS", text, 1);
        EXPECT_THROW(open_communicator(CommunicatorKind::automatic, Device::cpu), InputError) << text;
    }
}

// ---- The watchdog ----------------------------------------------------------------------------------------

struct Watch {
    std::promise<std::string> promise;
    std::future<std::string> reason = promise.get_future();
    Heartbeat heartbeat;
    Watchdog watchdog{0.4, [this](const std::string& text) { promise.set_value(text); }};
    bool ended(std::chrono::milliseconds within) {
        return reason.wait_for(within) == std::future_status::ready;
    }
};

TEST(Watchdog, NamesSilentThread) {
    Watch watch;
    watch.watchdog.watch(watch.heartbeat, "rank 7 on host");
    ASSERT_TRUE(watch.ended(30s));
    EXPECT_TRUE(watch.reason.get().starts_with("rank 7 on host has been silent for 0.4"));
}

TEST(Watchdog, HeartbeatsPreventTimeout) {
    Watch watch;
    watch.watchdog.watch(watch.heartbeat, "x");
    for (int i = 0; i < 40; ++i) {
        watch.heartbeat.beat();
        ASSERT_FALSE(watch.ended(25ms));
    }
}

TEST(Watchdog, ScopedTimeoutExpires) {
    Watch watch;
    watch.watchdog.watch(watch.heartbeat, "x");
    {
        const ScopedTimeout timeout("writing", 60, watch.heartbeat);
        ASSERT_FALSE(watch.ended(1000ms));
    }
    ASSERT_TRUE(watch.ended(30s));
    EXPECT_EQ(watch.reason.get().find("writing"), std::string::npos);

    Watch second;
    second.watchdog.watch(second.heartbeat, "x");
    const ScopedTimeout timeout("writing", 0.6, second.heartbeat);
    ASSERT_TRUE(second.ended(30s));
    EXPECT_NE(second.reason.get().find("(writing)"), std::string::npos);
}

TEST(Watchdog, PausedHeartbeatIsNotDue) {
    Watch watch;
    watch.heartbeat.pause();
    watch.watchdog.watch(watch.heartbeat, "rank 1 on host", 0.2);
    ASSERT_FALSE(watch.ended(1000ms));
    watch.heartbeat.expect();
    ASSERT_TRUE(watch.ended(30s));
    EXPECT_TRUE(watch.reason.get().starts_with("rank 1 on host has been silent for 0.2"));
}

// Many ranks are pinged after a silence of several limits, and answer at once.
TEST(Watchdog, PausedTimeDoesNotCountWhenPinged) {
    std::vector<Heartbeat> peers(1000);
    for (Heartbeat& peer : peers) peer.pause();
    std::promise<std::string> promise;
    std::future<std::string> reason = promise.get_future();
    constexpr double kLimit = 0.02;
    Watchdog watchdog(kLimit, [&](const std::string& text) { promise.set_value(text); });
    for (Heartbeat& peer : peers) watchdog.watch(peer, "a rank");
    const auto seconds_since = [](auto start) {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    const auto start = std::chrono::steady_clock::now();
    while (seconds_since(start) < 1.5) {
        if (reason.wait_for(40ms) == std::future_status::ready) break;
        const auto pinged = std::chrono::steady_clock::now();
        for (Heartbeat& peer : peers) peer.expect();
        for (Heartbeat& peer : peers) peer.pause();
        if (seconds_since(pinged) > kLimit / 2) GTEST_SKIP() << "this machine is too busy";
    }
    EXPECT_FALSE(reason.wait_for(0ms) == std::future_status::ready) << reason.get();
}

// The same for a timeout that ends after a long silence.
TEST(Watchdog, TimeoutMayEndAtAnyMoment) {
    std::vector<Heartbeat> threads(200);
    Watch watch;
    for (Heartbeat& thread : threads) watch.watchdog.watch(thread, "a thread");
    for (int i = 0; i < 3; ++i) {
        std::vector<std::unique_ptr<ScopedTimeout>> timeouts;
        for (Heartbeat& thread : threads)
            timeouts.push_back(std::make_unique<ScopedTimeout>("writing", 60, thread));
        ASSERT_FALSE(watch.ended(500ms)) << watch.reason.get();
    }
}

TEST(Watchdog, TimeoutsAreOfTheCallingThread) {
    Watch watch;
    watch.watchdog.watch(Heartbeat::of_this_thread(), "x");
    const ScopedTimeout timeout("reading");
    std::thread([] { const ScopedTimeout other("writing", 0.1); }).join();
    ASSERT_FALSE(watch.ended(1000ms));
    {
        const ScopedTimeout inner("writing", 0.6);
        ASSERT_TRUE(watch.ended(30s));
    }
    EXPECT_NE(watch.reason.get().find("(writing)"), std::string::npos);
}

TEST(Watchdog, PollsCallback) {
    Watch watch;
    std::atomic<bool> broken{false};
    watch.watchdog.poll([&] { return std::string(broken ? "broken" : ""); });
    ASSERT_FALSE(watch.ended(200ms));
    broken = true;
    ASSERT_TRUE(watch.ended(30s));
    EXPECT_EQ(watch.reason.get(), "broken");
}

}  // namespace
}  // namespace glow
