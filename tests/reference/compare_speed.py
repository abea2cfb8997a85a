#!/usr/bin/env python3
"""Training steps of glow_bench and of bench_pytorch.py, in turn on the same machine: medians and their ratio.

    compare_speed.py --glow-bench PROGRAMS/glow_bench [--policy store|reconstruct] [--rounds 5] [--depth 4] ...

Both take whole steps of the same model with the optimizer's update; ours adds EMA, drift check and gradient norm.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys


def last_json(text):
    """The JSON object that a program printed, alone or as its last line."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glow-bench", required=True)
    parser.add_argument("--policy", default="store", choices=["store", "reconstruct"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--levels", default="3")
    parser.add_argument("--depth", default="4")
    parser.add_argument("--width", default="512")
    parser.add_argument("--batch", default="64")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    arguments = parser.parse_args()
    import with_torch  # noqa: F401  after the options, so that --help needs no PyTorch

    shape = []
    for name in ["levels", "depth", "width", "batch", "threads"]:
        shape += [f"--{name}", getattr(arguments, name)]
    ours = [arguments.glow_bench, "--json", "--filter", f"step/{arguments.policy}", "--precision", arguments.dtype, *shape]
    theirs = [sys.executable, str(pathlib.Path(__file__).with_name("bench_pytorch.py")), "--dtype", arguments.dtype,
              "--with-optimizer", "--malloc", "tuned", *shape]
    times = {"glow": [], "pytorch": []}
    for round_number in range(arguments.rounds):
        for name, command in [("glow", ours), ("pytorch", theirs)]:
            output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
            result = last_json(output)
            ms = result["benchmarks"][0]["ms_per_image"] if name == "glow" else result["ms_per_image"]
            times[name].append(ms)
        print(f"round {round_number + 1}: ours {times['glow'][-1]:.2f} ms per image, PyTorch {times['pytorch'][-1]:.2f}, "
              f"load {os.getloadavg()[0]:.1f}", flush=True)
    ratios = [theirs_ms / ours_ms for ours_ms, theirs_ms in zip(times["glow"], times["pytorch"])]
    print(f"medians: ours {statistics.median(times['glow']):.2f}, PyTorch {statistics.median(times['pytorch']):.2f} ms per image; "
          f"PyTorch / ours: {statistics.median(ratios):.2f} (median of {len(ratios)} pairs, {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
