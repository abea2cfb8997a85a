#!/usr/bin/env python3
"""The built commands against the reference in double, for every kind of model: gradients and optimizer steps of
`glow_train` (compare_gradient.py), per-image bits/dim of `glow_eval` (compare_likelihood.py), the initialization from data.

Small models take seconds each (quick); `--full` compares the CIFAR-10 model (L3 K32 w512), which takes minutes.
Prints what each comparison measured. Exit status: 0 if all agree, 1 otherwise.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import numpy as np
import torch

import compare_gradient
import compare_likelihood
import glow_files as files
import glow_programs
import glow_reference as glow

# name: (image channels, options of compare_gradient.py, options of glow_train). Together they cover all 8 bit
# depths, 1 to 4 channels, both optimizers, and all permutations and couplings.
VARIANTS = {
    "invconv affine": (3, "--n-bits 8", ""),
    "invconv additive": (1, "--n-bits 1 --coupling additive --optimizer adam", ""),
    "invconv_lu affine": (2, "--n-bits 2 --permutation invconv_lu", ""),
    "invconv_lu additive": (4, "--n-bits 3 --permutation invconv_lu --coupling additive --optimizer adam", ""),
    "shuffle affine": (3, "--n-bits 4 --permutation shuffle --optimizer adam", ""),
    "shuffle additive": (1, "--n-bits 5 --permutation shuffle --coupling additive", ""),
    "reverse affine": (2, "--n-bits 6 --permutation reverse --optimizer adam", ""),
    "reverse additive": (4, "--n-bits 7 --permutation reverse --coupling additive", ""),
    "bounded scale": (3, "--coupling-scale tanh", ""),
    "variational noise": (3, "--dequant variational --n-bits 5", "--micro-batch 3"),
    "variational, no edge channel": (1, "--dequant variational --dequant-depth 1 --no-edge-bias --optimizer adam", "--tile 3"),
    "no edge channel": (3, "--no-edge-bias", "--memory store"),
    "no learned top": (3, "--no-learn-top", "--memory checkpoint"),
    "neither": (3, "--no-edge-bias --no-learn-top --coupling additive", "--anchor-every 2"),
    "by class": (3, "--y-cond", ""),
    "by class, bare top": (1, "--y-cond --no-learn-top --no-edge-bias", ""),
    "classifier": (3, "--y-cond --weight-y 0.5", ""),
    "classifier, LU": (2, "--y-cond --weight-y 0.01 --permutation invconv_lu --optimizer adam", "--micro-batch 3"),
    "weight decay": (3, "--weight-decay 1e-3", ""),
    "clipped": (3, "--clip-norm 0.5", "--micro-batch 4"),
    "micro-batches, tiles": (3, "--levels 3 --depth 2 --optimizer adam --weight-decay 1e-3", "--micro-batch 3 --tile 2"),
}
CLASSES = 3


def make_data(folder, channels, height=8, width=16, images=16):
    """A data set of random labeled images: blurred noise, so that neighbors are alike."""
    path = folder / f"data{channels}.h5"
    if not path.exists():
        rng = np.random.default_rng(channels)
        noise = rng.normal(128, 90, (2 * images, height, width, channels))
        for axis in (1, 2):
            noise = (noise + np.roll(noise, 1, axis)) / 2
        pixels = noise.clip(0, 255).astype(np.uint8)
        labels = rng.integers(0, CLASSES, 2 * images)
        files.write_dataset(path, train=(pixels[:images], labels[:images], CLASSES),
                            test=(pixels[images:], labels[images:], CLASSES))
    return path


def quietly(f, *arguments):
    """(f's result, what it printed)."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = f(*arguments)
    return result, printed.getvalue()


def check_variant(programs, folder, name, verbose):
    channels, model, training = VARIANTS[name]
    data = make_data(folder, channels)
    run = folder / name.replace(" ", "-").replace(",", "")
    run.mkdir()
    extra = ["--", *training.split()] if training else []
    gradient = compare_gradient.parse(["--glow-train", str(programs / "glow_train"), "--data", str(data), "--depth", "3",
                                       "--width", "16", "--show", "1", *model.split(), *extra])
    (ok, worst, whole), text = quietly(compare_gradient.compare, gradient, run)
    difference = 0.0
    # A model with random parameters, and its average after two steps.
    for checkpoint, flags in ((run / "start.h5", []), (run / "steps2", ["--ema"])):
        options = compare_likelihood.parse(["--glow-eval", str(programs / "glow_eval"), "--checkpoint", str(checkpoint),
                                            "--data", str(data), *flags])
        (likelihood_ok, worst_image), more = quietly(compare_likelihood.compare, options)
        ok, text, difference = ok and likelihood_ok, text + more, max(difference, worst_image)
    if verbose or not ok:
        print(text)
    print(f"{name}: gradient {worst:.1e} (worst tensor), {whole:.1e} (whole); bits/dim {difference:.1e}: "
          f"{compare_gradient.verdict(ok)}", flush=True)
    return ok


def check_initialization(programs, folder, channels, flags):
    """glow_train's actnorms after the initialization from data against the reference's, from the same weights and images."""
    data, run, batch = make_data(folder, channels), folder / f"initialized{channels}", 12
    # A step without effect: its learning rate vanishes next to every float except 0, and zeros stay that
    # small.
    glow_programs.run([str(programs / "glow_train"), "--data", str(data), "--out", str(run), "--levels", "2", "--depth", "3",
                       "--width", "16", "--max-steps", "1", "--batch", "4", "--init-batch", str(batch), "--lr", "1e-30",
                       "--warmup-epochs", "0", "--dequant", "center", "--augment", "none", "--no-shuffle", *flags.split()])
    checkpoint = run / "latest.h5"
    config, params = files.read_config(checkpoint), files.read_tree(checkpoint, "params")
    model = glow.Glow(config, {name: np.zeros_like(p) if "/actnorm/" in name else p for name, p in params.items()})
    images, _ = files.read_images(data, "train", batch)
    model.initialize_from_data(glow.dequantize(torch.from_numpy(images), config["n_bits"]))
    error = max(np.abs(model.params[name].numpy() - p).max() / (1 + np.abs(p).max())
                for name, p in params.items() if "/actnorm/" in name)
    ok = error <= 2e-6  # float sums over float hidden maps
    print(f"initialization from data, {channels} channels {flags}: {error:.1e}: {compare_gradient.verdict(ok)}", flush=True)
    return ok


def check_sabotage(programs, folder):
    """A gradient that is wrong by 1% must be noticed."""
    run = folder / "sabotage"
    run.mkdir()
    options = compare_gradient.parse(["--glow-train", str(programs / "glow_train"), "--data", str(make_data(folder, 3)),
                                      "--depth", "3", "--width", "16", "--sabotage"])
    noticed = not quietly(compare_gradient.compare, options, run)[0][0]
    print(f"a gradient that is wrong by 1% is noticed: {compare_gradient.verdict(noticed)}", flush=True)
    return noticed


def check_full(programs, folder):
    """The CIFAR-10 model: 96 float networks in a row, where float PyTorch itself differs from double by 2e-4 in the worst
    tensors without kinks."""
    data = str(folder / "cifar-sized.h5")
    glow_programs.run([str(programs / "glow_data"), "synthetic", "gauss", "--size", "32", "--channels", "3", "--train", "8",
                       "--test", "8", "-o", data, "--quiet"])
    ok = compare_gradient.compare(
        compare_gradient.parse(["--glow-train", str(programs / "glow_train"), "--data", data, "--levels", "3", "--depth",
                                "32", "--width", "512", "--batch", "4", "--chunk", "4", "--lr", "1e-4",  # more lets it explode
                                "--tensor-tolerance", "3e-4"]), folder)[0]
    for checkpoint in ("start.h5", "steps2"):
        ok &= compare_likelihood.compare(
            compare_likelihood.parse(["--glow-eval", str(programs / "glow_eval"), "--checkpoint", str(folder / checkpoint),
                                      "--data", data, "--limit", "4", "--chunk", "4"]))[0]
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, type=Path, help="folder of the built commands")
    parser.add_argument("--full", action="store_true", help="the CIFAR-10 model instead of the small ones")
    parser.add_argument("--only", nargs="*", help="variants whose name has one of these words")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.full:
            return 0 if check_full(options.programs, folder) else 1
        ok = True
        for name in VARIANTS:
            if not options.only or any(word in name for word in options.only):
                ok &= check_variant(options.programs, folder, name, options.verbose)
        if not options.only:
            for channels, flags in ((3, ""), (1, "--coupling additive --no-edge-bias --permutation shuffle"),
                                    (4, "--permutation invconv_lu")):
                ok &= check_initialization(options.programs, folder, channels, flags)
            ok &= check_sabotage(options.programs, folder)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
