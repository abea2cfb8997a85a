#!/usr/bin/env python3
"""Trains every variant of the model with the built commands and checks the results.

stability  2,000 steps on real images at the default learning rate, after a short warm-up: every logged number is finite, and
           no sample at temperature 0.7 and 1 is constant, or black or white because of an infinity.
entropy    on images of known entropy: test bits/dim comes within 0.05 of it, and never below it by more than 3
           standard errors. Makes its own data.

Prints one row of a Markdown table per variant, as soon as it has run. Exit status: 0 if all checks pass, 1 otherwise, 77
(CTest: skipped) if there is no data set.
"""

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("numpy")
import numpy as np

PERMUTATIONS, COUPLINGS = ("invconv", "invconv_lu", "shuffle", "reverse"), ("affine", "additive")


class Commands:
    def __init__(self, folder, threads):
        self.folder, self.threads = folder, threads

    def __call__(self, name, *arguments):
        """The result of a command as its JSON object. RuntimeError with its messages where it fails."""
        command = [str(self.folder / name), *map(str, arguments), "--json", "--quiet"]
        if name != "glow_data":
            command += ["--threads", str(self.threads)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def variant_flags(permutation="invconv", coupling="affine", *flags):
    return ["--permutation", permutation, "--coupling", coupling, *flags]


def show(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def header(cells):
    show(cells)
    show(["---"] * len(cells))


# --- Stability on real images -------------------------------------------------------------------------------------


def stability_variants():
    variants = {f"{p}, {c}": variant_flags(p, c) for p in PERMUTATIONS for c in COUPLINGS}
    variants["no edge channel"] = variant_flags("invconv", "affine", "--no-edge-bias")
    variants["no learned top"] = variant_flags("invconv", "affine", "--no-learn-top")
    variants["by class, classifier 0.01"] = variant_flags("invconv", "affine", "--y-cond", "--weight-y", 0.01)
    variants["5 bits, additive"] = variant_flags("invconv", "additive", "--n-bits", 5)
    variants["adam"] = variant_flags("invconv", "affine", "--optimizer", "adam")
    return variants


def check_log(path, steps):
    """(largest gradient norm, drift and condition number) of a run's metrics.csv; RuntimeError unless all is finite."""
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        for key, value in row.items():
            if not math.isfinite(float(value)):
                raise RuntimeError(f"step {row['step']}: {key} is {value}")
    if int(rows[-1]["step"]) != steps:
        raise RuntimeError(f"the last logged step is {rows[-1]['step']}, not {steps}")
    return [max(float(row[key]) for row in rows) for key in ("grad_norm", "drift", "max_condition")]


def check_samples(path, side, size):
    """(smallest deviation of a picture's pixels in gray levels, largest share of 0 and 255) in a sheet of side x side
    pictures, which are `size` pixels wide with 2 between and around them."""
    import matplotlib.image  # here: nothing else needs it

    sheet = np.round(255 * matplotlib.image.imread(path))
    at = lambda i: slice(2 + i * (size + 2), (i + 1) * (size + 2))
    pictures = [sheet[at(row), at(column)] for row in range(side) for column in range(side)]
    deviation = min(picture.std() for picture in pictures)
    pinned = max(np.mean((picture == 0) | (picture == 255)) for picture in pictures)
    if deviation < 2:
        raise RuntimeError(f"{path.name}: a picture of one color")
    if pinned > 0.9:
        raise RuntimeError(f"{path.name}: {100 * pinned:.0f}% of a picture is black or white")
    return deviation, pinned


def stability(options, run, folder):
    if not options.data.exists():
        print(f"skipped: {options.data} is not there; make it with glow_data cifar10 DIR -o FILE")
        return 77
    size = run("glow_data", "info", options.data)["width"]
    header(["variant", "bits/dim (test)", "gradient norm", "condition", "drift", "T = 0.7: deviation, pinned", "T = 1",
            "images/s", ""])
    failed = 0
    for name, flags in stability_variants().items():
        if options.only and not any(word in name for word in options.only):
            continue
        out, start = folder / name.replace(" ", "-").replace(",", ""), time.monotonic()
        try:
            run("glow_train", "--data", options.data, "--out", out, "--levels", 3, "--depth", 4, "--width", 64,
                "--batch", options.batch, "--max-steps", options.steps, "--warmup-epochs", options.warmup_epochs,
                "--log-every", 1, "--eval-every", 0, "--sample-every", 0, "--seed", 1, "--rollbacks", 0, *flags)
            rate = options.steps * options.batch / (time.monotonic() - start)
            norm, drift, condition = check_log(out / "metrics.csv", options.steps)
            bpd = run("glow_eval", "--bpd", "--checkpoint", out, "--data", options.data, "--limit", options.test,
                      "--no-ema")
            sheets = []
            for temperature in (0.7, 1.0):
                picture = out / f"samples-{temperature}.png"
                run("glow_sample", "--checkpoint", out, "--grid", "6x6", "--temperature", temperature, "--no-ema", "-o",
                    picture)
                deviation, pinned = check_samples(picture, 6, size)
                sheets.append(f"{deviation:.0f}, {100 * pinned:.0f}%")
            show([name, f"{bpd['bpd']:.3f} +- {bpd['stderr']:.3f}", f"{norm:.1f}", f"{condition:.1f}", f"{drift:.0e}",
                  *sheets, f"{rate:.0f}", "held"])
        except (RuntimeError, OSError) as error:
            failed += 1
            show([name, *[""] * 7, f"FAILED: {error}"])
    return 1 if failed else 0


# --- Images of known entropy --------------------------------------------------------------------------------------


def entropy(options, run, folder):
    failed = 0
    header(["images", "variant", "K", "steps", "bits/dim (test)", "above the entropy", ""])
    # Learned mixings at K 4; the fixed ones at K 16, where each pair of channels has met.
    runs = [(8, p, c, 4 if p.startswith("invconv") else 16) for p in PERMUTATIONS for c in COUPLINGS]
    runs += [(16, "invconv", "affine", 4)]
    for size, permutation, coupling, depth in runs:
        name = f"{permutation}, {coupling}"
        if options.only and not any(word in f"{name}, {size}" for word in options.only):
            continue
        data = folder / f"gauss{size}.h5"
        if not data.exists():
            run("glow_data", "synthetic", "gauss", "--size", size, "--channels", 3, "--train", 20000, "--test", 2000,
                "-o", data)
        known = run("glow_data", "info", data)["entropy_bpd"]
        out = folder / f"{size}-{permutation}-{coupling}"
        try:
            run("glow_train", "--data", data, "--out", out, "--levels", 2, "--depth", depth, "--width", 64, "--batch", 32,
                "--max-steps", options.steps, "--warmup-epochs", 0.1, "--augment", "none", "--ema-decay", 0.99,
                "--log-every", 10, "--eval-every", 0, "--sample-every", 0, "--seed", 1,
                *variant_flags(permutation, coupling))
            bpd = run("glow_eval", "--bpd", "--checkpoint", out, "--data", data)
            above = bpd["bpd"] - known
            held = -3 * bpd["stderr"] <= above <= 0.05
            failed += not held
            show([f"{size}x{size}x3", name, str(depth), str(options.steps), f"{bpd['bpd']:.4f} +- {bpd['stderr']:.4f}",
                  f"{above:+.4f}", "held" if held else "FAILED"])
        except RuntimeError as error:
            failed += 1
            show([f"{size}x{size}x3", name, str(depth), *[""] * 3, f"FAILED: {error}"])
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stability", "entropy"))
    parser.add_argument("--programs", type=Path, required=True, help="folder of the built commands")
    parser.add_argument("--data", type=Path, default=Path("datasets/cifar10.h5"), help="stability: the real images")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16, help="stability")
    parser.add_argument("--warmup-epochs", type=float, default=0.25, help="stability: short, so that most steps go at full rate")
    parser.add_argument("--test", type=int, default=500, help="stability: images of the evaluation")
    parser.add_argument("--only", nargs="*", help="variants whose name has one of these words")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder of the runs; default: a temporary one, removed")
    options = parser.parse_args()
    run = Commands(options.programs, options.threads)
    action = dict(stability=stability, entropy=entropy)[options.what]
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        return action(options, run, options.keep)
    with tempfile.TemporaryDirectory() as folder:
        return action(options, run, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
