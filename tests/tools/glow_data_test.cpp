// glow_data as a program: exit codes, streams, messages, files.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/dataset.h"
#include "data/formats/png.h"
#include "data/synthetic_gauss.h"
#include "tests/data/files.h"
#include "tests/data/formats/png_cases.h"
#include "tests/data/make_files.h"
#include "tests/data/odd_entries.h"
#include "tests/tools/process.h"

namespace glow {
namespace {

// Runs glow_data in a folder.
Outcome run(const TemporaryFolder& folder, const std::vector<std::string>& arguments,
            Surroundings surroundings = {}) {
    const TemporaryFolder options;
    write_bytes(options / "suppressions", "leak:libhdf5\n");
    surroundings.environment["LSAN_OPTIONS"] =
        "print_suppressions=0:suppressions=" + (options / "suppressions").string();
    return Process(folder.path(), GLOW_DATA_PROGRAM, arguments, surroundings).wait();
}

std::string records(int count, int label = 1) {
    std::string bytes;
    for (int n = 0; n < count; ++n)
        bytes += std::string(1, static_cast<char>(label)) + std::string(3072, static_cast<char>(n));
    return bytes;
}

TEST(GlowData, MakesCifar10WithValidation) {
    const TemporaryFolder folder;
    write_bytes(folder / "data_batch_1.bin", records(60));
    write_bytes(folder / "data_batch_3.bin", records(40));
    write_bytes(folder / "test_batch.bin", records(7, 2));
    const Outcome outcome = run(folder, {"cifar10", ".", "-o", "a.h5", "--json", "--quiet"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("warning: only 5 validation images"), std::string::npos) << outcome.err;
    const auto object = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(object["train"], 95);
    EXPECT_EQ(object["valid"], 5);
    EXPECT_EQ(object["test"], 7);

    // Train and valid together are the images of the files, each once.
    std::multiset<int> expected, found;
    for (int n = 0; n < 60; ++n) expected.insert(n);
    for (int n = 0; n < 40; ++n) expected.insert(n);
    for (const char* split : {"train", "valid"}) {
        const ImageSet set = load_split(folder / "a.h5", split);
        EXPECT_EQ(set.n_classes, 10);
        for (index_t n = 0; n < set.N; ++n) {
            found.insert(*set.image(n));
            EXPECT_EQ(set.labels[static_cast<std::size_t>(n)], 1);
        }
    }
    EXPECT_EQ(found, expected);
    EXPECT_EQ(load_split(folder / "a.h5", "test").labels[6], 2);

    // The same seed gives the same file, another seed another split.
    EXPECT_EQ(run(folder, {"cifar10", ".", "-o", "b.h5"}).code, 0);
    EXPECT_EQ(run(folder, {"cifar10", ".", "-o", "c.h5", "--seed", "1"}).code, 0);
    EXPECT_EQ(read_bytes(folder / "a.h5"), read_bytes(folder / "b.h5"));
    EXPECT_NE(load_split(folder / "a.h5", "valid").images, load_split(folder / "c.h5", "valid").images);
}

TEST(GlowData, CropsKeepSplitAndName) {
    const TemporaryFolder folder;
    for (int n = 0; n < 20; ++n) {
        const auto path = folder / fmt::format("p/{}/{:02}.png", n % 2 == 0 ? "a" : "b", n);
        std::filesystem::create_directories(path.parent_path());
        write_bytes(path, make::png(make::smooth(24, 16, 3, n)));
    }
    const Outcome outcome = run(folder, {"images", "p", "--size", "8", "--crops", "3", "--no-classes",
                                         "--valid", "0.25", "--test", "0.2", "-o", "a.h5", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const DatasetReader reader(folder / "a.h5");
    EXPECT_EQ(reader.info().n_classes, 0);
    EXPECT_EQ((std::vector<index_t>{reader.info().train, reader.info().valid, reader.info().test}),
              (std::vector<index_t>{36, 12, 12}));
    std::map<std::string, std::set<std::string>> splits;  // of each file
    for (const char* split : kSplits) {
        const std::vector<std::string> names = reader.read_names(split, 1000);
        ASSERT_EQ(std::ssize(names), reader.info().images(split));
        for (const std::string& name : names) {
            EXPECT_NE(name.find("[8x8+"), std::string::npos) << name;
            splits[name.substr(0, name.find('['))].insert(split);
        }
    }
    EXPECT_EQ(splits.size(), 20u);
    for (const auto& [file, in] : splits) EXPECT_EQ(in.size(), 1u) << file;
    expect_error(run(folder, {"images", "p", "--size", "8", "--crop-side", "9", "-o", "b.h5"}), 2,
                 "--crop-side");
    expect_error(run(folder, {"images", "p", "--size", "8", "--crops", "2", "--tile", "-o", "b.h5"}), 2,
                 "--tile");
}

TEST(GlowData, LimitsApplyBeforeValidationSplit) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(50));
    write_bytes(folder / "test.bin", records(9));
    ASSERT_EQ(run(folder, {"cifar10", ".", "-o", "a.h5", "--limit-train", "20", "--limit-test", "3",
                           "--valid", "0.25"})
                  .code,
              0);
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ((std::vector<index_t>{info.train, info.valid, info.test}), (std::vector<index_t>{15, 5, 3}));
    ASSERT_EQ(
        run(folder, {"cifar10", ".", "-o", "a.h5", "--force", "--limit-test", "0", "--valid", "0"}).code, 0);
    const DatasetInfo whole = describe_dataset(folder / "a.h5");
    EXPECT_EQ((std::vector<index_t>{whole.train, whole.valid, whole.test}), (std::vector<index_t>{50, 0, 0}));
}

TEST(GlowData, MakesGaussianImagesOfKnownEntropy) {
    const TemporaryFolder folder;
    ASSERT_EQ(run(folder, {"synthetic", "gauss", "--size", "8", "--channels", "2", "--train", "999",
                           "--train", "40", "--test", "10", "--valid", "0.1", "--seed", "3", "-o", "a.h5"})
                  .code,
              0);
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ((std::vector<index_t>{info.train, info.valid, info.test, info.H, info.W, info.C}),
              (std::vector<index_t>{40, 4, 10, 8, 8, 2}));
    EXPECT_EQ(info.entropy_bpd, gauss_entropy_bpd(8, 8, 2));
    std::vector<std::uint8_t> expected(10 * 128);
    make_gauss_images(3, 2 * kGaussSplitStride, 10, 8, 8, 2, 1, expected.data());
    EXPECT_EQ(load_split(folder / "a.h5", "test").images, expected);

    const Outcome outcome = run(folder, {"info", "a.h5", "--json"});
    ASSERT_EQ(outcome.code, 0);
    const auto object = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(object["train"], 40);
    EXPECT_EQ(object["channels"], 2);
    EXPECT_EQ(object["n_classes"], 0);
    EXPECT_NEAR(object["entropy_bpd"].get<double>(), *info.entropy_bpd, 1e-12);
}

TEST(GlowData, DescribesDataSet) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(30));
    ASSERT_EQ(run(folder, {"cifar10", ".", "-o", "a.h5"}).code, 0);
    const Outcome text = run(folder, {"info", "a.h5"});
    EXPECT_EQ(text.code, 0);
    EXPECT_NE(text.out.find("32 x 32 x 3"), std::string::npos) << text.out;
    EXPECT_EQ(text.err, "");
    const auto object = nlohmann::json::parse(run(folder, {"info", "--json", "--json", "a.h5"}).out);
    EXPECT_EQ(object["n_classes"], 10);
    EXPECT_TRUE(object["entropy_bpd"].is_null());
}

TEST(GlowData, ViewsAGrid) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(30));
    ASSERT_EQ(run(folder, {"cifar10", ".", "-o", "a.h5", "--valid", "0"}).code, 0);
    ASSERT_EQ(run(folder, {"view", "a.h5", "--grid", "2x3", "-o", "v.png"}).code, 0);
    const Image image = read_png(folder / "v.png");
    EXPECT_EQ(image.H, 2 + 2 * 66);
    EXPECT_EQ(image.W, 2 + 3 * 66);
    EXPECT_EQ(image.pixels[static_cast<std::size_t>((70 * image.W + 70) * 3)],
              4);  // second row, second column
    // As many cells as images.
    expect_error(run(folder, {"view", "a.h5", "-o", "v.png"}), 2, "v.png exists");
    ASSERT_EQ(run(folder, {"view", "a.h5", "-o", "v.png", "--force"}).code, 0);
    EXPECT_EQ(read_png(folder / "v.png").H, 2 + 5 * 66);
    EXPECT_EQ(read_png(folder / "v.png").W, 2 + 6 * 66);
    expect_error(run(folder, {"view", "a.h5", "--split", "test", "-o", "w.png"}), 2, "\"test\"");
    expect_error(run(folder, {"view", "a.h5", "--split", "all", "-o", "w.png"}), 2, "all");
    expect_error(run(folder, {"view", "a.h5", "--grid", "8", "-o", "w.png"}), 2, "8x8");
    EXPECT_FALSE(std::filesystem::exists(folder / "w.png"));
}

// Such as glow_decompress and glow_sample write.
TEST(GlowData, ViewsAnyFileWithImages) {
    const TemporaryFolder folder;
    const auto write = [&](const std::string& name, const std::vector<index_t>& shape) {
        Hdf5File file = Hdf5File::create(folder / name);
        index_t values = 1;
        for (const index_t extent : shape) values *= extent;
        const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(values), 7);
        file.write<std::uint8_t>("/images", shape, pixels.data());
        file.close();
    };
    write("a.h5", {3, 64, 70, 1});
    ASSERT_EQ(run(folder, {"view", "a.h5", "-o", "v.png"}).code, 0);
    const Image image = read_png(folder / "v.png");
    EXPECT_EQ(image.H, 2 + 2 * 66);
    EXPECT_EQ(image.W, 2 + 2 * 72);
    EXPECT_EQ(image.pixels[static_cast<std::size_t>(70 * image.W + 10)], 7);
    EXPECT_EQ(image.pixels[static_cast<std::size_t>(70 * image.W + 80)], 255);  // the fourth cell
    write("flat.h5", {3, 64, 70});
    write("many.h5", {3, 4, 4, 5});
    Hdf5File::create(folder / "empty.h5").close();
    expect_error(run(folder, {"view", "a.h5", "--split", "train", "-o", "w.png"}), 2, "only /images");
    expect_error(run(folder, {"view", "flat.h5", "-o", "w.png"}), 2, "[3, 64, 70]");
    expect_error(run(folder, {"view", "many.h5", "-o", "w.png"}), 2, "[3, 4, 4, 5]");
    expect_error(run(folder, {"view", "empty.h5", "-o", "w.png"}), 2, "empty.h5");
    write("tall.h5", {1, 1100, 4, 3});  // libpng writes no side above 1,000,000
    expect_error(run(folder, {"view", "tall.h5", "--grid", "1000x1", "--scale", "1", "-o", "w.png"}), 2,
                 "a sheet of 1102002 x 8 pixels is too large");
}

TEST(GlowData, OutputSuffixMustMatchFormat) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(30));
    ASSERT_EQ(run(folder, {"cifar10", ".", "-o", "a.h5"}).code, 0);
    for (const char* name : {"v.jpg", "v", "v.h5", "v.JPEG"})
        expect_error(run(folder, {"view", "a.h5", "-o", name}), 2, ".png");
    for (const char* name : {"v.png", "v.jpg"})
        expect_error(run(folder, {"cifar10", ".", "-o", name}), 2, "HDF5");
    EXPECT_EQ(run(folder, {"view", "a.h5", "--grid", "1x1", "-o", "v.PNG"}).code, 0);
    EXPECT_EQ(folder.names().size(), 3u);
}

// Random pixels, so that a misplaced row or column is detected.
TEST(GlowData, Reads16BitInterlacedExactly) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "images");
    for (const auto& [name, image] : make::png_kinds(16, 16)) {
        std::filesystem::remove_all(folder / "images");
        std::filesystem::create_directory(folder / "images");
        if (!image.interlaced || image.bits != 16) continue;
        write_bytes(folder / "images/a.png", make::png_file(image));
        ASSERT_EQ(run(folder, {"images", "images", "--size", "16", "--test", "0", "--valid", "0", "-o",
                               "a.h5", "--force"})
                      .code,
                  0);
        EXPECT_EQ(load_split(folder / "a.h5", "train").images, make::png_image(image, 3).pixels) << name;
    }
}

TEST(GlowData, HelpAndVersionGoToStdout) {
    const TemporaryFolder folder;
    const Outcome help = run(folder, {"--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_EQ(help.err, "");
    for (const char* word :
         {"cifar10", "mnist", "images", "npz", "synthetic", "info", "view", "--quiet", "--json", "--version"})
        EXPECT_NE(help.out.find(word), std::string::npos) << word;
    const Outcome gauss = run(folder, {"synthetic", "gauss", "--help"});
    EXPECT_EQ(gauss.code, 0);
    for (const char* word : {"--size", "32", "--valid", "0.05"})
        EXPECT_NE(gauss.out.find(word), std::string::npos) << word;
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"--version"}, {"info", "--version"}}) {
        const Outcome version = run(folder, arguments);
        EXPECT_EQ(version.code, 0);
        for (const char* library : {"cuBLAS", "cuDNN", "cuSOLVER", "NCCL", "MPI", "oneDNN", "HDF5 "})
            EXPECT_NE(version.out.find(library), std::string::npos) << library;
    }
}

TEST(GlowData, BadUsageExitsTwo) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(30));
    expect_error(run(folder, {}), 2, "subcommand");
    expect_error(run(folder, {"synthetic"}), 2, "subcommand");
    expect_error(run(folder, {"bake"}), 2, "bake");
    expect_error(run(folder, {"info"}), 2, "required");
    expect_error(run(folder, {"info", "a.h5", "--color"}), 2, "--color");
    expect_error(run(folder, {"cifar10", "."}), 2, "--output");
    for (const char* valid : {"1", "-0.1", "nan", "inf", "x"})
        expect_error(run(folder, {"cifar10", ".", "-o", "a.h5", "--valid", valid}), 2, "--valid");
    expect_error(run(folder, {"cifar10", ".", "-o", "a.h5", "--valid", "0.99"}), 2, "none for training");
    expect_error(run(folder, {"cifar10", ".", "-o", "a.h5", "--limit-train", "0"}), 2, "--limit-train");
    expect_error(run(folder, {"cifar10", ".", "-o", "a.h5", "--seed", "-1"}), 2, "--seed");
    expect_error(run(folder, {"synthetic", "gauss", "-o", "a.h5", "--size", "0"}), 2, "--size");
    expect_error(run(folder, {"synthetic", "gauss", "-o", "a.h5", "--channels", "5"}), 2, "--channels");
    expect_error(run(folder, {"synthetic", "gauss", "-o", "a.h5", "--train", "1e3x"}), 2, "--train");
    for (const char* const kind : {"gauss", "shapes"})
        expect_error(
            run(folder, {"synthetic", kind, "-o", "a.h5", "--size", "8", "--train", "9223372036854775807"}),
            2, "--train");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"train.bin"});
}

TEST(GlowData, BadInputExitsTwoAndWritesNothing) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(30).substr(1));
    expect_error(run(folder, {"cifar10", ".", "-o", "a.h5"}), 2, "train.bin");
    write_bytes(folder / "train.bin", records(2000) + records(1, 77));
    expect_error(run(folder, {"cifar10", ".", "-o", "a.h5"}), 2, "found 77 in record 2000");
    expect_error(run(folder, {"cifar10", "none", "-o", "a.h5"}), 2, "none");
    expect_error(run(folder, {"info", "none.h5"}), 2, "none.h5");
    expect_error(run(folder, {"info", "train.bin"}), 2, "HDF5");
    expect_error(run(folder, {"info", "two\nlines.h5"}), 2, "two lines.h5");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"train.bin"});
}

TEST(GlowData, UnwritableOutputExitsTwo) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(30));
    for (const char* output : {"none/a.h5", "train.bin/a.h5", ".", "/dev/full", "/proc/a.h5"}) {
        expect_error(run(folder, {"cifar10", ".", "-o", output}), 2, "cannot write");
        expect_error(run(folder, {"synthetic", "gauss", "--train", "5", "-o", output}), 2, "cannot write");
    }
    EXPECT_EQ(folder.names(), std::vector<std::string>{"train.bin"});
}

TEST(GlowData, FullDiskKeepsOldFileAndExitsOne) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", records(200));
    write_bytes(folder / "a.h5", "old");
    {
        const FullDisk full(100000);
        expect_error(run(folder, {"cifar10", ".", "-o", "a.h5", "--force"}), 1, "a.h5");
    }
    EXPECT_EQ(read_bytes(folder / "a.h5"), "old");
    expect_error(run(folder, {"cifar10", ".", "-o", "a.h5"}), 2, "a.h5 exists");
    EXPECT_EQ(read_bytes(folder / "a.h5"), "old");
    EXPECT_EQ(folder.names().size(), 2u);
    EXPECT_EQ(run(folder, {"cifar10", ".", "-o", "a.h5", "--force"}).code, 0);
    EXPECT_EQ(run(folder, {"info", "a.h5"}, {.stdout_path = "/dev/full"}).code, 1);
    EXPECT_EQ(run(folder, {"--help"}, {.stdout_path = "/dev/full"}).code, 1);
}

// Stubs for curl and md5sum, first in PATH.
void put_program(const std::filesystem::path& path, const std::string& script) {
    write_bytes(path, "#!/bin/sh\n" + script);
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

TEST(GlowData, DownloadsVerifiesAndUnpacks) {
    const TemporaryFolder folder, programs;
    const std::string inner = (programs / "cifar-10-batches-bin").string();
    std::filesystem::create_directory(inner);
    for (const char* name :
         {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"})
        write_bytes(inner + "/" + name + ".bin", records(10));
    ASSERT_EQ(std::system(("tar -czf " + (programs / "archive").string() + " -C " + programs.path().string() +
                           " cifar-10-batches-bin")
                              .c_str()),
              0);
    const Surroundings with_programs{
        .environment = {{"PATH", programs.path().string() + ":" + std::getenv("PATH")}}},
        nowhere{.environment = {{"PATH", "/nowhere"}}};
    // Arguments: the name after --output, and the URL last.
    put_program(programs / "curl",
                "while [ \"$1\" != --output ]; do shift; done\n"
                "case $3 in https://www.cs.toronto.edu/*) cp " +
                    (programs / "archive").string() + " \"$2\" ;; *) exit 3 ;; esac\n");
    expect_error(run(folder, {"cifar10", "new", "--download", "-o", "a.h5", "--quiet"}, with_programs), 1,
                 "MD5");
    EXPECT_TRUE(folder.names().empty());
    put_program(programs / "md5sum", "echo c32a1d4ab5d03f1284b67883e8d87530 \"$1\"\n");
    const Outcome outcome = run(folder, {"cifar10", "n; touch x", "--download", "-o", "a.h5"}, with_programs);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(describe_dataset(folder / "a.h5").test, 10);
    EXPECT_EQ(folder.names().size(), 2u);
    // Complete: nothing is downloaded again.
    put_program(programs / "curl", "exit 6\n");
    EXPECT_EQ(
        run(folder, {"cifar10", "n; touch x", "--download", "-o", "a.h5", "--force"}, with_programs).code, 0);
    expect_error(run(folder, {"cifar10", "new", "--download", "-o", "a.h5"}, with_programs), 1,
                 "check the network");
    expect_error(run(folder, {"cifar10", "new", "--download", "-o", "a.h5"}, nowhere), 1, "curl or wget");
    expect_error(run(folder, {"cifar10", "a.h5/x", "--download", "-o", "b.h5"}, with_programs), 2, "a.h5/x");
    EXPECT_EQ(folder.names().size(), 2u);
}

TEST(GlowData, MakesMnist) {
    const TemporaryFolder folder;
    for (const auto& [prefix, N] : {std::pair{"train", 40}, {"t10k", 6}}) {
        const std::string name = prefix;
        write_bytes(folder / (name + "-images-idx3-ubyte.gz"),
                    make::gzip(make::idx({static_cast<std::uint64_t>(N), 28, 28}, make::pixels(N * 784))));
        write_bytes(folder / (name + "-labels-idx1-ubyte"),
                    make::idx({static_cast<std::uint64_t>(N)}, std::string(static_cast<std::size_t>(N), 9)));
    }
    const Outcome made = run(folder, {"mnist", ".", "-o", "a.h5", "--valid", "0.25", "--limit-test", "4"});
    ASSERT_EQ(made.code, 0) << made.err;
    EXPECT_NE(
        made.err.find("9 of the 10 classes have no training image, so a conditional model does not learn "
                      "them: 0, 1, 2, 3, 4, 5, 6, 7, 8\n"),
        std::string::npos)
        << made.err;
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ(
        (std::vector<index_t>{info.train, info.valid, info.test, info.H, info.W, info.C, info.n_classes}),
        (std::vector<index_t>{30, 10, 4, 32, 32, 1, 10}));
    EXPECT_EQ(info.name, "mnist");
    EXPECT_EQ(load_split(folder / "a.h5", "valid").labels[3], 9);
}

TEST(GlowData, MakesDataSetsFromImageFolders) {
    const TemporaryFolder folder;
    for (int n = 0; n < 20; ++n) {
        const std::string name = fmt::format("p/{}/{:02}", n % 2 == 0 ? "even" : "odd", n);
        std::filesystem::create_directories((folder / name).parent_path());
        const Image image = make::smooth(20 + n, 30, 3, n);
        write_bytes(folder / (name + (n % 3 == 0 ? ".jpg" : ".png")),
                    n % 3 == 0 ? make::jpeg(image) : make::png(image));
    }
    write_bytes(folder / "p/even/broken.png", "no picture");
    write_bytes(folder / "p/even/notes.txt", "hello");
    const std::vector<std::string> words = {"images", "p", "--size", "8", "--test", "0.2", "--valid", "0"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), words.begin(), words.end());
        return run(folder, more);
    };
    const Outcome outcome = with({"-o", "a.h5", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("2 classes: even, odd"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("are skipped: 1 .txt"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("warning: skipped: p/even/broken.png"), std::string::npos) << outcome.err;
    const auto object = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(object["train"].get<int>() + object["test"].get<int>(), 20);
    EXPECT_EQ(object["left_out"].size(), 1u);
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ((std::vector<index_t>{info.H, info.W, info.C, info.n_classes}),
              (std::vector<index_t>{8, 8, 3, 2}));
    EXPECT_EQ(info.name, "p");
    // The same bytes for any number of threads.
    ASSERT_EQ(with({"-o", "b.h5", "--threads", "1"}).code, 0);
    ASSERT_EQ(with({"-o", "c.h5", "--threads", "3"}).code, 0);
    EXPECT_EQ(read_bytes(folder / "b.h5"), read_bytes(folder / "c.h5"));
    EXPECT_EQ(read_bytes(folder / "a.h5"), read_bytes(folder / "c.h5"));
    ASSERT_EQ(with({"-o", "gray.h5", "--channels", "1"}).code, 0);
    EXPECT_EQ(describe_dataset(folder / "gray.h5").C, 1);

    expect_error(with({"-o", "d.h5", "--strict", "--quiet"}), 2, "broken.png");
    expect_error(with({"-o", "d.h5", "--channels", "2"}), 2, "--channels");
    expect_error(with({"-o", "d.h5", "--test", "1"}), 2, "--test");
    expect_error(with({"-o", "d.h5", "--size", "0"}), 2, "--size");
    expect_error(with({"-o", "d.h5", "--threads", "4097"}), 2, "4096");  // the limit of all commands
    expect_error(run(folder, {"images", "p", "-o", "d.h5"}), 2, "--size");
    expect_error(run(folder, {"images", "none", "--size", "8", "-o", "d.h5"}), 2, "none");
    EXPECT_FALSE(std::filesystem::exists(folder / "d.h5"));
}

TEST(GlowData, SkipsNonFilesUnlessStrict) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "p");
    make_odd_entries(folder / "p", ".png");
    make_odd_entries(folder / "p", ".hidden.png", ".");
    const std::vector<std::string> words = {"images", "p",       "--size", "8",  "--test",
                                            "0",      "--valid", "0",      "-o", "a.h5"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), words.begin(), words.end());
        return run(folder, more);
    };
    for (const bool strict : {false, true}) {
        const Outcome none = with(strict ? std::vector<std::string>{"--strict"} : std::vector<std::string>{});
        expect_error(none, 2, "p/dangling.png: cannot be read: dangling symbolic link to /nowhere/1");
        expect_error(none, 2, strict ? "(--strict)" : "no image can be read");
    }
    write_bytes(folder / "p/good.png", make::png(make::smooth(8, 8, 3)));
    const Outcome some = with({"--json"});
    ASSERT_EQ(some.code, 0) << some.err;
    const auto left_out = nlohmann::json::parse(some.out)["left_out"];
    ASSERT_EQ(left_out.size(), kOddEntries.size()) << left_out;
    for (const auto& [name, reason] : kOddEntries) {
        const std::string warning =
            fmt::format("warning: skipped: p/{}.png: cannot be read: {}", name, reason);
        EXPECT_NE(some.err.find(warning), std::string::npos) << some.err;
        EXPECT_NE(left_out.dump().find(fmt::format("p/{}.png: cannot be read: {}", name, reason)),
                  std::string::npos)
            << left_out;
    }
    EXPECT_EQ(some.err.find("hidden"), std::string::npos) << some.err;
    EXPECT_EQ(describe_dataset(folder / "a.h5").train, 1);
    std::filesystem::remove(folder / "a.h5");
    const Outcome strict = with({"--strict", "--json"});
    for (const auto& [name, reason] : kOddEntries) expect_error(strict, 2, "p/" + name + ".png: ");
    EXPECT_FALSE(std::filesystem::exists(folder / "a.h5"));
}

TEST(GlowData, CountsFurtherNamesOfPhotographs) {
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder / "p");
    for (int n = 0; n < 3; ++n) {
        write_bytes(folder / fmt::format("p/{}.png", n), make::png(make::smooth(8, 8, 3, n)));
        std::filesystem::create_symlink(fmt::format("{}.png", n), folder / fmt::format("p/again{}.png", n));
    }
    const Outcome made = run(folder, {"images", "p", "--size", "8", "-o", "a.h5", "--test", "0", "--json"});
    ASSERT_EQ(made.code, 0) << made.err;
    EXPECT_NE(made.err.find("3 further names"), std::string::npos) << made.err;
    EXPECT_EQ(nlohmann::json::parse(made.out)["repeated_names"], 3);
    EXPECT_EQ(describe_dataset(folder / "a.h5").train, 3);
    expect_error(run(folder, {"images", "p", "--size", "8", "-o", "b.h5", "--test", "0.9"}), 2,
                 "p: 3 photographs with --test 0.9 leave none for training");
}

TEST(GlowData, LimitsKeepEveryClass) {
    const TemporaryFolder folder;
    const std::vector<int> sizes = {12, 8, 3, 20};
    for (std::size_t c = 0; c < sizes.size(); ++c)
        for (int n = 0; n < sizes[c]; ++n) {
            const auto path = folder / fmt::format("p/c{}/{:02}.png", c, n);
            std::filesystem::create_directories(path.parent_path());
            write_bytes(path, make::png(make::smooth(8, 8, 3, n)));
        }
    // Number of images of each class in a split.
    const auto counts = [&](const std::vector<std::string>& more, const char* split) {
        std::vector<std::string> words = {"images", "p", "--size", "8", "-o", "a.h5", "--force", "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        const Outcome outcome = run(folder, words);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        std::vector<int> found(4);
        if (describe_dataset(folder / "a.h5").images(split) == 0) return found;
        for (const std::int32_t label : load_split(folder / "a.h5", split).labels)
            ++found[static_cast<std::size_t>(label)];
        return found;
    };
    const std::vector<std::string> all = {"--test", "0", "--valid", "0"};
    const auto limited = [&](const char* limit) {
        auto words = all;
        words.insert(words.end(), {"--limit-train", limit});
        return counts(words, "train");
    };
    EXPECT_EQ(limited("4"), (std::vector<int>{1, 1, 1, 1}));
    EXPECT_EQ(limited("10"), (std::vector<int>{3, 3, 2, 2}));
    EXPECT_EQ(limited("30"), (std::vector<int>{10, 8, 3, 9}));
    EXPECT_EQ(limited("1000"), sizes);
    EXPECT_EQ(counts({"--test", "0.3", "--limit-test", "4"}, "test"), (std::vector<int>{1, 1, 1, 1}));
    // The first files of each class, for any seed.
    limited("8");
    const std::string first = read_bytes(folder / "a.h5");
    auto words = all;
    words.insert(words.end(), {"--limit-train", "8", "--seed", "5"});
    counts(words, "train");
    EXPECT_EQ(read_bytes(folder / "a.h5"), first);
    for (const char* seed : {"0", "1", "2", "3", "4", "5"})
        for (const char* split : {"train", "valid", "test"})
            for (const int count : counts({"--test", "0.2", "--valid", "0.2", "--seed", seed}, split))
                EXPECT_GE(count, 1) << seed << split;

    const Outcome few = run(folder, {"images", "p", "--size", "8", "--limit-train", "3", "--valid", "0", "-o",
                                     "a.h5", "--force"});
    EXPECT_EQ(few.code, 0);
    EXPECT_NE(few.err.find("warning: --limit-train 3 is less than the 4 classes: no training image of c3"),
              std::string::npos)
        << few.err;
}

TEST(GlowData, ReportsShiftedLabels) {
    const TemporaryFolder folder;
    for (const std::string first : {"0", "1"}) {
        const std::string labels = first == "0" ? std::string{0, 1, 2} : std::string{1, 2, 3};
        write_bytes(folder / (first + ".npz"), make::npz(make::npy("|u1", "(3, 12)", make::pixels(36)),
                                                         make::npy("|u1", "(3,)", labels)));
        const Outcome outcome = run(folder, {"npz", first + ".npz", "--valid", "0", "-o", first + ".h5"});
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err.find("labels 1 to 3 become 0 to 2, because no label is 0") != std::string::npos,
                  first == "1")
            << outcome.err;
    }
}

TEST(GlowData, ArchiveNamesAreCaseInsensitive) {
    const TemporaryFolder folder;
    for (const char* name : {"p1.npz", "Validation.npz", "latest.npz", "train_val.npz"})
        write_bytes(folder / name, make::npz(make::npy("|u1", "(12, 192)", make::pixels(12 * 192)), ""));
    const Outcome outcome = run(
        folder, {"npz", "p1.npz", "Validation.npz", "latest.npz", "--valid", "0", "-o", "a.h5", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto object = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(object["train"], 24);
    EXPECT_EQ(object["test"], 12);
    EXPECT_EQ(object["train_files"], (std::vector<std::string>{"p1.npz", "latest.npz"}));
    EXPECT_EQ(object["test_files"], std::vector<std::string>{"Validation.npz"});
    EXPECT_NE(outcome.err.find("Validation.npz: 12 test images, no labels"), std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.err.find("warning: latest.npz: treated as training images"), std::string::npos)
        << outcome.err;
    expect_error(run(folder, {"npz", "train_val.npz", "-o", "b.h5"}), 2,
                 "train_val.npz: its name means both");
    std::filesystem::create_symlink("/annex/1", folder / "gone.npz");
    expect_error(run(folder, {"npz", "p1.npz", "gone.npz", "-o", "b.h5"}), 2,
                 "gone.npz: cannot be read: dangling symbolic link to /annex/1");
}

TEST(GlowData, RejectsFolderWithoutUsableImage) {
    const TemporaryFolder folder;
    write_bytes(folder / "a.png", "no picture");
    const Outcome outcome = run(folder, {"images", ".", "--size", "8", "--test", "0", "-o", "a.h5"});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.err.find("skipped: ./a.png"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("error: none of the 1 training images"), std::string::npos) << outcome.err;
    EXPECT_EQ(folder.names(), std::vector<std::string>{"a.png"});
}

TEST(GlowData, MakesDataSetsFromNumPyArchives) {
    const TemporaryFolder folder;
    const auto archive = [](int N, int first_label) {
        std::string labels;
        for (int n = 0; n < N; ++n)
            labels += make::little_endian(static_cast<std::uint64_t>(first_label + n % 5), 8);
        return make::npz(make::npy("|u1", fmt::format("({}, 192)", N), make::pixels(N * 192)),
                         make::npy("<i8", fmt::format("({},)", N), labels), true);
    };
    write_bytes(folder / "train_data_batch_1.npz", archive(20, 1));
    write_bytes(folder / "train_data_batch_2.npz", archive(10, 6));
    write_bytes(folder / "val_data.npz", archive(5, 1));
    ASSERT_EQ(run(folder, {"npz", "train_data_batch_1.npz", "train_data_batch_2.npz", "val_data.npz",
                           "--limit-train", "24", "--valid", "0.25", "-o", "a.h5"})
                  .code,
              0);
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ(
        (std::vector<index_t>{info.train, info.valid, info.test, info.H, info.W, info.C, info.n_classes}),
        (std::vector<index_t>{18, 6, 5, 8, 8, 3, 10}));
    expect_error(run(folder, {"npz", "a.h5", "-o", "b.h5"}), 2, "not a ZIP archive");
    // A name in brackets is not a list of names.
    const char* const list = "[train_data_batch_1.npz,train_data_batch_2.npz]";
    expect_error(run(folder, {"npz", list, "-o", "b.h5"}), 2, fmt::format("./{}: cannot be read", list));
    std::filesystem::copy_file(folder / "train_data_batch_1.npz", folder / "[1]");
    EXPECT_EQ(run(folder, {"npz", "--force", "[1]", "val_data.npz", "-o", "b.h5"}).code, 0);
    std::filesystem::remove(folder / "b.h5");
    // A file twice would put its images in training and validation.
    std::filesystem::create_symlink("val_data.npz", folder / "train_link.npz");
    for (const char* const twice : {"val_data.npz", "./val_data.npz", "train_link.npz"})
        expect_error(run(folder, {"npz", "train_data_batch_1.npz", "val_data.npz", twice, "-o", "b.h5"}), 2,
                     "are the same file");
    expect_error(run(folder, {"npz", "-o", "b.h5"}), 2, "FILES");
    expect_error(run(folder, {"npz", "val_data.npz", "-o=b.h5"}), 2,
                 "-o=b.h5: write -o b.h5 or --output=b.h5");
    EXPECT_FALSE(std::filesystem::exists(folder / "=b.h5"));
}

TEST(GlowData, MakesLabeledShapes) {
    const TemporaryFolder folder;
    const std::vector<std::string> words = {"synthetic", "shapes", "--size",  "16",  "--train", "40",
                                            "--test",    "10",     "--valid", "0.1", "-o"};
    for (const char* name : {"a.h5", "b.h5"}) {
        std::vector<std::string> all = words;
        all.insert(all.end(), {name, "--threads", name[0] == 'a' ? "1" : "2"});
        ASSERT_EQ(run(folder, all).code, 0);
    }
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ((std::vector<index_t>{info.train, info.valid, info.test, info.n_classes}),
              (std::vector<index_t>{40, 4, 10, 4}));
    EXPECT_EQ(read_bytes(folder / "a.h5"), read_bytes(folder / "b.h5"));
    expect_error(run(folder, {"synthetic", "shapes", "--channels", "2", "-o", "c.h5"}), 2, "--channels");
}

TEST(GlowData, ConvertsRealImages) {
    const auto data = test_data_folder() / "cifar10";
    if (!std::filesystem::exists(data))
        GTEST_SKIP() << "no real images at " << data << " (set GLOW_TEST_DATA)";
    const TemporaryFolder folder;
    ASSERT_EQ(run(folder, {"cifar10", std::filesystem::absolute(data).string(), "-o", "a.h5"}).code, 0);
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ((std::vector<index_t>{info.train, info.valid, info.test}),
              (std::vector<index_t>{7600, 400, 2000}));
}

}  // namespace
}  // namespace glow
