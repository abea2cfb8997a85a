#!/usr/bin/env python3
"""Plots histograms of `glow_eval --per-image` scores of several data sets.

    plot_scores.py A.csv B.csv [...] -o P.png

With the columns of --complexity a second panel shows the corrected score. Labels: the files' names, or --labels a,b.
Exit status: 0 success, 1 the picture cannot be written, 2 bad usage or a file without these columns.
"""

import argparse
import csv
import sys
from pathlib import Path

from python_packages import end_by_interrupts, require_packages, reserve_linear_algebra

end_by_interrupts()
require_packages("numpy", "matplotlib")
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from output_files import OutputRefused, claim_outputs, save_figure
from script_text import end_with, open_text, parse_arguments, picture_text

matplotlib.rcdefaults()  # not the user's: with text.usetex, names would be LaTeX
FORMATS = (".png", ".svg", ".pdf")
LARGEST = 1e30  # of a score


def columns(path):
    try:
        with open_text(path) as file:
            rows = list(csv.DictReader(file))
        found = {name: np.array([float(row[name]) for row in rows]) for name in ("bpd", "corrected") if rows and name in rows[0]}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        sys.exit(refuse(f"{path}: {error}"))
    if "bpd" not in found:
        sys.exit(refuse(f"{path}: no rows with a column bpd"))
    if "step" in rows[0]:
        sys.exit(refuse(f"{path}: the log of a run (a row for each step), expected scores of images from glow_eval --per-image"))
    for name, values in found.items():
        wrong = np.flatnonzero(~(np.abs(values) <= LARGEST))
        if len(wrong):
            sys.exit(refuse(f"{path}: row {wrong[0] + 1}: {name} is {values[wrong[0]]:g}, expected a finite number"))
    return found


def refuse(text):
    print(f"plot_scores: error: {text}", file=sys.stderr)
    return 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("-o", "--output", required=True, metavar="P.png", help="picture: .png, .svg or .pdf")
    parser.add_argument("--labels", help="names of the data sets, separated by commas")
    arguments = parse_arguments(parser)
    if Path(arguments.output).suffix.lower() not in FORMATS:
        return refuse(f"{arguments.output}: the picture's name must end in .png, .svg or .pdf")
    if problem := reserve_linear_algebra():
        return refuse(problem)
    labels = arguments.labels.split(",") if arguments.labels else [Path(name).stem for name in arguments.files]
    if len(labels) != len(arguments.files):
        return refuse(f"{len(labels)} labels for {len(arguments.files)} files")
    try:
        claim_outputs([("the input", path) for path in arguments.files], [("--output", arguments.output)])
    except OutputRefused as error:
        return refuse(error)
    sets = [columns(name) for name in arguments.files]
    panels = [("bpd", "bits/dim")]
    if all("corrected" in one for one in sets):
        panels.append(("corrected", "bits/dim minus the PNG size (corrected)"))
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 2.8), squeeze=False)
    for axis, (name, title) in zip(axes[0], panels):
        values = [one[name] for one in sets]
        count = int(np.clip(np.sqrt(min(len(v) for v in values)) * 2, 10, 60))
        low, high = min(v.min() for v in values), max(v.max() for v in values)
        if low == high:  # bins of no width have no density
            low, high = low - max(1, abs(low)) / 2, high + max(1, abs(high)) / 2
        bins = np.linspace(low, high, count + 1)
        for label, value in zip(labels, values):
            axis.hist(value, bins, density=True, alpha=0.55, label=f"{picture_text(label)} ({len(value)})")
        axis.set_xlabel(title)
        axis.set_ylabel("density of images")
        axis.set_yticks([])
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    picture = Path(arguments.output).suffix[1:] or "png"
    try:
        save_figure(figure, arguments.output, dpi=160, format=picture)
    except (OSError, ValueError) as error:
        refuse(f"{arguments.output}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    end_with("plot_scores", main)
