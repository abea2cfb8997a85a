// Unattended runs: killed at any moment, on a full disk, without permission, without their folder, with a
// damaged checkpoint. Intact checkpoints remain, and a resumed run equals an uninterrupted one.
#include <sys/mount.h>

#include <cstdio>
#include <limits>
#include <random>
#include <set>

#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

const Words kOwn = {"images_per_s", "step_ms", "peak_bytes"};  // columns that depend on the process

struct KillAndResume : Commands {
    void expect_equal_runs(const std::string& a, const std::string& b) const {
        expect_equal_weights(a + "/latest.h5", b + "/latest.h5");
        EXPECT_EQ(without(read_csv(folder / a / "metrics.csv"), kOwn),
                  without(read_csv(folder / b / "metrics.csv"), kOwn));
        EXPECT_EQ(read_bytes(folder / a / "eval.csv"), read_bytes(folder / b / "eval.csv"));
        EXPECT_EQ(fs::read_symlink(folder / a / "best.h5"), fs::read_symlink(folder / b / "best.h5"));
    }
    // Is a process writing a checkpoint, or was it until it was killed?
    bool writes(const std::string& out, pid_t process) const {
        const std::string owner = "-" + std::to_string(process) + "-";  // atomic_file.h
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator(folder / out / "checkpoints", ignored))
            if (const std::string name = entry.path().filename().string();
                name.starts_with(".glow-") && name.find(owner) != std::string::npos)
                return true;
        return false;
    }
    struct Kills {
        int all = 0, writing = 0;
    };
    // Kills an endless run `kills` times, each within `longest` seconds of a start, every third during a
    // checkpoint. The checkpoint may be complete before the signal arrives, so there are more kills if less
    // than `least_writing` of them hit one.
    Kills kill_repeatedly(const Words& options, int kills, int least_writing, double longest) const {
        const Words words = run_words("run", 1'000'000) + options + Words{"--quiet", "--resume"};
        std::mt19937 random(static_cast<unsigned>(kills));
        Kills done;
        while ((done.all < kills || done.writing < least_writing) && done.all < kills + 100 &&
               !HasFailure()) {
            Process process(folder.path(), GLOW_TRAIN_PROGRAM, words);
            const pid_t pid = process.pid();
            const bool at_writer = done.all % 3 == 2 || done.all >= kills;
            const auto until = Clock::now() + std::chrono::duration<double>(
                                                  std::uniform_real_distribution<>(0, longest)(random));
            while (process.running() && (at_writer ? !writes("run", pid) : Clock::now() < until))
                std::this_thread::sleep_for(at_writer ? 50us : 1000us);
            process.kill(SIGKILL);
            const Outcome outcome = process.wait();
            EXPECT_EQ(outcome.code, -SIGKILL) << outcome.err;
            ++done.all;
            done.writing += writes("run", pid);
            // At any moment latest.h5 points to a complete checkpoint.
            if (fs::exists(fs::symlink_status(folder / "run/latest.h5"))) {
                EXPECT_NO_THROW(CheckpointEdit(folder / "run/latest.h5")) << done.all;
            }
        }
        EXPECT_GE(done.writing, least_writing);
        return done;
    }
    // Ends the run some steps later, and compares it with one that was never killed.
    void expect_whole_run(const Words& options) const {
        // On a busy machine, all kills may come before the first checkpoint.
        const fs::path latest = folder / "run/latest.h5";
        const int steps = (fs::exists(latest) ? static_cast<int>(CheckpointEdit(latest).step) : 0) + 5;
        const Outcome outcome = train(run_words("run", steps) + options + Words{"--resume", "--quiet"});
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        for (const std::string& name : all_files()) EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
        make_run("whole", steps, options);
        expect_equal_runs("run", "whole");
    }
};

TEST_F(KillAndResume, KilledRunResumesExactly) {
    const Words options = {"--checkpoint-every", "3", "--eval-every", "20",
                           "--sample-every",     "0", "--augment",    "shift+flip"};
    kill_repeatedly(options, 6, 1, 0.3);
    expect_whole_run(options);
}

// The specification's twenty kills, with a model whose checkpoints take a while.
TEST_F(KillAndResume, SlowTwentyKills) {
    const Words options = {"--width",        "64", "--checkpoint-every", "5",         "--eval-every", "25",
                           "--sample-every", "50", "--augment",          "shift+flip"};
    const Kills kills = kill_repeatedly(options, 20, 4, 0.8);
    std::printf("%d of %d kills while a checkpoint was being written\n", kills.writing, kills.all);
    expect_whole_run(options);
}

// ---- Damaged checkpoints ---------------------------------------------------------------------------------

struct DamagedCheckpoints : KillAndResume {
    DamagedCheckpoints() {
        make_run("whole", 9, options);
        make_run("run", 7, options);  // checkpoints 3, 5 and 7 (the last step), best.h5 one of them
    }
    void goes_on(const std::string& part) {
        const Outcome outcome = train(run_words("run", 9) + options + Words{"--resume", "--quiet"});
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
        expect_equal_weights("run/latest.h5", "whole/latest.h5");
        EXPECT_EQ(without(read_csv(folder / "run/metrics.csv"), kOwn),
                  without(read_csv(folder / "whole/metrics.csv"), kOwn));
    }
    const Words options = {"--checkpoint-every", "2", "--keep", "3", "--eval-every", "0"};
    fs::path checkpoint(int step) const {
        return folder / ("run/checkpoints/step-0000000" + std::to_string(step) + ".h5");
    }
};

TEST_F(DamagedCheckpoints, TruncatedCheckpointIsSkipped) {
    fs::resize_file(checkpoint(7), fs::file_size(checkpoint(7)) / 2);
    goes_on("resuming from run/checkpoints/step-00000006.h5");
    // Neither counted among the kept checkpoints nor deleted.
    EXPECT_TRUE(fs::exists(checkpoint(7).string() + ".damaged"));
}

TEST_F(DamagedCheckpoints, SeveralCheckpointsAreSkipped) {
    fs::resize_file(checkpoint(7), 0);
    write_bytes(checkpoint(6), "no checkpoint");
    goes_on("resuming from run/checkpoints/step-00000004.h5");
}

TEST_F(DamagedCheckpoints, NonFiniteCheckpointIsSkipped) {
    CheckpointEdit edit(checkpoint(7));
    edit.tensor("/optimizer/v/prior/top/bias").values[0] = std::numeric_limits<float>::quiet_NaN();
    edit.write(checkpoint(7));
    goes_on("resuming from run/checkpoints/step-00000006.h5");
}

TEST_F(DamagedCheckpoints, MissingLinkOrTargetIsTolerated) {
    fs::remove(folder / "run/latest.h5");
    goes_on("resuming from run/checkpoints/step-00000007.h5: latest.h5 does not exist");
    fs::remove_all(folder / "run");
    make_run("run", 7, options);
    fs::remove(checkpoint(7));
    goes_on("resuming from run/checkpoints/step-00000006.h5");
}

TEST_F(DamagedCheckpoints, CopyWithoutLinksResumes) {
    const fs::path latest = folder / "run/latest.h5";
    fs::remove(latest);
    fs::copy_file(checkpoint(7), latest);
    goes_on("");
    EXPECT_TRUE(fs::is_symlink(latest));
}

TEST_F(DamagedCheckpoints, NothingChangesWithoutValidCheckpoint) {
    for (const auto& entry : fs::directory_iterator(folder / "run/checkpoints"))
        fs::resize_file(entry.path(), 100);
    const Words before = all_files();
    const std::string rows = read_bytes(folder / "run/metrics.csv");
    const Outcome outcome = train(run_words("run", 9) + options + Words{"--resume", "auto", "--quiet"});
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("error: run/latest.h5: none of the run's checkpoints is usable"),
              std::string::npos)
        << outcome.err;
    EXPECT_EQ(all_files(), before);
    EXPECT_EQ(read_bytes(folder / "run/metrics.csv"), rows);
}

// ---- Files that cannot be written ------------------------------------------------------------------------

// Starts a run and does something to it after a few checkpoints.
struct WriteFailures : KillAndResume {
    const Words options = {"--checkpoint-every", "5", "--eval-every", "0", "--sample-every", "0"};
    std::size_t rows() const {
        const std::string text = read_bytes(folder / "run/metrics.csv");
        return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    }
    // By name: the file may be replaced while being read.
    std::int64_t latest_step() const {
        const std::string name = fs::read_symlink(folder / "run/latest.h5").stem().string();
        return std::stoll(name.substr(std::string("step-").size()));
    }
    // The run, and the step at which it was asked to stop.
    std::pair<Outcome, std::int64_t> stopped(Process& process) const {
        process.kill(SIGTERM);
        const Outcome outcome = process.wait();
        std::int64_t step = -1;
        if (outcome.code == kUnfinished) step = json::parse(outcome.out)["step"];
        return {outcome, step};
    }
    void expect_the_whole_run(std::int64_t step) const {
        make_run("whole", static_cast<int>(step), options);
        expect_equal_weights("run/latest.h5", "whole/latest.h5");
    }
};

TEST_F(WriteFailures, DeletedFolderIsRecreated) {
    Process process(folder.path(), GLOW_TRAIN_PROGRAM,
                    kSmall + options + Words{"--out", "run", "--quiet", "--json"});
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder / "run/latest.h5"); }));
    fs::rename(folder / "run", folder / "away");
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder / "run/latest.h5"); })) << process.err();
    const auto [outcome, step] = stopped(process);
    EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
    EXPECT_NE(outcome.err.find("the run's folder was deleted and has been recreated"), std::string::npos)
        << outcome.err;
    expect_the_whole_run(step);
    const Table rows = read_csv(folder / "run/metrics.csv");
    ASSERT_FALSE(rows.empty());
    EXPECT_EQ(rows.back().at("step"), std::to_string(step));
    make_run("run", static_cast<int>(step) + 1, options + Words{"--resume"});
}

// Like a full disk, for users who cannot mount one.
TEST_F(WriteFailures, FileSizeLimitIsReported) {
    Process process(folder.path(), GLOW_TRAIN_PROGRAM,
                    kSmall + options + Words{"--out", "run", "--quiet", "--json"},
                    {.stderr_path = "", .largest_file = rlim_t{1} << 30});
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder / "run/latest.h5"); }));
    const rlimit small{30000, rlim_t{1} << 30}, large{rlim_t{1} << 30, rlim_t{1} << 30};
    ASSERT_EQ(prlimit(process.pid(), RLIMIT_FSIZE, &small, nullptr), 0);
    ASSERT_TRUE(process.wait_until([&] { return process.err().find("step-") != std::string::npos; }));
    const std::int64_t good = CheckpointEdit(folder / "run/latest.h5").step;  // still complete
    ASSERT_EQ(prlimit(process.pid(), RLIMIT_FSIZE, &large, nullptr), 0);
    ASSERT_TRUE(process.wait_until([&] { return latest_step() > good + 5; }));
    const auto [outcome, step] = stopped(process);
    EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
    EXPECT_NE(outcome.err.find("File too large"), std::string::npos) << outcome.err;
    expect_the_whole_run(step);
    EXPECT_EQ(without(read_csv(folder / "run/metrics.csv"), kOwn),
              without(read_csv(folder / "whole/metrics.csv"), kOwn));
}

// A file system of this size, if this user may mount one.
struct SmallDisk {
    SmallDisk(const fs::path& folder, const std::string& size) : folder(folder) {
        fs::create_directory(folder);
        mounted = mount("none", folder.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    }
    ~SmallDisk() {
        if (mounted) umount2(folder.c_str(), MNT_DETACH);
    }
    SmallDisk(const SmallDisk&) = delete;
    fs::path folder;
    bool mounted = false;
};

TEST_F(WriteFailures, FullDiskIsRetried) {
    const SmallDisk disk(folder / "disk", "4m");
    if (!disk.mounted) GTEST_SKIP() << "this user may not mount a tmpfs";
    fs::create_symlink("disk/run", folder / "run");
    const Words words = kSmall + options + Words{"--out", "disk/run", "--quiet", "--json"};
    Process process(folder.path(), GLOW_TRAIN_PROGRAM, words);
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder / "run/latest.h5"); }));
    {  // use up the remaining space
        std::ofstream file(folder / "disk/filler", std::ios::binary);
        const std::string block(1024, 'x');
        while (file << block << std::flush) {
        }
    }
    ASSERT_TRUE(process.wait_until([&] { return process.err().find("step-") != std::string::npos; }));
    const std::int64_t good = CheckpointEdit(folder / "run/latest.h5").step;  // still complete
    fs::remove(folder / "disk/filler");
    ASSERT_TRUE(process.wait_until([&] { return latest_step() > good + 5; }));
    const auto [outcome, step] = stopped(process);
    for (const std::string& name : all_files()) EXPECT_EQ(name.find(".glow-"), std::string::npos) << name;
    EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
    EXPECT_NE(outcome.err.find("No space left"), std::string::npos) << outcome.err;
    expect_the_whole_run(step);
    // Every row is there.
    EXPECT_EQ(without(read_csv(folder / "run/metrics.csv"), kOwn),
              without(read_csv(folder / "whole/metrics.csv"), kOwn));
}

TEST_F(WriteFailures, FullDiskAtEndKeepsLastCheckpoint) {
    const SmallDisk disk(folder / "disk", "4m");
    if (!disk.mounted) GTEST_SKIP() << "this user may not mount a tmpfs";
    make_run("disk/run", 5, options);
    {
        std::ofstream file(folder / "disk/filler", std::ios::binary);
        const std::string block(1024, 'x');
        while (file << block << std::flush) {
        }
    }
    const std::string before = read_bytes(folder / "disk/run/checkpoints/step-00000005.h5");
    const Outcome outcome = train(run_words("disk/run", 8) + options + Words{"--resume", "--quiet"});
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("error: "), std::string::npos) << outcome.err;
    EXPECT_EQ(read_bytes(folder / "disk/run/checkpoints/step-00000005.h5"), before);
    EXPECT_EQ(CheckpointEdit(folder / "disk/run/latest.h5").step, 5);
    fs::remove(folder / "disk/filler");
    make_run("disk/run", 8, options + Words{"--resume"});
    make_run("whole", 8, options);
    expect_equal_weights("disk/run/latest.h5", "whole/latest.h5");
}

TEST_F(WriteFailures, ReadOnlyFileSystemIsReported) {
    const SmallDisk disk(folder / "disk", "4m");
    if (!disk.mounted) GTEST_SKIP() << "this user may not mount a tmpfs";
    fs::create_symlink("disk/run", folder / "run");
    Process process(folder.path(), GLOW_TRAIN_PROGRAM,
                    kSmall + options + Words{"--out", "disk/run", "--quiet", "--json"});
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder / "run/latest.h5"); }));
    // An active writer delays it for a moment.
    ASSERT_TRUE(process.wait_until(
        [&] { return mount("none", disk.folder.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=4m") == 0; }));
    ASSERT_TRUE(process.wait_until([&] { return process.err().find("step-") != std::string::npos; }));
    const auto [outcome, step] = stopped(process);
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("Read-only file system"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("error: the run ends at step "), std::string::npos) << outcome.err;
    ASSERT_EQ(mount("none", disk.folder.c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
    const int good = static_cast<int>(CheckpointEdit(folder / "run/latest.h5").step);
    make_run("disk/run", good + 3, options + Words{"--resume"});
    expect_the_whole_run(good + 3);
    // Read-only from the start.
    ASSERT_EQ(mount("none", disk.folder.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=4m"), 0);
    expect_error(train(run_words("disk/other", 2) + Words{"--quiet"}), 2, "disk/other");
    expect_error(train(run_words("disk/run", good + 5) + Words{"--quiet", "--resume"}), 2, "disk/run");
}

}  // namespace
}  // namespace glow
