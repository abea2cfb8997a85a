#include "data/idx.h"

#include <algorithm>

#include "data/mnist.h"
#include "tests/data/files.h"
#include "tests/data/make_files.h"

namespace glow {
namespace {

std::string read_all(const std::filesystem::path& path, index_t step) {
    IdxReader reader(path);
    std::string values(static_cast<std::size_t>(reader.rows() * reader.row_bytes()), ' ');
    for (index_t row = 0; row < reader.rows(); row += step)
        reader.read(std::min(step, reader.rows() - row),
                    reinterpret_cast<std::uint8_t*>(values.data()) + row * reader.row_bytes());
    return values;
}

TEST(Idx, ReadsPlainAndCompressedFiles) {
    const TemporaryFolder folder;
    const std::string elements = make::pixels(7 * 3 * 5);
    write_bytes(folder / "plain", make::idx({7, 3, 5}, elements));
    write_bytes(folder / "packed.gz", make::gzip(make::idx({7, 3, 5}, elements)));
    for (const char* name : {"plain", "packed.gz"}) {
        EXPECT_EQ(IdxReader(folder / name).shape(), (std::vector<index_t>{7, 3, 5}));
        for (const index_t step : {1, 3, 7})
            EXPECT_EQ(read_all(folder / name, step), elements) << name << step;
    }
    write_bytes(folder / "one", make::idx({4}, "abcd"));
    EXPECT_EQ(IdxReader(folder / "one").row_bytes(), 1);
    EXPECT_EQ(read_all(folder / "one", 4), "abcd");
}

TEST(Idx, DetectsDamageAtEnd) {
    const TemporaryFolder folder;
    std::string packed = make::gzip(make::idx({100, 10}, make::pixels(1000)));
    packed[packed.size() - 6] ^= 1;  // gzip's checksum
    write_bytes(folder / "sum.gz", packed);
    expect_throw<InputError>([&] { read_all(folder / "sum.gz", 1); }, {"sum.gz", "damaged"});
    write_bytes(folder / "long.gz", make::gzip(make::idx({100, 10}, make::pixels(1001))));
    expect_throw<InputError>([&] { read_all(folder / "long.gz", 100); }, {"long.gz", "has data after"});
    write_bytes(folder / "long", make::idx({100, 10}, make::pixels(1001)));
    expect_throw<InputError>([&] { IdxReader{folder / "long"}; }, {"has 1013 bytes", "which take 1012"});
    write_bytes(folder / "cut.gz", packed.substr(0, packed.size() / 2));
    expect_throw<InputError>([&] { read_all(folder / "cut.gz", 100); }, {"cut.gz", "ends before"});
}

struct Mnist : testing::Test {
    void write(const std::string& prefix, index_t N, index_t H, index_t W, int first_label,
               const std::string& end = "") {
        std::string labels;
        for (index_t n = 0; n < N; ++n) labels += static_cast<char>(first_label + n % 3);
        const auto put = [&](const std::string& name, const std::string& bytes) {
            write_bytes(folder / (name + end), end.empty() ? bytes : make::gzip(bytes));
        };
        put(prefix + "-images-idx3-ubyte",
            make::idx(
                {static_cast<std::uint64_t>(N), static_cast<std::uint64_t>(H), static_cast<std::uint64_t>(W)},
                make::pixels(N * H * W, 1)));
        put(prefix + "-labels-idx1-ubyte", make::idx({static_cast<std::uint64_t>(N)}, labels));
    }
    TemporaryFolder folder;
};

TEST_F(Mnist, PadsImagesEvenly) {
    write("train", 6, 28, 28, 0);
    write("t10k", 4, 28, 28, 7, ".gz");
    MnistSource source(folder.path());
    const SourceInfo& info = source.info();
    EXPECT_EQ((std::vector<index_t>{info.H, info.W, info.C, info.train, info.test, info.n_classes}),
              (std::vector<index_t>{32, 32, 1, 6, 4, 10}));
    std::vector<std::uint8_t> images(4 * 1024, 99), usable(4, 1);
    std::vector<std::int32_t> labels(4);
    source.read(SourceSplit::train, 0, 2, images.data(), labels.data(), usable.data());
    source.read(SourceSplit::train, 2, 4, images.data(), labels.data(), usable.data());
    EXPECT_EQ(labels, (std::vector<std::int32_t>{2, 0, 1, 2}));
    const std::string small = make::pixels(6 * 28 * 28, 1);
    for (index_t n = 0; n < 4; ++n)
        for (index_t y = 0; y < 32; ++y)
            for (index_t x = 0; x < 32; ++x) {
                const bool inner = y >= 2 && y < 30 && x >= 2 && x < 30;
                const auto expected =
                    inner ? static_cast<std::uint8_t>(
                                small[static_cast<std::size_t>(((n + 2) * 28 + y - 2) * 28 + x - 2)])
                          : 0;
                ASSERT_EQ(images[static_cast<std::size_t>((n * 32 + y) * 32 + x)], expected) << n << y << x;
            }
    source.read(SourceSplit::test, 0, 4, images.data(), labels.data(), usable.data());
    EXPECT_EQ(labels, (std::vector<std::int32_t>{7, 8, 9, 7}));
}

TEST_F(Mnist, RejectsMismatchedFiles) {
    const auto refuse = [&](const std::vector<std::string>& parts) {
        expect_throw<InputError>([&] { MnistSource{folder.path()}; }, parts);
    };
    refuse({"expected train-images"});
    write("t10k", 4, 28, 28, 0);
    refuse({"expected train-images"});
    write("train", 4, 33, 28, 0);
    refuse({"train-images-idx3-ubyte", "at most 32 x 32", "[4, 33, 28]"});
    write("train", 4, 28, 28, 0);
    write_bytes(folder / "train-labels-idx1-ubyte", make::idx({3}, "abc"));
    refuse({"train-labels-idx1-ubyte", "expected 4 labels", "[3]"});
    std::filesystem::remove(folder / "train-labels-idx1-ubyte");
    refuse({"train-labels-idx1-ubyte is missing"});
    std::filesystem::remove(folder / "t10k-images-idx3-ubyte");
    std::filesystem::create_hard_link(folder / "train-images-idx3-ubyte", folder / "t10k-images-idx3-ubyte");
    refuse({"same file"});
    expect_throw<InputError>([&] { MnistSource{folder / "none"}; }, {"none"});
}

// Kaggle's MNIST archive has folders with the files' names, containing the files or next to them.
TEST_F(Mnist, FolderOfSameNameDoesNotHideFile) {
    namespace fs = std::filesystem;
    write("train", 5, 28, 28, 0);
    write("t10k", 4, 28, 28, 0);
    const std::vector<std::string> stems = {"train-images", "train-labels", "t10k-images", "t10k-labels"};
    const auto kind = [](const std::string& stem) {
        return std::string(stem.ends_with("images") ? "idx3-ubyte" : "idx1-ubyte");
    };
    for (const std::string& stem : stems) {  // folders next to files with a dot in the name
        fs::rename(folder / (stem + "-" + kind(stem)), folder / (stem + "." + kind(stem)));
        fs::create_directory(folder / (stem + "-" + kind(stem)));
    }
    EXPECT_EQ(MnistSource(folder.path()).info().train, 5);
    EXPECT_EQ(MnistSource(folder.path()).info().test, 4);
    for (const char* joint : {"-", "."}) {  // files inside folders, under either name
        for (const std::string& stem : stems) {
            const auto inner = folder / (stem + "-" + kind(stem)) / (stem + joint + kind(stem));
            fs::rename(folder / (stem + "." + kind(stem)), inner);
        }
        EXPECT_EQ(MnistSource(folder.path()).info().train, 5) << joint;
        EXPECT_EQ(MnistSource(folder.path()).info().test, 4) << joint;
        for (const std::string& stem : stems)
            fs::rename(folder / (stem + "-" + kind(stem)) / (stem + joint + kind(stem)),
                       folder / (stem + "." + kind(stem)));
    }
    // A file takes precedence over a folder of the same name.
    write_bytes(folder / "train-images-idx3-ubyte/train-images-idx3-ubyte", "other");
    EXPECT_EQ(MnistSource(folder.path()).info().train, 5);
    fs::remove(folder / "train-images.idx3-ubyte");
    expect_throw<InputError>([&] { MnistSource{folder.path()}; },
                             {"train-images-idx3-ubyte/train-images-idx3-ubyte", "is not an IDX file"});
    fs::remove(folder / "train-images-idx3-ubyte/train-images-idx3-ubyte");
    expect_throw<InputError>([&] { MnistSource{folder.path()}; }, {"train-images-idx3-ubyte", "a folder"});
}

TEST_F(Mnist, ReportsDanglingLink) {
    write("train", 5, 28, 28, 0);
    std::filesystem::create_symlink("/annex/1", folder / "t10k-images-idx3-ubyte");
    expect_throw<InputError>([&] { MnistSource{folder.path()}; },
                             {"t10k-images-idx3-ubyte", "dangling symbolic link to /annex/1"});
    write("t10k", 4, 28, 28, 0, ".gz");  // the same file exists under another spelling
    EXPECT_EQ(MnistSource(folder.path()).info().test, 4);
    std::filesystem::remove(folder / "train-labels-idx1-ubyte");
    std::filesystem::create_symlink("/annex/2", folder / "train-labels.idx1-ubyte");
    expect_throw<InputError>([&] { MnistSource{folder.path()}; }, {"train-labels.idx1-ubyte", "/annex/2"});
}

}  // namespace
}  // namespace glow
