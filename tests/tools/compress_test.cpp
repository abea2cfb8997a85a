// glow_compress and glow_decompress as programs.
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

struct Compress : Commands {
    Outcome compress(const Words& arguments) const {
        return Process(folder.path(), GLOW_COMPRESS_PROGRAM, arguments).wait();
    }
    Outcome decompress(const Words& arguments) const {
        return Process(folder.path(), GLOW_DECOMPRESS_PROGRAM, arguments).wait();
    }
    static inline const Words kFrom = {"--checkpoint", "run", "--data", "d.h5", "--no-ema"};
};

TEST_F(Compress, RoundTripsAndReportsSize) {
    make_run("run", 20);
    for (const Words& more : {Words{}, Words{"--batch", "3", "--threads", "1"}}) {
        const Outcome outcome =
            compress(kFrom + Words{"--split", "train", "-o", "x.glow", "--json", "--quiet"} + more);
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err, "");
        const auto result = nlohmann::json::parse(outcome.out);
        EXPECT_EQ(result["images"], 40);
        EXPECT_EQ(result["bytes"], std::filesystem::file_size(folder / "x.glow"));
        const double values = 40 * 8 * 8 * 3, bytes = result["bytes"], start_up = result["start_up_bytes"];
        EXPECT_NEAR(result["bpd"].get<double>(), 8 * bytes / values, 1e-9);
        EXPECT_NEAR(result["bpd_without_start_up"].get<double>(), 8 * (bytes - start_up) / values, 1e-9);

        const Outcome evaluated =
            eval(kFrom + Words{"--bpd", "--split", "train", "--dequant-samples", "8", "--json", "--quiet"});
        ASSERT_EQ(evaluated.code, 0) << evaluated.err;
        const double bits = nlohmann::json::parse(evaluated.out)["bpd"];
        // Noise over 40 small images: the bits of each value have a deviation of about 0.4.
        EXPECT_NEAR(result["bpd_without_start_up"].get<double>(), bits, 0.01 * bits);

        const Outcome back = decompress({"--checkpoint", "run", "x.glow", "-o", "back.h5", "--quiet"});
        ASSERT_EQ(back.code, 0) << back.err;
        const Hdf5File file = Hdf5File::open(folder / "back.h5");
        EXPECT_TRUE(file.read<std::uint8_t>("/images", {40, 8, 8, 3}) ==
                    load_split(folder / "d.h5", "train").images);
    }
}

TEST_F(Compress, RejectsBadInput) {
    make_run("run", 2);
    make_run("other", 3);
    make_dataset(folder / "large.h5", 16, 16, 3, 10, 0, 0);
    ASSERT_EQ(train({"--data", "large.h5", "--out", "sixteen", "--levels", "1", "--depth", "1", "--width",
                     "4", "--max-steps", "1", "--quiet"})
                  .code,
              0);
    ASSERT_EQ(compress(kFrom + Words{"-o", "x.glow", "--quiet"}).code, 0);
    const std::string whole = read_bytes(folder / "x.glow");
    std::string damaged = whole;
    damaged[damaged.size() / 2] ^= 4;
    write_bytes(folder / "damaged.glow", damaged);
    write_bytes(folder / "cut.glow", whole.substr(0, whole.size() / 2));
    write_bytes(folder / "empty.glow", "");
    const Words before = all_files();
    const auto refused = [&](const Outcome& outcome, const std::string& part) {
        expect_error(outcome, 2, part);
        EXPECT_EQ(all_files(), before);
    };
    refused(compress(Words{"--data", "d.h5", "-o", "y.glow"}), "--checkpoint");
    refused(compress(kFrom), "--output");
    refused(compress(kFrom + Words{"-o", "none/y.glow"}), "none");
    refused(compress(kFrom + Words{"-o", "y.glow", "--split", "all"}), "all");
    refused(compress(kFrom + Words{"-o", "y.glow", "--batch", "0"}), "--batch");
    refused(compress(kFrom + Words{"-o", "y.glow", "--batch", "5000"}), "--batch");
    refused(compress(kFrom + Words{"-o", "y.glow", "--device", "cuda"}), "CPU");
    refused(compress(kFrom + Words{"-o", "y.glow", "--precision", "fp8"}), "fp8");
    refused(compress({"--checkpoint", "run", "--data", "large.h5", "-o", "y.glow", "--split", "train"}),
            "16x16x3");
    const auto from = [&](const std::string& file, const std::string& checkpoint = "run") {
        return decompress({"--checkpoint", checkpoint, file, "-o", "y.h5", "--quiet"});
    };
    refused(from("damaged.glow"), "checksum");
    refused(from("cut.glow"), "checksum");
    refused(from("empty.glow"), "GLOWBITS");
    refused(from("none.glow"), "no such file");
    refused(from("."), "no such file");
    refused(from("d.h5"), "GLOWBITS");
    refused(from("x.glow", "other"), "different weights");
    refused(from("x.glow", "sixteen"), "16x16x3");
    refused(decompress({"--checkpoint", "run", "-o", "y.h5"}), "input");
    refused(decompress({"--checkpoint", "run", "x.glow", "-o", "none/y.h5"}), "none");
}

}  // namespace
}  // namespace glow
