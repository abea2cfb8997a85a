#include "train/presets.h"

#include <set>

#include "tests/data/files.h"
#include "train/schedule.h"

namespace glow {
namespace {

TEST(Presets, AllAreValid) {
    std::set<std::string> texts;
    for (const Preset& preset : presets()) {
        TrainingOptions options = preset_options(preset.name);
        EXPECT_NO_THROW(check(options)) << preset.name;
        const std::string name = preset.name;
        const index_t size = name.ends_with("64") ? 64 : name.ends_with("256") ? 256 : 32;
        options.model.image_height = options.model.image_width = size;
        options.model.channels = name == "mnist" ? 1 : 3;
        options.model.n_classes = options.model.y_cond ? 10 : 0;
        EXPECT_NO_THROW(check(options.model)) << preset.name;
        EXPECT_EQ(options.epoch_images, 0) << preset.name;
        EXPECT_EQ(options.schedule_images, 50000) << preset.name;
        texts.insert(to_toml(options));
    }
    EXPECT_EQ(texts.size(), presets().size());  // no two are the same
}

TEST(Presets, UnknownNameListsPresets) {
    expect_throw<InputError>([] { preset_options("cifar100"); },
                             {"cifar100", "cifar10-conditional", "quick"});
    EXPECT_THROW(preset_options(""), InputError);
}

TEST(Presets, MatchPublishedSteps) {
    const auto schedule = [](const char* name) {
        TrainingOptions options = preset_options(name);
        return std::pair{options, make_schedule(options, 1000000)};
    };
    // 98 steps per epoch, 980 warm-up steps for any image size; 20 and 200 on 40 GPUs.
    for (const auto& [name, steps] : {std::pair{"cifar10", 98.0},
                                      {"imagenet32", 98.0},
                                      {"imagenet64", 98.0},
                                      {"lsun64", 98.0},
                                      {"celeba256", 20.0}}) {
        const auto [options, s] = schedule(name);
        EXPECT_NEAR(s.beta2, 1 - 1 / steps, 1e-12) << name;
        EXPECT_NEAR(s.ema_decay, 1 - 1 / steps, 1e-12) << name;
        const double warmup = options.warmup_epochs * s.schedule_images / static_cast<double>(s.batch);
        EXPECT_NEAR(warmup, 10 * 50000.0 / (name == std::string("celeba256") ? 2560 : 512), 1e-6) << name;
    }
}

// They end with their minutes, and the learning rate with them.
TEST(Presets, TimedOnesDecay) {
    for (const auto& [name, minutes] :
         {std::pair{"cifar10-1min", 1.0}, {"cifar10-5min", 5.0}, {"cifar10-1h", 60.0}, {"cpu-5min", 5.0}}) {
        const TrainingOptions options = preset_options(name);
        EXPECT_EQ(options.max_minutes, minutes) << name;
        EXPECT_EQ(options.epochs, 0) << name;
        const Schedule s = make_schedule(options, 40000);
        EXPECT_EQ(s.end_minutes, minutes) << name;
        EXPECT_EQ(options.lr_final, 0) << name;
        const double steps = warmup_images(options, s) / static_cast<double>(options.batch);
        EXPECT_GE(steps, 100) << name;
        EXPECT_LE(steps, 1000) << name;
    }
}

// An epoch is the data set; warm-up and averages take as many steps as with the published 50,000 images.
TEST(Presets, EpochsFollowDataSetButScheduleDoesNot) {
    TrainingOptions options = preset_options("quick");
    options.beta2 = 0;  // by default from the schedule's epoch
    const Schedule small = make_schedule(options, 1000), large = make_schedule(options, 1000000);
    EXPECT_EQ(small.epoch_images, 1000);
    EXPECT_EQ(small.steps_per_epoch, 63);
    EXPECT_EQ(large.epoch_images, 1000000);
    for (const Schedule& s : {small, large}) {
        EXPECT_EQ(s.beta2, 1 - 1.0 / 3125);
        EXPECT_EQ(s.ema_decay, 0.99);
        EXPECT_DOUBLE_EQ(learning_rate(options, s, {47}), options.lr * 752 / 1500);
        EXPECT_EQ(learning_rate(options, s, {94}), options.lr);
    }
    TrainingOptions published = options;
    published.epoch_images = 50000;
    EXPECT_EQ(make_schedule(published, 1000).steps_per_epoch, 3125);
    // Runs of earlier versions had one number for both.
    published.schedule_images = 0;
    EXPECT_EQ(make_schedule(published, 1000).beta2, small.beta2);
    EXPECT_EQ(learning_rate(published, make_schedule(published, 1000), {47}),
              learning_rate(options, small, {47}));
}

}  // namespace
}  // namespace glow
