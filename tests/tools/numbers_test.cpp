// Numbers are decimal in every option of every command; covers all options listed by --help.
#include "tools/numbers.h"

#include <fmt/format.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <tuple>

#include "data/dataset.h"
#include "tests/tools/process.h"
#include "tools/command_line.h"
#include "train/options.h"

namespace glow {
namespace {

using Words = std::vector<std::string>;

template <class T>
std::string parsed(std::string_view text) {
    T value{};
    const std::errc error = parse_decimal(text, value);
    return error == std::errc()                      ? fmt::format("{}", value)
           : error == std::errc::result_out_of_range ? "range"
                                                     : "no number";
}

TEST(ParseDecimal, Integers) {
    for (const auto& [text, value] : {std::pair{"0", "0"},
                                      {"08", "8"},
                                      {"010", "10"},
                                      {"0000", "0"},
                                      {"+8", "8"},
                                      {"+010", "10"},
                                      {"-7", "-7"},
                                      {"-010", "-10"},
                                      {"9223372036854775807", "9223372036854775807"},
                                      {"00000000000000000000000000000000000001", "1"},
                                      {"-9223372036854775808", "-9223372036854775808"},
                                      {"9223372036854775808", "range"},
                                      {"-9223372036854775809", "range"}})
        EXPECT_EQ(parsed<std::int64_t>(text), value) << text;
    for (const char* text :
         {"",   "+",  "-",   "--8", "+-8",   "0x10",  "0b1",   "0o7", "1e3", "1.0",      "1.",
          " 8", "8 ", "\t8", "8\n", "1_000", "1'000", "1,000", "8u",  "m",   "\xd9\xa3", "1 2"})
        EXPECT_EQ(parsed<std::int64_t>(text), "no number") << text;
    EXPECT_EQ(parsed<std::uint64_t>("18446744073709551615"), "18446744073709551615");
    EXPECT_EQ(parsed<std::uint64_t>("18446744073709551616"), "range");
    EXPECT_EQ(parsed<std::uint64_t>("-1"), "no number");
    EXPECT_EQ(parsed<std::uint64_t>("-0"), "no number");
    EXPECT_EQ(parsed<int>("2147483647"), "2147483647");
    EXPECT_EQ(parsed<int>("2147483648"), "range");
}

TEST(ParseDecimal, Numbers) {
    for (const auto& [text, value] : {std::pair{"0.1", 0.1},
                                      {"1e-3", 1e-3},
                                      {"1E+3", 1e3},
                                      {"010", 10.0},
                                      {"010.5", 10.5},
                                      {"+2", 2.0},
                                      {"-2.5", -2.5},
                                      {".5", 0.5},
                                      {"5.", 5.0},
                                      {"5e-324", 5e-324},
                                      {"1.7976931348623157e308", std::numeric_limits<double>::max()},
                                      {"0e-999", 0.0}}) {
        double number = 7;
        EXPECT_EQ(parse_decimal(text, number), std::errc()) << text;
        EXPECT_EQ(number, value) << text;
    }
    for (const char* text :
         {"",  "nan", "inf", "-inf",  "infinity", "0x1p3", "0x10", "1e", "e5",  ".",     "+",
          "-", "+-1", "1,5", "0,002", " 1",       "1 ",    "1_0",  "1f", "--1", "1e5.5", "."})
        EXPECT_EQ(parsed<double>(text), "no number") << text;
    for (const char* text : {"1e999", "-1e999", "1e-999"}) EXPECT_EQ(parsed<double>(text), "range") << text;
}

TEST(Bytes, ParsesUnits) {
    const CLI::Validator validator = as_bytes();
    for (const auto& [text, bytes] : {std::pair{"0", "0"},
                                      {"1024", "1024"},
                                      {"010", "10"},
                                      {"08KiB", "8192"},
                                      {"500MiB", "524288000"},
                                      {"4 GiB", "4294967296"},
                                      {"4g", "4294967296"},
                                      {"4G", "4294967296"},
                                      {"4GB", "4000000000"},
                                      {"2kb", "2000"},
                                      {"1ti", "1099511627776"},
                                      {"7b", "7"},
                                      {"7E", "8070450532247928832"}}) {
        std::string value = text;
        EXPECT_EQ(validator(value), "") << text;
        EXPECT_EQ(value, bytes) << text;
    }
    for (std::string text :
         {"", "GiB", "-1", "0x10", "1.5GiB", "8E", "4 G B", "4 GiBs", "10 ", "1_000", " 1"})
        EXPECT_NE(validator(text), "") << text;
}

// New option types must be added to kind_of(), or the program does not start.
TEST(Options, UnknownKindsAreErrors) {
    CLI::App app;
    int value = 0;
    CLI::Option* const option = app.add_option("--new", value);
    EXPECT_EQ(kind_of(*option), ValueKind::integer);
    option->type_name("COUNT");
    EXPECT_THROW(require_decimal_numbers(app), std::logic_error);
}

TEST(Options, HelpShowsUsableDefaults) {
    CommandLine command("glow_test", "");
    int size = 0, steps = 8;
    std::vector<std::string> files;
    command.app().add_option("--size", size, "Height and width")->required();
    command.app().add_option("--steps", steps, "Images per row");
    command.app().add_option("--files", files, "Photographs")->expected(-1);
    const std::string help = command.app().help();
    EXPECT_NE(help.find("--steps INT [8]"), std::string::npos) << help;
    EXPECT_NE(help.find("--size INT  "), std::string::npos) << help;
    EXPECT_NE(help.find("--files TEXT...  "), std::string::npos) << help;
}

class NumericOptions : public testing::Test {
  protected:
    Outcome run(const Words& command, const Words& more) const {
        Words arguments(command.begin() + 1, command.end());
        arguments.insert(arguments.end(), more.begin(), more.end());
        return Process(folder.path(), std::string(GLOW_TOOLS_FOLDER) + "/" + command.front(), arguments)
            .wait();
    }
    // The command and all its subcommands, with their --help texts.
    void visit(const Words& command, const std::function<void(const Words&, const std::string&)>& see) const {
        const std::string help = run(command, {"--help"}).out;
        ASSERT_NE(help.find("--help"), std::string::npos) << command.back();
        see(command, help);
        const std::size_t subcommands = help.find("\nSubcommands:\n");
        if (subcommands == std::string::npos) return;
        std::istringstream lines(help.substr(subcommands + 14));
        const std::regex name("^  ([a-z0-9-]+)( .*)?$");
        std::smatch match;
        for (std::string line; std::getline(lines, line) && !line.empty();)
            if (std::regex_match(line, match, name)) {
                Words below = command;
                below.push_back(match[1]);
                visit(below, see);
            }
    }
    TemporaryFolder folder;
};

TEST_F(NumericOptions, AcceptsDecimalNumbersInEveryOption) {
    int integers = 0, numbers = 0;
    std::istringstream tools(GLOW_TOOLS);
    for (std::string tool; std::getline(tools, tool, ',');) {
        visit({tool}, [&](const Words& command, const std::string& help) {
            std::istringstream lines(help);
            const std::regex option("^  (?:-[A-Za-z],)?(--[a-z0-9-]+) (INT|UINT|N|FLOAT|FRACTION)\\b.*$");
            std::smatch match;
            for (std::string line; std::getline(lines, line);) {
                if (!std::regex_match(line, match, option)) continue;
                const std::string name = match[1];
                const bool integer = match[2] != "FLOAT" && match[2] != "FRACTION";
                ++(integer ? integers : numbers);
                // Rejected by the check that also removes leading zeros.
                const Outcome outcome = run(command, {name, "0x10"});
                EXPECT_EQ(outcome.code, 2) << tool << " " << name;
                const std::string refusal =
                    fmt::format("{}: must be one {}", name, integer ? "integer" : "number");
                EXPECT_NE(outcome.err.find(refusal), std::string::npos) << tool << " " << outcome.err;
            }
        });
    }
    EXPECT_GT(integers, 60);
    EXPECT_GT(numbers, 15);
}

TEST_F(NumericOptions, ParsesLeadingZerosAsDecimal) {
    const auto options = [this](const Words& more) {
        return nlohmann::json::parse(run({"glow_train", "--print-config", "--json"}, more).out);
    };
    const nlohmann::json read =
        options({"--seed", "010", "--batch", "08", "--levels", "+2", "--threads", "007", "--eval-every",
                 "010m", "--act-budget", "010KiB", "--max-steps", "0100", "--lr", "00.5"});
    EXPECT_EQ(read["training"]["seed"], 10);
    EXPECT_EQ(read["training"]["batch"], 8);
    EXPECT_EQ(read["levels"], 2);
    EXPECT_EQ(read["training"]["threads"], 7);
    EXPECT_EQ(read["training"]["eval-every"], "10m");
    EXPECT_EQ(read["training"]["act-budget"], 10240);
    EXPECT_EQ(read["training"]["max-steps"], 100);
    EXPECT_EQ(read["training"]["lr"], 0.5);
    EXPECT_EQ(options({"--seed", "18446744073709551615"})["training"]["seed"], 18446744073709551615u);

    const Outcome made =
        run({"glow_data", "synthetic", "shapes"},
            {"--size", "016", "--train", "0100", "--test", "010", "--valid", "0.05", "-o", "d.h5"});
    ASSERT_EQ(made.code, 0) << made.err;
    const DatasetInfo info = describe_dataset(folder / "d.h5");
    EXPECT_EQ(info.train, 100);
    EXPECT_EQ(info.test, 10);
    EXPECT_EQ(info.H, 16);

    // Lists.
    const Words predict = {"--predict", "--json",   "--sizes", "08", "--batches", "02,010",
                           "--modes",   "store:01", "--width", "08", "--levels",  "01"};
    Words more = {"--depths", "04,08"};
    more.insert(more.end(), predict.begin(), predict.end());
    const Outcome listed = run({"glow_memory"}, more);
    ASSERT_EQ(listed.code, 0) << listed.err;
    std::set<std::pair<int, int>> points;
    const nlohmann::json rows = nlohmann::json::parse(listed.out)["rows"];
    for (const auto& row : rows) points.emplace(row["depth"].get<int>(), row["batch"].get<int>());
    EXPECT_EQ(points, (std::set<std::pair<int, int>>{{4, 2}, {4, 10}, {8, 2}, {8, 10}}));
    for (const char* const text : {"4,0x8", "4,8 ", "4,,8", "1e1", "4,"}) {
        more[1] = text;
        expect_error(run({"glow_memory"}, more), 2, "--depths: must be one integer");
    }
}

// Sizes of no model, for every benchmark; some divide by them.
TEST_F(NumericOptions, BenchRejectsValuesOutOfRange) {
    if (std::string(GLOW_TOOLS).find("glow_bench") == std::string::npos)
        GTEST_SKIP() << "no Google Benchmark";
    const Words small = {"glow_bench",
                         "--device",
                         "cpu",
                         "--threads",
                         "1",
                         "--min-seconds",
                         "0",
                         "--levels",
                         "1",
                         "--depth",
                         "1",
                         "--width",
                         "8",
                         "--batch",
                         "2",
                         "--size",
                         "8",
                         "--filter",
                         "network/level0/forward/"};
    for (const auto& [option, value, part] :
         std::initializer_list<std::tuple<const char*, const char*, const char*>>{
             {"--width", "0", "--width is 0"},
             {"--width", "-5", "--width is -5"},
             {"--batch", "0", "--batch 0"},
             {"--batch", "-3", "--batch -3"},
             {"--batch", "100000000000", "--batch"},
             {"--size", "0", "image height is 0"},
             {"--size", "7", "divisible by 2"},
             {"--size", "1000000000", "image height"},
             {"--levels", "0", "--levels is 0"},
             {"--levels", "99999999999", "--levels"},
             {"--depth", "0", "--depth is 0"},
             {"--tile", "-1", "--tile -1"},
             {"--min-seconds", "-1", "--min-seconds"},
             {"--repetitions", "0", "--repetitions"},
             {"--engines", "cudnn", "--engines cudnn"},
             {"--engines", "magic", "magic"},
             {"--precision", "tf32", "requires a GPU"}})
        expect_error(run(small, {option, value}), 2, part);
    const Outcome outcome = run(small, {});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_NE(outcome.err.find("Running glow_bench"), std::string::npos) << outcome.err;
    const Outcome quiet = run(small, {"--quiet"});
    EXPECT_NE(quiet.out.find("network/level0/forward/"), std::string::npos) << quiet.out;
    std::istringstream lines(quiet.err);
    for (std::string line; std::getline(lines, line);)
        EXPECT_TRUE(line.starts_with("glow_bench: warning: ")) << line;
    const Outcome none = run(small, {"--filter", "nothing"});
    EXPECT_EQ(none.code, 2);
    EXPECT_NE(none.err.find("--filter nothing: matches none of the benchmarks network/level0/forward, "),
              std::string::npos)
        << none.err;
}

// The last tile of a batch may be smaller.
TEST_F(NumericOptions, BenchCountsImagesOfTheBatch) {
    if (std::string(GLOW_TOOLS).find("glow_bench") == std::string::npos)
        GTEST_SKIP() << "no Google Benchmark";
    const Outcome outcome = run({"glow_bench", "--device", "cpu", "--threads", "1", "--min-seconds", "0"},
                                {"--levels", "1", "--depth", "1", "--width", "8", "--batch", "5", "--tile",
                                 "4", "--size", "8", "--filter", "network/level0/forward/", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto timed = nlohmann::json::parse(outcome.out)["benchmarks"].at(0);
    ASSERT_EQ(timed["time_unit"], "ms");
    EXPECT_NEAR(timed["real_time"].get<double>() / timed["ms_per_image"].get<double>(), 5, 1e-3);
}

TEST_F(NumericOptions, RejectsNonDecimalNumbers) {
    const auto refused = [this](const std::string& option, const std::string& text, const std::string& part) {
        expect_error(run({"glow_train", "--print-config"}, {option, text}), 2, part);
    };
    for (const char* const text : {"0x10", "0b1", "1e3", "1.0", " 8", "8 ", "", "1_000", "1'000", "x"}) {
        refused("--seed", text, fmt::format("--seed: must be one integer, 0 or more, got '{}'", text));
        refused("--batch", text, fmt::format("--batch: must be one integer, got '{}'", text));
    }
    refused("--seed", "-1", "--seed: must be one integer, 0 or more");
    refused("--seed", "18446744073709551616", "out of range");
    refused("--batch", "9223372036854775808", "out of range");
    refused("--threads", "4294967297", "--threads");
    refused("--n-bits", "4294967304", "--n-bits");
    for (const char* const text : {"0,002", "nan", "inf", "0x1p3", "", " 1", "1e", "1_0"})
        refused("--lr", text, fmt::format("--lr: must be one number, got '{}'", text));
    refused("--lr", "1e999", "out of range");
    for (const char* const text : {"0x10", "0x10m", " 10", "10 ", "-0", "1_0m", "1e400"})
        refused("--eval-every", text, "not an interval");
}

TEST_F(NumericOptions, EnvironmentIsDecimalToo) {
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    for (const char* const text : {"0x10", "x", "", " 20", "20s", "nan", "0.5"}) {
        setenv("GLOW_WATCHDOG_SECONDS", text, 1);
        expect_error(run({"glow_train"}, {"--communicator", "mpi", "--data", "none", "--out", "none"}), 2,
                     fmt::format("GLOW_WATCHDOG_SECONDS={}: expected 0 (off) or 1 to 1e6 seconds", text));
    }
    unsetenv("GLOW_WATCHDOG_SECONDS");
    unsetenv("OMPI_COMM_WORLD_SIZE");
}

}  // namespace
}  // namespace glow
