// Per-image scores of glow_eval as a program.
#include <fmt/format.h>

#include "data/formats/png.h"
#include "data/grid.h"
#include "tests/tools/chunked_dataset.h"
#include "tests/tools/run_fixture.h"
#include "tools/csv.h"
#include "tools/folder_images.h"
#include "train/evaluations.h"
#include "train/run_folder.h"

namespace glow {
namespace {

struct EvalScores : Commands {
    EvalScores() { make_run("run", 15); }
    static inline const Words kFrom = {"--bpd", "--checkpoint", "run",   "--no-ema", "--data",
                                       "d.h5",  "--split",      "train", "--json",   "--quiet"};
    static std::vector<double> column(const Table& table, const std::string& name) {
        std::vector<double> values;
        for (const auto& row : table) values.push_back(std::stod(row.at(name)));
        return values;
    }
    static double mean_of(const std::vector<double>& values) {
        double sum = 0;
        for (const double value : values) sum += value;
        return sum / static_cast<double>(values.size());
    }
};

TEST_F(EvalScores, SortsLinesByBits) {
    ASSERT_EQ(eval(kFrom + Words{"--per-image", "plain.csv", "--complexity"}).code, 0);
    ASSERT_EQ(eval(kFrom + Words{"--per-image", "sorted.csv", "--complexity", "--sort"}).code, 0);
    const Table plain = read_csv(folder / "plain.csv"), sorted = read_csv(folder / "sorted.csv");
    const std::vector<double> bits = column(sorted, "bpd");
    EXPECT_TRUE(std::is_sorted(bits.begin(), bits.end()));
    ASSERT_EQ(sorted.size(), 40u);
    for (const auto& row : sorted) EXPECT_EQ(row, plain.at(std::stoul(row.at("index"))));
    for (const auto& row : plain)
        EXPECT_NEAR(std::stod(row.at("corrected")), std::stod(row.at("bpd")) - std::stod(row.at("png_bpd")),
                    1e-7);
}

// Whether the picture has this text somewhere, black on white.
bool shows_text(const Image& picture, const std::string& text) {
    Image label{14, 12 * std::ssize(text), picture.C, {}};
    label.pixels.resize(static_cast<std::size_t>(label.H * label.W * label.C), 255);
    draw_text(label, 0, 0, text);
    for (index_t top = 0; top + label.H <= picture.H; ++top)
        for (index_t left = 0; left + label.W <= picture.W; ++left) {
            index_t y = 0;
            while (y < label.H &&
                   std::equal(label.pixels.begin() + y * label.W * label.C,
                              label.pixels.begin() + (y + 1) * label.W * label.C,
                              picture.pixels.begin() + ((top + y) * picture.W + left) * picture.C))
                ++y;
            if (y == label.H) return true;
        }
    return false;
}

TEST_F(EvalScores, PictureShowsExtremes) {
    ASSERT_EQ(
        eval(kFrom + Words{"--per-image", "sorted.csv", "--sort", "--extremes", "e.png", "--show", "1"}).code,
        0);
    const Image picture = read_png(folder / "e.png");
    const ImageSet set = load_split(folder / "d.h5", "train");
    const Table sorted = read_csv(folder / "sorted.csv");
    // One tile of 8 x 8 pixels, enlarged by 8, after a gap of 2 and below a label; then the next.
    const auto shows = [&](index_t left, index_t image) {
        for (index_t top = 2; top < picture.H - 64; ++top) {
            bool same = true;
            for (index_t y = 0; same && y < 8; ++y)
                for (index_t x = 0; same && x < 8; ++x)
                    for (index_t c = 0; c < 3; ++c)
                        same = same && picture.pixels[((top + 8 * y) * picture.W + left + 8 * x) * 3 + c] ==
                                           set.image(image)[(y * 8 + x) * 3 + c];
            if (same) return true;
        }
        return false;
    };
    const auto anywhere = [&](index_t from, index_t to, index_t image) {
        for (index_t left = from; left < to; ++left)
            if (shows(left, image)) return true;
        return false;
    };
    const index_t best = std::stol(sorted.front().at("index")), worst = std::stol(sorted.back().at("index"));
    EXPECT_TRUE(anywhere(0, picture.W / 2, best));
    EXPECT_TRUE(anywhere(picture.W / 2 - 64, picture.W - 64, worst));
    for (index_t image = 0; image < set.N; ++image)
        EXPECT_EQ(shows_text(picture, fmt::format("image {} ", image)), image == best || image == worst)
            << image;
}

TEST_F(EvalScores, SortsByCorrectedScore) {
    // Even images are flat, which both the model and PNG find easy; odd ones are noise.
    constexpr index_t kImages = 12;
    DatasetInfo info;
    info.H = info.W = 8;
    info.C = 3;
    DatasetWriter writer(folder / "mixed.h5", info);
    test::Random random(3);
    std::vector<std::uint8_t> pixels(kImages * 192, 128);
    for (std::size_t i = 0; i < pixels.size(); ++i)
        if (i / 192 % 2 == 1) pixels[i] = static_cast<std::uint8_t>(random.integer(60, 190));
    writer.append("train", kImages, pixels.data(), nullptr);
    writer.commit();
    const Words from = {"--checkpoint", "run", "--data", "mixed.h5", "--split", "train", "--quiet"};
    const auto sorted = [&](const std::string& by, const Words& more) {
        const Outcome outcome = eval(
            from + Words{"--sort-by", by, "--per-image", by + ".csv", "--extremes", by + ".png", "--sort"} +
            more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return read_csv(folder / (by + ".csv"));
    };
    const Table by_bits = sorted("bpd", {}), by_corrected = sorted("corrected", {"--complexity"});
    const std::vector<double> corrected = column(by_corrected, "corrected");
    EXPECT_TRUE(std::is_sorted(corrected.begin(), corrected.end()));
    EXPECT_EQ(static_cast<int>(column(by_bits, "index").front()) % 2, 0);
    EXPECT_EQ(static_cast<int>(column(by_corrected, "index").front()) % 2, 1);
    EXPECT_NE(read_bytes(folder / "bpd.png"), read_bytes(folder / "corrected.png"));
    // The file has the score that orders it, also without --complexity.
    EXPECT_EQ(column(sorted("corrected", {}), "corrected"), corrected);
    expect_error(eval(kFrom + Words{"--sort-by", "corrected"}), 2,
                 "--sort-by corrected needs --sort or --extremes");
}

// A bound of several draws must not be mistaken for the usual number.
TEST_F(EvalScores, NamesDrawsInResult) {
    const auto result = [&](const Words& more) {
        const Outcome outcome =
            eval(Words{"--checkpoint", "run", "--data", "d.h5", "--split", "train", "--limit", "2"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.out;
    };
    EXPECT_NE(result({}).find("(EMA weights)"), std::string::npos);
    const std::string both = result({"--iw-samples", "3", "--dequant-samples", "2"});
    EXPECT_NE(both.find("(EMA weights, mean of 2 noise draws, importance-weighted bound of 3 draws)"),
              std::string::npos)
        << both;
    // Without noise all draws are equal.
    for (const char* const option : {"--dequant-samples", "--iw-samples"})
        expect_error(eval(Words{"--checkpoint", "run", "--data", "d.h5", "--dequant", "center", option, "2"}),
                     2, option + std::string(" needs noise"));
}

// Writes a data set with these images of d.h5's shape in both splits.
void write_images(const std::filesystem::path& file, const std::vector<std::uint8_t>& pixels,
                  double entropy = 0) {
    DatasetInfo info;
    info.H = info.W = 8;
    info.C = 3;
    if (entropy > 0) info.entropy_bpd = entropy;
    DatasetWriter writer(file, info);
    const index_t N = std::ssize(pixels) / (8 * 8 * 3);
    for (const char* const split : {"train", "test"}) writer.append(split, N, pixels.data(), nullptr);
    writer.commit();
}

// The entropy stored with a data set is that of its 8-bit pixels.
TEST_F(EvalScores, EntropyIsShownForEightBits) {
    make_run("few", 1, {"--n-bits", "3"});
    write_images(folder / "known.h5", load_split(folder / "d.h5", "test").images, 5.25);
    for (const char* const run : {"run", "few"}) {
        const Words from = {"--checkpoint", run, "--data", "known.h5"};
        const bool shown = run == std::string("run");
        const Outcome text = eval(from), json = eval(from + Words{"--json"});
        ASSERT_EQ(text.code, 0) << text.err;
        ASSERT_EQ(json.code, 0) << json.err;
        EXPECT_EQ(text.out.find("; the data's entropy is 5.2500") != std::string::npos, shown) << text.out;
        EXPECT_EQ(nlohmann::json::parse(json.out).contains("entropy_bpd"), shown) << json.out;
    }
}

// Images that differ only in bits that the model does not see have equal scores.
TEST_F(EvalScores, CorrectsByTheSizeOfWhatTheModelSees) {
    make_run("few", 1, {"--n-bits", "3"});
    std::vector<std::uint8_t> coarse = load_split(folder / "d.h5", "test").images;
    for (std::uint8_t& pixel : coarse) pixel = static_cast<std::uint8_t>(pixel & 0xe0);
    write_images(folder / "coarse.h5", coarse);
    const Outcome outcome =
        eval({"--checkpoint", "few", "--data", "d.h5", "--against", "coarse.h5", "--json", "--per-image",
              "fine.csv", "--against-per-image", "coarse.csv", "--complexity"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(nlohmann::json::parse(outcome.out)["against"]["auroc_corrected"], 0.5);
    EXPECT_EQ(read_bytes(folder / "fine.csv"), read_bytes(folder / "coarse.csv"));
}

// No image is in both halves of the picture.
TEST_F(EvalScores, FewImagesAreShownOnce) {
    const auto tiles = [&](const std::string& images) {
        EXPECT_EQ(eval(kFrom + Words{"--limit", images, "--extremes", "few.png"}).code, 0);
        const Image picture = read_png(folder / "few.png");
        const ImageSet set = load_split(folder / "d.h5", "train");
        index_t shown = 0;
        for (index_t n = 0; n < std::stol(images); ++n)
            for (index_t top = 0; top + 64 <= picture.H; ++top)
                for (index_t left = 0; left + 64 <= picture.W; ++left) {
                    bool same = true;
                    for (index_t i = 0; same && i < 64; ++i)
                        for (index_t c = 0; same && c < 3; ++c)
                            same =
                                picture.pixels[((top + i / 8 * 8) * picture.W + left + i % 8 * 8) * 3 + c] ==
                                set.image(n)[i * 3 + c];
                    shown += same ? 1 : 0;
                    left += same ? 7 : 0;  // an enlarged pixel is found once
                }
        return shown;
    };
    const index_t kRows = 3;  // where a tile is found: from its top to the gap of 2 pixels below it
    EXPECT_EQ(tiles("1"), kRows);
    EXPECT_EQ(tiles("3"), 3 * kRows);
}

// The same images with names, as a data set and as a folder.
TEST_F(EvalScores, ReportsNames) {
    const ImageSet set = load_split(folder / "d.h5", "train");
    DatasetInfo info;
    info.H = info.W = 8;
    info.C = 3;
    DatasetWriter writer(folder / "named.h5", info);
    std::vector<std::string> names;
    for (index_t n = 0; n < set.N; ++n) {
        names.push_back(fmt::format("day 1/{:02d}, beach.png", n));
        std::filesystem::create_directories(folder / "photos/day 1");
        write_png(folder / "photos" / names.back(),
                  {8, 8, 3, {set.image(n), set.image(n) + set.image_bytes()}});
    }
    write_bytes(folder / "photos/broken.jpg", "\xff\xd8\xff");
    write_bytes(folder / "photos/notes.txt", "x");
    writer.append("train", set.N, set.images.data(), nullptr, names);
    writer.commit();
    const Words outputs = {"--per-image", "x.csv", "--extremes", "x.png", "--show", "2"};
    const Words from = {"--bpd", "--checkpoint", "run", "--no-ema", "--json", "--quiet", "--data"};

    const Outcome plain = eval(kFrom + outputs);
    ASSERT_EQ(plain.code, 0);
    const CsvTable expected(folder / "x.csv");
    const Image small = read_png(folder / "x.png");
    const Outcome data = eval(from + Words{"named.h5", "--split", "train"} + outputs);
    ASSERT_EQ(data.code, 0) << data.err;
    const std::string csv = read_bytes(folder / "x.csv"), picture = read_bytes(folder / "x.png");
    const CsvTable table(folder / "x.csv");
    ASSERT_EQ(table.rows().size(), names.size());
    for (std::size_t n = 0; n < names.size(); ++n) {
        EXPECT_EQ(table.rows()[n].cells[table.column("name")], names[n]);
        EXPECT_EQ(table.rows()[n].cells[1], expected.rows()[n].cells[1]);
    }
    EXPECT_GT(read_png(folder / "x.png").H, small.H);  // a line more

    const Outcome photos = eval(from + Words{"photos"} + outputs);
    ASSERT_EQ(photos.code, 0) << photos.err;
    EXPECT_NE(photos.err.find("skipped: cannot read photos/broken.jpg"), std::string::npos) << photos.err;
    EXPECT_EQ(nlohmann::json::parse(photos.out)["bpd"], nlohmann::json::parse(data.out)["bpd"]);
    EXPECT_EQ(nlohmann::json::parse(photos.out)["images"], set.N);
    EXPECT_TRUE(nlohmann::json::parse(photos.out)["split"].is_null());
    EXPECT_EQ(read_bytes(folder / "x.csv"), csv);
    EXPECT_EQ(read_bytes(folder / "x.png"), picture);
    const Outcome against = eval(from + Words{"d.h5", "--split", "train", "--against", "photos"});
    ASSERT_EQ(against.code, 0) << against.err;
    EXPECT_EQ(nlohmann::json::parse(against.out)["against"]["auroc"], 0.5);
    expect_error(eval(from + Words{"photos", "--split", "train"}), 2, "--split");

    // Latents of a folder keep the names.
    const Outcome encoded =
        latent({"encode", "--checkpoint", "run", "--data", "photos", "-o", "z.h5", "--quiet"});
    ASSERT_EQ(encoded.code, 0) << encoded.err;
    EXPECT_EQ(Hdf5File::open(folder / "z.h5").read_strings("/names"), names);
}

// With all images in one compressed chunk, every read from disk would unpack all of them.
TEST_F(EvalScores, LargeChunksAreUnpackedOnce) {
    const ImageSet set = load_split(folder / "d.h5", "train");
    write_chunked(folder / "large.h5", set, 40, true);
    write_chunked(folder / "small.h5", set, 4, true);
    write_chunked(folder / "plain.h5", set, 40, false);
    CommandLine command("glow_eval", "");
    const auto open = [&](const std::string& name, index_t limit) {
        return open_split(command, {folder / name, "train", limit}, {});
    };
    const SplitImages large = open("large.h5", 0);
    EXPECT_FALSE(large.on_disk());
    EXPECT_EQ(large.set().images, set.images);
    EXPECT_EQ(open("large.h5", 3).N(), 3);
    EXPECT_EQ(open("large.h5", 50).N(), 40);
    EXPECT_TRUE(open("small.h5", 0).on_disk());
    EXPECT_TRUE(open("plain.h5", 0).on_disk());
    ProcessGroup many;  // which do not have the memory for an image set each
    many.size = many.local_size = 1 << 30;
    EXPECT_TRUE(open_split(command, {folder / "large.h5", "train", 0}, many).on_disk());
    expect_throw<InputError>(
        [&] {
            open_split(command, {folder / "large.h5", "valid", 0}, {});
        },
        {"large.h5", "valid"});

    const Words from = {"--checkpoint", "run", "--split", "train", "--complexity", "--per-image"};
    ASSERT_EQ(eval(from + Words{"a.csv", "--data", "d.h5"}).code, 0);
    const Outcome same = eval(from + Words{"b.csv", "--data", "large.h5"});
    ASSERT_EQ(same.code, 0) << same.err;
    EXPECT_EQ(same.err, "");
    EXPECT_EQ(read_bytes(folder / "b.csv"), read_bytes(folder / "a.csv"));
}

TEST_F(EvalScores, SeparatesAnotherDataSet) {
    // Noise is far less likely than the smooth images that the model was trained on.
    DatasetInfo info;
    info.H = info.W = 8;
    info.C = 3;
    DatasetWriter writer(folder / "noise.h5", info);
    test::Random random(1);
    std::vector<std::uint8_t> pixels(30 * 192);
    for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(random.integer(0, 255));
    writer.append("train", 30, pixels.data(), nullptr);
    writer.commit();
    const Outcome outcome = eval(kFrom + Words{"--against", "noise.h5", "--against-split", "train",
                                               "--against-per-image", "noise.csv", "--limit", "25"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto against = nlohmann::json::parse(outcome.out)["against"];
    EXPECT_GT(against["auroc"], 0.99);
    EXPECT_EQ(against["images"], 25);
    EXPECT_NEAR(against["bpd"].get<double>(), mean_of(column(read_csv(folder / "noise.csv"), "bpd")), 1e-6);
    const Outcome same = eval(kFrom + Words{"--against", "d.h5", "--against-split", "train"});
    EXPECT_EQ(nlohmann::json::parse(same.out)["against"]["auroc"], 0.5);
}

// Not after hours of computing.
TEST_F(EvalScores, RefusesLargePicturesBeforeComputing) {
    make_dataset(folder / "strips.h5", 8, 4096, 3, 100, 0, 0);
    make_dataset(folder / "wide.h5", 8, 65536, 3, 1, 0, 0);
    const Words before = all_files(),
                from = {"--checkpoint", "run", "--quiet", "--split", "train", "--per-image", "x.csv"};
    expect_error(eval(from + Words{"--data", "strips.h5", "--extremes", "e.png", "--show", "50"}), 2,
                 "too large");
    expect_error(eval(from + Words{"--data", "wide.h5", "--heatmap", "h"}), 2, "too large");
    EXPECT_EQ(all_files(), before);
}

// The model fails on the first image, so a message about --against comes before that.
TEST_F(EvalScores, ChecksOtherDataSetBeforeComputing) {
    CheckpointEdit edit(folder / "run/latest.h5");
    std::vector<float>& bias = edit.tensor("/params/level1/step0/coupling/conv3/bias").values;
    for (std::size_t i = 0; i < bias.size(); i += 2) bias[i] = 3e38f;
    edit.write(folder / "broken.h5");
    const Words from = {"--checkpoint", "broken.h5", "--no-ema", "--data", "d.h5", "--quiet"};
    expect_error(eval(from), 1, "not finite");
    make_dataset(folder / "large.h5", 16, 16, 3, 10, 0, 0);
    expect_error(eval(from + Words{"--against", "none.h5"}), 2, "none.h5");
    expect_error(eval(from + Words{"--against", "large.h5", "--against-split", "train"}), 2, "16x16");
}

TEST_F(EvalScores, RemovesFilesOfKilledCommands) {
    std::filesystem::create_directory(folder / "out");
    const pid_t child = fork();
    if (child == 0) {
        const AtomicFile file(folder / "out/x.csv");
        ::kill(getpid(), SIGKILL);
    }
    waitpid(child, nullptr, 0);
    const auto names = [&] {
        Words found;
        for (const auto& entry : std::filesystem::directory_iterator(folder / "out"))
            found.push_back(entry.path().filename().string());
        return found;
    };
    ASSERT_EQ(names().size(), 1u);
    ASSERT_EQ(eval(kFrom + Words{"--per-image", "out/x.csv"}).code, 0);
    EXPECT_EQ(names(), Words{"x.csv"});
}

// Of one image, a standard error and a correlation are undefined.
TEST_F(EvalScores, OneImageHasNoStandardError) {
    const Outcome one = eval(kFrom + Words{"--limit", "1", "--complexity", "--against", "d.h5"});
    ASSERT_EQ(one.code, 0) << one.err;
    const auto result = nlohmann::json::parse(one.out);
    EXPECT_TRUE(result["stderr"].is_null() && result["against"]["stderr"].is_null()) << one.out;
    EXPECT_TRUE(result["png_correlation"].is_null()) << one.out;
    EXPECT_TRUE(result["bpd"].is_number());

    make_dataset(folder / "d.h5", 8, 8, 3, 40, 1, 10);
    const Outcome trained = train(run_words("single", 2) + Words{"--eval-every", "1", "--quiet", "--json"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    EXPECT_TRUE(nlohmann::json::parse(trained.out)["valid_stderr_ema"].is_null()) << trained.out;
    const Table rows = read_csv(folder / "single/eval.csv");
    ASSERT_FALSE(rows.empty());
    for (const auto& row : rows) EXPECT_EQ(row.at("stderr"), "");
    const Evaluated found = read_evaluations(RunFolder(folder / "single"), 2);
    ASSERT_TRUE(found.ema && found.raw);
    EXPECT_EQ(found.ema->count, 1);
    EXPECT_FALSE(found.ema->error());
}

TEST_F(EvalScores, RejectsBadInput) {
    make_dataset(folder / "large.h5", 16, 16, 3, 10, 0, 0);
    const Words before = all_files();
    const auto refused = [&](const Words& words, const std::string& part) {
        expect_error(eval(kFrom + words), 2, part);
        EXPECT_EQ(all_files(), before);
    };
    refused({"--sort"}, "--per-image");
    refused({"--against-per-image", "x.csv"}, "--against");
    refused({"--extremes", "none/e.png"}, "none");
    refused({"--show", "0"}, "--show");
    refused({"--against", "none.h5"}, "none.h5");
    refused({"--against", "large.h5", "--against-split", "train"}, "images of 16x16, expected 8x8");
    refused({"--against", "d.h5", "--against-split", "all"}, "all");
    std::filesystem::create_directory(folder / "photos");
    write_png(folder / "photos/a.png", {8, 8, 3, std::vector<std::uint8_t>(192)});
    expect_error(eval(kFrom + Words{"--against", "photos", "--against-split", "bogus"}), 2,
                 "--against-split is for data sets, but photos is a folder");
}

}  // namespace
}  // namespace glow
