// glow_train, glow_eval and glow_sample as programs: their output and files, and bit-exact reproducibility.
#include <fmt/format.h>
#include <hdf5.h>

#include <cmath>
#include <regex>
#include <utility>

#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

const Words kTimes = {"images_per_s", "step_ms"};  // columns that differ between runs

// ---- Output and files ------------------------------------------------------------------------------------

TEST_F(Commands, TrainWritesSpecifiedFiles) {
    const Outcome outcome = train(run_words("run", 12) + Words{"--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(all_files(),
              (Words{"d.h5", "run", "run/best.h5", "run/checkpoints", "run/checkpoints/step-00000012.h5",
                     "run/config.toml", "run/eval.csv", "run/latest.h5", "run/metrics.csv", "run/samples",
                     "run/samples/step-00000012.png"}));
    const std::string metrics = read_bytes(folder / "run/metrics.csv"),
                      evaluations = read_bytes(folder / "run/eval.csv");
    EXPECT_TRUE(
        metrics.starts_with("step,epoch,images_seen,bpd,loss,grad_norm,lr,images_per_s,step_ms,peak_bytes,"
                            "drift,max_condition\n"));
    EXPECT_TRUE(evaluations.starts_with("step,split,bpd,stderr,images,weights\n"));
    const Table rows = read_csv(folder / "run/metrics.csv");
    ASSERT_EQ(rows.size(), 12u);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(rows[i].at("step"), std::to_string(i + 1));
        EXPECT_EQ(rows[i].at("images_seen"), std::to_string(8 * (i + 1)));
        EXPECT_DOUBLE_EQ(std::stod(rows[i].at("epoch")), 0.2 * static_cast<double>(i + 1));
        // Warm-up: 10 epochs of 40 images.
        EXPECT_NEAR(std::stod(rows[i].at("lr")), 1e-3 * 8 * static_cast<double>(i + 1) / 400, 1e-11);
        EXPECT_GE(std::stod(rows[i].at("max_condition")), 1);
        EXPECT_LT(std::stod(rows[i].at("drift")), 1e-5);
    }
    const json result = json::parse(outcome.out);
    for (const char* key :
         {"ended", "step", "epoch", "images_seen", "bpd", "planned_bytes", "peak_bytes",
          "process_growth_bytes", "checkpoint", "valid_bpd_ema", "valid_bpd_raw", "valid_stderr_ema"})
        EXPECT_TRUE(result.contains(key)) << key;
    EXPECT_EQ(result["ended"], "max-steps");
    EXPECT_EQ(result["step"], 12);
    EXPECT_EQ(result["checkpoint"], "run/checkpoints/step-00000012.h5");
    EXPECT_EQ(result["planned_bytes"], result["peak_bytes"]);
    EXPECT_EQ(std::to_string(result["peak_bytes"].get<std::size_t>()), rows.back().at("peak_bytes"));
    EXPECT_NEAR(result["bpd"], std::stod(rows.back().at("bpd")), 1e-7);
    EXPECT_EQ(read_csv(folder / "run/eval.csv").size(), 2u);  // raw and EMA
    // No control characters unless on a terminal.
    EXPECT_EQ(outcome.err.find('\r'), std::string::npos);
    EXPECT_EQ(outcome.err.find('\033'), std::string::npos);
}

TEST_F(Commands, QuietPrintsNothingAndEvalRepeats) {
    make_run("run", 3,
             {"--eval-every", "2", "--sample-every", "2", "--checkpoint-every", "1", "--keep", "2"});
    const Table rows = read_csv(folder / "run/eval.csv");
    ASSERT_EQ(rows.size(), 4u);
    EXPECT_EQ(rows[0].at("step"), "2");
    EXPECT_EQ(rows[3].at("weights"), "ema");
    EXPECT_TRUE(std::filesystem::exists(folder / "run/samples/step-00000002.png"));
    const Outcome outcome =
        eval({"--bpd", "--json", "--quiet", "--checkpoint", "run", "--data", "d.h5", "--split", "valid"});
    EXPECT_EQ(outcome.err, "");
    EXPECT_NEAR(json::parse(outcome.out)["bpd"], std::stod(rows[3].at("bpd")), 1e-6);
}

TEST_F(Commands, KeepRetainsNewestAndBest) {
    // A large learning rate after a good start: the best checkpoint is an early one.
    make_run("run", 8,
             {"--eval-every", "1", "--checkpoint-every", "1", "--keep", "2", "--lr", "0.02",
              "--warmup-epochs", "0"});
    double best = 1e300;
    std::string best_step;
    for (const auto& row : read_csv(folder / "run/eval.csv"))
        if (row.at("weights") == "ema" && std::stod(row.at("bpd")) < best) {
            best = std::stod(row.at("bpd"));
            best_step = row.at("step");
        }
    EXPECT_EQ(std::filesystem::read_symlink(folder / "run/best.h5").string(),
              "checkpoints/step-0000000" + best_step + ".h5");
    EXPECT_TRUE(std::filesystem::exists(folder / "run/best.h5"));
    EXPECT_TRUE(std::filesystem::exists(folder / "run/latest.h5"));
    EXPECT_EQ(CheckpointEdit(folder / "run/best.h5").step, std::stoll(best_step));
    std::size_t kept = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder / "run/checkpoints"))
        ++kept;
    EXPECT_LE(kept, 3u);
}

TEST_F(Commands, EvalPrintsSpecifiedKeys) {
    make_run("run", 2);
    const Words base = {"--bpd", "--checkpoint", "run", "--data", "d.h5"};
    const Outcome outcome = eval(base + Words{"--json", "--per-image", "i.csv", "--dequant-samples", "2"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json result = json::parse(outcome.out);
    for (const char* key :
         {"bpd", "stderr", "images", "dequant_samples", "iw_samples", "checkpoint", "split"})
        EXPECT_TRUE(result.contains(key)) << key;
    EXPECT_EQ(result["images"], 10);
    EXPECT_EQ(eval({"--checkpoint", "run", "--data", "d.h5"}).out, eval(base).out);  // --bpd is the default
    EXPECT_EQ(result["dequant_samples"], 2);
    EXPECT_EQ(result["split"], "test");
    const Table rows = read_csv(folder / "i.csv");
    ASSERT_EQ(rows.size(), 10u);
    double mean = 0, squares = 0;
    for (std::size_t i = 0; i < 10; ++i) {
        EXPECT_EQ(rows[i].at("index"), std::to_string(i));
        mean += std::stod(rows[i].at("bpd")) / 10;
    }
    for (const auto& row : rows) squares += std::pow(std::stod(row.at("bpd")) - mean, 2);
    // Nine digits in the file.
    EXPECT_NEAR(result["bpd"], mean, 1e-7);
    EXPECT_NEAR(result["stderr"], std::sqrt(squares / 9 / 10), 1e-7);

    const auto bpd = [&](const Words& more) {
        return json::parse(eval(base + Words{"--json"} + more).out)["bpd"].get<double>();
    };
    EXPECT_EQ(bpd({}), bpd({"--batch", "64"}));
    EXPECT_NEAR(bpd({}), bpd({"--batch", "3"}), 1e-6);  // float sums of another order
    EXPECT_NE(bpd({}), bpd({"--seed", "1"}));
    EXPECT_EQ(bpd({"--dequant", "center"}), bpd({"--dequant", "center", "--seed", "1"}));
    EXPECT_EQ(result["bound"], true);
    EXPECT_EQ(json::parse(eval(base + Words{"--json", "--dequant", "center"}).out)["bound"], false);
    EXPECT_NE(eval(base + Words{"--dequant", "center"}).out.find("not a bound"), std::string::npos);
    EXPECT_EQ(eval(base).out.find("not a bound"), std::string::npos);
    EXPECT_NE(bpd({}), bpd({"--no-ema"}));
    EXPECT_NE(bpd({}), bpd({"--limit", "5"}));
    EXPECT_EQ(bpd({"--limit", "3", "--limit", "0"}), bpd({}));  // the last one wins
    EXPECT_EQ(bpd({"--split", "valid", "--split", "test"}), bpd({}));
}

TEST_F(Commands, SampleIsDeterministic) {
    make_run("run", 2);
    const auto draw = [&](const std::string& file, const Words& more) {
        const Outcome outcome =
            sample(Words{"--checkpoint", "run", "-o", file, "--grid", "2x3", "--json"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return json::parse(outcome.out);
    };
    const json result = draw("a.png", {});
    EXPECT_EQ(result["output"], "a.png");
    EXPECT_EQ(result["images"], 6);
    const Image image = read_png(folder / "a.png");
    EXPECT_EQ(image.H, 2 + 2 * 66);  // tiles magnified to 64, gaps of 2
    EXPECT_EQ(image.W, 2 + 3 * 66);
    EXPECT_EQ(image.C, 3);
    draw("b.png", {});
    draw("c.png", {"--seed", "1"});
    draw("d.png", {"--temperature", "0.1"});
    EXPECT_EQ(read_bytes(folder / "a.png"), read_bytes(folder / "b.png"));
    EXPECT_NE(read_bytes(folder / "a.png"), read_bytes(folder / "c.png"));
    EXPECT_NE(read_bytes(folder / "a.png"), read_bytes(folder / "d.png"));
    EXPECT_EQ(draw("e.png", {"--temperature", "0,0.5,1"})["images"], 18);
    EXPECT_GT(read_png(folder / "e.png").W, 3 * image.W);
    EXPECT_EQ(draw("f.png", {"--temperature", "0.5", "--temperature", "0.7"})["temperatures"], json({0.7}));
    EXPECT_EQ(read_bytes(folder / "f.png"), read_bytes(folder / "a.png"));
}

TEST_F(Commands, SampleReportsNonFiniteImages) {
    make_run("run", 2);
    CheckpointEdit edit(folder / "run/latest.h5");
    std::vector<float>& bias = edit.tensor("/params/level1/step0/coupling/conv3/bias").values;
    for (std::size_t i = 1; i < bias.size(); i += 2) bias[i] = -1e30f;
    edit.write(folder / "broken.h5");
    const Words broken = {"--checkpoint", "broken.h5", "--no-ema"};
    const Words grid = {"--grid", "2x3", "--temperature", "0.7,1", "--json", "--quiet", "-o", "s.png"};
    const Outcome good = sample(grid + Words{"--checkpoint", "run"});
    EXPECT_EQ(good.err, "");
    EXPECT_EQ(json::parse(good.out)["not_finite"], json({0, 0}));
    const Outcome drawn = sample(grid + broken);
    EXPECT_EQ(drawn.code, 0);
    EXPECT_NE(drawn.err.find("warning: samples at temperature 1: 6 of 6 not finite (crossed out)"),
              std::string::npos)
        << drawn.err;
    EXPECT_EQ(json::parse(drawn.out)["not_finite"], json({6, 6}));
    EXPECT_EQ(json::parse(drawn.out)["out_of_range"], json({0, 0}));

    ASSERT_EQ(latent({"encode", "--checkpoint", "run", "--no-ema", "--data", "d.h5", "-o", "z.h5"}).code, 0);
    const Outcome decoded =
        latent(Words{"decode", "--latents", "z.h5", "-o", "x.h5", "--json", "--quiet"} + broken);
    EXPECT_EQ(decoded.code, 0);
    EXPECT_NE(decoded.err.find("warning: images: 10 of 10 not finite"), std::string::npos) << decoded.err;
    EXPECT_EQ(json::parse(decoded.out)["not_finite"], 10);
    const std::vector<std::uint8_t> pixels =
        Hdf5File::open(folder / "x.h5").read<std::uint8_t>("/images", {10, 8, 8, 3});
    EXPECT_EQ(pixels[0], 255);  // of the cross; not black
    // Between two checkpoints.
    const Outcome between = latent(Words{"interpolate", "--data", "d.h5", "--images", "0,1", "--steps", "3",
                                         "--batch", "2", "-o", "i.png", "--quiet"} +
                                   broken);
    EXPECT_EQ(between.code, 0);
    EXPECT_NE(between.err.find("images: 3 of 3 not finite"), std::string::npos) << between.err;
}

TEST_F(Commands, HelpAndVersion) {
    const Outcome help = train({"--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_EQ(help.err, "");
    // CLI11 2.1 writes defaults as INT=3, newer versions as INT [3].
    const auto shows = [](const Outcome& shown, const std::string& option, const std::string& value) {
        return shown.out.find(option + "=" + value) != std::string::npos ||
               shown.out.find(option + " [" + value + "]") != std::string::npos;
    };
    using Default = std::pair<const char*, const char*>;
    for (const auto& [option, value] :
         {Default{"--levels INT", "3"}, Default{"--depth INT", "32"}, Default{"--width INT", "512"},
          Default{"--lr FLOAT", "0.001"}, Default{"--batch INT", "64"}, Default{"--optimizer TEXT", "adamax"},
          Default{"--checkpoint-every INTERVAL", "15m"}, Default{"--keep INT", "3"},
          Default{"--augment TEXT", "flip"}})
        EXPECT_TRUE(shows(help, option, value)) << option;
    for (const char* text : {"--no-edge-bias", "(default on)"})
        EXPECT_NE(help.out.find(text), std::string::npos) << text;
    EXPECT_TRUE(shows(eval({"--help"}), "--split TEXT", "test"));
    EXPECT_TRUE(shows(sample({"--help"}), "--temperature TEXT", "0.7"));
    for (const Outcome& version : {train({"--version"}), eval({"--version"}), sample({"--version"})}) {
        EXPECT_EQ(version.code, 0);
        for (const char* library : {"cuBLAS", "cuDNN", "cuSOLVER", "NCCL", "MPI", "oneDNN", "HDF5"})
            EXPECT_NE(version.out.find(library), std::string::npos) << library;
    }
}

TEST_F(Commands, PlanOnlyPrints) {
    const Outcome outcome = train(run_words("run", 5) + Words{"--plan", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json plan = json::parse(outcome.out);
    std::size_t sum = 0;
    for (const char* key : {"parameters", "gradients", "moments", "ema", "derived", "state", "workspace",
                            "stored", "communication"})
        sum += plan[key].get<std::size_t>();
    EXPECT_EQ(plan["total"], sum);
    // What policy store would take, as planned for it.
    const json stored =
        json::parse(train(kSmall + Words{"--out", "run", "--plan", "--json", "--memory", "store"}).out);
    EXPECT_EQ(plan["store_more_bytes"].get<std::size_t>(), stored["total"].get<std::size_t>() - sum);
    EXPECT_FALSE(stored.contains("store_more_bytes"));
    EXPECT_EQ(plan["moments"].get<std::size_t>(), 2 * plan["parameters"].get<std::size_t>());
    EXPECT_EQ(all_files(), Words{"d.h5"});
    EXPECT_EQ(json::parse(train(run_words("run", 5) + Words{"--json", "--quiet"}).out)["planned_bytes"],
              plan["total"]);
}

TEST_F(Commands, EstimateWritesNothing) {
    const auto estimate = [&](const Words& more) {
        const Outcome outcome = train(kSmall + Words{"--out", "run", "--estimate", "--json"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(all_files(), Words{"d.h5"});
        return json::parse(outcome.out);
    };
    const json endless = estimate({});
    EXPECT_TRUE(endless["steps_left"].is_null());
    EXPECT_TRUE(endless["seconds_left"].is_null());
    const json result = estimate({"--epochs", "100", "--max-steps", "600"});
    EXPECT_EQ(result["planned_bytes"], result["peak_bytes"]);
    EXPECT_EQ(result["timed_steps"], 20);
    EXPECT_GT(result["store"]["more_bytes"].get<double>(), 0);
    EXPECT_GT(result["store"]["speedup"].get<double>(), 0.1);
    EXPECT_FALSE(estimate({"--memory", "store"}).contains("store"));
    EXPECT_EQ(result["steps_left"], 500);  // 40 images an epoch, 8 a step
    const double step = result["step_seconds"];
    EXPECT_GT(step, 1e-5);
    EXPECT_NEAR(result["images_per_s"].get<double>() * step, 8, 1e-9);
    EXPECT_NEAR(result["epoch_seconds"].get<double>() / step, 5, 1e-9);
    EXPECT_NEAR(result["seconds_left"].get<double>() / step, 500, 1e-6);
    EXPECT_EQ(estimate({"--max-minutes", "0.0001"})["seconds_left"], 0.006);
    // The length of the published run: 6.8 days at 8 times 29 images/s.
    const json published = estimate({"--preset", "cifar10", "--batch", "8"});
    EXPECT_NEAR(40 * published["published_epochs"].get<double>(), 1.363e8, 1e5);
    EXPECT_NEAR(published["published_seconds"].get<double>() * published["images_per_s"].get<double>(),
                1.363e8, 1e5);
    // Next to an existing run, and for a resumed one.
    make_run("run", 3);
    const Words files = all_files();
    const std::string rows = read_bytes(folder / "run/metrics.csv");
    for (const Words& more : {Words{}, Words{"--resume"}}) {
        const Outcome outcome = train(run_words("run", 10) + Words{"--estimate", "--json", "--quiet"} + more);
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err, "");
        EXPECT_EQ(json::parse(outcome.out)["steps_left"], more.empty() ? 10 : 7);
        EXPECT_EQ(all_files(), files);
        EXPECT_EQ(read_bytes(folder / "run/metrics.csv"), rows);
    }
    const Outcome told = train(kSmall + Words{"--out", "new", "--estimate", "--max-steps", "50"});
    EXPECT_NE(told.out.find("s per step"), std::string::npos) << told.out;
    EXPECT_NE(told.out.find("for 50 steps"), std::string::npos) << told.out;
}

TEST_F(Commands, LastRepeatedOptionWins) {
    make_run("run", 1,
             {"--lr", "0.5", "--lr", "0.001", "--warmup-epochs", "0", "--no-shuffle", "--shuffle",
              "--edge-bias", "--no-edge-bias", "--max-steps", "7", "--max-steps", "2", "--out", "other"});
    EXPECT_FALSE(std::filesystem::exists(folder / "run"));
    EXPECT_EQ(read_csv(folder / "other/metrics.csv").size(), 2u);
    EXPECT_EQ(read_csv(folder / "other/metrics.csv")[0].at("lr"), "0.001");
    const json config = json::parse(CheckpointEdit(folder / "other/latest.h5").config);
    EXPECT_EQ(config["edge_bias"], false);
    EXPECT_EQ(config["training"]["shuffle"], true);
}

TEST_F(Commands, ConfigTomlReproducesRun) {
    // Every kind of value differs from its default, and names need quotes.
    std::filesystem::rename(folder / "d.h5", folder / "it's 1, x=2.h5");
    make_run("run", 3,
             {"--data", "it's 1, x=2.h5", "--no-edge-bias", "--no-learn-top", "--no-shuffle", "--augment",
              "none", "--coupling", "additive", "--lr", "3e-05", "--seed", "18446744073709551615",
              "--eval-every", "1", "--checkpoint-every", "0.5m", "--micro-batch", "3"});
    Outcome outcome = train({"--config", "run/config.toml", "--out", "again", "--quiet"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(without(read_csv(folder / "again/metrics.csv"), kTimes),
              without(read_csv(folder / "run/metrics.csv"), kTimes));
    EXPECT_EQ(read_bytes(folder / "again/eval.csv"), read_bytes(folder / "run/eval.csv"));
    expect_equal_weights("again/latest.h5", "run/latest.h5");
    // The command line goes before the file.
    outcome = train({"--out", "more", "--max-steps", "1", "--config", "run/config.toml", "--quiet"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(read_csv(folder / "more/metrics.csv").size(), 1u);
}

// ---- Names in config.toml --------------------------------------------------------------------------------

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

TEST_F(Commands, ConfigTomlPreservesAnyName) {
    for (const std::string name :
         {"run #3", "a\"b", "it's", "it's \"both\"", "back\\slash", "two\nlines", "tab\t", "\x01\x7f", "[x]",
          "{x}", "$HOME", "~", "caf\xc3\xa9", " ", "a,b", "a=b"}) {
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

// ---- Reproducibility -------------------------------------------------------------------------------------

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
    const auto write = [&](const std::string& name, hsize_t rows, bool gzip) {
        {
            Hdf5File file = Hdf5File::create(folder / name);
            file.set_string("/", "format", "glow-dataset");
            file.set_integer("/", "version", 1);
            file.create_group("/train");
            file.close();
        }
        const hid_t file = H5Fopen((folder / name).c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
        const hsize_t sizes[] = {40, 8, 8, 3}, chunk[] = {rows, 8, 8, 3};
        const hid_t space = H5Screate_simple(4, sizes, nullptr), create = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_chunk(create, 4, chunk);
        if (gzip) H5Pset_deflate(create, 1);
        const hid_t images =
            H5Dcreate2(file, "/train/images", H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
        EXPECT_GE(H5Dwrite(images, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, set.images.data()), 0);
        H5Dclose(images);
        H5Pclose(create);
        H5Sclose(space);
        EXPECT_GE(H5Fclose(file), 0);
    };
    write("large.h5", 40, true);
    write("small.h5", 4, true);
    write("plain.h5", 40, false);
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

// ---- Interrupted runs ------------------------------------------------------------------------------------

TEST_F(Commands, SignalWritesCheckpoint) {
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) {
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

// ---- Unusual runs ----------------------------------------------------------------------------------------

TEST_F(Commands, RunsUnusualConfigurations) {
    make_dataset(folder / "gray.h5", 4, 16, 1, 3, 1, 1);
    make_dataset(folder / "alpha.h5", 8, 2, 4, 5, 0, 2);
    make_dataset(folder / "dot.h5", 2, 2, 1, 1, 1, 1);
    int number = 0;
    const auto works = [&](const Words& options, const std::string& data = "d.h5") {
        const std::string out = "run" + std::to_string(number++);
        SCOPED_TRACE(testing::PrintToString(options));
        const Outcome outcome = train(
            kSmall + Words{"--data", data, "--out", out, "--quiet", "--json", "--max-steps", "2"} + options);
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_TRUE(json::parse(outcome.out)["bpd"].is_number());
        const Outcome evaluated = eval({"--bpd", "--json", "--checkpoint", out, "--data", data});
        EXPECT_EQ(evaluated.code, 0) << evaluated.err;
        const Outcome sampled = sample({"--checkpoint", out, "--grid", "1x2", "-o", out + ".png"});
        EXPECT_EQ(sampled.code, 0) << sampled.err;
    };
    works({"--levels", "1"}, "gray.h5");
    works({"--levels", "2"}, "gray.h5");
    works({"--levels", "1"}, "alpha.h5");
    works({"--levels", "1", "--depth", "1", "--width", "1", "--batch", "1", "--init-batch", "1"}, "dot.h5");
    works({"--levels", "3"});  // one pixel at the top
    works({"--width", "1", "--depth", "1", "--batch", "1"});
    works({"--init-batch", "1"});
    works({"--init-batch", "16777216"});
    works({"--batch", "100"});  // more than the data set has
    works({"--batch", "7", "--micro-batch", "2", "--tile", "3"});
    works({"--n-bits", "1"});
    works({"--memory", "store"});
    works({"--anchor-every", "1"});
    works({"--coupling", "additive", "--no-learn-top", "--no-edge-bias"});
    works({"--max-steps", "0", "--epochs", "0.01"});
    works({"--max-steps", "0", "--max-minutes", "0.002"});
    works({"--max-steps", "281474976710656", "--epochs", "0.3"});
    works({"--eval-every", "0", "--sample-every", "0", "--checkpoint-every", "0"});
    works({"--lr", "0", "--beta1", "0", "--weight-decay", "0.5"});
    works({"--threads", "5"});
}

TEST_F(Commands, SheetOfLargeImagesFitsPlannedMemory) {
    make_dataset(folder / "large.h5", 512, 512, 3, 2, 0, 0);
    const Outcome outcome = train({"--data", "large.h5", "--out", "run", "--levels", "1", "--depth", "1",
                                   "--width", "4", "--batch", "1", "--max-steps", "1", "--quiet", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json result = json::parse(outcome.out);
    EXPECT_LE(result["process_growth_bytes"].get<double>(),
              allowed_growth(result["planned_bytes"].get<double>()));
    const Image sheet = read_png(folder / "run/samples/step-00000001.png");
    EXPECT_EQ(sheet.H, 2 * (22 + 2 + 514) + 8);  // one row a temperature instead of four
}

TEST_F(Commands, ShowsProgressOnlyOnTerminals) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    ASSERT_GE(terminal, 0);
    ASSERT_EQ(grantpt(terminal), 0);
    ASSERT_EQ(unlockpt(terminal), 0);
    Process process(folder.path(), GLOW_TRAIN_PROGRAM,
                    kSmall + Words{"--out", "run", "--max-minutes", "0.03"},
                    {.stderr_path = ptsname(terminal), .largest_file = RLIM_INFINITY});
    std::string shown;
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    const auto drain = [&] {
        char buffer[4096];
        for (ssize_t n; (n = read(terminal, buffer, sizeof buffer)) > 0;)
            shown.append(buffer, static_cast<std::size_t>(n));
        return false;
    };
    process.wait_until(drain);
    drain();
    EXPECT_EQ(process.wait().code, 0);
    close(terminal);
    const auto has = [&shown](const char* pattern) { return std::regex_search(shown, std::regex(pattern)); };
    // One line that redraws itself, instead of a line per logged step.
    EXPECT_TRUE(
        has("\r\033\\[K\\[#*-*\\] +[0-9]+%  step [0-9]+  [0-9.]+ bits/dim  [0-9.]+ images/s  0m0[0-9]s left"))
        << shown;
    EXPECT_FALSE(has("step +[0-9]+  epoch")) << shown;
    // The first evaluation comes early, with its error, on a line of its own.
    EXPECT_TRUE(has(
        "\r\033\\[Kstep +[0-9]+  validation [0-9.]+ \\+- [0-9.]+ bits/dim \\(EMA\\), [0-9.]+ \\+- [0-9.]+ \\(raw\\), "
        "6 images\r\n"))
        << shown;
    EXPECT_GE(read_csv(folder / "run/eval.csv").size(), 4u);
}

}  // namespace
}  // namespace glow
