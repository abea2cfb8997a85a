// The commands on images of a size that the model was not trained on. The reference is the same model with
// that size in its configuration.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "data/formats/png.h"
#include "runtime/memory_limit.h"
#include "tests/data/make_files.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

// A model of 8x8 images with two levels, and test images of 12x20.
struct AnySize : Commands {
    AnySize() {
        make_run("run", 5);
        make_dataset(folder / "wide.h5", 12, 20, 3, 4, 0, 10);
        CheckpointEdit edited(folder / "run/latest.h5");
        json config = json::parse(edited.config);
        config["image_height"] = 12;
        config["image_width"] = 20;
        edited.config = config.dump();
        edited.write(folder / "wide_model.h5");
    }
    Outcome compress(const Words& arguments) const {
        return Process(folder.path(), GLOW_COMPRESS_PROGRAM, arguments).wait();
    }
    Outcome decompress(const Words& arguments) const {
        return Process(folder.path(), GLOW_DECOMPRESS_PROGRAM, arguments).wait();
    }
    // Succeeds, and says once that the model was trained at another size.
    static void expect_note(const Outcome& outcome, const std::string& size = "12x20") {
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        const std::string note = "the model was trained on 8x8 images; these are " + size;
        const std::size_t at = outcome.err.find(note);
        ASSERT_NE(at, std::string::npos) << outcome.err;
        EXPECT_EQ(outcome.err.find(note, at + 1), std::string::npos) << outcome.err;
    }
    static void expect_no_note(const Outcome& outcome) {
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err.find("trained on"), std::string::npos) << outcome.err;
    }
    std::vector<std::uint8_t> wide_images() const { return load_split(folder / "wide.h5", "test").images; }
};

TEST_F(AnySize, Likelihoods) {
    const auto numbers = [&](const std::string& checkpoint, const std::string& name) {
        const Outcome outcome = eval({"--checkpoint", checkpoint, "--data", "wide.h5", "--json",
                                      "--breakdown", "--batch", "4", "--per-image", name + ".csv"});
        checkpoint == "run" ? expect_note(outcome) : expect_no_note(outcome);
        json result = json::parse(outcome.out);
        result.erase("checkpoint");
        return result;
    };
    const json result = numbers("run", "a");
    EXPECT_EQ(result["size"], (json{12, 20}));
    EXPECT_EQ(result["images"], 10);
    // A larger image counts as several, so other images share a pass: float sums of another order.
    json expected = numbers("wide_model.h5", "b");
    EXPECT_NEAR(result["bpd"], expected["bpd"], 1e-6);
    EXPECT_NEAR(result["breakdown"]["actnorm"], expected["breakdown"]["actnorm"], 1e-12);
    // At the training size nothing changes.
    expect_no_note(eval({"--checkpoint", "run", "--data", "d.h5"}));
}

TEST_F(AnySize, Samples) {
    const auto picture = [&](const std::string& checkpoint, const Words& more, bool note) {
        const Outcome outcome =
            sample(Words{"--checkpoint", checkpoint, "--grid", "1x2", "--seed", "3", "-o", "s.png"} + more);
        note ? expect_note(outcome) : expect_no_note(outcome);
        return read_png(folder / "s.png").pixels;
    };
    EXPECT_EQ(picture("run", {"--size", "12x20", "--batch", "8"}, true),
              picture("wide_model.h5", {"--batch", "2"}, false));
    EXPECT_EQ(picture("run", {"--size", "8x8"}, false), picture("run", {}, false));
    EXPECT_EQ(picture("run", {"--size", "8"}, false), picture("run", {}, false));
}

TEST_F(AnySize, Latents) {
    expect_note(latent({"encode", "--checkpoint", "run", "--data", "wide.h5", "-o", "z.h5"}));
    expect_note(latent({"decode", "--checkpoint", "run", "--latents", "z.h5", "-o", "x.h5"}));
    EXPECT_EQ(Hdf5File::open(folder / "x.h5").read<std::uint8_t>("/images", {10, 12, 20, 3}), wide_images());
    expect_no_note(latent(
        {"decode", "--checkpoint", "wide_model.h5", "--latents", "z.h5", "-o", "y.h5", "--batch", "10"}));
    EXPECT_EQ(Hdf5File::open(folder / "y.h5").read<std::uint8_t>("/images", {10, 12, 20, 3}), wide_images());

    const Outcome reconstructed =
        latent({"reconstruct", "--checkpoint", "run", "--data", "wide.h5", "--json"});
    expect_note(reconstructed);
    EXPECT_EQ(json::parse(reconstructed.out)["wrong_values"], 0);
    expect_note(
        latent({"exchange", "--checkpoint", "run", "--data", "wide.h5", "--images", "0,1", "-o", "e.png"}));
}

TEST_F(AnySize, DirectionsKeepTheirSize) {
    write_bytes(folder / "a.csv", "index,odd\n0,0\n1,1\n2,0\n3,1\n4,0\n5,1\n");
    const Words find = {"direction", "--checkpoint", "run", "--attributes", "a.csv", "--attribute", "odd"};
    expect_note(latent(find + Words{"--data", "wide.h5", "-o", "wide_direction.h5"}));
    expect_no_note(latent(find + Words{"--data", "d.h5", "-o", "direction.h5"}));
    const Words move = {"manipulate", "--checkpoint", "run", "--steps", "3",
                        "--data",     "wide.h5",      "-o",  "m.png"};
    expect_note(latent(move + Words{"--direction", "wide_direction.h5"}));
    expect_error(latent(move + Words{"--direction", "direction.h5", "--quiet"}), 2,
                 "images of 12x20; found one for 8x8");
}

TEST_F(AnySize, Compression) {
    const Outcome outcome = compress({"wide.h5", "--checkpoint", "run", "-o", "w.glow", "--json"});
    expect_note(outcome);
    EXPECT_EQ(json::parse(outcome.out)["images"], 10);
    ASSERT_EQ(decompress({"--checkpoint", "run", "w.glow", "-o", "back.h5"}).code, 0);
    EXPECT_EQ(Hdf5File::open(folder / "back.h5").read<std::uint8_t>("/images", {10, 12, 20, 3}),
              wide_images());
    // The weights are the same, but the fingerprint is of the model at its size.
    ASSERT_EQ(decompress({"--checkpoint", "wide_model.h5", "w.glow", "-o", "again.h5"}).code, 0);
    EXPECT_EQ(read_bytes(folder / "again.h5"), read_bytes(folder / "back.h5"));
    make_run("deeper", 1, {"--levels", "3"});
    expect_error(decompress({"--checkpoint", "deeper", "w.glow", "-o", "no.h5"}), 2, "divisible by 8");
    EXPECT_FALSE(std::filesystem::exists(folder / "no.h5"));
}

TEST_F(AnySize, CompressionInLargerTiles) {
    std::filesystem::create_directories(folder / "photos");
    const Image image = make::smooth(30, 33, 3);
    write_png(folder / "photos/a.png", image);
    const Outcome outcome =
        compress({"photos", "--checkpoint", "run", "--size", "16x12", "-o", "p.glow", "--json"});
    expect_note(outcome, "16x12");
    EXPECT_EQ(json::parse(outcome.out)["tiles"], 2 * 3);
    ASSERT_EQ(decompress({"--checkpoint", "run", "p.glow", "-o", "back"}).code, 0);
    EXPECT_EQ(read_png(folder / "back/a.png").pixels, image.pixels);
}

// A folder of photographs of the size gives the numbers of a data set of them.
TEST_F(AnySize, Photographs) {
    std::filesystem::create_directories(folder / "photos");
    const std::vector<std::uint8_t> images = wide_images();
    const index_t D = 12 * 20 * 3;
    for (index_t n = 0; n < 10; ++n)
        write_png(folder / fmt::format("photos/{}.png", n),
                  {12, 20, 3, {images.begin() + n * D, images.begin() + (n + 1) * D}});
    const auto bpd = [](const Outcome& outcome) { return json::parse(outcome.out)["bpd"].get<double>(); };
    const Words base = {"--checkpoint", "run", "--json", "--data"};
    const Outcome wide = eval(base + Words{"photos", "--size", "12x20"});
    expect_note(wide);
    EXPECT_EQ(bpd(wide), bpd(eval(base + Words{"wide.h5"})));
    expect_no_note(eval(base + Words{"photos"}));  // scaled to 8x8
    // Both sets are scaled to one size.
    const Outcome against = eval(base + Words{"wide.h5", "--against", "photos"});
    expect_note(against);
    EXPECT_NEAR(json::parse(against.out)["against"]["auroc"], 0.5, 1e-12);
    expect_note(
        latent({"encode", "--checkpoint", "run", "--data", "photos", "--size", "12x20", "-o", "z.h5"}));
    expect_note(latent({"interpolate", "--checkpoint", "run", "--files", "photos/0.png", "photos/1.png",
                        "--size", "12x16", "--steps", "3", "-o", "i.png"}),
                "12x16");
    const Outcome larger = eval(base + Words{"photos", "--size", "16x20"});
    EXPECT_EQ(larger.code, 2);
    for (const char* const part :
         {"12x20 pixels (height x width), fewer than 16x20", "no photograph can be used"})
        EXPECT_NE(larger.err.find(part), std::string::npos) << larger.err;
}

TEST_F(AnySize, RejectsOtherSizes) {
    make_dataset(folder / "odd.h5", 10, 8, 3, 4, 0, 4);
    make_dataset(folder / "gray.h5", 8, 8, 1, 4, 0, 4);
    const Words before = all_files();
    const auto refused = [&](const Outcome& outcome, const std::string& part) {
        expect_error(outcome, 2, part);
        EXPECT_EQ(all_files(), before);
    };
    const std::string divisor =
        "images of 10x8 do not fit the model: its 2 levels need a height and width divisible by 4";
    refused(eval({"--checkpoint", "run", "--data", "odd.h5"}), "odd.h5: " + divisor);
    refused(latent({"encode", "--checkpoint", "run", "--data", "odd.h5", "-o", "z.h5"}), divisor);
    refused(compress({"odd.h5", "--checkpoint", "run", "-o", "o.glow"}), divisor);
    refused(sample({"--checkpoint", "run", "--size", "10x8", "-o", "s.png"}), divisor);
    refused(eval({"--checkpoint", "run", "--data", "gray.h5"}), "1 channel");
    refused(eval({"--checkpoint", "run", "--data", "wide.h5", "--size", "8x8"}),
            "images of 12x20, expected 8x8");
    for (const char* const text : {"8x", "x8", "0x8", "8x8x8", "-8x8", "8.5", "eight", "65540x8"})
        refused(sample({"--checkpoint", "run", "--size", text, "-o", "s.png"}), "--size");
}

TEST_F(AnySize, RejectsMoreMemoryThanThereIs) {
    constexpr std::size_t kNeeded = std::size_t{1} << 37;  // states and network maps of one image
    if (host_memory_limit().bytes > kNeeded) GTEST_SKIP() << "this machine has enough memory";
    expect_error(sample({"--checkpoint", "run", "--size", "65536x65536", "--grid", "1x1", "-o", "s.png"}), 2,
                 "65536x65536, 1 at once, need");
}

}  // namespace
}  // namespace glow
