// Every command that writes a picture rejects names that do not end in .png, before any work.
#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

struct PictureNames : Commands {
    PictureNames() { make_run("run", 2, {"--sample-every", "0"}); }
    void refused(const Outcome& outcome, const std::string& name) const {
        expect_error(outcome, 2, name);
        EXPECT_FALSE(std::filesystem::exists(folder / name)) << name;
    }
    static inline const Words kFrom = {"--checkpoint", "run", "--data", "d.h5"};
    static inline const Words kWrong = {"a.jpg", "a.JPEG", "a", "a.gif", "a.png.txt"};
};

TEST_F(PictureNames, RejectsOtherFormats) {
    const Words sheet = kFrom + Words{"--images", "0,1", "-o"};
    for (const std::string& name : kWrong + Words{"a.h5"}) {
        SCOPED_TRACE(name);
        // The checkpoint is not read.
        refused(sample({"--checkpoint", "none", "-o", name}), name);
        refused(latent({"reconstruct", "--checkpoint", "none", "--data", "d.h5", "-o", name}), name);
        refused(eval({"--bpd", "--checkpoint", "none", "--data", "d.h5", "--extremes", name}), name);
    }
    for (const std::string& name : kWrong) {
        SCOPED_TRACE(name);
        refused(latent(Words{"interpolate"} + sheet + Words{name}), name);
        refused(latent(Words{"manipulate", "--level-temperature", "1,1"} + sheet + Words{name}), name);
        refused(latent(Words{"exchange"} + sheet + Words{name}), name);
    }
}

TEST_F(PictureNames, RejectsPictureNamesForOtherFiles) {
    for (const std::string name : {"a.png", "a.jpg", "a.PNG"}) {
        SCOPED_TRACE(name);
        refused(latent(Words{"encode", "-o", name} + kFrom), name);
        refused(latent({"decode", "--checkpoint", "none", "--latents", "z.h5", "-o", name}), name);
        refused(latent(Words{"direction", "--positive", "1", "-o", name} + kFrom), name);
        refused(latent(Words{"exchange", "--images", "0,1", "-o", "x.png", "--frames", name} + kFrom), name);
        refused(eval(Words{"--bpd", "--per-image", name} + kFrom), name);
        refused(eval(Words{"--bpd", "--against", "d.h5", "--against-per-image", name} + kFrom), name);
        refused(Process(folder.path(), GLOW_COMPRESS_PROGRAM, kFrom + Words{"-o", name}).wait(), name);
        refused(Process(folder.path(), GLOW_DECOMPRESS_PROGRAM, {"--checkpoint", "run", "x.glow", "-o", name})
                    .wait(),
                name);
    }
}

// They would replace a data set.
TEST_F(PictureNames, RejectsHdf5NamesForOtherFiles) {
    refused(eval(Words{"--per-image", "a.h5"} + kFrom), "a.h5");
    refused(eval(Words{"--map", "a.h5"} + kFrom), "a.h5");
    refused(Process(folder.path(), GLOW_COMPRESS_PROGRAM, kFrom + Words{"-o", "a.h5"}).wait(), "a.h5");
    refused(latent(Words{"encode", "-o", "a.csv"} + kFrom), "a.csv");
}

TEST_F(PictureNames, SuffixesAreCaseInsensitive) {
    EXPECT_EQ(sample({"--checkpoint", "run", "--grid", "1x1", "-o", "a.PNG"}).code, 0);
    EXPECT_EQ(read_png(folder / "a.PNG").C, 3);
    EXPECT_EQ(latent(Words{"exchange", "--images", "0,1", "-o", "a.H5"} + kFrom).code, 0);
    EXPECT_EQ(Hdf5File::open(folder / "a.H5").describe("/images").shape[0], 6);
    EXPECT_EQ(latent(Words{"encode", "-o", "z.h5"} + kFrom).code, 0);
    EXPECT_EQ(latent({"decode", "--checkpoint", "run", "--latents", "z.h5", "-o", "b.hdf5"}).code, 0);
    EXPECT_EQ(Hdf5File::open(folder / "b.hdf5").describe("/images").shape[0], 10);
}

// As drawn by the published code: with 1 bit, 0 and 128.
TEST_F(PictureNames, PixelsAreLowerBinEdges) {
    make_run("one", 2, {"--n-bits", "1"});
    const Outcome outcome = latent(
        {"exchange", "--checkpoint", "one", "--no-ema", "--data", "d.h5", "--images", "0,1", "-o", "a.h5"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto images = Hdf5File::open(folder / "a.h5").read<std::uint8_t>("/images", {6, 8, 8, 3});
    const ImageSet set = load_split(folder / "d.h5", "test");
    for (index_t i = 0; i < 192; ++i) ASSERT_EQ(images[i], set.image(0)[i] & 128) << i;
    EXPECT_NE(sample({"--help"}).out.find("white is 128 at 1 bit"), std::string::npos);
}

}  // namespace
}  // namespace glow
