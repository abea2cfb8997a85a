// glow_train when a signal, SIGKILL or divergence ends it.
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

TEST_F(Commands, SignalWritesCheckpoint) {
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU}) {
        const std::string out = "run" + std::to_string(signal);
        Process process(folder.path(), GLOW_TRAIN_PROGRAM, kSmall + Words{"--out", out, "--quiet", "--json"});
        ASSERT_TRUE(process.wait_until([&] { return read_csv(folder / out / "metrics.csv").size() >= 3; }));
        process.kill(signal);
        const Outcome outcome = process.wait();
        EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
        const json result = json::parse(outcome.out);
        EXPECT_EQ(result["ended"], "signal");
        const std::int64_t step = result["step"];
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, step);
        EXPECT_EQ(static_cast<std::int64_t>(read_csv(folder / out / "metrics.csv").size()), step);
        make_run(out, static_cast<int>(step) + 2, {"--resume"});
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, step + 2);
    }
}

TEST_F(Commands, FirstSignalIsAnsweredAtOnce) {
    for (const auto& [signal, answer] :
         {std::pair{SIGINT, "stopping after this step, then writing a checkpoint; again: leave now\n"},
          {SIGTERM, "stopping after this step, then writing a checkpoint\n"}}) {
        const std::string out = "run" + std::to_string(signal);
        Process process(folder.path(), GLOW_TRAIN_PROGRAM, kSmall + Words{"--out", out});
        ASSERT_TRUE(process.wait_until([&] { return read_csv(folder / out / "metrics.csv").size() >= 3; }));
        process.kill(signal);
        const Outcome outcome = process.wait();
        EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
        const std::size_t at = outcome.err.find(answer);
        ASSERT_NE(at, std::string::npos) << outcome.err;
        EXPECT_EQ(outcome.err[at - 1], '\n') << outcome.err;
        EXPECT_EQ(outcome.err.find("stopping after", at + 1), std::string::npos) << outcome.err;
    }
}

TEST_F(Commands, KilledRunResumesFromLastCheckpoint) {
    const Words options = kSmall + Words{"--out", "run", "--quiet", "--resume", "--checkpoint-every", "2"};
    for (const std::size_t rows : {5, 9, 14}) {
        Process process(folder.path(), GLOW_TRAIN_PROGRAM, options);
        ASSERT_TRUE(process.wait_until([&] {
            std::ifstream file(folder / "run/metrics.csv");
            return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n')) >
                   rows;
        }));
        process.kill(SIGKILL);
        EXPECT_EQ(process.wait().code, -SIGKILL);
        const Outcome outcome = eval({"--bpd", "--json", "--checkpoint", "run", "--data", "d.h5"});
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_GE(json::parse(outcome.out)["step"], 4);
    }
    const int steps = static_cast<int>(CheckpointEdit(folder / "run/latest.h5").step) + 3;
    write_bytes(folder / "run/checkpoints/.glow-1-0.tmp",
                "half a checkpoint");  // as left by a kill during writing
    make_run("run", steps, {"--resume", "--checkpoint-every", "2"});
    make_run("whole", steps, {"--checkpoint-every", "2"});
    expect_equal_weights("run/latest.h5", "whole/latest.h5");
    const Words own = kTimes + Words{"peak_bytes"};
    EXPECT_EQ(without(read_csv(folder / "run/metrics.csv"), own),
              without(read_csv(folder / "whole/metrics.csv"), own));
    for (const std::string& name : all_files()) EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
}

TEST_F(Commands, DivergedRunKeepsGoodCheckpoints) {
    make_run("run", 3);
    const Outcome outcome = train({"--out", "run", "--resume", "--quiet", "--max-steps", "50", "--lr", "1e6",
                                   "--checkpoint-every", "1", "--rollbacks", "0"});
    expect_error(outcome, 1, "--lr");
    // All checkpoints saved since are readable, and the last one before the failure still exists.
    EXPECT_EQ(eval({"--bpd", "--checkpoint", "run/checkpoints/step-00000003.h5", "--data", "d.h5"}).code, 0);
    const Outcome again = train({"--out", "run", "--resume", "run/checkpoints/step-00000003.h5", "--quiet",
                                 "--max-steps", "5", "--lr", "1e-3"});
    EXPECT_EQ(again.code, 0) << again.err;
}

}  // namespace
}  // namespace glow
