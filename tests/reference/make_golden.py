#!/usr/bin/env python3
"""Writes golden/*.h5: small checkpoints with random parameters, and the reference's results for a few images.

Each file is a valid checkpoint, and also holds (center dequantization, double, images [N,H,W,C]):
    /golden/images            uint8 [N,H,W,C]          /golden/labels      int32 [N], conditional models only
    /golden/bpd               [N]  bits/dim            /golden/loss        scalar: mean of bpd + weight_y * bits_y
    /golden/eps/level{l}      [N,H_l,W_l,C_l]          /golden/bits_y      [N], if there is a classifier
    /golden/gradients/NAME    d loss / d parameter, for every trainable tensor
    /golden/input_gradient    [N,H,W,C] d log p / d image, nats per gray level
    /golden/initialised/NAME  initialization.h5 only: every actnorm after the initialization from data with these images
"""

import argparse
import sys
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import h5py
import numpy as np
import torch

import glow_files as files
import glow_reference as glow

FOLDER = Path(__file__).resolve().parent / "golden"

# Height and width, and width and channels, differ, so that swapping them is detected.
BASE = dict(image_height=8, image_width=12, channels=3, levels=2, depth=1, width=6)

VARIANTS = {
    "affine": dict(depth=2, channels=2),
    "additive": dict(coupling="additive"),
    "no_edge_bias": dict(edge_bias=False),
    "no_learn_top": dict(learn_top=False),
    "invconv_lu": dict(permutation="invconv_lu"),
    "shuffle": dict(permutation="shuffle"),
    "reverse": dict(permutation="reverse"),
    "five_bit": dict(n_bits=5, coupling="additive"),
    "one_channel": dict(channels=1, image_width=8, levels=3, width=8),  # 1x1 pixels at the top
    "four_channels": dict(channels=4, width=4),
    "conditional": dict(y_cond=True, n_classes=3, weight_y=0.5),
    "initialization": {},
    "bounded_scale": dict(coupling_scale="tanh"),
}


def inputs(name):
    """(config, parameters, uint8 images [4,H,W,C], labels int32 [4] or None) of a variant; from its name alone."""
    config = files.make_config(**{**BASE, **VARIANTS[name]})
    seed = 1 + list(VARIANTS).index(name)
    rng = np.random.default_rng(100 + seed)
    shape = (4, config["image_height"], config["image_width"], config["channels"])
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = np.array([2, 0, 1, 2], np.int32) if config["y_cond"] else None
    return config, files.random_parameters(config, seed), images, labels


def compute(name):
    """{path below /golden: array} of a variant."""
    config, params, images, labels = inputs(name)
    golden = {"images": images} if labels is None else {"images": images, "labels": labels}
    labels = None if labels is None else torch.from_numpy(labels)
    model = glow.Glow(config, params)
    x = glow.dequantize(torch.from_numpy(images), config["n_bits"])
    if name == "initialization":
        model.initialize_from_data(x)
        return golden | {f"initialised/{n}": p.numpy() for n, p in model.params.items() if "/actnorm/" in n}
    with torch.no_grad():
        eps, _, _ = model.encode(x, labels)
        golden |= {f"eps/level{level}": value.numpy() for level, value in enumerate(eps)}
        bpd, bits_y = model.bits(x, labels)
        golden["bpd"] = bpd.numpy()
        if model.has_classifier():
            golden["bits_y"] = bits_y.numpy()
    golden["input_gradient"] = model.input_gradient(x, labels).numpy()
    loss, gradients = model.gradient(x, labels)
    golden["loss"] = np.float64(loss)
    return golden | {f"gradients/{n}": g.numpy() for n, g in gradients.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in VARIANTS:
        path = options.out / f"{name}.h5"
        config, params, _, _ = inputs(name)
        golden = compute(name)
        files.write_checkpoint(path, config, params, dict(dequant="center", seed=1))
        with h5py.File(path, "a") as f:
            for key, value in golden.items():
                files.put(f, f"golden/{key}", value)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, {sum(p.size for p in params.values())} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
