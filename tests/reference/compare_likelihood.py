#!/usr/bin/env python3
"""Compares `glow_eval --bpd --per-image` with the reference in double, image by image: without noise, or with
the noise of the model's dequantizer.

Exit status: 0 if every image agrees within --tolerance bits/dim, 1 otherwise.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import torch

import glow_files as files
import glow_programs
import variational


def reference_bpd(config, params, images, labels, chunk):
    """[N] bits/dim, in double."""
    model = variational.model_of(config, params)
    labels = torch.from_numpy(labels) if config["y_cond"] else None
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), chunk):
            x = variational.input_of(config, images[start : start + chunk], variational.EVALUATION, start)
            parts.append(model.bits_per_dim(x, None if labels is None else labels[start : start + chunk]))
    return torch.cat(parts).numpy()


def program_bpd(options, dequant):
    """{index: bits/dim} from the program's CSV."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "per-image.csv"
        command = [options.glow_eval, "--bpd", "--checkpoint", str(options.checkpoint), "--data", options.data,
                   "--split", options.split, "--per-image", str(table), "--dequant", dequant,
                   *([] if options.ema else ["--no-ema"]),
                   *(["--limit", str(options.limit)] if options.limit else []), *options.extra]
        glow_programs.run(command)
        with open(table, newline="") as f:
            return {int(row["index"]): float(row["bpd"]) for row in csv.DictReader(f)}


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glow-eval", required=True, help="path of the program")
    parser.add_argument("--checkpoint", required=True, type=Path, help="a file, or a folder with latest.h5")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--ema", action="store_true", help="compare the averaged weights instead of the raw ones")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="bits/dim, for the worst image")
    parser.add_argument("--chunk", type=int, default=32, help="images the reference takes at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("extra", nargs="*", help="after --: more options for glow_eval")
    options = parser.parse_args(arguments)
    if options.checkpoint.is_dir():  # a run folder, or its checkpoints/
        options.checkpoint = next(iter(sorted(options.checkpoint.rglob("latest.h5"))), options.checkpoint / "latest.h5")
    return options


def compare(options):
    """(every image agrees, the worst difference in bits/dim)."""
    images, labels = files.read_images(options.data, options.split, options.limit)
    params = files.read_tree(options.checkpoint, "params")
    if options.ema:
        params |= files.read_tree(options.checkpoint, "ema")
    config = files.read_config(options.checkpoint)
    measured = program_bpd(options, "variational" if config.get("dequant_depth") else "center")
    if sorted(measured) != list(range(len(images))):
        print(f"FAILED: expected one row for each of {len(images)} images, got {len(measured)} rows")
        return False, float("nan")
    expected = reference_bpd(config, params, images, labels, options.chunk)
    difference = [abs(measured[i] - expected[i]) for i in range(len(images))]
    # NaN counts as the worst; no comparison with it is true.
    worst = max(range(len(images)), key=lambda i: difference[i] if difference[i] == difference[i] else float("inf"))
    passed = all(d <= options.tolerance for d in difference)
    mean = sum(measured.values()) / len(images)
    print(f"{len(images)} images, mean {mean:.6f} bits/dim, reference {expected.mean():.6f}")
    print(f"worst difference {difference[worst]:.3e} bits/dim at image {worst}: {measured[worst]:.6f} against "
          f"{expected[worst]:.6f}; tolerance {options.tolerance:g}: {'passed' if passed else 'FAILED'}")
    return passed, difference[worst]


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    return 0 if compare(options)[0] else 1


if __name__ == "__main__":
    sys.exit(main())
