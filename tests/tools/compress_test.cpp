// glow_compress and glow_decompress as programs.
#include <fmt/format.h>

#include "data/formats/jpeg.h"
#include "data/formats/png.h"
#include "data/formats/tiff.h"
#include "tests/data/formats/tiff_cases.h"
#include "tests/data/make_files.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

struct Compress : Commands {
    Outcome compress(const Words& arguments) const {
        return Process(folder.path(), GLOW_COMPRESS_PROGRAM, arguments).wait();
    }
    Outcome decompress(const Words& arguments) const {
        return Process(folder.path(), GLOW_DECOMPRESS_PROGRAM, arguments).wait();
    }
    static inline const Words kFrom = {"--checkpoint", "run", "--data", "d.h5", "--no-ema"};
};

TEST_F(Compress, RoundTripsAndReportsSize) {
    make_run("run", 20);
    for (const Words& more : {Words{}, Words{"--batch", "3", "--threads", "1", "--force"}}) {
        const Outcome outcome =
            compress(kFrom + Words{"--split", "train", "-o", "x.glow", "--json", "--quiet"} + more);
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err, "");
        const auto result = nlohmann::json::parse(outcome.out);
        EXPECT_EQ(result["images"], 40);
        EXPECT_EQ(result["bytes"], std::filesystem::file_size(folder / "x.glow"));
        const double values = 40 * 8 * 8 * 3, bytes = result["bytes"], start_up = result["start_up_bytes"];
        EXPECT_NEAR(result["bpd"].get<double>(), 8 * bytes / values, 1e-9);
        EXPECT_NEAR(result["bpd_without_start_up"].get<double>(), 8 * (bytes - start_up) / values, 1e-9);
        std::size_t png = 0;
        const ImageSet set = load_split(folder / "d.h5", "train");
        for (index_t n = 0; n < set.N; ++n)
            png += png_bytes({8, 8, 3, {set.image(n), set.image(n) + set.image_bytes()}});
        EXPECT_EQ(result["png_bytes"], png);

        const Outcome evaluated =
            eval(kFrom + Words{"--bpd", "--split", "train", "--dequant-samples", "8", "--json", "--quiet"});
        ASSERT_EQ(evaluated.code, 0) << evaluated.err;
        const double bits = nlohmann::json::parse(evaluated.out)["bpd"];
        // Noise over 40 small images: the bits of each value have a deviation of about 0.4.
        EXPECT_NEAR(result["bpd_without_start_up"].get<double>(), bits, 0.01 * bits);

        const Words back = {"--checkpoint", "run", "x.glow", "-o", "back.h5", "--quiet"};
        if (std::filesystem::exists(folder / "back.h5")) {
            const std::string earlier = read_bytes(folder / "back.h5");
            expect_error(decompress(back), 2, "--force");
            EXPECT_TRUE(read_bytes(folder / "back.h5") == earlier);
        }
        const Outcome restored = decompress(back + Words{"--force"});
        ASSERT_EQ(restored.code, 0) << restored.err;
        const Hdf5File file = Hdf5File::open(folder / "back.h5");
        EXPECT_TRUE(file.read<std::uint8_t>("/images", {40, 8, 8, 3}) ==
                    load_split(folder / "d.h5", "train").images);
    }
    // A folder instead of NAME.h5: numbered pictures. --threads has no effect.
    const Words into = {"--checkpoint", "run", "x.glow", "--threads", "2", "-o", "pictures", "--quiet"};
    ASSERT_EQ(decompress(into).code, 0);
    const ImageSet set = load_split(folder / "d.h5", "train");
    for (const index_t n : {0, 39})
        EXPECT_EQ(read_png(folder / fmt::format("pictures/{:06d}.png", n)).pixels,
                  (std::vector<std::uint8_t>(set.image(n), set.image(n) + set.image_bytes())));
    expect_error(decompress(into), 2, "--force");
}

// Photographs in folders, each of its own size.
struct CompressPhotos : Compress {
    CompressPhotos() {
        make_run("run", 5);
        std::filesystem::create_directories(folder / "photos/holiday/day 1");
        picture("photos/a.png", make::smooth(20, 33, 3));
        picture("photos/holiday/b.png", make::smooth(8, 8, 3, 20));
        picture("photos/holiday/day 1/\xc3\xbc.png", make::smooth(3, 5, 1));
        write_bytes(folder / "photos/holiday/c.jpg", make::jpeg(make::smooth(17, 9, 3)));
        pictures["holiday/c.png"] = decode_jpeg(bytes_of("photos/holiday/c.jpg"), "c.jpg");
    }
    void picture(const std::string& name, const Image& image) {
        write_png(folder / name, image);
        pictures[name.substr(7)] = image;
    }
    std::vector<std::uint8_t> bytes_of(const std::string& name) const {
        const std::string bytes = read_bytes(folder / name);
        return {bytes.begin(), bytes.end()};
    }
    void expect_pictures(const std::string& where) const {
        std::size_t files = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / where))
            files += entry.is_regular_file();
        EXPECT_EQ(files, pictures.size());
        for (const auto& [name, image] : pictures) {
            const Image read = read_png(folder / where / name);
            EXPECT_EQ((std::vector<index_t>{read.H, read.W, read.C}),
                      (std::vector<index_t>{image.H, image.W, image.C}));
            EXPECT_TRUE(read.pixels == image.pixels) << name;
        }
    }
    Outcome archive(const std::string& input, const std::string& output, const Words& more = {}) const {
        return compress(Words{"--checkpoint", "run", input, "-o", output} + more);
    }
    Outcome restore(const std::string& input, const std::string& output, const Words& more = {}) const {
        return decompress(Words{"--checkpoint", "run", input, "-o", output, "--quiet"} + more);
    }
    std::map<std::string, Image> pictures;
};

TEST_F(CompressPhotos, RestoresFolderWithNames) {
    const Outcome outcome = archive("photos", "p.glow", {"--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("only with run/checkpoints/step-00000005.h5, by this build"),
              std::string::npos);
    const auto result = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(result["images"], 4);
    EXPECT_EQ(result["tiles"], 3 * 5 + 1 + 1 + 3 * 2);
    EXPECT_EQ(result["image_bytes"], 20 * 33 * 3 + 8 * 8 * 3 + 15 + 17 * 9 * 3);
    EXPECT_EQ(result["bytes"], std::filesystem::file_size(folder / "p.glow"));
    std::size_t png = 0, files = 0;
    for (const auto& [name, image] : pictures) png += png_bytes(image);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "photos"))
        if (entry.is_regular_file()) files += entry.file_size();
    EXPECT_EQ(result["png_bytes"], png);
    EXPECT_EQ(result["file_bytes"], files);

    ASSERT_EQ(restore("p.glow", "back/").code, 0);
    expect_pictures("back");
    // The number of threads of the archive counts, not this one.
    ASSERT_EQ(archive("photos", "q.glow", {"--threads", "2", "--batch", "5", "--quiet"}).code, 0);
    ASSERT_EQ(restore("q.glow", "again/deeper", {"--threads", "1"}).code, 0);
    expect_pictures("again/deeper");
}

TEST_F(CompressPhotos, NeverOverwritesOrLeavesTheFolder) {
    ASSERT_EQ(archive("photos", "p.glow", {"--quiet"}).code, 0);
    const std::string compressed = read_bytes(folder / "p.glow");
    expect_error(archive("photos/holiday", "p.glow", {"--quiet"}), 2, "p.glow exists");
    EXPECT_EQ(read_bytes(folder / "p.glow"), compressed);
    ASSERT_EQ(restore("p.glow", "back").code, 0);
    write_bytes(folder / "back/a.png", "mine");
    std::filesystem::remove(folder / "back/holiday/b.png");
    Words before = all_files();
    expect_error(restore("p.glow", "back"), 2, "--force");
    EXPECT_EQ(all_files(), before);
    EXPECT_EQ(read_bytes(folder / "back/a.png"), "mine");
    ASSERT_EQ(restore("p.glow", "back", {"--force"}).code, 0);
    expect_pictures("back");
    // Symbolic links lead elsewhere, and folders in place of files stay.
    std::filesystem::create_directories(folder / "linked");
    std::filesystem::create_directories(folder / "outside");
    std::filesystem::create_directory_symlink(folder / "outside", folder / "linked/holiday");
    std::filesystem::create_directories(folder / "taken/a.png");
    write_bytes(folder / "file", "");
    before = all_files();
    expect_error(restore("p.glow", "linked", {"--force"}), 2, "symbolic link");
    expect_error(restore("p.glow", "taken", {"--force"}), 2, "expected a file");
    expect_error(restore("p.glow", "file"), 2, "file");
    expect_error(restore("p.glow", "back.h5"), 2, "folder");
    expect_error(restore("p.glow", "back.png"), 2, ".png");
    EXPECT_EQ(all_files(), before);
}

TEST_F(CompressPhotos, NamesFilesItCannotKeep) {
    write_png(folder / "photos/clear.png", make::smooth(8, 8, 4));
    write_bytes(folder / "photos/deep.png", make::png(1, 1, 16, 0, std::string(3, '\0')));
    write_bytes(folder / "photos/broken.jpg", read_bytes(folder / "photos/holiday/c.jpg").substr(0, 300));
    write_bytes(folder / "photos/empty.png", "");
    write_bytes(folder / "photos/film.mp4", "x");
    // The suffix that distinguishes two names makes one too long.
    const std::string longest(251, 'n');
    picture("photos/" + longest + ".png", make::smooth(2, 3, 3));
    write_bytes(folder / "photos" / (longest + ".jpg"), read_bytes(folder / "photos/holiday/c.jpg"));
    std::size_t left_out = 5;
    if (reads_tiff()) {  // PNG files, as which photographs are restored, have no such side
        make::TiffCase wide;
        wide.W = 1000001;
        wide.H = wide.samples = wide.photometric = 1;
        write_bytes(folder / "photos/wide.tif", make::tiff(wide));
        ++left_out;
    }
    const Words before = all_files();
    const Outcome refused = archive("photos", "p.glow", {"--quiet"});
    EXPECT_EQ(refused.code, 2);
    for (const std::string text :
         {"1 .mp4", "clear.png: cannot be coded without loss: it has transparent pixels", "--skip"})
        EXPECT_NE(refused.err.find(text), std::string::npos) << refused.err;
    EXPECT_EQ(all_files(), before);
    const Outcome outcome = archive("photos", "p.glow", {"--quiet", "--json", "--skip"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(nlohmann::json::parse(outcome.out)["left_out"].size(), left_out);
    for (const std::string text :
         {"clear.png", "deep.png: cannot be coded without loss: it has 16 bits", "broken.jpg", "empty.png",
          "n.jpg: cannot be restored: its name in the archive"})
        EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("wide.tif: cannot be restored") != std::string::npos, reads_tiff())
        << outcome.err;
    ASSERT_EQ(restore("p.glow", "back").code, 0);
    expect_pictures("back");
}

TEST_F(CompressPhotos, RejectsBadInput) {
    std::filesystem::create_directories(folder / "none");
    std::filesystem::create_directories(folder / "text");
    write_bytes(folder / "text/a.txt", "x");
    const Words before = all_files();
    const auto refused = [&](const Outcome& outcome, const std::string& part) {
        expect_error(outcome, 2, part);
        EXPECT_EQ(all_files(), before);
    };
    refused(archive("none", "p.glow", {"--quiet"}), "found no .png");
    refused(archive("text", "p.glow", {"--quiet"}), "found no .png");
    refused(archive("nowhere", "p.glow", {"--quiet"}), "nowhere");
    refused(archive("photos", "p.glow", {"--data", "d.h5"}), "once");
    refused(archive("photos", "p.glow", {"--split", "valid"}), "--split");
    for (const Words& more : {Words{}, Words{"--force"}})
        refused(archive("photos", "photos/a.png", more), "would overwrite");
}

TEST_F(Compress, RejectsBadInput) {
    make_run("run", 2);
    make_run("other", 3);
    make_dataset(folder / "odd.h5", 6, 8, 3, 10, 0, 0);
    make_dataset(folder / "gray.h5", 16, 16, 1, 10, 0, 0);
    ASSERT_EQ(train({"--data", "gray.h5", "--out", "gray", "--levels", "1", "--depth", "1", "--width", "4",
                     "--max-steps", "1", "--quiet"})
                  .code,
              0);
    ASSERT_EQ(compress(kFrom + Words{"-o", "x.glow", "--quiet"}).code, 0);
    const std::string whole = read_bytes(folder / "x.glow");
    std::string damaged = whole;
    damaged[damaged.size() / 2] ^= 4;
    write_bytes(folder / "damaged.glow", damaged);
    write_bytes(folder / "cut.glow", whole.substr(0, whole.size() / 2));
    write_bytes(folder / "empty.glow", "");
    const Words before = all_files();
    const auto refused = [&](const Outcome& outcome, const std::string& part) {
        expect_error(outcome, 2, part);
        EXPECT_EQ(all_files(), before);
    };
    refused(compress(Words{"--data", "d.h5", "-o", "y.glow"}), "--checkpoint");
    refused(compress(kFrom), "--output");
    refused(compress(kFrom + Words{"-o", "none/y.glow"}), "none");
    refused(compress(kFrom + Words{"-o", "y.glow", "--split", "all"}), "all");
    refused(compress(kFrom + Words{"-o", "y.glow", "--batch", "0"}), "--batch");
    refused(compress(kFrom + Words{"-o", "y.glow", "--batch", "5000"}), "--batch");
    refused(compress(kFrom + Words{"-o", "y.glow", "--device", "cuda"}), "CPU");
    refused(compress(kFrom + Words{"-o", "y.glow", "--precision", "fp8"}), "fp8");
    refused(compress({"--checkpoint", "run", "--data", "odd.h5", "-o", "y.glow", "--split", "train"}),
            "divisible by 4");
    const auto from = [&](const std::string& file, const std::string& checkpoint = "run") {
        return decompress({"--checkpoint", checkpoint, file, "-o", "y.h5", "--quiet"});
    };
    refused(from("damaged.glow"), "checksum");
    refused(from("cut.glow"), "checksum");
    refused(from("empty.glow"), "GLOWBITS");
    refused(from("none.glow"), "none.glow: cannot be read: No such file");
    refused(from("."), "a folder, not a file");
    refused(from("/proc/self/mem"), "/proc/self/mem: cannot be read: Input/output error");
    refused(from("d.h5"), "GLOWBITS");
    refused(from("x.glow", "other"), "different weights");
    refused(from("x.glow", "gray"), "3 channels");
    refused(decompress({"--checkpoint", "run", "-o", "y.h5"}), "INPUT");
    refused(decompress({"--checkpoint", "run", "x.glow", "-o", "none/y.h5"}), "none");
}

}  // namespace
}  // namespace glow
