#!/usr/bin/env python3
"""Compares the gradient and the optimizer of `glow_train` with the reference in double.

1. Writes a checkpoint with random parameters, whose actnorms are initialized from the batch and then perturbed.
2. Trains one step with `glow_train --init-from`; the checkpoint at the end holds m = (1 - beta1) g, hence the gradient g.
3. Compares g with autograd of the reference on the same batch: the first images of /train/images in their order.
4. Repeats the run with two steps, and checks from the parameters and moments of all three checkpoints that each step
   follows the optimizer's formula (m, v, w, EMA; bias correction; weight decay).

Exit status: 0 if everything agrees within the tolerances, 1 otherwise.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import numpy as np
import torch

import glow_files as files
import glow_programs
import glow_reference as glow
import variational


def model_config(options, shape, data):
    _, H, W, C = shape
    dequantizer = dict(dequant_depth=options.dequant_depth, dequant_width=8) if options.dequant == "variational" else {}
    return files.make_config(image_height=H, image_width=W, channels=C, n_bits=options.n_bits, levels=options.levels,
                             depth=options.depth, width=options.width, permutation=options.permutation,
                             coupling=options.coupling, coupling_scale=options.coupling_scale, edge_bias=options.edge_bias, learn_top=options.learn_top,
                             y_cond=options.y_cond, n_classes=files.read_n_classes(data) if options.y_cond else 0,
                             weight_y=options.weight_y, **dequantizer)


def starting_parameters(config, x, seed):
    """Random parameters under which even a deep model's states are of order one on the images x."""
    model = variational.model_of(config, files.random_parameters(config, seed))
    model.initialize_from_data(x)
    rng = np.random.default_rng(seed + 1)
    noise = lambda n, p: 0.02 * rng.standard_normal(p.shape) if "/actnorm/" in n else 0.0
    dtype = lambda p: np.float32 if p.is_floating_point() else np.int32
    return {n: (p.numpy() + noise(n, p)).astype(dtype(p)) for n, p in model.params.items()}


def train(options, start, out, steps):
    """Runs glow_train for `steps` steps; returns the path of its last checkpoint."""
    model_flags = [] if options.edge_bias else ["--no-edge-bias"]
    model_flags += [] if options.learn_top else ["--no-learn-top"]
    model_flags += ["--y-cond", "--weight-y", str(options.weight_y)] if options.y_cond else []
    dequantizer_flags = ["--dequant-depth", str(options.dequant_depth), "--dequant-width", "8"] if options.dequant == "variational" else []
    command = [options.glow_train, "--data", options.data, "--out", str(out), "--init-from", str(start),
               "--max-steps", str(steps), "--batch", str(options.batch), "--dequant", options.dequant, "--augment", "none",
               "--no-shuffle", "--warmup-epochs", "0", "--log-every", "1",
               "--loss-jump", "0", "--condition-jump", "0",  # a random deep model's loss does jump
               "--levels", str(options.levels), "--depth", str(options.depth), "--width", str(options.width),
               "--n-bits", str(options.n_bits), "--permutation", options.permutation, "--coupling", options.coupling,
               "--coupling-scale", options.coupling_scale,
               *model_flags, *dequantizer_flags, "--optimizer", options.optimizer, "--lr", str(options.lr), "--beta1", str(options.beta1),
               "--beta2", str(options.beta2), "--weight-decay", str(options.weight_decay),
               "--ema-decay", str(options.ema_decay), "--clip-norm", str(options.clip_norm), *options.extra]
    glow_programs.run(command, options.verbose)
    return out / "checkpoints" / f"step-{steps:08d}.h5"


def logged_loss(folder):
    """The loss of step 1 in metrics.csv."""
    with open(folder / "metrics.csv", newline="") as f:
        return next(float(row["loss"]) for row in csv.DictReader(f) if int(row["step"]) == 1)


def norm(tensors):
    return float(np.sqrt(sum(np.sum(np.square(t, dtype=np.float64)) for t in tensors)))


def kink_slack(model, x, labels, options, gradients, scale):
    """{name: how far the gradient moves, relative like the errors, when every relu begins at +-kink instead of 0}.

    A unit within float rounding of its kink is on in one computation and off in another, both right: one such unit in
    a million pixels moves a tensor's gradient by 1e-4 to 1e-3 of its norm. Small models have none, and no slack.
    """
    slack = dict.fromkeys(gradients, 0.0)
    for model.kink in (-options.kink, options.kink):
        for name, g in model.gradient(x, labels, options.chunk)[1].items():
            slack[name] = max(slack[name], norm([g.numpy() - gradients[name]]) / scale[name])
    model.kink = 0.0
    return slack


def compare_gradients(options, model, x, labels, measured, gradients):
    """Prints a table of the worst tensors; (all are within the tolerances, worst error of a tensor, of the whole).

    The error of a tensor is relative to its norm or to a millionth of the whole gradient's, whichever is larger:
    below that, a float sum is rounding alone.
    """
    factor = 1.01 if options.sabotage else 1.0
    if options.clip_norm > 0:
        factor *= min(1.0, options.clip_norm / norm(gradients.values()))
    expected = {name: factor * g for name, g in gradients.items()}
    whole = norm(expected.values())
    scale = {name: max(norm([g]), 1e-6 * whole) for name, g in expected.items()}
    error = {name: norm([measured[name] - g]) / scale[name] for name, g in expected.items()}
    slack = dict.fromkeys(error, 0.0)
    if not all(e <= options.tensor_tolerance for e in error.values()):
        slack = kink_slack(model, x, labels, options, gradients, scale)
    ok = {name: error[name] <= options.tensor_tolerance + slack[name] for name in error}

    # failures, including NaN, come first
    worst_first = sorted(error, key=lambda name: (ok[name], -error[name]))
    print(f"{'relative L2':>12} {'kink slack':>12} {'norm':>12}  tensor (the worst of {len(error)})")
    for name in worst_first[: options.show]:
        print(f"{error[name]:12.3e} {slack[name]:12.3e} {norm([expected[name]]):12.3e}  {name}: {verdict(ok[name])}")
    vector = norm([measured[name] - g for name, g in expected.items()]) / whole
    product = sum(np.vdot(measured[name].astype(np.float64), g) for name, g in expected.items())
    cosine = product / (whole * norm(measured.values()))
    passed = all(ok.values()) and vector <= options.vector_tolerance
    print(f"whole gradient: norm {whole:.6e}, relative L2 {vector:.3e}, cosine {cosine:.9f}; tolerances "
          f"{options.tensor_tolerance:g} a tensor, {options.vector_tolerance:g} the whole: {verdict(passed)}")
    return passed, max(error.values()), vector


def check_optimizer(options, checkpoints):
    """Every step's m, v, w and EMA from the state before it, given the gradient that m implies; True if all agree."""
    step_function = dict(adamax=glow.adamax_step, adam=glow.adam_step)[options.optimizer]
    passed = True
    for t in range(1, len(checkpoints)):
        before, after = ({tree: files.read_tree(path, tree) for tree in ("params", "ema", "optimizer/m", "optimizer/v")}
                         for path in checkpoints[t - 1 : t + 1])
        worst = dict(v=(0.0, ""), w=(0.0, ""), ema=(0.0, ""))
        for name in after["optimizer/m"]:
            tensor = lambda state, tree: torch.from_numpy(state[tree][name]).double()
            w0, m0, v0, ema0 = (tensor(before, tree) for tree in ("params", "optimizer/m", "optimizer/v", "ema"))
            w1, m1, v1, ema1 = (tensor(after, tree) for tree in ("params", "optimizer/m", "optimizer/v", "ema"))
            g = (m1 - options.beta1 * m0) / (1 - options.beta1)
            arguments = (t, options.lr, options.beta1, options.beta2, options.weight_decay)
            _, _, v = step_function(w0, g, m0, v0, *arguments)
            # m is stored in float: g contains its rounding error times 1 / (1 - beta1).
            g_error = 1e-6 * (m0.abs() + m1.abs()) / (1 - options.beta1)
            v_allowed = g_error if options.optimizer == "adamax" else 4 * g_error * g.abs() + 2 * g_error**2
            v_allowed = v_allowed + 1e-6 * v + 1e-30
            # Continue with the stored m and v, so that a small v does not magnify rounding.
            root = v1 if options.optimizer == "adamax" else v1.sqrt()
            update = glow.lr_at(options.lr, t, options.beta1, options.beta2) * m1 / (root + 1e-8)
            w = (1 - options.weight_decay) * w0 - update
            w_allowed = 2.0**-22 * w0.abs() + 1e-5 * update.abs() + 1e-30
            ema = glow.ema_step(ema0, w1, t, options.ema_decay)
            ema_allowed = 2.0**-22 * (ema0.abs() + w1.abs()) + 1e-30
            pairs = dict(v=(v, v1, v_allowed), w=(w, w1, w_allowed), ema=(ema, ema1, ema_allowed))
            for what, (expected, stored, allowed) in pairs.items():
                excess = ((stored - expected).abs() / allowed).max().item()
                if not excess <= worst[what][0]:
                    worst[what] = (excess, name)
        for what, (excess, name) in worst.items():
            ok = excess <= 1
            passed &= ok
            print(f"{options.optimizer} step {t}, {what:>3}: worst error {excess:.3f} of the allowed rounding "
                  f"({name}): {verdict(ok)}")
    return passed


def verdict(passed):
    return "passed" if passed else "FAILED"


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glow-train", required=True, help="path of the program")
    parser.add_argument("--data", required=True, help="data set with at least --batch training images")
    model = parser.add_argument_group("model")
    model.add_argument("--levels", type=int, default=2)
    model.add_argument("--depth", type=int, default=2)
    model.add_argument("--width", type=int, default=32)
    model.add_argument("--n-bits", type=int, default=8)
    model.add_argument("--permutation", choices=("invconv", "invconv_lu", "shuffle", "reverse"), default="invconv")
    model.add_argument("--coupling", choices=("affine", "additive"), default="affine")
    model.add_argument("--coupling-scale", choices=("sigmoid", "tanh"), default="sigmoid")
    model.add_argument("--no-edge-bias", dest="edge_bias", action="store_false")
    model.add_argument("--no-learn-top", dest="learn_top", action="store_false")
    model.add_argument("--y-cond", action="store_true")
    model.add_argument("--weight-y", type=float, default=0.0)
    model.add_argument("--dequant", choices=("center", "variational"), default="center")
    model.add_argument("--dequant-depth", type=int, default=2, help="of --dequant variational")
    model.add_argument("--seed", type=int, default=1, help="of the random parameters")
    step = parser.add_argument_group("step")
    step.add_argument("--batch", type=int, default=8)
    step.add_argument("--optimizer", choices=("adamax", "adam"), default="adamax")
    step.add_argument("--lr", type=float, default=1e-3)
    step.add_argument("--beta1", type=float, default=0.9)
    step.add_argument("--beta2", type=float, default=0.99)
    step.add_argument("--weight-decay", type=float, default=0.0)
    step.add_argument("--ema-decay", type=float, default=0.9)
    step.add_argument("--clip-norm", type=float, default=0.0)
    check = parser.add_argument_group("comparison")
    check.add_argument("--tensor-tolerance", type=float, default=1e-4, help="relative L2 of one tensor's gradient")
    check.add_argument("--vector-tolerance", type=float, default=5e-4, help="relative L2 of the whole gradient")
    check.add_argument("--kink", type=float, default=2e-6,
                       help="float rounding of a value before a relu, of order one; 0: no slack for it")
    check.add_argument("--loss-tolerance", type=float, default=1e-4, help="bits/dim")
    check.add_argument("--sabotage", action="store_true", help="the reference's gradient x 1.01: must fail")
    check.add_argument("--show", type=int, default=8, help="rows of the table")
    check.add_argument("--chunk", type=int, default=8, help="images the reference takes at once")
    check.add_argument("--threads", type=int, default=2, help="of the reference")
    check.add_argument("--keep", type=Path, help="folder for the runs; default: a temporary one, removed")
    check.add_argument("--verbose", action="store_true", help="show the program's messages")
    parser.add_argument("extra", nargs="*", help="after --: more options for glow_train, e.g. -- --memory store")
    return parser.parse_args(arguments)


def compare(options, folder):
    """(everything agrees, worst relative error of a tensor's gradient, that of the whole gradient)."""
    images, labels = files.read_images(options.data, "train", options.batch)
    if len(images) < options.batch:
        raise SystemExit(f"{options.data} has {len(images)} training images, fewer than --batch {options.batch}")
    config = model_config(options, images.shape, options.data)
    x = variational.input_of(config, images, variational.TRAINING)
    labels = torch.from_numpy(labels) if options.y_cond else None

    start = folder / "start.h5"
    params = starting_parameters(config, x, options.seed)
    files.write_checkpoint(start, config, params)
    checkpoints = [start] + [train(options, start, folder / f"steps{t}", t) for t in (1, 2)]

    model = variational.model_of(config, params)
    loss, gradients = model.gradient(x, labels, options.chunk)
    gradients = {name: g.numpy() for name, g in gradients.items()}
    m = files.read_tree(checkpoints[1], "optimizer/m")
    if m.keys() != gradients.keys():
        print(f"FAILED: /optimizer/m differs in its names: {sorted(m.keys() ^ gradients.keys())[:8]}")
        return False, np.nan, np.nan
    measured = {name: value / (1 - options.beta1) for name, value in m.items()}

    loss_measured = logged_loss(folder / "steps1")
    loss_ok = abs(loss_measured - loss) <= options.loss_tolerance
    print(f"{sum(p.size for p in params.values())} parameters, batch {options.batch}; loss {loss_measured:.6f}, "
          f"reference {loss:.6f}: {verdict(loss_ok)}")
    gradient_ok, worst, vector = compare_gradients(options, model, x, labels, measured, gradients)
    optimizer_ok = check_optimizer(options, checkpoints)
    return loss_ok and gradient_ok and optimizer_ok, worst, vector


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        return 0 if compare(options, options.keep)[0] else 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if compare(options, Path(folder))[0] else 1


if __name__ == "__main__":
    sys.exit(main())
