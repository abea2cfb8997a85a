"""compare_density_map.py PROGRAMS: `glow_eval --map` against the reference in double, at the training size and at another.

Every variant of the model has random weights. The maps must agree at every position and sum to the bits/dim of `--per-image`;
maps shifted by one position must not agree.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import numpy as np
import torch

import glow_reference as glow
from glow_files import make_config, random_parameters, write_checkpoint, write_dataset

PROGRAMS = Path(sys.argv[1])
CLASSES = 3
TOLERANCE = 1e-5  # nats a position: float networks, over sums of a few hundred terms; measured: 1.2e-6


def evaluate(folder):
    for name in ("map.npy", "bits.csv"):
        (folder / name).unlink(missing_ok=True)
    command = [PROGRAMS / "glow_eval", "--checkpoint", folder / "model.h5", "--data", folder / "data.h5", "--dequant", "center",
               "--map", folder / "map.npy", "--per-image", folder / "bits.csv", "--device", "cpu", "--threads", "1", "--batch", "2"]
    subprocess.run(command, check=True, capture_output=True)
    with open(folder / "bits.csv") as file:
        return np.load(folder / "map.npy"), np.array([float(row["bpd"]) for row in csv.DictReader(file)])


def compare(folder, size, changes):
    """(the largest difference of a position, of a sum, and of maps moved by one position)."""
    rng = np.random.default_rng(5)
    config = make_config(image_height=8, image_width=8, depth=2, width=16, **changes)
    params = random_parameters(config, seed=1)
    images = rng.integers(0, 256, (3, *size, config["channels"]), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, 3).astype(np.int32) if config["y_cond"] else None
    write_checkpoint(folder / "model.h5", config, params)
    split = images if labels is None else (images, labels, CLASSES)
    write_dataset(folder / "data.h5", train=split, test=split)
    maps, bits = evaluate(folder)
    model = glow.Glow(config, params)
    with torch.no_grad():
        x = glow.dequantize(torch.from_numpy(images), config["n_bits"])
        expected = model.density_map(x, None if labels is None else torch.from_numpy(labels)).numpy()
    assert maps.shape == expected.shape and maps.dtype == np.float64, maps.shape
    nats = -bits * images[0].size * np.log(2)
    return (abs(maps - expected).max(), abs(maps.sum((1, 2)) - nats).max(), abs(np.roll(maps, 1, 2) - expected).max())


failures = 0
with tempfile.TemporaryDirectory() as folder:
    for changes in (dict(levels=2), dict(levels=3), dict(levels=2, coupling="additive"), dict(levels=1),
                    dict(levels=2, edge_bias=False), dict(levels=2, learn_top=False), dict(levels=2, n_bits=5, channels=1),
                    dict(levels=2, y_cond=True, n_classes=CLASSES), dict(levels=2, permutation="invconv_lu"),
                    dict(levels=2, permutation="reverse")):
        for size in ((8, 8), (16, 24)):
            position, total, moved = compare(Path(folder), size, changes)
            # Nine digits of bits/dim in the CSV file.
            good = position < TOLERANCE and total < 1e-4 and (size == (8, 8) and changes["levels"] == 3 or moved > 100 * TOLERANCE)
            failures += not good
            print(f"{'ok    ' if good else 'FAILED'}  {size[0]}x{size[1]} {changes}: difference {position:.1e} nats a position, "
                  f"{total:.1e} in all; moved by a position {moved:.2f}")
sys.exit(1 if failures else 0)
