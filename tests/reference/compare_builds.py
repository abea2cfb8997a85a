#!/usr/bin/env python3
"""Two builds of the programs against each other, bit for bit: after a change that must not change any result.

usage: compare_builds.py OLD/bin NEW/bin [--steps 12] [--processes 1,3] [--device cpu] [--quick]

For every permutation and coupling, on each number of processes: OLD and NEW train the same model, each stopped halfway and
resumed; then OLD resumes what NEW began and NEW what OLD began. All four must give the same losses (metrics.csv without its
times) and the same bits in every tensor of the last checkpoint. Options of the memory policies are compared once each.
Exit status: 0 all equal; 1 a difference (named); 2 usage.
"""
import argparse
import csv
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("h5py")
import h5py

UNTIMED = ("step", "epoch", "images_seen", "bpd", "loss", "grad_norm", "lr", "drift", "max_condition", "bits_y", "error_y")
RUNNER = pathlib.Path(__file__).resolve().parent.parent / "run_processes.sh"


def call(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")


def train(folder, data, programs, processes, steps, options):
    """Trains to the middle with the first of `programs` and from there with the second."""
    for program, last in zip(programs, (steps // 2, steps)):
        command = [program / "glow_train", "--data", data, "--out", folder, "--resume", "auto", "--max-steps", last,
                   "--log-every", 1, "--threads", 1, "--quiet", *options]
        call([RUNNER, processes, *command] if processes > 1 else command)


def rows(folder):
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return [{key: row[key] for key in UNTIMED if key in row} for row in csv.DictReader(file)]


def tensors(folder):
    found = {}
    with h5py.File(folder / "latest.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None)
    return found


def differences(one, other):
    a, b = rows(one), rows(other)
    if a != b:
        first = next((x, y) for x, y in itertools.zip_longest(a, b) if x != y)
        yield f"metrics.csv: {first[0]} and {first[1]}"
    a, b = tensors(one), tensors(other)
    if a.keys() != b.keys():
        yield f"tensors {sorted(a.keys() ^ b.keys())[:3]} are in one checkpoint only"
    different = [name for name in a if name in b and a[name] != b[name]]
    if different:
        yield f"{len(different)} of {len(a)} tensors differ, first {different[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--processes", default="1,3", help="numbers of processes, comma separated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip-downgrade", action="store_true",
                        help="do not let OLD resume runs of NEW, which may have options that OLD does not know")
    parser.add_argument("--quick", action="store_true", help="one permutation and coupling only")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    models = [["--permutation", p, "--coupling", c] for p in ("invconv", "invconv_lu", "reverse", "shuffle")
              for c in ("affine", "additive")]
    extra = [["--memory", "store"], ["--memory", "checkpoint"], ["--fused-update"], ["--rounding-bits"], ["--anchor-every", "2"],
             ["--micro-batch", "2"], ["--moments", "bf16"], ["--no-edge-bias"], ["--no-learn-top"], ["--y-cond", "--weight-y", "0.1"],
             ["--clip-norm", "1"], ["--optimizer", "adam"], ["--no-graph"]]
    if arguments.quick:
        models, extra = models[:1], extra[:3]
    failed = count = 0
    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "shapes.h5"
        call([arguments.old / "glow_data", "synthetic", "shapes", "--size", 16, "--train", 64, "--test", 8, "-o", data])
        common = ["--levels", 2, "--depth", 2, "--width", 16, "--batch", 6, "--device", arguments.device]
        cases = [(p, m) for p in map(int, arguments.processes.split(",")) for m in models]
        cases += [(1, m) for m in extra]
        for processes, options in cases:
            folder = pathlib.Path(scratch) / f"case{count}"
            pairs = {"old": (arguments.old, arguments.old), "new": (arguments.new, arguments.new),
                     "old-new": (arguments.old, arguments.new), "new-old": (arguments.new, arguments.old)}
            if arguments.skip_downgrade:
                del pairs["new-old"]
            for name, programs in pairs.items():
                train(folder / name, data, programs, processes, arguments.steps, common + options)
            found = [f"{name}: {line}" for name in list(pairs)[1:] for line in differences(folder / "old", folder / name)]
            count += 1
            failed += bool(found)
            print(f"{'FAILED' if found else 'equal '} {processes} process(es) {' '.join(options)}", *found, sep="\n    ", flush=True)
    print(f"{count - failed} of {count} cases are equal, bit for bit")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
