// Bad usage and bad input: exit code 2, one clear line, nothing written.
#include <limits>

#include "data/formats/png.h"
#include "runtime/device.h"
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

struct InvalidUsage : Commands {
    // Each command line exits with `code` and a line containing the given text, and writes nothing.
    template <class Run>
    void refuse(Run&& run, const Words& base, const std::vector<std::pair<Words, std::string>>& cases,
                int code = 2) {
        const Words before = all_files();
        for (const auto& [arguments, part] : cases) {
            std::string shown;
            for (const std::string& argument : arguments) shown += argument.substr(0, 40) + " ";
            SCOPED_TRACE(shown);
            expect_error(run(base + arguments), code, part);
            EXPECT_EQ(all_files(), before);
        }
    }
    void refuse_train(const std::vector<std::pair<Words, std::string>>& cases) {
        refuse([this](const Words& words) { return train(words); }, run_words("new", 2) + Words{"--quiet"},
               cases);
    }
    void write_damaged(const std::string& from, const std::string& to,
                       const std::function<void(CheckpointEdit&)>& damage) {
        CheckpointEdit edit(folder / from);
        damage(edit);
        edit.write(folder / to);
    }
    // Not an HDF5 file.
    void make_bad_files() {
        write_bytes(folder / "empty.h5", "");
        write_bytes(folder / "text.h5", "not HDF5\n");
        const std::string whole = read_bytes(folder / "d.h5");
        write_bytes(folder / "cut.h5", whole.substr(0, whole.size() / 2));
        std::filesystem::create_symlink("loop2", folder / "loop1");
        std::filesystem::create_symlink("loop1", folder / "loop2");
        std::filesystem::create_directory(folder / "hollow");
    }
};

TEST_F(InvalidUsage, TrainFiles) {
    make_bad_files();
    make_dataset(folder / "odd.h5", 6, 8, 3, 10, 0, 0);
    refuse_train(
        {{{"--data", "none.h5"}, "none.h5"},
         {{"--data", "empty.h5"}, "empty.h5"},
         {{"--data", "text.h5"}, "HDF5"},
         {{"--data", "cut.h5"}, "cut.h5"},
         {{"--data", "."}, "folder"},
         {{"--data", "loop1"}, "loop1"},
         {{"--data", ""}, "found an empty one"},
         {{"--data", "/dev/null"}, "/dev/null"},
         {{"--data", "odd.h5"}, "divisible by 4"},
         {{"--levels", "4"}, "divisible by 16"},
         {{"--out", "d.h5"}, "d.h5"},
         {{"--out", "d.h5/run"}, "d.h5/run"},
         {{"--out", "loop1"}, "loop1"},
         {{"--out", ""}, "--out"},
         {{"--out=", "--depth=1"}, "--out: expected a value, found an empty one"},
         {{"--resume", ""}, "--resume: expected a value, found an empty one"},
         {{"--resume="}, "--resume: expected a value, found an empty one"},
         {{"--learn-top=-1"}, "--learn-top: expected true or false, found \"-1\""},
         {{"--no-learn-top=-"}, "--no-learn-top: expected true or false, found \"-\""},
         {{"--quiet="}, "--quiet: expected true or false, found \"\""},
         {{"--lr=", "--depth=1"}, "--lr: must be one number, got ''"},
         {{"--out", std::string(5000, 'a')}, "too long"},
         {{"--config", "none.toml"}, "none.toml"},
         {{"--config", "text.h5"}, "not HDF5"},
         {{"--config", "hollow"}, "hollow"},
         {{"--config", ""}, "No such file"},
         {{"--out", "caf\xe9"}, "caf\\xe9 is not UTF-8"},
         {{"--init-from", "none.h5"}, "none.h5"},
         {{"--init-from", "d.h5"}, "not a checkpoint"},
         {{"--init-from", "hollow"}, "latest.h5"},
         {{"--resume", "none.h5"}, "none.h5"},
         {{"--resume", "cut.h5"}, "cut.h5"},
         {{"--save-limits"}, "--save-limits requires --resume"},
         {{"--requeue-max-minutes", "--max-minutes", "1", "--max-steps", "0", "--lr-schedule", "cosine"},
          "needs --epochs or --max-steps"},
         {{"--accept-new-data"}, "--accept-new-data requires --resume"},
         {{"--resume", "d.h5", "--init-from", "d.h5"}, "exclude each other"}});
}

TEST_F(InvalidUsage, TrainOptions) {
    refuse_train(
        {{{"--frobnicate"}, "--frobnicate"},
         {{"--warmup-steps", "7", "--warmup-epochs", "5"}, "no effect with --warmup-steps 7;"},
         {{"--preset", "cpu-5min", "--warmup-epochs", "5"}, "--warmup-steps 100 of --preset cpu-5min"},
         {{"--communicator", "smoke"}, "auto, mpi or nccl"},
         {{"word"}, "word"},
         {{std::string(100000, 'x')}, "not expected"},
         {{"--batch", "0"}, "--batch"},
         {{"--batch", "-3"}, "--batch"},
         {{"--batch", "99999999999999999999"}, "--batch"},
         {{"--batch", "16777216"}, "this machine has"},
         {{"--batch", "8.5"}, "--batch"},
         {{"--batch", ""}, "--batch"},
         {{"--batch"}, "--batch"},
         {{"--micro-batch", "9"}, "--micro-batch"},
         {{"--lr", "nan"}, "--lr"},
         {{"--lr", "inf"}, "--lr"},
         {{"--lr", "-1"}, "--lr"},
         {{"--lr", ""}, "--lr"},
         {{"--lr", "1e-3x"}, "--lr"},
         {{"--lr", std::string(10000, '9')}, "--lr"},
         {{"--beta1", "1"}, "--beta1"},
         {{"--ema-decay", "1"}, "--ema-decay"},
         {{"--epoch-images", "1e300"}, "--epoch-images"},
         {{"--epochs", "inf"}, "--epochs"},
         {{"--max-minutes", "nan"}, "--max-minutes"},
         {{"--max-steps", "-1"}, "--max-steps"},
         {{"--seed", "-1"}, "--seed"},
         {{"--seed", ""}, "--seed"},
         {{"--seed", "18446744073709551616"}, "--seed"},
         {{"--threads", "-1"}, "--threads"},
         {{"--threads", "100000"}, "--threads"},
         {{"--keep", "1"}, "--keep"},
         {{"--levels", "0"}, "--levels"},
         {{"--depth", "0"}, "--depth"},
         {{"--depth", "1000000"}, "--depth"},
         {{"--width", "0"}, "--width"},
         {{"--width", "65536"}, "this machine has"},
         {{"--width", "100000"}, "--width"},
         {{"--n-bits", "0"}, "--n-bits"},
         {{"--n-bits", "9"}, "--n-bits"},
         {{"--coupling", "multiplicative"}, "multiplicative"},
         {{"--coupling-scale", "exp"}, "--coupling-scale"},
         {{"--coupling", "additive", "--coupling-scale", "tanh"}, "has no scale"},
         {{"--permutation", "rotate"}, "rotate"},
         {{"--y-cond"}, "no labels"},
         {{"--weight-y", "0.1"}, "--y-cond"},
         {{"--weight-y", "-1"}, "--weight-y"},
         {{"--optimizer", "sgd"}, "sgd"},
         {{"--augment", "rotate"}, "rotate"},
         {{"--dequant", "none"}, "none"},
         {{"--dequant-width", "16"}, "--dequant-width 16 needs --dequant variational"},
         {{"--dequant-width", "16", "--dequant", "center"}, "found --dequant center"},
         {{"--dequant-depth", "2"}, "--dequant-depth 2 needs --dequant variational"},
         {{"--memory", "magic"}, "magic"},
         {{"--data-access", "tape"}, "tape"},
         {{"--precision", "fp16"}, "fp16"},
         {{"--device", "quantum"}, "quantum"},
         {{"--drift-tolerance", "nan"}, "--drift-tolerance"},
         {{"--checkpoint-every", "1e300"}, "not an interval"},
         {{"--checkpoint-every", "nan"}, "not an interval"},
         {{"--checkpoint-every", "-1"}, "not an interval"},
         {{"--eval-every", "10s"}, "--eval-every: \"10s\" is not an interval"},
         {{"--sample-every", ""}, "not an interval"}});
    expect_error(train({}), 2, "required");
    expect_error(train({"--data", "d.h5"}), 2, "--out");
}

TEST_F(InvalidUsage, MemoryOptionsWithoutEffect) {
    refuse_train(
        {{{"--act-budget", "1GiB"}, "--act-budget 1073741824 needs --memory auto"},
         {{"--act-budget", "1GiB", "--memory", "store"}, "found --memory store"},
         {{"--anchor-every", "4", "--memory", "checkpoint"}, "--anchor-every 4 needs --memory reconstruct"},
         {{"--anchor-every", "4", "--memory", "store"}, "store saves every state"},
         {{"--rounding-bits", "--memory", "store"}, "--rounding-bits needs --memory reconstruct"},
         {{"--float-states", "--memory", "reconstruct"}, "--float-states needs saved states"},
         {{"--float-states", "--rounding-bits", "--anchor-every", "2"}, "needs exact saved states"}});
    write_bytes(folder / "c.toml", "memory = 'auto'\nact-budget = '1GiB'\n");
    refuse_train({{{"--config", "c.toml", "--memory", "store"}, "c.toml:2: --act-budget 1073741824 needs"}});
    for (const Words& used :
         {Words{"--act-budget", "1GiB", "--memory", "auto"},
          Words{"--act-budget", "1GiB", "--max-memory", "2GiB"}, Words{"--float-states", "--memory", "store"},
          Words{"--float-states", "--anchor-every", "2", "--memory", "reconstruct"},
          Words{"--rounding-bits", "--memory", "reconstruct"}})
        EXPECT_EQ(train(run_words("planned", 1) + Words{"--plan"} + used).code, 0) << used[0];
    make_run("run", 1, {"--memory", "auto", "--act-budget", "1GiB"});
    refuse_train({{{"--out", "run", "--resume", "--memory", "store", "--act-budget", "2GiB"},
                   "--act-budget 2147483648 needs --memory auto"}});
    make_run("run", 2, {"--resume", "--memory", "store"});  // the recorded budget is kept
}

TEST_F(InvalidUsage, PipesInARunsFolder) {
    make_run("run", 1);
    std::filesystem::remove(folder / "run/metrics.csv");
    ASSERT_EQ(mkfifo((folder / "run/metrics.csv").c_str(), 0600), 0);
    refuse_train({{{"--out", "run", "--resume", "--max-steps", "3"},
                   "run/metrics.csv: cannot be read: a named pipe"}});
    std::filesystem::remove(folder / "run/metrics.csv");
    std::filesystem::remove(folder / "run/eval.csv");
    ASSERT_EQ(mkfifo((folder / "run/eval.csv").c_str(), 0600), 0);
    expect_error(train(run_words("run", 3) + Words{"--quiet", "--resume"}), 2,
                 "run/eval.csv: cannot be read");
    ASSERT_EQ(mkfifo((folder / "run/run.lock").c_str(), 0600), 0);
    refuse_train({{{"--out", "run", "--resume", "--max-steps", "3"}, "no regular file: remove it"}});
}

TEST_F(InvalidUsage, RunWithoutItsConfiguration) {
    make_run("run", 1);
    std::filesystem::remove(folder / "run/config.toml");
    expect_error(train({"--out", "run", "--resume", "auto"}), 2,
                 "run/config.toml, which names the data set and the options, is missing");
}

TEST_F(InvalidUsage, TrainConfigFiles) {
    const auto refuse_config = [&](const std::string& text, const std::string& part) {
        write_bytes(folder / "c.toml", text);
        refuse_train({{{"--config", "c.toml"}, part}});
    };
    refuse_config("lerning-rate = 0.1\n", "lerning-rate");
    refuse_config("lr = fast\n", "c.toml:1: lr must be one number, got 'fast'");
    refuse_config("depth = 2\noptimizer = 'sgd'\n", "c.toml:2: optimizer must be adamax or adam, got 'sgd'");
    refuse_config("[train]\nlr = 0.1\n", "c.toml:1: 'train' is a table");
    refuse_config("lr = 0,002\n", "c.toml:1: lr must be one number, got '0,002'");
    refuse_config("levels = [2, 4]\n", "c.toml:1: levels must be one integer, got an array");
    refuse_config("levels = 2\nlevels = 3\n", "c.toml:2: ");
    refuse_config("\nlevles = 2\n", "c.toml:2: unknown option 'levles'; did you mean 'levels'?");
    refuse_config("lr = -1\n", "c.toml:1: --lr -1: it must be between");
    refuse_config("dequant-width = 16\n", "c.toml:1: --dequant-width 16 needs --dequant variational");
    write_bytes(folder / "c.toml", "dequant = 'variational'\ndequant-depth = 2\n");
    refuse_train(
        {{{"--config", "c.toml", "--dequant", "uniform"},
          "--dequant uniform: c.toml:2 has dequant-depth = 2, which needs --dequant variational: add "
          "--dequant-depth 0"}});
    write_bytes(folder / "c.toml", "lr = -1\nn-bits = 0\n");
    refuse_train({{{"--config", "c.toml", "--lr", "1"}, "c.toml:2: --n-bits is 0"},
                  {{"--config", "c.toml", "--lr", "-2"}, "error: --lr -2: it must be"}});
}

TEST_F(InvalidUsage, TrainIntoExistingRun) {
    make_run("run", 2);
    const std::string metrics = read_bytes(folder / "run/metrics.csv");
    refuse_train({{{"--out", "run"}, "--resume"}});
    EXPECT_EQ(read_bytes(folder / "run/metrics.csv"), metrics);
}

TEST_F(InvalidUsage, ResumingWithOtherSettings) {
    make_run("run", 2);
    make_dataset(folder / "wide.h5", 8, 16, 3, 10, 0, 0);
    const std::string metrics = read_bytes(folder / "run/metrics.csv"),
                      config = read_bytes(folder / "run/config.toml");
    refuse_train({{{"--out", "run", "--resume", "--seed", "9"}, "seed is 9 but was 0"},
                  {{"--out", "run", "--resume", "--batch", "4"},
                   "batch is 4 but was 8; use the checkpoint's, or start a new run with --init-from"},
                  {{"--out", "run", "--resume", "--width", "9"},
                   "width is 9 but was 8; use the checkpoint's, or start a new run\n"},
                  {{"--out", "run", "--resume", "--no-edge-bias"}, "edge_bias is false but was true"},
                  {{"--out", "run", "--resume", "--coupling", "additive"}, "coupling"},
                  {{"--out", "run", "--resume", "--coupling-scale", "tanh"}, "coupling_scale is"},
                  {{"--out", "run", "--resume", "--optimizer", "adam"}, "optimizer"},
                  {{"--out", "run", "--resume", "--no-shuffle"}, "shuffle"},
                  {{"--out", "run", "--resume", "--data", "wide.h5"}, "image_width is 16 but was 8"}});
    EXPECT_EQ(read_bytes(folder / "run/metrics.csv"), metrics);
    EXPECT_EQ(read_bytes(folder / "run/config.toml"), config);
}

TEST_F(InvalidUsage, NoiseOfAResumedRun) {
    make_run("run", 1, {"--dequant", "variational", "--dequant-depth", "1", "--dequant-width", "4"});
    refuse_train(
        {{{"--out", "run", "--resume", "--dequant", "uniform"}, "--dequant uniform: run/config.toml:"},
         {{"--out", "run", "--resume", "--dequant", "center"}, "keeps its noise, so omit --dequant"},
         {{"--out", "run", "--resume", "--dequant-width", "8"}, "dequant_width is 8 but was 4"}});
    // An unused option with its default value is as harmless as in a printed config.
    const Outcome printed = train(run_words("next", 1) + Words{"--dequant-width", "32", "--print-config"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    write_bytes(folder / "c.toml", printed.out);
    EXPECT_EQ(train({"--config", "c.toml", "--print-config"}).out, printed.out);
}

TEST_F(InvalidUsage, PicturesOfAnEarlierResult) {
    make_run("run", 1);
    const Words from = {"--checkpoint", "run", "--data", "d.h5"};
    ASSERT_EQ(eval(from + Words{"--limit", "3", "--heatmap", "heat"}).code, 0);
    ASSERT_EQ(eval(from + Words{"--limit", "3", "--heatmap", "heat"}).code, 0);
    ASSERT_EQ(latent(Words{"encode", "--limit", "2", "-o", "two.h5"} + from).code, 0);
    const Words decode = {"decode", "--checkpoint", "run", "--latents", "two.h5"};
    const Words exchange = {"exchange", "--images", "0,1", "-o", "x.png", "--frames", "frames"};
    ASSERT_EQ(latent(exchange + from).code, 0);  // six images
    write_png(folder / "frames/000006.png", Image{1, 1, 1, {0}});
    refuse([this](const Words& words) { return latent(words); }, exchange + from,
           {{{}, "--frames frames: has 1 picture"}});
    refuse([this](const Words& words) { return eval(words); }, from,
           {{{"--limit", "1", "--heatmap", "heat"},
             "heat: has 2 pictures of an earlier result, 000001.png to 000002.png"},
            {{"--limit", "2", "--heatmap", "heat"}, "has 1 picture of an earlier result, 000002.png,"}});
    refuse([this](const Words& words) { return latent(words); }, decode,
           {{{"-o", "heat"}, "--output heat: has 1 picture"}, {{"-o", "frames"}, "has 5 pictures"}});
}

TEST_F(InvalidUsage, StartingFromAnotherModel) {
    make_run("run", 1);
    refuse_train({{{"--init-from", "run", "--width", "9"}, "width is 8, expected 9; use"},
                  {{"--init-from", "run", "--depth", "1"}, "--init-from run"},
                  {{"--init-from", "run/latest.h5", "--no-learn-top"}, "--init-from"}});
}

TEST_F(InvalidUsage, DamagedCheckpoints) {
    make_run("run", 1);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::string W = "/params/level0/step1/invconv/weight";
    write_damaged("run/latest.h5", "nan.h5",
                  [&](auto& e) { e.tensor("/params/level0/split/bias").values[0] = nan; });
    write_damaged("run/latest.h5", "singular.h5",
                  [&](auto& e) { std::fill_n(e.tensor(W).values.begin(), 12, 0.0f); });
    write_damaged("run/latest.h5", "missing.h5", [&](auto& e) { e.tensors.erase(W); });
    write_damaged("run/latest.h5", "future.h5", [&](auto& e) { e.version = 3; });
    write_damaged("run/latest.h5", "config.h5", [&](auto& e) { e.config = "no JSON"; });
    const std::string whole = read_bytes(folder / "run/latest.h5");
    write_bytes(folder / "cut.h5", whole.substr(0, whole.size() - 1));
    const std::pair<std::string, std::string> files[] = {{"nan.h5", "/params/level0/split/bias"},
                                                         {"singular.h5", W + " is singular"},
                                                         {"missing.h5", W + " is missing"},
                                                         {"future.h5", "version 3"},
                                                         {"config.h5", "not JSON"},
                                                         {"cut.h5", "cut.h5"}};
    for (const auto& [file, part] : files) {
        refuse_train({{{"--init-from", file}, part}, {{"--resume", file}, part}});
        refuse([this](const Words& words) { return eval(words); }, {"--bpd", "--data", "d.h5"},
               {{{"--checkpoint", file}, part}});
        refuse([this](const Words& words) { return sample(words); }, {"-o", "s.png"},
               {{{"--checkpoint", file}, part}});
    }
}

TEST_F(InvalidUsage, Eval) {
    make_run("run", 1);
    make_bad_files();
    make_dataset(folder / "odd.h5", 6, 8, 3, 10, 0, 2);
    make_dataset(folder / "gray.h5", 8, 8, 1, 10, 0, 2);
    make_dataset(folder / "train.h5", 8, 8, 3, 10, 0, 0);
    std::filesystem::create_directories(folder / "photos/in");
    std::filesystem::create_directory_symlink("photos", folder / "link");
    const Image photo{8, 8, 3, std::vector<std::uint8_t>(192, 9)};
    for (const char* const name : {"p.png", "photos/a.png"}) write_png(folder / name, photo);
    refuse(
        [this](const Words& words) { return eval(words); },
        {"--bpd", "--checkpoint", "run", "--data", "d.h5"},
        {{{"--data", "odd.h5"}, "divisible by 4"},
         {{"--data", "gray.h5"}, "1 channel"},
         {{"--data", "train.h5"}, "test"},
         {{"--data", "none.h5"}, "none.h5"},
         {{"--data", "cut.h5"}, "cut.h5"},
         {{"--data", "run/latest.h5"}, "not a Glow data set"},
         {{"--data", "run"}, "expected images, found the folder of a training run, which --checkpoint takes"},
         {{"--checkpoint", "d.h5"}, "not a checkpoint"},
         {{"--checkpoint", "hollow"}, "latest.h5"},
         {{"--checkpoint", "none"}, "none"},
         {{"--checkpoint", "loop1"}, "loop1"},
         {{"--checkpoint", ""}, "found an empty one"},
         {{"--split", "nope"}, "nope"},
         {{"--limit", "-1"}, "--limit"},
         {{"--limit", ""}, "--limit"},
         {{"--batch", "0"}, "--batch"},
         {{"--dequant-samples", "0"}, "--dequant-samples"},
         {{"--data", "photos", "--size", "65536"}, "--size 65536x65536: photographs have at most"},
         {{"--dequant", "none"}, "none"},
         {{"--size", ""}, "--size \"\": expected height x width"},
         {{"--against", ""}, "--against: expected a value, found an empty one"},
         {{"--per-image", ""}, "--per-image: expected a value"},
         {{"--map", ""}, "--map: expected a value"},
         {{"--show", "2"}, "--show requires --extremes"},
         {{"--against-split", "valid"}, "--against-split requires --against"},
         {{"--heatmap", ""}, "--heatmap: expected a value"},
         {{"--heatmap", std::string(300, 'a')}, ": cannot write pictures there: File name too long"},
         {{"--data", "p.png"}, "made by glow_data) or a folder of photographs, found a picture"},
         {{"--data", "photos", "--extremes", "photos/x.png"},
          "--extremes photos/x.png is inside --data photos"},
         {{"--data", "photos", "--extremes", "photos/in/x.PNG"}, "is inside --data photos"},
         {{"--data", "photos", "--extremes", "link/x.png"}, "is inside --data photos"},
         {{"--per-image", "none/x.csv"}, "none"},
         {{"--per-image", "hollow"}, "folder"},
         {{"--seed", "x"}, "--seed"},
         {{"--seed", "-1"}, "--seed"},
         {{"--frobnicate"}, "--frobnicate"},
         {{"word"}, "word"}});
    expect_error(eval({}), 2, "required");
}

TEST_F(InvalidUsage, Sample) {
    make_run("run", 1);
    make_bad_files();
    refuse([this](const Words& words) { return sample(words); }, {"--checkpoint", "run", "-o", "s.png"},
           {{{"--grid", "0x3"}, "0x3"},
            {{"--grid", "3"}, "grid"},
            {{"--grid", ""}, "grid"},
            {{"--grid", "-1x-1"}, "grid"},
            {{"--grid", "1000x1000"}, "too large"},
            {{"--grid", "99999999999x1"}, "grid"},
            {{"--temperature", "nan"}, "--temperature"},
            {{"--temperature", "-1"}, "--temperature"},
            {{"--temperature", "0.5,,1"}, "--temperature"},
            {{"--temperature", ""}, "--temperature"},
            {{"--temperature", "1e300"}, "--temperature"},
            {{"--temperature", "hot"}, "--temperature"},
            {{"-o", "none/s.png"}, "none"},
            {{"-o", "hollow"}, "folder"},
            {{"-o", ""}, "--output: expected a value, found an empty one"},
            {{"--output=", "--seed=1"}, "--output: expected a value, found an empty one"},
            {{"--size", ""}, "--size \"\": expected height x width"},
            {{"--size", "65537"}, "between 1 and 65536 pixels"},
            {{"--size", "99999999999999999999x4"}, "between 1 and 65536 pixels"},
            {{"--size", "0x4"}, "between 1 and 65536 pixels"},
            {{"-o", "loop1"}, "loop1"},
            {{"--checkpoint", "text.h5"}, "HDF5"},
            {{"--checkpoint", "d.h5"}, "not a checkpoint"},
            {{"--seed", "-1"}, "--seed"},
            {{"--threads", "100000"}, "--threads"}});
    expect_error(sample({}), 2, "required");
}

TEST_F(InvalidUsage, FullDiskLeavesNoPartialFile) {
    for (const rlim_t bytes : {rlim_t{3000}, rlim_t{30000}}) {  // with less, clang's libomp cannot start
        const std::string out = "full" + std::to_string(bytes);
        const Outcome outcome =
            train(run_words(out, 2) + Words{"--quiet"}, {.stderr_path = "", .largest_file = bytes});
        // The message also goes to a file.
        EXPECT_TRUE(outcome.code == 1) << bytes << " " << outcome.code << " " << outcome.err;
        for (const std::string& name : all_files()) {
            EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
            EXPECT_EQ(name.find("step-"), std::string::npos) << name;
            EXPECT_EQ(name.find("latest"), std::string::npos) << name;
        }
        // The run can continue once there is space.
        const Outcome again = train(run_words(out, 2) + Words{"--quiet", "--resume"});
        EXPECT_EQ(again.code, 0) << again.err;
        std::filesystem::remove_all(folder / out);
    }
}

}  // namespace
}  // namespace glow
