// glow_train, glow_eval and glow_sample with unusual configurations, large images, and on a terminal.
#include <regex>

#include "data/formats/png.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

using nlohmann::json;

TEST_F(Commands, RunsUnusualConfigurations) {
    make_dataset(folder / "gray.h5", 4, 16, 1, 3, 1, 1);
    make_dataset(folder / "alpha.h5", 8, 2, 4, 5, 0, 2);
    make_dataset(folder / "dot.h5", 2, 2, 1, 1, 1, 1);
    make_dataset(folder / "one.h5", 8, 8, 3, 1, 1, 1);
    int number = 0;
    const auto trains = [&](const Words& options, const std::string& data = "d.h5") {
        const std::string out = "run" + std::to_string(++number);
        SCOPED_TRACE(testing::PrintToString(options));
        const Outcome outcome = train(
            kSmall + Words{"--data", data, "--out", out, "--quiet", "--json", "--max-steps", "2"} + options);
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_TRUE(json::parse(outcome.out)["bpd"].is_number());
    };
    // Also evaluates the model and draws from it.
    const auto works = [&](const Words& options, const std::string& data = "d.h5") {
        trains(options, data);
        const std::string out = "run" + std::to_string(number);
        SCOPED_TRACE(testing::PrintToString(options));
        const Outcome evaluated = eval({"--bpd", "--json", "--checkpoint", out, "--data", data});
        EXPECT_EQ(evaluated.code, 0) << evaluated.err;
        const Outcome sampled = sample({"--checkpoint", out, "--grid", "1x2", "-o", out + ".png"});
        EXPECT_EQ(sampled.code, 0) << sampled.err;
    };
    works({"--levels", "1"}, "gray.h5");
    works({"--levels", "2"}, "gray.h5");
    works({"--levels", "1"}, "alpha.h5");
    works({"--levels", "1", "--depth", "1", "--width", "1", "--batch", "1", "--init-batch", "1"}, "dot.h5");
    works({"--levels", "3"});  // one pixel at the top
    works({"--levels", "3", "--beta2", "0.99"}, "one.h5");
    works({"--width", "1", "--depth", "1", "--batch", "1"});
    works({"--n-bits", "1"});
    works({"--coupling", "additive", "--no-learn-top", "--no-edge-bias"});
    trains({"--init-batch", "1"});
    trains({"--init-batch", "16777216"});
    trains({"--batch", "100"});  // more than the data set has
    trains({"--batch", "7", "--micro-batch", "2", "--tile", "3"});
    trains({"--memory", "store"});
    trains({"--anchor-every", "1"});
    trains({"--max-steps", "0", "--epochs", "0.01"});
    trains({"--max-steps", "0", "--max-minutes", "0.002"});
    trains({"--max-steps", "281474976710656", "--epochs", "0.3"});
    trains({"--eval-every", "0", "--sample-every", "0", "--checkpoint-every", "0"});
    trains({"--lr", "0", "--beta1", "0", "--weight-decay", "0.5"});
    trains({"--threads", "5"});
}

TEST_F(Commands, SheetOfLargeImagesFitsPlannedMemory) {
    make_dataset(folder / "large.h5", 512, 512, 3, 2, 0, 0);
    const Outcome outcome = train({"--data", "large.h5", "--out", "run", "--levels", "1", "--depth", "1",
                                   "--width", "4", "--batch", "1", "--max-steps", "1", "--quiet", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json result = json::parse(outcome.out);
    EXPECT_LE(result["process_growth_bytes"].get<double>(),
              allowed_growth(result["planned_bytes"].get<double>()));
    const Image sheet = read_png(folder / "run/samples/step-00000001.png");
    EXPECT_EQ(sheet.H, 2 * (22 + 2 + 514) + 8);  // one row a temperature instead of four
}

TEST_F(Commands, ShowsProgressOnlyOnTerminals) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    ASSERT_GE(terminal, 0);
    ASSERT_EQ(grantpt(terminal), 0);
    ASSERT_EQ(unlockpt(terminal), 0);
    Process process(folder.path(), GLOW_TRAIN_PROGRAM,
                    kSmall + Words{"--out", "run", "--max-minutes", "0.03"},
                    {.stderr_path = ptsname(terminal), .largest_file = RLIM_INFINITY});
    std::string shown;
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    const auto drain = [&] {
        char buffer[4096];
        for (ssize_t n; (n = read(terminal, buffer, sizeof buffer)) > 0;)
            shown.append(buffer, static_cast<std::size_t>(n));
        return false;
    };
    process.wait_until(drain);
    drain();
    EXPECT_EQ(process.wait().code, 0);
    close(terminal);
    const auto has = [&shown](const char* pattern) { return std::regex_search(shown, std::regex(pattern)); };
    // One line that redraws itself, instead of a line per logged step.
    EXPECT_TRUE(
        has("\r\033\\[K\\[#*-*\\] +[0-9]+%  step [0-9]+  [0-9.]+ bits/dim  [0-9.]+ images/s  0m0[0-9]s left"))
        << shown;
    EXPECT_FALSE(has("step +[0-9]+  epoch")) << shown;
    // The first evaluation comes early, with its error, on a line of its own.
    EXPECT_TRUE(has(
        "\r\033\\[Kstep +[0-9]+  validation [0-9.]+ \\+- [0-9.]+ bits/dim \\(EMA\\), [0-9.]+ \\+- [0-9.]+ \\(raw\\), "
        "6 images\r\n"))
        << shown;
    EXPECT_GE(read_csv(folder / "run/eval.csv").size(), 4u);
}

}  // namespace
}  // namespace glow
