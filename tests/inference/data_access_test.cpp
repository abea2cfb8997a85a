#include "inference/data_access.h"

#include <gtest/gtest.h>

#include "data/formats/hdf5_file.h"

namespace glow {
namespace {

TEST(DataAccess, AutoLoadsSlowFilesThatFitInMemory) {
    constexpr std::size_t kMachine = 1000;
    ChunkInfo slow, fast;
    slow.rows_unpacked = 6000;
    slow.row_bytes = 3072;
    const auto choose = [&](const char* option, std::size_t bytes, int sharing, const ChunkInfo& chunks) {
        return choose_data_access(parse_name<ImageAccess>(option), "s.h5", bytes, kMachine, sharing, chunks);
    };
    for (const ChunkInfo& chunks : {fast, slow}) {
        EXPECT_FALSE(choose("auto", 250, 1, chunks).on_disk);
        EXPECT_FALSE(choose("memory", 900, 1, chunks).on_disk);
        EXPECT_TRUE(choose("disk", 10, 1, chunks).on_disk);
        EXPECT_EQ(choose("auto", 250, 1, chunks).warning, "");
        EXPECT_EQ(choose("memory", 900, 1, chunks).warning, "");
    }
    EXPECT_TRUE(choose("auto", 251, 1, fast).on_disk);
    EXPECT_EQ(choose("auto", 251, 1, fast).warning, "");
    EXPECT_EQ(choose("disk", 900, 1, fast).warning, "");
    EXPECT_FALSE(choose("auto", 31, 8, fast).on_disk);  // each of 8 processes holds all images
    EXPECT_TRUE(choose("auto", 32, 8, fast).on_disk);

    const DataAccess kept = choose("auto", 500, 1, slow);
    EXPECT_FALSE(kept.on_disk);
    EXPECT_NE(kept.warning.find("as large as 6000 images (17.6 MiB); loading the images into memory"),
              std::string::npos)
        << kept.warning;
    for (const DataAccess& access : {choose("auto", 501, 1, slow), choose("auto", 300, 2, slow)}) {
        EXPECT_TRUE(access.on_disk);
        EXPECT_NE(access.warning.find("rewrite the file"), std::string::npos);
        EXPECT_EQ(access.warning.find("--data-access memory"), std::string::npos);  // would not fit
    }
    EXPECT_NE(choose("disk", 100, 1, slow).warning.find("use --data-access memory"), std::string::npos);
}

}  // namespace
}  // namespace glow
