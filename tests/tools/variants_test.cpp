// Every variant of the model trains, resumes, evaluates, samples, encodes and decodes.
#include <cmath>

#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

struct Variant {
    const char* name;
    Words options;
};

// Every permutation and coupling, and every other option of the model at least once.
const Variant kVariants[] = {
    {"invconv_additive", {"--coupling", "additive"}},
    {"bounded_scale", {"--coupling-scale", "tanh"}},
    {"variational", {"--dequant", "variational", "--dequant-depth", "2", "--dequant-width", "6"}},
    {"lu", {"--permutation", "invconv_lu", "--optimizer", "adam"}},
    {"lu_additive", {"--permutation", "invconv_lu", "--coupling", "additive", "--n-bits", "5"}},
    {"shuffle", {"--permutation", "shuffle", "--no-edge-bias"}},
    {"shuffle_additive", {"--permutation", "shuffle", "--coupling", "additive", "--micro-batch", "3"}},
    {"reverse", {"--permutation", "reverse", "--no-learn-top", "--clip-norm", "1"}},
    {"reverse_additive", {"--permutation", "reverse", "--coupling", "additive", "--n-bits", "1"}},
    {"conditional", {"--y-cond", "--weight-decay", "0.001"}},
    {"classifier", {"--y-cond", "--weight-y", "0.5", "--memory", "store"}},
    {"lu_classifier_bare",
     {"--permutation", "invconv_lu", "--y-cond", "--weight-y", "0.01", "--no-learn-top", "--no-edge-bias",
      "--micro-batch", "5"}},
};

struct Variants : Commands, testing::WithParamInterface<Variant> {
    Variants() { make_dataset(folder / "labeled.h5", 8, 12, 2, 40, 6, 11, 3); }
    Words words(const std::string& out, int steps) const {
        return run_words(out, steps) + Words{"--quiet", "--data", "labeled.h5", "--warmup-epochs", "0"} +
               GetParam().options;
    }
    bool has(const std::string& option) const {
        const Words& options = GetParam().options;
        return std::find(options.begin(), options.end(), option) != options.end();
    }
};
INSTANTIATE_TEST_SUITE_P(All, Variants, testing::ValuesIn(kVariants),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Variants, SupportEveryCommand) {
    ASSERT_EQ(train(words("whole", 4)).code, 0);
    ASSERT_EQ(train(words("run", 2)).code, 0);
    const Outcome resumed = train({"--out", "run", "--resume", "--max-steps", "4", "--quiet"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    expect_equal_weights("run/latest.h5", "whole/latest.h5");
    const Table rows = read_csv(folder / "run/metrics.csv");
    EXPECT_EQ(rows.size(), 4u);
    EXPECT_EQ(rows[0].count("bits_y"), has("--weight-y") ? 1u : 0u);
    if (has("--weight-y")) {
        EXPECT_NEAR(
            std::stod(rows[0].at("loss")),
            std::stod(rows[0].at("bpd")) + (has("0.5") ? 0.5 : 0.01) * std::stod(rows[0].at("bits_y")), 1e-6);
        EXPECT_NEAR(std::stod(rows[0].at("bits_y")), std::log2(3.0), 1e-6);  // three classes, equally likely
        EXPECT_EQ(std::stod(rows[0].at("error_y")), 1);
    }

    const Words model = {"--checkpoint", "run", "--no-ema"}, data = {"--data", "labeled.h5"};
    const Outcome scores = eval(Words{"--bpd", "--json", "--breakdown"} + model + data);
    ASSERT_EQ(scores.code, 0) << scores.err;
    const json result = json::parse(scores.out);
    double sum = 0;
    for (const auto& [part, bits] : result["breakdown"].items()) sum += bits.get<double>();
    EXPECT_EQ(result["breakdown"].size(), has("variational") ? 6u : 5u);
    EXPECT_EQ(result["dequant"], has("variational") ? "variational" : "uniform");
    EXPECT_NEAR(sum, result["bpd"].get<double>(), 1e-10);
    EXPECT_EQ(result.contains("bits_y"), has("--weight-y"));
    EXPECT_EQ(result["breakdown"]["mixing"] == 0.0, has("reverse") || has("shuffle"));
    EXPECT_EQ(std::abs(result["breakdown"]["coupling"].get<double>()) < 1e-12, has("additive"));

    const Outcome drawn = sample(Words{"--grid", "2x3", "-o", "s.png"} + model);
    ASSERT_EQ(drawn.code, 0) << drawn.err;

    // All latents give every pixel back, also through a file of floats.
    const Outcome exact = latent(Words{"reconstruct", "--json", "-o", "r.png", "--show", "2"} + model + data);
    ASSERT_EQ(exact.code, 0) << exact.err;
    EXPECT_EQ(json::parse(exact.out)["max_error"], 0);
    EXPECT_EQ(json::parse(exact.out)["images"], 11);
    EXPECT_GT(json::parse(exact.out)["kept"][1]["mean_error"], 0.0);
    ASSERT_EQ(latent(Words{"encode", "-o", "z.h5"} + model + data).code, 0);
    const Outcome decoded = latent(Words{"decode", "--latents", "z.h5", "-o", "x.h5"} + model);
    ASSERT_EQ(decoded.code, 0) << decoded.err;
    std::vector<std::uint8_t> truth = load_split(folder / "labeled.h5", "test").images;
    if (has("--n-bits"))
        for (auto& pixel : truth) pixel &= has("1") ? 0x80 : 0xf8;
    EXPECT_EQ(Hdf5File::open(folder / "x.h5").read<std::uint8_t>("/images", {11, 8, 12, 2}), truth);
}

// ---- Conditional models ----------------------------------------------------------------------------------

struct Conditional : Commands {
    Conditional() {
        make_dataset(folder / "labeled.h5", 8, 8, 3, 40, 6, 10, 3);
        make_dataset(folder / "five.h5", 8, 8, 3, 40, 6, 10, 5);
        make_run("run", 2, {"--data", "labeled.h5", "--y-cond", "--weight-y", "0.1"});
    }
};

TEST_F(Conditional, SamplesEveryClassOrOne) {
    const auto draw = [&](const std::string& file, const Words& more) {
        const Outcome outcome =
            sample(Words{"--checkpoint", "run", "--no-ema", "--grid", "2x3", "-o", file} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return read_png(folder / file).pixels;
    };
    EXPECT_EQ(draw("a.png", {}), draw("b.png", {"--class", "all"}));
    EXPECT_NE(draw("a.png", {}), draw("c.png", {"--class", "2"}));
    EXPECT_NE(draw("d.png", {"--class", "1"}), draw("c.png", {"--class", "2"}));
}

TEST_F(Conditional, RejectsMismatchedLabels) {
    make_run("plain", 1);
    expect_error(sample({"--checkpoint", "run", "-o", "s.png", "--class", "3"}), 2, "0..2");
    expect_error(sample({"--checkpoint", "run", "-o", "s.png", "--class", "-1"}), 2, "0..2");
    expect_error(sample({"--checkpoint", "run", "-o", "s.png", "--class", "x"}), 2, "--class");
    expect_error(sample({"--checkpoint", "plain", "-o", "s.png", "--class", "0"}), 2, "not conditional");
    expect_error(eval({"--bpd", "--checkpoint", "run", "--data", "d.h5"}), 2, "no labels");
    expect_error(eval({"--bpd", "--checkpoint", "run", "--data", "five.h5"}), 2, "3 classes");
    expect_error(latent({"encode", "--checkpoint", "run", "--data", "five.h5", "-o", "z.h5"}), 2,
                 "3 classes");
    expect_error(train(run_words("other", 1) + Words{"--quiet", "--data", "five.h5", "--init-from", "run",
                                                     "--y-cond", "--weight-y", "0.1"}),
                 2, "n_classes");
    expect_error(train({"--out", "run", "--resume", "--weight-y", "0.2", "--max-steps", "3"}), 2, "weight_y");
}

// ---- Likelihoods -----------------------------------------------------------------------------------------

TEST_F(Commands, EvalBoundTightensWithSamples) {
    make_run("run", 20, {"--warmup-epochs", "0"});
    const auto bits = [&](const Words& more) {
        const Outcome outcome =
            eval(Words{"--bpd", "--checkpoint", "run", "--data", "d.h5", "--no-ema", "--per-image", "i.csv"} +
                 more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        std::vector<double> values;
        for (const auto& row : read_csv(folder / "i.csv")) values.push_back(std::stod(row.at("bpd")));
        return values;
    };
    // The same eight draws: eight bounds of one, two of four, one of eight. Jensen's inequality orders them,
    // image by image.
    const auto mean = bits({"--dequant-samples", "8"}),
               fours = bits({"--dequant-samples", "2", "--iw-samples", "4"}),
               eight = bits({"--iw-samples", "8"});
    double gained = 0;
    for (std::size_t i = 0; i < mean.size(); ++i) {
        EXPECT_LE(eight[i], fours[i] + 2e-8);  // nine digits in the file
        EXPECT_LE(fours[i], mean[i] + 2e-8);
        // The largest of eight numbers is at most so far above their mean.
        EXPECT_GT(eight[i], mean[i] - 0.2);
        gained += mean[i] - eight[i];
    }
    EXPECT_GT(gained, 1e-6 * static_cast<double>(mean.size()));
    EXPECT_EQ(bits({"--iw-samples", "1"}), bits({}));
}

// A model with a dequantizer is evaluated with it unless told otherwise, and coded without it.
TEST_F(Commands, VariationalNoiseIsTheModelsDefault) {
    make_run("run", 2, {"--dequant", "variational"});
    make_run("plain", 1);
    const Words base = {"--checkpoint", "run", "--data", "d.h5"};
    const auto bits = [&](const Words& more) {
        return json::parse(eval(base + Words{"--json"} + more).out)["bpd"];
    };
    EXPECT_EQ(bits({}), bits({"--dequant", "variational"}));
    EXPECT_NE(bits({}), bits({"--dequant", "uniform"}));
    EXPECT_LE(bits({"--iw-samples", "4"}), bits({"--dequant-samples", "4"}));
    EXPECT_NE(eval(base).out.find("variational noise"), std::string::npos);
    expect_error(eval({"--checkpoint", "plain", "--data", "d.h5", "--dequant", "variational"}), 2,
                 "trained without it");
    const Outcome coded =
        Process(folder.path(), GLOW_COMPRESS_PROGRAM, base + Words{"-o", "x.glow", "--limit", "3"}).wait();
    EXPECT_EQ(coded.code, 0) << coded.err;
    EXPECT_NE(coded.err.find("uniform noise"), std::string::npos) << coded.err;
    expect_error(train(run_words("other", 1) + Words{"--quiet", "--dequant-depth", "2"}), 2,
                 "--dequant variational");
    expect_error(train({"--out", "run", "--resume", "--dequant-width", "9", "--max-steps", "3"}), 2,
                 "dequant_width");
}

TEST_F(Commands, RejectsMeaninglessSampleCounts) {
    make_run("run", 1);
    const Words base = {"--bpd", "--checkpoint", "run", "--data", "d.h5"};
    expect_error(eval(base + Words{"--iw-samples", "2", "--dequant", "center"}), 2, "--iw-samples");
    expect_error(eval(base + Words{"--iw-samples", "2", "--breakdown"}), 2, "--breakdown");
    expect_error(eval(base + Words{"--iw-samples", "0"}), 2, "--iw-samples");
    expect_error(eval(base + Words{"--iw-samples", "2000", "--dequant-samples", "2000"}), 2, "2^20");
}

// ---- Latents ---------------------------------------------------------------------------------------------

TEST_F(Commands, DecodesToPictures) {
    make_run("run", 2);
    ASSERT_EQ(latent({"encode", "--checkpoint", "run", "--data", "d.h5", "-o", "z.h5", "--limit", "3"}).code,
              0);
    ASSERT_EQ(
        latent({"decode", "--checkpoint", "run", "--latents", "z.h5", "-o", "new/out", "--batch", "2"}).code,
        0);
    const ImageSet set = load_split(folder / "d.h5", "test");
    for (index_t n = 0; n < 3; ++n) {
        const Image image = read_png(folder / ("new/out/00000" + std::to_string(n) + ".png"));
        EXPECT_TRUE(std::equal(image.pixels.begin(), image.pixels.end(), set.image(n)));
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "new/out/000003.png"));
}

TEST_F(Commands, WarnsOfLatentsMadeWithOtherWeights) {
    make_run("run", 2);
    make_run("trained", 3);
    ASSERT_EQ(latent({"encode", "--checkpoint", "run", "--data", "d.h5", "-o", "z.h5", "--limit", "3"}).code,
              0);
    const auto decode = [&](const Words& words) {
        std::filesystem::remove(folder / "x.h5");
        return latent(Words{"decode", "-o", "x.h5", "--latents", "z.h5", "--quiet"} + words);
    };
    EXPECT_EQ(decode({"--checkpoint", "run"}).err, "");
    for (const Words& other : {Words{"--checkpoint", "trained"}, Words{"--checkpoint", "run", "--no-ema"}}) {
        const Outcome found = decode(other);
        EXPECT_EQ(found.code, 0);
        EXPECT_NE(found.err.find("warning: z.h5: made with other weights than"), std::string::npos)
            << found.err;
    }

    write_bytes(folder / "has.csv", "index,spots\n0,1\n1,-1\n");
    ASSERT_EQ(latent({"direction", "--checkpoint", "run", "--data", "d.h5", "--attributes", "has.csv",
                      "--attribute", "spots", "-o", "v.h5"})
                  .code,
              0);
    const auto move = [&](const std::string& run) {
        return latent({"manipulate", "--checkpoint", run, "--data", "d.h5", "--direction", "v.h5", "-o",
                       run + ".png", "--quiet"});
    };
    EXPECT_EQ(move("run").err, "");
    EXPECT_NE(move("trained").err.find("warning: v.h5: made with other weights"), std::string::npos);

    Hdf5File old = Hdf5File::create(folder / "old.h5");  // of a version that did not record the weights
    const Hdf5File now = Hdf5File::open(folder / "z.h5");
    old.set_string("/", "config", now.string_attribute("/", "config"));
    for (const std::string& name : now.arrays("/eps")) {
        const std::vector<index_t> shape = now.describe(name).shape;
        old.write<float>(name, shape, now.read<float>(name, shape).data());
    }
    old.close();
    EXPECT_EQ(
        latent({"decode", "--checkpoint", "trained", "-o", "y.h5", "--latents", "old.h5", "--quiet"}).err,
        "");
}

// A file of latents with one thing wrong.
TEST_F(Commands, RejectsInvalidLatents) {
    make_run("run", 1);
    make_run("other", 1, {"--width", "9"});
    ASSERT_EQ(latent({"encode", "--checkpoint", "run", "--data", "d.h5", "-o", "z.h5", "--limit", "3"}).code,
              0);
    const Words decode = {"decode", "--checkpoint", "run", "-o", "x.h5", "--latents"};
    expect_error(latent(decode + Words{"none.h5"}), 2, "none.h5");
    expect_error(latent(decode + Words{"d.h5"}), 2, "config");
    expect_error(latent(decode + Words{"run/latest.h5"}), 2, "/eps/level1 is missing");
    expect_error(latent({"decode", "--checkpoint", "other", "-o", "x.h5", "--latents", "z.h5"}), 2,
                 "different model");
    expect_error(latent({"decode", "--checkpoint", "run", "--latents", "z.h5", "-o", "none/x.h5"}), 2,
                 "none");
    const std::string whole = read_bytes(folder / "z.h5");
    write_bytes(folder / "cut.h5", whole.substr(0, whole.size() / 2));
    expect_error(latent(decode + Words{"cut.h5"}), 2, "cut.h5");

    const Hdf5File good = Hdf5File::open(folder / "z.h5");
    const auto damaged = [&](const std::string& what) {
        Hdf5File file = Hdf5File::create(folder / "bad.h5");
        file.set_string("/", "config", what == "config" ? "{}" : good.string_attribute("/", "config"));
        for (const std::string& name : good.arrays("/eps")) {
            std::vector<index_t> shape = good.describe(name).shape;
            std::vector<float> values = good.read<float>(name, shape);
            if (what == "nan") values[5] = std::nanf("");
            if (what == "shape") std::swap(shape[0], shape[1]);
            if (what == "fewer" && name == "/eps/level0") shape[0] = 2;
            if (what == "empty") shape[0] = 0;
            if (what == "type")
                file.write<double>(name, shape, std::vector<double>(values.begin(), values.end()).data());
            else if (what != "missing" || name != "/eps/level0")
                file.write<float>(name, shape, values.data());
        }
        file.close();
        return latent(decode + Words{"bad.h5"});
    };
    EXPECT_EQ(damaged("").code, 0);
    std::filesystem::remove(folder / "x.h5");
    for (const auto& [what, part] : {std::pair{"config", "config has no"},
                                     {"nan", "not finite"},
                                     {"shape", "is not float32"},
                                     {"fewer", "has 2 images"},
                                     {"empty", "no image"},
                                     {"type", "is not float32"},
                                     {"missing", "is missing"}})
        expect_error(damaged(what), 2, part);
    EXPECT_FALSE(std::filesystem::exists(folder / "x.h5"));
}

}  // namespace
}  // namespace glow
