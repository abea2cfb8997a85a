// Files shared by users or processes: two processes with one folder or output, outputs that are inputs, a
// data set that changes before resume, readers and terminals that disappear.
#include <cerrno>

#include "data/formats/file_lock.h"
#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

struct SharedFolder : Commands {
    Process start(const std::string& program, const Words& words) const {
        return Process(folder.path(), program, words);
    }
    Process start_run(const std::string& out, const Words& more = {}) const {
        return start(GLOW_TRAIN_PROGRAM, endless(out) + more);
    }
    static Words endless(const std::string& out) {
        return kSmall + Words{"--out",
                              out,
                              "--max-steps",
                              "1000000",
                              "--checkpoint-every",
                              "5",
                              "--eval-every",
                              "0",
                              "--sample-every",
                              "0",
                              "--quiet"};
    }
    bool has_checkpoint(const std::string& out) const { return fs::exists(folder / out / "latest.h5"); }
    static std::string in_use(const Process& holder) {
        return "in use by process " + std::to_string(holder.pid()) + " on host ";
    }
    // Runs a command line in a shell; GLOW_... are the programs.
    Outcome shell(const std::string& line) const {
        return Process(folder.path(), "/bin/sh", {"-c", line}).wait();
    }
    static std::string joined(const Words& words) {
        std::string line;
        for (const std::string& word : words) line += word + " ";
        return line;
    }
};

// ---- Two processes, one run ------------------------------------------------------------------------------

TEST_F(SharedFolder, RejectsSecondTrainingInFolder) {
    make_dataset(folder / "other.h5", 8, 8, 3, 20, 0, 0);
    Process first = start_run("run");
    ASSERT_TRUE(first.wait_until([&] { return has_checkpoint("run"); })) << first.err();
    const std::string config = read_bytes(folder / "run/config.toml");
    write_bytes(folder / "run/samples/.glow-1-0.tmp", "owned by someone else");
    expect_error(train(endless("run") + Words{"--resume", "auto", "--lr", "0.0001"}), 2, in_use(first));
    expect_error(train(endless("run")), 2, "choose another --out");
    expect_error(train(endless("run/") + Words{"--data", "other.h5"}), 2, in_use(first));
    EXPECT_EQ(read_bytes(folder / "run/config.toml"), config);
    EXPECT_TRUE(first.running());
    first.kill(SIGTERM);
    EXPECT_EQ(first.wait().code, kUnfinished);
    EXPECT_FALSE(fs::exists(folder / "run/run.lock"));
    const Table rows = read_csv(folder / "run/metrics.csv");
    for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i].at("step"), std::to_string(i + 1));
}

TEST_F(SharedFolder, AllowsReadingActiveRun) {
    // Otherwise a checkpoint lasts for milliseconds, less than a command takes to open it on a busy machine.
    Process first = start_run("run", {"--keep", "1000000"});
    ASSERT_TRUE(first.wait_until([&] { return has_checkpoint("run"); })) << first.err();
    EXPECT_EQ(train(endless("run") + Words{"--plan"}).code, 0);
    EXPECT_EQ(train(endless("run") + Words{"--dry-run"}).code, 0);
    EXPECT_EQ(eval({"--bpd", "--checkpoint", "run", "--data", "d.h5", "--per-image", "run/x.csv"}).code, 0);
    const Outcome drawn = sample({"--checkpoint", "run", "--grid", "1x2", "-o", "run/s.png"});
    EXPECT_EQ(drawn.code, 0) << drawn.err;
    EXPECT_TRUE(first.running());
}

TEST_F(SharedFolder, KilledRunReleasesFolder) {
    {
        Process first = start_run("run");
        ASSERT_TRUE(first.wait_until([&] { return has_checkpoint("run"); })) << first.err();
        first.kill(SIGKILL);  // without waiting for it
        const int step = static_cast<int>(CheckpointEdit(folder / "run/latest.h5").step) + 50;
        const Outcome second = train(run_words("run", step) + Words{"--resume", "auto", "--quiet"});
        EXPECT_EQ(second.code, 0) << second.err;
    }
    EXPECT_FALSE(fs::exists(folder / "run/run.lock"));
}

TEST_F(SharedFolder, OneOfTwoSimultaneousStartsTrains) {
    fs::create_directory(folder / "empty");
    for (const std::string out : {"empty", "none"}) {
        const bool resumes = out == "none";
        const Words more = resumes ? Words{"--resume"} : Words{};
        Process a = start_run(out, more), b = start_run(out, more);
        while (a.running() && b.running()) std::this_thread::sleep_for(10ms);
        Process& refused = a.running() ? b : a;
        Process& at_work = a.running() ? a : b;
        const Outcome outcome = refused.wait();
        const std::string advice = resumes ? "give the command again" : "continue it with --resume";
        expect_error(outcome, 2,
                     out + (outcome.err.find("started a run") == std::string::npos
                                ? " is in use by"
                                : ": another process started a run in the folder; " + advice));
        ASSERT_TRUE(at_work.wait_until([&] { return has_checkpoint(out); })) << at_work.err();
        at_work.kill(SIGTERM);
        EXPECT_EQ(at_work.wait().code, kUnfinished);
    }
}

TEST_F(SharedFolder, DoesNotWriteToReplacedFolder) {
    Process first = start_run("run");
    ASSERT_TRUE(first.wait_until([&] { return has_checkpoint("run"); })) << first.err();
    first.pause();  // otherwise it may make the deleted folder again
    fs::rename(folder / "run", folder / "away");
    fs::create_directory(folder / "run");
    const FileLock other(folder / "run/run.lock", "run", "");
    first.kill(SIGCONT);
    ASSERT_TRUE(first.wait_until([&] { return first.err().find("run is in use by") != std::string::npos; }));
    for (const auto& entry : fs::directory_iterator(folder / "run"))
        EXPECT_EQ(entry.path().filename(), "run.lock");
}

TEST_F(SharedFolder, WarnsOnceWithoutLocks) {
    setenv("LD_PRELOAD", GLOW_NO_LOCKS, 1);
    for (const int error : {ENOLCK, ENOTSUP, ENOSYS, EINVAL, 524, EAGAIN}) {
        setenv("GLOW_FLOCK_ERRNO", std::to_string(error).c_str(), 1);
        const std::string out = "run" + std::to_string(error);
        const Outcome outcome = train(run_words(out, 3) + Words{"--checkpoint-every", "1", "--quiet"});
        const Outcome data = start(GLOW_DATA_PROGRAM, {"view", "d.h5", "-o", out + ".png", "--quiet"}).wait();
        if (error == EAGAIN) {  // held
            expect_error(outcome, 2, "in use by another process");
            expect_error(data, 2, "in use by another process");
            continue;
        }
        for (const Outcome* const each : {&outcome, &data}) {
            EXPECT_EQ(each->code, 0) << each->err;
            const std::size_t told = each->err.find("its file system does not support locks");
            ASSERT_NE(told, std::string::npos) << each->err;
            EXPECT_EQ(each->err.find("not support locks", told + 30), std::string::npos) << each->err;
        }
    }
    unsetenv("LD_PRELOAD");
    for (const std::string& name : all_files())
        EXPECT_TRUE(name.find(".lock") == std::string::npos || name.find("run11") != std::string::npos)
            << name;
}

// NFS and quotas may report a full disk only at close(). Rows are then held back, not lost.
TEST_F(SharedFolder, DiskFullAtCloseLosesNoRows) {
    setenv("LD_PRELOAD", GLOW_FULL_AT_CLOSE, 1);
    setenv("GLOW_FULL", "full", 1);
    Process run = start_run("run");
    EXPECT_TRUE(run.wait_until([&] { return has_checkpoint("run"); })) << run.err();
    write_bytes(folder / "full", "");
    EXPECT_TRUE(run.wait_until([&] { return run.err().find("rows are held back") != std::string::npos; }))
        << run.err();
    fs::remove(folder / "full");
    unsetenv("LD_PRELOAD");
    unsetenv("GLOW_FULL");
    const auto rows_logged = [&] { return read_csv(folder / "run/metrics.csv").size(); };
    const std::size_t before = rows_logged();
    EXPECT_TRUE(run.wait_until([&] { return rows_logged() > before + 5; })) << run.err();
    run.kill(SIGTERM);
    const Outcome outcome = run.wait();
    EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
    EXPECT_NE(outcome.err.find("No space left"), std::string::npos) << outcome.err;
    const Table rows = read_csv(folder / "run/metrics.csv");
    for (std::size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i].at("step"), std::to_string(i + 1));
}

// An empty file would replace an earlier result.
TEST_F(SharedFolder, DiskFullAtCloseReplacesNoResult) {
    make_run("run", 2);
    const Words from = {"--checkpoint", "run", "--data", "d.h5", "--limit", "3", "--quiet"};
    const std::vector<std::pair<std::string, Words>> commands = {
        {GLOW_COMPRESS_PROGRAM, from + Words{"--force", "-o", "x.glow"}},
        {GLOW_EVAL_PROGRAM, from + Words{"--per-image", "bits.csv"}},
        {GLOW_EVAL_PROGRAM, from + Words{"--map", "map.npy"}}};
    for (const auto& [program, words] : commands) {
        const std::string result = words.back();
        write_bytes(folder / result, "earlier");
        Surroundings full;
        full.environment = {
            {"LD_PRELOAD", GLOW_FULL_AT_CLOSE}, {"GLOW_FULL", "d.h5"}, {"GLOW_FULL_NAME", ".tmp"}};
        expect_error(Process(folder.path(), program, words, full).wait(), 1,
                     result + ": cannot be written: No space left on device");
        EXPECT_EQ(read_bytes(folder / result), "earlier");
        ASSERT_EQ(start(program, words).wait().code, 0);
        EXPECT_NE(read_bytes(folder / result), "earlier");
    }
}

TEST_F(SharedFolder, DiskFullAtCloseLosesNoPrintedResult) {
    make_run("run", 2);
    const Words words = {"--checkpoint", "run", "--data", "d.h5", "--limit", "3", "--json"};
    Surroundings full;
    full.stdout_path = (folder / "result.json").string();
    full.environment = {
        {"LD_PRELOAD", GLOW_FULL_AT_CLOSE}, {"GLOW_FULL", "d.h5"}, {"GLOW_FULL_NAME", "/result.json"}};
    const Outcome outcome = Process(folder.path(), GLOW_EVAL_PROGRAM, words, full).wait();
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("cannot write to the standard output: No space left on device\n"),
              std::string::npos)
        << outcome.err;
}

// Two photographs of an archive may have the same name there.
TEST_F(SharedFolder, RestoresNoPhotographOverAnother) {
    make_run("run", 2);
    fs::create_directory(folder / "photos");
    const std::string names[] = {"photos/A.png", "photos/a.png"};
    for (const std::string& name : names) write_png(folder / name, {4, 4, 1, std::vector<std::uint8_t>(16)});
    ASSERT_EQ(start(GLOW_COMPRESS_PROGRAM, {"photos", "--checkpoint", "run", "-o", "p.glow", "--quiet"})
                  .wait()
                  .code,
              0);
    const auto restore = [&](const std::string& to, const Surroundings& surroundings) {
        const Words words = {"p.glow", "--checkpoint", "run", "-o", to, "--quiet", "--force"};
        return Process(folder.path(), GLOW_DECOMPRESS_PROGRAM, words, surroundings).wait();
    };
    Surroundings no_case;
    no_case.environment["LD_PRELOAD"] = GLOW_NO_CASE;
    for (int again = 0; again < 2; ++again)
        expect_error(restore("one", no_case), 2,
                     "one/a.png: this file system does not distinguish it from A.png");
    ASSERT_EQ(restore("two", {}).code, 0);
    for (const char* const name : {"two/A.png", "two/a.png"}) EXPECT_TRUE(fs::exists(folder / name));
}

// latest.h5 and best.h5 are then hard links, or copies.
TEST_F(SharedFolder, RunsWithoutSymbolicLinks) {
    const Words options = {"--checkpoint-every", "2", "--keep",         "2",
                           "--eval-every",       "3", "--sample-every", "0"};
    make_run("whole", 9, options);
    setenv("LD_PRELOAD", GLOW_NO_LINKS, 1);
    for (const std::string kind : {"hard links to", "copies of"}) {
        const std::string out = kind.substr(0, kind.find(" "));
        if (kind == "copies of") setenv("GLOW_NO_HARD_LINKS", "1", 1);
        const auto run_to = [&](int steps, const Words& more, const std::string& warning) {
            const Outcome outcome = train(run_words(out, steps) + options + Words{"--quiet"} + more);
            EXPECT_EQ(outcome.code, 0) << outcome.err;
            EXPECT_NE(outcome.err.find(warning), std::string::npos) << outcome.err;
            EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, steps);
        };
        const std::string told = out +
                                 ": its file system does not support symbolic links; latest.h5 and "
                                 "best.h5 are " +
                                 kind + " checkpoints\n";
        run_to(6, {}, told);
        EXPECT_LE(std::distance(fs::directory_iterator(folder / out / "checkpoints"), {}), 3);
        run_to(9, {"--resume"}, told);
        run_to(9, {"--resume"}, "");
        expect_equal_weights(out + "/latest.h5", "whole/latest.h5");
        expect_equal_weights(out + "/best.h5", "whole/best.h5");
        EXPECT_EQ(read_bytes(folder / out / "eval.csv"), read_bytes(folder / "whole/eval.csv"));
        // Damaged, with the checkpoint of the same step if it is a hard link.
        fs::resize_file(folder / out / "latest.h5", 100);
        run_to(9, {"--resume"},
               kind == "copies of" ? "resuming from copies/checkpoints/step-00000009.h5"
                                   : "resuming from hard/checkpoints/step-00000008.h5");
        expect_equal_weights(out + "/latest.h5", "whole/latest.h5");
        run_to(9, {"--resume", out + "/best.h5"}, "");
        for (const std::string& name : all_files()) EXPECT_EQ(name.find(".new"), std::string::npos) << name;
    }
    unsetenv("LD_PRELOAD");
    unsetenv("GLOW_NO_HARD_LINKS");
}

// The newest checkpoint must not be set aside because the disk did not answer for a moment.
TEST_F(SharedFolder, UnreadableCheckpointIsNotDamaged) {
    make_run("run", 2);
    const Words resume = {"--out", "run", "--resume", "auto", "--max-steps", "3", "--quiet"};
    const auto files = all_files();
    Surroundings failing;
    failing.environment = {{"LD_PRELOAD", GLOW_FAILING_READ}, {"GLOW_UNREADABLE", "/step-00000002.h5"}};
    const Outcome outcome = Process(folder.path(), GLOW_TRAIN_PROGRAM, resume, failing).wait();
    expect_error(outcome, 1, "run/latest.h5: Input/output error; the file may be intact: try again");
    EXPECT_EQ(all_files(), files);
    EXPECT_EQ(start(GLOW_TRAIN_PROGRAM, resume).wait().code, 0);
    EXPECT_TRUE(fs::exists(folder / "run/checkpoints/step-00000003.h5"));
}

// The run's options must not be taken for missing: others would train on, and replace them.
TEST_F(SharedFolder, OptionsWithoutStatusAreNotMissing) {
    make_run("run", 2, {"--lr", "0.002"});
    const Words resume = run_words("run", 3) + Words{"--resume", "auto", "--quiet"};
    Surroundings failing;
    failing.environment = {{"LD_PRELOAD", GLOW_FAILING_READ}, {"GLOW_NO_STATUS", "/config.toml"}};
    const Outcome outcome = Process(folder.path(), GLOW_TRAIN_PROGRAM, resume, failing).wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("no status of run/config.toml"), std::string::npos) << "stat() did not fail";
    EXPECT_NE(read_bytes(folder / "run/config.toml").find("\nlr = 0.002\n"), std::string::npos);
}

// Nor must it count as one checkpoint less to keep.
TEST_F(SharedFolder, CheckpointOfUnknownLinkStays) {
    Surroundings failing;
    failing.environment = {{"LD_PRELOAD", GLOW_FAILING_READ}, {"GLOW_NO_LINK_STATUS", "/best.h5"}};
    // With equal losses, the first evaluation is the best one.
    const Words words = {"--lr",   "0", "--eval-every", "1", "--checkpoint-every", "1",
                         "--keep", "2", "--quiet"};
    const Outcome outcome =
        Process(folder.path(), GLOW_TRAIN_PROGRAM, run_words("run", 6) + words, failing).wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("no status of run/best.h5"), std::string::npos) << "stat() did not fail";
    EXPECT_TRUE(fs::exists(folder / "run/best.h5"));
}

// Nor must a lock file: two runs would train in one folder.
TEST_F(SharedFolder, LockWithoutStatusIsNotFree) {
    make_run("run", 2);
    const FileLock held(folder / "run/run.lock", "run", "");
    const Words resume = {"--out", "run", "--resume", "auto", "--max-steps", "3", "--quiet"};
    Surroundings failing;
    failing.environment = {{"LD_PRELOAD", GLOW_FAILING_READ}, {"GLOW_NO_FSTAT", "/run.lock"}};
    expect_error(Process(folder.path(), GLOW_TRAIN_PROGRAM, resume, failing).wait(), 1,
                 "cannot lock run/run.lock: Input/output error");
    EXPECT_TRUE(held.is_current());
}

// Images must not be left out because the disk did not answer for a moment.
TEST_F(SharedFolder, UnreadableImagesAreNotBadFiles) {
    fs::create_directory(folder / "photos");
    for (const char* const name : {"photos/a.png", "photos/b.png"})
        write_png(folder / name, {4, 4, 1, std::vector<std::uint8_t>(16)});
    for (const char* const name : {"folders/a", "folders/b"}) {
        fs::create_directories(folder / name);
        fs::copy(folder / "photos/a.png", folder / name / "a.png");
    }
    fs::create_directory(folder / "cifar");
    write_bytes(folder / "cifar/train.bin", std::string(3073, 0));
    fs::create_directory(folder / "mnist");
    const std::string header{0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28};
    write_bytes(folder / "mnist/train-images-idx3-ubyte", header + std::string(784, 0));
    write_bytes(folder / "mnist/train-labels-idx1-ubyte", std::string{0, 0, 8, 1, 0, 0, 0, 1, 0});
    struct Case {
        Words source;
        std::string file;
        const char* variable = "GLOW_UNREADABLE";
    };
    const std::vector<Case> cases = {{{"images", "photos", "--size", "4"}, "/b.png"},
                                     {{"images", "folders", "--size", "4", "--no-classes"}, "/b"},
                                     {{"cifar10", "cifar"}, "/train.bin"},
                                     {{"cifar10", "cifar"}, "/train.bin", "GLOW_NO_SEEK"},
                                     {{"mnist", "mnist"}, "/train-images-idx3-ubyte"}};
    for (const auto& [source, file, variable] : cases) {
        Surroundings failing;
        failing.environment = {{"LD_PRELOAD", GLOW_FAILING_READ}, {variable, file}};
        const Outcome outcome =
            Process(folder.path(), GLOW_DATA_PROGRAM, source + Words{"-o", "new.h5"}, failing).wait();
        expect_error(outcome, 1, "Input/output error");
        EXPECT_NE(outcome.err.find(file), std::string::npos) << outcome.err;
        EXPECT_FALSE(fs::exists(folder / "new.h5"));
    }
}

// Pictures of an earlier result must not stay between new ones.
TEST_F(SharedFolder, UnreadableFolderIsNotEmpty) {
    make_run("run", 2);
    fs::create_directory(folder / "maps");
    const Words words = {"--checkpoint", "run", "--data", "d.h5", "--limit", "1", "--heatmap", "maps"};
    Surroundings failing;
    failing.environment = {{"LD_PRELOAD", GLOW_FAILING_READ}, {"GLOW_UNREADABLE", "/maps"}};
    expect_error(Process(folder.path(), GLOW_EVAL_PROGRAM, words, failing).wait(), 1,
                 "--heatmap maps: cannot list the folder: Input/output error");
    EXPECT_TRUE(fs::is_empty(folder / "maps"));
}

// ---- Two processes, one output -------------------------------------------------------------------

// Every command with an output, which is the last word.
struct Outputs : SharedFolder {
    struct Case {
        std::string program;
        Words words;
        std::string suffix;
    };
    std::vector<Case> cases() const {
        const Words model = {"--checkpoint", "run"}, images = {"--data", "d.h5"};
        return {
            {GLOW_DATA_PROGRAM, {"view", "d.h5", "--grid", "2x2", "--force", "-o"}, "png"},
            {GLOW_DATA_PROGRAM, {"synthetic", "gauss", "--train", "9", "--size", "8", "-o"}, "h5"},
            {GLOW_DATA_PROGRAM, {"images", "pictures", "--size", "8", "--force", "-o"}, "h5"},
            {GLOW_EVAL_PROGRAM, Words{"--bpd"} + model + images + Words{"--per-image"}, "csv"},
            {GLOW_EVAL_PROGRAM, Words{"--bpd"} + model + images + Words{"--extremes"}, "png"},
            {GLOW_SAMPLE_PROGRAM, model + Words{"--grid", "1x2", "-o"}, "png"},
            {GLOW_LATENT_PROGRAM, Words{"encode"} + model + images + Words{"-o"}, "h5"},
            {GLOW_LATENT_PROGRAM, Words{"decode"} + model + Words{"--latents", "z.h5", "-o"}, "h5"},
            {GLOW_LATENT_PROGRAM, Words{"decode"} + model + Words{"--latents", "z.h5", "-o"}, "folder"},
            {GLOW_LATENT_PROGRAM, Words{"reconstruct"} + model + images + Words{"-o"}, "png"},
            {GLOW_LATENT_PROGRAM, Words{"exchange"} + model + images + Words{"--images", "0,1", "-o"}, "png"},
            {GLOW_COMPRESS_PROGRAM, model + images + Words{"-o"}, "glow"},
            {GLOW_DECOMPRESS_PROGRAM, model + Words{"c.glow", "-o"}, "h5"},
            {GLOW_MEMORY_PROGRAM,
             {"--predict", "--depths", "2", "--sizes", "8", "--levels", "1", "--width", "8", "--csv"},
             "csv"}};
    }
    Outputs() {
        make_run("run", 1);
        fs::create_directory(folder / "pictures");
        for (const std::string name : {"a", "b", "c"})
            done(GLOW_DATA_PROGRAM, {"view", "d.h5", "--grid", "1x1", "-o", "pictures/" + name + ".png"});
        done(GLOW_LATENT_PROGRAM, {"encode", "--checkpoint", "run", "--data", "d.h5", "-o", "z.h5"});
        done(GLOW_COMPRESS_PROGRAM, {"--checkpoint", "run", "--data", "d.h5", "-o", "c.glow"});
    }
    void done(const std::string& program, const Words& words) const {
        const Outcome outcome = start(program, words).wait();
        EXPECT_EQ(outcome.code, 0) << outcome.err;
    }
};

TEST_F(Outputs, AreRejectedWhileBeingWritten) {
    std::vector<std::unique_ptr<FileLock>> held;
    std::vector<std::unique_ptr<Process>> processes;
    const Words before = all_files();
    for (const Case& each : cases()) {
        const std::string name = "out" + std::to_string(held.size()) + "." + each.suffix;
        held.push_back(std::make_unique<FileLock>(folder / ("." + name + ".lock"), "", ""));
        processes.push_back(std::make_unique<Process>(folder.path(), each.program, each.words + Words{name}));
    }
    for (const auto& process : processes)
        expect_error(process->wait(), 2, "in use by process " + std::to_string(getpid()) + " on host ");
    held.clear();
    EXPECT_EQ(all_files(), before);
    int number = 0;  // glow_memory replaces no file of another command
    for (const Case& each : cases())
        done(each.program, each.words + Words{"out" + std::to_string(number++) + "." + each.suffix});
    for (const std::string& name : all_files()) EXPECT_EQ(name.find(".lock"), std::string::npos) << name;
}

TEST_F(Outputs, SecondGlowDataIsRejected) {
    Process first =
        start(GLOW_DATA_PROGRAM, {"synthetic", "shapes", "--train", "20000", "-o", "s.h5", "--quiet"});
    ASSERT_TRUE(first.wait_until([&] { return fs::exists(folder / ".s.h5.lock"); })) << first.err();
    first.pause();
    expect_error(start(GLOW_DATA_PROGRAM, {"synthetic", "gauss", "--train", "9", "-o", "s.h5"}).wait(), 2,
                 "in use");
    first.kill(SIGCONT);
    EXPECT_EQ(first.wait().code, 0);
    EXPECT_EQ(describe_dataset(folder / "s.h5").train, 20000);
}

// ---- Outputs that are inputs ---------------------------------------------------------------------

TEST_F(Outputs, NeverReplaceAnInput) {
    fs::create_symlink("d.h5", folder / "soft.h5");
    fs::create_hard_link(folder / "d.h5", folder / "hard.h5");
    fs::create_symlink("pictures", folder / "gallery");
    fs::create_directory(folder / "frames");
    fs::copy_file(folder / "pictures/a.png", folder / "frames/000000.png");
    fs::copy_file(folder / "pictures/a.png", folder / "frames/000001.png");
    fs::create_hard_link(folder / "pictures/b.png", folder / "same.h5");
    const Words model = {"--checkpoint", "run"}, images = {"--data", "d.h5"};
    std::vector<std::tuple<std::string, Words, std::string>> refused;
    for (const std::string data : {"d.h5", "./d.h5", "soft.h5", "hard.h5", "run/../d.h5"})
        refused.emplace_back(GLOW_DATA_PROGRAM, Words{"view", "d.h5", "-o", data}, "d.h5");
    for (const std::string data : {"./d.h5", "hard.h5"}) {
        for (const std::string option : {"--per-image", "--extremes", "--against-per-image"})
            refused.emplace_back(
                GLOW_EVAL_PROGRAM,
                Words{"--bpd", "--against", "soft.h5"} + model + images + Words{option, data}, option);
        refused.emplace_back(GLOW_LATENT_PROGRAM, Words{"encode"} + model + images + Words{"-o", data},
                             "--data");
        refused.emplace_back(GLOW_LATENT_PROGRAM, Words{"reconstruct"} + model + images + Words{"-o", data},
                             "--data");
        refused.emplace_back(GLOW_COMPRESS_PROGRAM, model + images + Words{"-o", data}, "--data");
    }
    fs::create_symlink("run/best.h5", folder / "link.h5");
    for (const Case& each : cases())
        if (each.suffix != "folder")
            refused.emplace_back(each.program, each.words + Words{"run/latest.h5"}, "run");
    for (const std::string own :
         {"run/best.h5", "link.h5", "run/checkpoints/step-00000001.h5", "run/checkpoints/x.h5",
          "run/config.toml", "run/eval.csv", "run/metrics.csv", "run/audit.csv"})
        for (const std::size_t i : {1, 8})
            refused.emplace_back(cases()[i].program, cases()[i].words + Words{own}, "run");
    for (const std::string picture : {"pictures/a.png", "gallery/c.png", "same.h5"})
        refused.emplace_back(GLOW_DATA_PROGRAM, Words{"images", "pictures", "--size", "8", "-o", picture},
                             picture);
    refused.emplace_back(GLOW_LATENT_PROGRAM,
                         Words{"decode"} + model + Words{"--latents", "z.h5", "-o", "z.h5"}, "--latents");
    refused.emplace_back(GLOW_DECOMPRESS_PROGRAM, model + Words{"c.glow", "-o", "c.glow"}, "c.glow");
    refused.emplace_back(
        GLOW_LATENT_PROGRAM,
        Words{"exchange", "--files", "frames/000000.png,frames/000001.png", "--frames", "frames"} + model +
            Words{"-o", "x.png"},
        "--frames");
    refused.emplace_back(GLOW_EVAL_PROGRAM,
                         Words{"--bpd", "--per-image", "same", "--extremes", "./same"} + model + images,
                         "--extremes");
    // Data that is no input, either.
    fs::copy_file(folder / "d.h5", folder / "other.h5");
    fs::copy_file(folder / "run/latest.h5", folder / "model.h5");
    for (const std::string text : {"other.h5 holds a data set", "model.h5 holds a model's weights"})
        refused.emplace_back(GLOW_LATENT_PROGRAM,
                             Words{"encode"} + model + images + Words{"-o", text.substr(0, 8)}, text);
    // Photographs in a folder.
    for (const std::string picture : {"frames/000000.png", "frames/../frames/000001.png"}) {
        const Words photos = model + Words{"--data", "frames"};
        refused.emplace_back(GLOW_EVAL_PROGRAM, photos + Words{"--extremes", picture}, picture);
        refused.emplace_back(GLOW_LATENT_PROGRAM, Words{"reconstruct"} + photos + Words{"-o", picture},
                             picture);
    }
    fs::create_directory_symlink("frames", folder / "link");
    for (const std::string heat : {"frames", "link", "frames/heat", "run/checkpoints", "d.h5", "d.h5/heat"})
        refused.emplace_back(GLOW_EVAL_PROGRAM, model + Words{"--data", "frames", "--heatmap", heat}, heat);
    std::map<std::string, std::string> before;
    const Words names = all_files();
    for (const std::string& name : names)
        if (fs::is_regular_file(folder / name)) before[name] = read_bytes(folder / name);
    for (const auto& [program, words, part] : refused) {
        SCOPED_TRACE(program + " " + joined(words));
        expect_error(start(program, words).wait(), 2, part);
        for (const auto& [name, bytes] : before) EXPECT_TRUE(read_bytes(folder / name) == bytes) << name;
    }
    EXPECT_EQ(all_files(), names);
}

TEST_F(SharedFolder, TrainingKeepsItsInputs) {
    make_run("run", 1);
    fs::create_directory(folder / "new");
    for (const std::string name : {"latest.h5", "best.h5", "run.lock", "eval.csv"}) {
        fs::copy_file(folder / "d.h5", folder / "new" / name);
        expect_error(train(run_words("new", 1) + Words{"--data", "new/" + name, "--quiet"}), 2,
                     "--data new/" + name);
        EXPECT_EQ(read_bytes(folder / "new" / name), read_bytes(folder / "d.h5"));
        fs::remove(folder / "new" / name);
    }
    fs::copy_file(folder / "run/latest.h5", folder / "new/latest.h5");
    expect_error(train(run_words("new", 1) + Words{"--init-from", "new", "--quiet"}), 2, "--init-from new");
    EXPECT_FALSE(fs::is_symlink(folder / "new/latest.h5"));
}

// ---- A data set that changes ---------------------------------------------------------------------

struct ChangedData : SharedFolder {
    ChangedData() { make_run("run", 2); }
    Outcome resume(int step, const Words& more = {}) const {
        return train(run_words("run", step) + Words{"--resume", "auto", "--quiet"} + more);
    }
};

TEST_F(ChangedData, ResumeRejectsUnlessAccepted) {
    const std::string checkpoint = read_bytes(folder / "run/latest.h5"),
                      config = read_bytes(folder / "run/config.toml");
    make_dataset(folder / "d.h5", 8, 8, 3, 30, 6, 10);
    expect_error(resume(3), 2, "was 40 training and 6 validation images of 8x8x3, now 30 training and 6");
    EXPECT_EQ(read_bytes(folder / "run/latest.h5"), checkpoint);
    EXPECT_EQ(read_bytes(folder / "run/config.toml"), config);
    const Outcome accepted = resume(3, {"--accept-new-data"});
    EXPECT_EQ(accepted.code, 0) << accepted.err;
    EXPECT_NE(accepted.err.find("differs from the data set that the run began with"), std::string::npos)
        << accepted.err;
    // From then on it is the run's.
    EXPECT_EQ(resume(4).code, 0);
    make_dataset(folder / "d.h5", 8, 8, 3, 40, 6, 10);
    expect_error(resume(5), 2, "--accept-new-data");
}

TEST_F(ChangedData, ResumeDetectsOnePixelInMemory) {
    ImageSet train_set = load_split(folder / "d.h5", "train"), valid = load_split(folder / "d.h5", "valid");
    const auto rewrite = [&] {
        DatasetInfo info;
        info.H = info.W = 8;
        info.C = 3;
        DatasetWriter writer(folder / "d.h5", info);
        writer.append("train", train_set.N, train_set.images.data(), nullptr);
        writer.append("valid", valid.N, valid.images.data(), nullptr);
        writer.commit();
    };
    rewrite();
    EXPECT_EQ(resume(3).code, 0) << "the same images in a new file";
    valid.images[5] ^= 1;
    rewrite();
    expect_error(resume(4), 2, "has different images");
    expect_error(resume(4, {"--data-access", "disk"}), 2, "has different images");
    valid.images[5] ^= 1;
    rewrite();
    EXPECT_EQ(resume(4, {"--data-access", "disk"}).code, 0);
    EXPECT_EQ(resume(5).code, 0);
}

TEST_F(ChangedData, AcceptsMovedOrExplicitDataSet) {
    fs::rename(folder / "d.h5", folder / "moved.h5");
    const Outcome moved = resume(3, {"--data", "moved.h5"});
    EXPECT_EQ(moved.code, 0) << moved.err;
    EXPECT_EQ(moved.err.find("differs from the data set"), std::string::npos) << moved.err;
    make_dataset(folder / "other.h5", 8, 8, 3, 16, 0, 0);
    const Outcome other = resume(4, {"--data", "other.h5"});
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_NE(other.err.find("now 16 training and 0 validation"), std::string::npos) << other.err;
}

// Epochs, beta2 and the EMA's decay stay those of the run, also in later parts.
TEST_F(ChangedData, KeepsTheRunsEpoch) {
    make_dataset(folder / "other.h5", 8, 8, 3, 160, 0, 0);
    const Words more = {"--resume", "--device", "cpu"};
    const Outcome other = train(run_words("run", 4) + more + Words{"--data", "other.h5"});
    ASSERT_EQ(other.code, 0) << other.err;
    EXPECT_NE(other.err.find("keeps its epoch of 40 images"), std::string::npos) << other.err;
    EXPECT_NE(other.err.find("beta2 0.8,"), std::string::npos) << other.err;
    const double images_per_step = 8;
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").epoch, 4 * images_per_step / 40);
    const Outcome later = train({"--out", "run", "--resume", "--max-steps", "6", "--device", "cpu"});
    ASSERT_EQ(later.code, 0) << later.err;
    EXPECT_NE(later.err.find("160 training images"), std::string::npos) << later.err;
    EXPECT_NE(later.err.find("beta2 0.8,"), std::string::npos) << later.err;
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").epoch, 6 * images_per_step / 40);
    expect_error(train({"--out", "run", "--resume", "--epoch-images", "160", "--quiet"}), 2,
                 "epoch-images is 160");
    // A file without fingerprint does not say what the epoch was.
    expect_error(train(run_words("run", 4) + Words{"--epoch-images", "20", "--resume", "--quiet"}), 2,
                 "epoch-images is 20");
}

TEST_F(ChangedData, ResumeDetectsChangedLabels) {
    make_dataset(folder / "c.h5", 8, 8, 3, 40, 6, 0, 2);
    make_run("classes", 2, {"--data", "c.h5", "--y-cond"});
    ImageSet set = load_split(folder / "c.h5", "train");
    DatasetInfo info;
    info.H = info.W = 8;
    info.C = 3;
    info.n_classes = 2;
    const ImageSet valid = load_split(folder / "c.h5", "valid");
    std::swap(set.labels[10], set.labels[11]);
    DatasetWriter writer(folder / "c.h5", info);
    writer.append("train", set.N, set.images.data(), set.labels.data());
    writer.append("valid", valid.N, valid.images.data(), valid.labels.data());
    writer.commit();
    expect_error(train(run_words("classes", 3) + Words{"--data", "c.h5", "--y-cond", "--resume", "--quiet"}),
                 2, "has different labels");
}

TEST_F(ChangedData, AcceptsCheckpointsWithoutFingerprint) {
    CheckpointEdit edit(folder / "run/latest.h5");
    json config = json::parse(edit.config);
    ASSERT_EQ(config.erase("data_set"), 1u);
    edit.config = config.dump();
    edit.write(folder / "run/checkpoints/step-00000002.h5");
    make_dataset(folder / "d.h5", 8, 8, 3, 30, 6, 10);
    const Outcome outcome = resume(3);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
}

// ---- Signals while the program loads -------------------------------------------------------------

// Sends a signal to a program that loads its libraries.
Outcome signaled_while_loading(const fs::path& folder, const Words& arguments, int signal) {
    Surroundings stopping;
    stopping.environment = {{"LD_PRELOAD", GLOW_STOP_AT_LOAD}};
    Process process(folder, GLOW_TRAIN_PROGRAM, arguments, stopping);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(process.pid()), &info, WSTOPPED | WEXITED | WNOWAIT);
    process.kill(signal);
    process.kill(SIGCONT);
    return process.wait();
}

TEST_F(SharedFolder, SignalWhileLibrariesLoadStopsTheRun) {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        const std::string out = "run" + std::to_string(signal);
        const Outcome outcome = signaled_while_loading(folder.path(), run_words(out, 100000), signal);
        EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
        EXPECT_NE(outcome.out.find("ended by signal at step 0"), std::string::npos) << outcome.out;
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, 0);
    }
    const Words plan = run_words("plan", 1) + Words{"--plan", "--quiet"};
    EXPECT_EQ(signaled_while_loading(folder.path(), plan, SIGTERM).code, -SIGTERM);
}

// ---- Terminals and readers that go away ----------------------------------------------------------

TEST_F(SharedFolder, HangupWritesCheckpointUnlessNohup) {
    Process run = start(GLOW_TRAIN_PROGRAM, endless("run") + Words{"--checkpoint-every", "0", "--json"});
    const auto steps = [&](const std::string& out) {
        return fs::exists(folder / out / "metrics.csv") && read_csv(folder / out / "metrics.csv").size() > 3;
    };
    ASSERT_TRUE(run.wait_until([&] { return steps("run"); })) << run.err();
    run.kill(SIGHUP);
    const Outcome outcome = run.wait();
    EXPECT_EQ(outcome.code, kUnfinished) << outcome.err;
    EXPECT_EQ(json::parse(outcome.out)["ended"], "signal");
    EXPECT_TRUE(has_checkpoint("run"));

    std::signal(SIGHUP, SIG_IGN);
    Process nohup = start(GLOW_TRAIN_PROGRAM, endless("nohup"));
    std::signal(SIGHUP, SIG_DFL);
    ASSERT_TRUE(nohup.wait_until([&] { return steps("nohup"); })) << nohup.err();
    const std::size_t before = read_csv(folder / "nohup/metrics.csv").size();
    nohup.kill(SIGHUP);
    EXPECT_TRUE(
        nohup.wait_until([&] { return read_csv(folder / "nohup/metrics.csv").size() > before + 20; }));
}

TEST_F(SharedFolder, ClosedPipeWritesCheckpoint) {
    const std::string words =
        joined(kSmall) + "--max-steps 1000000 --checkpoint-every 0 --eval-every 0 --out ";
    const Outcome both =
        shell("{ " GLOW_TRAIN_PROGRAM " " + words + "both 2>&1; echo $? > both.code; } | head -3");
    EXPECT_EQ(std::count(both.out.begin(), both.out.end(), '\n'), 3) << both.out;
    EXPECT_TRUE(has_checkpoint("both"));
    EXPECT_EQ(read_bytes(folder / "both.code"), "1\n");  // the result could not be printed
    const Outcome text = shell("{ " GLOW_TRAIN_PROGRAM " " + words +
                               "text 2>&3 >result; echo $? >text.code; } 3>&1 | head -3");
    EXPECT_EQ(std::count(text.out.begin(), text.out.end(), '\n'), 3) << text.out;
    EXPECT_TRUE(has_checkpoint("text"));
    EXPECT_EQ(read_bytes(folder / "text.code"), "75\n");
    EXPECT_NE(read_bytes(folder / "result").find("ended by signal"), std::string::npos);
}

TEST_F(SharedFolder, ClosedOutputFailsQuietly) {
    make_run("run", 1);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    close(ends[0]);
    const std::string closed = " >&" + std::to_string(ends[1]);
    for (const std::string line :
         {GLOW_DATA_PROGRAM " info d.h5", GLOW_DATA_PROGRAM " --help", GLOW_EVAL_PROGRAM " --version",
          GLOW_EVAL_PROGRAM " --bpd --quiet --checkpoint run --data d.h5",
          GLOW_SAMPLE_PROGRAM " --checkpoint run -o s.png"}) {
        const Outcome outcome = shell("exec " + line + closed);
        EXPECT_EQ(outcome.code, 1) << line;
        EXPECT_EQ(outcome.err, "") << line;
    }
    close(ends[1]);
    EXPECT_TRUE(fs::exists(folder / "s.png"));
}

// Files must not take the place of closed descriptors, or messages would be written into them.
TEST_F(SharedFolder, ClosedDescriptorsKeepFilesIntact) {
    fs::create_directory(folder / "photos");
    for (int n = 0; n < 40; ++n) {
        const std::string number = std::to_string(n);
        write_png(folder / "photos" / (number + ".png"),
                  {8, 8, 3, std::vector<std::uint8_t>(8 * 8 * 3, static_cast<std::uint8_t>(n))});
        // each is a warning of more than 100 characters
        write_bytes(folder / "photos" / (std::string(100, 'x') + number + ".png"), "no picture");
    }
    const std::string data = "exec " GLOW_DATA_PROGRAM " images photos --size 8 --valid 0 --test 0 -o ";
    ASSERT_EQ(shell(data + "open.h5 2>/dev/null").code, 0);
    const std::string expected = read_bytes(folder / "open.h5");
    int number = 0;
    // The exit status is 1 if the result cannot be printed, as above.
    for (const auto& [closed, status] : {std::pair<std::string, int>{"<&-", 0},
                                         {">&-", 1},
                                         {"2>&-", 0},
                                         {"<&- >&-", 1},
                                         {"<&- 2>&-", 0},
                                         {">&- 2>&-", 1},
                                         {"<&- >&- 2>&-", 1}}) {
        const std::string name = std::to_string(number++);
        shell(data + name + ".h5 " + closed);
        EXPECT_TRUE(read_bytes(folder / (name + ".h5")) == expected) << closed;
        const Outcome run = shell("exec " + joined(Words{GLOW_TRAIN_PROGRAM} + run_words(name, 4)) +
                                  "--sample-every 1 --checkpoint-every 1 --eval-every 2 " + closed);
        EXPECT_EQ(run.code, status) << closed << ": " << run.err;
        EXPECT_EQ(read_csv(folder / name / "metrics.csv").size(), 4u) << closed;
        EXPECT_EQ(read_csv(folder / name / "eval.csv").size(), 4u) << closed;
        EXPECT_EQ(CheckpointEdit(folder / name / "latest.h5").step, 4) << closed;
        for (const auto& sheet : fs::directory_iterator(folder / name / "samples"))
            EXPECT_NO_THROW(read_png(sheet.path())) << closed;
    }
}

}  // namespace
}  // namespace glow
