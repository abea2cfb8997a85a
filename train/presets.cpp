// Sources: the commands in the README of openai/glow and the defaults of its train.py, unless noted
// otherwise.
//
// In openai/glow an epoch is 50,000 images for any data set, each counted as if it were 32 x 32 pixels: a GPU
// processes 64 (32 / size)^2 images per step and counts 64. A step at 64 x 64 therefore advances the epoch by
// 4 times its images, at 256 x 256 by 64 times. In Glow an epoch is the training set (--epoch-images 50000
// counts as published), and the two settings that depend on the published epoch give the published steps for
// any data set: warm-up over 10 published epochs, and beta2 (which also sets the weight average) = 1 - 1 /
// (steps per published epoch).
#include "train/presets.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/error.h"

namespace glow {
namespace {

constexpr double kWarmupEpochs = 10;
// 6.8 days at 29 images/s on each of 8 GPUs: 2,726 epochs.
constexpr double kCifar10Images = 6.8 * 86400 * 8 * 29;

// Levels, depth, and the total batch of all GPUs.
TrainingOptions published(index_t levels, index_t depth, index_t batch) {
    TrainingOptions options;
    options.model.levels = levels;
    options.model.depth = depth;
    options.model.width = 512;
    options.batch = batch;
    options.schedule_images = kPublishedEpochImages;
    options.warmup_epochs = kWarmupEpochs;
    options.augment = {};
    return options;
}

// For images of a size other than 32x32: a step's batch counts as `counted` images of a published epoch.
TrainingOptions at_size(TrainingOptions options, index_t counted) {
    const double steps = std::ceil(kPublishedEpochImages / static_cast<double>(counted));
    options.beta2 = 1 - 1 / steps;
    options.warmup_epochs = kWarmupEpochs * static_cast<double>(options.batch) / static_cast<double>(counted);
    return options;
}

// Options for a fixed time: the learning rate decays to 0 by its end.
TrainingOptions timed(TrainingOptions options, double minutes, index_t warmup_steps) {
    options.max_minutes = minutes;
    options.lr_schedule = LrSchedule::cosine;
    options.warmup_epochs = 0;
    options.warmup_steps = warmup_steps;
    options.augment = {.flip = true};
    options.eval_every = options.sample_every = {0, false};
    return options;
}
TrainingOptions timed_on_gpu(double minutes, index_t warmup_steps) {
    TrainingOptions options = timed(published(3, 32, 256), minutes, warmup_steps);
    options.precision = Precision::bf16;
    options.memory = MemoryMode::automatic;  // storing everything takes 6.5 GiB and is 1.2 times as fast
    options.tune = true;
    return options;
}

}  // namespace

const std::vector<Preset>& presets() {
    static const std::vector<Preset> all = {
        {"quick", "minutes on a few cores: L 3, K 8, width 128, batch 16"},
        {"cifar10", "published 3.35 bits/dim: 32x32, L 3, K 32, batch 512", kCifar10Images},
        {"imagenet32", "published 4.09: 32x32, L 3, K 48, batch 512"},
        {"imagenet64", "published 3.81: 64x64, L 4, K 48, batch 128"},
        {"lsun64", "published 2.38 to 2.67: 64x64, L 3, K 48, batch 128"},
        {"celeba256", "published 1.03 at 5 bits: 256x256, L 6, K 32, additive, batch 40"},
        {"cifar10-conditional", "published samples: additive, 5 bits, classes and a classifier"},
        {"mnist", "the published code's defaults for MNIST, on gray images of 32x32"},
        {"cifar10-1min", "one GPU for a minute: L 3, K 32, bounded scales, batch 256, bf16, cosine decay"},
        {"cifar10-5min", "the same for 5 minutes"},
        {"cifar10-1h", "the published model on one GPU for an hour: batch 256, bf16, cosine decay"},
        {"cpu-5min", "5 minutes on a few cores: quick at width 64, with cosine decay"}};
    return all;
}

TrainingOptions preset_options(const std::string& name) {
    if (name == "cifar10") {
        TrainingOptions options = published(3, 32, 512);
        options.augment = {.shift = true};
        return options;
    }
    if (name == "imagenet32") return published(3, 48, 512);
    if (name == "imagenet64") return at_size(published(4, 48, 128), 512);
    if (name == "lsun64") return at_size(published(3, 48, 128), 512);
    if (name == "celeba256") {
        TrainingOptions options = at_size(published(6, 32, 40), 40 * 64);
        options.model.coupling = CouplingKind::additive;
        options.model.n_bits = 5;
        return options;
    }
    if (name == "cifar10-conditional") {
        TrainingOptions options = preset_options("cifar10");
        options.model.coupling = CouplingKind::additive;
        options.model.n_bits = 5;
        options.model.y_cond = true;
        options.model.weight_y = 0.01;
        return options;
    }
    if (name == "mnist") {
        TrainingOptions options = preset_options("cifar10");
        options.model.coupling = CouplingKind::additive;  // default of the published code
        return options;
    }
    if (name == "quick") {  // the settings of tools/quickstart.sh
        TrainingOptions options = published(3, 8, 16);
        options.model.width = 128;
        // Measured for runs of minutes (docs/results.md): the published rate and averages need hours.
        options.lr = 4e-3;
        options.beta2 = 0.99;
        options.warmup_epochs = 0.03;
        options.ema_decay = 0.99;
        options.augment = {.flip = true};
        return options;
    }
    if (name == "cpu-5min") {
        TrainingOptions options = timed(preset_options("quick"), 5, 100);
        options.model.width = 64;
        options.lr = 8e-3;
        return options;
    }
    if (name == "cifar10-1min" || name == "cifar10-5min") {
        const bool minute = name == "cifar10-1min";
        TrainingOptions options = timed_on_gpu(minute ? 1 : 5, minute ? 100 : 200);
        options.lr = 4e-3;  // measured on an H200 (docs/results/2026-11-27-gpu-h200.md), like the scale
        options.model.coupling_scale = CouplingScale::tanh;
        return options;
    }
    if (name == "cifar10-1h") return timed_on_gpu(60, 1000);
    std::string names;
    for (const Preset& preset : presets())
        names += fmt::format("{}{}", names.empty() ? "" : ", ", preset.name);
    throw InputError(fmt::format("--preset {}: expected one of {}", name, names));
}

}  // namespace glow
