#include "data/formats/png.h"

#include "tests/data/files.h"

namespace glow {
namespace {

Image picture(index_t H, index_t W, index_t C) {
    Image image{H, W, C, {}};
    for (index_t i = 0; i < H * W * C; ++i)
        image.pixels.push_back(static_cast<std::uint8_t>(i * 53 + i / 11));
    return image;
}

TEST(Png, RoundTrips) {
    const TemporaryFolder folder;
    for (index_t C = 1; C <= 4; ++C) {
        const Image image = picture(7, 5, C);
        write_png(folder / "a.png", image);
        const Image read = read_png(folder / "a.png");
        EXPECT_EQ(read.H, 7);
        EXPECT_EQ(read.W, 5);
        ASSERT_EQ(read.C, C);
        EXPECT_EQ(read.pixels, image.pixels) << C;
    }
    EXPECT_EQ(folder.names(), std::vector<std::string>{"a.png"});
}

TEST(Png, ConvertsChannels) {
    const TemporaryFolder folder;
    write_png(folder / "gray.png", {1, 2, 1, {0, 200}});
    EXPECT_EQ(read_png(folder / "gray.png", 3).pixels, (std::vector<std::uint8_t>{0, 0, 0, 200, 200, 200}));
    write_png(folder / "alpha.png", {1, 2, 4, {10, 20, 30, 255, 10, 20, 30, 0}});
    EXPECT_EQ(read_png(folder / "alpha.png", 3).pixels, (std::vector<std::uint8_t>{10, 20, 30, 0, 0, 0}));
}

TEST(Png, RejectsOtherFiles) {
    const TemporaryFolder folder;
    write_png(folder / "good.png", picture(20, 20, 3));
    const std::string bytes = read_bytes(folder / "good.png");
    write_bytes(folder / "text.png", "hello, I am no picture");
    write_bytes(folder / "empty.png", "");
    const auto read = [](const std::filesystem::path& path) { return [path] { read_png(path); }; };
    expect_throw<InputError>(read(folder / "none.png"), {"none.png", "No such file"});
    std::filesystem::create_symlink("/nowhere/1", folder / "dangling.png");
    expect_throw<InputError>(read(folder / "dangling.png"),
                             {"dangling.png: dangling symbolic link to /nowhere/1"});
    expect_throw<InputError>(read(folder / "text.png"), {"text.png", "PNG"});
    expect_throw<InputError>(read(folder / "empty.png"), {"empty.png", "PNG"});
    expect_throw<InputError>(read(folder.path()), {"expected an image file, found a folder"});
    for (std::size_t length = 0; length + 12 < bytes.size(); length += 13) {  // 12: the empty last chunk
        write_bytes(folder / "cut.png", bytes.substr(0, length));
        expect_throw<InputError>(read(folder / "cut.png"), {"cut.png"});
    }
}

TEST(Png, RejectsHugeImagesBeforeAllocating) {
    const TemporaryFolder folder;
    write_png(folder / "a.png", picture(1, 1, 1));
    std::string bytes = read_bytes(folder / "a.png");
    // Width and height follow the signature and the first chunk's header; the checksum follows 13 bytes of
    // data.
    for (const std::size_t at : {16u, 20u}) bytes.replace(at, 4, std::string("\x00\x0f\x00\x00", 4));
    std::uint32_t sum = 0xffffffffu;
    for (std::size_t i = 12; i < 29; ++i) {
        sum ^= static_cast<std::uint8_t>(bytes[i]);
        for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0xedb88320u : sum >> 1;
    }
    sum = ~sum;
    for (int k = 0; k < 4; ++k)
        bytes[29 + static_cast<std::size_t>(k)] = static_cast<char>(sum >> (24 - 8 * k));
    write_bytes(folder / "huge.png", bytes);
    expect_throw<InputError>([&] { read_png(folder / "huge.png"); },
                             {"huge.png", "pixels", "983040 x 983040"});
}

TEST(Png, ReportsInvalidPicturesAndFullDisk) {
    const TemporaryFolder folder;
    EXPECT_THROW(write_png(folder / "a.png", {2, 2, 3, {1, 2, 3}}), Error);
    EXPECT_THROW(write_png(folder / "a.png", {0, 2, 3, {}}), Error);
    EXPECT_THROW(write_png(folder / "a.png", {1, 1, 5, {1, 2, 3, 4, 5}}), Error);
    EXPECT_THROW(write_png(folder / "none/a.png", picture(2, 2, 3)), InputError);
    const FullDisk full(200);
    expect_throw<Error>([&] { write_png(folder / "a.png", picture(200, 200, 3)); },
                        {"cannot write", "a.png"});
    EXPECT_TRUE(folder.names().empty());
}

TEST(Png, ReadsRealPhotographs) {
    const auto data = test_data_folder() / "kodak/kodim01.png";
    if (!std::filesystem::exists(data))
        GTEST_SKIP() << "no real images at " << data << " (set GLOW_TEST_DATA)";
    const Image image = read_png(data);
    EXPECT_EQ(image.H, 512);
    EXPECT_EQ(image.W, 768);
    EXPECT_EQ(image.C, 3);
}

}  // namespace
}  // namespace glow
