// Bit-exact reproducibility of glow_train: presets, seeds, access to data, and resumed runs.
#include "tests/tools/chunked_dataset.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

TEST_F(Commands, PrintsPresets) {
    const Outcome printed = train({"--preset", "celeba256", "--print-config"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    for (const char* line : {"levels = 6\n", "depth = 32\n", "coupling = 'additive'\n", "n-bits = 5\n",
                             "batch = 40\n", "schedule-images = 50000\n", "augment = 'none'\n"})
        EXPECT_NE(printed.out.find(line), std::string::npos) << line << printed.out;
    EXPECT_EQ(printed.out.find("data ="), std::string::npos);
    // The printed text is an equivalent --config file.
    write_bytes(folder / "c.toml", printed.out);
    EXPECT_EQ(train({"--config", "c.toml", "--print-config"}).out, printed.out);
    const json object = json::parse(train({"--preset=cifar10", "--print-config", "--json"}).out);
    EXPECT_EQ(object["training"]["batch"], 512);
    EXPECT_EQ(all_files(), (Words{"c.toml", "d.h5"}));
    expect_error(train({"--preset", "cifar100", "--print-config"}), 2, "imagenet64");
    expect_error(train({"--preset"}), 2, "--preset");
}

TEST_F(Commands, CommandLineOverridesConfigOverridesPreset) {
    write_bytes(folder / "c.toml", "depth = 5\nwidth = 6\ncoupling = 'affine'\n");
    const auto options = [&](const Words& words) {
        return json::parse(train(words + Words{"--print-config", "--json"}).out);
    };
    const json all = options({"--preset", "celeba256", "--config", "c.toml", "--width", "7"});
    EXPECT_EQ(all["levels"], 6);           // the preset's
    EXPECT_EQ(all["depth"], 5);            // the configuration's
    EXPECT_EQ(all["coupling"], "affine");  // the configuration's
    EXPECT_EQ(all["width"], 7);            // the command line's
    const json conditional = options({"--preset", "cifar10", "--preset", "cifar10-conditional"});
    EXPECT_EQ(conditional["y_cond"], true);
    EXPECT_EQ(conditional["weight_y"], 0.01);
    EXPECT_EQ(options({"--preset", "cifar10-conditional", "--no-y-cond"})["y_cond"], false);
    // A run started from a preset resumes with its own options.
    const Words small = {"--preset", "quick",   "--data", "d.h5",      "--levels",
                         "2",        "--width", "8",      "--threads", "2"};
    ASSERT_EQ(train(small + Words{"--out", "run", "--max-steps", "1", "--quiet"}).code, 0);
    EXPECT_EQ(train({"--out", "run", "--resume", "--max-steps", "2", "--quiet"}).code, 0);
    EXPECT_NE(read_bytes(folder / "run/config.toml").find("depth = 8\n"), std::string::npos);
}

TEST_F(Commands, SameSeedGivesSameRun) {
    for (const char* out : {"a", "b"}) make_run(out, 8, {"--eval-every", "4"});
    EXPECT_EQ(without(read_csv(folder / "a/metrics.csv"), kTimes),
              without(read_csv(folder / "b/metrics.csv"), kTimes));
    EXPECT_EQ(read_bytes(folder / "a/eval.csv"), read_bytes(folder / "b/eval.csv"));
    EXPECT_EQ(read_bytes(folder / "a/samples/step-00000008.png"),
              read_bytes(folder / "b/samples/step-00000008.png"));
    expect_equal_weights("a/latest.h5", "b/latest.h5");
    make_run("c", 8, {"--seed", "1"});
    EXPECT_NE(read_csv(folder / "a/metrics.csv")[7].at("bpd"),
              read_csv(folder / "c/metrics.csv")[7].at("bpd"));
}

TEST_F(Commands, DiskAccessChangesNoResult) {
    const Words words = {"--augment", "shift+flip", "--eval-every", "3"};
    make_run("memory", 7, words + Words{"--data-access", "memory"});
    make_run("disk", 7, words + Words{"--data-access", "disk"});
    EXPECT_EQ(without(read_csv(folder / "disk/metrics.csv"), kTimes),
              without(read_csv(folder / "memory/metrics.csv"), kTimes));
    EXPECT_EQ(read_bytes(folder / "disk/eval.csv"), read_bytes(folder / "memory/eval.csv"));
    expect_equal_weights("disk/latest.h5", "memory/latest.h5");
    // Also if a run in memory is resumed from disk.
    make_run("memory", 9, words + Words{"--resume", "--data-access", "disk"});
    make_run("disk", 9, words + Words{"--resume", "--data-access", "memory"});
    expect_equal_weights("disk/latest.h5", "memory/latest.h5");
    EXPECT_NE(train(run_words("told", 1) + Words{"--data-access", "disk"}).err.find("read from disk"),
              std::string::npos);
}

TEST_F(Commands, WarnsOfCompressedChunksOnDisk) {
    const ImageSet set = load_split(folder / "d.h5", "train");
    write_chunked(folder / "large.h5", set, 40, true);
    write_chunked(folder / "small.h5", set, 4, true);
    write_chunked(folder / "plain.h5", set, 40, false);
    const auto err = [&](const std::string& data, const std::string& access) {
        const Outcome outcome = train(run_words("of-" + data + access, 1) +
                                      Words{"--data", data, "--data-access", access, "--quiet"});
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.err;
    };
    const std::string warning = err("large.h5", "disk");
    EXPECT_NE(warning.find(
                  "warning: large.h5: reading one image from disk unpacks compressed chunks as large as 40 "
                  "images (7.5 KiB), which is slow: use --data-access memory"),
              std::string::npos)
        << warning;
    EXPECT_EQ(err("large.h5", "memory"), "");
    EXPECT_EQ(err("large.h5", "auto"), "");
    EXPECT_EQ(err("small.h5", "disk"), "");
    EXPECT_EQ(err("plain.h5", "disk"), "");
}

TEST_F(Commands, ResumedRunEqualsUninterrupted) {
    // Flips, shifts and noise, several passes over the data, evaluations in between.
    const Words options = {"--augment",   "shift+flip", "--eval-every", "5",
                           "--optimizer", "adam",       "--clip-norm",  "1"};
    make_run("whole", 20, options);
    make_run("parts", 10, options);
    make_run("parts", 20, options + Words{"--resume", "auto"});
    // Peak memory is per process.
    const Words own = kTimes + Words{"peak_bytes"};
    EXPECT_EQ(without(read_csv(folder / "parts/metrics.csv"), own),
              without(read_csv(folder / "whole/metrics.csv"), own));
    EXPECT_EQ(read_bytes(folder / "parts/eval.csv"), read_bytes(folder / "whole/eval.csv"));
    EXPECT_EQ(std::filesystem::read_symlink(folder / "parts/best.h5"),
              std::filesystem::read_symlink(folder / "whole/best.h5"));
    expect_equal_weights("parts/latest.h5", "whole/latest.h5");
}

TEST_F(Commands, ResumeNeedsOnlyFolder) {
    make_run("run", 3, {"--no-edge-bias", "--augment", "none"});
    Outcome outcome = train({"--out", "run", "--resume", "--max-steps", "5"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("resumed from run/latest.h5 at step 3"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find(
                  "this part of the run ends at step 5 (--max-steps counts from the start of the run);"),
              std::string::npos)
        << outcome.err;
    EXPECT_EQ(read_csv(folder / "run/metrics.csv").size(), 5u);
    // Nothing left to do: nothing changes.
    const std::string evaluations = read_bytes(folder / "run/eval.csv");
    outcome = train({"--out", "run", "--resume", "--quiet", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(json::parse(outcome.out)["step"], 5);
    EXPECT_TRUE(json::parse(outcome.out)["bpd"].is_null());
    EXPECT_EQ(read_bytes(folder / "run/eval.csv"), evaluations);
    EXPECT_EQ(read_csv(folder / "run/metrics.csv").size(), 5u);
}

TEST_F(Commands, ConstantRateOnResumeEndsDecayWithItsFinalRate) {
    const Words decay = {"--lr-schedule", "linear", "--lr-final", "1e-5"};
    make_run("run", 2, decay);
    expect_error(train(run_words("run", 4) + Words{"--resume", "--lr-schedule", "constant"} +
                       Words{"--lr-final", "1e-5"}),
                 2, "--lr-final 1e-05 needs --lr-schedule cosine or linear");
    const Outcome outcome = train(run_words("run", 4) + Words{"--resume", "--lr-schedule", "constant"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("changed on resume: lr-final is 0.0 but was 1e-05"), std::string::npos)
        << outcome.err;
    make_run("whole", 4);
    const Table rows = read_csv(folder / "run/metrics.csv");
    EXPECT_EQ(rows.back().at("lr"), read_csv(folder / "whole/metrics.csv").back().at("lr"));
}

TEST_F(Commands, ResumeKeepsTheInitialization) {
    make_run("run", 1);
    expect_error(train(run_words("run", 2) + Words{"--resume", "--init-batch", "5"}), 2,
                 "init-batch is 5 but was 0");
}

TEST_F(Commands, ResumeNamesTheMissingFolder) {
    make_run("run", 1);
    expect_error(
        train({"--resume", "run"}), 2,
        "--resume run: --out, the run's folder, is missing; give --out run --resume auto to continue");
    expect_error(train({"--resume", "run/latest.h5"}), 2, "--out, the run's folder, is missing");
}

TEST_F(Commands, ResumesFromAnyCheckpoint) {
    make_run("run", 4, {"--checkpoint-every", "1", "--keep", "9"});
    // An earlier checkpoint of the same run: later rows are dropped, latest.h5 points back.
    make_run("run", 2, {"--resume", "run/checkpoints/step-00000002.h5"});
    EXPECT_EQ(read_csv(folder / "run/metrics.csv").size(), 2u);
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 2);
    // A checkpoint from another folder, even if no step is left.
    make_run("other", 2, {"--resume", "run/checkpoints/step-00000002.h5"});
    EXPECT_EQ(CheckpointEdit(folder / "other/latest.h5").step, 2);
    EXPECT_EQ(CheckpointEdit(folder / "other/best.h5").step, 2);
    expect_equal_weights("other/latest.h5", "run/latest.h5");
    // And if the folder has no checkpoint yet.
    make_run("fresh", 2, {"--resume", "auto"});
    EXPECT_EQ(CheckpointEdit(folder / "fresh/latest.h5").step, 2);
}

TEST_F(Commands, RefusesCheckpointOfAnotherRun) {
    make_run("run", 3, {"--checkpoint-every", "1"});
    make_run("other", 2);
    const std::string rows = read_bytes(folder / "run/metrics.csv");
    for (const std::string from : {"other", "other/latest.h5", "other/checkpoints/step-00000002.h5"})
        expect_error(train(run_words("run", 4) + Words{"--resume", from}), 2,
                     "not a checkpoint of the run in run; continue that run with --resume auto, or choose");
    EXPECT_EQ(read_bytes(folder / "run/metrics.csv"), rows);
    std::filesystem::create_symlink("run/checkpoints/step-00000002.h5", folder / "link.h5");
    for (const std::string from : {"link.h5", "run/best.h5", "run", "run/../run/latest.h5"})
        make_run("run", 3, {"--resume", from});
}

// A run may be killed after it has written a better checkpoint and before it links best.h5 to it.
TEST_F(Commands, ResumeLinksBestCheckpoint) {
    const Words options = {"--checkpoint-every", "1", "--keep", "9"};
    make_run("run", 6, options);
    EXPECT_EQ(CheckpointEdit(folder / "run/best.h5").step, 6);
    std::filesystem::remove(folder / "run/best.h5");
    std::filesystem::create_symlink("checkpoints/step-00000003.h5", folder / "run/best.h5");
    make_run("run", 6, options + Words{"--resume", "auto"});
    EXPECT_EQ(CheckpointEdit(folder / "run/best.h5").step, 6);
}

// The checkpoint that best.h5 pointed to is overwritten after the run went back behind it.
TEST_F(Commands, BestCheckpointAfterGoingBack) {
    const Words options = {"--checkpoint-every", "1", "--keep", "9"};
    make_run("run", 6, options);
    EXPECT_EQ(CheckpointEdit(folder / "run/best.h5").step, 6);
    write_bytes(folder / "run/eval.csv",
                "step,split,bpd,stderr,images,weights\n2,valid,1,0.1,6,ema\n6,valid,0.9,0.1,6,ema\n");
    make_run("run", 6, options + Words{"--resume", "run/checkpoints/step-00000003.h5"});
    EXPECT_EQ(CheckpointEdit(folder / "run/best.h5").step, 2);
}

TEST_F(Commands, InitFromUsesRawWeightsOnly) {
    make_run("run", 5);
    make_run("new", 1, {"--init-from", "run", "--lr", "0"});
    const CheckpointEdit from(folder / "run/latest.h5"), to(folder / "new/latest.h5");
    EXPECT_EQ(to.step, 1);
    EXPECT_EQ(to.images_seen, 8);
    bool averages_differ = false;
    for (const auto& [name, tensor] : from.tensors) {
        if (!name.starts_with("/params/")) continue;
        EXPECT_EQ(to.tensors.at(name).values, tensor.values) << name;
        const std::string average = "/ema/" + name.substr(8);
        EXPECT_EQ(to.tensors.at(average).values, tensor.values) << name;
        averages_differ = averages_differ || from.tensors.at(average).values != tensor.values;
    }
    EXPECT_TRUE(averages_differ);
}

}  // namespace
}  // namespace glow
