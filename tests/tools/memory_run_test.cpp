// Runs with memory-saving options: fused updates, bf16 moments, audits.
#include "kernels/math.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

// Shares the commands' fixture with its small data set.
struct MemoryRuns : Commands {
    // A run's checkpoint with channel mixings that shrink every other output, so that reconstruction drifts.
    void make_ill_conditioned(const std::string& out) const {
        make_run("start", 1, {"--levels", "1", "--depth", "8"});
        CheckpointEdit edit(folder / "start/latest.h5");
        for (auto& [name, tensor] : edit.tensors)
            if (name.find("invconv/weight") != std::string::npos)
                for (index_t o = 0; o < tensor.shape[0]; o += 2)
                    for (index_t i = 0; i < tensor.shape[1]; ++i)
                        tensor.values[o * tensor.shape[1] + i] /= 60;
        edit.write(folder / out);
    }
};

TEST_F(MemoryRuns, FusedUpdatesGiveSameRun) {
    make_run("plain", 4, {"--eval-every", "2"});
    make_run("fused", 4, {"--eval-every", "2", "--fused-update"});
    make_run("fused-parts", 2, {"--fused-update"});
    make_run("fused-parts", 4, {"--fused-update", "--resume", "auto"});
    expect_equal_weights("fused/latest.h5", "plain/latest.h5");
    expect_equal_weights("fused-parts/latest.h5", "plain/latest.h5");
    EXPECT_EQ(read_bytes(folder / "fused/eval.csv"), read_bytes(folder / "plain/eval.csv"));
}

TEST_F(MemoryRuns, FusedRunRollsBackOnDrift) {
    make_ill_conditioned("ill.h5");
    // How far 60^8 amplifies rounding, about 1e-5 here, depends on the libraries; use a tolerance far below.
    const Words words = {
        "--levels",    "1",      "--depth", "8",   "--fused-update", "--drift-tolerance", "1e-8",
        "--init-from", "ill.h5", "--lr",    "1e-6"};
    const Outcome outcome = train(run_words("run", 3) + words);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("step 1: reconstructed images differ"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("rolled back to step 0, saving every state from now on"), std::string::npos)
        << outcome.err;
    const Table metrics = read_csv(folder / "run/metrics.csv");
    ASSERT_EQ(metrics.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(metrics[i].at("step"), std::to_string(i + 1));
        EXPECT_LE(std::stod(metrics[i].at("drift")), 1e-8);
    }
    // Equals a run that saved every state from the start, and continues that way when resumed.
    make_run("exact", 3, words + Words{"--memory", "checkpoint"});
    expect_equal_weights("run/latest.h5", "exact/latest.h5");
    const Outcome resumed = train({"--out", "run", "--resume", "--max-steps", "4"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(resumed.err.find("rolled back to step"), std::string::npos) << resumed.err;
}

TEST_F(MemoryRuns, FusedNonFiniteStepKeepsCheckpoints) {
    make_run("run", 2, {"--fused-update"});
    const Outcome outcome = train(run_words("run", 50) + Words{"--fused-update", "--resume", "auto", "--lr",
                                                               "1e30", "--warmup-epochs", "0"});
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_EQ(eval({"--bpd", "--checkpoint", "run", "--data", "d.h5", "--split", "test"}).code, 0);
}

TEST_F(MemoryRuns, FusedPlanHasGradientsOfOneLayer) {
    const auto plan = [&](const Words& more) {
        const Outcome outcome =
            train(run_words("run", 2) + Words{"--depth", "8", "--quiet", "--json"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return nlohmann::json::parse(outcome.out);
    };
    const auto whole = plan({"--plan"}), fused = plan({"--plan", "--fused-update", "--moments", "bf16"});
    EXPECT_LT(fused["gradients"].get<double>(), whole["gradients"].get<double>() / 4);
    // Arrays are whole cache lines.
    EXPECT_NEAR(2 * fused["moments"].get<double>(), whole["moments"].get<double>(), 256);
    const auto run = plan({"--fused-update", "--moments", "bf16"});
    EXPECT_EQ(run["planned_bytes"], run["peak_bytes"]);
    EXPECT_EQ(run["planned_bytes"], fused["total"]);
}

TEST_F(MemoryRuns, Bf16MomentsResumeExactlyAndAreSavedAsFloats) {
    const Words narrow = {"--moments", "bf16"};
    make_run("whole", 6, narrow);
    make_run("parts", 3, narrow);
    make_run("parts", 6, narrow + Words{"--resume", "auto"});
    expect_equal_weights("parts/latest.h5", "whole/latest.h5");
    // m and v are representable in bf16, the averages are not.
    const CheckpointEdit file(folder / "whole/latest.h5");
    index_t narrow_values = 0, ema_values = 0;
    const auto is_narrow = [](float x) { return static_cast<double>(x) == widen(round_to<bfloat16>(x)); };
    for (const auto& [name, tensor] : file.tensors)
        for (const float x : tensor.values) {
            if (name.starts_with("/optimizer/")) {
                EXPECT_TRUE(is_narrow(x)) << name;
                ++narrow_values;
            }
            ema_values += name.starts_with("/ema/") && !is_narrow(x);
        }
    EXPECT_GT(narrow_values, 1000);
    EXPECT_GT(ema_values, 1000);
    // Float moments continue from there, and the results differ.
    const Outcome wide = train(run_words("parts", 7) + Words{"--resume", "auto", "--moments", "fp32"});
    EXPECT_EQ(wide.code, 0) << wide.err;
    EXPECT_NE(wide.err.find("moments is \"fp32\" but was \"bf16\""), std::string::npos) << wide.err;
}

TEST_F(MemoryRuns, AuditsAreReported) {
    const Outcome outcome = train(run_words("run", 5) + Words{"--audit-every", "2"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("step 4: audit of 4 images"), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("FAILED"), std::string::npos) << outcome.err;
    const Table audits = read_csv(folder / "run/audit.csv");
    ASSERT_EQ(audits.size(), 2 * (2 * 2 + 2 + 1u));  // steps, split, top, all
    EXPECT_EQ(audits.back().at("step"), "4");
    EXPECT_EQ(audits.back().at("layer"), "all");
    EXPECT_GE(std::stod(audits.back().at("cosine")), 0.9999);
    // They have no side effects.
    make_run("plain", 5);
    expect_equal_weights("run/latest.h5", "plain/latest.h5");

    // A failure: drift without a remedy.
    make_ill_conditioned("ill.h5");
    CheckpointEdit edit(folder / "ill.h5");
    for (auto& [name, tensor] : edit.tensors)
        if (name.find("invconv/weight") != std::string::npos)
            for (index_t o = 0; o < tensor.shape[0]; o += 2)
                for (index_t i = 0; i < tensor.shape[1]; ++i) tensor.values[o * tensor.shape[1] + i] /= 100;
    edit.write(folder / "worse.h5");
    const Outcome failed =
        train(run_words("failed", 1) + Words{"--levels", "1", "--depth", "8", "--init-from", "worse.h5",
                                             "--audit-every", "1", "--drift-tolerance", "1e30", "--lr", "0"});
    EXPECT_NE(failed.err.find("FAILED"), std::string::npos) << failed.err;
}

TEST_F(MemoryRuns, RejectsOptionsIncompatibleWithFusedUpdates) {
    expect_error(train(run_words("run", 1) + Words{"--fused-update", "--clip-norm", "1"}), 2, "--clip-norm");
    expect_error(train(run_words("run", 1) + Words{"--fused-update", "--micro-batch", "2"}), 2,
                 "--micro-batch");
    expect_error(train(run_words("run", 1) + Words{"--moments", "fp16"}), 2, "--moments");
    EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

}  // namespace
}  // namespace glow
