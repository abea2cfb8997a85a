#!/usr/bin/env python3
"""Compares training steps that read images from disk and from memory, alternately on the same machine: medians and their ratio.

    tests/tools/compare_data_access.py --data F [--cold] [--rounds 6] [--steps 60] [--glow-train PROGRAM] [OPTIONS OF GLOW_TRAIN]

--cold removes the data set from the page cache before each run from disk. The first 5 steps of a run do not count. Without options
of glow_train, it trains a small model, whose steps are so short that slow reading would be visible. The goal is a ratio below 1.02.
"""

import argparse
import csv
import os
import pathlib
import statistics
import subprocess
import tempfile


SMALL_MODEL = ["--levels", "3", "--depth", "2", "--width", "128", "--batch", "16", "--threads", "2"]


def forget(path):
    """Takes a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def step_ms(program, data, access, steps, more):
    """The times of a run's steps, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        subprocess.run([program, "--data", data, "--out", run, "--quiet", "--data-access", access, "--log-every", "1", "--max-steps",
                        str(steps), "--eval-every", "0", "--sample-every", "0", "--checkpoint-every", "0", *more],
                       stdout=subprocess.DEVNULL, check=True)
        with open(run / "metrics.csv") as file:
            return [float(row["step_ms"]) for row in csv.DictReader(file)][5:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glow-train", default=pathlib.Path(__file__).parents[2] / "build/release/bin/glow_train")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cold", action="store_true")
    arguments, more = parser.parse_known_args()
    more = more or SMALL_MODEL
    ratios, medians = [], {"memory": [], "disk": []}
    for number in range(arguments.rounds):
        # Which goes first changes, so that a load that rises or falls meets both alike.
        order = ["memory", "disk"] if number % 2 == 0 else ["disk", "memory"]
        for access in order:
            if arguments.cold and access == "disk":
                forget(arguments.data)
            times = step_ms(arguments.glow_train, arguments.data, access, arguments.steps, more)
            medians[access].append(statistics.median(times))
        ratios.append(medians["disk"][-1] / medians["memory"][-1])
        print(f"round {number + 1}: memory {medians['memory'][-1]:.2f} ms a step, disk {medians['disk'][-1]:.2f}, ratio {ratios[-1]:.3f}, "
              f"load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"disk / memory: {statistics.median(ratios):.3f} (median of {len(ratios)} pairs, {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
