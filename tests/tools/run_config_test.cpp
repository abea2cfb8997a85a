// config.toml of a run: names, moved folders, and files given with --config.
#include <fmt/format.h>

#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

// A run in its own folder, next to a data set.
struct MovedRuns : Commands {
    MovedRuns() {
        for (const char* name : {"project", "elsewhere"}) std::filesystem::create_directory(folder / name);
        std::filesystem::rename(folder / "d.h5", folder / "project/d.h5");
        const Outcome outcome = in("project", run_words("run", 1));
        EXPECT_EQ(outcome.code, 0) << outcome.err;
    }
    Outcome in(const std::string& where, const Words& words) const {
        return Process(folder / where, GLOW_TRAIN_PROGRAM, words).wait();
    }
    void expect_steps(const std::string& run, std::size_t steps) const {
        EXPECT_EQ(read_csv(folder / (run + "/metrics.csv")).size(), steps);
    }
    std::string toml(const std::string& run) const { return read_bytes(folder / (run + "/config.toml")); }
    // The format from before names were absolute.
    void make_names_relative(const std::string& run) const {
        std::string text = toml(run);
        for (const char* name : {"d.h5", "run"}) {
            const std::string absolute = (folder / ("project/" + std::string(name))).string();
            const std::size_t at = text.find("'" + absolute + "'");
            ASSERT_NE(at, std::string::npos) << text;
            text.replace(at + 1, absolute.size(), name);
        }
        write_bytes(folder / (run + "/config.toml"), text);
    }
};

TEST_F(MovedRuns, ConfigTomlHoldsAbsolutePaths) {
    const std::string names = fmt::format("data = '{0}/project/d.h5'\nout = '{0}/project/run'\n",
                                          std::filesystem::canonical(folder.path()).string());
    EXPECT_NE(toml("project/run").find(names), std::string::npos) << toml("project/run");
    const Outcome outcome = in("elsewhere", {"--out", "../project/run", "--resume", "--max-steps", "2"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err.find("data is"), std::string::npos) << outcome.err;  // it is the same as before
    expect_steps("project/run", 2);
    EXPECT_NE(toml("project/run").find(names), std::string::npos) << toml("project/run");
    // The same name on the command line is not a change; a different one is.
    const Outcome same = in("project", {"--data", "d.h5", "--out", "run", "--resume", "--max-steps", "3"});
    EXPECT_EQ(same.code, 0) << same.err;
    EXPECT_EQ(same.err.find("data is"), std::string::npos) << same.err;
    std::filesystem::copy_file(folder / "project/d.h5", folder / "project/copy.h5");
    const Outcome other =
        in("project", {"--data", "copy.h5", "--out", "run", "--resume", "--max-steps", "4"});
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_NE(other.err.find("data is"), std::string::npos) << other.err;
}

TEST_F(MovedRuns, FindsRelativePathsOfEarlierVersions) {
    make_names_relative("project/run");
    // A data set of the same name in the current folder is a different one.
    make_dataset(folder / "elsewhere/d.h5", 16, 16, 3, 10, 0, 0);
    const Outcome outcome = in("elsewhere", {"--out", "../project/run", "--resume", "--max-steps", "2"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("for the run's data set"), std::string::npos) << outcome.err;
    expect_steps("project/run", 2);
    EXPECT_EQ(in("project", {"--out", "run", "--resume", "--max-steps", "3", "--quiet"}).err, "");
}

TEST_F(MovedRuns, FindsDataSetMovedWithRun) {
    std::filesystem::rename(folder / "project", folder / "moved");
    const Outcome outcome = train({"--out", "moved/run", "--resume", "--max-steps", "2"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("for the run's data set"), std::string::npos) << outcome.err;
    EXPECT_NE(toml("moved/run").find("/moved/run'\n"), std::string::npos);
}

TEST_F(MovedRuns, RefusesAChangedDataSetMovedWithRun) {
    std::filesystem::rename(folder / "project", folder / "moved");
    make_dataset(folder / "moved/d.h5", 8, 8, 3, 30, 6, 10);
    const Words resume = {"--out", "moved/run", "--resume", "--max-steps", "2", "--quiet"};
    const std::string before = toml("moved/run");
    for (const Words& more : {Words{}, Words{"--data", "moved/d.h5"}})
        expect_error(train(resume + more), 2, "moved/d.h5: the data set has changed since the run began");
    EXPECT_EQ(toml("moved/run"), before);
    EXPECT_EQ(train(resume + Words{"--accept-new-data"}).code, 0);
    EXPECT_EQ(train(resume).code, 0);
}

TEST_F(MovedRuns, NamesMissingDataSetAndItsConfig) {
    std::filesystem::rename(folder / "project/d.h5", folder / "elsewhere/e.h5");
    const std::string before = toml("project/run");
    const Words resume = {"--out", "run", "--resume", "--max-steps", "2"};
    expect_error(in("project", resume), 2, "run/config.toml:15: the data set ");
    EXPECT_EQ(toml("project/run"), before);
    EXPECT_EQ(in("project", resume + Words{"--data", "../elsewhere/e.h5", "--quiet"}).code, 0);
    write_bytes(folder / "c.toml", "levels = 2\ndata = 'none.h5'\n");
    expect_error(train({"--config", "c.toml", "--out", "new"}), 2,
                 "c.toml:2: the data set none.h5 does not exist in " +
                     std::filesystem::canonical(folder.path()).string() + ": give its location with --data");
}

TEST_F(Commands, ConfigOverridesOptionsOfResumedRun) {
    const Words resume = {"--out", "run", "--resume", "auto", "--quiet"};
    make_run("run", 2, {"--lr", "0.003", "--keep", "7"});
    const auto options = [this] {
        return nlohmann::json::parse(CheckpointEdit(folder / "run/latest.h5").config)["training"];
    };
    write_bytes(folder / "c.toml", "lr = 0.002\nmax-steps = 4\n");
    const Outcome changed = train(resume + Words{"--config", "c.toml", "--preset", "quick"});
    EXPECT_EQ(changed.code, 0) << changed.err;
    EXPECT_NE(
        changed.err.find("warning: --preset quick has no effect on a resumed run, which keeps its options: "),
        std::string::npos)
        << changed.err;
    EXPECT_NE(changed.err.find("depth is 2, width is 8,"), std::string::npos) << changed.err;
    EXPECT_EQ(changed.err.find("lr is"), std::string::npos) << changed.err;  // from the file
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 4);
    EXPECT_EQ(options()["lr"], 0.002);
    EXPECT_EQ(options()["keep"], 7);
    EXPECT_EQ(options()["max-steps"], 2);  // as if given on the command line, for this part
    make_run("run", 5, {"--resume", "--config", "run/config.toml"});
    write_bytes(folder / "c.toml", "levels = 3\n");
    expect_error(train(resume + Words{"--config", "c.toml"}), 2, "levels is 3 but was 2");
    write_bytes(folder / "c.toml", "data = 'none.h5'\n");
    expect_error(train(resume + Words{"--config", "c.toml"}), 2,
                 "c.toml:1: the data set none.h5 does not exist");
    expect_error(train({"--out", "none", "--resume", "--config", "c.toml"}), 2, "none.h5 does not exist");
}

// A file that names the run changes that run's options, as with --out.
TEST_F(Commands, ConfigNamesRunToResume) {
    make_run("run", 2, {"--lr", "0.003", "--keep", "7"});
    write_bytes(folder / "c.toml", "out = 'run'\nmax-steps = 4\n");
    const Outcome resumed = train({"--config", "c.toml", "--resume", "--quiet"});
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 4);
    const auto options = nlohmann::json::parse(CheckpointEdit(folder / "run/latest.h5").config)["training"];
    EXPECT_EQ(options["lr"], 0.003);
    EXPECT_EQ(options["keep"], 7);
}

// As in the command that starts or continues a run.
TEST_F(Commands, PresetOfResumedRunIsAccepted) {
    const Words preset = {"--preset", "quick", "--lr", "0.001"};
    make_run("run", 1, preset);
    make_run("run", 2, preset + Words{"--resume", "auto"});
}

TEST_F(Commands, ConfigTomlPreservesAnyName) {
    for (const std::string name : {"run #3 [x]{x} a\"b,c=d", "it's \"both\" back\\slash $HOME caf\xc3\xa9",
                                   "two\nlines and\ttab \x01\x7f", "~", " "}) {
        std::filesystem::create_directory(folder / name);
        std::filesystem::copy_file(folder / "d.h5", folder / (name + "/d.h5"));
        const std::string run = name + "/run";
        Outcome outcome = train(run_words(run, 1) + Words{"--data", name + "/d.h5", "--quiet"});
        ASSERT_EQ(outcome.code, 0) << name << outcome.err;
        outcome = train({"--out", run, "--resume", "--max-steps", "2"});
        EXPECT_EQ(outcome.code, 0) << name << outcome.err;
        EXPECT_EQ(outcome.err.find("data is"), std::string::npos) << outcome.err;
        EXPECT_EQ(read_csv(folder / (run + "/metrics.csv")).size(), 2u);
        // Printed options must read back unchanged.
        const Words print = {"--print-config"};
        outcome = train(print + Words{"--data", name, "--out", run});
        write_bytes(folder / "c.toml", outcome.out);
        EXPECT_EQ(train(print + Words{"--config", "c.toml"}).out, outcome.out);
    }
}

TEST_F(Commands, ReadsConfigFromPipe) {
    write_bytes(folder / "c.toml", "depth = 5\n");
    const Outcome outcome =
        Process(folder.path(), "/bin/bash",
                {"-c", std::string(GLOW_TRAIN_PROGRAM) + " --print-config --config <(cat c.toml)"})
            .wait();
    EXPECT_NE(outcome.out.find("depth = 5\n"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace glow
