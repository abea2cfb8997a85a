#include "data/source.h"

#include <algorithm>
#include <limits>
#include <set>

#include "data/cifar10.h"
#include "data/synthetic_shapes.h"
#include "tests/data/files.h"
#include "tests/data/make_files.h"

namespace glow {
namespace {

// Image n of a part consists of four bytes n and has label n % 3. Images listed in `broken` are unusable.
class Numbered : public ImageSource {
  public:
    Numbered(index_t train, index_t test, std::set<index_t> broken = {})
        : info_{"numbered", 2, 2, 1, 3, train, test}, broken_(std::move(broken)) {}
    const SourceInfo& info() const override { return info_; }
    void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override {
        EXPECT_EQ(first, next_[split == SourceSplit::test]);
        next_[split == SourceSplit::test] += count;
        for (index_t n = 0; n < count; ++n) {
            std::fill_n(images + 4 * n, 4, static_cast<std::uint8_t>(first + n));
            labels[n] = static_cast<std::int32_t>((first + n) % 3);
            if (broken_.contains(first + n)) usable[n] = 0;
        }
    }

  private:
    SourceInfo info_;
    std::set<index_t> broken_;
    index_t next_[2] = {0, 0};
};

std::multiset<int> numbers_of(const std::filesystem::path& path, const std::string& split) {
    const ImageSet set = load_split(path, split);
    std::multiset<int> numbers;
    for (index_t n = 0; n < set.N; ++n) {
        numbers.insert(*set.image(n));
        EXPECT_EQ(set.labels[static_cast<std::size_t>(n)], *set.image(n) % 3);
    }
    return numbers;
}

TEST(WriteDataset, PutsEveryImageInOneSplit) {
    const TemporaryFolder folder;
    Numbered source(100, 20);
    SplitOptions options;
    options.valid = 0.2;
    std::vector<index_t> told;
    const DatasetInfo info = write_dataset(folder / "a.h5", source, options, [&](index_t done, index_t all) {
        told.push_back(done);
        EXPECT_EQ(all, 120);
    });
    EXPECT_EQ((std::vector<index_t>{info.train, info.valid, info.test}), (std::vector<index_t>{80, 20, 20}));
    EXPECT_EQ(told, (std::vector<index_t>{100, 120}));
    std::multiset<int> all = numbers_of(folder / "a.h5", "train");
    all.merge(numbers_of(folder / "a.h5", "valid"));
    EXPECT_EQ(all.size(), 100u);
    EXPECT_EQ(std::set<int>(all.begin(), all.end()).size(), 100u);
    EXPECT_EQ(numbers_of(folder / "a.h5", "test").size(), 20u);
}

TEST(WriteDataset, LimitsUseFirstImages) {
    const TemporaryFolder folder;
    Numbered source(100, 20);
    SplitOptions options;
    options.limit_train = 10;
    options.limit_test = 3;
    options.valid = 0.3;
    write_dataset(folder / "a.h5", source, options, {});
    std::multiset<int> all = numbers_of(folder / "a.h5", "train");
    EXPECT_EQ(all.size(), 7u);
    all.merge(numbers_of(folder / "a.h5", "valid"));
    EXPECT_EQ(all, (std::multiset<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    EXPECT_EQ(numbers_of(folder / "a.h5", "test"), (std::multiset<int>{0, 1, 2}));
}

TEST(WriteDataset, SkipsUnusableImages) {
    const TemporaryFolder folder;
    Numbered source(10, 0, {2, 3, 9});
    SplitOptions options;
    options.valid = 0;
    EXPECT_EQ(write_dataset(folder / "a.h5", source, options, {}).train, 7);
    EXPECT_EQ(numbers_of(folder / "a.h5", "train"), (std::multiset<int>{0, 1, 4, 5, 6, 7, 8}));
}

TEST(WriteDataset, RejectsEmptyTrainingSplit) {
    const TemporaryFolder folder;
    const auto refuse = [&](Numbered source, double valid, const std::string& part) {
        SplitOptions options;
        options.valid = valid;
        expect_throw<InputError>([&] { write_dataset(folder / "a.h5", source, options, {}); }, {part});
    };
    refuse({3, 1}, 1.0, "--valid");
    refuse({3, 1}, -0.1, "--valid");
    refuse({3, 1}, std::numeric_limits<double>::quiet_NaN(), "--valid");
    refuse({3, 1}, 0.9, "none for training");
    refuse({0, 1}, 0, "none for training");
    refuse({3, 1, {0, 1, 2}}, 0, "none of the 3 training images");
    EXPECT_TRUE(folder.names().empty());
}

TEST(Cifar10Source, ReadsAcrossFiles) {
    const TemporaryFolder folder;
    write_bytes(folder / "data_batch_1.bin", make::cifar10(3, 1));
    write_bytes(folder / "data_batch_2.bin", make::cifar10(4, 2));
    write_bytes(folder / "test_batch.bin", make::cifar10(2, 3));
    Cifar10Source source(find_cifar10(folder.path()));
    EXPECT_EQ(source.info().train, 7);
    std::vector<std::uint8_t> images(5 * 3072), usable(5, 1);
    std::vector<std::int32_t> labels(5);
    source.read(SourceSplit::train, 2, 5, images.data(), labels.data(), usable.data());
    EXPECT_EQ(labels, (std::vector<std::int32_t>{1, 2, 2, 2, 2}));
    for (std::size_t n = 0; n < 5; ++n)
        EXPECT_EQ(images[n * 3072 + 3071], std::vector<int>({2, 0, 1, 2, 3})[n]);
    source.read(SourceSplit::test, 0, 2, images.data(), labels.data(), usable.data());
    EXPECT_EQ(labels[1], 3);
}

TEST(Shapes, DependOnlyOnSeedAndNumber) {
    ShapesSource one(16, 3, 20, 5, 7, 1), many(16, 3, 20, 5, 7, 2);
    std::vector<std::uint8_t> a(20 * 768), b(a), usable(20, 1);
    std::vector<std::int32_t> label_a(20), label_b(20);
    one.read(SourceSplit::train, 0, 20, a.data(), label_a.data(), usable.data());
    many.read(SourceSplit::train, 0, 15, b.data(), label_b.data(), usable.data());
    many.read(SourceSplit::train, 15, 5, b.data() + 15 * 768, label_b.data() + 15, usable.data());
    EXPECT_EQ(a, b);
    EXPECT_EQ(label_a, label_b);
    EXPECT_EQ(std::set<std::int32_t>(label_a.begin(), label_a.end()).size(), 4u);
    std::vector<std::uint8_t> test(768);
    one.read(SourceSplit::test, 0, 1, test.data(), label_a.data(), usable.data());
    EXPECT_FALSE(std::equal(test.begin(), test.end(), a.begin()));
    EXPECT_THROW(ShapesSource(7, 3, 1, 1, 0, 1), InputError);
    EXPECT_THROW(ShapesSource(16, 2, 1, 1, 0, 1), InputError);
}

// The fraction of bright pixels matches the areas of the shapes: pi, 2.56, 1.3 and 2.04 times the squared
// radius.
TEST(Shapes, HaveAreasOfTheirClasses) {
    double share[4] = {}, count[4] = {};
    std::vector<std::uint8_t> image(64 * 64);
    for (std::uint64_t n = 0; n < 400; ++n) {
        const std::int32_t label = make_shape(1, n, 64, 1, image.data());
        // background stays below 0.42 * 256
        for (const std::uint8_t pixel : image) share[label] += pixel > 107;
        ++count[label];
    }
    for (int c = 0; c < 4; ++c) share[c] /= count[c] * 64 * 64 * 0.0867;  // mean of radius^2 / size^2
    EXPECT_NEAR(share[0], 3.14, 0.25);                                    // 100 images per class: radii vary
    EXPECT_NEAR(share[1], 2.56, 0.25);
    EXPECT_NEAR(share[2], 1.30, 0.2);
    EXPECT_NEAR(share[3], 2.04, 0.2);
}

}  // namespace
}  // namespace glow
