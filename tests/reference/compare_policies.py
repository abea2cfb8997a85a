#!/usr/bin/env python3
"""Compares gradients and losses of `glow_train` under its memory policies, with the same precision and program.

1. Gradients: trains one step with lr 0 and beta1 0 on each of --batches batches, from a checkpoint (such as weights after 1,000
   steps on CIFAR-10); the resulting checkpoint holds m = g. Measures relative L2 distance and cosine to the gradient of `store`.
   checkpoint, checkpoint --float-states and reconstruct --rounding-bits must equal it bit for bit; reconstruct: median of the
   relative L2 at most 1e-6, worst 1e-3 with cosine at least 0.999999 (bf16: worst cosine at least 0.9999).
2. With --training-steps N (200): trains with `store` and with `reconstruct` from the same start; the first 20 losses must agree to
   1e-5, the mean of the last 20 within 1%.

Takes minutes to an hour, so run it by hand. Prints a table. Exit status: 0 if all bounds hold, 1 otherwise.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("h5py", "numpy")
import h5py
import numpy as np

POLICIES = {
    "checkpoint": ["--memory", "checkpoint"],
    "checkpoint --float-states": ["--memory", "checkpoint", "--float-states"],
    "reconstruct --rounding-bits": ["--memory", "reconstruct", "--rounding-bits"],
    "reconstruct": ["--memory", "reconstruct"],
}


def run(words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"compare_policies: {' '.join(words)}\n{done.stderr}")
    return done


def model_words(checkpoint):
    import json

    with h5py.File(checkpoint) as f:
        config = json.loads(f.attrs["config"])
    words = []
    for key in ("levels", "depth", "width", "permutation", "coupling"):
        words += [f"--{key}", str(config[key])]
    words += ["--coupling-scale", config.get("coupling_scale", "sigmoid")]
    return words


def gradient(options, model, seed, precision, policy, folder):
    """All of /optimizer/m after one step that moves nothing, in one array."""
    out = Path(folder) / "run"
    run([options.glow_train, "--data", options.data, "--out", str(out), "--init-from", options.checkpoint, *model,
         "--batch", str(options.batch), "--max-steps", "1", "--lr", "0", "--beta1", "0", "--seed", str(seed), "--precision", precision,
         "--drift-tolerance", "1e9", "--sample-every", "0", "--quiet", *policy])  # fmt: skip
    values = []
    with h5py.File(out / "latest.h5") as f:
        f["/optimizer/m"].visititems(lambda _, item: values.append(item[...].ravel()) if isinstance(item, h5py.Dataset) else None)
    with open(out / "metrics.csv", newline="") as f:
        drift = float(next(csv.DictReader(f))["drift"])
    import shutil

    shutil.rmtree(out)
    return np.concatenate(values), drift


def compare_gradients(options, model, precision):
    errors = {name: [] for name in POLICIES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.batches):
            exact, _ = gradient(options, model, seed, precision, ["--memory", "store"], folder)
            for name, policy in POLICIES.items():
                g, drift = gradient(options, model, seed, precision, policy, folder)
                x, y = g.astype(np.float64), exact.astype(np.float64)
                errors[name].append((np.linalg.norm(x - y) / np.linalg.norm(y), x @ y / np.linalg.norm(x) / np.linalg.norm(y),
                                     int(np.count_nonzero(g.view(np.uint32) != exact.view(np.uint32))), drift))  # fmt: skip
    fine = True
    for name, rows in errors.items():
        distance, cosine, bits, drift = zip(*rows)
        exact = name != "reconstruct"
        good = (not any(bits) if exact else min(cosine) >= 0.9999 if precision == "bf16" else
                statistics.median(distance) <= 1e-6 and max(distance) <= 1e-3 and min(cosine) >= 0.999999)  # fmt: skip
        fine &= good
        print(f"| {precision} | {name} | {statistics.median(distance):.1e} | {max(distance):.1e} | {1 - min(cosine):.1e} | "
              f"{sum(map(bool, bits))} of {len(bits)} | {max(drift):.1e} | {'holds' if good else 'FAILS'} |", flush=True)  # fmt: skip
    return fine


def losses(options, model, policy, folder):
    out = Path(folder) / policy
    run([options.glow_train, "--data", options.data, "--out", str(out), *model, "--batch", str(options.train_batch),
         "--max-steps", str(options.training_steps), "--log-every", "1", "--sample-every", "0", "--eval-every", "0",
         "--warmup-epochs", "1", "--memory", policy, "--quiet"])  # fmt: skip
    with open(out / "metrics.csv", newline="") as f:
        return [float(row["loss"]) for row in csv.DictReader(f)]


def compare_training(options, model):
    with tempfile.TemporaryDirectory() as folder:
        exact, rebuilt = (losses(options, model, policy, folder) for policy in ("store", "reconstruct"))
    first = max(abs(a - b) for a, b in zip(exact[:20], rebuilt[:20]))
    a, b = statistics.mean(exact[-20:]), statistics.mean(rebuilt[-20:])
    good = first <= 1e-5 and abs(a - b) <= 0.01 * abs(a)
    print(f"\ntraining, {options.training_steps} steps of {options.train_batch} images, store against reconstruct: first 20 losses differ by at "
          f"most {first:.1e}; mean of the last 20: {a:.5f} and {b:.5f} bits/dim ({'holds' if good else 'FAILS'})")  # fmt: skip
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glow-train", required=True, metavar="PROGRAM")
    parser.add_argument("--data", required=True, metavar="F.h5")
    parser.add_argument("--checkpoint", required=True, metavar="C.h5")
    parser.add_argument("--batches", type=int, default=20, help="0: training alone")
    parser.add_argument("--batch", type=int, default=32, help="images")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--training-steps", type=int, default=0)
    parser.add_argument("--train-batch", type=int, default=16)
    options = parser.parse_args()
    options.glow_train = str(Path(options.glow_train).resolve())
    model = model_words(options.checkpoint)
    fine = True
    if options.batches > 0:
        print("| precision | policy | median relative L2 | worst | 1 - worst cosine | not bit-equal | drift | |\n|---|---|---|---|---|---|---|---|")
        fine = all([compare_gradients(options, model, precision) for precision in options.precisions.split(",")])
    if options.training_steps > 0:
        fine &= compare_training(options, model)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
