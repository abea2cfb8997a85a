#!/usr/bin/env python3
"""Compares training steps of glow_bench and of bench_pytorch.py, alternately on the same machine: medians and their ratios.

    compare_speed.py --glow-bench PROGRAMS/glow_bench [--python PYTHON] [--policy store|reconstruct] [--rounds 5] [--depth 4] ...

Both run whole steps of the same model with the optimizer's update; Glow adds EMA, drift check and gradient norm. PyTorch's
variants: conv and gemm, the two forms of the model, eager or with -compile. All variants run in each round, so that a busy
machine slows all of them; a ratio is the median over the rounds. --csv FILE writes the medians.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys

COLUMNS = ("variant", "dtype", "policy", "levels", "depth", "width", "batch", "threads", "rounds", "ours_ms_per_image",
           "theirs_ms_per_image", "ratio", "ratio_min", "ratio_max", "load_average", "torch")  # fmt: skip


def last_json(text):
    """The JSON object that a program printed, alone or as its last line."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text.strip().splitlines()[-1])


def run(command):
    return last_json(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glow-bench", required=True)
    parser.add_argument("--python", help="with PyTorch; default: this one, or another that has it")
    parser.add_argument("--variants", default="conv", help="of conv, gemm, conv-compile, gemm-compile, separated by commas")
    parser.add_argument("--policy", default="store", choices=["store", "reconstruct"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", default="5", help="measured steps of PyTorch a round, whose median counts")
    parser.add_argument("--min-seconds", default="2", help="of ours a round")
    parser.add_argument("--levels", default="3")
    parser.add_argument("--depth", default="4")
    parser.add_argument("--width", default="512")
    parser.add_argument("--batch", default="64")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--csv", help="append a row a variant to this file")
    arguments = parser.parse_args()
    if arguments.python is None:
        import with_torch  # noqa: F401  after the options, so that --help needs no PyTorch

    shape = []
    for name in ["levels", "depth", "width", "batch", "threads"]:
        shape += [f"--{name}", getattr(arguments, name)]
    ours = [arguments.glow_bench, "--json", "--device", "cpu", "--filter", f"step/{arguments.policy}", "--precision",
            arguments.dtype, "--min-seconds", arguments.min_seconds, *shape]  # fmt: skip
    variants = arguments.variants.split(",")
    times, load, version = {name: [] for name in ["glow", *variants]}, [], ""
    for round_number in range(arguments.rounds):
        times["glow"].append(run(ours)["benchmarks"][0]["ms_per_image"])
        for name in variants:
            form, _, compiled = name.partition("-")
            result = run([arguments.python or sys.executable, str(pathlib.Path(__file__).with_name("bench_pytorch.py")),
                          "--dtype", arguments.dtype, "--form", form, *(["--compile"] if compiled else []),
                          "--with-optimizer", "--malloc", "tuned", "--steps", arguments.steps, *shape])  # fmt: skip
            times[name].append(result["ms_per_image"])
            version = result["torch"]
        load.append(os.getloadavg()[0])
        print(f"round {round_number + 1}: " + ", ".join(f"{name} {ms[-1]:.2f}" for name, ms in times.items()) +
              f" ms per image, load {load[-1]:.1f}", flush=True)
    rows = []
    for name in variants:
        ratios = [theirs_ms / ours_ms for ours_ms, theirs_ms in zip(times["glow"], times[name])]
        medians = [statistics.median(times[key]) for key in ("glow", name)]
        print(f"{name}: medians ours {medians[0]:.2f}, PyTorch {version} {medians[1]:.2f} ms per image; PyTorch / ours: "
              f"{statistics.median(ratios):.2f} (median of {len(ratios)} pairs, {min(ratios):.2f} to {max(ratios):.2f})")
        rows.append([name, arguments.dtype, arguments.policy, arguments.levels, arguments.depth, arguments.width, arguments.batch,
                     arguments.threads, arguments.rounds, *(f"{ms:.3f}" for ms in medians), f"{statistics.median(ratios):.3f}",
                     f"{min(ratios):.3f}", f"{max(ratios):.3f}", f"{statistics.median(load):.1f}", version])  # fmt: skip
    if arguments.csv:
        new = not os.path.exists(arguments.csv)
        with open(arguments.csv, "a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerows(rows)


if __name__ == "__main__":
    main()
