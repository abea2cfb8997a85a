#include "data/cifar10.h"

#include "tests/data/files.h"

namespace glow {
namespace {

// A record whose plane c holds pixel p as (p + 80 c) mod 256.
std::string record(int label) {
    std::string bytes(1, static_cast<char>(label));
    for (int c = 0; c < 3; ++c)
        for (int p = 0; p < 1024; ++p) bytes.push_back(static_cast<char>(p + 80 * c));
    return bytes;
}

TEST(Cifar10, ConvertsPlanesToChannels) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", record(3) + record(9) + record(0));
    const Cifar10Folder found = find_cifar10(folder.path());
    ASSERT_EQ(found.train_images(), 3);
    EXPECT_EQ(found.test_images(), 0);
    std::vector<std::uint8_t> images(2 * kCifar10ImageBytes);
    std::vector<std::int32_t> labels(2);
    read_cifar10(found.train[0], 1, 2, images.data(), labels.data());
    EXPECT_EQ(labels, (std::vector<std::int32_t>{9, 0}));
    for (int p = 0; p < 1024; ++p)
        for (int c = 0; c < 3; ++c)
            ASSERT_EQ(images[static_cast<std::size_t>(kCifar10ImageBytes + p * 3 + c)],
                      static_cast<std::uint8_t>(p + 80 * c));
}

TEST(Cifar10, PrefersOfficialNames) {
    const TemporaryFolder folder;
    for (const char* name : {"data_batch_2.bin", "data_batch_5.bin", "test_batch.bin", "train_x.bin"})
        write_bytes(folder / name, record(1));
    const Cifar10Folder found = find_cifar10(folder.path());
    ASSERT_EQ(found.train.size(), 2u);
    EXPECT_EQ(found.train[0].path, folder / "data_batch_2.bin");
    EXPECT_EQ(found.train[1].path, folder / "data_batch_5.bin");
    EXPECT_EQ(found.test_images(), 1);
}

TEST(Cifar10, SortsOtherNames) {
    const TemporaryFolder folder;
    for (const char* name : {"train_b.bin", "train_a.bin", "test.bin", "train.txt", "other.bin"})
        write_bytes(folder / name, record(1));
    const Cifar10Folder found = find_cifar10(folder.path());
    ASSERT_EQ(found.train.size(), 2u);
    EXPECT_EQ(found.train[0].path, folder / "train_a.bin");
    EXPECT_EQ(found.test.size(), 1u);
}

TEST(Cifar10, RefusesAFileTwice) {
    const TemporaryFolder folder;
    write_bytes(folder / "data_batch_1.bin", record(1));
    std::filesystem::create_symlink("data_batch_1.bin", folder / "test_batch.bin");
    expect_throw<InputError>([&] { find_cifar10(folder.path()); },
                             {"data_batch_1.bin", "test_batch.bin", "same file"});
}

TEST(Cifar10, FindsArchiveSubfolder) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "cifar-10-batches-bin");
    write_bytes(folder / "cifar-10-batches-bin/data_batch_1.bin", record(1));
    EXPECT_EQ(find_cifar10(folder.path()).train_images(), 1);
}

TEST(Cifar10, RejectsPartialRecords) {
    for (const std::string& bytes :
         {std::string(), std::string(100, 'x'), record(1).substr(1), record(1) + "x"}) {
        const TemporaryFolder folder;
        write_bytes(folder / "data_batch_1.bin", bytes);
        expect_throw<InputError>([&] { find_cifar10(folder.path()); }, {"data_batch_1.bin", "3073", "found"});
    }
}

TEST(Cifar10, RejectsLabelAboveNine) {
    const TemporaryFolder folder;
    write_bytes(folder / "data_batch_1.bin", record(1) + record(10));
    const Cifar10Folder found = find_cifar10(folder.path());
    std::vector<std::uint8_t> images(2 * kCifar10ImageBytes);
    std::vector<std::int32_t> labels(2);
    expect_throw<InputError>([&] { read_cifar10(found.train[0], 0, 2, images.data(), labels.data()); },
                             {"data_batch_1.bin", "0..9", "found 10 in record 1"});
}

TEST(Cifar10, RejectsFoldersWithoutTrainingFiles) {
    const TemporaryFolder folder;
    expect_throw<InputError>([&] { find_cifar10(folder.path()); }, {"no training file"});
    write_bytes(folder / "test_batch.bin", record(1));
    expect_throw<InputError>([&] { find_cifar10(folder.path()); }, {"no training file"});
    expect_throw<InputError>([&] { find_cifar10(folder / "none"); }, {"none", "no folder"});
    expect_throw<InputError>([&] { find_cifar10(folder / "test_batch.bin"); }, {"no folder"});
}

TEST(Cifar10, HandlesLinksAndFoldersNamedLikeFiles) {
    namespace fs = std::filesystem;
    const TemporaryFolder folder;
    for (const char* name : {"data_batch_1.bin", "test_batch.bin"}) write_bytes(folder / name, record(1));
    for (const std::string name : {"data_batch_2.bin", "test_batch.bin"}) {
        fs::remove(folder / name);
        fs::create_symlink("/annex/1", folder / name);
        expect_throw<InputError>([&] { find_cifar10(folder.path()); },
                                 {name, "dangling symbolic link to /annex/1"});
        fs::remove(folder / name);
        fs::create_directory(folder / name);
        expect_throw<InputError>([&] { find_cifar10(folder.path()); }, {name, "a folder"});
        write_bytes(folder / name / name, record(2));
        EXPECT_EQ(find_cifar10(folder.path()).train_images(), name == "test_batch.bin" ? 2 : 2);
    }
    EXPECT_EQ(find_cifar10(folder.path()).test[0].path, folder / "test_batch.bin/test_batch.bin");
    // Under other names, and in the archive's subfolder.
    const TemporaryFolder other;
    write_bytes(other / "train_1.bin", record(1));
    fs::create_symlink("train_2.bin", other / "train_2.bin");
    expect_throw<InputError>([&] { find_cifar10(other.path()); }, {"train_2.bin", "loop of symbolic links"});
    const TemporaryFolder archive;
    fs::create_symlink("/annex/c", archive / "cifar-10-batches-bin");
    expect_throw<InputError>([&] { find_cifar10(archive.path()); },
                             {"cifar-10-batches-bin", "dangling symbolic link to /annex/c"});
}

TEST(Cifar10, RejectsShrunkFile) {
    const TemporaryFolder folder;
    write_bytes(folder / "train.bin", record(1) + record(2));
    const Cifar10Folder found = find_cifar10(folder.path());
    write_bytes(folder / "train.bin", record(1));
    std::vector<std::uint8_t> images(2 * kCifar10ImageBytes);
    std::vector<std::int32_t> labels(2);
    expect_throw<InputError>([&] { read_cifar10(found.train[0], 0, 2, images.data(), labels.data()); },
                             {"train.bin"});
}

TEST(Cifar10, ReadsRealImages) {
    const auto data = test_data_folder() / "cifar10";
    if (!std::filesystem::exists(data))
        GTEST_SKIP() << "no real images at " << data << " (set GLOW_TEST_DATA)";
    const Cifar10Folder found = find_cifar10(data);
    EXPECT_EQ(found.train_images(), 8000);
    EXPECT_EQ(found.test_images(), 2000);
    std::vector<std::uint8_t> images(8000 * kCifar10ImageBytes);
    std::vector<std::int32_t> labels(8000);
    read_cifar10(found.train[0], 0, 8000, images.data(), labels.data());
    std::vector<int> counts(10);
    for (const std::int32_t label : labels) ++counts[static_cast<std::size_t>(label)];
    for (const int count : counts) EXPECT_NEAR(count, 800, 100);
    // Neighbors in a row are similar; misinterpreted planes would not be.
    double step = 0;
    for (std::size_t i = 3; i < images.size(); ++i) step += std::abs(images[i] - images[i - 3]);
    EXPECT_LT(step / static_cast<double>(images.size()), 16);
}

}  // namespace
}  // namespace glow
