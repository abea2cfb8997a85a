// Recovery: each injected fault is detected, reported with layer and tensor, and overcome.
#include "train/recovery.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/dataset.h"
#include "runtime/device.h"
#include "tests/data/files.h"
#include "tests/support.h"
#include "tests/train/checkpoint_edit.h"
#include "tests/train/hooked_run.h"
#include "tests/train/training.h"
#include "train/run_folder.h"

namespace glow {
namespace {

using nlohmann::json;

struct Recovery : testing::Test {
    Recovery() {
        DatasetInfo info;
        info.H = info.W = 8;
        info.C = 3;
        DatasetWriter writer(folder / "d.h5", info);
        const Images images(50, small_options(8, 8).model, 7);
        writer.append("train", 40, images.pixels.data(), nullptr);
        writer.append("valid", 6, images.pixels.data() + 40 * 8 * 8 * 3, nullptr);
        writer.commit();
    }

    HookedRun request(const std::string& out, index_t steps) {
        HookedRun request;
        request.options = small_options(8, 8, 3, 2, 2, 8);
        request.options.data = (folder / "d.h5").string();
        request.options.out = (folder / out).string();
        request.options.batch = 8;
        request.options.max_steps = steps;
        request.options.threads = 1;
        request.options.log_every = 1;
        request.options.checkpoint_every = {2, false};
        request.options.eval_every = {3, false};
        request.options.sample_every = {0, false};
        request.options.rollback_lr = 1;  // repeated steps then equal those of a good run
        request.warn = [this](const std::string& line) { warnings.push_back(line); };
        return request;
    }
    // A reference run without faults.
    void make_good(index_t steps) { run_training(request("good", steps)); }

    static float* tensor(Trainer& trainer, const std::string& name, float* values,
                         const Tensor** found = nullptr) {
        for (const Tensor& tensor : trainer.glow().parameters().tensors())
            if (tensor.name == name) {
                if (found != nullptr) *found = &tensor;
                return values + tensor.offset;
            }
        throw Error("no tensor " + name);
    }
    using Fault = std::function<void(Trainer&)>;
    // Called once, before a step.
    static std::function<void(index_t, Trainer&)> once(index_t step, const Fault& fault) {
        return [=, done = std::make_shared<bool>(false)](index_t t, Trainer& trainer) {
            if (t != step || std::exchange(*done, true)) return;
            fault(trainer);
            trainer.weights_changed();
        };
    }
    static Fault poison(const std::string& name, float value) {
        return [=](Trainer& trainer) { *tensor(trainer, name, trainer.weights().params) = value; };
    }

    json report(const std::string& name) const { return json::parse(read_bytes(folder / name)); }
    std::vector<std::string> rows(const std::string& file) const {
        std::vector<std::string> rows;
        std::ifstream text(folder / file);
        for (std::string row; std::getline(text, row);) rows.push_back(row);
        return rows;
    }
    // images_per_s and step_ms differ between runs.
    std::vector<std::string> metrics(const std::string& out) const {
        std::vector<std::string> rows = this->rows(out + "/metrics.csv");
        for (std::string& row : rows) {
            std::size_t begin = 0, end = 0;
            for (int comma = 0; comma < 7; ++comma) begin = row.find(',', begin) + 1;
            end = row.find(',', row.find(',', begin) + 1);
            row.erase(begin, end - begin);
        }
        return rows;
    }
    void expect_the_good_run(const std::string& out) const {
        const CheckpointEdit a(folder / (out + "/latest.h5")), b(folder / "good/latest.h5");
        EXPECT_EQ(a.step, b.step);
        EXPECT_EQ(a.images_seen, b.images_seen);
        ASSERT_EQ(a.tensors.size(), b.tensors.size());
        for (const auto& [name, tensor] : a.tensors)
            EXPECT_EQ(tensor.values, b.tensors.at(name).values) << name;
        EXPECT_EQ(metrics(out), metrics("good"));
        EXPECT_EQ(rows(out + "/eval.csv"), rows("good/eval.csv"));
    }

    TemporaryFolder folder;
    std::vector<std::string> warnings;
};

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST_F(Recovery, RecoversFromFault) {
    make_good(12);
    const std::string name = "level0/step1/coupling/conv1/weight";
    HookedRun faulty = request("run", 12);
    faulty.hooks.before_step = once(7, poison(name, kNaN));
    const RunResult result = run_training(faulty);
    EXPECT_EQ(result.rollbacks, 1);
    EXPECT_EQ(result.ended, RunEnd::max_steps);
    expect_the_good_run("run");

    ASSERT_EQ(warnings.size(), 1u);
    // Whether a NaN survives ReLU and reaches the loss depends on the matrix library.
    for (const char* part : {"step 7: the ", " is not finite", "level0/step1/coupling/conv1/weight", "1 NaN",
                             "rolled back to step 6", "trouble/step-00000007-1.json", "1 of 5"})
        EXPECT_NE(warnings[0].find(part), std::string::npos) << part << " in: " << warnings[0];
    const json told = report("run/trouble/step-00000007-1.json");
    EXPECT_EQ(told["step"], 7);
    EXPECT_EQ(told["kind"], "weights");
    EXPECT_EQ(told["layer"], "level0/step1/coupling");
    EXPECT_EQ(told["tensor"], "/params/" + name);
    EXPECT_EQ(told["statistics"]["nan"], 1);
    EXPECT_GT(told["statistics"]["rms"], 0.01);
    EXPECT_EQ(told["action"]["to_step"], 6);
    EXPECT_EQ(told["last_steps"].size(), 6u);
    EXPECT_EQ(told["last_steps"][5]["step"], 6);
    EXPECT_EQ(told["images"]["first"], 48);
}

TEST_F(Recovery, NamesEveryKindOfFault) {
    make_good(20);
    run_training(request("begun", 15));
    struct Case {
        const char* kind;
        std::string layer, tensor;
        Fault fault;
    };
    const float inf = std::numeric_limits<float>::infinity();
    const auto fill_tensor = [](const std::string& name, float value, bool times = false) {
        return [=](Trainer& trainer) {
            const Tensor* found = nullptr;
            float* const values = tensor(trainer, name, trainer.weights().params, &found);
            for (index_t i = 0; i < found->count; ++i) values[i] = times ? value * values[i] : value;
        };
    };
    const auto moment = [](const std::string& name, float value) {
        return [=](Trainer& trainer) { *tensor(trainer, name, trainer.weights().m) = value; };
    };
    const Case cases[] = {
        {"weights", "level1/step0/actnorm", "/params/level1/step0/actnorm/logs",
         poison("level1/step0/actnorm/logs", inf)},
        // Found after the update that it corrupts.
        {"weights", "prior/top", "/params/prior/top/bias", moment("prior/top/bias", kNaN)},
        {"loss", "level0/split", "/params/level0/split/logs", fill_tensor("level0/split/logs", 300)},
        {"mixing", "level1/step1/mixing", "/params/level1/step1/invconv/weight",
         fill_tensor("level1/step1/invconv/weight", 1)},
        {"loss jump", "level0/step0/mixing", "", fill_tensor("level0/step0/actnorm/logs", 1)},
        {"condition jump", "level1/step0/mixing", "/params/level1/step0/invconv/weight",
         [](Trainer& trainer) {
             float* const row = tensor(trainer, "level1/step0/invconv/weight", trainer.weights().params);
             for (int i = 0; i < 24; ++i) row[i] *= 1e-4f;
         }},
    };
    int number = 0;
    for (const Case& one : cases) {
        SCOPED_TRACE(one.kind + (" " + one.layer));
        const std::string out = "run" + std::to_string(number++);
        std::filesystem::copy(
            folder / "begun", folder / out,
            std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
        HookedRun faulty = request(out, 20);
        faulty.resume = true;
        // Late enough for losses to have a known deviation.
        faulty.hooks.before_step = once(18, one.fault);
        warnings.clear();
        EXPECT_EQ(run_training(faulty).rollbacks, 1);
        expect_the_good_run(out);
        ASSERT_EQ(warnings.size(), 1u);
        const json told = report(out + "/trouble/step-00000018-1.json");
        EXPECT_EQ(told["kind"], one.kind) << warnings[0];
        EXPECT_EQ(told["layer"], one.layer) << warnings[0];
        if (!one.tensor.empty()) {
            EXPECT_EQ(told["tensor"], one.tensor) << warnings[0];
        }
    }
}

TEST_F(Recovery, NamesTheDequantizer) {
    const std::string name = "dequantizer/step0/coupling/conv3/logs";
    const Fault faults[] = {
        // A coupling scale of 0: the noise stays finite, but not its density.
        [&](Trainer& trainer) {
            tensor(trainer, name, trainer.weights().params)[1] = 300;
            tensor(trainer, "dequantizer/step0/coupling/conv3/bias", trainer.weights().params)[1] = -100;
        },
        // The noise is not finite either.
        [&](Trainer& trainer) {
            const Tensor* found = nullptr;
            float* const values = tensor(trainer, name, trainer.weights().params, &found);
            std::fill(values, values + found->count, 300.0f);
        }};
    for (const Fault& fault : faults) {
        warnings.clear();
        const std::string out = &fault == faults ? "density" : "noise";
        SCOPED_TRACE(out);
        HookedRun faulty = request(out, 6);
        faulty.options.dequant = Dequantization::variational;
        faulty.options.model.dequant_depth = 1;
        faulty.options.model.dequant_width = 8;
        faulty.hooks.before_step = once(5, fault);
        EXPECT_EQ(run_training(faulty).rollbacks, 1);
        ASSERT_EQ(warnings.size(), 1u);
        EXPECT_NE(warnings[0].find("the loss is not finite: after the dequantizer"), std::string::npos)
            << warnings[0];
        const json told = report(out + "/trouble/step-00000005-1.json");
        EXPECT_EQ(told["kind"], "loss");
        EXPECT_EQ(told["layer"], "dequantizer");
        EXPECT_EQ(told["tensor"], "/params/" + name);
        ASSERT_EQ(told["states"].size(), 11u);  // 2 levels of 2 steps, a split, the top
        EXPECT_EQ(told["states"][0]["after"], "dequantizer");
        EXPECT_EQ(told["states"][0]["finite"], false);
        if (out == "density") {
            EXPECT_LE(told["states"][0]["largest"], 0.5);
        }
    }
}

TEST_F(Recovery, NamesOverflowingGradient) {
    make_good(6);
    HookedRun faulty = request("run", 6);
    faulty.options.loss_jump = faulty.options.condition_jump = 0;
    // A coupling scale saturated at 1: harmless in forward, 0 times infinity in backward.
    faulty.hooks.before_step = once(5, [](Trainer& trainer) {
        tensor(trainer, "level0/step1/coupling/conv3/logs", trainer.weights().params)[1] = 28.7f;
        tensor(trainer, "level0/step1/coupling/conv3/bias", trainer.weights().params)[1] = 34;
    });
    EXPECT_EQ(run_training(faulty).rollbacks, 1);
    expect_the_good_run("run");
    const json told = report("run/trouble/step-00000005-1.json");
    EXPECT_EQ(told["kind"], "gradient") << warnings[0];
    EXPECT_EQ(told["layer"], "level0/step1/coupling") << warnings[0];
    EXPECT_EQ(told["tensor"], "/gradients/level0/step1/coupling/conv3/logs") << warnings[0];
    EXPECT_EQ(told["statistics"]["nan"], 1);
}

TEST_F(Recovery, RestartsBeforeFirstCheckpoint) {
    make_good(5);
    HookedRun faulty = request("run", 5);
    faulty.hooks.before_step = once(2, poison("level0/split/bias", kNaN));
    EXPECT_EQ(run_training(faulty).rollbacks, 1);
    expect_the_good_run("run");
    EXPECT_NE(warnings[0].find("rolled back to step 0"), std::string::npos) << warnings[0];
    // With --init-from, or resumed from elsewhere, the run restarts from that checkpoint.
    for (const bool resume : {false, true}) {
        const std::string out = resume ? "resumed" : "init";
        for (const char* name : {"a", "b"}) {
            HookedRun again = request(out + name, 8);
            again.options.checkpoint_every = {0, false};
            (resume ? again.resume_from : again.init_from) = (folder / "good/latest.h5").string();
            again.resume = resume;
            if (name[0] == 'b') again.hooks.before_step = once(7, poison("level0/split/bias", kNaN));
            EXPECT_EQ(run_training(again).rollbacks, name[0] == 'b' ? 1 : 0);
        }
        const CheckpointEdit a(folder / (out + "a/latest.h5")), b(folder / (out + "b/latest.h5"));
        EXPECT_EQ(a.step, 8);
        for (const auto& [name, tensor] : a.tensors)
            EXPECT_EQ(tensor.values, b.tensors.at(name).values) << name;
        EXPECT_EQ(metrics(out + "a"), metrics(out + "b"));
    }
}

TEST_F(Recovery, StartFromAnotherRunSurvivesKill) {
    make_good(4);
    for (const bool resume : {false, true}) {
        const std::string out = resume ? "resumed" : "init";
        const index_t last = resume ? 8 : 4;
        const auto begin = [&](const std::string& name) {
            HookedRun begun = request(name, last);
            begun.options.checkpoint_every = {0, false};
            (resume ? begun.resume_from : begun.init_from) = (folder / "good/latest.h5").string();
            begun.resume = resume;
            return begun;
        };
        run_training(begin(out + "-whole"));
        HookedRun killed = begin(out);
        killed.hooks.before_step = [=](index_t t, Trainer&) {
            if (t == last - 2) throw Error("killed");
        };
        expect_throw<Error>([&] { run_training(killed); }, {"killed"});
        HookedRun rest = request(out, last);
        rest.resume = true;
        EXPECT_EQ(run_training(rest).progress.step, last);
        const CheckpointEdit a(folder / (out + "-whole/latest.h5")), b(folder / (out + "/latest.h5"));
        for (const auto& [name, tensor] : a.tensors)
            EXPECT_EQ(tensor.values, b.tensors.at(name).values) << name;
        EXPECT_EQ(metrics(out), metrics(out + "-whole"));
    }
}

TEST_F(Recovery, LoweredLearningRateSurvivesResume) {
    const auto with_fault = [&](const std::string& out, index_t steps) {
        HookedRun faulty = request(out, steps);
        faulty.options.rollback_lr = 0.5;
        faulty.options.warmup_epochs = 0;
        faulty.hooks.before_step = once(5, poison("level0/split/bias", kNaN));
        return faulty;
    };
    EXPECT_EQ(run_training(with_fault("good", 12)).lr_scale, 0.5);
    for (std::size_t i = 1; i < 13; ++i) {
        std::string lr = rows("good/metrics.csv")[i];
        for (int comma = 0; comma < 6; ++comma) lr = lr.substr(lr.find(',') + 1);
        EXPECT_EQ(lr.substr(0, lr.find(',')), i <= 4 ? "0.001" : "0.0005") << i;
    }
    run_training(with_fault("run", 6));
    HookedRun rest = with_fault("run", 12);
    rest.hooks.before_step = nullptr;
    rest.resume = true;
    EXPECT_EQ(run_training(rest).lr_scale, 0.5);
    expect_the_good_run("run");
    // A learning rate given on resume is used unchanged.
    rest.options.max_steps = 13;
    rest.options.lr = 2e-3;
    EXPECT_EQ(run_training(rest).lr_scale, 1);
}

TEST_F(Recovery, LoweredLearningRateSurvivesStopAfterRollBack) {
    HookedRun faulty = request("run", 12);
    faulty.options.rollback_lr = 0.5;
    faulty.hooks.before_step = once(7, [](Trainer& trainer) {
        poison("level0/split/bias", kNaN)(trainer);
        std::raise(SIGTERM);
    });
    const RunResult stopped = run_training(faulty);
    EXPECT_EQ(stopped.ended, RunEnd::signal);
    EXPECT_EQ(stopped.progress.step, 6);
    EXPECT_EQ(stopped.lr_scale, 0.5);
    HookedRun rest = request("run", 8);
    rest.resume = true;
    EXPECT_EQ(run_training(rest).lr_scale, 0.5);
}

TEST_F(Recovery, LoweredLearningRateSurvivesDrift) {
    HookedRun faulty = request("run", 8);
    faulty.options.fused_update = true;
    faulty.options.rollback_lr = 0.5;
    auto nan = once(1, poison("level0/split/bias", kNaN));
    faulty.hooks.before_step = [&, repeated = 0](index_t t, Trainer& trainer) mutable {
        nan(t, trainer);
        if (t == 1 && ++repeated == 2) throw DriftError("drift");
    };
    EXPECT_EQ(run_training(faulty).lr_scale, 0.5);
}

// For each kind of end, with a clock of eight steps a minute.
TEST_F(Recovery, StoppedRunsFollowTheSameDecay) {
    enum End { by_steps, by_epochs, by_minutes };
    const auto run = [&](const std::string& out, End end, index_t stop_at) {
        HookedRun decaying = request(out, end == by_steps ? 12 : 0);
        decaying.options.lr_schedule = LrSchedule::cosine;
        decaying.options.lr_final = 1e-5;
        decaying.options.warmup_epochs = 0;
        decaying.options.epochs = end == by_epochs ? 2.4 : 0;  // 96 images
        decaying.options.max_minutes = end == by_minutes ? 1.5 : 0;
        decaying.resume = true;
        const bool begins = !std::filesystem::exists(folder / out);
        const index_t first = begins ? 1 : CheckpointEdit(folder / out / "latest.h5").step;
        const auto minutes = std::make_shared<double>(0);
        decaying.hooks.minutes = [=] { return *minutes; };
        decaying.hooks.before_step = [=](index_t t, Trainer&) {
            *minutes = static_cast<double>(t - first) / 8;
            if (t == stop_at) std::raise(SIGTERM);
        };
        return run_training(decaying).progress.step;
    };
    for (const End end : {by_steps, by_epochs, by_minutes}) {
        const std::string whole = "whole" + std::to_string(end), parts = "parts" + std::to_string(end);
        const index_t last = end == by_minutes ? 13 : 12;
        EXPECT_EQ(run(whole, end, 0), last);
        EXPECT_EQ(run(parts, end, 3), 3);
        EXPECT_EQ(run(parts, end, 8), 8);
        EXPECT_EQ(run(parts, end, 0), last);
        EXPECT_EQ(metrics(parts), metrics(whole));
        const CheckpointEdit a(folder / whole / "latest.h5"), b(folder / parts / "latest.h5");
        for (const auto& [name, tensor] : a.tensors)
            EXPECT_EQ(tensor.values, b.tensors.at(name).values) << name;
        // The learning rate falls at every step.
        double before = 1;
        for (const std::string& row : rows(whole + "/metrics.csv")) {
            std::istringstream cells(row);
            std::string cell;
            for (int column = 0; column < 7; ++column) std::getline(cells, cell, ',');
            if (cell == "lr") continue;
            EXPECT_LT(std::stod(cell), before) << row;
            before = std::stod(cell);
        }
        EXPECT_LT(before, 1e-4);
    }
}

// The clock of a checkpoint includes the last step and the evaluation after it.
TEST_F(Recovery, FinishedTimedRunTakesNoStepWhenResumed) {
    HookedRun timed = request("run", 0);
    timed.options.lr_schedule = LrSchedule::cosine;
    timed.options.max_minutes = 0.5;
    timed.resume = true;
    const auto minutes = std::make_shared<double>(0);
    timed.hooks.minutes = [=] { return *minutes; };
    timed.metrics = [=](const std::string&, const std::string&) { *minutes += 0.125; };  // after each step
    for (int part = 0; part < 2; ++part) {
        *minutes = 0;
        const RunResult result = run_training(timed);
        EXPECT_EQ(result.progress.step, 4) << part;
        EXPECT_EQ(result.ended, RunEnd::max_minutes) << part;
    }
}

TEST_F(Recovery, WarnsWhereADecayEndsBeforeAPart) {
    HookedRun decaying = request("run", 4);
    decaying.options.lr_schedule = LrSchedule::cosine;
    run_training(decaying);
    decaying.resume = true;
    decaying.recorded_limits = RunLimits{.max_steps = 4};
    run_training(decaying);
    EXPECT_EQ(std::ssize(warnings), 0);
    decaying.options.max_steps = 6;
    run_training(decaying);
    ASSERT_EQ(std::ssize(warnings), 1);
    for (const char* const part : {"ends at step 4", "--lr-final 0", "--save-limits"})
        EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
    decaying.options.max_steps = 7;
    decaying.recorded_limits.reset();  // as by --save-limits
    run_training(decaying);
    EXPECT_EQ(std::ssize(warnings), 1);
}

TEST_F(Recovery, DecayOnResumeNeedsTheRunsLimit) {
    run_training(request("run", 4));
    HookedRun decaying = request("run", 8);
    decaying.resume = true;
    decaying.options.lr_schedule = LrSchedule::cosine;
    decaying.recorded_limits = RunLimits{};
    expect_throw<InputError>([&] { run_training(decaying); }, {"--lr-schedule cosine", "--save-limits"});
    decaying.options.epochs = 10;  // recorded, unlike the steps of a part
    EXPECT_EQ(run_training(decaying).progress.step, 8);
    decaying.options.epochs = 0;
    expect_throw<InputError>([&] { run_training(decaying); }, {"--save-limits"});
    decaying.recorded_limits.reset();
    decaying.options.max_steps = 10;
    EXPECT_EQ(run_training(decaying).progress.step, 10);
}

// As by cp -L, or an archive without links: latest.h5 is the only checkpoint, and a file.
TEST_F(Recovery, FolderCopiedWithoutLinks) {
    run_training(request("run", 6));
    for (const int faults : {0, 2}) {
        const std::string out = "copy" + std::to_string(faults);
        std::filesystem::create_directory(folder / out);
        for (const char* file : {"latest.h5", "config.toml"})
            std::filesystem::copy_file(folder / "run" / file, folder / out / file);
        HookedRun copied = request(out, 12);
        copied.resume = true;
        copied.hooks.before_step = [left = faults](index_t t, Trainer& trainer) mutable {
            if (t != 7 || left-- <= 0) return;
            poison("level0/step1/actnorm/logs", kNaN)(trainer);
            trainer.weights_changed();
        };
        EXPECT_EQ(run_training(copied).rollbacks, faults);
        EXPECT_TRUE(std::filesystem::is_symlink(folder / out / "latest.h5"));
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, 12);
    }
}

// As on a full disk: the logs are cut and latest.h5 is linked later.
TEST_F(Recovery, RollsBackWithoutWriting) {
    make_good(12);
    const std::filesystem::path metrics = folder / "run/metrics.csv", aside = folder / "aside.csv",
                                blocked = folder / "run/latest.h5.new";
    HookedRun faulty = request("run", 12);
    faulty.hooks.before_step = [=, faults = 0](index_t t, Trainer& trainer) mutable {
        if (t == 5 && faults == 2) {
            std::filesystem::remove(metrics);
            std::filesystem::rename(aside, metrics);
            std::filesystem::remove_all(blocked);
        }
        if (t != 7 || faults == 2) return;
        if (++faults == 1) {
            std::filesystem::rename(metrics, aside);
            std::filesystem::create_directory(metrics);
            std::filesystem::create_directories(blocked / "folder");
        }
        poison("level0/split/bias", kNaN)(trainer);
        trainer.weights_changed();
    };
    EXPECT_EQ(run_training(faulty).rollbacks, 2);
    expect_the_good_run("run");
    for (const char* const file : {"metrics.csv", "latest.h5"})
        EXPECT_TRUE(std::ranges::any_of(warnings, [&](const std::string& line) {
            return line.starts_with((folder / "run" / file).string() + ": cannot be ") ||
                   line.starts_with((folder / "run" / file).string() + ": cannot create the link");
        })) << file;
}

TEST_F(Recovery, UnreadableImagesLeaveACheckpoint) {
    HookedRun run = request("run", 12);
    run.options.data_access = ImageAccess::disk;
    run.options.checkpoint_every = run.options.eval_every = {0, false};  // nothing else saves
    run.hooks.before_step = [this](index_t t, Trainer&) {
        if (t == 4) std::filesystem::resize_file(folder / "d.h5", 100);
    };
    expect_throw<Error>([&] { run_training(run); }, {"d.h5"});
    EXPECT_GE(CheckpointEdit(folder / "run/latest.h5").step, 3);
}

// Rows held back while audit.csv could not be written are written at the end, or the run fails.
TEST_F(Recovery, WritesAuditsAtTheEnd) {
    HookedRun good = request("good", 6);
    good.options.audit_every = 4;
    run_training(good);
    for (const bool heals : {true, false}) {
        const std::string out = heals ? "heals" : "fails";
        HookedRun run = request(out, 6);
        run.options.audit_every = 4;
        run.hooks.before_step = [=, this](index_t t, Trainer&) {
            const std::filesystem::path file = folder / (out + "/audit.csv"), aside = folder / "aside.csv";
            if (t == 4) {
                std::filesystem::rename(file, aside);
                std::filesystem::create_directory(file);
            } else if (t == 5 && heals) {
                std::filesystem::remove(file);
                std::filesystem::rename(aside, file);
            }
        };
        if (heals)
            run_training(run);
        else
            expect_throw<Error>([&] { run_training(run); }, {"audit.csv", "cannot be written"});
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, 6);
        if (heals) {
            EXPECT_GE(rows(out + "/audit.csv").size(), 2u);
            EXPECT_EQ(rows(out + "/audit.csv"), rows("good/audit.csv"));
        }
    }
}

// A checkpoint that cannot be written when its weights are the best so far, but a moment later.
TEST_F(Recovery, LinksTheBestCheckpointAtALaterAttempt) {
    HookedRun run = request("run", 3);
    run.options.checkpoint_every = {0, false};
    const std::filesystem::path checkpoints = folder / "run/checkpoints", aside = folder / "aside";
    run.hooks.before_step = [&](index_t t, Trainer&) {
        if (t != 3) return;
        std::filesystem::rename(checkpoints, aside);
        write_bytes(checkpoints, "");
    };
    run.warn = [&](const std::string& line) {
        warnings.push_back(line);
        std::filesystem::remove(checkpoints);
        std::filesystem::rename(aside, checkpoints);
    };
    run_training(run);
    EXPECT_EQ(warnings.size(), 1u);
    EXPECT_EQ(std::filesystem::read_symlink(folder / "run/best.h5").string(), "checkpoints/step-00000003.h5");
}

TEST_F(Recovery, FailsIfTheLastFilesCannotBeWritten) {
    for (const std::string file : {"best.h5", "samples/step-00000003.png"}) {
        const std::string out = file.substr(0, 4);
        HookedRun run = request(out, 3);
        const std::filesystem::path obstacle = folder / (out + "/" + file + (out == "best" ? ".new" : ""));
        run.hooks.before_step = [&](index_t, Trainer&) {
            std::filesystem::create_directories(obstacle / "inside");
        };
        expect_throw<Error>([&] { run_training(run); }, {"the run ended at step 3", file});
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, 3);
        std::filesystem::remove_all(obstacle);
        HookedRun rest = request(out, 3);
        rest.resume = true;
        run_training(rest);
        EXPECT_TRUE(std::filesystem::is_regular_file(folder / out / file)) << file;
    }
}

// A stop during validation or sampling drops their result, and keeps the step.
TEST_F(Recovery, StopsDuringValidationAndSampling) {
    const auto small_batches = [this](const std::string& out) {
        HookedRun run = request(out, 6);
        run.options.micro_batch = 2;  // 3 batches of validation images for each set of weights
        return run;
    };
    run_training(small_batches("good"));
    for (const bool validates : {true, false}) {
        const std::string out = validates ? "validation" : "samples";
        HookedRun run = small_batches(out);
        run.options.checkpoint_every = {0, false};
        run.options.eval_every = {validates ? 3.0 : 0.0, false};
        run.options.sample_every = {validates ? 0.0 : 3.0, false};
        const auto asked = std::make_shared<int>(-1);  // since step 3
        run.hooks.before_step = [=](index_t t, Trainer&) {
            if (t == 3) *asked = 0;
        };
        run.stop = [=] { return *asked >= 0 && ++*asked >= 5; };
        const RunResult result = run_training(run);
        EXPECT_EQ(result.ended, RunEnd::signal);
        EXPECT_EQ(*asked, 6);  // once more before the next step
        EXPECT_EQ(CheckpointEdit(folder / out / "latest.h5").step, 3);
        EXPECT_EQ(rows(out + "/eval.csv").size(), 1u);
        EXPECT_TRUE(std::filesystem::is_empty(folder / out / "samples"));
        EXPECT_FALSE(result.valid_ema || result.valid_raw);
        HookedRun rest = small_batches(out);
        rest.resume = true;
        rest.options.eval_every = run.options.eval_every;
        rest.options.sample_every = run.options.sample_every;
        EXPECT_TRUE(run_training(rest).valid_ema);
        const std::vector<std::string> evaluations = rows(out + "/eval.csv");
        EXPECT_EQ(
            std::ranges::count_if(evaluations, [](const auto& row) { return row.starts_with("3,valid,"); }),
            validates ? 2 : 0);  // made up for
        EXPECT_EQ(std::filesystem::exists(folder / out / "samples/step-00000003.png"), !validates);
        const CheckpointEdit a(folder / out / "latest.h5"), b(folder / "good/latest.h5");
        for (const auto& [name, tensor] : a.tensors)
            EXPECT_EQ(tensor.values, b.tensors.at(name).values) << name;
    }
}

TEST_F(Recovery, ResultNamesTheStepOfItsValidation) {
    HookedRun run = request("run", 6);
    run.hooks.before_step = [](index_t t, Trainer&) {
        if (t == 4) std::raise(SIGTERM);
    };
    const RunResult stopped = run_training(run);
    EXPECT_EQ(stopped.progress.step, 4);
    ASSERT_TRUE(stopped.valid_ema);
    EXPECT_EQ(to_json(stopped)["valid_step"], 3);
    run.resume = true;
    run.hooks.before_step = nullptr;
    EXPECT_EQ(run_training(run).valid_step, 6);
}

// --verbose: what cuDNN says about each engine that --tune tries, or why there is no cuDNN.
TEST_F(Recovery, VerboseRunReportsEngines) {
    if (!cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
    for (const bool verbose : {false, true}) {
        HookedRun run = request(verbose ? "verbose" : "quiet", 1);
        run.device = Device::cuda;
        run.options.tune = true;
        run.verbose = verbose;
        index_t reports = 0;
        run.info = [&](const std::string& line) { reports += line.find("cuDNN") != std::string::npos; };
        run_training(run);
        EXPECT_EQ(reports > 0, verbose);
    }
}

TEST_F(Recovery, GivesUpAfterRollingBackFurtherEachTime) {
    HookedRun faulty = request("run", 12);
    faulty.options.keep = 3;
    faulty.options.rollbacks = 4;
    faulty.options.rollback_lr = 0.5;
    faulty.hooks.before_step = [this](index_t t, Trainer& trainer) {
        if (t == 7) {  // remove the earlier failures
            EXPECT_FALSE(std::filesystem::exists(folder / "run/checkpoints/step-00000008.h5"));
        }
        if (t != 9) return;
        poison("level1/step1/coupling/conv3/bias", kNaN)(trainer);
        trainer.weights_changed();
    };
    expect_throw<Error>(
        [&] { run_training(faulty); },
        {"step 9: the loss is not finite", "level1/step1/coupling/conv3/bias",
         "given up after 4 roll-backs in a row (--rollbacks)", "step-00000009-5.json", "--lr"});
    const index_t to[] = {8, 6, 4, 4};
    for (int i = 1; i <= 4; ++i) {
        const json told = report("run/trouble/step-00000009-" + std::to_string(i) + ".json");
        EXPECT_EQ(told["action"]["to_step"], to[i - 1]) << i;
        EXPECT_EQ(told["action"]["lr_scale"], std::pow(0.5, i)) << i;
    }
    EXPECT_EQ(report("run/trouble/step-00000009-5.json")["action"], "given up");
    // Good checkpoints remain and can be resumed.
    EXPECT_EQ(CheckpointEdit(folder / "run/latest.h5").step, 8);
    HookedRun rest = request("run", 12);
    rest.resume = true;
    EXPECT_EQ(run_training(rest).progress.step, 12);

    faulty.options.out = (folder / "none").string();
    faulty.options.rollbacks = 0;
    expect_throw<Error>([&] { run_training(faulty); }, {"step 9", "given up", "--lr"});
}

TEST_F(Recovery, RetryCountResetsAfterEpoch) {
    HookedRun faulty = request("run", 24);
    faulty.options.rollbacks = 1;
    auto first = once(3, poison("level0/split/bias", kNaN)),
         second = once(9, poison("level0/split/bias", kNaN));
    faulty.hooks.before_step = [&](index_t t, Trainer& trainer) {
        first(t, trainer);
        second(t, trainer);  // 5 steps per epoch
    };
    EXPECT_EQ(run_training(faulty).rollbacks, 2);
    first = once(3, poison("level0/split/bias", kNaN));
    second = once(8, poison("level0/split/bias", kNaN));
    faulty.options.out = (folder / "soon").string();
    expect_throw<Error>([&] { run_training(faulty); }, {"step 8", "given up after 1"});
}

TEST_F(Recovery, NonFiniteAveragesAreNotSaved) {
    make_good(6);
    HookedRun faulty = request("run", 6);
    faulty.hooks.before_step = once(
        4, [](Trainer& trainer) { *tensor(trainer, "level0/split/bias", trainer.weights().ema) = kNaN; });
    EXPECT_EQ(run_training(faulty).rollbacks, 1);
    expect_the_good_run("run");
    EXPECT_NE(warnings[0].find("/ema/level0/split/bias is not finite"), std::string::npos) << warnings[0];
}

TEST_F(Recovery, RollbackSkipsDamagedCheckpoint) {
    make_good(10);
    HookedRun faulty = request("run", 10);
    faulty.hooks.before_step = once(7, [this](Trainer& trainer) {
        std::filesystem::resize_file(folder / "run/checkpoints/step-00000006.h5", 5000);
        poison("level0/split/bias", kNaN)(trainer);
    });
    EXPECT_EQ(run_training(faulty).rollbacks, 1);
    expect_the_good_run("run");
    EXPECT_EQ(report("run/trouble/step-00000007-1.json")["action"]["to_step"], 4);
}

TEST_F(Recovery, GivesUpWithHugeLearningRate) {
    for (const double lr : {1e3, 1e6}) {
        HookedRun wild = request("run" + std::to_string(static_cast<int>(lr)), 200);
        wild.options.lr = lr;
        wild.options.warmup_epochs = 0;
        wild.options.rollback_lr = 0.5;
        expect_throw<Error>([&] { run_training(wild); },
                            {"step ", "given up after 5 roll-backs", "--lr", "level"});
        EXPECT_EQ(warnings.size(), 5u);
        warnings.clear();
    }
    // With enough attempts it is lowered until training succeeds.
    HookedRun wild = request("tamed", 60);
    wild.options.lr = 1e3;
    wild.options.warmup_epochs = 0;
    wild.options.rollback_lr = 0.1;
    wild.options.rollbacks = 10;
    const RunResult result = run_training(wild);
    EXPECT_LE(result.lr_scale, 1e-4);
    EXPECT_LT(result.bits_per_dim, 9);
}

}  // namespace
}  // namespace glow
