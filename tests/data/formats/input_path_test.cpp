// Paths that are not files: dangling and circular links, pipes, sockets, devices, unreadable entries. A
// reader that blocks on a pipe would hang its test.
#include "data/formats/input_path.h"

#include "data/cifar10.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "data/npz.h"
#include "tests/data/files.h"
#include "tests/data/make_files.h"
#include "tests/data/odd_entries.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

void expect_holds(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is missing in: " << text;
}

TEST(InputPath, NamesKindOfPath) {
    const TemporaryFolder folder;
    make_odd_entries(folder.path(), "");
    for (const auto& [name, reason] : kOddEntries) expect_holds(file_problem(folder / name), reason);
    expect_holds(file_problem(folder / "none"), "No such file");
    expect_holds(file_problem("/dev/null"), "a device");
    expect_holds(file_problem(folder.path()), "a folder, not a file");
    write_bytes(folder / "file", "x");
    fs::create_symlink("file", folder / "link");
    EXPECT_EQ(file_problem(folder / "file"), "");
    EXPECT_EQ(file_problem(folder / "link"), "");
    expect_holds(file_problem(folder / "file/below"), "Not a directory");
    expect_holds(folder_problem(folder / "file"), "a file, not a folder");
    expect_holds(folder_problem(folder / "dangling"), "dangling symbolic link to /nowhere/1");
    EXPECT_EQ(folder_problem(folder.path()), "");
    fs::permissions(folder / "file", fs::perms::none);
    const Unprivileged user(folder.path());
    expect_holds(file_problem(folder / "file"), "Permission denied");
}

TEST(InputPath, ReadsWholeFiles) {
    const TemporaryFolder folder;
    std::string bytes;
    for (int i = 0; i < 70'000; ++i) bytes += static_cast<char>(i * 7);
    for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{65536}, bytes.size()}) {
        write_bytes(folder / "file", bytes.substr(0, size));
        EXPECT_EQ(read_file(folder / "file"), bytes.substr(0, size));
    }
    expect_throw<InputError>([] { read_file("/proc/self/mem"); },
                             {"/proc/self/mem: cannot be read: Input/output error"});
    expect_throw<InputError>([&] { read_file(folder / "none"); }, {"none: cannot be read: No such file"});
}

TEST(InputPath, LimitsListedProblems) {
    EXPECT_EQ(join_problems({"a", "b"}), "a; b");
    const std::string many = join_problems(std::vector<std::string>(25, "a"));
    expect_holds(many, "; and 15 more");
}

TEST(InputPath, ReadersReportNonFiles) {
    const TemporaryFolder folder;
    make_odd_entries(folder.path(), "");
    for (const auto& [name, reason] : kOddEntries) {
        expect_throw<InputError>([&] { IdxReader{folder / name}; }, {name, reason});
        expect_throw<InputError>([&] { list_zip(folder / name); }, {name, reason});
        expect_throw<InputError>([&] { check_cifar10_file(folder / name); }, {name, reason});
        expect_throw<InputError>([&] { find_cifar10(folder / name); }, {name});
        expect_throw<InputError>([&] { ImageFolder(folder / name, {.size = 8}); }, {name});
    }
    expect_throw<InputError>([&] { find_cifar10(folder / "dangling"); }, {"/nowhere/1"});
}

TEST(InputPath, FindsFileInFolderOfSameName) {
    const TemporaryFolder folder;
    EXPECT_EQ(find_input_file(folder.path(), {"a.bin"}), fs::path());
    fs::create_directory(folder / "a.bin");
    expect_throw<InputError>([&] { find_input_file(folder.path(), {"a.bin"}); }, {"a.bin", "a folder"});
    fs::create_symlink("/nowhere", folder / "a.bin/a.bin");
    expect_throw<InputError>([&] { find_input_file(folder.path(), {"a.bin"}); }, {"a.bin"});
    fs::remove(folder / "a.bin/a.bin");
    write_bytes(folder / "a.bin/b.bin", "x");
    EXPECT_EQ(find_input_file(folder.path(), {"a.bin", "b.bin"}), folder / "a.bin/b.bin");
    write_bytes(folder / "b.bin", "x");  // a file takes precedence over a folder
    EXPECT_EQ(find_input_file(folder.path(), {"a.bin", "b.bin"}), folder / "b.bin");
}

// ---- Folders of images ---------------------------------------------------------------------------

struct UnusableImages : testing::Test {
    void put(const std::string& name) {
        fs::create_directories((folder / name).parent_path());
        write_bytes(folder / name, make::png(make::smooth(8, 8, 3)));
    }
    static ImageFolderOptions options(bool strict = false) {
        return {.size = 8, .test = 0, .strict = strict, .threads = 2};
    }
    // Skipped files, one per line.
    std::string skipped() {
        ImageFolder source(folder.path(), options());
        std::vector<std::uint8_t> images(static_cast<std::size_t>(source.info().train * 192)),
            usable(static_cast<std::size_t>(source.info().train), 1);
        std::vector<std::int32_t> labels(usable.size());
        source.read(SourceSplit::train, 0, source.info().train, images.data(), labels.data(), usable.data());
        left_out = source.take_skipped();
        classes = source.classes();
        std::string text;
        for (const std::string& line : left_out) text += line + "\n";
        return text;
    }
    void expect_strict_names(const std::string& name) {
        expect_throw<InputError>([&] { ImageFolder(folder.path(), options(true)); }, {name, "--strict"});
    }
    TemporaryFolder folder;
    std::vector<std::string> left_out, classes;
};

TEST_F(UnusableImages, AreSkippedUnlessStrict) {
    put("good.png");
    make_odd_entries(folder.path(), ".JPG");
    make_odd_entries(folder.path(), ".hidden.png", ".");
    const std::string text = skipped();
    EXPECT_EQ(left_out.size(), kOddEntries.size()) << text;
    for (const auto& [name, reason] : kOddEntries) {
        expect_holds(text, name + ".JPG: cannot be read: ");
        expect_holds(text, reason);
        expect_strict_names(name + ".JPG");
    }
}

TEST_F(UnusableImages, AreReportedInClassFolders) {
    put("cats/good.png");
    put("dogs/good.png");
    make_odd_entries(folder / "dogs", ".png");
    const std::string text = skipped();
    EXPECT_EQ(left_out.size(), kOddEntries.size()) << text;
    for (const auto& [name, reason] : kOddEntries)
        expect_holds(text, "dogs/" + name + ".png: cannot be read: ");
    put("cats/folder.png/deeper.png");  // a folder of that name is a folder
    EXPECT_EQ(skipped(), text);
}

TEST_F(UnusableImages, OnlyUnusableImagesAreError) {
    for (const char* name : {"img1.png", "img2.jpeg"}) fs::create_symlink("/annex/1", folder / name);
    expect_throw<InputError>(
        [&] { ImageFolder(folder.path(), options()); },
        {"no image can be read", "img1.png", "img2.jpeg", "dangling symbolic link to /annex/1"});
    expect_strict_names("img2.jpeg");
    for (int n = 0; n < 40; ++n) fs::create_symlink("/annex/1", folder / fmt::format("more{:02}.png", n));
    expect_throw<InputError>([&] { ImageFolder(folder.path(), options()); }, {"and 32 more"});
}

// Without its class, the labels of those after it would change.
TEST_F(UnusableImages, MissingClassIsError) {
    const auto expect_missing = [&](const std::vector<std::string>& parts) {
        expect_throw<InputError>([&] { ImageFolder(folder.path(), options()); }, parts);
    };
    put("cats/1.png");
    fs::create_symlink("/annex/birds", folder / "birds");
    fs::create_symlink("/annex/notes", folder / "cats/notes");  // may have been a folder, too
    expect_missing({"birds: cannot be read: dangling symbolic link to /annex/birds", "--no-classes"});
    put("dogs/1.png");
    expect_missing({"birds: cannot be read"});
    expect_strict_names("birds");
    ImageFolderOptions unlabeled = options();
    unlabeled.classes = false;
    EXPECT_EQ(ImageFolder(folder.path(), unlabeled).take_skipped().size(), 2u);
    fs::remove(folder / "birds");
    fs::create_symlink("loop", folder / "loop");
    expect_missing({"loop: cannot be read: loop of symbolic links"});
    fs::remove(folder / "loop");
    // All photographs of a class are missing, as in git-annex.
    fs::create_directory(folder / "birds");
    fs::create_symlink("/annex/1", folder / "birds/1.png");
    expect_missing({"birds/1.png: cannot be read"});
    put("birds/2.png");
    const std::string text = skipped();
    EXPECT_EQ(left_out.size(), 2u) << text;
    EXPECT_EQ(classes, (std::vector<std::string>{"birds", "cats", "dogs"}));
    // A link to a file is no class.
    fs::create_symlink("/annex/labels", folder / "labels.csv");
    skipped();
    EXPECT_EQ(left_out.size(), 3u);
    EXPECT_EQ(classes.size(), 3u);
    put("outside.png");
    fs::create_symlink("/annex/birds", folder / "more");
    skipped();
    EXPECT_EQ(classes, std::vector<std::string>());
}

TEST_F(UnusableImages, LinkToParentIsNotClass) {
    put("1.png");
    fs::create_directory_symlink(".", folder / "self");
    fs::create_directory_symlink("..", folder / "parent");
    const std::string text = skipped();
    EXPECT_EQ(left_out.size(), 2u) << text;
    expect_holds(text, "self: symbolic link to a folder that is already read or contains one that is");
    expect_strict_names("parent");
    // A link to any other folder is a class.
    const TemporaryFolder elsewhere;
    write_bytes(elsewhere / "a.png", make::png(make::smooth(8, 8, 3)));
    fs::remove(folder / "1.png");
    put("cats/1.png");
    fs::create_directory_symlink(elsewhere.path(), folder / "away");
    expect_throw<InputError>([&] { ImageFolder(folder.path(), options()); }, {"parent", "another class"});
    for (const char* const loop : {"self", "parent"}) fs::remove(folder / loop);
    skipped();
    EXPECT_EQ(classes, (std::vector<std::string>{"away", "cats"}));
}

TEST_F(UnusableImages, ReportsUnreadableEntries) {
    for (const char* name :
         {"cats/1.png", "cats/2.png", "dogs/1.png", "locked/1.png", "dark/1.png", "outside.png"})
        put(name);
    fs::permissions(folder / "cats/2.png", fs::perms::none);
    fs::permissions(folder / "locked", fs::perms::none);
    fs::permissions(folder / "dark", fs::perms::owner_read | fs::perms::group_read |
                                         fs::perms::others_read);  // names are visible, files are not
    {
        const Unprivileged user(folder.path());
        const std::string text = skipped();
        expect_holds(text, "locked: cannot list the folder: Permission denied");
        expect_holds(text, "cats/2.png: cannot be read: Permission denied");
        expect_holds(text, "dark/1.png: cannot be read: Permission denied");
        EXPECT_EQ(left_out.size(), 3u) << text;
        expect_strict_names("locked");
        ImageFolderOptions labeled = options();
        labeled.classes = true;  // although there is a photograph outside of the folders
        expect_throw<InputError>([&] { ImageFolder(folder.path(), labeled); },
                                 {"locked: cannot list the folder", "--no-classes"});
    }
    fs::permissions(folder / "locked", fs::perms::owner_all);
    fs::permissions(folder / "dark", fs::perms::owner_all);
}

TEST_F(UnusableImages, ReportsVanishedFile) {
    put("1.png");
    put("2.png");
    for (const bool strict : {false, true}) {
        put("2.png");
        ImageFolder source(folder.path(), options(strict));
        fs::remove(folder / "2.png");
        std::vector<std::uint8_t> images(2 * 192), usable(2, 1);
        const auto read = [&] {
            source.read(SourceSplit::train, 0, 2, images.data(), nullptr, usable.data());
        };
        if (strict) {
            expect_throw<InputError>(read, {"2.png", "No such file", "--strict"});
        } else {
            read();
            EXPECT_EQ(usable, (std::vector<std::uint8_t>{1, 0}));
            expect_holds(source.take_skipped().at(0), "2.png: cannot be read: No such file");
        }
    }
}

}  // namespace
}  // namespace glow
