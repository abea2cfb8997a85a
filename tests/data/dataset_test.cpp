#include "data/dataset.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>

#include "tests/data/files.h"

namespace glow {
namespace {

DatasetInfo small_info() {
    DatasetInfo info;
    info.name = "small";
    info.H = 4;
    info.W = 3;
    info.C = 2;
    info.n_classes = 5;
    info.entropy_bpd = 1.25;
    return info;
}

std::vector<std::uint8_t> some_images(index_t N, index_t bytes, std::uint8_t first) {
    std::vector<std::uint8_t> images(static_cast<std::size_t>(N * bytes));
    std::iota(images.begin(), images.end(), first);
    return images;
}

TEST(Dataset, RoundTrips) {
    const TemporaryFolder folder;
    const auto train = some_images(10, 24, 0), test = some_images(3, 24, 100);
    const std::vector<std::int32_t> labels = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
    {
        DatasetWriter writer(folder / "a.h5", small_info());
        writer.append("train", 4, train.data(), labels.data());
        writer.append("test", 3, test.data(), labels.data());
        writer.append("train", 6, train.data() + 4 * 24, labels.data() + 4);
        EXPECT_FALSE(std::filesystem::exists(folder / "a.h5"));
        writer.commit();
    }
    const DatasetInfo info = describe_dataset(folder / "a.h5");
    EXPECT_EQ(info.name, "small");
    EXPECT_EQ(
        (std::vector<index_t>{info.H, info.W, info.C, info.train, info.valid, info.test, info.n_classes}),
        (std::vector<index_t>{4, 3, 2, 10, 0, 3, 5}));
    EXPECT_EQ(info.entropy_bpd, 1.25);
    EXPECT_TRUE(info.train_labels && info.test_labels && !info.valid_labels);

    const ImageSet set = load_split(folder / "a.h5", "train");
    EXPECT_EQ(set.N, 10);
    EXPECT_EQ(set.images, train);
    EXPECT_EQ(set.labels, labels);
    EXPECT_EQ(set.n_classes, 5);
    EXPECT_EQ(*set.image(2), train[48]);
    EXPECT_EQ(load_split(folder / "a.h5", "test").images, test);
    EXPECT_EQ(load_split(folder / "a.h5", "train", 2).images, some_images(2, 24, 0));
    EXPECT_EQ(load_split(folder / "a.h5", "train", 2).labels.size(), 2u);
    EXPECT_EQ(load_split(folder / "a.h5", "train", 100).N, 10);

    const DatasetReader reader(folder / "a.h5");
    std::vector<std::uint8_t> one(24);
    for (index_t n = 9; n >= 0; --n) {
        reader.read_images("train", n, 1, one.data());
        EXPECT_TRUE(std::equal(one.begin(), one.end(), train.begin() + n * 24));
    }
    const std::vector<index_t> order = {7, 0, 9, 9, 3};
    std::vector<std::uint8_t> scattered(5 * 24);
    const SplitImages disk(folder / "a.h5", "train"), memory(load_split(folder / "a.h5", "train"));
    EXPECT_TRUE(disk.on_disk() && !memory.on_disk() && disk.set().images.empty());
    EXPECT_EQ(disk.set().labels, labels);
    for (const SplitImages* images : {&disk, &memory}) {
        EXPECT_EQ(images->N(), 10);
        std::fill(scattered.begin(), scattered.end(), 0);
        images->gather(order.data(), 5, scattered.data());
        for (std::size_t i = 0; i < 5; ++i)
            EXPECT_TRUE(std::equal(scattered.begin() + static_cast<std::ptrdiff_t>(i) * 24,
                                   scattered.begin() + static_cast<std::ptrdiff_t>(i + 1) * 24,
                                   train.begin() + order[i] * 24));
    }
    for (const index_t outside : {index_t{-1}, index_t{10}})
        expect_throw<InputError>([&] { disk.gather(&outside, 1, scattered.data()); },
                                 {"a.h5", "row in 0..9"});
    expect_throw<InputError>([&] { SplitImages(folder / "a.h5", "valid"); }, {"a.h5", "valid"});
    expect_throw<InputError>([&] { load_split(folder / "a.h5", "valid"); }, {"a.h5", "valid"});
    expect_throw<InputError>([&] { load_split(folder / "a.h5", "Train"); },
                             {"train, valid or test", "Train"});
    EXPECT_EQ(folder.names(), std::vector<std::string>{"a.h5"});
}

TEST(Dataset, OptionalPartsMayBeMissing) {
    const TemporaryFolder folder;
    DatasetInfo info;
    info.H = info.W = info.C = 1;
    const std::uint8_t pixel = 7;
    DatasetWriter writer(folder / "a.h5", info);
    writer.append("train", 1, &pixel, nullptr);
    EXPECT_THROW(writer.append("test", 1, &pixel, std::vector<std::int32_t>{0}.data()), Error);
    writer.commit();
    const ImageSet set = load_split(folder / "a.h5", "train");
    EXPECT_EQ(set.images, std::vector<std::uint8_t>{7});
    EXPECT_TRUE(set.labels.empty());
    EXPECT_FALSE(describe_dataset(folder / "a.h5").entropy_bpd);
}

TEST(Dataset, NothingAppearsWithoutCommit) {
    const TemporaryFolder folder;
    {
        DatasetWriter writer(folder / "a.h5", small_info());
        EXPECT_THROW(writer.commit(), Error);  // no training image
    }
    EXPECT_TRUE(folder.names().empty());
}

TEST(Dataset, FullDiskLeavesNoFile) {
    const TemporaryFolder folder;
    const FullDisk full(300000);
    const auto images = some_images(1000, 1024 * 3, 0);
    DatasetInfo info;
    info.H = info.W = 32;
    info.C = 3;
    expect_throw<Error>(
        [&] {
            DatasetWriter writer(folder / "a.h5", info);
            writer.append("train", 1000, images.data(), nullptr);
            writer.commit();
        },
        {"cannot write", "a.h5"});
    EXPECT_TRUE(folder.names().empty());
}

// A valid file with two splits; `change` corrupts it before it is closed.
struct Parts {
    std::vector<index_t> train_shape = {4, 2, 2, 3}, test_shape = {2, 2, 2, 3};
    std::vector<std::int32_t> train_labels = {0, 1, 2, 3};
    std::int64_t train_classes = 4, test_classes = 4, version = 1;
    std::string format = "glow-dataset";
    bool with_format = true, with_version = true, with_train = true, with_classes = true,
         float_images = false, float_labels = false;
    double entropy = 1.0;
};

void write_parts(const std::filesystem::path& path, const Parts& parts) {
    Hdf5File file = Hdf5File::create(path);
    const std::vector<std::uint8_t> bytes(1000, 1);
    const std::vector<float> floats(1000, 1.0f);
    if (parts.with_format) file.set_string("/", "format", parts.format);
    if (parts.with_version) file.set_integer("/", "version", parts.version);
    file.set_number("/", "entropy_bpd", parts.entropy);
    if (parts.with_train) {
        if (parts.float_images)
            file.write("/train/images", parts.train_shape, floats.data());
        else
            file.write("/train/images", parts.train_shape, bytes.data());
        const auto count = static_cast<index_t>(parts.train_labels.size());
        if (parts.float_labels)
            file.write("/train/labels", {count}, floats.data());
        else
            file.write("/train/labels", {count}, parts.train_labels.data());
        if (parts.with_classes) file.set_integer("/train/labels", "n_classes", parts.train_classes);
    }
    file.write("/test/images", parts.test_shape, bytes.data());
    file.write<std::int32_t>("/test/labels", {2}, parts.train_labels.data());
    file.set_integer("/test/labels", "n_classes", parts.test_classes);
    file.close();
}

void expect_refused(const std::function<void(Parts&)>& change, const std::vector<std::string>& message) {
    const TemporaryFolder folder;
    Parts parts;
    change(parts);
    write_parts(folder / "bad.h5", parts);
    std::vector<std::string> all = message;
    all.push_back("bad.h5");
    expect_throw<InputError>([&] { load_split(folder / "bad.h5", "train"); }, all);
}

TEST(Dataset, ValidFileIsAccepted) {
    const TemporaryFolder folder;
    write_parts(folder / "good.h5", {});
    EXPECT_EQ(load_split(folder / "good.h5", "train").labels, (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST(Dataset, FolderIsRejectedWithTheCommandThatMakesOne) {
    const TemporaryFolder folder;
    expect_throw<InputError>([&] { DatasetReader(folder.path()); }, {"found a folder", "glow_data images"});
}

TEST(Dataset, RejectsOtherFormatOrVersion) {
    expect_refused([](Parts& p) { p.with_format = false; }, {"format is missing"});
    expect_refused([](Parts& p) { p.format = "glow-checkpoint"; }, {"glow-dataset", "glow-checkpoint"});
    expect_refused([](Parts& p) { p.with_version = false; }, {"version is missing"});
    expect_refused([](Parts& p) { p.version = 2; }, {"expected version 1", "found 2"});
}

TEST(Dataset, RejectsWrongImages) {
    expect_refused([](Parts& p) { p.with_train = false; }, {"/train/images is missing"});
    expect_refused([](Parts& p) { p.float_images = true; },
                   {"/train/images", "expected uint8, found float32"});
    expect_refused([](Parts& p) { p.train_shape = {4, 2, 2}; }, {"[N, H, W, C]", "[4, 2, 2]"});
    expect_refused([](Parts& p) { p.train_shape = {4, 2, 2, 3, 1}; }, {"[4, 2, 2, 3, 1]"});
    expect_refused([](Parts& p) { p.train_shape = {4, 2, 2, 5}; }, {"C in 1..4", "[4, 2, 2, 5]"});
    expect_refused(
        [](Parts& p) {
            p.train_shape = {0, 2, 2, 3};
            p.train_labels = {};
        },
        {"[0, 2, 2, 3]"});
    expect_refused([](Parts& p) { p.train_shape = {4, 0, 2, 3}; }, {"[4, 0, 2, 3]"});
    expect_refused([](Parts& p) { p.test_shape = {2, 2, 2, 1}; }, {"/test/images", "[2, 2, 2, 1]"});
    expect_refused([](Parts& p) { p.test_shape = {2, 3, 2, 3}; }, {"/test/images", "[2, 3, 2, 3]"});
    expect_refused([](Parts& p) { p.test_shape = {0, 2, 2, 3}; }, {"/test/images", "[0, 2, 2, 3]"});
}

TEST(Dataset, RejectsWrongLabels) {
    expect_refused(
        [](Parts& p) {
            p.train_labels = {0, 1, 2};
        },
        {"/train/labels", "expected shape [4]", "found [3]"});
    expect_refused(
        [](Parts& p) {
            p.train_labels = {0, 1, 2, 4};
        },
        {"/train/labels", "0..3", "found 4 for image 3"});
    expect_refused([](Parts& p) { p.train_labels = {0, -1, 2, 3}; }, {"found -1 for image 1"});
    expect_refused([](Parts& p) { p.float_labels = true; },
                   {"/train/labels", "expected int32, found float32"});
    expect_refused([](Parts& p) { p.with_classes = false; }, {"/train/labels", "n_classes is missing"});
    expect_refused([](Parts& p) { p.train_classes = 0; }, {"n_classes", "found 0"});
    expect_refused([](Parts& p) { p.train_classes = std::int64_t{1} << 40; },
                   {"n_classes", "found 1099511627776"});
    expect_refused([](Parts& p) { p.test_classes = 3; }, {"/test/labels", "n_classes = 4", "found 3"});
}

TEST(Dataset, RejectsNonFiniteEntropy) {
    expect_refused([](Parts& p) { p.entropy = std::numeric_limits<double>::quiet_NaN(); },
                   {"entropy_bpd", "finite"});
}

TEST(Dataset, WriterRejectsWrongSizes) {
    const TemporaryFolder folder;
    for (const auto& [H, W, C] :
         {std::tuple{0, 2, 3}, {2, 0, 3}, {2, 2, 0}, {2, 2, 5}, {65536, 65536, 4}, {-1, 2, 1}}) {
        DatasetInfo info;
        info.H = H;
        info.W = W;
        info.C = C;
        EXPECT_THROW(DatasetWriter(folder / "a.h5", info), InputError);
    }
    EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace glow
