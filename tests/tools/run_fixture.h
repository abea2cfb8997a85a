// A folder with small data sets in which glow_train, glow_eval and glow_sample run.
#pragma once

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/dataset.h"
#include "runtime/device.h"
#include "tests/support.h"
#include "tests/tools/process.h"
#include "tests/train/checkpoint_edit.h"

namespace glow {

using Words = std::vector<std::string>;

constexpr int kUnfinished = 75;  // exit status of a run that a signal stopped

inline Words operator+(Words a, const Words& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// Images of smooth random pixels; if n_classes > 0, with classes: the larger the class, the brighter.
inline void make_dataset(const std::filesystem::path& path, index_t H, index_t W, index_t C, index_t train,
                         index_t valid, index_t test, std::int32_t n_classes = 0) {
    DatasetInfo info;
    info.H = H;
    info.W = W;
    info.C = C;
    info.n_classes = n_classes;
    DatasetWriter writer(path, info);
    test::Random random(7);
    for (const auto& [split, count] : {std::pair{"train", train}, {"valid", valid}, {"test", test}}) {
        if (count == 0) continue;
        std::vector<std::uint8_t> pixels;
        std::vector<std::int32_t> labels;
        for (index_t n = 0; n < count; ++n) {
            if (n_classes > 0) labels.push_back(static_cast<std::int32_t>(n % n_classes));
            const double mean = n_classes > 0 ? 90 + 20 * labels.back() : 128;
            for (index_t i = 0; i < H * W * C; ++i)
                pixels.push_back(
                    static_cast<std::uint8_t>(std::clamp(mean + 40 * random.normal(), 0.0, 255.0)));
        }
        writer.append(split, count, pixels.data(), n_classes > 0 ? labels.data() : nullptr);
    }
    writer.commit();
}

// A table by column names.
using Table = std::vector<std::map<std::string, std::string>>;
inline Table read_csv(const std::filesystem::path& path) {
    const auto split = [](const std::string& line) {
        Words cells;
        std::stringstream stream(line);
        for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
        return cells;
    };
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    const Words names = split(line);
    Table table;
    while (std::getline(file, line)) {
        const Words cells = split(line);
        EXPECT_EQ(cells.size(), names.size()) << line;
        auto& row = table.emplace_back();
        for (std::size_t i = 0; i < std::min(cells.size(), names.size()); ++i) row[names[i]] = cells[i];
    }
    return table;
}
inline const Words kTimes = {"images_per_s", "step_ms"};  // columns that differ between runs
inline Table without(Table table, const Words& columns) {
    for (auto& row : table)
        for (const std::string& column : columns) EXPECT_EQ(row.erase(column), 1u) << column;
    return table;
}

// Memory of a GPU process outside its arenas: CUDA context, code and workspaces that libraries load on first
// use; 174 to 186 MiB on an H200. 0 without a GPU.
inline double cuda_context_bytes() {
    return cuda_problem().empty() ? 256.0 * (1 << 20) : 0.0;
}
// Allowed growth of a process that planned this many bytes: 5% more, plus 64 MiB for tables and libraries.
inline double allowed_growth(double planned) {
    return 1.05 * planned + 64.0 * (1 << 20) + cuda_context_bytes();
}

struct Commands : testing::Test {
    Commands() { make_dataset(folder / "d.h5", 8, 8, 3, 40, 6, 10); }

    Outcome train(const Words& arguments, const Surroundings& surroundings = {}) const {
        return Process(folder.path(), GLOW_TRAIN_PROGRAM, arguments, surroundings).wait();
    }
    Outcome eval(const Words& arguments) const {
        return Process(folder.path(), GLOW_EVAL_PROGRAM, arguments).wait();
    }
    Outcome sample(const Words& arguments) const {
        return Process(folder.path(), GLOW_SAMPLE_PROGRAM, arguments).wait();
    }
    Outcome latent(const Words& arguments) const {
        return Process(folder.path(), GLOW_LATENT_PROGRAM, arguments).wait();
    }
    // Runs a small training to the end.
    Words run_words(const std::string& out, int steps) const {
        return kSmall + Words{"--out", out, "--max-steps", std::to_string(steps)};
    }
    void make_run(const std::string& out, int steps, const Words& more = {}) const {
        const Outcome outcome = train(run_words(out, steps) + Words{"--quiet"} + more);
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.err, "");
    }
    // Lists everything below the folder.
    Words all_files() const {
        Words names;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
            names.push_back(entry.path().lexically_relative(folder.path()).string());
        std::sort(names.begin(), names.end());
        return names;
    }
    void expect_equal_weights(const std::string& a, const std::string& b) const {
        const CheckpointEdit x(folder / a), y(folder / b);
        EXPECT_EQ(x.step, y.step);
        EXPECT_EQ(x.images_seen, y.images_seen);
        EXPECT_EQ(x.epoch, y.epoch);
        ASSERT_EQ(x.tensors.size(), y.tensors.size());
        for (const auto& [name, tensor] : x.tensors)
            EXPECT_EQ(tensor.values, y.tensors.at(name).values) << name;
    }

    static inline const Words kSmall = {"--data",    "d.h5",    "--levels",    "2",       "--depth",
                                        "2",         "--width", "8",           "--batch", "8",
                                        "--threads", "2",       "--log-every", "1"};
    TemporaryFolder folder;
};

}  // namespace glow
