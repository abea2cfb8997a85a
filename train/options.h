// All options of a training run, listed once. visit_training_options() generates the command line,
// config.toml, the checkpoint's `training` object and the comparison on resume.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/augment.h"
#include "inference/data_access.h"
#include "kernels/dequantize.h"
#include "layers/config.h"

namespace glow {

enum class Optimizer { adamax, adam };
enum class MomentPrecision { fp32, bf16 };
// What forward saves for backward: only the latents, every state, every state and map, or as much as fits a
// budget.
enum class MemoryMode { reconstruct, checkpoint, store, automatic };
enum class LrSchedule { constant, cosine, linear };

template <>
struct EnumNames<Optimizer> {
    static constexpr const char* what = "optimizer";
    static constexpr EnumName<Optimizer> values[] = {{Optimizer::adamax, "adamax"},
                                                     {Optimizer::adam, "adam"}};
};
template <>
struct EnumNames<LrSchedule> {
    static constexpr const char* what = "lr-schedule";
    static constexpr EnumName<LrSchedule> values[] = {
        {LrSchedule::constant, "constant"}, {LrSchedule::cosine, "cosine"}, {LrSchedule::linear, "linear"}};
};
template <>
struct EnumNames<MomentPrecision> {
    static constexpr const char* what = "moments";
    static constexpr EnumName<MomentPrecision> values[] = {{MomentPrecision::fp32, "fp32"},
                                                           {MomentPrecision::bf16, "bf16"}};
};
template <>
struct EnumNames<MemoryMode> {
    static constexpr const char* what = "memory policy";
    static constexpr EnumName<MemoryMode> values[] = {{MemoryMode::reconstruct, "reconstruct"},
                                                      {MemoryMode::checkpoint, "checkpoint"},
                                                      {MemoryMode::store, "store"},
                                                      {MemoryMode::automatic, "auto"}};
};

// Interval of an action: every N steps, every N minutes ("10m"), or never ("0").
struct Interval {
    double count = 0;
    bool minutes = false;
    bool operator==(const Interval&) const = default;
};
Interval parse_interval(const std::string& text);  // InputError
std::string to_string(const Interval& interval);

// Images per epoch in the published code, for any data set.
inline constexpr double kPublishedEpochImages = 50000;

struct TrainingOptions {
    std::string data, out;
    ModelConfig model;  // image shape from the data set

    Optimizer optimizer = Optimizer::adamax;
    double lr = 1e-3, beta1 = 0.9;
    double beta2 = 0;  // 0: 1 - 1 / (steps per epoch)
    LrSchedule lr_schedule = LrSchedule::constant;
    double lr_final = 0;  // at the end of the run, unless constant
    double warmup_epochs = 10;
    index_t warmup_steps = 0;    // 0: warmup_epochs
    double epoch_images = 0;     // 0: size of the training set
    double schedule_images = 0;  // per epoch of warm-up and beta2; 0: epoch_images
    double weight_decay = 0;
    double clip_norm = 0;  // 0: off
    bool fused_update = false;
    MomentPrecision moments = MomentPrecision::fp32;
    double ema_decay = 0;  // 0: beta2

    index_t batch = 64;
    index_t micro_batch = 0;  // 0: whole batch
    index_t init_batch = 0;   // 0: min(256, N_train, max(batch, 2^23 / D)), or more (schedule.cpp)
    // Limits of the run; 0: none.
    double epochs = 0;
    index_t max_steps = 0;
    double max_minutes = 0;

    Augmentation augment = {.flip = true};
    Dequantization dequant = Dequantization::uniform;
    bool shuffle = true;
    ImageAccess data_access = ImageAccess::automatic;
    std::uint64_t seed = 0;
    Precision precision = Precision::fp32;
    int threads = 0;  // 0: all processors
    bool graph = true;
    bool tune = false;
    std::string engines;     // see train/tune.h; "": products
    std::string algorithms;  // see train/tune.h; "": the library's first choices

    MemoryMode memory = MemoryMode::reconstruct;
    // Bytes of maps saved by `auto`; 0: a quarter of the memory of the machine or GPU, shared by processes.
    index_t act_budget = 0;
    index_t max_memory = 0;    // bytes of a host's processes, or of a GPU's; 0: no limit but the machine's
    index_t anchor_every = 0;  // 0: only level starts
    bool float_states = false, rounding_bits = false;
    index_t tile = 0;            // 0: default rule
    index_t audit_every = 0;     // steps; 0: never
    double drift_tolerance = 0;  // 0: 1e-5 for float networks, 1e-2 for tf32 and bf16

    index_t rollbacks = 5;  // consecutive
    double rollback_lr = 0.5;
    double loss_jump = 1;         // bits/dim; 0: no limit
    double condition_jump = 100;  // a factor; 0: no limit

    index_t log_every = 10;
    Interval eval_every{30, true}, sample_every{60, true}, checkpoint_every{15, true};
    int keep = 3;
};

// Whether an option may change on resume.
enum class OnResume {
    fixed,   // must equal the checkpoint's
    change,  // may change; the change is reported
    free     // ignored
};

// visitor(name, member, OnResume, help) for every option except the model's, in groups.
template <class Options, class Visitor>
void visit_files_options(Options& o, Visitor&& visitor) {
    visitor("data", o.data, OnResume::change, "Data set (HDF5, made by glow_data)");
    visitor("out", o.out, OnResume::free, "Folder of the run");
}
template <class Options, class Visitor>
void visit_update_options(Options& o, Visitor&& visitor) {
    visitor("optimizer", o.optimizer, OnResume::fixed, "adamax or adam");
    visitor("lr", o.lr, OnResume::change, "Learning rate");
    visitor("lr-schedule", o.lr_schedule, OnResume::change,
            "constant, or cosine or linear decay of the learning rate to --lr-final at the end of the run: "
            "when the first of --max-steps, --epochs and --max-minutes is reached");
    visitor("lr-final", o.lr_final, OnResume::change, "Learning rate at the end of a decay");
    visitor("beta1", o.beta1, OnResume::fixed, "Decay of the first moment");
    visitor("beta2", o.beta2, OnResume::fixed,
            "Decay of the second moment; 0: 1 - 1 / (steps per epoch, see --schedule-images)");
    visitor("warmup-epochs", o.warmup_epochs, OnResume::change,
            "Epochs of linear learning-rate warm-up (see --schedule-images); 0: none");
    visitor("warmup-steps", o.warmup_steps, OnResume::change, "Steps of warm-up; 0: --warmup-epochs");
    visitor("epoch-images", o.epoch_images, OnResume::fixed,
            "Images per epoch, as counted and limited by --epochs; 0: size of the training set");
    visitor(
        "schedule-images", o.schedule_images, OnResume::fixed,
        "Images per epoch for the warm-up and the defaults of --beta2 and --ema-decay, 50000 in presets; 0: "
        "--epoch-images");
    visitor("weight-decay", o.weight_decay, OnResume::change,
            "Weight decay d: w <- (1 - d) w at every step, for all parameters");
    visitor("clip-norm", o.clip_norm, OnResume::change, "Maximum global L2 norm of the gradient; 0: off");
    visitor(
        "fused-update", o.fused_update, OnResume::change,
        "Update each layer as soon as its gradient is complete, so that gradients need memory for one layer; not "
        "with --clip-norm or --micro-batch");
    visitor(
        "moments", o.moments, OnResume::change,
        "Precision of the optimizer's moments: fp32, or bf16 with half the memory (second moment rounded stochastically)");
    visitor("ema-decay", o.ema_decay, OnResume::fixed, "Decay of the weight average; 0: beta2");
}
template <class Options, class Visitor>
void visit_batch_options(Options& o, Visitor&& visitor) {
    visitor("batch", o.batch, OnResume::fixed, "Images per step");
    visitor("micro-batch", o.micro_batch, OnResume::fixed,
            "Images per pass, with accumulated gradients; 0: the batch");
    visitor("init-batch", o.init_batch, OnResume::fixed,
            "Images for data-dependent initialization; 0: default rule");
}
template <class Options, class Visitor>
void visit_length_options(Options& o, Visitor&& visitor) {
    visitor("epochs", o.epochs, OnResume::change, "Stop after this many epochs; 0: no limit");
    visitor("max-steps", o.max_steps, OnResume::free,
            "Stop at this step, counted from the start of the run even after a resume; 0: no limit");
    visitor("max-minutes", o.max_minutes, OnResume::free,
            "Stop after this many minutes: of this process or, with --lr-schedule, of the run; 0: no limit");
}
template <class Options, class Visitor>
void visit_input_options(Options& o, Visitor&& visitor) {
    visitor("augment", o.augment, OnResume::fixed, "none, flip, shift or shift+flip");
    visitor(
        "dequant", o.dequant, OnResume::fixed,
        "Noise added to pixels: uniform; center (none); or variational, drawn by a small flow trained with the model");
    visitor("shuffle", o.shuffle, OnResume::fixed, "Draw the images in random order");
    visitor("data-access", o.data_access, OnResume::free,
            "memory: load the images once; disk: read ahead on every use; auto: memory if they take less "
            "than a quarter of the machine's, over all processes of a host");
    visitor("seed", o.seed, OnResume::fixed, "Seed of all random numbers");
}
template <class Options, class Visitor>
void visit_compute_options(Options& o, Visitor&& visitor) {
    visitor("precision", o.precision, OnResume::fixed,
            "fp32, tf32 (GPUs) or bf16: precision of the coupling networks");
    visitor("threads", o.threads, OnResume::change, "Threads; 0: all usable processors");
    visitor("graph", o.graph, OnResume::free, "Replay a step's launches on a GPU as one CUDA graph");
    visitor(
        "tune", o.tune, OnResume::free,
        "Measure a GPU's engines (--engines) and the algorithms of its matrix products (--algorithms) before the "
        "first step, and keep the fastest ones for the whole run");
    visitor(
        "engines", o.engines, OnResume::change,
        "For each level products or cudnn, as products,products,cudnn; empty: what --tune finds, else products");
    visitor(
        "algorithms", o.algorithms, OnResume::change,
        "Algorithms of matrix products, as --tune records them; empty: what --tune finds, else cuBLAS's first "
        "choices");
}
template <class Options, class Visitor>
void visit_memory_options(Options& o, Visitor&& visitor) {
    visitor("memory", o.memory, OnResume::change,
            "What forward saves for backward: reconstruct, checkpoint, store or auto");
    visitor(
        "act-budget", o.act_budget, OnResume::change,
        "Bytes of hidden maps that auto saves (also 500MiB, 4GiB; 4GB is 4 x 10^9); 0: a quarter of the memory of the machine or GPU, shared by its processes");
    visitor(
        "max-memory", o.max_memory, OnResume::free,
        "Memory for the run's processes on a host (on GPUs: for each process), such as 8GiB: chooses --micro-batch, and "
        "what auto saves, to fit; 0: no limit");
    visitor("anchor-every", o.anchor_every, OnResume::change,
            "Save an exact state every N steps of flow; 0: none");
    visitor("float-states", o.float_states, OnResume::change,
            "Save states in float, half the bytes: same gradients, drift up to 1e-7");
    visitor("rounding-bits", o.rounding_bits, OnResume::change,
            "Save one bit per reconstructed network input: gradients are then bit-equal to store");
    visitor("tile", o.tile, OnResume::fixed, "Images per tile of the coupling networks; 0: default rule");
    visitor("audit-every", o.audit_every, OnResume::free,
            "Steps between audits, which compare gradients of a few images with policy checkpoint; 0: none");
    visitor("drift-tolerance", o.drift_tolerance, OnResume::change,
            "Maximum error of a reconstructed input, in units of x; 0: 1e-5, tf32 and bf16: 1e-2");
}
template <class Options, class Visitor>
void visit_recovery_options(Options& o, Visitor&& visitor) {
    visitor("rollbacks", o.rollbacks, OnResume::change,
            "Consecutive roll-backs to a checkpoint after failed steps before the run gives up");
    visitor("rollback-lr", o.rollback_lr, OnResume::change, "Learning-rate factor at each roll-back");
    visitor("loss-jump", o.loss_jump, OnResume::change,
            "A step fails if its loss exceeds recent losses by this many bits/dim (and 8 standard "
            "deviations); 0: off");
    visitor("condition-jump", o.condition_jump, OnResume::change,
            "A step fails if a condition number of W exceeds recent ones by this factor; 0: off");
}
template <class Options, class Visitor>
void visit_reporting_options(Options& o, Visitor&& visitor) {
    visitor("log-every", o.log_every, OnResume::free, "Steps between lines and rows of metrics.csv");
    visitor(
        "eval-every", o.eval_every, OnResume::free,
        "Steps (N) or minutes (Nm; the first ones come sooner) between evaluations on /valid; 0: only at the end");
    visitor(
        "sample-every", o.sample_every, OnResume::free,
        "Steps (N) or minutes (Nm; the first ones come sooner) between sheets of samples; 0: only at the end");
    visitor("checkpoint-every", o.checkpoint_every, OnResume::free,
            "Steps (N) or minutes (Nm; the first ones come sooner) between checkpoints; 0: only at the end");
    visitor("keep", o.keep, OnResume::free, "Number of checkpoints to keep, at least 2");
}
template <class Options, class Visitor>
void visit_training_options(Options& o, Visitor&& visitor) {
    visit_files_options(o, visitor);
    visit_update_options(o, visitor);
    visit_batch_options(o, visitor);
    visit_length_options(o, visitor);
    visit_input_options(o, visitor);
    visit_compute_options(o, visitor);
    visit_memory_options(o, visitor);
    visit_recovery_options(o, visitor);
    visit_reporting_options(o, visitor);
}

// Throws InputError if a value is out of range.
void check(const TrainingOptions& options);
// Whether something ends the run, as a decay of the learning rate needs.
bool has_limit(const TrainingOptions& options);
// Images that each of `processes` processes takes at once, at most.
index_t images_per_pass(const TrainingOptions& options, int processes);
// An option of memory that these options do not use, as a message; empty if there is none. Not part of
// check(): old runs may have recorded one.
std::string unused_memory_option(const TrainingOptions& options);

// The checkpoint's `config`: the model's keys (docs/formats.md), and all options above under "training".
nlohmann::ordered_json to_json(const TrainingOptions& options);
// The training options in a checkpoint's `config`; missing ones, and the model, come from `otherwise`. Throws
// InputError for a value of the wrong type.
TrainingOptions training_from_json(const nlohmann::ordered_json& config, const TrainingOptions& otherwise);
// All command-line options as config.toml text. Throws InputError for names that are not UTF-8.
std::string to_toml(const TrainingOptions& options);

}  // namespace glow
