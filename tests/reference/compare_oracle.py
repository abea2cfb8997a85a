"""compare_oracle.py PROGRAMS: glow_convert and the commands against numbers that openai/glow's own code computed.

The folder of numbers (--oracle, or GLOW_ORACLE_FOLDER) holds an .npz for each small model: variables by TensorFlow's names,
images, and the original's results for them. Its README lists the arrays. Each model becomes a whole checkpoint as
TensorFlow saves it (weights, averages, moments, counter) and goes through `glow_convert --from openai`. Then the commands
must give the original's likelihood, class scores, latents, decoded images, and weights, moments and averages after one and
three training steps, tensor by tensor. Files without `variables/` test the initialization from data.

At the end single values and options are changed, and the comparison must detect each change.
Exit status: 0 if everything agrees, 1 otherwise, 77 if the folder does not exist.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tools"), str(ROOT / "tests")]
from python_packages import require_packages

require_packages("numpy", "h5py")
import numpy as np
import h5py

import forked_scripts
from glow_files import read_tree, write_dataset

# All numbers of the original are float32, with sums in another order than ours. 2^-24 is half a unit in the last place.
HALF_ULP = 2.0**-24
# Its log-densities are float sums in nats of order 2000, a unit of 2.4e-4; a bit/dim is 133 nats in images of 8x8.
BITS_TOLERANCE = 5e-6
CLASS_BITS_TOLERANCE = 3e-6  # logarithms of a softmax of order 4
# Latents have passed up to six float networks: a few roundings of the largest value, spread to all by every
# mixing.
LATENT_TOLERANCE = 1.5e-6
# A tensor's moment is a float sum over up to 512 pixels of products through the whole network, relative to its L2 norm.
GRADIENT_TOLERANCE = 1e-5
# The same after three updates, each from slightly different weights.
MOMENT_TOLERANCE = 2e-5
# A step moves a weight by lr times a ratio of moments. Relative to their L2 norm, a tensor's moves are as
# exact as its moments; a single move with a gradient near the optimizer's epsilon of 1e-8 may be less exact,
# relative to lr.
MOVE_TOLERANCE = 2e-4
UPDATE_TOLERANCE = 2e-4
# The statistics of the initialization are float sums over float hidden maps.
INITIALIZATION_TOLERANCE = 3e-6
# A decoded value within rounding of a bin edge may fall into the next bin: allowed pixels per 1000.
PIXELS_AT_EDGES = 2 / 1000

FIXED = ("P", "sign_S", "indices", "indices_inverse")


class Model:
    def __init__(self, path):
        self.name = path.stem
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {name: archive[name] for name in archive.files}
        self.config = json.loads(str(self.arrays["config"]))

    def __getitem__(self, name):
        return self.arrays[name]

    def group(self, prefix):
        return {name[len(prefix):]: value for name, value in self.arrays.items() if name.startswith(prefix)}


class Report:
    """Differences as multiples of what is allowed."""

    def __init__(self, name):
        self.name, self.worst, self.failures = name, {}, []

    def add(self, what, excess, detail):
        if not excess <= self.worst.get(what, -1):  # also catches NaN
            self.worst[what] = excess
        if not excess <= 1:
            self.failures.append(f"{what}: {detail}, {excess:.2g} times what is allowed")

    def compare(self, what, found, expected, allowed):
        """Arrays, element by element."""
        if np.shape(found) != np.shape(expected):
            return self.add(what, np.inf, f"shape {np.shape(found)}, expected {np.shape(expected)}")
        difference = np.abs(np.asarray(found, np.float64) - expected)
        ratio = difference / np.maximum(allowed, 1e-300)
        self.add(what, np.max(ratio, initial=0.0), f"differs by up to {np.max(difference, initial=0.0):.2e}")

    def same_names(self, what, found, expected):
        if found.keys() != expected.keys():
            self.add(what, np.inf, f"other tensors: {sorted(found.keys() ^ expected.keys())[:4]}")
        return found.keys() & expected.keys()

    def lines(self, verbose):
        """(lines to print, all agrees)."""
        text = ", ".join(f"{what} {excess:.2g}" for what, excess in self.worst.items())
        first = f"{'FAILED' if self.failures else 'ok    '}  {self.name:<38} {text}"
        return [first] + [f"        {failure}" for failure in self.failures[: None if verbose else 10]], not self.failures


def run(*command):
    return succeeded(subprocess.run([str(part) for part in command], capture_output=True, text=True))


def succeeded(result):
    """The output of a command that must not fail."""
    if result.returncode:
        raise SystemExit(f"FAILED: {' '.join(result.args)} ended with exit status {result.returncode}: {result.stderr}")
    return result.stdout


# --- The original's checkpoints -----------------------------------------------------------------------------------


def whole_checkpoint(weights, averages, moments=None, counter=None):
    """{name: array} as tf.train.Saver stores a model in training. weights: in the order of their creation, which the nameless
    variables of the optimizer follow: the counter, then a second and a first moment for each trainable weight."""
    trainable = [name for name in weights if name.rsplit("/", 1)[1] not in FIXED]
    tensors = dict(weights)
    tensors.update((f"{name}/ExponentialMovingAverage", averages[name]) for name in trainable)
    if counter is not None:
        tensors["Variable"] = np.float32(counter)
    if moments is not None:
        for i, name in enumerate(trainable):
            tensors[f"Variable_{2 * i + 2}"], tensors[f"Variable_{2 * i + 1}"] = (np.float32(moment[name]) for moment in moments)
    return dict(sorted(tensors.items()))  # a reader of checkpoints lists them by name


def first_moments(model, gradient):
    """First and second moments after the first step: a checkpoint of it tests the gradient."""
    beta1, beta2 = model.config["beta1"], model.config["beta2"]
    adamax = model.config["optimizer"] == "adamax"
    second = {name: np.abs(g) if adamax else (1 - beta2) * np.square(g, dtype=np.float64) for name, g in gradient.items()}
    return {name: (1 - beta1) * g.astype(np.float64) for name, g in gradient.items()}, second


def checkpoint_of(model, step):
    """The original's state before training, or after one or three steps."""
    weights = model.group("variables/")
    zeros = {name: np.zeros_like(value) for name, value in weights.items()}
    if step == 0:
        return whole_checkpoint(weights, weights, (zeros, zeros), 1)
    after = {name: model[f"step{step}/variables/{name}"] if name.rsplit("/", 1)[1] not in FIXED else value
             for name, value in weights.items()}
    if step == 1:
        moments = first_moments(model, model.group("gradient/"))
    else:
        moments = model.group("step3/m1/"), model.group("step3/m2/")
    return whole_checkpoint(after, model.group(f"step{step}/ema/"), moments, model[f"step{step}/adam_t"])


class Tools:
    def __init__(self, programs, initialize):
        self.programs, self.initialize = programs, initialize
        self.scripts = forked_scripts.Server("numpy", "h5py")

    def convert(self, model, tensors, path):
        config, source = model.config, path.with_suffix(".npz")
        np.savez(source, **tensors)
        succeeded(self.scripts.run(
            self.programs / "glow_convert", "--from", "openai", source, "-o", path, "--force", "--size", config["image_size"],
            "--n-bits", config["n_bits_x"], "--weight-y", config["weight_y"], "--batch", config["batch"],
            *(["--permutation", "reverse"] if config["flow_permutation"] == 0 else [])))
        return path

    def evaluate(self, checkpoint, data):
        """(glow_eval's JSON, bits/dim of each image), of the raw weights."""
        # not in a run folder, which is rejected
        csv_file = data.with_name(f"{checkpoint.stem}-{data.stem}.csv")
        result = json.loads(run(self.programs / "glow_eval", "--bpd", "--json", "--checkpoint", checkpoint, "--data", data, "--dequant",
                                "center", "--per-image", csv_file, "--no-ema", "--threads", 1, "--device", "cpu", "--quiet"))
        with open(csv_file) as file:
            return result, np.array([float(row["bpd"]) for row in csv.DictReader(file)])

    def encode(self, checkpoint, data, path):
        run(self.programs / "glow_latent", "encode", "--checkpoint", checkpoint, "--data", data, "--split", "test", "-o", path, "--no-ema",
            "--threads", 1, "--device", "cpu", "--quiet")
        return {f"eps/{name}": value for name, value in read_tree(path, "eps").items()}

    def decode(self, checkpoint, latents, eps, path):
        """Images of `eps`, whose levels hold the latents of some batches in a row. latents: a file of encode(), of one batch."""
        with h5py.File(latents, "r+") as f:
            values = {f"eps/{name}": value for name, value in eps.items()}
            if "labels" in f:
                values["labels"] = np.tile(f["labels"][()], len(eps["level0"]) // len(f["eps/level0"]))
            for name, value in values.items():
                attributes = dict(f[name].attrs)
                del f[name]
                f[name] = value
                f[name].attrs.update(attributes)
        run(self.programs / "glow_latent", "decode", "--checkpoint", checkpoint, "--latents", latents, "-o", path, "--no-ema",
            "--threads", 1, "--device", "cpu", "--quiet")
        return read_tree(path, "/")["images"]

    def train(self, model, data, out, steps, *start):
        """The checkpoints by step."""
        config = model.config
        permutation = ("reverse", "shuffle", "invconv")[config["flow_permutation"]]
        options = ["--levels", config["n_levels"], "--depth", config["depth"], "--width", config["width"], "--n-bits", config["n_bits_x"],
                   "--permutation", permutation, "--coupling", ("additive", "affine")[config["flow_coupling"]],
                   *([] if config["learntop"] else ["--no-learn-top"]),
                   *(["--y-cond", "--weight-y", config["weight_y"]] if config["ycond"] else []),
                   "--optimizer", config["optimizer"], "--lr", config["lr"], "--beta1", config["beta1"], "--beta2", config["beta2"],
                   # Theirs is the factor of the old weight, ours one minus it.
                   "--weight-decay", 1 - config["weight_decay"],
                   "--batch", config["batch"], "--warmup-epochs", 0, "--augment", "none", "--dequant", "center", "--no-shuffle",
                   "--checkpoint-every", 1, "--keep", steps + 1, "--log-every", 1, "--eval-every", 0, "--sample-every", 0,
                   # Steps of these models may increase the loss by more than a real run allows.
                   "--loss-jump", 0, "--condition-jump", 0, "--threads", 1, "--device", "cpu", "--quiet"]
        run(self.programs / "glow_train", "--data", data, "--out", out, "--max-steps", steps, *start, *options)
        return {step: out / "checkpoints" / f"step-{step:08d}.h5" for step in range(1, steps + 1)}


# --- Comparisons --------------------------------------------------------------------------------------------------


def compare_scores(report, model, found, expected_key, what):
    """glow_eval's means against the original's [loss, bits_x, bits_y, error]."""
    _, bits_x, bits_y, error = model[expected_key].astype(np.float64)
    report.compare(what, found["bpd"], bits_x, BITS_TOLERANCE)
    has_classifier = model.config["ycond"] and model.config["weight_y"] > 0
    if has_classifier != ("bits_y" in found):
        report.add(what, np.inf, "bits_y without a classifier, or none with one")
    elif has_classifier:
        report.compare(f"{what}: classes", found["bits_y"], bits_y, CLASS_BITS_TOLERANCE)
        report.compare(f"{what}: classes", found["error_y"], error, 1e-6)


def check_inference(report, model, tools, folder, start, data):
    found, bits = tools.evaluate(start, data)
    report.compare("bits/dim", bits, model["bits_x"], BITS_TOLERANCE)
    compare_scores(report, model, found, "test_stats", "scores")
    if "bits_y" in model.arrays:
        report.compare("scores: classes", found.get("bits_y", np.nan), model["bits_y"].mean(dtype=np.float64), CLASS_BITS_TOLERANCE)

    latents = tools.encode(start, data, folder / "z.h5")
    largest = max(np.abs(value).max() for value in model.group("eps/").values())
    for name in report.same_names("latents", latents, {f"eps/{name}": 0 for name in model.group("eps/")}):
        report.compare("latents", latents[name], model[name], LATENT_TOLERANCE * largest)

    bin_width = 2 ** (8 - model.config["n_bits_x"])
    both = {name: np.concatenate([value, model[f"random_eps/{name}"]]) for name, value in model.group("eps/").items()}
    decoded, random_decoded = np.split(tools.decode(start, folder / "z.h5", both, folder / "x.h5").astype(int), 2)
    for images, found, edges in (("decoded", decoded, 0), ("random_decoded", random_decoded, PIXELS_AT_EDGES)):
        difference = np.abs(found - model[images])
        report.compare(images, difference, np.zeros_like(difference), bin_width if edges else 0.5)
        report.add(images, (difference > 0).mean() / edges if edges else 0.0, f"{(difference > 0).sum()} pixels differ")


def compare_tree(report, what, found, expected, tolerance, skip=()):
    """Tensor by tensor, relative to its L2 norm."""
    for name in report.same_names(what, found, expected):
        if name.endswith(skip or "-"):
            continue
        norm = np.linalg.norm(expected[name].astype(np.float64))
        error = np.linalg.norm(found[name].astype(np.float64) - expected[name])
        report.add(what, error / max(tolerance * norm, 1e-30), f"{name} differs by {error:.2e}, norm {norm:.2e}")


def compare_weights(report, what, start, found, expected, updates, lr, skip=()):
    """After some updates from the weights `start`: each rounds a weight, ours and theirs."""
    for name in report.same_names(what, found, expected):
        if name.endswith(skip or "-"):
            continue
        w = expected[name].astype(np.float64)
        difference = np.abs(found[name] - w)
        allowed = updates * (4 * HALF_ULP * np.abs(w) + UPDATE_TOLERANCE * lr)
        report.add(what, np.max(difference / allowed), f"{name} differs by up to {np.max(difference):.2e}")
        norm, moves = np.linalg.norm(difference), np.linalg.norm(w - start[name])
        allowed = updates * 2 * HALF_ULP * np.linalg.norm(w) + MOVE_TOLERANCE * moves
        report.add(f"{what}, moves", norm / max(allowed, 1e-30), f"{name} differs by {norm:.2e} of moves of {moves:.2e}")


def averages(weights, decay, after):
    """The original's average of weights[0], weights[1], ...: e <- decay e + (1 - decay) w from e = weights[0], without bias
    correction. w is the weight after a step's update, or before it."""
    average = weights[0].astype(np.float64)
    for t in range(1, len(weights)):
        average = decay * average + (1 - decay) * weights[t if after else t - 1]
    return average


def compare_averages(report, what, theirs, ours, weights, decay, skip=()):
    """theirs: the original's averages; ours: those of glow_train; weights: ours by step.

    Ours are corrected for the start (a_t = sum of decay^(t-s) w_s (1 - decay) / (1 - decay^t)): from theirs, of weights after
    their update, they follow as a_t = (e_t - decay^t w_0) / (1 - decay^t). The division magnifies roundings 800 times, so the
    comparison is of (1 - decay^t) a_t + decay^t w_0. The original's graph leaves open, tensor by tensor, if the average sees
    a weight before or after the update: both are computed from our weights, and one must be theirs."""
    steps = len(weights) - 1
    for name in report.same_names(what, theirs, ours):
        if name.endswith(skip or "-"):
            continue
        tensor = [w[name] for w in weights]
        e = theirs[name].astype(np.float64)
        # Each update rounds the stored average once. Weights differ as in compare_weights.
        allowed = HALF_ULP * steps * np.abs(e) + (1 - decay**steps) * 4 * HALF_ULP * np.abs(e) + 1e-9
        moved = max(np.abs(w.astype(np.float64) - tensor[0]).max() for w in tensor)
        allowed += UPDATE_TOLERANCE * (1 - decay**steps) * moved
        difference = {after: np.max(np.abs(averages(tensor, decay, after) - e) / allowed) for after in (False, True)}
        report.add(what, min(difference.values()), f"{name} is the average of weights neither before nor after the updates")
        uncorrected = (1 - decay**steps) * ours[name].astype(np.float64) + decay**steps * tensor[0]
        report.compare(f"{what}, ours", uncorrected, averages(tensor, decay, True), 2 * HALF_ULP * np.abs(e) * steps + 1e-9)


def read_metrics(out):
    with open(out / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def compare_metrics(report, model, rows, count):
    names = ("loss", "bpd", "bits_y", "error_y")
    tolerances = (BITS_TOLERANCE, BITS_TOLERANCE, CLASS_BITS_TOLERANCE, 1e-6)
    for step in range(count):
        for i, (name, tolerance) in enumerate(zip(names, tolerances)):
            if name in rows[step]:
                report.compare("metrics", float(rows[step][name]), model["train_stats"][step, i].astype(np.float64), tolerance)


def check_training(report, model, tools, folder, start, data, resumed):
    config, lr, decay = model.config, model.config["lr"], model.config["beta2"]
    own = tools.train(model, data, folder / "run", 5 if resumed else 3, "--init-from", start)
    theirs = {step: tools.convert(model, checkpoint_of(model, step), folder / f"original{step}.h5") for step in (1, 3)}
    trees = {step: {tree: read_tree(path, tree) for tree in ("params", "ema", "optimizer/m", "optimizer/v")} for step, path in own.items()}
    weights = [read_tree(start, "params")] + [trees[step]["params"] for step in sorted(trees)]
    compare_metrics(report, model, read_metrics(folder / "run"), 3)
    for step, path in theirs.items():
        compare_weights(report, f"weights {step}", weights[0], trees[step]["params"], read_tree(path, "params"), step, lr)
        tolerance = GRADIENT_TOLERANCE if step == 1 else MOMENT_TOLERANCE
        for tree, what in (("optimizer/m", "gradient" if step == 1 else "first moments"), ("optimizer/v", f"second moments {step}")):
            # A square of a gradient has twice its relative error.
            compare_tree(report, what, trees[step][tree], read_tree(path, tree), tolerance * (2 if config["optimizer"] == "adam" else 1))
        compare_averages(report, f"averages {step}", read_tree(path, "ema"), trees[step]["ema"], weights[: step + 1], decay)
        with h5py.File(path) as f:
            report.compare("counter", [f.attrs["step"], f.attrs["images_seen"]], [step, step * config["batch"]], 0.5)
    compare_scores(report, model, tools.evaluate(own[3], data)[0], "test_stats_after_step3", "scores 3")

    if resumed:
        check_resumed(report, model, tools, folder, data, theirs[3], weights, trees[5])


def check_resumed(report, model, tools, folder, data, converted, weights, own):
    """The converted checkpoint after three steps is one to go on from: moments and counter count. weights: ours by step; own: our
    trees after five."""
    lr, decay = model.config["lr"], model.config["beta2"]
    resumed = tools.train(model, data, folder / "resumed", 5, "--resume", converted)
    compare_weights(report, "weights 5", weights[0], read_tree(resumed[5], "params"), own["params"], 5, lr)
    for tree in ("optimizer/m", "optimizer/v"):
        compare_tree(report, "moments 5", read_tree(resumed[5], tree), own[tree], 2 * MOMENT_TOLERANCE)
    average = read_tree(converted, "ema")
    for step in (4, 5):
        w = read_tree(resumed[step], "params")
        average = {name: a + (w[name] - a.astype(np.float64)) * (1 - decay) / (1 - decay**step) for name, a in average.items()}
    found = read_tree(resumed[5], "ema")
    for name in report.same_names("averages 5", found, average):
        report.compare("averages 5", found[name], average[name], 4 * HALF_ULP * np.abs(average[name]) + 1e-9)


# --- LU factors ---------------------------------------------------------------------------------------------------


def without_lu(tensors, zeros=False):
    """The same with W in the place of its factors, or zeros where W's is not known."""
    merged = {}
    for name, value in tensors.items():
        layer, part = name.rsplit("/", 1)
        if not layer.endswith("/invconv"):
            merged[name] = value
        elif part == "L":
            merged[f"{layer}/W"] = np.zeros_like(value) if zeros else lu_matrices(tensors, layer)[0]
    return merged


def lu_matrices(tensors, layer):
    """W = P A B, and P, A = I + L, B = U + diag(sign_S exp(log_S))."""
    P, L, U, sign, log_S = (tensors[f"{layer}/{part}"].astype(np.float64) for part in ("P", "L", "U", "sign_S", "log_S"))
    A, B = np.tril(L, -1) + np.eye(len(P)), np.triu(U, 1) + np.diag(sign * np.exp(log_S))
    return P @ A @ B, P, A, B


def check_lu_training(report, model, tools, folder, start, data):
    """Our W is the product of their factors, so that only the first gradient is comparable: by the chain rule for the factors,
    and as it is for all others, whose first update does not depend on W's."""
    lr, beta1, decay = model.config["lr"], model.config["beta1"], model.config["beta2"]
    own = tools.train(model, data, folder / "run", 1, "--init-from", start)
    compare_metrics(report, model, read_metrics(folder / "run"), 1)
    found = {tree: read_tree(own[1], tree) for tree in ("params", "ema", "optimizer/m", "optimizer/v")}

    variables, gradient, after = model.group("variables/"), model.group("gradient/"), model.group("step1/variables/")
    fixed = {name: value for name, value in variables.items() if name.rsplit("/", 1)[1] in FIXED}
    moments = first_moments(model, without_lu(gradient, zeros=True))
    checkpoint = whole_checkpoint(without_lu(after | fixed), without_lu(model.group("step1/ema/") | fixed), moments, 2)
    path = tools.convert(model, checkpoint, folder / "original1.h5")
    skip = "/invconv/weight"
    compare_weights(report, "weights 1", read_tree(start, "params"), found["params"], read_tree(path, "params"), 1, lr, skip)
    for tree, what in (("optimizer/m", "gradient"), ("optimizer/v", "second moments 1")):
        compare_tree(report, what, found[tree], read_tree(path, tree), GRADIENT_TOLERANCE, skip)
    compare_averages(report, "averages 1", read_tree(path, "ema"), found["ema"], [read_tree(start, "params"), found["params"]], decay, skip)

    for name in [name for name in variables if name.endswith("/invconv/L")]:
        layer = name.removesuffix("/L")
        level, step = layer.split("/")[1:3]
        _, P, A, B = lu_matrices(variables, layer)
        dW = found["optimizer/m"][f"level{level}/step{step}/invconv/weight"].astype(np.float64).T / (1 - beta1)
        dA, dB = np.tril(P.T @ dW @ B.T, -1), A.T @ P.T @ dW
        factors = {"L": dA, "U": np.triu(dB, 1), "log_S": np.diag(dB) * np.diag(B)}
        expected = {part: gradient[f"{layer}/{part}"] for part in factors}
        compare_tree(report, "LU gradient", factors, expected, GRADIENT_TOLERANCE)

    # The complete checkpoint after three steps: its likelihood, and that all of it is accepted.
    converted = tools.convert(model, checkpoint_of(model, 3), folder / "original3.h5")
    compare_scores(report, model, tools.evaluate(converted, data)[0], "test_stats_after_step3", "scores 3")


# --- Models -------------------------------------------------------------------------------------------------------


def write_data(model, folder):
    split = (model["images"], model["labels"], model.config["n_y"])
    write_dataset(folder / "data.h5", train=split, test=split)
    return folder / "data.h5"


def check_model(model, tools, folder, parts=("inference", "training"), resumed=False):
    report = Report(model.name)
    start, data = tools.convert(model, checkpoint_of(model, 0), folder / "start.h5"), write_data(model, folder)
    if "inference" in parts:
        check_inference(report, model, tools, folder, start, data)
    if "training" in parts and model.config["lu"]:
        check_lu_training(report, model, tools, folder, start, data)
    elif "training" in parts:
        check_training(report, model, tools, folder, start, data, resumed)
    return report


def check_initialization(model, tools, folder):
    """Weights as given, zeros elsewhere; the actnorms that come out of the images."""
    report, config = Report(model.name), model.config
    given, initialized = model.group("given/"), model.group("initialised/")
    weights = {}
    C = 12
    for level in range(config["n_levels"]):
        outputs = C if config["flow_coupling"] == 1 else C // 2
        for step in range(config["depth"]):
            at, width = f"model/{level}/{step}", config["width"]
            for layer, size in ((at, C), (f"{at}/f1/l_1", width), (f"{at}/f1/l_2", width)):
                weights[f"{layer}/actnorm_center/b"] = np.zeros((1, 1, 1, size), np.float32)
                weights[f"{layer}/actnorm_scale/logs"] = np.zeros((1, 1, 1, size), np.float32)
            weights |= zero_convolution(f"{at}/f1/l_last", width + 1, outputs)
        if level + 1 < config["n_levels"]:
            weights |= zero_convolution(f"model/pool{level}/conv", C // 2 + 1, C)
            C *= 2
    weights |= zero_convolution("model/prior/p", 2 * C + 1, 2 * C)
    # Incomplete checkpoint: only weights, without averages.
    start = tools.convert(model, weights | given, folder / "given.h5")
    run(tools.initialize, start, write_data(model, folder), folder / "initialized.h5")
    expected = tools.convert(model, weights | given | initialized, folder / "expected.h5")
    found, expected = read_tree(folder / "initialized.h5", "params"), read_tree(expected, "params")
    for name in report.same_names("initialization", found, expected):
        allowed = INITIALIZATION_TOLERANCE * (1 + np.abs(expected[name]).max()) if "/actnorm/" in name else 1e-30
        report.compare("initialization" if "/actnorm/" in name else "other weights", found[name], expected[name], allowed)
    return report


def zero_convolution(at, inputs, outputs):
    return {f"{at}/W": np.zeros((3, 3, inputs, outputs), np.float32), f"{at}/b": np.zeros((1, 1, 1, outputs), np.float32),
            f"{at}/logs": np.zeros((1, outputs), np.float32)}


# --- Sabotage -----------------------------------------------------------------------------------------------------


def moved(name, by):
    def change(model):
        model.arrays[name] = model[name].copy()
        model.arrays[name].flat[0] += by
    return change


def option(name, factor=1.0, by=0.0):
    def change(model):
        model.config = {**model.config, name: model.config[name] * factor + by}
    return change


def exchanged(first, second):
    def change(model):
        model.arrays[first], model.arrays[second] = model[second], model[first]
    return change


def sabotages():
    """[(parts of the comparison, {what is wrong: (change of the model, the comparison that must notice it)})], one run each."""
    b, logs = "model/0/0/actnorm_center/b", "model/0/0/actnorm_scale/logs"
    return [
        (("inference", "training"), {
            "a latent off by 1e-3": (moved("eps/level0", 1e-3), "latents"),
            "a pixel off by 1": (moved("decoded", 1), "decoded"),
            "a weight after a step off by 1e-6": (moved(f"step1/variables/{b}", 1e-6), "weights 1"),
            "a gradient off by 1e-2": (moved(f"gradient/{b}", 1e-2), "gradient"),
            "moments exchanged": (exchanged(f"step3/m1/{b}", f"step3/m1/{logs}"), "first moments"),
            "an average off by 1e-6": (moved(f"step3/ema/{b}", 1e-6), "averages 3"),
        }),
        (("inference",), {"a weight off by 1e-3": (moved(f"variables/{logs}", 1e-3), "bits/dim")}),
        (("training",), {"lr 0.1% off": (option("lr", factor=1.001), "weights 3, moves")}),
        (("training",), {"beta2 1e-3 off": (option("beta2", by=-1e-3), "second moments 3")}),
        (("training",), {"weight decay of 1e-5": (option("weight_decay", factor=1 - 1e-5), "weights 3")}),
    ]


def check_sabotage(path, tools, parts, changes):
    """Lines to print, and whether each change was noticed."""
    model, lines, noticed = Model(path), [], True
    for change, _ in changes.values():
        change(model)
    with tempfile.TemporaryDirectory() as folder:
        report = check_model(model, tools, Path(folder), parts)
    for what, (_, where) in changes.items():
        found = any(failure.startswith(f"{where}:") for failure in report.failures)
        noticed &= found
        lines.append(f"{'ok    ' if found else 'FAILED'}  {model.name}, {what}: {'noticed' if found else 'not noticed'}")
    return lines, noticed


def compare(tools, paths, chosen, options):
    """The exit status."""

    def check(path):
        model = Model(path)
        with tempfile.TemporaryDirectory() as temporary:
            if model.group("variables/"):
                report = check_model(model, tools, Path(temporary), resumed=True)
            else:
                report = check_initialization(model, tools, Path(temporary))
        return report.lines(options.verbose)

    # Each program runs on one thread.
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(check, path) for path in chosen]
        if not options.only:
            usable = [path for path in paths if Model(path).group("variables/") and not Model(path).config["lu"]]
            smallest = min(usable, key=lambda path: path.stat().st_size)
            jobs += [pool.submit(check_sabotage, smallest, tools, *sabotage) for sabotage in sabotages()]
        ok = True
        for job in jobs:
            lines, good = job.result()
            print("\n".join(lines), flush=True)
            ok &= good
    return 0 if ok else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=Path, help="folder of the built commands")
    parser.add_argument("--initialize", required=True, type=Path, help="the built initialize_checkpoint")
    parser.add_argument("--oracle", type=Path, help="folder of numbers; GLOW_ORACLE_FOLDER comes first")
    parser.add_argument("--only", nargs="*", help="models whose name has one of these words; no sabotage")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    folder = Path(os.environ.get("GLOW_ORACLE_FOLDER") or options.oracle or "none")
    if not folder.is_dir():
        print(f"skipped: {folder}: no folder of openai/glow's numbers (CMake's or the environment's GLOW_ORACLE_FOLDER)")
        return 77
    paths = sorted(folder.glob("*.npz"))
    chosen = [path for path in paths if not options.only or any(word in path.stem for word in options.only)]
    if not chosen:
        print(f"FAILED: {folder}: no .npz files to compare with")
        return 1
    tools = Tools(options.programs, options.initialize)
    try:
        return compare(tools, paths, chosen, options)
    finally:
        tools.scripts.close()


if __name__ == "__main__":
    sys.exit(main())
