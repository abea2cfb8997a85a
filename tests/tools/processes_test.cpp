// glow_train on several processes: losses equal to one process, and how such a run ends when killed, stopped
// or interrupted.
#include <dirent.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Columns that differ where a run was resumed, which needs no memory for the initialization.
const Words kDiffering = {"images_per_s", "step_ms", "peak_bytes"};

// The ranks that a launcher started, from its process tree.
std::map<int, pid_t> ranks_of(pid_t launcher) {
    std::map<pid_t, pid_t> parents;
    std::map<int, pid_t> ranks;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const pid_t pid = std::atoi(entry.path().filename().c_str());
        if (pid == 0) continue;
        std::ifstream status(entry.path() / "status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("PPid:")) parents[pid] = std::atoi(line.c_str() + 5);
    }
    for (const auto& [pid, parent] : parents) {
        pid_t ancestor = parent;
        while (ancestor != launcher && parents.contains(ancestor)) ancestor = parents[ancestor];
        if (ancestor != launcher) continue;
        std::ifstream environment("/proc/" + std::to_string(pid) + "/environ");
        for (std::string variable; std::getline(environment, variable, '\0');)
            for (const char* const name : {"OMPI_COMM_WORLD_RANK=", "PMI_RANK="})
                if (variable.starts_with(name))
                    ranks[std::atoi(variable.c_str() + std::string(name).size())] = pid;
    }
    return ranks;
}

// Whether a process runs. One that has ended lasts as a zombie where no one waits for it, as in a container
// whose first process is not an init.
bool is_running(pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(stat, text);
    const std::size_t name_end = text.rfind(") ");
    return name_end != std::string::npos && text[name_end + 2] != 'Z';
}

// Sets an environment variable while it lives.
struct Variable {
    Variable(const char* name, const std::string& value) : name(name) { setenv(name, value.c_str(), 1); }
    ~Variable() { unsetenv(name); }
    Variable(const Variable&) = delete;
    const char* name;
};

struct Processes : Commands {
    void SetUp() override {
        if (std::string(GLOW_WITH_MPI) != "1") GTEST_SKIP() << "this build has no MPI";
        if (std::system("command -v mpirun > /dev/null") != 0) GTEST_SKIP() << "there is no mpirun here";
    }

    Process start(int processes, const Words& words) const {
        return Process(folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
                       Words{std::to_string(processes), GLOW_TRAIN_PROGRAM} + words);
    }
    // A shell gives the two processes different commands. (mpirun also accepts several commands separated by
    // a colon, but that of Open MPI 5.0.7 then crashes.)
    Process start_two(const std::string& first, const std::string& second) const {
        std::ofstream(folder / "by_rank.sh")
            << "case ${OMPI_COMM_WORLD_RANK-$PMI_RANK} in 0) " << first << ";; *) " << second << ";; esac\n";
        return Process(folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
                       {"2", "sh", "by_rank.sh"});
    }
    // As many images as in d.h5, but others.
    static void make_other_images(const std::filesystem::path& path) {
        DatasetInfo info;
        info.H = info.W = 8;
        info.C = 3;
        DatasetWriter writer(path, info);
        for (const auto& [split, count] : {std::pair{"train", 40}, {"valid", 6}, {"test", 10}}) {
            std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * 8 * 8 * 3));
            for (std::size_t i = 0; i < pixels.size(); ++i)
                pixels[i] = static_cast<std::uint8_t>(i * i % 251);
            writer.append(split, count, pixels.data(), nullptr);
        }
        writer.commit();
    }
    static std::string train_command(const Words& words) {
        std::string command = "exec " GLOW_TRAIN_PROGRAM;
        for (const std::string& word : words) command += " '" + word + "'";
        return command;
    }
    Words words(const std::string& out, int steps, const Words& more = {}) const {
        return Words{"--data",          "d.h5", "--levels",    "2",
                     "--depth",         "2",    "--width",     "8",
                     "--out",           out,    "--batch",     "10",
                     "--threads",       "1",    "--log-every", "1",
                     "--init-batch",    "18",   "--max-steps", std::to_string(steps),
                     "--warmup-epochs", "0"} +
               more;
    }
    // Losses of a complete run.
    std::vector<double> losses(int processes, const std::string& out, const Words& arguments) const {
        const Outcome outcome = processes == 1 ? train(arguments) : start(processes, arguments).wait();
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        std::vector<double> losses;
        for (const auto& row : read_csv(folder / out / "metrics.csv"))
            losses.push_back(std::stod(row.at("bpd")));
        return losses;
    }
    // Float training is chaotic after about twenty steps, so only the first ones are compared.
    static void expect_near(const std::vector<double>& a, const std::vector<double>& b,
                            const std::string& what) {
        ASSERT_EQ(a.size(), b.size()) << what;
        for (std::size_t i = 0; i < a.size(); ++i)
            EXPECT_NEAR(a[i] / b[i], 1, 2e-5) << what << " step " << i + 1;
    }
    void expect_equal_metrics(const std::string& a, const std::string& b) const {
        EXPECT_EQ(without(read_csv(folder / a / "metrics.csv"), kDiffering),
                  without(read_csv(folder / b / "metrics.csv"), kDiffering));
    }

    // Runs on 4 processes until `when(process)`, then calls `strike(ranks)`: all must end with a nonzero
    // status. They need some seconds; the limit is for machines that are slow or stand still for a while.
    template <class When, class Strike>
    Outcome struck(const Words& arguments, When when, Strike strike) const {
        const Variable quick("GLOW_WATCHDOG_SECONDS", "6");
        Process run = start(4, arguments);
        EXPECT_TRUE(run.wait_until([&] { return when(run); })) << run.err();
        const std::map<int, pid_t> ranks = ranks_of(run.pid());
        EXPECT_EQ(ranks.size(), 4u);
        strike(ranks);
        const Clock::time_point then = Clock::now();
        const Outcome outcome = run.wait();
        EXPECT_LT(Clock::now() - then, 60s);
        EXPECT_NE(outcome.code, 0) << outcome.err;
        for (int i = 0; i < 6000; ++i) {  // none may remain
            bool gone = true;
            for (const auto& [rank, pid] : ranks) gone = gone && !is_running(pid);
            if (gone) return outcome;
            std::this_thread::sleep_for(10ms);
        }
        ADD_FAILURE() << "a rank is still running";
        return outcome;
    }
    static bool steps_are_logged(const Process& run, int steps) {
        return run.err().find("step " + fmt_step(steps)) != std::string::npos;
    }
    static std::string fmt_step(int step) {
        const std::string text = std::to_string(step);
        return std::string(6 - text.size(), ' ') + text;
    }
};

// ---- Equal results
// -----------------------------------------------------------------------------------------

TEST_F(Processes, LossesDoNotDependOnRanks) {
    const std::vector<double> one = losses(1, "1", words("1", 20));
    for (const int processes : {2, 3, 4, 5, 8}) {
        const std::string out = std::to_string(processes);
        expect_near(losses(processes, out, words(out, 20)), one, out + " processes");
    }
    losses(3, "again", words("again", 20));
    expect_equal_metrics("again", "3");
    expect_equal_weights("again/latest.h5", "3/latest.h5");
    // Evaluation and sampling are distributed over all processes.
    const Table evaluation = read_csv(folder / "1/eval.csv"), shared = read_csv(folder / "5/eval.csv");
    ASSERT_EQ(shared.size(), evaluation.size());
    for (std::size_t i = 0; i < shared.size(); ++i) {
        EXPECT_NEAR(std::stod(shared[i].at("bpd")) / std::stod(evaluation[i].at("bpd")), 1, 1e-4);
        EXPECT_EQ(shared[i].at("images"), "6");
    }
    EXPECT_TRUE(std::filesystem::exists(folder / "5/samples/step-00000020.png"));
}

TEST_F(Processes, RanksMayHaveNoImages) {
    const Words few = {"--batch", "2", "--init-batch", "3", "--clip-norm", "0.5"};
    expect_near(losses(4, "4", words("4", 5, few)), losses(1, "1", words("1", 5, few)), "4 processes");
}

TEST_F(Processes, SupportsMicroBatchesAndClasses) {
    const Words more = {"--micro-batch", "2", "--augment", "shift+flip", "--anchor-every", "1"};
    expect_near(losses(3, "3", words("3", 8, more)), losses(1, "1", words("1", 8, more)), "3 processes");
}

// CIFAR-10; labeled slow.
TEST_F(Processes, SlowCifar10) {
    const char* const data = std::getenv("GLOW_TEST_DATA");
    const std::filesystem::path file =
        std::filesystem::path(data != nullptr ? data : GLOW_SOURCE_FOLDER "/../shared/data") /
        "cifar10/train_8000.bin";
    if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there (GLOW_TEST_DATA)";
    std::filesystem::create_directory(folder / "cifar");
    std::filesystem::copy_file(file, folder / "cifar/train_8000.bin");
    ASSERT_EQ(Process(folder.path(), GLOW_DATA_PROGRAM, {"cifar10", "cifar", "-o", "c.h5"}).wait().code, 0);
    const Words cifar = {"--data",  "c.h5", "--levels",     "3",  "--depth",      "4", "--width", "64",
                         "--batch", "40",   "--init-batch", "64", "--eval-every", "0"};
    const std::vector<double> one = losses(1, "1", words("1", 20, cifar));
    for (const int processes : {2, 3, 4, 5, 8}) {
        const std::string out = std::to_string(processes);
        const std::vector<double> shared = losses(processes, out, words(out, 20, cifar));
        expect_near(shared, one, out + " processes");
        double worst = 0;
        for (std::size_t i = 0; i < std::min(one.size(), shared.size()); ++i)
            worst = std::max(worst, std::abs(shared[i] / one[i] - 1));
        std::printf("%d processes: largest relative difference of the first 20 losses %.1e\n", processes,
                    worst);
        losses(processes, out + "again", words(out + "again", 20, cifar));
        expect_equal_metrics(out + "again", out);
    }
}

// ---- Bad input
// ---------------------------------------------------------------------------------------------

TEST_F(Processes, BadInputIsReportedOnce) {
    const Outcome outcome = start(3, words("x", 2, {"--data", "nowhere.h5"})).wait();
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    const std::size_t told = outcome.err.find("glow_train: error: rank 0 on ");
    ASSERT_NE(told, std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("glow_train: error:", told + 1), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

TEST_F(Processes, BadUsageAndHelpArePrintedOnce) {
    const auto count = [](const std::string& text, const std::string& part) {
        int n = 0;
        for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
        return n;
    };
    const Outcome refused = start(3, words("x", 2, {"--no-such-option"})).wait();
    EXPECT_EQ(refused.code, 2) << refused.err;
    // The root reports first; a launcher that is slow to end the others, on a busy machine, may let another
    // report too.
    EXPECT_GE(count(refused.err, "glow_train: error:"), 1) << refused.err;
    EXPECT_LE(count(refused.err, "glow_train: error:"), 2) << refused.err;
    const Outcome help = start(3, {"--help"}).wait();
    EXPECT_EQ(help.code, 0) << help.err;
    EXPECT_EQ(count(help.out, "Usage:"), 1) << help.out;
    const Outcome config = start(3, words("x", 2, {"--print-config"})).wait();
    EXPECT_EQ(config.code, 0) << config.err;
    EXPECT_EQ(count(config.out, "max-steps = 2"), 1) << config.out;
    // Errors known only to the last rank are reported by it.
    const Words one = words("x", 2), other = words("x", 2, {"--no-such-option"});
    const Outcome alone = start_two(train_command(one), train_command(other)).wait();
    EXPECT_EQ(alone.code, 2) << alone.err;
    EXPECT_EQ(count(alone.err, "--no-such-option"), 1) << alone.err;
}

TEST_F(Processes, AllRanksRejectExistingRun) {
    make_run("run", 1);
    EXPECT_EQ(start(2, words("run", 2)).wait().code, 2);
}

TEST_F(Processes, RanksNeedSameOptions) {
    const Words one = words("x", 2, {"--seed", "1"}), other = words("x", 2, {"--seed", "2"});
    const Outcome outcome = start_two(train_command(one), train_command(other)).wait();
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("rank 1 on "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("\"seed = 2\" but rank 0 with \"seed = 1\""), std::string::npos)
        << outcome.err;
}

// The end of a resumed run's decay comes from its config.toml, even if --max-steps ends this part of the run.
TEST_F(Processes, RanksNeedSameLimitsOfResumedRun) {
    make_run("run", 1);
    std::string config = read_bytes(folder / "run/config.toml");
    const std::string found = "max-steps = 1\n";
    ASSERT_NE(config.find(found), std::string::npos) << config;
    config.replace(config.find(found), found.size(), "max-steps = 9\n");
    std::filesystem::create_directories(folder / "elsewhere/run");
    std::ofstream(folder / "elsewhere/run/config.toml") << config;
    const std::string command = train_command(words("run", 2, {"--resume", "auto"}));
    const Outcome outcome = start_two(command, "cd elsewhere; " + command).wait();
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(
        outcome.err.find("\"limits of the run: 9 steps, 0 minutes\" but rank 0 with \"limits of the run: 1 "
                         "steps, 0 minutes\""),
        std::string::npos)
        << outcome.err;
}

TEST_F(Processes, RanksNeedSameImages) {
    std::filesystem::create_directory(folder / "elsewhere");
    const std::string command = train_command(words((folder / "x").string(), 2));
    const auto refused = [&](const std::string& reason) {
        const Outcome outcome = start_two(command, "cd elsewhere; " + command).wait();
        EXPECT_EQ(outcome.code, 2) << outcome.err;
        EXPECT_NE(outcome.err.find("d.h5 of rank 1 on "), std::string::npos) << outcome.err;
        EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
        EXPECT_FALSE(std::filesystem::exists(folder / "x"));
    };
    make_other_images(folder / "elsewhere/d.h5");
    refused(": it has different images; all ranks need the same file");
    make_dataset(folder / "elsewhere/d.h5", 8, 8, 3, 30, 6, 10);
    refused(": it has 30 training and 6 validation images of 8x8x3, not 40 training and 6 validation images");
}

TEST_F(Processes, DetectsOtherLauncher) {
    for (const auto& [variable, value, started] : std::vector<std::array<const char*, 3>>{
             {"PMI_SIZE", "2", "started 2 processes"}, {"PMIX_RANK", "1", "started this process (rank 1)"}}) {
        const Variable launcher(variable, value);
        const Outcome outcome = train(words("x", 2));
        EXPECT_EQ(outcome.code, 2) << outcome.err;
        EXPECT_NE(outcome.err.find(fmt::format("{}, but MPI sees 1", started)), std::string::npos)
            << outcome.err;
        EXPECT_NE(outcome.err.find(fmt::format("unset {}", variable)), std::string::npos) << outcome.err;
        EXPECT_FALSE(std::filesystem::exists(folder / "x"));
    }
}

// ---- Failures
// ----------------------------------------------------------------------------------------------

TEST_F(Processes, LostRankEndsRunWhichResumes) {
    const Words saving = {"--checkpoint-every", "3", "--eval-every", "0", "--sample-every", "0"};
    int last = 0;
    const std::map<std::string, int> signals = {{"killed", SIGKILL}, {"stopped", SIGSTOP}};
    for (const auto& [out, signal] : signals) {
        const Outcome outcome = struck(
            words(out, 100000, saving), [](const Process& run) { return steps_are_logged(run, 14); },
            [&, signal = signal](const std::map<int, pid_t>& ranks) { ::kill(ranks.at(2), signal); });
        EXPECT_NE(outcome.err.find("rank 2 "), std::string::npos) << outcome.err;
        // launchers report dead ranks themselves
        const std::string told = signal == SIGSTOP ? ": rank 2 on " : "";
        EXPECT_NE(outcome.err.find(told), std::string::npos) << outcome.err;
        // At most one checkpoint is lost.
        const int saved = static_cast<int>(CheckpointEdit(folder / out / "latest.h5").step);
        ASSERT_GE(saved, 12);
        last = std::max(last, saved + 4);
    }
    losses(4, "whole", words("whole", last, saving));
    for (const auto& [out, signal] : signals) {
        losses(4, out, words(out, last, saving + Words{"--resume", "auto"}));
        expect_equal_metrics(out, "whole");
        expect_equal_weights(out + "/latest.h5", "whole/latest.h5");
    }
}

TEST_F(Processes, ThrowingRankEndsRun) {
    // The last rank runs in a folder without the data set.
    std::filesystem::create_directory(folder / "elsewhere");
    const std::string command = train_command(words("run", 100000));
    const Outcome outcome = start_two(command, "cd elsewhere; " + command).wait();
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("glow_train: error: rank 1 on "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("d.h5"), std::string::npos) << outcome.err;
}

TEST_F(Processes, LostRankDuringInitialization) {
    make_dataset(folder / "large.h5", 32, 32, 3, 400, 0, 0);
    const Words slow = {"--data",  "large.h5", "--levels",     "3",   "--depth",      "8",
                        "--width", "256",      "--init-batch", "120", "--eval-every", "0"};
    for (const int signal : {SIGKILL, SIGSTOP}) {
        const std::string out = "run" + std::to_string(signal);
        const Outcome outcome = struck(
            words(out, 100000, slow),
            [](const Process& run) { return run.err().find("initializing") != std::string::npos; },
            [&](const std::map<int, pid_t>& ranks) { ::kill(ranks.at(1), signal); });
        EXPECT_EQ(outcome.err.find("step  "), std::string::npos)
            << "not in the initialization: " << outcome.err;
        EXPECT_NE(outcome.err.find("rank 1 "), std::string::npos) << outcome.err;
    }
    // Without a checkpoint the run starts again from the beginning.
    const std::string out = "run" + std::to_string(SIGKILL);
    losses(4, out, words(out, 1, slow + Words{"--resume", "auto"}));
    losses(4, "whole", words("whole", 1, slow));
    expect_equal_metrics(out, "whole");
    expect_equal_weights(out + "/latest.h5", "whole/latest.h5");
}

TEST_F(Processes, ResumeWithAnotherNumberChoosesThreadsAgain) {
    const auto run = [&](int processes, int steps, const Words& more) {
        const Words words = Words{"--out", "run", "--max-steps", std::to_string(steps)} + more;
        const Outcome outcome = processes == 1 ? train(words) : start(processes, words).wait();
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.err;
    };
    run(2, 1, {"--data", "d.h5", "--levels", "2", "--depth", "2", "--width", "8", "--batch", "10"});
    const std::string line =
        "the run had 2 processes on this host and now has 1; threads and --act-budget are";
    EXPECT_EQ(run(2, 2, {"--resume"}).find("the run had"), std::string::npos);
    EXPECT_NE(run(1, 3, {"--resume"}).find(line), std::string::npos);
}

// The file system takes longer for a checkpoint than the watchdog timeout.
struct SlowFiles : Processes {
    const Words saving = {"--checkpoint-every", "2", "--eval-every", "0", "--sample-every", "0"};
    const Variable preload{"LD_PRELOAD", GLOW_SLOW_FSYNC};
    static bool writes(const Process& run, const std::filesystem::path& checkpoints) {
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(checkpoints, ignored))
            if (entry.path().extension() == ".tmp" && std::filesystem::file_size(entry.path(), ignored) > 0)
                return steps_are_logged(run, 4);
        return false;
    }
};

TEST_F(SlowFiles, LongWriteIsNotFailure) {
    const Variable slow("GLOW_SLOW_FSYNC_SECONDS", "5"), quick("GLOW_WATCHDOG_SECONDS", "2");
    const Outcome outcome = start(2, words("run", 2, saving)).wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
}

// While it reads the images, the training that writes the checkpoints replaces the latest one.
TEST_F(Processes, LongReadIsNotFailure) {
    losses(1, "run", words("run", 2, {"--checkpoint-every", "1"}));
    const auto latest = folder / "run/latest.h5", checkpoints = folder / "run/checkpoints";
    write_bytes(folder / "slow", "");
    const Variable preload("LD_PRELOAD", GLOW_SLOW_READ), slow("GLOW_SLOW_READ", (folder / "slow").string()),
        quick("GLOW_WATCHDOG_SECONDS", "2");
    std::filesystem::remove(latest);
    std::filesystem::create_symlink("checkpoints/step-00000001.h5", latest);
    Process process(
        folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
        {"2", GLOW_EVAL_PROGRAM, "--checkpoint", "run", "--data", "d.h5", "--threads", "1", "--json"});
    EXPECT_TRUE(process.wait_until([&] { return !std::filesystem::exists(folder / "slow"); }));
    std::filesystem::create_symlink("checkpoints/step-00000002.h5", folder / "run/next");
    std::filesystem::rename(folder / "run/next", latest);
    std::filesystem::remove(checkpoints / "step-00000001.h5");
    const Outcome outcome = process.wait();
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(nlohmann::json::parse(outcome.out)["step"], 2);
}

TEST_F(SlowFiles, LostRankWhileRootWrites) {
    losses(4, "whole", words("whole", 8, saving));
    for (const int signal : {SIGKILL, SIGSTOP})
        for (const int rank : {0, 3}) {
            const std::string out = "run" + std::to_string(signal) + std::to_string(rank);
            {
                const Variable slow("GLOW_SLOW_FSYNC_SECONDS", "1.5");  // two per checkpoint
                struck(
                    words(out, 100000, saving),
                    [&](const Process& run) { return writes(run, folder / out / "checkpoints"); },
                    [&](const std::map<int, pid_t>& ranks) { ::kill(ranks.at(rank), signal); });
            }
            // The previous checkpoint is complete, and the run resumes from it.
            EXPECT_GE(CheckpointEdit(folder / out / "latest.h5").step, 2);
            const Outcome resumed = start(4, words(out, 8, saving + Words{"--resume", "auto"})).wait();
            EXPECT_EQ(resumed.code, 0) << resumed.err;
            EXPECT_NE(resumed.err.find("resumed from"), std::string::npos) << resumed.err;
            expect_equal_metrics(out, "whole");
            expect_equal_weights(out + "/latest.h5", "whole/latest.h5");
        }
}

// ---- Pre-emption
// -------------------------------------------------------------------------------------------

TEST_F(Processes, SignalsWriteCheckpoint) {
    const auto stop = [&](const std::string& out, auto signal) {
        Process run = start(3, words(out, 100000, {"--eval-every", "0", "--sample-every", "0"}));
        EXPECT_TRUE(run.wait_until([&] { return steps_are_logged(run, 5); })) << run.err();
        signal(run);
        const Outcome outcome = run.wait();
        EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
        EXPECT_NE(outcome.out.find("ended by signal at step"), std::string::npos)
            << outcome.out << outcome.err;
        const bool root_answers =
            outcome.err.find("then writing a checkpoint unless another rank has failed\n") !=
            std::string::npos;
        EXPECT_EQ(root_answers, out != "int") << outcome.err;
        const index_t step = CheckpointEdit(folder / out / "latest.h5").step;
        EXPECT_EQ(std::to_string(step), read_csv(folder / out / "metrics.csv").back().at("step"));
        const Outcome resumed =
            // different number of ranks
            start(2, words(out, static_cast<int>(step) + 1, {"--resume", "auto"})).wait();
        EXPECT_EQ(resumed.code, 0) << resumed.err;
    };
    stop("usr1", [](const Process& run) { run.kill(SIGUSR1); });
    stop("usr2", [](const Process& run) { run.kill(SIGUSR2); });
    // Signals to all ranks, as srun sends them, and to a single one.
    stop("term", [](const Process& run) {
        for (const auto& [rank, pid] : ranks_of(run.pid())) ::kill(pid, SIGTERM);
    });
    stop("int", [](const Process& run) { ::kill(ranks_of(run.pid()).at(2), SIGINT); });
}

// Whether a process handles a signal.
bool handles(pid_t pid, int signal) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("SigCgt:"))
            return ((std::stoull(line.substr(7), nullptr, 16) >> (signal - 1)) & 1) != 0;
    return false;
}

TEST_F(Processes, SignalWhileMpiOpensWritesCheckpoint) {
    const std::string command = train_command(words("run", 100000));
    Process run = start_two(command, "while [ ! -e go ]; do sleep 0.05; done; " + command);
    std::map<int, pid_t> ranks;
    ASSERT_TRUE(run.wait_until([&] {
        ranks = ranks_of(run.pid());
        return ranks.contains(0) && handles(ranks.at(0), SIGUSR1);
    }));
    ::kill(ranks.at(0), SIGUSR1);
    std::ofstream(folder / "go").close();
    const Outcome outcome = run.wait();
    EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
    EXPECT_NE(outcome.out.find("ended by signal at step 0"), std::string::npos) << outcome.out << outcome.err;
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 0);
}

// ---- A trained model ------------------------------------------------------------------------------------

TEST_F(Processes, EvaluationIsShared) {
    make_dataset(folder / "other.h5", 8, 8, 3, 1, 0, 7);
    make_run("run", 20);
    const Words plain = {"--bpd",        "--json", "--checkpoint",      "run", "--data",    "d.h5",
                         "--iw-samples", "2",      "--dequant-samples", "2",   "--threads", "1"};
    const auto on = [&](int processes, const std::string& csv) {
        const Words all = plain + Words{"--per-image", csv, "--against", "other.h5"};
        const Outcome outcome = processes == 1
                                    ? eval(all)
                                    : Process(folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
                                              Words{std::to_string(processes), GLOW_EVAL_PROGRAM} + all)
                                          .wait();
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1) << outcome.out;
        return nlohmann::json::parse(outcome.out);
    };
    const nlohmann::json one = on(1, "1.csv");
    const Table expected = read_csv(folder / "1.csv");
    ASSERT_EQ(expected.size(), 10u);
    for (const int processes : {2, 3, 12}) {  // more than images
        const nlohmann::json shared = on(processes, "n.csv");
        EXPECT_NEAR(shared["bpd"].get<double>(), one["bpd"].get<double>(), 1e-6);
        EXPECT_NEAR(shared["stderr"].get<double>(), one["stderr"].get<double>(), 1e-6);
        EXPECT_EQ(shared["images"], one["images"]);
        EXPECT_NEAR(shared["against"]["bpd"].get<double>(), one["against"]["bpd"].get<double>(), 1e-6);
        const Table table = read_csv(folder / "n.csv");
        ASSERT_EQ(table.size(), expected.size());
        for (std::size_t i = 0; i < table.size(); ++i) {
            EXPECT_EQ(table[i].at("index"), std::to_string(i));
            EXPECT_NEAR(std::stod(table[i].at("bpd")), std::stod(expected[i].at("bpd")), 1e-6);
        }
    }
    // An error of root ends all.
    const Outcome refused = Process(folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
                                    Words{"2", GLOW_EVAL_PROGRAM} + plain + Words{"--per-image", "d.h5"})
                                .wait();
    EXPECT_EQ(refused.code, 2) << refused.err;
}

// The last rank evaluates in a folder of its own, as if on a host with other files under the same names.
TEST_F(Processes, EvaluationReportsSkippedFilesOnce) {
    make_run("run", 1);
    std::filesystem::create_directory(folder / "photos");
    write_png(folder / "photos/a.png", {8, 8, 3, std::vector<std::uint8_t>(8 * 8 * 3, 99)});
    std::ofstream(folder / "photos/broken.png") << "x";
    const Outcome outcome = Process(folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
                                    {"2", GLOW_EVAL_PROGRAM, "--checkpoint", "run", "--data", "photos"})
                                .wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const std::size_t told = outcome.err.find("skipped: photos/broken.png");
    ASSERT_NE(told, std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("skipped:", told + 1), std::string::npos) << outcome.err;
}

TEST_F(Processes, EvaluationNeedsSameInputs) {
    namespace fs = std::filesystem;
    const Words saving = {"--checkpoint-every", "1", "--keep", "9", "--eval-every", "0"};
    make_run("run", 2, saving);
    fs::create_directory(folder / "elsewhere");
    fs::copy(folder / "run", folder / "elsewhere/run",
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    fs::copy(folder / "d.h5", folder / "elsewhere/d.h5");
    const Words words = {"--json", "--checkpoint", "run", "--data", "d.h5", "--threads", "1"};
    std::string command = "exec " GLOW_EVAL_PROGRAM;
    for (const std::string& word : words) command += " " + word;
    const auto evaluated = [&] { return start_two(command, "cd elsewhere; " + command).wait(); };
    const auto refused = [&](const std::string& reason) {
        const Outcome outcome = evaluated();
        EXPECT_EQ(outcome.code, 2) << outcome.err;
        EXPECT_NE(outcome.err.find(" of rank 1 on "), std::string::npos) << outcome.err;
        EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    };
    // A link that rank 1 sees later than rank 0: all use rank 0's checkpoint.
    const fs::path link = folder / "elsewhere/run/latest.h5";
    fs::remove(link);
    fs::create_symlink("checkpoints/step-00000001.h5", link);
    const Outcome outcome = evaluated();
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto found = nlohmann::json::parse(outcome.out), alone = nlohmann::json::parse(eval(words).out);
    EXPECT_EQ(found["step"], 2);
    EXPECT_EQ(found["checkpoint"], alone["checkpoint"]);
    EXPECT_NEAR(found["bpd"].get<double>(), alone["bpd"].get<double>(), 1e-6);

    fs::remove_all(folder / "elsewhere/run");
    make_run("elsewhere/run", 2, saving + Words{"--seed", "9"});
    refused("it has other weights");
    make_other_images(folder / "elsewhere/d.h5");
    refused("it has different images");
    make_dataset(folder / "elsewhere/d.h5", 8, 8, 3, 40, 6, 9);
    refused("it has 9 images of 8x8x3, not 10 images of 8x8x3");
}

TEST_F(Processes, OtherCommandsRefuseToRunTwice) {
    make_run("run", 1);
    const Outcome outcome = Process(folder.path(), GLOW_SOURCE_FOLDER "/tests/run_processes.sh",
                                    {"2", GLOW_SAMPLE_PROGRAM, "--checkpoint", "run", "-o", "s.png"})
                                .wait();
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("started 2 processes, each of which would do the whole work"),
              std::string::npos)
        << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "s.png"));
}

TEST_F(Processes, SecondInterruptExitsImmediately) {
    make_dataset(folder / "large.h5", 32, 32, 3, 400, 0, 0);
    Process run = start(2, words("run", 100000,
                                 {"--data", "large.h5", "--levels", "3", "--depth", "16", "--width", "256",
                                  "--init-batch", "400"}));
    ASSERT_TRUE(run.wait_until([&] { return run.err().find("initializing") != std::string::npos; }));
    const pid_t root = ranks_of(run.pid()).at(0);
    ::kill(root, SIGINT);
    // Until it has been delivered, a second one would be lost.
    ASSERT_TRUE(run.wait_until([&] { return run.err().find("again: leave now") != std::string::npos; }));
    ::kill(root, SIGINT);
    EXPECT_NE(run.wait().code, 0);
    EXPECT_FALSE(std::filesystem::exists(folder / "run/latest.h5"));
}

}  // namespace
}  // namespace glow
