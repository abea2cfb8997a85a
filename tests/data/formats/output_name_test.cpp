#include "data/formats/output_name.h"

#include "data/formats/png.h"
#include "tests/data/files.h"

namespace glow {
namespace {

TEST(OutputName, PicturesMustEndInPng) {
    for (const char* name : {"a.png", "a.PNG", "x/b.jpg.Png", "/tmp/.hidden.png"}) require_png_name(name);
    for (const char* name : {"a.jpg", "a.jpeg", "a.h5", "a.png.h5", "a", "", ".png", "png", "a.png/b",
                             "a.png ", "a.", "a.apng", "a.pn", "/dev/stdout", "-"})
        expect_throw<InputError>([&] { require_png_name(name); }, {name, ".png"});
}

TEST(OutputName, SheetsMustEndInPngOrHdf5) {
    for (const char* name : {"a.png", "a.PNG", "a.h5", "a.H5", "a.hdf5"}) require_png_or_hdf5_name(name);
    for (const char* name : {"a.jpg", "a.csv", "a", "h5", ".h5"})
        expect_throw<InputError>([&] { require_png_or_hdf5_name(name); }, {name, ".png", ".h5"});
    EXPECT_TRUE(is_hdf5_name("a.H5"));
    EXPECT_FALSE(is_hdf5_name("a.png"));
}

TEST(OutputName, RejectsNamesOfOtherFormats) {
    for (const char* name : {"", "a", "a.h5", "a.H5", "a.data", "png", "frames.d"})
        refuse_other_name(name, "an HDF5 file");
    for (const char* name :
         {"a.png", "a.JPG", "a.jpeg", "a.svg", "a.pdf", "a.webp", "a.csv", "a.npy", "a.glow"})
        expect_throw<InputError>([&] { refuse_other_name(name, "an HDF5 file"); }, {name, "an HDF5 file"});
    refuse_other_name("a.csv", "a CSV file");
    refuse_other_name("a.glow", "a compressed file");
    for (const char* format : {"a CSV file", "a compressed file", "a folder of PNG files"})
        expect_throw<InputError>([&] { refuse_other_name("a.h5", format); },
                                 {"a.h5", format, "an HDF5 file"});
}

TEST(OutputName, WritePngRejectsOtherNames) {
    const TemporaryFolder folder;
    const Image image{1, 1, 1, {5}};
    expect_throw<InputError>([&] { write_png(folder / "a.jpg", image); }, {"a.jpg", ".png"});
    EXPECT_TRUE(folder.names().empty());
    write_png(folder / "a.PNG", image);
    EXPECT_EQ(read_png(folder / "a.PNG").pixels, image.pixels);
}

}  // namespace
}  // namespace glow
