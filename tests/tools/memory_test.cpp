// glow_memory as a program: constant memory, measured in separate processes, and its command line.
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

struct MemoryScaling : testing::Test {
    // The rows of a run by depth.
    std::map<index_t, nlohmann::json> rows(const Words& arguments) const {
        const Outcome outcome =
            Process(folder.path(), GLOW_MEMORY_PROGRAM, arguments + Words{"--json"}).wait();
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        std::map<index_t, nlohmann::json> by_depth;
        if (outcome.code != 0) return by_depth;
        const nlohmann::json result = nlohmann::json::parse(outcome.out);
        for (const nlohmann::json& row : result["rows"]) by_depth[row["depth"].get<index_t>()] = row;
        return by_depth;
    }
    static double without_model(const nlohmann::json& row, const char* bytes) {
        double rest = row[bytes];
        for (const char* category :
             {"params_bytes", "grads_bytes", "moments_bytes", "ema_bytes", "derived_bytes"})
            rest -= row[category].get<double>();
        return rest;
    }
    TemporaryFolder folder;
};

// One state of an image is 24 KiB, half of that after each split: saving all of them for 512 steps per level
// would take 21 MiB per image. On a GPU the batch is large enough to exceed the CUDA context.
struct Setting {
    index_t batch = cuda_problem().empty() ? 32 : 4;
    Words words = {"--sizes", "32",      "--batches", std::to_string(batch), "--levels",
                   "3",       "--width", "16",        "--no-cosine"};
    double states = static_cast<double>(batch) * 512 * 1.75 * 24 * 1024;
};

#if !defined(__SANITIZE_ADDRESS__)  // which keeps freed memory
TEST_F(MemoryScaling, ActivationBytesAreConstantInDepth) {
    const Setting setting;
    const auto measured = rows(setting.words + Words{"--modes", "reconstruct", "--depths", "4,32,128,512"});
    ASSERT_EQ(measured.size(), 4u);
    const nlohmann::json& shallow = measured.at(4);
    const double flat = without_model(shallow, "process_bytes"),
                 room = 0.05 * flat + (64 << 20) + cuda_context_bytes();
    ASSERT_LT(room, setting.states);
    for (const auto& [depth, row] : measured) {
        EXPECT_EQ(without_model(row, "peak_bytes"), without_model(shallow, "peak_bytes")) << depth;
        EXPECT_EQ(row["peak_bytes"], row["predicted_bytes"]) << depth;
        // Growth of the process, including its own tables and libraries.
        EXPECT_NEAR(without_model(row, "process_bytes"), flat, room) << depth;
        EXPECT_LE(row["process_bytes"].get<double>(), allowed_growth(row["predicted_bytes"])) << depth;
        // The arenas account for it: no activations outside them.
        EXPECT_GE(row["process_bytes"].get<double>(), row["peak_bytes"].get<double>()) << depth;
    }
    EXPECT_GT(measured.at(512)["params_bytes"].get<double>(), 100 * shallow["params_bytes"].get<double>());
}
#endif

// The actnorms of the last level see one value per channel, or two, and so no deviation in most directions.
TEST_F(MemoryScaling, OnePixelOfFewImagesIsMeasured) {
    for (const char* const batch : {"1", "2"}) {
        const auto measured = rows({"--sizes", "8", "--levels", "3", "--batches", batch, "--depths", "16",
                                    "--width", "8", "--modes", "reconstruct"});
        ASSERT_EQ(measured.size(), 1u);
        EXPECT_GT(measured.at(16)["grad_cosine"].get<double>(), 0.99);
    }
}

TEST_F(MemoryScaling, SavedStatesAreCounted) {
    const Setting setting;
    const auto measured = rows(setting.words + Words{"--modes", "checkpoint", "--depths", "4,512"});
    ASSERT_EQ(measured.size(), 2u);
    const double flat = without_model(measured.at(4), "process_bytes");
    EXPECT_GT(without_model(measured.at(512), "peak_bytes"),
              without_model(measured.at(4), "peak_bytes") + 0.95 * setting.states);
    EXPECT_GT(without_model(measured.at(512), "process_bytes"), 1.05 * flat + (64 << 20));
}

TEST_F(MemoryScaling, FusedUpdatesAndBf16MomentsMatchPlan) {
    const Words with_optimizer =
        Setting().words + Words{"--modes", "reconstruct", "--depths", "16", "--with-optimizer"};
    const auto plain = rows(with_optimizer).at(16);
    const auto lean = rows(with_optimizer + Words{"--fused-update", "--moments", "bf16"}).at(16);
    EXPECT_EQ(lean["peak_bytes"], lean["predicted_bytes"]);
    EXPECT_LT(lean["grads_bytes"].get<double>(), plain["grads_bytes"].get<double>() / 16);
    EXPECT_NEAR(2 * lean["moments_bytes"].get<double>(), plain["moments_bytes"].get<double>(),
                256);  // rounding
    EXPECT_EQ(lean["ema_bytes"], plain["ema_bytes"]);
}

TEST_F(MemoryScaling, LastRepeatedListWins) {
    const Words dry = {"--predict", "--modes", "store",    "--modes", "reconstruct",
                       "--depths",  "2,3",     "--depths", "4,5"};
    const auto predicted = rows(dry);
    ASSERT_EQ(predicted.size(), 2u);
    for (const index_t depth : {4, 5}) EXPECT_EQ(predicted.at(depth)["mode"], "reconstruct");
}

TEST_F(MemoryScaling, RepeatsGiveMedianAndQuartiles) {
    const Words small = {"--sizes", "8",        "--batches", "2",       "--levels", "1",          "--width",
                         "4",       "--depths", "1",         "--modes", "store",    "--no-cosine"};
    const auto repeated = rows(small + Words{"--repeats", "3"});
    ASSERT_EQ(repeated.size(), 1u);
    const nlohmann::json& row = repeated.at(1);
    EXPECT_EQ(row["repeats"], 3);
    EXPECT_LE(row["images_per_s_q1"].get<double>(), row["images_per_s"].get<double>());
    EXPECT_GE(row["images_per_s_q3"].get<double>(), row["images_per_s"].get<double>());
    EXPECT_LT(row["images_per_s_q1"].get<double>(), row["images_per_s_q3"].get<double>());
    const auto once = rows(small);
    ASSERT_EQ(once.size(), 1u);
    EXPECT_EQ(once.at(1)["repeats"], 1);
    EXPECT_TRUE(once.at(1)["images_per_s_q1"].is_null());
    EXPECT_EQ(once.at(1)["peak_bytes"], row["peak_bytes"]);
}

// A picture that cannot be drawn is an error before anything is measured.
TEST_F(MemoryScaling, RefusesPlotBeforeMeasuring) {
    const Outcome outcome =
        Process(folder.path(), GLOW_MEMORY_PROGRAM, {"--csv", "rows.csv", "--plot", "rows.gif"}).wait();
    EXPECT_NE(outcome.code, 0);
    EXPECT_NE(outcome.err.find("--plot"), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "rows.csv"));
}

// Rows are written as they are measured, in place of what the file held.
TEST_F(MemoryScaling, KeepsFilesOfOthers) {
    const Words predict = {"--predict", "--depths", "2",       "--sizes", "8",
                           "--levels",  "1",        "--width", "8",       "--quiet"};
    const auto write = [&](const std::string& name) {
        Words words = predict;
        words.insert(words.end(), {"--csv", name});
        return Process(folder.path(), GLOW_MEMORY_PROGRAM, words).wait();
    };
    write_bytes(folder / "d.h5", "a data set");
    write_bytes(folder / "notes", "notes\n");
    write_bytes(folder / "bits.csv", "index,bpd\n0,3.5\n");
    for (const auto& [name, text] :
         {std::pair{"d.h5", "a data set"}, {"notes", "notes\n"}, {"bits.csv", "index,bpd\n0,3.5\n"}}) {
        expect_error(write(name), 2, name);
        EXPECT_EQ(read_bytes(folder / name), text);
    }
    write_bytes(folder / "empty.csv", "");
    for (int i = 0; i < 2; ++i) EXPECT_EQ(write("empty.csv").code, 0);
}

TEST_F(MemoryScaling, SaysWhereASearchEnds) {
    const auto predicted = [&](const Words& words) {
        const Outcome outcome = Process(folder.path(), GLOW_MEMORY_PROGRAM,
                                        Words{"--predict", "--sizes", "8", "--levels", "1", "--depths", "1",
                                              "--width", "8", "--modes", "reconstruct"} +
                                            words)
                                    .wait();
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.err;
    };
    const std::string none = predicted({"--under", "0.000001"}), all = predicted({"--under", "1000000"});
    EXPECT_NE(none.find("no depth fits in 1e-06 GiB"), std::string::npos) << none;
    EXPECT_NE(all.find("ends at depth 4096; more may fit"), std::string::npos) << all;
}

TEST_F(MemoryScaling, RejectsBadLists) {
    for (const Words& bad :
         {Words{"--depths", "4,x"}, Words{"--depths", "4,,5"}, Words{"--depths", "0"}, Words{"--depths", ""},
          Words{"--sizes", "99999999999999999999"}, Words{"--under", "-1"}, Words{"--modes", "nothing"},
          Words{"--fused-update"}, Words{"--moments", "bf16"}, Words{"--under", "1e300"},
          Words{"--largest", "batch"}, Words{"--repeats", "3"}, Words{"--passes", "2"}, Words{"--no-cosine"},
          Words{"--modes", "store", "--anchor-every", "2"},
          Words{"--modes", "store,checkpoint", "--rounding-bits"},
          Words{"--modes", "reconstruct", "--float-states"}, Words{"--act-budget", "1GiB"}})
        EXPECT_EQ(Process(folder.path(), GLOW_MEMORY_PROGRAM, bad + Words{"--predict"}).wait().code, 2)
            << bad[0] << " " << bad.back();
    for (const char* const point : {"", "x", "-1", "1,2", "[\"store\", 1]", "[1, 1, 1, 8, 1]", "{}"})
        expect_error(Process(folder.path(), GLOW_MEMORY_PROGRAM, {"--point", point}).wait(), 2, "--point");
}

}  // namespace
}  // namespace glow
