// Limits on memory: of a run (--max-memory), of a process (ulimit), and of this machine.
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct MemoryLimits : Commands {
    Outcome shell(const std::string& line) const {
        return Process(folder.path(), "/bin/bash", {"-c", line}).wait();
    }
};

TEST_F(MemoryLimits, PlanThatDoesNotFitIsRefused) {
    const Outcome outcome =
        train(run_words("run", 1) + Words{"--plan", "--device", "cpu", "--batch", "16777216"});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.out.find("memory plan:"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.err.find("glow_train: error: the run needs "), std::string::npos) << outcome.err;
    const Outcome fits = train(run_words("run", 1) + Words{"--plan", "--device", "cpu"});
    EXPECT_EQ(fits.code, 0);
    EXPECT_NE(fits.out.find("a batch of all 40 training images fits too"), std::string::npos) << fits.out;
}

#if !defined(__SANITIZE_ADDRESS__)  // which needs more memory, and all addresses
TEST_F(MemoryLimits, PlanRespectsLimitsOfProcess) {
    std::string words;
    for (const std::string& word : run_words("run", 1) + Words{"--device", "cpu", "--batch", "300000"})
        words += " " + word;
    ASSERT_EQ(shell(GLOW_TRAIN_PROGRAM " --plan" + words).code, 0);
    const Outcome outcome = shell("ulimit -d 900000; exec " GLOW_TRAIN_PROGRAM " --plan" + words);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.err.find("ulimit -d leaves each process"), std::string::npos) << outcome.err;
    const Outcome small =
        shell("ulimit -d 900000; exec " GLOW_TRAIN_PROGRAM " --plan --json" + words + " --batch 8");
    ASSERT_EQ(small.code, 0) << small.err;
    EXPECT_LT(json::parse(small.out)["machine"], 900 << 20);
}

TEST_F(MemoryLimits, MaxMemoryFitsRun) {
    make_dataset(folder / "l.h5", 32, 32, 3, 600, 0, 0);
    const Words words =
        kSmall + Words{"--data",       "l.h5", "--depth",     "4", "--width",  "64",  "--batch", "512",
                       "--init-batch", "16",   "--max-steps", "1", "--device", "cpu", "--json",  "--quiet"};
    const auto planned = [&](const Words& more) {
        const Outcome outcome = train(words + Words{"--out", "none", "--plan"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return json::parse(outcome.out);
    };
    const json whole = planned({"--memory", "auto", "--act-budget", "8GiB"}),
               small = planned({"--max-memory", "160MiB"}), large = planned({"--max-memory", "1GiB"});
    EXPECT_GT(whole["total"], 300 << 20) << whole;
    EXPECT_LT(small["total"], 32 << 20);
    EXPECT_GT(small["micro_batch"], 0);
    EXPECT_LT(small["micro_batch"], 512);
    EXPECT_GT(large["total"], small["total"]);
    EXPECT_LE(large["total"], 896 << 20);
    EXPECT_LT(large["network_units"], small["network_units"]) << "no maps saved";
    // A run has what was planned, in less memory than allowed, and resumes.
    const Outcome run = train(words + Words{"--out", "run", "--max-memory", "160MiB"});
    ASSERT_EQ(run.code, 0) << run.err;
    const json result = json::parse(run.out);
    EXPECT_EQ(result["planned_bytes"], small["total"]);
    EXPECT_EQ(result["peak_bytes"], small["total"]);
    if (cuda_problem().find("no CUDA") !=
        std::string::npos) {  // CUDA's libraries are larger than most budgets
        EXPECT_LT(run.peak_bytes, 160 << 20);
    }
    const Outcome resumed =
        train({"--out", "run", "--resume", "--max-steps", "2", "--device", "cpu", "--plan", "--json"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(json::parse(resumed.out)["micro_batch"], small["micro_batch"]);
    // With less memory, in smaller micro-batches.
    const index_t micro_batch = small["micro_batch"];
    const Outcome less =
        train({"--out", "run", "--resume", "--max-steps", "2", "--device", "cpu", "--max-memory", "145MiB"});
    EXPECT_EQ(less.code, 0) << less.err;
    EXPECT_NE(less.err.find("changed on resume: micro-batch is "), std::string::npos) << less.err;
    EXPECT_NE(less.err.find(" but was " + std::to_string(micro_batch)), std::string::npos) << less.err;
    expect_error(train(words + Words{"--out", "none", "--max-memory", "100MiB"}), 2,
                 "--max-memory 100.0 MiB: a process needs");
}

// Every command works or says what is missing, whatever the limit. OpenBLAS would retry forever without its
// buffers.
TEST_F(MemoryLimits, LimitsOnMemoryAreReported) {
    make_run("run", 1);
    ASSERT_EQ(shell(GLOW_COMPRESS_PROGRAM " --checkpoint run --data d.h5 -o ok.glow --threads 2").code, 0);
    const std::string device = " --device cpu --threads 2", model = device + " --checkpoint run";
    const Words commands = {
        GLOW_TRAIN_PROGRAM " --data d.h5 --out new --levels 2 --depth 2 --width 8 --batch 8 --max-steps 2" +
            device,
        GLOW_TRAIN_PROGRAM " --data d.h5 --out new --levels 2 --depth 2 --width 8 --batch 8 --plan" + device,
        GLOW_EVAL_PROGRAM " --bpd --data d.h5" + model,
        GLOW_SAMPLE_PROGRAM " --grid 2x2 -o s.png" + model,
        GLOW_LATENT_PROGRAM " reconstruct --data d.h5 -o l.png" + model,
        GLOW_COMPRESS_PROGRAM " --checkpoint run --data d.h5 -o x.glow --threads 2",
        GLOW_DECOMPRESS_PROGRAM " --checkpoint run ok.glow -o x.h5 --threads 2",
        GLOW_MEMORY_PROGRAM " --depths 1 --sizes 8 --batches 2 --width 8 --device cpu",
        GLOW_DATA_PROGRAM " synthetic gauss --train 10 --test 2 --force -o g.h5"};
    int worked = 0, refused = 0, turn = 0;
    const std::pair<const char*, std::vector<int>> limits[] = {
        {"-d", {20, 100, 150, 300, 600, 1400, 2000}}, {"-v", {60, 200, 400, 1000, 1460, 1530, 4000}}};
    for (const auto& [limit, sizes] : limits)
        for (const int megabytes : sizes) {
            const std::string set =
                "ulimit " + std::string(limit) + " " + std::to_string(megabytes * 1000) + "; ";
            for (const std::string& command : commands) {
                if (++turn % 2 == 0)
                    continue;  // every second limit for each command, which are an odd number
                fs::remove_all(folder / "new");
                const Outcome outcome =
                    shell("unset OPENBLAS_NUM_THREADS; " + set + "exec timeout -s KILL 60 " + command);
                SCOPED_TRACE(set + command + "\n" + outcome.err);
                if (outcome.code == 127) {  // the loader could not map the libraries, and said so
                    EXPECT_NE(outcome.err.find("error while loading shared libraries"), std::string::npos);
                    continue;
                }
                EXPECT_TRUE(outcome.code >= 0 && outcome.code <= 2) << outcome.code;
                (outcome.code == 0 ? worked : refused) += 1;
                if (outcome.code != 0) {
                    EXPECT_NE(outcome.err.find("error: "), std::string::npos);
                }
            }
        }
    EXPECT_GT(worked, 10);
    EXPECT_GT(refused, 5);
}
#endif

}  // namespace
}  // namespace glow
