#include "data/training_images.h"

#include <chrono>
#include <numeric>
#include <set>
#include <thread>

#include "tests/train/training.h"

namespace glow {
namespace {

// Image n consists of bytes n, with row 0 brighter by 100 and column 0 by 50.
ImageSet numbered(index_t N, bool plain) {
    ImageSet set{N, 4, 4, 1, {}, {}, 0};
    for (index_t n = 0; n < N; ++n)
        for (index_t i = 0; i < 16; ++i)
            set.images.push_back(
                static_cast<std::uint8_t>(plain ? n : n + (i < 4 ? 100 : 0) + (i % 4 == 0 ? 50 : 0)));
    return set;
}

TEST(TrainingImages, FollowFileOrderWithoutShuffling) {
    TrainingImages images(numbered(5, true), {}, false, 1);
    const Batch batch = images.take(3, 9);  // crosses two passes
    for (index_t i = 0; i < 9; ++i) {
        EXPECT_EQ(batch.pixels[i * 16], (3 + i) % 5);
        EXPECT_EQ(batch.numbers[i], static_cast<std::uint64_t>(3 + i));
    }
}

TEST(TrainingImages, ShufflingPermutesEveryPass) {
    TrainingImages images(numbered(50, true), {}, true, 1);
    std::vector<std::vector<int>> passes;
    for (index_t pass = 0; pass < 3; ++pass) {
        const Batch batch = images.take(pass * 50, 50);
        std::vector<int> order;
        for (index_t i = 0; i < 50; ++i) order.push_back(batch.pixels[i * 16]);
        EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), 50u);
        passes.push_back(order);
    }
    EXPECT_NE(passes[0], passes[1]);
    EXPECT_NE(passes[1], passes[2]);
}

TEST(TrainingImages, DoNotDependOnTheBatchSize) {
    for (const bool shuffle : {true, false}) {
        TrainingImages one(numbered(7, false), {true, true}, shuffle, 9),
            many(numbered(7, false), {true, true}, shuffle, 9);
        const Batch whole = many.take(0, 30);
        for (index_t s = 0; s < 30;) {
            const index_t count = std::min<index_t>(1 + s % 4, 30 - s);
            const Batch part = one.take(s, count);
            EXPECT_TRUE(std::equal(part.pixels, part.pixels + count * 16, whole.pixels + s * 16)) << s;
            EXPECT_TRUE(std::equal(part.numbers, part.numbers + count, whole.numbers + s)) << s;
            s += count;
        }
    }
}

TEST(TrainingImages, SeedChangesOrder) {
    TrainingImages a(numbered(50, true), {}, true, 1), b(numbered(50, true), {}, true, 2);
    const Batch x = a.take(0, 50), y = b.take(0, 50);
    EXPECT_FALSE(std::equal(x.pixels, x.pixels + 50 * 16, y.pixels));
}

// A data set file of N numbered images.
void write_numbered(const std::filesystem::path& path, index_t N) {
    const ImageSet set = numbered(N, false);
    DatasetInfo info;
    info.H = info.W = 4;
    info.C = 1;
    DatasetWriter writer(path, info);
    writer.append("train", N, set.images.data(), nullptr);
    writer.commit();
}

// Holds for any request, including those the prefetching thread did not predict.
TEST(TrainingImages, PrefetchedEqualDirect) {
    const TemporaryFolder folder;
    write_numbered(folder / "a.h5", 50);
    for (const bool shuffle : {true, false}) {
        TrainingImages memory(numbered(50, false), {true, true}, shuffle, 9),
            ahead(numbered(50, false), {true, true}, shuffle, 9, true),
            disk(SplitImages(folder / "a.h5", "train"), {true, true}, shuffle, 9);
        const std::pair<index_t, index_t> calls[] = {{0, 20}, {0, 8},  {8, 8},   {16, 8}, {48, 8},
                                                     {5, 8},  {13, 3}, {16, 30}, {9, 1},  {109, 60}};
        for (const auto& [s, count] : calls) {
            const Batch x = memory.take(s, count);
            for (TrainingImages* const other : {&ahead, &disk}) {
                const Batch y = other->take(s, count);
                ASSERT_EQ(y.N, count);
                EXPECT_TRUE(std::equal(x.pixels, x.pixels + count * 16, y.pixels)) << s;
                EXPECT_TRUE(std::equal(x.numbers, x.numbers + count, y.numbers)) << s;
            }
        }
        // One process of several: the same count with a larger stride.
        for (index_t s = 4; s < 400; s += 24) {
            const Batch x = memory.take(s, 8), y = disk.take(s, 8);
            EXPECT_TRUE(std::equal(x.pixels, x.pixels + 8 * 16, y.pixels)) << s;
        }
    }
}

// A batch stays unchanged while the next one is read.
TEST(TrainingImages, StayValidWhilePrefetching) {
    const TemporaryFolder folder;
    write_numbered(folder / "a.h5", 200);
    TrainingImages memory(numbered(200, false), {}, true, 3, true),
        disk(SplitImages(folder / "a.h5", "train"), {}, true, 3);
    for (TrainingImages* const images : {&memory, &disk})
        for (index_t s = 0; s < 1000; s += 50) {
            const Batch batch = images->take(s, 50);
            const std::vector<std::uint8_t> pixels(batch.pixels, batch.pixels + 50 * 16);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            EXPECT_TRUE(std::equal(pixels.begin(), pixels.end(), batch.pixels)) << s;
            EXPECT_EQ(batch.numbers[0], static_cast<std::uint64_t>(s));
        }
}

// The prefetching thread shares HDF5 with threads that write checkpoints and open files.
TEST(TrainingImages, ReadDiskWhileOtherFilesAreInUse) {
    const TemporaryFolder folder;
    write_numbered(folder / "a.h5", 200);
    TrainingImages memory(numbered(200, false), {}, true, 3),
        disk(SplitImages(folder / "a.h5", "train"), {}, true, 3);
    const std::vector<double> values(1000, 1.5);
    for (index_t s = 0; s < 1000; s += 50) {
        const Batch x = memory.take(s, 50), y = disk.take(s, 50);
        EXPECT_TRUE(std::equal(x.pixels, x.pixels + 50 * 16, y.pixels)) << s;
        Hdf5File file = Hdf5File::create(folder / "b.h5");
        file.write<double>("/values", {1000}, values.data());
        file.close();
        EXPECT_EQ(Hdf5File::open(folder / "b.h5").read<double>("/values", {1000}), values);
        EXPECT_EQ(describe_dataset(folder / "a.h5").train, 200);
    }
}

TEST(TrainingImages, DamagedFileThrowsOnNextCall) {
    const TemporaryFolder folder;
    write_numbered(folder / "a.h5", 400000);  // 6 MB: more than HDF5 caches
    TrainingImages disk(SplitImages(folder / "a.h5", "train"), {}, true, 3);
    disk.take(0, 10);
    std::filesystem::resize_file(folder / "a.h5", 5000);
    expect_throw<InputError>(
        [&] {
            for (index_t s = 10; s < 1000; s += 10) disk.take(s, 10);
        },
        {"/train/images", "cannot be read"});
}

}  // namespace
}  // namespace glow
