"""Options of train(), written by make_options.py from glow_train --help."""

from __future__ import annotations

import os
from typing import Any, TypedDict


class TrainingOptions(TypedDict, total=False):
    """The options of train(), those of glow_train with underscores for dashes, and their defaults.

    Run:
        preset: Start from these settings; config and other options override them
            quick: minutes on a few cores: L 3, K 8, width 128, batch 16
            cifar10: published 3.35 bits/dim: 32x32, L 3, K 32, batch 512
            imagenet32: published 4.09: 32x32, L 3, K 48, batch 512
            imagenet64: published 3.81: 64x64, L 4, K 48, batch 128
            lsun64: published 2.38 to 2.67: 64x64, L 3, K 48, batch 128
            celeba256: published 1.03 at 5 bits: 256x256, L 6, K 32, additive, batch 40
            cifar10-conditional: published samples: additive, 5 bits, classes and a classifier
            mnist: the published code's defaults for MNIST, on gray images of 32x32
            cifar10-1min: one GPU for a minute: L 3, K 32, bounded scales, batch 256, bf16, cosine decay
            cifar10-5min: the same for 5 minutes
            cifar10-1h: the published model on one GPU for an hour: batch 256, bf16, cosine decay
            cpu-5min: 5 minutes on a few cores: quick at width 64, with cosine decay
        config: Read options from a TOML file such as a run's config.toml
        epochs: Stop after this many epochs; 0: no limit [0]
        max_steps: Stop at this step, counted from the start of the run even after a resume; 0: no limit [0]
        max_minutes: Stop after this many minutes: of this process or, with lr_schedule, of the run; 0: no limit [0]
        resume: Resume from a checkpoint, or with True from the folder's latest, or start if there is none
        save_limits: Keep max_steps and max_minutes given here for later parts of the run too (with resume)
        accept_new_data: Continue even if the data set has changed (with resume)
        init_from: Start from the raw weights of a checkpoint (file or run folder); not used if resume auto finds a
            run
    Model:
        n_bits: Bits of the pixels that are modeled, 1..8 [8]
        levels: Levels L [3]
        depth: Steps of flow per level, K [32]
        width: Hidden channels of the coupling networks [512]
        permutation: Channel mixing: invconv, invconv_lu, shuffle or reverse [invconv]
        coupling: affine or additive [affine]
        coupling_scale: sigmoid or tanh: an affine coupling's scale is sigmoid(h + 2) or exp(2 tanh(h / 2)) [sigmoid]
        edge_bias: 3x3 convolutions see where the image ends (default on)
        learn_top: Learned prior of the top latents (default on)
        y_cond: Top prior by class; the data set must have labels (default off)
        weight_y: Weight of the classifier's cross-entropy (bits) in the loss; requires y_cond; 0: none [0]
        dequant_depth: Steps of flow of the noise of dequant variational; 0: none, or 4 with dequant variational [0]
        dequant_width: Hidden channels of the networks of dequant variational [32]
    Optimizer:
        optimizer: adamax or adam [adamax]
        lr: Learning rate [0.001]
        lr_schedule: constant, or cosine or linear decay of the learning rate to lr_final at the end of the run: when
            the first of max_steps, epochs and max_minutes is reached [constant]
        lr_final: Learning rate at the end of a decay [0]
        beta1: Decay of the first moment [0.9]
        beta2: Decay of the second moment; 0: 1 - 1 / (steps per epoch, see schedule_images) [0]
        warmup_epochs: Epochs of linear learning-rate warm-up (see schedule_images); 0: none [10]
        warmup_steps: Steps of warm-up; 0: warmup_epochs [0]
        epoch_images: Images per epoch, as counted and limited by epochs; 0: size of the training set [0]
        schedule_images: Images per epoch for the warm-up and the defaults of beta2 and ema_decay, 50000 in presets;
            0: epoch_images [0]
        weight_decay: Weight decay d: w <- (1 - d) w at every step, for all parameters [0]
        clip_norm: Maximum global L2 norm of the gradient; 0: off [0]
        fused_update: Update each layer as soon as its gradient is complete, so that gradients need memory for one
            layer; not with clip_norm or micro_batch (default off)
        moments: Precision of the optimizer's moments: fp32, or bf16 with half the memory (second moment rounded
            stochastically) [fp32]
        ema_decay: Decay of the weight average; 0: beta2 [0]
        batch: Images per step [64]
        micro_batch: Images per pass, with accumulated gradients; 0: the batch [0]
        init_batch: Images for data-dependent initialization; 0: default rule [0]
    Data:
        augment: none, flip, shift or shift+flip [flip]
        dequant: Noise added to pixels: uniform; center (none); or variational, drawn by a small flow trained with the
            model [uniform]
        shuffle: Draw the images in random order (default on)
        data_access: memory: load the images once; disk: read ahead on every use; auto: memory if they take less than
            a quarter of the machine's, over all processes of a host [auto]
        seed: Seed of all random numbers [0]
    Machine:
        precision: fp32, tf32 (GPUs) or bf16: precision of the coupling networks [fp32]
        threads: Threads; 0: all usable processors [0]
        graph: Replay a step's launches on a GPU as one CUDA graph (default on)
        tune: Measure a GPU's engines (engines) and the algorithms of its matrix products (algorithms) before the
            first step, and keep the fastest ones for the whole run (default off)
        engines: For each level products or cudnn, as products,products,cudnn;
            empty: what tune finds, else products
        algorithms: Algorithms of matrix products, as tune records them; empty: what tune finds, else cuBLAS's first
            choices
        device: auto (a GPU if available), cpu or cuda [auto]
    Memory:
        memory: What forward saves for backward: reconstruct, checkpoint, store or auto [reconstruct]
        act_budget: Bytes of hidden maps that auto saves (also 500MiB, 4GiB; 4GB is 4 x 10^9); 0: a quarter of the
            memory of the machine or GPU, shared by its processes [0]
        max_memory: Memory for the run's processes on a host (on GPUs: for each process), such as 8GiB: chooses
            micro_batch, and what auto saves, to fit; 0: no limit [0]
        anchor_every: Save an exact state every N steps of flow; 0: none [0]
        float_states: Save states in float, half the bytes: same gradients, drift up to 1e-7 (default off)
        rounding_bits: Save one bit per reconstructed network input: gradients are then bit-equal to store (default
            off)
        tile: Images per tile of the coupling networks; 0: default rule [0]
        audit_every: Steps between audits, which compare gradients of a few images with policy checkpoint; 0: none [0]
        drift_tolerance: Maximum error of a reconstructed input, in units of x; 0: 1e-5, tf32 and bf16: 1e-2 [0]
    Output:
        log_every: Steps between lines and rows of metrics.csv [10]
        eval_every: Steps (N) or minutes (Nm; the first ones come sooner) between evaluations on /valid; 0: only at
            the end [30m]
        sample_every: Steps (N) or minutes (Nm; the first ones come sooner) between sheets of samples; 0: only at the
            end [60m]
        checkpoint_every: Steps (N) or minutes (Nm; the first ones come sooner) between checkpoints; 0: only at the
            end [15m]
        keep: Number of checkpoints to keep, at least 2 [3]
    Recovery:
        rollbacks: Consecutive roll-backs to a checkpoint after failed steps before the run gives up [5]
        rollback_lr: Learning-rate factor at each roll-back [0.5]
        loss_jump: A step fails if its loss exceeds recent losses by this many bits/dim (and 8 standard deviations);
            0: off [1]
        condition_jump: A step fails if a condition number of W exceeds recent ones by this factor; 0: off [100]
    """

    preset: str | None
    config: str | bytes | os.PathLike[str] | None
    epochs: float | None
    max_steps: int | None
    max_minutes: float | None
    resume: bool | str | bytes | os.PathLike[str] | None
    save_limits: bool | None
    accept_new_data: bool | None
    init_from: str | bytes | os.PathLike[str] | None
    n_bits: int | None
    levels: int | None
    depth: int | None
    width: int | None
    permutation: str | None
    coupling: str | None
    coupling_scale: str | None
    edge_bias: bool | None
    learn_top: bool | None
    y_cond: bool | None
    weight_y: float | None
    dequant_depth: int | None
    dequant_width: int | None
    optimizer: str | None
    lr: float | None
    lr_schedule: str | None
    lr_final: float | None
    beta1: float | None
    beta2: float | None
    warmup_epochs: float | None
    warmup_steps: int | None
    epoch_images: float | None
    schedule_images: float | None
    weight_decay: float | None
    clip_norm: float | None
    fused_update: bool | None
    moments: str | None
    ema_decay: float | None
    batch: int | None
    micro_batch: int | None
    init_batch: int | None
    augment: str | None
    dequant: str | None
    shuffle: bool | None
    data_access: str | None
    seed: int | None
    precision: str | None
    threads: int | None
    graph: bool | None
    tune: bool | None
    engines: str | None
    algorithms: str | None
    device: Any | None
    memory: str | None
    act_budget: int | str | None
    max_memory: int | str | None
    anchor_every: int | None
    float_states: bool | None
    rounding_bits: bool | None
    tile: int | None
    audit_every: int | None
    drift_tolerance: float | None
    log_every: int | None
    eval_every: int | str | None
    sample_every: int | str | None
    checkpoint_every: int | str | None
    keep: int | None
    rollbacks: int | None
    rollback_lr: float | None
    loss_jump: float | None
    condition_jump: float | None
