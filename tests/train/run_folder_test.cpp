// The files of a run: logs truncated on resume, old checkpoints removed, links.
#include "train/run_folder.h"

#include <sys/resource.h>

#include "inference/statistics.h"
#include "tests/train/training.h"
#include "train/evaluations.h"
#include "train/run_log.h"

namespace glow {
namespace {

TEST(CsvLog, WritesHeaderAndAppends) {
    const TemporaryFolder folder;
    {
        CsvLog log(folder / "a.csv", "step,x", 0);
        EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n");
        log.row("1,a");
        EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n");  // on disk at once
        log.row("2,b");
    }
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n2,b\n");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"a.csv"});
}

TEST(CsvLog, DropsRowsThatResumeRepeats) {
    const TemporaryFolder folder;
    write_bytes(folder / "a.csv", "step,x\n1,a\n10,b\n10,c\n11,d\n20,e\n");
    CsvLog(folder / "a.csv", "step,x", 10).row("11,new");
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n10,b\n10,c\n11,new\n");
    CsvLog(folder / "a.csv", "step,x", 0);
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n");
}

TEST(CsvLog, DropsTruncatedLastLine) {
    const TemporaryFolder folder;
    // Cut within a number: 12 may have been 123.
    write_bytes(folder / "a.csv", "step,x\n1,a\n12");
    CsvLog(folder / "a.csv", "step,x", 100).row("2,b");
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n2,b\n");
    // The header itself.
    for (const std::string cut : {"", "ste", "step,x"}) {
        write_bytes(folder / "a.csv", cut);
        CsvLog(folder / "a.csv", "step,x", 100).row("1,a");
        EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n") << "\"" << cut << "\"";
    }
}

TEST(CsvLog, KeepsForeignFile) {
    const TemporaryFolder folder;
    write_bytes(folder / "a.csv", "time,loss\n1,2\n");
    expect_throw<InputError>([&] { CsvLog(folder / "a.csv", "step,x", 10); },
                             {"a.csv", "step,x", "not written by Glow"});
    EXPECT_EQ(read_bytes(folder / "a.csv"), "time,loss\n1,2\n");
}

TEST(CsvLog, FullDiskLosesNoRows) {
    const TemporaryFolder folder;
    CsvLog log(folder / "a.csv", "step,x", 0);
    log.row("1,a");
    {
        const FullDisk full(8);
        expect_throw<Error>([&] { log.row("2,b"); }, {"a.csv", "cannot be written"});
        expect_throw<Error>([&] { CsvLog(folder / "a.csv", "step,x", 10); }, {});
    }
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n");
    log.sync();  // as at a checkpoint
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n2,b\n");
    CsvLog(folder / "a.csv", "step,x", 1);
    EXPECT_EQ(read_bytes(folder / "a.csv"), "step,x\n1,a\n");
    std::filesystem::remove(folder / "a.csv");
    EXPECT_NO_THROW(log.sync());
    std::filesystem::create_directory(folder / "a.csv");
    expect_throw<Error>([&] { log.sync(); }, {"a.csv", "cannot be written to disk"});
}

// As on a network's file system that is disturbed. The rows must not be written anew without those that follow.
TEST(CsvLog, ReadErrorIsNoEndOfFile) {
    const TemporaryFolder folder;
    std::filesystem::create_symlink("/proc/self/mem", folder / "eval.csv");  // reading address 0 fails
    expect_throw<InputError>([&] { CsvLog(folder / "eval.csv", "step,x", 10); },
                             {"eval.csv: cannot be read", "Input/output error"});
    expect_throw<InputError>([&] { read_evaluations(RunFolder(folder.path()), 10); },
                             {"eval.csv: cannot be read", "Input/output error"});
}

TEST(RetryingWrite, ReportsErrorsOfTheFileSystem) {
    std::vector<std::string> warnings;
    RunRequest request;
    request.warn = [&](const std::string& line) { warnings.push_back(line); };
    RetryingWrite retry(request);
    const auto fail = [] {  // as std::filesystem's functions without an error code do
        throw std::filesystem::filesystem_error("cannot list", std::make_error_code(std::errc::io_error));
    };
    EXPECT_FALSE(retry(fail));
    EXPECT_FALSE(retry(fail));
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_EQ(retry.last_error(), warnings[0]);
    EXPECT_NE(warnings[0].find("Input/output error"), std::string::npos) << warnings[0];
    EXPECT_TRUE(retry([] {}));
    EXPECT_EQ(retry.last_error(), "");
}

struct RunFolderTest : testing::Test {
    RunFolderTest() : run(folder.path() / "run") { run.prepare(); }
    std::vector<std::string> kept() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(run.checkpoints()))
            names.push_back(entry.path().filename().string());
        std::sort(names.begin(), names.end());
        return names;
    }
    void save(index_t step) { write_bytes(run.checkpoint(step), std::to_string(step)); }

    TemporaryFolder folder;
    RunFolder run;
};

// A roll-back that took such a run for one without checkpoints would remove them.
TEST(RunFolder, FolderThatCannotBeListedIsAnError) {
    const TemporaryFolder folder;
    const RunFolder run(folder.path());
    EXPECT_TRUE(run.saved().empty());
    run.prepare();
    write_bytes(run.checkpoint(3), "a");
    EXPECT_EQ(run.saved().size(), 1u);
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    EXPECT_THROW(run.saved(), Error);
    setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_EQ(run.saved().size(), 1u);
}

TEST_F(RunFolderTest, NamesHaveAtLeastEightDigits) {
    EXPECT_EQ(run.checkpoint(42).filename(), "step-00000042.h5");
    EXPECT_EQ(run.checkpoint(1234567890).filename(), "step-1234567890.h5");
}

TEST_F(RunFolderTest, LinksAreRelativeAndReplaced) {
    save(1);
    save(2);
    run.link(run.latest(), 1);
    EXPECT_EQ(read_bytes(run.latest()), "1");
    run.link(run.latest(), 2);
    EXPECT_EQ(read_bytes(run.latest()), "2");
    EXPECT_EQ(std::filesystem::read_symlink(run.latest()), "checkpoints/step-00000002.h5");
    std::filesystem::rename(folder / "run", folder / "moved");  // run folders can be moved
    EXPECT_EQ(read_bytes(folder / "moved/latest.h5"), "2");
}

TEST_F(RunFolderTest, ReplacesLeftoverTemporaryLink) {
    save(1);
    std::filesystem::create_symlink("nowhere", run.latest().string() + ".new");
    run.link(run.latest(), 1);
    EXPECT_EQ(read_bytes(run.latest()), "1");
    EXPECT_FALSE(std::filesystem::is_symlink(run.latest().string() + ".new"));
}

constexpr index_t kLate = index_t{1} << 40;  // after all checkpoints

TEST_F(RunFolderTest, PruningKeepsNewestAndLinked) {
    for (const index_t step : {1, 2, 3, 4, 5, 6}) save(step);
    write_bytes(run.checkpoints() / "notes.txt", "mine");
    run.link(run.latest(), 3);  // as if resumed from an earlier one
    run.link(run.best(), 1);
    run.prune(2, kLate, kLate);
    EXPECT_EQ(kept(), (std::vector<std::string>{"notes.txt", "step-00000001.h5", "step-00000003.h5",
                                                "step-00000005.h5", "step-00000006.h5"}));
    run.prune(100, kLate, kLate);
    EXPECT_EQ(kept().size(), 5u);
}

// The run had saved up to step 6 and was then continued from step 2. Saving step 5 removes 3 and 4: otherwise
// the run would resume from them if 5 were damaged.
TEST_F(RunFolderTest, PruningRemovesAnotherPastOnceItIsPassed) {
    for (const index_t step : {1, 2, 3, 4, 6}) save(step);
    save(5);
    run.link(run.latest(), 5);
    run.prune(100, 2, 5);
    EXPECT_EQ(kept(), (std::vector<std::string>{"step-00000001.h5", "step-00000002.h5", "step-00000005.h5",
                                                "step-00000006.h5"}));
    save(7);
    run.link(run.latest(), 7);
    run.prune(2, 5, 7);  // 6 does not count among the newest
    EXPECT_EQ(kept(), (std::vector<std::string>{"step-00000005.h5", "step-00000007.h5"}));
}

// If best.h5 could not be linked, the next checkpoint links it.
TEST_F(RunFolderTest, PruningKeepsCheckpointToLink) {
    for (const index_t step : {1, 2, 3, 4, 5}) save(step);
    run.link(run.latest(), 5);
    run.link(run.best(), 1);
    run.prune(2, kLate, kLate, 2);
    EXPECT_EQ(kept(), (std::vector<std::string>{"step-00000001.h5", "step-00000002.h5", "step-00000004.h5",
                                                "step-00000005.h5"}));
}

TEST_F(RunFolderTest, PruningHandlesLongerNames) {
    for (const index_t step : {99999998, 99999999, 100000000}) save(step);
    run.prune(2, kLate, kLate);
    EXPECT_EQ(kept(), (std::vector<std::string>{"step-100000000.h5", "step-99999999.h5"}));
}

// best.h5 and the bits/dim to beat, also after the run has been taken back to an earlier step.
TEST_F(RunFolderTest, FindsBestCheckpointUpToAStep) {
    std::string rows = "step,split,bpd,stderr,images,weights\n";
    for (const auto& [step, bits] :
         {std::pair<index_t, const char*>{2, "4.5"}, {4, "4.25"}, {6, "4.75"}, {8, "4"}}) {
        rows += std::to_string(step) + ",valid," + bits + ",0.1,6,ema\n";
        rows += std::to_string(step) + ",valid,1,0.1,6,raw\n";
        save(step);
    }
    write_bytes(run.evaluations(), rows);
    const auto expect_best = [&](index_t at_step, std::optional<index_t> step, double bits_per_dim) {
        const Evaluated found = read_evaluations(run, at_step);
        EXPECT_EQ(found.best_step, step) << at_step;
        EXPECT_EQ(found.best_bits_per_dim, bits_per_dim) << at_step;
    };
    constexpr double kNone = std::numeric_limits<double>::infinity();
    run.link(run.best(), 8);
    expect_best(8, 8, 4);
    expect_best(6, 4, 4.25);
    std::filesystem::remove(run.checkpoint(4));  // as with --keep
    expect_best(7, 2, 4.5);
    expect_best(1, {}, kNone);
    run.link(run.best(), 6);  // as if the run was killed before it linked a better checkpoint
    expect_best(7, 2, 4.5);
    std::filesystem::remove(run.checkpoint(2));
    expect_best(7, 6, 4.75);
    save(2);
    run.link(run.best(), 4);  // dangling
    expect_best(6, 2, 4.5);
    std::filesystem::remove(run.best());
    expect_best(6, 2, 4.5);
    write_bytes(run.best(), "unknown");
    expect_best(6, {}, 4.25);
}

TEST_F(RunFolderTest, ReadsItsEvaluations) {
    const Mean raw{.value = 4.25, .standard_error = 0.125, .count = 6}, ema{.value = 4, .count = 1};
    EXPECT_EQ(evaluation_row(2, raw, "raw"), "2,valid,4.25,0.125,6,raw");
    EXPECT_EQ(evaluation_row(2, ema, "ema"), "2,valid,4,,1,ema");
    write_bytes(run.evaluations(), std::string(kEvaluationColumns) + "\n" + evaluation_row(2, raw, "raw") +
                                       "\n" + evaluation_row(2, ema, "ema") + "\n");
    const Evaluated found = read_evaluations(run, 2);
    ASSERT_TRUE(found.raw && found.ema);
    EXPECT_EQ(found.raw->value, 4.25);
    EXPECT_EQ(found.raw->error(), 0.125);
    EXPECT_EQ(found.raw->count, 6);
    EXPECT_EQ(found.ema->value, 4);
    EXPECT_EQ(found.ema->error(), std::nullopt);
}

TEST_F(RunFolderTest, DetectsExistingRun) {
    EXPECT_TRUE(run.holds_run());
    std::filesystem::create_directory(folder / "empty");
    EXPECT_FALSE(RunFolder(folder / "empty").holds_run());
    EXPECT_FALSE(RunFolder(folder / "none").holds_run());
}

TEST_F(RunFolderTest, RejectsPathBelowFile) {
    write_bytes(folder / "file", "x");
    expect_throw<InputError>([&] { RunFolder(folder / "file/run").prepare(); },
                             {"file/run", "Not a directory"});
}

TEST_F(RunFolderTest, ReplacesConfigAtomically) {
    run.write_config("a = 1\n");
    run.write_config("b = 2\n");
    EXPECT_EQ(read_bytes(run.config()), "b = 2\n");
}

}  // namespace
}  // namespace glow
