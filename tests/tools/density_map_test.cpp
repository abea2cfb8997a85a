// glow_eval --map and --heatmap as a program.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

struct Maps : Commands {
    Maps() { make_run("run", 5); }
    // The numbers of a .npy file of float64 with this shape in its header.
    std::vector<double> numbers(const std::string& name, const std::string& shape) const {
        const std::string bytes = read_bytes(folder / name);
        const std::string magic("\x93NUMPY\1\0", 8);
        EXPECT_EQ(bytes.substr(0, 8), magic);
        const std::size_t header =
            10 + static_cast<unsigned char>(bytes.at(8)) + 256u * static_cast<unsigned char>(bytes.at(9));
        EXPECT_EQ(header % 64, 0u);
        EXPECT_EQ(bytes.at(header - 1), '\n');
        const std::string dictionary = "{'descr': '<f8', 'fortran_order': False, 'shape': (" + shape + "), }";
        EXPECT_EQ(bytes.substr(10, dictionary.size()), dictionary);
        std::vector<double> values((bytes.size() - header) / sizeof(double));
        std::memcpy(values.data(), bytes.data() + header, values.size() * sizeof(double));
        return values;
    }
    static inline const Words kEval = {"--checkpoint", "run", "--data", "d.h5", "--json"};
};

TEST_F(Maps, SumToBitsPerDim) {
    for (const Words& more :
         {Words{}, Words{"--dequant-samples", "3", "--batch", "4"}, Words{"--dequant", "center"}}) {
        const Outcome plain = eval(kEval + more + Words{"--per-image", "plain.csv"}),
                      outcome = eval(kEval + more + Words{"--map", "m.npy", "--per-image", "bits.csv"});
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(json::parse(outcome.out)["bpd"], json::parse(plain.out)["bpd"]);
        EXPECT_EQ(read_bytes(folder / "bits.csv"), read_bytes(folder / "plain.csv"));
        EXPECT_EQ(json::parse(outcome.out)["map_size"], (json{2, 2}));
        const std::vector<double> maps = numbers("m.npy", "10, 2, 2");
        const Table rows = read_csv(folder / "bits.csv");
        ASSERT_EQ(maps.size(), 40u);
        for (std::size_t n = 0; n < 10; ++n) {
            const double sum = std::accumulate(&maps[4 * n], &maps[4 * n] + 4, 0.0);
            // Nine digits in the CSV file.
            EXPECT_NEAR(-sum / (8 * 8 * 3 * std::log(2)), std::stod(rows[n].at("bpd")), 1e-7);
        }
    }
    make_dataset(folder / "wide.h5", 8, 12, 3, 4, 0, 3);
    ASSERT_EQ(eval({"--checkpoint", "run", "--data", "wide.h5", "--map", "w.npy"}).code, 0);
    EXPECT_EQ(numbers("w.npy", "3, 2, 3").size(), 18u);
}

TEST_F(Maps, HeatmapsShareAScale) {
    const Outcome outcome = eval(kEval + Words{"--limit", "3", "--heatmap", "heat", "--map", "m.npy"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json range = json::parse(outcome.out)["heatmap_range"];
    const std::vector<double> maps = numbers("m.npy", "3, 2, 2");
    std::vector<double> bits;
    for (const double value : maps) bits.push_back(-value * 4 / (8 * 8 * 3 * std::log(2)));
    EXPECT_NEAR(range[0], *std::min_element(bits.begin(), bits.end()), 1e-12);  // of few positions
    EXPECT_NEAR(range[1], *std::max_element(bits.begin(), bits.end()), 1e-12);
    // The color of the most surprising position, against that of the least surprising one.
    const auto most = std::max_element(bits.begin(), bits.end()) - bits.begin(),
               least = std::min_element(bits.begin(), bits.end()) - bits.begin();
    const auto brightness = [&](std::ptrdiff_t position) {
        const Image picture = read_png(folder / fmt::format("heat/{:06d}.png", position / 4));
        const index_t scale = 24, row = position % 4 / 2, column = position % 2;
        // Panels of 8 * 24 + 4 pixels, 8 between them, labels above, which are 22 high.
        const index_t top = 22 + 2 + row * 4 * scale, left = 8 * scale + 4 + 8 + 2 + column * 4 * scale;
        double sum = 0;
        for (index_t y = 0; y < 4 * scale; ++y)
            for (index_t x = 0; x < 4 * scale; ++x)
                sum += picture.pixels[static_cast<std::size_t>(((top + y) * picture.W + left + x) * 3)] -
                       picture.pixels[static_cast<std::size_t>(((top + y) * picture.W + left + x) * 3 + 2)];
        return sum;  // red above blue: pale yellow against dark violet
    };
    EXPECT_GT(brightness(most), 0);
    EXPECT_LT(brightness(least), 0);
    // Another scale changes the pictures, not the maps.
    const std::string before = read_bytes(folder / "heat/000000.png");
    ASSERT_EQ(eval(kEval +
                   Words{"--limit", "3", "--heatmap", "other", "--heatmap-range", "0,100", "--map", "n.npy"})
                  .code,
              0);
    EXPECT_NE(read_bytes(folder / "other/000000.png"), before);
    EXPECT_EQ(read_bytes(folder / "n.npy"), read_bytes(folder / "m.npy"));
}

TEST_F(Maps, RejectBadOptions) {
    std::filesystem::create_symlink("d.h5", folder / "d.npy");
    const Words before = all_files();
    const auto refused = [&](const Words& more, const std::string& part) {
        expect_error(eval(kEval + more), 2, part);
        EXPECT_EQ(all_files(), before);
    };
    refused({"--map", "m.npy", "--iw-samples", "2"}, "--iw-samples");
    for (const std::string name : {"m.png", "m.h5", "m", "m.npz"})
        refused({"--map", name}, name + ": this output is a NumPy array");
    refused({"--map", "d.npy"}, "--map d.npy would overwrite --data d.h5");
    refused({"--heatmap", "h.png"}, "folder");
    refused({"--heatmap-range", "1,2"}, "needs --heatmap");
    for (const char* const range : {"1", "2,1", "1,1", "a,b", "1,2,3"})
        refused({"--heatmap", "h", "--heatmap-range", range}, "--heatmap-range");
}

}  // namespace
}  // namespace glow
