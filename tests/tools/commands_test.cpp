// Output and files of glow_train, glow_eval and glow_sample as programs.
#include <cmath>
#include <utility>

#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

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
    for (const Outcome& shown : {eval({"--help"}), train({"--help"})})
        for (const char* const former : {"--bpd", "--dry-run"})  // accepted, but not shown
            EXPECT_EQ(shown.out.find(former), std::string::npos) << former;
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
    Outcome told = train(kSmall + Words{"--out", "new", "--estimate", "--max-steps", "50"});
    EXPECT_NE(told.out.find("s per step"), std::string::npos) << told.out;
    EXPECT_NE(told.out.find("for 50 steps"), std::string::npos) << told.out;
    told = train(kSmall +
                 Words{"--out", "new", "--estimate", "--max-steps", "1000000000", "--max-minutes", "1"});
    EXPECT_NE(told.out.find("the run takes 1m00s, excluding"), std::string::npos) << told.out;
}

TEST_F(Commands, EstimateOfResumedRunCountsFromItsLimit) {
    const auto estimate = [&](const Words& more) {
        return train(kSmall + Words{"--out", "run", "--estimate", "--json", "--quiet", "--resume"} + more)
            .out;
    };
    // Finished by its steps, long before --max-minutes.
    make_run("run", 3);
    const json finished = json::parse(estimate({"--max-steps", "3", "--max-minutes", "60"}));
    EXPECT_EQ(finished["steps_left"], 0);
    EXPECT_EQ(finished["seconds_left"], 0);
    const Outcome told = train({"--out", "run", "--estimate", "--resume"});
    EXPECT_NE(told.out.find("the run has reached its limit"), std::string::npos) << told.out;
    // The minutes of a part count from now, those of a run that decays from its start.
    const Words timed = {"--max-steps", "0", "--save-limits", "--max-minutes"};
    const Words decay = {"--lr-schedule", "cosine"};
    EXPECT_EQ(json::parse(estimate(timed + Words{"60"}))["seconds_left"], 3600);
    const json left = json::parse(estimate(decay + timed + Words{"60"}))["seconds_left"];
    EXPECT_TRUE(left > 3500 && left < 3600) << left;
    EXPECT_EQ(json::parse(estimate(decay + timed + Words{"1e-9"}))["seconds_left"], 0);
    // Warnings come once, although a second model is timed too.
    const Outcome warned = train(Words{"--out", "run", "--estimate", "--resume", "--max-steps", "9"} + decay);
    const std::string warning = "the decay of the learning rate ends at step 3";
    const std::size_t at = warned.err.find(warning);
    ASSERT_NE(at, std::string::npos) << warned.err;
    EXPECT_EQ(warned.err.find(warning, at + 1), std::string::npos) << warned.err;
}

TEST_F(Commands, RejectsGpuOptionsWithoutGpu) {
    if (cuda_problem().empty()) GTEST_SKIP() << "this machine has a GPU";
    make_run("run", 1);
    const Words before = all_files(), model = {"--checkpoint", "run"};
    for (const auto& [options, part] :
         {std::pair{Words{"--device", "cuda"}, "cuda"}, {Words{"--precision", "tf32"}, "tf32"}}) {
        expect_error(train(run_words("new", 2) + Words{"--quiet"} + options), 2, part);
        expect_error(eval(Words{"--bpd", "--data", "d.h5"} + model + options), 2, part);
    }
    expect_error(sample(model + Words{"-o", "s.png", "--device", "cuda"}), 2, "cuda");
    EXPECT_EQ(all_files(), before);
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

}  // namespace
}  // namespace glow
