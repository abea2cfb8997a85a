// Checkpoints: round trip, every kind of damage, atomic writes.
#include <ctime>
#include <functional>

#include "inference/loaded_model.h"
#include "inference/model_file.h"
#include "tests/train/checkpoint_edit.h"
#include "tests/train/training.h"

// HDF5 leaks if it cannot write to a full disk.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
    return "leak:libhdf5";
}

namespace glow {
namespace {

struct CheckpointTest : testing::Test {
    CheckpointTest() : training(small_options(4, 4, 1, 2, 2, 3)) {
        training.random_start();
        for (int t = 0; t < 2; ++t) {
            OptimizerStep update;
            update.lr_t = 1e-3;
            update.ema_rate = 0.5;
            training.trainer.step(training.images.batch(), update);
        }
        save(folder / "good.h5");
    }
    void save(const std::filesystem::path& path) {
        save_checkpoint(path, to_json(training.options), {2, 8, 0.25}, nullptr,
                        training.trainer.glow().parameters(), training.backend.exec(),
                        training.trainer.weights());
    }
    void load(const std::filesystem::path& path) {
        read_checkpoint_info(path);
        load_checkpoint(path, training.trainer.glow().parameters(), training.backend.exec(),
                        training.trainer.weights());
    }
    // Loading a damaged copy throws a message with every part, and leaves the weights in memory usable.
    void refuse(const std::function<void(CheckpointEdit&)>& damage, std::vector<std::string> parts) {
        CheckpointEdit edit(folder / "good.h5");
        damage(edit);
        edit.write(folder / "bad.h5");
        parts.push_back("bad.h5");
        expect_throw<InputError>([&] { load(folder / "bad.h5"); }, parts);
    }

    TemporaryFolder folder;
    Training training;
};

TEST_F(CheckpointTest, RoundTripIsBitExact) {
    const std::vector<float> before = training.everything();
    const Weights& w = training.trainer.weights();
    for (float* values : {w.params, w.ema, w.m, w.v})
        std::fill_n(values, training.trainer.glow().parameters().size(),
                    std::numeric_limits<float>::quiet_NaN());
    load(folder / "good.h5");
    EXPECT_TRUE(same_bits(training.everything(), before));  // the gaps between tensors are 0 again
    const CheckpointInfo info = read_checkpoint_info(folder / "good.h5");
    EXPECT_EQ(info.model, training.options.model);
    EXPECT_EQ(info.config, to_json(training.options));
    EXPECT_EQ(info.progress.step, 2);
    EXPECT_EQ(info.progress.images_seen, 8);
    EXPECT_EQ(info.progress.epoch, 0.25);
}

// Earlier versions do not know coupling_scale and would read every model as a sigmoid model; they do not know
// the tensors of a dequantizer either.
TEST_F(CheckpointTest, VersionExcludesOlderPrograms) {
    EXPECT_EQ(CheckpointEdit(folder / "good.h5").version, 1);
    training.options.model.coupling_scale = CouplingScale::tanh;
    save(folder / "tanh.h5");
    EXPECT_EQ(CheckpointEdit(folder / "tanh.h5").version, 2);
    EXPECT_EQ(read_checkpoint_info(folder / "tanh.h5").model.coupling_scale, CouplingScale::tanh);
    training.options.model.coupling_scale = CouplingScale::sigmoid;
    training.options.model.dequant_depth = 2;
    save(folder / "variational.h5");
    EXPECT_EQ(CheckpointEdit(folder / "variational.h5").version, 2);
}

TEST_F(CheckpointTest, FilesWithoutCouplingScaleMeanSigmoid) {
    CheckpointEdit edit(folder / "good.h5");
    nlohmann::ordered_json config = nlohmann::ordered_json::parse(edit.config);
    ASSERT_EQ(config.erase("coupling_scale"), 1u);
    edit.config = config.dump();
    edit.write(folder / "old.h5");
    EXPECT_NO_THROW(load(folder / "old.h5"));
    EXPECT_EQ(read_checkpoint_info(folder / "old.h5").model, training.options.model);
}

TEST_F(CheckpointTest, UnchangedCopyLoads) {
    CheckpointEdit(folder / "good.h5").write(folder / "copy.h5");
    EXPECT_NO_THROW(load(folder / "copy.h5"));
}

TEST_F(CheckpointTest, ChecksTensorsThatAreNotLoaded) {
    CheckpointEdit edit(folder / "good.h5");
    edit.tensor("/ema/level0/split/bias").values[0] = std::numeric_limits<float>::quiet_NaN();
    edit.write(folder / "bad.h5");
    expect_throw<InputError>(
        [&] {
            load_checkpoint(folder / "bad.h5", training.trainer.glow().parameters(), training.backend.exec(),
                            {training.params(), nullptr, nullptr, nullptr});
        },
        {"/ema/level0/split/bias", "not finite"});
}

TEST_F(CheckpointTest, InitializesFromWeightsOnly) {
    CheckpointEdit edit(folder / "good.h5");
    std::erase_if(edit.tensors, [](const auto& entry) { return !entry.first.starts_with("/params/"); });
    edit.write(folder / "weights.h5");
    const Parameters& parameters = training.trainer.glow().parameters();
    EXPECT_NO_THROW(load_checkpoint(folder / "weights.h5", parameters, training.backend.exec(),
                                    {training.params(), nullptr, nullptr, nullptr}));
    expect_throw<InputError>([&] { load(folder / "weights.h5"); }, {"/ema/", "is missing"});
    const LoadedModel model(folder / "weights.h5", true, Precision::fp32, 1, training.backend);
    EXPECT_FALSE(model.used_ema());
}

TEST_F(CheckpointTest, RejectsMissingAndExtraTensors) {
    refuse([](CheckpointEdit& e) { e.tensors.erase("/params/prior/top/logs"); },
           {"/params/prior/top/logs is missing"});
    refuse(
        [](CheckpointEdit& e) {
            e.tensors["/optimizer/m/level0/spilt/bias"] = {{3}, {1, 2, 3}};
        },
        {"/optimizer/m/level0/spilt/bias is not part of this model"});
    refuse(
        [](CheckpointEdit& e) {
            e.tensors["/params/level2/step0/actnorm/bias"] = {{3}, {1, 2, 3}};
        },
        {"/params/level2/step0/actnorm/bias is not part of this model"});
}

TEST_F(CheckpointTest, RejectsWrongShapeOrType) {
    refuse(
        [](CheckpointEdit& e) {
            e.tensor("/params/level0/step0/actnorm/bias") = {{2, 2}, {1, 2, 3, 4}};
        },
        {"/params/level0/step0/actnorm/bias", "[2, 2]", "[4]"});
    refuse(
        [](CheckpointEdit& e) {
            e.tensor("/ema/level0/step0/invconv/weight") = {{0}, {}};
        },
        {"/ema/level0/step0/invconv/weight", "[0]", "[4, 4]"});
    refuse(
        [](CheckpointEdit& e) { e.tensor("/params/level0/step0/actnorm/bias").type = ElementType::float64; },
        {"/params/level0/step0/actnorm/bias", "another type", "float32"});
    refuse([](CheckpointEdit& e) { e.tensor("/params/level0/step0/actnorm/bias").type = ElementType::int32; },
           {"/params/level0/step0/actnorm/bias", "another type", "float32"});
}

TEST_F(CheckpointTest, RejectsBadValues) {
    for (const char* tree : {"/params", "/ema", "/optimizer/m", "/optimizer/v"})
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
            const std::string name = std::string(tree) + "/level1/step1/coupling/conv2/weight";
            refuse([&](CheckpointEdit& e) { e.tensor(name).values.back() = bad; }, {name, "not finite"});
        }
    refuse([](CheckpointEdit& e) { e.tensor("/optimizer/v/level0/split/logs").values[1] = -1e-30f; },
           {"/optimizer/v/level0/split/logs", "negative"});
    for (const char* tree : {"/params", "/ema"}) {
        const std::string name = std::string(tree) + "/level1/step0/invconv/weight";
        refuse([&](CheckpointEdit& e) { std::fill_n(e.tensor(name).values.begin(), 8, 0.0f); },
               {name, "singular"});
        refuse(
            [&](CheckpointEdit& e) {
                std::fill(e.tensor(name).values.begin(), e.tensor(name).values.end(), 0.5f);
            },
            {name, "singular"});
    }
    // A singular moment matrix of W is allowed.
    CheckpointEdit edit(folder / "good.h5");
    auto& m = edit.tensor("/optimizer/m/level1/step0/invconv/weight").values;
    std::fill(m.begin(), m.end(), 0.0f);
    edit.write(folder / "fine.h5");
    EXPECT_NO_THROW(load(folder / "fine.h5"));
}

TEST_F(CheckpointTest, ListsTwentyDifferencesAndTotal) {
    const std::size_t tensors = training.tensors().size();
    CheckpointEdit edit(folder / "good.h5");
    std::erase_if(edit.tensors, [](const auto& entry) { return entry.first.starts_with("/optimizer/v/"); });
    edit.write(folder / "bad.h5");
    try {
        load(folder / "bad.h5");
        FAIL() << "nothing was thrown";
    } catch (const InputError& error) {
        const std::string text = error.what();
        std::size_t shown = 0;
        for (std::size_t at = text.find("is missing"); at != std::string::npos;
             at = text.find("is missing", at + 1))
            ++shown;
        EXPECT_EQ(shown, 20u);
        EXPECT_NE(text.find(std::to_string(tensors - 20) + " more (" + std::to_string(tensors) + " in all)"),
                  std::string::npos)
            << text;
    }
}

TEST_F(CheckpointTest, RejectsOtherFormatsAndVersions) {
    refuse([](CheckpointEdit& e) { e.format = "glow-dataset"; }, {"not a checkpoint", "glow-checkpoint"});
    refuse([](CheckpointEdit& e) { e.format = ""; }, {"not a checkpoint"});
    refuse([](CheckpointEdit& e) { e.version = 3; }, {"version 3", "versions 1 to 2"});
    refuse([](CheckpointEdit& e) { e.version = -1; }, {"version -1"});
    refuse([](CheckpointEdit& e) { e.step = -1; }, {"step -1", "out of range"});
    refuse([](CheckpointEdit& e) { e.images_seen = std::numeric_limits<std::int64_t>::max(); },
           {"images_seen"});
    refuse([](CheckpointEdit& e) { e.epoch = std::numeric_limits<double>::quiet_NaN(); }, {"epoch"});
}

TEST_F(CheckpointTest, RejectsBadConfig) {
    const auto set = [](const char* key, nlohmann::ordered_json value) {
        return [=](CheckpointEdit& e) {
            nlohmann::ordered_json config = nlohmann::ordered_json::parse(e.config);
            config[key] = value;
            e.config = config.dump();
        };
    };
    refuse([](CheckpointEdit& e) { e.config = "levels = 3"; }, {"config", "not JSON"});
    refuse([](CheckpointEdit& e) { e.config = ""; }, {"config", "not JSON"});
    refuse([](CheckpointEdit& e) { e.config = "[]"; }, {"config", "not a JSON object"});
    refuse([](CheckpointEdit& e) { e.config = std::string(1000000, '['); }, {"config", "nested"});
    refuse(
        [](CheckpointEdit& e) {
            e.config = "{\"levels\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
        },
        {"config", "nested"});
    refuse([](CheckpointEdit& e) { e.config = e.config.substr(0, e.config.size() / 2); },
           {"config", "not JSON"});
    refuse(
        [](CheckpointEdit& e) {
            nlohmann::ordered_json config = nlohmann::ordered_json::parse(e.config);
            config.erase("depth");
            e.config = config.dump();
        },
        {"no \"depth\""});
    refuse(set("depth", "2"), {"\"depth\"", "wrong type"});
    refuse(set("edge_bias", 1), {"\"edge_bias\"", "wrong type"});
    refuse(set("levels", 16), {"levels"});
    refuse(set("depth", 0), {"depth"});
    refuse(set("image_height", 6), {"divisible"});
    refuse(set("n_bits", 0), {"n-bits"});
    refuse(set("permutation", "magic"), {"magic"});
    // A config for a different model than the tensors.
    const auto other = [&](const char* key, nlohmann::ordered_json value, std::vector<std::string> parts) {
        CheckpointEdit edit(folder / "good.h5");
        set(key, value)(edit);
        edit.write(folder / "bad.h5");
        expect_throw<InputError>(
            [&] { LoadedModel(folder / "bad.h5", true, Precision::fp32, 1, training.backend); }, parts);
    };
    other("depth", 3, {"/step2/", "is missing"});
    other("depth", 1, {"/step1/", "is not part of this model"});
    other("width", 4, {"[3, 3, 3, 3]", "[4, 3, 3, 3]"});
    other("channels", 3, {"[4]", "[12]"});
    other("edge_bias", false, {"prior/top/weight is not part of this model"});
    other("learn_top", false, {"prior/top/bias is not part of this model"});
    other("coupling", "additive", {"conv3/bias"});
}

// Sizes claimed by a config must not allocate memory before the file proves them.
TEST_F(CheckpointTest, RejectsAbsurdModelSizes) {
    const std::size_t before = process_peak_bytes();
    const auto refuse_model = [&](const std::vector<std::pair<const char*, index_t>>& changes) {
        CheckpointEdit edit(folder / "good.h5");
        nlohmann::ordered_json config = nlohmann::ordered_json::parse(edit.config);
        for (const auto& [key, value] : changes) config[key] = value;
        edit.config = config.dump();
        edit.write(folder / "bad.h5");
        const std::clock_t start = std::clock();
        expect_throw<InputError>(
            [&] { LoadedModel(folder / "bad.h5", true, Precision::fp32, 64, training.backend); }, {"bad.h5"});
        EXPECT_LT(std::clock() - start, 5 * CLOCKS_PER_SEC);
    };
    refuse_model({{"image_height", 32768},
                  {"image_width", 32768},
                  {"levels", 15},
                  {"depth", 100000},
                  {"width", 65536}});
    refuse_model(
        {{"image_height", 32768}, {"image_width", 32768}, {"levels", 15}, {"depth", 1}, {"width", 65536}});
    refuse_model(
        {{"image_height", 65536}, {"image_width", 65536}, {"levels", 1}, {"depth", 1}, {"width", 65536}});
    refuse_model({{"levels", 1}, {"depth", 1}, {"width", 65536}});
    // The files claim terabytes; sanitizers hold freed memory for a while.
    EXPECT_LT(process_peak_bytes() - before, std::size_t{256} << 20);
}

TEST_F(CheckpointTest, RejectsTruncatedFiles) {
    const std::string bytes = read_bytes(folder / "good.h5");
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{7}, std::size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
        write_bytes(folder / "bad.h5", bytes.substr(0, size));
        expect_throw<InputError>([&] { load(folder / "bad.h5"); }, {"bad.h5"});
    }
}

TEST_F(CheckpointTest, RejectsOtherFiles) {
    write_bytes(folder / "text.h5", "step,bpd\n1,2\n");
    expect_throw<InputError>([&] { load(folder / "text.h5"); }, {"text.h5: it is not an HDF5 file"});
    write_bytes(folder / "other.npz", "PK");
    expect_throw<InputError>([&] { load(folder / "other.npz"); },
                             {"not an HDF5 file", "glow_convert --from"});
    expect_throw<InputError>([&] { load(folder / "none.h5"); }, {"none.h5", "No such file"});
    expect_throw<InputError>([&] { load(folder.path()); }, {"folder"});
    expect_throw<InputError>([&] { find_checkpoint(folder.path()); }, {"latest.h5"});
    std::filesystem::create_symlink("good.h5", folder / "latest.h5");
    EXPECT_EQ(find_checkpoint(folder.path()), folder / "latest.h5");
    EXPECT_EQ(find_checkpoint(folder / "good.h5"), folder / "good.h5");
    std::filesystem::remove(folder / "good.h5");  // now a dangling link
    expect_throw<InputError>([&] { find_checkpoint(folder.path()); },
                             {"latest.h5: dangling symbolic link to good.h5"});
}

TEST_F(CheckpointTest, FolderWithoutLatestNamesCheckpointsInIt) {
    const auto find = [&](const std::filesystem::path& path) { return [path] { find_checkpoint(path); }; };
    for (const char* const name : {"runs/a/checkpoints", "runs/b"})
        std::filesystem::create_directories(folder / name);
    for (const char* const name : {"step-00000002.h5", "step-00000010.h5", "step-00000001.h5", "x.txt"})
        write_bytes(folder / "runs/a/checkpoints" / name, "");
    expect_throw<InputError>(find(folder / "runs/a/checkpoints"),
                             {"did you mean its newest, ", "/runs/a/checkpoints/step-00000010.h5?"});
    EXPECT_THROW(find_checkpoint(folder / "runs"), InputError);
    for (const char* const name : {"runs/a/latest.h5", "runs/b/latest.h5"}) write_bytes(folder / name, "");
    expect_throw<InputError>(find(folder / "runs"), {"latest.h5); did you mean ", "/runs/a or ", "/runs/b?"});
}

TEST_F(CheckpointTest, FullDiskKeepsPreviousCheckpoint) {
    const std::string before = read_bytes(folder / "good.h5");
    training.params()[0] += 1;
    for (const rlim_t bytes : {rlim_t{0}, rlim_t{1000}, static_cast<rlim_t>(before.size() / 2)}) {
        const FullDisk full(bytes);
        expect_throw<Error>([&] { save(folder / "good.h5"); }, {"good.h5"});
        expect_throw<Error>([&] { save(folder / "new.h5"); }, {"new.h5"});
    }
    EXPECT_EQ(read_bytes(folder / "good.h5"), before);
    EXPECT_EQ(folder.names(), std::vector<std::string>{"good.h5"});
    save(folder / "good.h5");
    EXPECT_NE(read_bytes(folder / "good.h5"), before);
    EXPECT_NO_THROW(load(folder / "good.h5"));
}

TEST_F(CheckpointTest, RejectsPathBelowFile) {
    expect_throw<InputError>([&] { save(folder / "good.h5/x.h5"); }, {"good.h5/x.h5", "Not a directory"});
    expect_throw<InputError>([&] { save(folder / "none/x.h5"); }, {"none/x.h5"});
}

}  // namespace
}  // namespace glow
