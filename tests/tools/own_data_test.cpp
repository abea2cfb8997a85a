// Images of every origin through all commands: made into a data set, trained on, evaluated, sampled.
#include <cmath>

#include "tests/data/make_files.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using json = nlohmann::json;

struct UserData : Commands {
    Outcome data(const Words& arguments) const {
        return Process(folder.path(), GLOW_DATA_PROGRAM, arguments).wait();
    }
    // Three steps of a small model, then evaluation of the test images, samples, and the run's sample sheet.
    void expect_works(const std::string& set, const Words& more = {}) const {
        const DatasetInfo info = describe_dataset(folder / set);
        const std::string run = set + ".run";
        const Outcome trained =
            train(Words{"--data", set, "--out", run, "--levels", "2", "--depth", "1", "--width", "8",
                        "--batch", "4", "--threads", "2", "--max-steps", "3", "--log-every", "1", "--quiet"} +
                  more);
        ASSERT_EQ(trained.code, 0) << trained.err;
        const Table rows = read_csv(folder / (run + "/metrics.csv"));
        ASSERT_EQ(rows.size(), 3u);
        for (const auto& row : rows) EXPECT_TRUE(std::isfinite(std::stod(row.at("bpd")))) << row.at("bpd");
        EXPECT_EQ(read_csv(folder / (run + "/eval.csv")).size(), 2u);  // raw and averaged weights
        const Image sheet = read_png(folder / (run + "/samples/step-00000003.png"));
        EXPECT_EQ(sheet.C, info.C);

        const Outcome evaluated = eval({"--bpd", "--checkpoint", run, "--data", set, "--json", "--quiet"});
        ASSERT_EQ(evaluated.code, 0) << evaluated.err;
        const json result = json::parse(evaluated.out);
        EXPECT_EQ(result["images"], info.test);
        EXPECT_TRUE(std::isfinite(result["bpd"].get<double>()));

        const Outcome sampled = sample({"--checkpoint", run, "--grid", "2x2", "-o", set + ".png"});
        ASSERT_EQ(sampled.code, 0) << sampled.err;
        EXPECT_EQ(read_png(folder / (set + ".png")).C, info.C);
    }
    // N pictures of every kind and different sizes: JPEG, RGB, gray, with alpha.
    void write_pictures(const std::string& to, int N) const {
        std::filesystem::create_directories(folder / to);
        for (int n = 0; n < N; ++n) {
            const index_t channels[] = {3, 3, 1, 4, 2};
            const Image image = make::smooth(20 + n, 50 - n, channels[n % 5], 3 * n);
            const std::string name = fmt::format("{}/{:02}", to, n);
            n % 5 == 0 ? write_bytes(folder / (name + ".JPG"), make::jpeg(image))
                       : write_bytes(folder / (name + ".png"), make::png(image));
        }
    }
    void write_what_is_no_picture(const std::string& to) const {
        write_bytes(folder / (to + "/notes.txt"), "a list of the pictures");
        write_bytes(folder / (to + "/cut.png"), make::png(make::smooth(40, 40, 3)).substr(0, 200));
    }
    // Exactly the broken file is reported and skipped; the text file is counted.
    static void expect_left_out(const Outcome& made, const std::string& broken) {
        ASSERT_EQ(made.code, 0) << made.err;
        EXPECT_NE(made.err.find("are skipped: 1 .txt"), std::string::npos) << made.err;
        const json left_out = json::parse(made.out)["left_out"];
        ASSERT_EQ(left_out.size(), 1u) << left_out;
        EXPECT_NE(left_out[0].get<std::string>().find(broken), std::string::npos) << left_out;
    }
};

TEST_F(UserData, FolderWithEveryPictureKind) {
    write_pictures("pictures", 20);
    write_what_is_no_picture("pictures");
    const Words words = {"images", "pictures", "--size", "16", "--test", "0.2", "--valid", "0.2", "--json"};
    expect_left_out(data(words + Words{"-o", "rgb.h5"}), "pictures/cut.png");
    const DatasetInfo info = describe_dataset(folder / "rgb.h5");
    EXPECT_EQ(info.train + info.valid + info.test, 20);
    EXPECT_EQ((std::vector<index_t>{info.H, info.W, info.C}), (std::vector<index_t>{16, 16, 3}));
    expect_works("rgb.h5");
    expect_left_out(data(words + Words{"--channels", "1", "-o", "gray.h5"}), "pictures/cut.png");
    EXPECT_EQ(describe_dataset(folder / "gray.h5").C, 1);
    expect_works("gray.h5");
}

TEST_F(UserData, FoldersTrainConditionalModel) {
    for (const char* name : {"sets/ants", "sets/bees", "sets/cats"}) write_pictures(name, 10);
    const Outcome made = data({"images", "sets", "--size", "16", "--valid", "0.2", "-o", "classes.h5"});
    ASSERT_EQ(made.code, 0) << made.err;
    EXPECT_EQ(describe_dataset(folder / "classes.h5").n_classes, 3);
    expect_works("classes.h5", {"--y-cond", "--weight-y", "0.01"});
    const Outcome sampled = sample({"--checkpoint", "classes.h5.run", "--class", "2", "-o", "two.png"});
    EXPECT_EQ(sampled.code, 0) << sampled.err;
    expect_error(sample({"--checkpoint", "classes.h5.run", "--class", "3", "-o", "none.png"}), 2, "0..2");
}

// A conditional model takes the classes of photographs from their folders, as a data set of them does.
TEST_F(UserData, FoldersAreClassesOfConditionalModel) {
    for (const char* name : {"sets/ants", "sets/bees", "sets/cats"}) write_pictures(name, 10);
    ASSERT_EQ(
        data({"images", "sets", "--size", "16", "--test", "0", "--valid", "0", "-o", "classes.h5"}).code, 0);
    ASSERT_EQ(train({"--data", "classes.h5", "--out", "run", "--levels", "2", "--depth", "1", "--width", "8",
                     "--batch", "4", "--max-steps", "3", "--y-cond", "--lr", "0.1", "--quiet"})
                  .code,
              0);
    const auto bpd = [&](const Words& more) {
        const Outcome outcome = eval(Words{"--checkpoint", "run", "--dequant", "center", "--json"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return json::parse(outcome.out)["bpd"].get<double>();
    };
    EXPECT_NEAR(bpd({"--data", "sets", "--per-image", "all.csv"}),
                bpd({"--data", "classes.h5", "--split", "train"}), 1e-6);
    const Table rows = read_csv(folder / "all.csv");
    ASSERT_EQ(rows.size(), 30u);
    for (const auto& row : rows) {
        const std::string name = row.at("name");
        EXPECT_EQ(row.at("label"), name.starts_with("ants/") ? "0" : name.starts_with("bees/") ? "1" : "2");
    }
    // --limit takes as many of each class.
    EXPECT_NEAR(bpd({"--data", "sets", "--limit", "6", "--per-image", "some.csv"}), bpd({"--data", "sets"}),
                1);
    int last_class = 0;
    for (const auto& row : read_csv(folder / "some.csv")) last_class += row.at("label") == "2";
    EXPECT_EQ(last_class, 2);
    const Outcome encoded = latent({"encode", "--checkpoint", "run", "--data", "sets", "-o", "z.h5"});
    ASSERT_EQ(encoded.code, 0) << encoded.err;
    ASSERT_EQ(latent({"decode", "--checkpoint", "run", "--latents", "z.h5", "-o", "back.h5"}).code, 0);

    // Compressed with their classes, which the archive holds. Pictures with alpha are left out.
    const auto compress = [&](const std::string& input) {
        return Process(folder.path(), GLOW_COMPRESS_PROGRAM,
                       {input, "--checkpoint", "run", "-o", "sets.glow", "--skip", "--force", "--quiet"})
            .wait();
    };
    const Outcome compressed = compress("sets");
    ASSERT_EQ(compressed.code, 0) << compressed.err;
    const Outcome restored = Process(folder.path(), GLOW_DECOMPRESS_PROGRAM,
                                     {"sets.glow", "--checkpoint", "run", "-o", "restored", "--quiet"})
                                 .wait();
    ASSERT_EQ(restored.code, 0) << restored.err;
    for (const char* name : {"ants/01.png", "bees/00.png", "cats/07.png"})
        EXPECT_TRUE(std::filesystem::exists(folder / "restored" / name)) << name;
    expect_error(compress("sets/ants"), 2, "the model has 3 classes");

    expect_error(eval({"--checkpoint", "run", "--data", "sets/ants"}), 2, "the model has 3 classes");
    std::filesystem::rename(folder / "sets/bees", folder / "bees");
    expect_error(eval({"--checkpoint", "run", "--data", "sets"}), 2, "found 2 folders");
    const Outcome interpolated = latent({"interpolate", "--checkpoint", "run", "--files", "sets/ants",
                                         "--class", "0", "--steps", "2", "-o", "i.png"});
    EXPECT_EQ(interpolated.code, 0) << interpolated.err;
}

TEST_F(UserData, IdxFiles) {
    for (const bool gzip : {false, true}) {
        const std::string name = gzip ? "zipped" : "plain", ending = gzip ? ".gz" : "";
        std::filesystem::create_directory(folder / name);
        for (const std::string prefix : {"train", "t10k"}) {
            const int N = prefix == "train" ? 40 : 7;
            const auto count = static_cast<std::uint64_t>(N);
            std::string labels;
            for (int n = 0; n < N; ++n) labels += static_cast<char>(n % 10);
            const auto write = [&](const char* kind, const std::string& bytes) {
                write_bytes(folder / fmt::format("{}/{}-{}-ubyte{}", name, prefix, kind, ending),
                            gzip ? make::gzip(bytes) : bytes);
            };
            write("images-idx3", make::idx({count, 28, 28}, make::pixels(N * 784, N)));
            write("labels-idx1", make::idx({count}, labels));
        }
        const Outcome made = data({"mnist", name, "--valid", "0.1", "-o", name + ".h5"});
        ASSERT_EQ(made.code, 0) << made.err;
        expect_works(name + ".h5", {"--y-cond"});
    }
    EXPECT_EQ(read_bytes(folder / "plain.h5"), read_bytes(folder / "zipped.h5"));
}

// As of EMNIST's letters, whose labels begin at 1.
TEST_F(UserData, TrainingNamesEmptyClasses) {
    make_dataset(folder / "few.h5", 8, 8, 1, 4, 0, 0, 6);
    const Words words = {"--data",  "few.h5", "--out",   "run", "--levels",    "1", "--depth", "1",
                         "--width", "4",      "--batch", "2",   "--max-steps", "1", "--y-cond"};
    const Outcome trained = train(words);
    ASSERT_EQ(trained.code, 0) << trained.err;
    EXPECT_NE(
        trained.err.find("few.h5: 2 of the 6 classes have no training image, so a conditional model does "
                         "not learn them: 4, 5\n"),
        std::string::npos)
        << trained.err;
}

TEST_F(UserData, KodakPhotographs) {
    const auto photographs = test_data_folder() / "kodak";
    if (!std::filesystem::exists(photographs))
        GTEST_SKIP() << "no photographs at " << photographs << " (set GLOW_TEST_DATA)";
    std::filesystem::copy(photographs, folder / "kodak");
    write_what_is_no_picture("kodak");
    expect_left_out(data({"images", "kodak", "--size", "32", "--test", "0.25", "--valid", "0.2", "-o",
                          "kodak.h5", "--json"}),
                    "kodak/cut.png");
    const DatasetInfo info = describe_dataset(folder / "kodak.h5");
    EXPECT_EQ(info.train + info.valid + info.test, 24);
    expect_works("kodak.h5");
}

TEST_F(UserData, EvaluationStreamsSplits) {
    make_dataset(folder / "large.h5", 512, 512, 3, 1, 0, 32);  // 24 MiB of test images
    const Outcome trained = train({"--data", "large.h5", "--out", "run", "--levels", "1", "--depth", "1",
                                   "--width", "2", "--batch", "1", "--max-steps", "1", "--quiet"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    const auto peak_of = [&](const Words& more) {
        const Outcome outcome = eval(
            Words{"--bpd", "--checkpoint", "run", "--data", "large.h5", "--batch", "1", "--quiet"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.peak_bytes;
    };
    const index_t one = peak_of({"--limit", "1"}), all = peak_of({});
    EXPECT_LT(all - one, index_t{8} << 20);
}

}  // namespace
}  // namespace glow
