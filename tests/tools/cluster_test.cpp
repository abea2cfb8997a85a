// The commands under a scheduler: exit statuses, requeued jobs, and limits of a part of a run.
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Cluster : Commands {
    Outcome shell(const std::string& line) const {
        return Process(folder.path(), "/bin/bash", {"-c", line}).wait();
    }
    Words logged_steps(const std::string& run) const {
        Words steps;
        for (const auto& row : read_csv(folder / run / "metrics.csv")) steps.push_back(row.at("step"));
        return steps;
    }
    std::string config_line(const std::string& run, const std::string& name) const {
        std::istringstream lines(read_bytes(folder / run / "config.toml"));
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with(name + " = ")) return line;
        return "";
    }
    void write_program(const std::string& name, const std::string& text) const {
        fs::create_directories((folder / name).parent_path());
        write_bytes(folder / name, text);
        fs::permissions(folder / name, fs::perms::owner_all);
    }
};

// ---- Exit status and requeued jobs -----------------------------------------------------------------------

TEST_F(Cluster, LastStepIsLogged) {
    const Words words = kSmall + Words{"--out", "run", "--quiet", "--log-every", "10"};
    ASSERT_EQ(train(words + Words{"--max-steps", "15"}).code, 0);
    EXPECT_EQ(logged_steps("run"), (Words{"1", "10", "15"}));
    ASSERT_EQ(train(words + Words{"--max-steps", "22", "--resume"}).code, 0);
    EXPECT_EQ(logged_steps("run"), (Words{"1", "10", "15", "20", "22"}));
    ASSERT_EQ(train(words + Words{"--max-steps", "22", "--resume"}).code, 0);
    EXPECT_EQ(logged_steps("run"), (Words{"1", "10", "15", "20", "22"}));
}

TEST_F(Cluster, ExitStatusTellsFinishedFromUnfinished) {
    const Words words = kSmall + Words{"--quiet", "--max-minutes", "0.002"};
    EXPECT_EQ(train(words + Words{"--out", "a"}).code, 0);
    EXPECT_EQ(train(words + Words{"--out", "b", "--requeue-max-minutes"}).code, kUnfinished);
    EXPECT_EQ(
        train(words + Words{"--out", "b", "--requeue-max-minutes", "--resume", "--requeue-exit", "99"}).code,
        99);
    EXPECT_EQ(train(words + Words{"--out", "c", "--requeue-max-minutes", "--epochs", "0.1"}).code, 0);
    Process process(folder.path(), GLOW_TRAIN_PROGRAM,
                    kSmall + Words{"--out", "d", "--quiet", "--requeue-exit", "0"});
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder / "d/metrics.csv"); }));
    process.kill(SIGTERM);
    EXPECT_EQ(process.wait().code, 0);
}

// Stand-ins for srun, which signals the run once like a job at its end, and for scontrol.
TEST_F(Cluster, SlurmScriptRequeuesUntilFinished) {
    write_program("bin/glow_train", "#!/bin/sh\nexec " GLOW_TRAIN_PROGRAM " \"$@\"\n");
    write_program("bin/scontrol", "#!/bin/sh\necho \"$@\" >>requeued\n");
    write_program("bin/srun", R"sh(#!/bin/bash
[ "$1" = --mpi=pmix ] || exit 97
shift
"$@" &
if [ ! -e signaled ]; then
    until [ "$(wc -l 2>/dev/null <run/metrics.csv)" -gt 3 ] 2>/dev/null; do kill -0 $! || exit 96; sleep 0.02; done
    touch signaled
    kill -USR1 $!
fi
wait $!
)sh");
    const auto job = [&](const Words& words) {
        std::string line =
            "PATH=$PWD/bin:$PATH SLURM_JOB_ID=47 bash " GLOW_SOURCE_FOLDER "/examples/slurm_train.sh";
        for (const std::string& word : words) line += " " + word;
        return shell(line);
    };
    const Words words = kSmall + Words{"--out", "run", "--quiet", "--eval-every", "0", "--log-every", "1"};
    const Outcome first = job(words + Words{"--max-steps", "100000"});
    EXPECT_EQ(first.code, kUnfinished) << first.err;
    EXPECT_EQ(read_bytes(folder / "requeued"), "requeue 47\n");
    const index_t step = CheckpointEdit(folder / "run/latest.h5").step;
    EXPECT_GE(step, 3);
    // The requeued job runs to the end and is not requeued again; neither is one that fails.
    const Words to_the_end = words + Words{"--max-steps", std::to_string(step + 3)};
    for (int i = 0; i < 2; ++i) {
        const Outcome second = job(to_the_end);
        EXPECT_EQ(second.code, 0) << second.err;
        EXPECT_EQ(logged_steps("run").back(), std::to_string(step + 3));
    }
    EXPECT_EQ(job(to_the_end + Words{"--data", "missing.h5"}).code, 2);
    EXPECT_EQ(read_bytes(folder / "requeued"), "requeue 47\n");
}

// ---- Resuming --------------------------------------------------------------------------------------------

TEST_F(Cluster, LimitsOfResumedPartAreNotRecorded) {
    make_run("run", 3);
    const Words resume = {"--out", "run", "--quiet", "--resume"};
    ASSERT_EQ(train(resume + Words{"--max-steps", "5", "--max-minutes", "60"}).code, 0);
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 5);
    EXPECT_EQ(config_line("run", "max-steps"), "max-steps = 3");
    EXPECT_EQ(config_line("run", "max-minutes"), "max-minutes = 0");
    const json recorded = json::parse(CheckpointEdit(folder / "run/latest.h5").config)["training"];
    EXPECT_EQ(recorded["max-steps"], 3);
    EXPECT_EQ(recorded["max-minutes"], 0);
    ASSERT_EQ(train(resume + Words{"--max-steps", "6", "--save-limits"}).code, 0);
    EXPECT_EQ(config_line("run", "max-steps"), "max-steps = 6");
    // A changed file is a change of the run.
    std::string config = read_bytes(folder / "run/config.toml");
    config.replace(config.find("max-steps = 6"), 13, "max-steps = 8");
    write_bytes(folder / "run/config.toml", config);
    ASSERT_EQ(train(resume).code, 0);
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 8);
    EXPECT_EQ(config_line("run", "max-steps"), "max-steps = 8");
}

// A run that was killed before its first checkpoint starts again, but keeps its limits.
TEST_F(Cluster, LimitsOfARepeatedStartAreReported) {
    const Words decay = {"--lr-schedule", "linear"};
    make_run("run", 3, decay);
    fs::remove(folder / "run/latest.h5");
    fs::remove_all(folder / "run/checkpoints");
    const Outcome outcome = train(run_words("run", 5) + decay + Words{"--resume"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    for (const char* part : {"starts again", "this part of the run ends at step 5",
                             "the decay of the learning rate ends at step 3, before"})
        EXPECT_NE(outcome.err.find(part), std::string::npos) << part << " in: " << outcome.err;
    EXPECT_EQ(config_line("run", "max-steps"), "max-steps = 3");
}

TEST_F(Cluster, MisspelledFolderOfResumedRun) {
    fs::create_directories(folder / "user/runs");
    make_run("user/runs/small", 1);
    const Outcome outcome = train({"--resume", "auto", "--out", "user/rusn/small"});
    expect_error(outcome, 2, "--out user/rusn/small: there is no such folder, so no run to resume");
    EXPECT_NE(outcome.err.find("did you mean user/runs/small?"), std::string::npos) << outcome.err;
    expect_error(train({"--resume", "auto", "--out", "elsewhere"}), 2,
                 "no run to resume; give the folder of a run, or");
    expect_error(train({"--resume", "auto", "--out", "user"}), 2,
                 "--out user: the folder has no run to resume");
    const Outcome fresh = train(run_words("rusn", 1) + Words{"--resume"});
    EXPECT_EQ(fresh.code, 0);
    EXPECT_NE(fresh.err.find("rusn: no run to resume; starting one"), std::string::npos) << fresh.err;
}

// A job script has one command for the start and for every later part.
TEST_F(Cluster, ResumedRunDoesNotStartFromOtherWeightsAgain) {
    make_run("old", 2);
    make_run("plain", 3, {"--init-from", "old"});
    const Words either = {"--init-from", "old", "--resume", "auto"};
    const Outcome begun = train(run_words("run", 2) + either);
    ASSERT_EQ(begun.code, 0) << begun.err;
    EXPECT_NE(begun.err.find("weights from old"), std::string::npos) << begun.err;
    fs::remove_all(folder / "old");
    const Outcome resumed = train(run_words("run", 3) + either);
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("--init-from old is not used"), std::string::npos) << resumed.err;
    expect_equal_weights("run/latest.h5", "plain/latest.h5");
}

TEST_F(Cluster, NewRunSuggestsRunOfSimilarName) {
    make_run("shapes-wide", 1);
    const auto told = [&](const std::string& out, const Words& more) {
        const Outcome outcome = train(run_words(out, 1) + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.err.find("no run to resume, but shapes-wide has one") != std::string::npos;
    };
    EXPECT_TRUE(told("shapes-wdie", {"--resume"}));
    EXPECT_FALSE(told("shapes-wied", {}));  // a new run was asked for
    EXPECT_FALSE(told("shapes-wide2", {"--resume"})) << "numbered runs are not misspelled";
    EXPECT_FALSE(told("faces", {"--resume"}));
}

TEST_F(Cluster, UnknownOptionsSuggestTheNearest) {
    expect_error(train({"--oout", "run"}), 2, "did you mean --out instead of --oout?");
    expect_error(eval({"--chekpoint=run", "--data", "d.h5"}), 2,
                 "did you mean --checkpoint instead of --chekpoint?");
    expect_error(latent({"interplate"}), 2, "did you mean interpolate instead of interplate?");
    expect_error(latent({"encode", "--chekpoint", "run"}), 2,
                 "did you mean --checkpoint instead of --chekpoint?");
    expect_error(train({"--batch-size", "8"}), 2, "did you mean --batch instead of --batch-size?");
    expect_error(sample({"--temp", "1"}), 2, "did you mean --temperature instead of --temp?");
    expect_error(sample({"--checkpoint", "run", "--out", "s.png"}), 2,
                 "--output is required, found \"--out\"; did you mean --output instead of --out?");
    for (const char* const unclear : {"--quux", "--warmup"})  // --warmup-epochs or --warmup-steps
        EXPECT_EQ(train({unclear}).err.find("did you mean"), std::string::npos) << unclear;
}

TEST_F(Cluster, UnknownArgumentsAreListedInOrder) {
    expect_error(train({"--frobnicate", "3", "--quux"}), 2, "not expected: --frobnicate 3 --quux");
}

TEST_F(Cluster, HelpListsSubcommandsOnlyWhereTheyExist) {
    expect_error(eval({"run", "d.h5"}), 2,
                 "--checkpoint is required, found \"run\" (glow_eval --help lists the options)");
    expect_error(latent({"encode", "d.h5"}), 2, "(glow_latent encode --help lists the options)");
    expect_error(latent({}), 2, "A subcommand is required (glow_latent --help lists the subcommands)");
    expect_error(latent({"sample"}), 2, "found \"sample\"");
}

TEST_F(Cluster, PlanOfResumedRunIsExact) {
    const Words words = run_words("run", 2) + Words{"--json", "--quiet", "--device", "cpu"};
    const json first = json::parse(train(words).out);
    const Words resume = {"--out", "run", "--resume", "--json", "--quiet", "--device", "cpu"};
    const json planned = json::parse(train(resume + Words{"--plan"}).out),
               resumed = json::parse(train(resume + Words{"--max-steps", "3"}).out);
    EXPECT_LT(planned["total"], first["planned_bytes"]) << "it does not initialize";
    EXPECT_EQ(planned["total"], resumed["planned_bytes"]);
    EXPECT_EQ(resumed["planned_bytes"], resumed["peak_bytes"]);
}

TEST_F(Cluster, FewValidationImagesAreReported) {
    const Outcome few = train(run_words("few", 1));
    EXPECT_NE(few.err.find("note: only 6 validation images"), std::string::npos) << few.err;
    make_dataset(folder / "none.h5", 8, 8, 3, 40, 0, 0);
    const Outcome none = train(run_words("none", 1) + Words{"--data", "none.h5"});
    EXPECT_NE(none.err.find("note: the data set has no validation images"), std::string::npos) << none.err;
    make_dataset(folder / "many.h5", 8, 8, 3, 40, 50, 0);
    const Outcome many = train(run_words("many", 1) + Words{"--data", "many.h5"});
    EXPECT_EQ(many.err.find("validation images"), std::string::npos) << many.err;
}

TEST_F(Cluster, FewStepsPerEpochAreReported) {
    const std::string note = "note: beta2 is";
    const Outcome few = train(run_words("few", 1));
    EXPECT_NE(few.err.find(note), std::string::npos) << few.err;
    for (const Words& more : {Words{"--beta2", "0.5"}, Words{"--schedule-images", "50000"}}) {
        const Outcome told = train(run_words(more[0], 1) + more);
        EXPECT_EQ(told.err.find(note), std::string::npos) << told.err;
    }
}

TEST_F(Cluster, FirstMomentThatBf16RoundsAwayIsReported) {
    const std::string note = "note: beta1 is 0.999";
    const Words bf16 = {"--moments", "bf16"}, slow = {"--beta1", "0.999"};
    const Outcome both = train(run_words("both", 1) + bf16 + slow);
    EXPECT_EQ(both.code, 0) << both.err;
    EXPECT_NE(both.err.find(note), std::string::npos) << both.err;
    for (const Words& one : {bf16 + Words{"--beta1", "0.99"}, slow}) {
        const Outcome told = train(run_words(one[0].substr(2), 1) + one);
        EXPECT_EQ(told.code, 0) << told.err;
        EXPECT_EQ(told.err.find("note: beta1"), std::string::npos) << told.err;
    }
}

TEST_F(Cluster, LargeModelsOnCpuAreReported) {
    const std::string note = "may take minutes on a CPU";
    // The model is planned before it is found that d.h5 is not a checkpoint.
    const Words stopped = run_words("new", 1) + Words{"--init-from", "d.h5"};
    EXPECT_EQ(train(stopped).err.find(note), std::string::npos);
    const Outcome large = train(stopped + Words{"--width", "2048", "--depth", "2", "--device", "cpu"});
    EXPECT_EQ(large.code, 2);
    EXPECT_NE(large.err.find(note), std::string::npos) << large.err;
}

TEST_F(Cluster, ResumesFromAnotherFolder) {
    fs::create_directories(folder / "there");
    make_run("run", 1);
    const Outcome outcome =
        shell("cd there && " GLOW_TRAIN_PROGRAM " --resume auto --out ../run --max-steps 2 --quiet");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 2);
}

}  // namespace
}  // namespace glow
