// Every option of a training run, listed once: the command line, config.toml, the checkpoint's `training`
// object and the comparison on resume are all made from visit_options().
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "layers/config.h"

namespace glow {

// How often something happens: every N steps, every N minutes ("10m"), or never ("0").
struct Interval {
    double count = 0;
    bool minutes = false;
    bool operator==(const Interval&) const = default;
};
Interval parse_interval(const std::string& text);  // InputError
std::string to_string(const Interval& interval);

struct TrainingOptions {
    std::string data, out;
    ModelConfig model;  // image shape from the data set

    std::string optimizer = "adamax";
    double lr = 1e-3, beta1 = 0.9;
    double beta2 = 0;  // 0: 1 - 1 / (steps per epoch)
    double warmup_epochs = 10;
    double epoch_images = 0;  // 0: size of the training set
    double weight_decay = 0;
    double clip_norm = 0;  // 0: off
    bool fused_update = false;
    std::string moments = "fp32";
    double ema_decay = 0;  // 0: beta2

    index_t batch = 64;
    index_t micro_batch = 0;  // 0: the whole batch
    index_t init_batch = 0;   // 0: min(256, N_train, max(batch, 2^23 / D))
    double epochs = 0;        // 0: no limit; the three limits below alike
    index_t max_steps = 0;
    double max_minutes = 0;

    std::string augment = "flip", dequant = "uniform";
    bool shuffle = true;
    std::string data_access = "auto";
    std::uint64_t seed = 0;
    std::string precision = "fp32";
    int threads = 0;  // 0: all processors
    bool graph = true;
    bool tune = false;
    std::string engines;  // train/tune.h; "": the rule

    std::string memory = "reconstruct";
    index_t act_budget = 0;    // bytes of maps that `auto` keeps; 0: a quarter of the machine's memory
    index_t anchor_every = 0;  // 0: none beyond the level starts
    bool float_states = false, rounding_bits = false;
    index_t tile = 0;            // 0: a fixed rule
    index_t audit_every = 0;     // steps; 0: never
    double drift_tolerance = 0;  // 0: 1e-5 for float networks, 1e-2 for bf16

    index_t rollbacks = 5;  // in a row
    double rollback_lr = 0.5;
    double loss_jump = 1;         // bits/dim; 0: no limit
    double condition_jump = 100;  // a factor; 0: no limit

    index_t log_every = 10;
    Interval eval_every{30, true}, sample_every{60, true}, checkpoint_every{15, true};
    int keep = 3;
};

// What resuming a run allows.
enum class OnResume {
    fixed,   // must be the checkpoint's
    change,  // may differ; the change is told
    free     // no matter
};

// visitor(name, member, OnResume, help) for every option but the model's.
template <class Options, class Visitor>
void visit_training_options(Options& o, Visitor&& visitor) {
    visitor("data", o.data, OnResume::change, "Data set (HDF5, made by glow_data)");
    visitor("out", o.out, OnResume::free, "Folder of the run");
    visitor("optimizer", o.optimizer, OnResume::fixed, "adamax or adam");
    visitor("lr", o.lr, OnResume::change, "Learning rate");
    visitor("beta1", o.beta1, OnResume::fixed, "Decay of the first moment");
    visitor("beta2", o.beta2, OnResume::fixed, "Decay of the second moment; 0: 1 - 1 / (steps per epoch)");
    visitor("warmup-epochs", o.warmup_epochs, OnResume::change,
            "Epochs of linear warm-up of the learning rate; 0: none");
    visitor("epoch-images", o.epoch_images, OnResume::fixed,
            "Images of an epoch; 0: the training set's size");
    visitor("weight-decay", o.weight_decay, OnResume::change,
            "w <- (1 - d) w at every step, on all parameters");
    visitor("clip-norm", o.clip_norm, OnResume::change, "Largest global L2 norm of the gradient; 0: off");
    visitor(
        "fused-update", o.fused_update, OnResume::change,
        "Update each layer as soon as its gradient is complete: gradients take the memory of one layer. Not "
        "with --clip-norm or --micro-batch");
    visitor("moments", o.moments, OnResume::change,
            "fp32, or bf16: the optimizer's moments in half the memory, the second rounded at random");
    visitor("ema-decay", o.ema_decay, OnResume::fixed, "Decay of the average of the weights; 0: beta2");
    visitor("batch", o.batch, OnResume::fixed, "Images per step");
    visitor("micro-batch", o.micro_batch, OnResume::fixed,
            "Images at once, gradients accumulated; 0: the batch");
    visitor("init-batch", o.init_batch, OnResume::free,
            "Images of the data-dependent initialization; 0: a rule");
    visitor("epochs", o.epochs, OnResume::change, "Ends the run after so many epochs; 0: no limit");
    visitor("max-steps", o.max_steps, OnResume::change,
            "Ends the run after so many steps, resumed ones included; 0: no limit");
    visitor("max-minutes", o.max_minutes, OnResume::change,
            "Ends the run after so many minutes of this process; 0: no limit");
    visitor("augment", o.augment, OnResume::fixed, "none, flip, shift or shift+flip");
    visitor("dequant", o.dequant, OnResume::fixed, "uniform or center: noise added to the pixels");
    visitor("shuffle", o.shuffle, OnResume::fixed, "Draw the images in random order");
    visitor("data-access", o.data_access, OnResume::free,
            "memory: read the images once; disk: each time, ahead of use; auto: memory where they take less "
            "than a quarter of the machine's");
    visitor("seed", o.seed, OnResume::fixed, "Seed of all random numbers");
    visitor("precision", o.precision, OnResume::fixed,
            "fp32, tf32 (GPUs) or bf16: precision of the coupling networks");
    visitor("threads", o.threads, OnResume::change, "Threads; 0: all usable processors");
    visitor("graph", o.graph, OnResume::free, "Replay a step's launches on a GPU as one CUDA graph");
    visitor("tune", o.tune, OnResume::free,
            "Measure a GPU's engines (--engines) before the first step, and keep the fastest one, level by level, "
            "for the whole run");
    visitor(
        "engines", o.engines, OnResume::change,
        "For each level products, masked (products that keep ReLU's mask) or cudnn, as masked,masked,products; "
        "empty: what --tune finds, else masked on GPUs whose cuBLAS has it, else products");
    visitor("memory", o.memory, OnResume::change,
            "reconstruct, checkpoint, store or auto: what backward finds kept");
    visitor("act-budget", o.act_budget, OnResume::change,
            "Bytes of hidden maps that auto keeps (also 500MiB, 4GiB); 0: a quarter of the machine's memory");
    visitor("anchor-every", o.anchor_every, OnResume::change,
            "Keep an exact state every so many steps of flow; 0: none");
    visitor("float-states", o.float_states, OnResume::change,
            "Keep states in float, half the bytes: gradients stay the same, drift grows to 1e-7");
    visitor(
        "rounding-bits", o.rounding_bits, OnResume::change,
        "Keep a bit for every network input that is rebuilt: gradients are then those of store, bit for bit");
    visitor("tile", o.tile, OnResume::fixed, "Images per tile of the coupling networks; 0: a fixed rule");
    visitor(
        "audit-every", o.audit_every, OnResume::free,
        "Steps between audits: gradients of a few images against those of the policy checkpoint; 0: none");
    visitor("drift-tolerance", o.drift_tolerance, OnResume::change,
            "Largest error of a rebuilt input, in units of x; 0: 1e-5, bf16: 1e-2");
    visitor("rollbacks", o.rollbacks, OnResume::change,
            "Times in a row that a step gone wrong sends the run back to a checkpoint, before it gives up");
    visitor("rollback-lr", o.rollback_lr, OnResume::change, "Factor of the learning rate at each of them");
    visitor("loss-jump", o.loss_jump, OnResume::change,
            "A step has gone wrong with a loss so many bits/dim (and 8 deviations) above the last steps'; 0: "
            "any");
    visitor("condition-jump", o.condition_jump, OnResume::change,
            "... with a condition number of a W so many times that of the last steps; 0: any");
    visitor("log-every", o.log_every, OnResume::free, "Steps between lines and rows of metrics.csv");
    visitor("eval-every", o.eval_every, OnResume::free,
            "Steps (N) or minutes (Nm) between evaluations on /valid; 0: at the end only");
    visitor("sample-every", o.sample_every, OnResume::free,
            "Steps (N) or minutes (Nm) between sheets of samples; 0: at the end only");
    visitor("checkpoint-every", o.checkpoint_every, OnResume::free,
            "Steps (N) or minutes (Nm) between checkpoints; 0: at the end only");
    visitor("keep", o.keep, OnResume::free, "Checkpoints kept, at least 2");
}

// Throws InputError for a value out of range.
void check(const TrainingOptions& options);

// The checkpoint's `config`: the model's keys (spec section 3) and, under "training", every option above.
nlohmann::ordered_json to_json(const TrainingOptions& options);
// All options of the command line as a config.toml. InputError for a name that is not UTF-8.
std::string to_toml(const TrainingOptions& options);

}  // namespace glow
