#include "data/npz.h"

#include "data/npz_names.h"
#include "tests/data/files.h"
#include "tests/data/make_files.h"

namespace glow {
namespace {

TEST(Zip, RejectsTwoEntriesOfOneName) {
    const TemporaryFolder folder;
    make::Archive archive;
    archive.entries = {{.name = "data.npy", .content = "a"}, {.name = "data.npy", .content = "b"}};
    write_bytes(folder / "a.zip", make::zip(archive));
    expect_throw<InputError>([&] { list_zip(folder / "a.zip"); }, {"two entries named data.npy"});
}

TEST(Zip, ReadsEveryEntryKind) {
    const TemporaryFolder folder;
    const std::string content = make::pixels(5000);
    for (const bool deflate : {false, true})
        for (const bool zip64 : {false, true})
            for (const char* comment : {"", "a comment that holds PK\x05\x06 too"}) {
                make::Archive archive;
                archive.entries = {{.name = "empty", .content = ""},
                                   {.name = "a", .content = content, .deflate = deflate, .zip64 = zip64}};
                archive.zip64 = zip64;
                archive.comment = comment;
                write_bytes(folder / "a.zip", make::zip(archive));
                const auto entries = list_zip(folder / "a.zip");
                ASSERT_EQ(entries.size(), 2u);
                EXPECT_EQ(entries[1].bytes, 5000);
                ZipReader reader(folder / "a.zip", entries[1]);
                std::string read(5000, ' ');
                reader.read(1, read.data());
                reader.read(4998, read.data() + 1);
                EXPECT_EQ(reader.bytes_left(), 1);
                reader.read(1, read.data() + 4999);
                EXPECT_EQ(read, content);
                EXPECT_EQ(ZipReader(folder / "a.zip", entries[0]).bytes_left(), 0);
            }
}

TEST(Npy, ParsesEveryHeaderVersion) {
    const NpyHeader header =
        parse_npy_header("{'descr': '>i4', 'fortran_order': True, 'shape': (3, 4), }  \n", "x");
    EXPECT_EQ(header.kind, 'i');
    EXPECT_EQ(header.element_bytes, 4);
    EXPECT_TRUE(header.big_endian && header.fortran_order);
    EXPECT_EQ(header.shape, (std::vector<index_t>{3, 4}));
    EXPECT_EQ(header.elements, 12);
    EXPECT_EQ(parse_npy_header("{\"shape\":(10L,),'descr':'|u1','fortran_order':False}", "x").elements, 10);
    EXPECT_TRUE(parse_npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", "x").shape.empty());
    const TemporaryFolder folder;
    for (const int version : {1, 2, 3}) {
        make::Archive archive;
        archive.entries = {
            {.name = "a.npy",
             .content =
                 make::npy_of("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "abc", version)}};
        write_bytes(folder / "a.npz", make::zip(archive));
        NpyReader reader(folder / "a.npz", list_zip(folder / "a.npz"), "a");
        EXPECT_EQ(reader.read_integers(), (std::vector<std::int64_t>{'a', 'b', 'c'}));
    }
}

TEST(Npy, ReadsEveryIntegerWidth) {
    const TemporaryFolder folder;
    for (const int bytes : {1, 2, 4, 8})
        for (const bool is_signed : {true, false})
            for (const bool big : {true, false}) {
                const std::vector<std::int64_t> values = {0, 1, 127, is_signed ? -1 : 100};
                std::string elements;
                for (const std::int64_t value : values) {
                    const auto word = static_cast<std::uint64_t>(value);
                    elements += big ? make::big_endian(word, bytes) : make::little_endian(word, bytes);
                }
                make::Archive archive;
                archive.entries = {{.name = "a.npy",
                                    .content = make::npy(
                                        fmt::format("{}{}{}", big ? '>' : '<', is_signed ? 'i' : 'u', bytes),
                                        "(4,)", elements)}};
                write_bytes(folder / "a.npz", make::zip(archive));
                EXPECT_EQ(NpyReader(folder / "a.npz", list_zip(folder / "a.npz"), "a").read_integers(),
                          values)
                    << bytes << is_signed << big;
            }
}

struct Npz : testing::Test {
    // N images of 2 x 2 in planes, 64-bit labels first_label, first_label + 1, ...
    void write(const std::string& name, int N, int first_pixel, int first_label, bool deflate = false) {
        std::string labels;
        for (int n = 0; n < N; ++n)
            labels += make::little_endian(static_cast<std::uint64_t>(first_label + n), 8);
        write_bytes(folder / name,
                    make::npz(make::npy("|u1", fmt::format("({}, 12)", N), make::pixels(12 * N, first_pixel)),
                              make::npy("<i8", fmt::format("({},)", N), labels), deflate));
    }
    TemporaryFolder folder;
};

TEST_F(Npz, JoinsFilesAndConvertsPlanes) {
    write("train_1.npz", 3, 0, 1);
    write("val.npz", 2, 100, 4);
    write("train_2.npz", 2, 50, 7, true);
    NpzSource source({folder / "train_1.npz", folder / "val.npz", folder / "train_2.npz"});
    const SourceInfo& info = source.info();
    EXPECT_EQ((std::vector<index_t>{info.H, info.W, info.C, info.train, info.test, info.n_classes}),
              (std::vector<index_t>{2, 2, 3, 5, 2, 8}));  // labels 1..8 are shifted to start at 0
    EXPECT_EQ(source.first_label(), 1);
    std::vector<std::uint8_t> images(5 * 12), usable(5, 1);
    std::vector<std::int32_t> labels(5);
    source.read(SourceSplit::train, 0, 2, images.data(), labels.data(), usable.data());
    source.read(SourceSplit::train, 2, 3, images.data() + 24, labels.data() + 2, usable.data());
    EXPECT_EQ(labels, (std::vector<std::int32_t>{0, 1, 2, 6, 7}));
    for (int n = 0; n < 5; ++n)
        for (int p = 0; p < 4; ++p)
            for (int c = 0; c < 3; ++c) {
                const int in_file = n < 3 ? n : n - 3, first = n < 3 ? 0 : 50;
                EXPECT_EQ(images[static_cast<std::size_t>(n * 12 + p * 3 + c)],
                          static_cast<std::uint8_t>(first + 7 * (in_file * 12 + c * 4 + p)));
            }
    source.read(SourceSplit::test, 0, 2, images.data(), labels.data(), usable.data());
    EXPECT_EQ(labels[0], 3);
    EXPECT_EQ(images[0], 100);
}

TEST_F(Npz, LimitSkipsRemainingTrainingFiles) {
    write("a.npz", 3, 0, 0);
    write("b.npz", 3, 0, 0);
    write("test.npz", 1, 42, 2);
    NpzSource source({folder / "a.npz", folder / "b.npz", folder / "test.npz"});
    std::vector<std::uint8_t> images(12), usable(1, 1);
    std::int32_t label = -1;
    source.read(SourceSplit::train, 0, 1, images.data(), &label, usable.data());
    source.read(SourceSplit::test, 0, 1, images.data(), &label, usable.data());
    EXPECT_EQ(images[0], 42);
    EXPECT_EQ(label, 2);
}

TEST_F(Npz, AcceptsOtherImageShapes) {
    const auto shape = [&](const std::string& text, index_t elements) {
        write_bytes(folder / "a.npz", make::npz(make::npy("|u1", text, make::pixels(elements)), ""));
        NpzSource source({folder / "a.npz"});
        EXPECT_EQ(source.info().n_classes, 0);
        std::vector<std::uint8_t> image(static_cast<std::size_t>(source.info().image_bytes())), usable(1, 1);
        source.read(SourceSplit::train, 0, 1, image.data(), nullptr, usable.data());
        EXPECT_EQ(image[1], text == "(2, 12)" ? 28 : 7) << text;
        return std::vector<index_t>{source.info().H, source.info().W, source.info().C};
    };
    EXPECT_EQ(shape("(2, 12)", 24), (std::vector<index_t>{2, 2, 3}));
    EXPECT_EQ(shape("(2, 16)", 32), (std::vector<index_t>{4, 4, 1}));
    EXPECT_EQ(shape("(2, 3, 5)", 30), (std::vector<index_t>{3, 5, 1}));
    EXPECT_EQ(shape("(2, 3, 5, 4)", 120), (std::vector<index_t>{3, 5, 4}));
}

TEST_F(Npz, RejectsMismatchedFiles) {
    write("a.npz", 2, 0, 0);
    write_bytes(folder / "wide.npz", make::npz(make::npy("|u1", "(1, 27)", make::pixels(27)), ""));
    write_bytes(folder / "bare.npz", make::npz(make::npy("|u1", "(1, 12)", make::pixels(12)), ""));
    write_bytes(folder / "fortran.npz", make::npz(make::npy("|u1", "(2, 12)", make::pixels(24), true), ""));
    expect_throw<InputError>(
        [&] {
            NpzSource({folder / "a.npz", folder / "wide.npz"});
        },
        {"wide.npz", "[1, 27]"});
    expect_throw<InputError>(
        [&] {
            NpzSource({folder / "a.npz", folder / "bare.npz"});
        },
        {"bare.npz", "no labels"});
    expect_throw<InputError>([&] { NpzSource({folder / "fortran.npz"}); }, {"fortran.npz", "Fortran"});
    const auto refuse_labels = [&](const std::string& labels, const std::vector<std::string>& parts) {
        write_bytes(folder / "labels.npz", make::npz(make::npy("|u1", "(4, 12)", make::pixels(48)), labels));
        expect_throw<InputError>([&] { NpzSource({folder / "labels.npz"}); }, parts);
    };
    refuse_labels(make::npy("|u1", "(2, 2)", "abcd", true), {"labels", "expected 4 labels", "[2, 2]"});
    refuse_labels(make::npy("<f4", "(4,)", std::string(16, '\0')), {"labels", "integers", "float32"});
    write_bytes(folder / "type.npz", make::npz(make::npy("|i1", "(1, 12)", make::pixels(12)), ""));
    expect_throw<InputError>([&] { NpzSource({folder / "type.npz"}); }, {"expected uint8, found int8"});
    write("val.npz", 2, 0, 0);
    expect_throw<InputError>([&] { NpzSource({folder / "val.npz"}); },
                             {"at least one file of training images"});
}

TEST(NpzNames, RecognizeTrainingAndTest) {
    for (const char* name :
         {"val_data",    "Validation",   "VAL_data",        "valid",          "VALID_1",   "Test",
          "test10",      "TESTING",      "imagenet_val_64", "Imagenet32_Val", "x_test",    "evalSet",
          "MyValData",   "cifar10-test", "imagenetval",     "values",         "dev.part2", "batch.validation",
          "64x64_valid", "holdout",      "TestBatch2"})
        EXPECT_EQ(split_hint_of(name), SplitHint::test) << name;
    for (const char* name : {"train", "Train_data_batch_1", "x_TRAIN", "trainset", "imagenet_training_3"})
        EXPECT_EQ(split_hint_of(name), SplitHint::train) << name;
    for (const char* name : {"train_val", "trainval", "TrainTest", "validation-train"})
        EXPECT_EQ(split_hint_of(name), SplitHint::both) << name;
    for (const char* name : {"latest", "interval_1", "invalid", "a_testimony"})
        EXPECT_EQ(split_hint_of(name), SplitHint::perhaps_test) << name;
    for (const char* name : {"p1", "data_batch_1", "", "64", "images", "device"})
        EXPECT_EQ(split_hint_of(name), SplitHint::none) << name;
    // A name that divides into words in 2^30 ways.
    std::string repeated;
    for (int i = 0; i < 30; ++i) repeated += "dataset";
    EXPECT_EQ(split_hint_of(repeated), SplitHint::none);
    EXPECT_EQ(split_hint_of(repeated + "val"), SplitHint::test);
}

TEST(NpzNames, FolderNamesDecideIfTheyDiffer) {
    std::vector<std::string> warnings;
    using Files = std::vector<std::filesystem::path>;
    EXPECT_EQ(which_are_test(Files{"train/1.npz", "Val/1.npz"}, warnings), (std::vector<bool>{false, true}));
    EXPECT_EQ(which_are_test(Files{"a.npz", "test/b.npz"}, warnings), (std::vector<bool>{false, true}));
    EXPECT_EQ(which_are_test(Files{"test/1.npz", "test/2.npz"}, warnings), (std::vector<bool>{false, false}));
    EXPECT_EQ(which_are_test(Files{"test/train.npz", "a/val.npz"}, warnings),
              (std::vector<bool>{false, true}));
    EXPECT_TRUE(warnings.empty());
    EXPECT_EQ(which_are_test(Files{"latest.npz"}, warnings), std::vector<bool>{false});
    EXPECT_EQ(warnings.size(), 1u);
    expect_throw<InputError>([&] { which_are_test(Files{"Train_VAL.npz"}, warnings); },
                             {"Train_VAL.npz", "both"});
}

TEST_F(Npz, TestNamesAreCaseInsensitive) {
    write("p1.npz", 3, 0, 0);
    write("Validation.npz", 2, 100, 0);
    const NpzSource source({folder / "Validation.npz", folder / "p1.npz"});
    EXPECT_EQ(source.info().train, 3);
    EXPECT_EQ(source.info().test, 2);
    ASSERT_EQ(source.files().size(), 2u);
    EXPECT_EQ(source.files()[1].path, folder / "Validation.npz");
}

TEST_F(Npz, MissingArrayListsExistingOnes) {
    make::Archive archive;
    for (const char* name : {"arr_0.npy", "arr_1.npy", "notes.txt"})
        archive.entries.push_back({.name = name, .content = make::npy("|u1", "(1, 12)", make::pixels(12))});
    write_bytes(folder / "a.npz", make::zip(archive));
    expect_throw<InputError>([&] { NpzSource({folder / "a.npz"}); },
                             {"a.npz: no array \"data\"; the archive has arr_0, arr_1, notes.txt"});
    for (int n = 0; n < 40; ++n)
        archive.entries.push_back({.name = fmt::format("x{}.npy", n), .content = ""});
    write_bytes(folder / "a.npz", make::zip(archive));
    expect_throw<InputError>([&] { NpzSource({folder / "a.npz"}); }, {"x16 and 23 more"});
    archive.entries.clear();
    write_bytes(folder / "a.npz", make::zip(archive));
    expect_throw<InputError>([&] { NpzSource({folder / "a.npz"}); }, {"the archive has none"});
}

}  // namespace
}  // namespace glow
