// glow_latent interpolate, direction, manipulate and exchange as programs.
#include <fmt/format.h>

#include "data/formats/png.h"
#include "data/grid.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

struct Editing : Commands {
    Editing() {
        make_dataset(folder / "classes.h5", 8, 8, 3, 40, 0, 12, 3);
        const Outcome outcome =
            train(Words{"--data", "classes.h5", "--levels", "2", "--depth", "2", "--width", "8", "--batch",
                        "8", "--threads", "2", "--out", "run", "--max-steps", "15", "--quiet"});
        EXPECT_EQ(outcome.code, 0) << outcome.err;
    }
    std::vector<std::uint8_t> images_of(const std::string& file, index_t N) const {
        return Hdf5File::open(folder / file).read<std::uint8_t>("/images", {N, 8, 8, 3});
    }
    std::vector<std::uint8_t> test_image(index_t n) const {
        const ImageSet set = load_split(folder / "classes.h5", "test");
        return {set.image(n), set.image(n) + set.image_bytes()};
    }
    static std::vector<std::uint8_t> part(const std::vector<std::uint8_t>& images, index_t n) {
        return {images.begin() + n * 192, images.begin() + (n + 1) * 192};
    }
    static double mean(const std::vector<std::uint8_t>& pixels) {
        double sum = 0;
        for (const std::uint8_t pixel : pixels) sum += pixel;
        return sum / static_cast<double>(pixels.size());
    }
    void done(const Words& words) const {
        const Outcome outcome = latent(words + Words{"--quiet"});
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err, "");
    }
    static inline const Words kModel = {"--checkpoint", "run", "--no-ema"};
    static inline const Words kFrom = kModel + Words{"--data", "classes.h5"};
};

TEST_F(Editing, InterpolationEndsAtImages) {
    for (const std::string path : {"linear", "spherical"}) {
        done(Words{"interpolate"} + kFrom +
             Words{"--images", "3,5,1", "--steps", "5", "--path", path, "-o", "x.h5", "--frames", "frames"});
        const std::vector<std::uint8_t> images = images_of("x.h5", 10);
        EXPECT_EQ(part(images, 0), test_image(3));
        EXPECT_EQ(part(images, 4), test_image(5));
        EXPECT_EQ(part(images, 5), test_image(5));
        EXPECT_EQ(part(images, 9), test_image(1));
        EXPECT_NE(part(images, 2), test_image(3));
        EXPECT_EQ(read_png(folder / "frames/000009.png").pixels, test_image(1));
    }
}

TEST_F(Editing, InterpolatesFourImagesOnGrid) {
    done(Words{"interpolate"} + kFrom + Words{"--images", "0,1,2,3", "--steps", "4", "-o", "x.h5"});
    const std::vector<std::uint8_t> images = images_of("x.h5", 16);
    for (const auto& [exec, image] : {std::pair{0, 0}, {3, 1}, {12, 2}, {15, 3}})
        EXPECT_EQ(part(images, exec), test_image(image)) << exec;
    done(Words{"interpolate"} + kFrom + Words{"--images", "0,1,2,3", "--steps", "4", "-o", "x.png"});
    EXPECT_GT(read_png(folder / "x.png").W, 4 * 64);
}

TEST_F(Editing, AcceptsImageFiles) {
    write_png(folder / "a.png", {8, 8, 3, test_image(0)});
    Image large{16, 24, 3, std::vector<std::uint8_t>(16 * 24 * 3, 90)};  // center-cropped and halved
    write_png(folder / "b.png", large);
    done(Words{"interpolate"} + kModel + Words{"--files", "a.png,b.png", "--steps", "2", "-o", "x.h5"});
    const std::vector<std::uint8_t> images = images_of("x.h5", 2);
    EXPECT_EQ(part(images, 0), test_image(0));
    EXPECT_EQ(part(images, 1), std::vector<std::uint8_t>(192, 90));
    // Words as a shell writes them, a comma in a name, and a folder.
    write_png(folder / "c,d.png", {8, 8, 3, test_image(1)});
    std::filesystem::create_directories(folder / "photos/more");
    write_png(folder / "photos/more/e.png", {8, 8, 3, test_image(2)});
    done(Words{"interpolate"} + kModel +
         Words{"--files", "a.png", "c,d.png", "photos", "--steps", "2", "-o", "x.h5"});
    const std::vector<std::uint8_t> more = images_of("x.h5", 4);
    EXPECT_EQ(part(more, 1), test_image(1));
    EXPECT_EQ(part(more, 3), test_image(2));
}

// CLI11 reads [a,b] as a list.
TEST_F(Editing, AcceptsBracketsInFileNames) {
    for (const auto& [name, image] : {std::pair{"[photos]", 0}, {"photos", 1}, {"[a,b]", 2}}) {
        std::filesystem::create_directories(folder / name);
        write_png(folder / name / "1.png", {8, 8, 3, test_image(image)});
    }
    const auto first_two = [&](const Words& files) {
        done(Words{"interpolate"} + kModel + files + Words{"--steps", "2", "-o", "x.h5"});
        return images_of("x.h5", 2);
    };
    const std::vector<std::uint8_t> images = first_two({"--files", "[photos]", "[a,b]"}),
                                    reversed = first_two({"--files=[a,b]", "photos"});
    EXPECT_EQ(part(images, 0), test_image(0));
    EXPECT_EQ(part(images, 1), test_image(2));
    EXPECT_EQ(part(reversed, 0), test_image(2));
    EXPECT_EQ(part(reversed, 1), test_image(1));
    for (const char* const name : {"[a.png,b.png]", "{}"}) {
        const Outcome outcome =
            latent(Words{"interpolate"} + kModel + Words{"--files", name, "photos", "-o", "y.h5"});
        EXPECT_EQ(outcome.code, 2);
        EXPECT_NE(outcome.err.find(std::string("./").append(name, 2)), std::string::npos) << outcome.err;
    }
}

// A model whose inverse overflows far from images, as after few steps of training.
TEST_F(Editing, FallsBackToLinearPath) {
    const Words between =
        Words{"interpolate", "--no-ema", "--data", "classes.h5", "--images", "0,1",          "--steps",
              "9",           "-o",       "x.png",  "--json",     "--quiet",  "--checkpoint", "steep.h5"};
    const auto not_finite = [](const Outcome& outcome) {
        const std::size_t at = outcome.err.find(" of 9 not finite");
        return at == std::string::npos ? 0 : std::stoi(outcome.err.substr(outcome.err.rfind(' ', at - 1)));
    };
    // The path that it chooses is compared with both where it is the usual one, and where it first is not.
    bool first = true, fell_back = false;
    for (float factor = 2; factor < 1e4F && !fell_back; factor *= 1.5F, first = false) {
        CheckpointEdit edit(folder / "run/latest.h5");
        for (const std::string level : {"level0", "level1"})
            for (float& weight : edit.tensor("/params/" + level + "/step1/coupling/conv3/weight").values)
                weight *= factor;
        edit.write(folder / "steep.h5");
        const Outcome chosen = latent(between);
        ASSERT_EQ(chosen.code, 0) << chosen.err;
        fell_back = chosen.err.find("using the linear path") != std::string::npos;
        if (!first && !fell_back) continue;
        const Outcome spherical = latent(between + Words{"--path", "spherical"}),
                      linear = latent(between + Words{"--path", "linear"});
        const bool better = not_finite(linear) < not_finite(spherical);
        EXPECT_EQ(nlohmann::json::parse(chosen.out)["path"], better ? "linear" : "spherical") << factor;
        EXPECT_EQ(fell_back, better) << chosen.err;
        EXPECT_EQ(nlohmann::json::parse(spherical.out)["path"], "spherical");
    }
    EXPECT_TRUE(fell_back);
}

TEST_F(Editing, DirectionMovesImagesTowardClass) {
    // The data set's classes are brightness levels: 90, 110 and 130 of 256.
    std::string csv = "index,other,bright\n";
    for (int n = 0; n < 40; ++n) csv += fmt::format("{},5,{}\n", n, n % 3 == 2 ? 1 : -1);
    write_bytes(folder / "attributes.csv", csv);
    for (const Words& which :
         {Words{"--positive", "2", "--negative", "0"}, Words{"--positive", "2", "--method", "mean"},
          Words{"--attributes", "attributes.csv", "--attribute", "bright", "--ridge", "10"}}) {
        done(Words{"direction"} + kFrom + Words{"--split", "train", "-o", "bright.h5"} + which);
        done(Words{"manipulate"} + kFrom +
             Words{"--images", "0,1", "--direction", "bright.h5", "--alpha", "-1..1", "--steps", "3", "-o",
                   "x.h5"});
        const std::vector<std::uint8_t> images = images_of("x.h5", 6);
        for (const index_t n : {0, 1}) {
            EXPECT_EQ(part(images, 3 * n + 1), test_image(n));  // alpha = 0
            EXPECT_GT(mean(part(images, 3 * n + 2)), mean(part(images, 3 * n)) + 2);
        }
        // Some levels only: a smaller change, and none in other levels.
        done(Words{"manipulate"} + kFrom +
             Words{"--images", "0", "--direction", "bright.h5", "--alpha", "0,1", "--levels", "0,1", "-o",
                   "y.h5"});
        EXPECT_EQ(part(images_of("y.h5", 2), 1), part(images, 2));
    }
}

TEST_F(Editing, ReadsAttributesFromSpreadsheetCsv) {
    const auto write = [&](const std::string& name, const std::string& begin, const std::string& row) {
        std::string csv = begin;
        for (int n = 0; n < 40; ++n) csv += fmt::format(fmt::runtime(row), n, n % 3 == 2 ? 1 : 0);
        write_bytes(folder / name, csv + "\r\n\r\n");
    };
    write("plain.csv", "index,bright\n", "{},{}\n");
    write("excel.csv", "\xef\xbb\xbf\"index\";\"bright\"\r\n", "\"{}\";\"{}\"\r\n");
    for (const std::string name : {"plain", "excel"})
        done(Words{"direction"} + kFrom +
             Words{"--split", "train", "--attributes", name + ".csv", "--attribute", "bright", "-o",
                   name + ".h5"});
    EXPECT_EQ(read_bytes(folder / "plain.h5"), read_bytes(folder / "excel.h5"));
}

TEST_F(Editing, AttributesNeedDistinctNames) {
    DatasetInfo info;
    info.H = info.W = 8;
    info.C = 3;
    DatasetWriter writer(folder / "named.h5", info);
    std::vector<std::uint8_t> pixels(4 * 192);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i / 192 * 50);
    writer.append("train", 4, pixels.data(), nullptr, {"a", "b", "c", "c"});
    writer.commit();
    const Words from =
        Words{"direction"} + kModel +
        Words{"--data", "named.h5", "--split", "train", "--attribute", "x", "-o", "x.h5", "--quiet"};
    write_bytes(folder / "twice.csv", "name,x\na,1\nb,0\nc,1\n");
    write_bytes(folder / "more.csv", "name,x\na,1\nb,0\nz,1\ny,0\n");
    expect_error(latent(from + Words{"--attributes", "twice.csv"}), 2,
                 "twice.csv:4: 2 images have the name c");
    const Outcome more = latent(from + Words{"--attributes", "more.csv"});
    ASSERT_EQ(more.code, 0) << more.err;
    EXPECT_NE(more.out.find("no image for 2 rows of more.csv"), std::string::npos) << more.out;
}

TEST_F(Editing, ScalesLevelTemperatures) {
    done(Words{"manipulate"} + kFrom + Words{"--images", "2", "--level-temperature", "1,1", "-o", "x.h5"});
    EXPECT_EQ(images_of("x.h5", 1), test_image(2));
    done(Words{"manipulate"} + kFrom + Words{"--images", "2,3", "--level-temperature", "0,0", "-o", "x.h5"});
    const std::vector<std::uint8_t> images = images_of("x.h5", 2);
    EXPECT_EQ(part(images, 0), part(images, 1));  // nothing is left of the two
}

TEST_F(Editing, SwappingAllLevelsSwapsImages) {
    done(Words{"exchange"} + kFrom + Words{"--images", "4,5", "-o", "x.h5"});
    const std::vector<std::uint8_t> images = images_of("x.h5", 6);
    EXPECT_EQ(part(images, 0), test_image(4));
    EXPECT_EQ(part(images, 3), test_image(5));
    EXPECT_NE(part(images, 1), test_image(4));
    // Swapping level 0 one way equals swapping level 1 the other way, for two levels.
    EXPECT_EQ(part(images, 1), part(images, 5));
    EXPECT_EQ(part(images, 2), part(images, 4));
}

// A level for exchange, a distance for manipulate.
TEST_F(Editing, SheetsNameTheirColumns) {
    done(Words{"direction"} + kFrom + Words{"--positive", "1", "-o", "one.h5"});
    const auto expect_headings = [this](const Words& words, index_t rows, const Words& headings) {
        const index_t columns = std::ssize(headings);
        done(words + kFrom + Words{"-o", "x.h5"});
        done(words + kFrom + Words{"-o", "x.png"});
        const std::vector<std::uint8_t> images = images_of("x.h5", rows * columns);
        std::vector<Panel> panels;
        for (index_t column = 0; column < columns; ++column) {
            std::vector<std::uint8_t> pixels;
            for (index_t row = 0; row < rows; ++row) {
                const std::vector<std::uint8_t> image = part(images, row * columns + column);
                pixels.insert(pixels.end(), image.begin(), image.end());
            }
            panels.push_back({headings[static_cast<std::size_t>(column)],
                              tile_images(pixels.data(), rows, 8, 8, 3, {rows, 1})});
        }
        EXPECT_EQ(read_png(folder / "x.png").pixels, side_by_side(panels).pixels) << words.front();
    };
    expect_headings({"exchange", "--images", "4,5"}, 2, {"image", "level 0", "level 1"});
    expect_headings(
        {"manipulate", "--images", "2,3,4", "--direction", "one.h5", "--alpha", "-1..1", "--steps", "4"}, 3,
        {"-1", "-0.333", "0.333", "1"});
}

TEST_F(Editing, RejectsBadInput) {
    make_run("other", 2, {"--depth", "1"});
    done(Words{"direction"} + kFrom + Words{"--positive", "1", "-o", "one.h5"});
    write_bytes(folder / "text.csv", "index,a\n0,1,2\n");
    write_bytes(folder / "word.csv", "index,a\n0,yes\n");
    write_bytes(folder / "all.csv", "index,a\n0,1\n1,1\n");
    write_bytes(folder / "noindex.csv", "name,a\nx,1\n");
    write_bytes(folder / "both.csv", "index,a\n0,1\n1,1\n1,0\n");
    write_bytes(folder / "cut.h5", read_bytes(folder / "one.h5").substr(0, 900));
    write_png(folder / "small.png", {4, 4, 3, std::vector<std::uint8_t>(48)});
    write_bytes(folder / "text.png", "no image");
    const Words before = all_files();
    const auto refused = [&](const Words& words, const std::string& part) {
        const std::string output = words.front() == "direction" ? "out.h5" : "out.png";
        expect_error(latent(words + Words{"-o", output, "--quiet"}), 2, part);
        EXPECT_EQ(all_files(), before);
    };
    const Words between = Words{"interpolate"} + kFrom, change = Words{"manipulate"} + kFrom,
                find = Words{"direction"} + kFrom;
    refused(between, "at least 2 images (4 are the corners of a grid): --images A,B or --files");
    refused(between + Words{"--images", "1,99"}, "--images");
    refused(between + Words{"--images", "1,x"}, "--images");
    refused(between + Words{"--images", "1,2", "--path", "bent"}, "bent");
    refused(between + Words{"--images", "1,2", "--steps", "1"}, "--steps");
    refused(between + Words{"--images", "1,2", "--steps", "0"}, "--steps");
    refused(between + Words{"--images", "0,1,2,3", "--steps", "260"}, "too large");
    refused(between + Words{"--images", "1,2", "--files", "small.png"}, "either");
    refused(between + Words{"--images", "1,2", "--class", "1"}, "not conditional");
    refused(between + Words{"--images", "1,2", "--split", "valid"}, "valid");
    refused(Words{"interpolate"} + kModel + Words{"--files", "small.png,small.png"}, "4x4");
    refused(Words{"interpolate"} + kModel + Words{"--files", "text.png,text.png"}, "text.png");
    refused(Words{"interpolate"} + kModel + Words{"--files", "none.png,none.png"}, "none.png");
    refused(Words{"interpolate"} + kModel, "either");
    refused(find, "either");
    refused(find + Words{"--positive", "3"}, "--positive");
    refused(find + Words{"--positive", "1", "--negative", "1"}, "same class");
    refused(find + Words{"--positive", "1", "--method", "magic"}, "magic");
    refused(find + Words{"--positive", "1", "--ridge", "0"}, "--ridge");
    refused(find + Words{"--attributes", "none.csv", "--attribute", "a"}, "none.csv");
    refused(find + Words{"--attributes", "text.csv", "--attribute", "a"}, "text.csv:2: ");
    refused(find + Words{"--attributes", "word.csv", "--attribute", "a"}, "word.csv:2: a must be a number");
    refused(find + Words{"--attributes", "text.csv", "--attribute", "b"}, "text.csv:2: ");
    refused(find + Words{"--attributes", "noindex.csv", "--attribute", "a"}, "index");
    refused(find + Words{"--attributes", "all.csv", "--attribute", "a"}, "without the attribute");
    refused(find + Words{"--attributes", "all.csv", "--attribute", "b"}, "columns are index, a");
    refused(find + Words{"--attributes", "both.csv", "--attribute", "a"},
            "both.csv:4: image 1 has a different value");
    refused(find + Words{"--attributes", "all.csv"}, "--attribute");
    refused({"direction", "--checkpoint", "run", "--data", "d.h5", "--positive", "1"}, "no classes");
    refused(change + Words{"--images", "1"}, "--direction");
    refused(change + Words{"--images", "1", "--direction", "none.h5"}, "none.h5");
    refused(change + Words{"--images", "1", "--direction", "cut.h5"}, "cut.h5");
    refused(change + Words{"--images", "1", "--direction", "d.h5"}, "d.h5");
    refused({"manipulate", "--checkpoint", "other", "--data", "d.h5", "--direction", "one.h5"},
            "not a direction");
    refused(change + Words{"--images", "1", "--direction", "one.h5", "--alpha", "a..b"}, "--alpha");
    refused(change + Words{"--images", "1", "--direction", "one.h5", "--alpha", "nan"}, "--alpha");
    refused(change + Words{"--images", "1", "--direction", "one.h5", "--levels", "2"}, "--levels");
    refused(change + Words{"--images", "1", "--level-temperature", "1"}, "expected 2 numbers");
    refused(change + Words{"--images", "1", "--level-temperature", "1,-1"}, "--level-temperature");
    refused(Words{"exchange"} + kFrom + Words{"--images", "1"}, "2 images");
    done(Words{"encode"} + kFrom + Words{"--limit", "2", "-o", "two.h5"});
    expect_error(latent(change + Words{"--images", "1", "--direction", "two.h5", "-o", "out.png", "--quiet"}),
                 2, "two.h5: not a direction but a file of 2 latents");
}

// As of a run that diverged: the first level's latents overflow float32.
TEST_F(Editing, RefusesLatentsThatAreNotFinite) {
    CheckpointEdit edit(folder / "run/latest.h5");
    for (float& value : edit.tensor("/params/level0/split/bias").values) value = -100;
    edit.write(folder / "diverged.h5");
    const Words from = {"--checkpoint", "diverged.h5", "--no-ema", "--data",
                        "classes.h5",   "--quiet",     "-o",       "out.h5"};
    expect_error(latent(Words{"encode"} + from), 2, "latents of image 0 are not finite");
    expect_error(latent(Words{"direction", "--positive", "1"} + from), 2, "latents that are not finite");
    EXPECT_FALSE(std::filesystem::exists(folder / "out.h5"));
}

TEST_F(Editing, RefusesOptionsWithoutEffect) {
    write_png(folder / "a.png", {8, 8, 3, std::vector<std::uint8_t>(192)});
    write_bytes(folder / "a.csv", "index,a\n0,1\n1,0\n");
    done(Words{"direction"} + kFrom + Words{"--positive", "1", "-o", "one.h5"});
    const Words before = all_files();
    const auto refused = [&](const Words& words, const std::string& part) {
        const std::string output = words.front() == "direction" ? "out.h5" : "out.png";
        expect_error(latent(words + Words{"-o", output, "--quiet"}), 2, part);
        EXPECT_EQ(all_files(), before);
    };
    const Words files = Words{"exchange"} + kModel + Words{"--files", "a.png", "a.png"},
                calm = Words{"manipulate"} + kFrom + Words{"--level-temperature", "1,1"},
                find = Words{"direction"} + kFrom;
    refused(files + Words{"--images", "0,1"}, "--images requires --data");
    refused(files + Words{"--split", "test"}, "--split requires --data");
    refused(calm + Words{"--alpha", "1"}, "--alpha requires --direction");
    refused(calm + Words{"--levels", "0"}, "--levels requires --direction");
    refused(calm + Words{"--steps", "4"}, "--steps requires --direction");
    refused(Words{"manipulate"} + kFrom + Words{"--direction", "one.h5", "--alpha", "0,1", "--steps", "3"},
            "--steps needs --alpha A..B");
    refused(find + Words{"--positive", "1", "--attribute", "a"}, "--attribute requires --attributes");
    refused(find + Words{"--attributes", "a.csv", "--attribute", "a", "--negative", "1"},
            "--negative requires --positive");
    refused(find + Words{"--positive", "1", "--method", "mean", "--ridge", "2"},
            "--ridge needs --method linear");
    expect_error(latent(Words{"reconstruct"} + kFrom + Words{"--show", "2", "--quiet"}), 2,
                 "--show requires --output");
}

// A single image of --frames would replace the sheet.
TEST_F(Editing, RefusesSheetWithTheNameOfAFrame) {
    std::filesystem::create_directory(folder / "frames");
    std::filesystem::create_directory_symlink("frames", folder / "link");
    const Words before = all_files(),
                exchange = Words{"exchange"} + kFrom + Words{"--images", "0,1", "--quiet"};
    for (const Words& outputs : {Words{"-o", "frames/000000.png", "--frames", "frames"},
                                 Words{"-o", "link/000003.png", "--frames", "frames/"},
                                 Words{"-o", "frames/123456.png", "--frames", "./link"}}) {
        expect_error(latent(exchange + outputs), 2, "has the name of a picture in --frames");
        EXPECT_EQ(all_files(), before);
    }
    expect_error(eval(kFrom + Words{"--extremes", "heat/000001.png", "--heatmap", "heat"}), 2, "heat");
    done(exchange + Words{"-o", "frames/sheet.png", "--frames", "frames"});
}

}  // namespace
}  // namespace glow
