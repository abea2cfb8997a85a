// What counts as a jump of the loss, and how a run's history is stored.
#include "train/history.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "inference/model_file.h"
#include "tests/support.h"
#include "tests/train/training.h"
#include "train/step_failure.h"

namespace glow {
namespace {

TEST(TrainingHistoryTest, TracksMeanAndVariance) {
    TrainingHistory history;
    test::Random random(3);
    std::vector<double> losses;
    for (int i = 0; i < 2000; ++i) history.add(3 + 0.1 * random.normal(), 50);
    EXPECT_NEAR(history.loss, 3, 0.04);  // 64 steps: 0.1 / sqrt(128)
    EXPECT_NEAR(std::sqrt(history.loss_variance), 0.1, 0.03);
    TrainingOptions options;
    EXPECT_NEAR(limits_of(history, options).loss, 4, 0.05);
    EXPECT_NEAR(limits_of(history, options).condition, 5000, 1);
    options.loss_jump = 0.1;
    EXPECT_NEAR(limits_of(history, options).loss, 3.8, 0.3);  // 8 deviations
    options.loss_jump = options.condition_jump = 0;
    EXPECT_TRUE(std::isinf(limits_of(history, options).loss));
    EXPECT_TRUE(std::isinf(limits_of(history, options).condition));
}

TEST(TrainingHistoryTest, OrdinaryRunNeverJumps) {
    // Falling losses with noise and a few outliers: a million steps without a false alarm.
    TrainingHistory history;
    test::Random random(4);
    const TrainingOptions options;
    EXPECT_TRUE(std::isinf(limits_of(history, options).loss));
    for (int t = 0; t < 1000000; ++t) {
        const double loss =
            3.5 + 4 * std::exp(-t / 300.0) + 0.08 * random.normal() + (t % 1000 == 999 ? 0.5 : 0);
        const double condition = 5 + t / 2000.0;
        const Limits limits = limits_of(history, options);
        ASSERT_LE(loss, limits.loss) << t;
        ASSERT_LE(condition, limits.condition) << t;
        history.add(loss, condition);
    }
}

TEST(TrainingHistoryTest, EarlyLossesMayJumpFurther) {
    TrainingOptions options = small_options();
    options.loss_jump = 1;
    TrainingHistory history;
    for (index_t t = 1; t <= 17; ++t) {
        history.add(5, 2);
        EXPECT_NEAR(limits_of(history, options).loss, t < 16 ? 15 : 6, 1e-12) << t;
    }
}

TEST(TrainingHistoryTest, RoundTripsThroughJson) {
    TrainingHistory history;
    history.lr_scale = 0.1;
    history.rollbacks = 3;
    for (int t = 0; t < 100; ++t) history.add(1.0 / (t + 3), t + 0.7);
    TrainingProgress progress;
    progress.history = history;
    progress.minutes = 0.1 + 0.2;
    const auto read = [](const nlohmann::ordered_json& json) {
        CheckpointInfo checkpoint;
        checkpoint.history = json;
        return training_progress(checkpoint);
    };
    const nlohmann::ordered_json good = nlohmann::ordered_json::parse(to_json(progress).dump());
    EXPECT_EQ(read(good).history, history);
    EXPECT_EQ(read(good).minutes, 0.1 + 0.2);
    nlohmann::ordered_json without_clock = good;
    without_clock.erase("minutes");
    EXPECT_EQ(read(without_clock).minutes, 0);
    for (const char* bad : {"{}", "[]", "3", "null", "\"x\""})
        expect_throw<InputError>([&] { history_from_json(nlohmann::ordered_json::parse(bad)); }, {"course"});
    for (const auto& [key, value] : good.items()) {
        nlohmann::ordered_json json = good;
        json[key] = "1";
        expect_throw<InputError>([&] { read(json); }, {key});
        json[key] = -2;
        if (key != "loss" && key != "log_condition")
            expect_throw<InputError>([&] { read(json); }, {"out of range"});
    }
}

}  // namespace
}  // namespace glow
