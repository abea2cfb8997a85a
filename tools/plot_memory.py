#!/usr/bin/env python3
"""Plots memory scaling from the CSV files of glow_memory and tests/reference/memory_pytorch.py, with published curves.

usage: plot_memory.py CSV [CSV ...] -o memory.png [--x depth|image | --speed] [--title TEXT] [--no-published]

Left: the raw peak. Right: the peak without parameters, gradients, moments, averages and derived values. The x axis is the image
size if the rows differ in it, otherwise the depth. Curves published for an A100 (InvertibleNetworks.jl, JOSS 2024; 256x256x3, batch 8,
L = 3, width 256, forward and backward, no optimizer) are drawn dashed in both panels where all rows have these settings:
normflows as it is, InvertibleNetworks.jl with its parameters subtracted. --speed: images/s against the peak instead, of rows that
differ in their batch (those of glow_memory --under ... --largest batch), with quartiles where a row has them (--repeats).
Exit status 2: the files cannot be used; 1: the picture cannot be written.
"""

import argparse
import csv
import math
import os
import sys
from pathlib import Path

from output_files import OutputRefused, claim_outputs, save_figure
from python_packages import end_by_interrupts, require_packages, reserve_linear_algebra
from script_text import end_with, open_text, parse_arguments, path_argument, picture_text

end_by_interrupts()

FORMATS = {".png", ".svg", ".pdf"}
GIB = 2**30
MODEL = ("params_bytes", "grads_bytes", "moments_bytes", "ema_bytes", "derived_bytes")
NEEDED = ("mode", "levels", "depth", "width", "image", "channels", "batch", "peak_bytes", "predicted_bytes", *MODEL)

# In GiB. None: out of memory on the GPU, which has 40 GB.
PUBLISHED = {
    "depth": {
        "normflows": {4: 5.09, 8: 7.88, 16: 13.55, 32: 24.87, 48: 36.20, 64: None},
        "InvertibleNetworks.jl": {4: 5.1, 8: 5.1, 16: 5.1, 32: 5.1, 48: 5.1, 64: 5.1, 80: 5.15},
    },
    "image": {
        "normflows": {64: 2.2, 128: 4.3, 256: 13.0, 480: None},
        "InvertibleNetworks.jl": {256: 5.1, 512: 14.5, 1024: 38},
    },
}
# The published settings; the depth of the curves against image size is not published.
SETTING = {"channels": 3, "batch": 8, "levels": 3, "width": 256}
CARD = 40e9 / GIB

# A color for each policy, the same in every figure; tiles of a policy differ in their markers. Okabe & Ito: distinguishable for the
# color-blind and in print.
COLORS = {"reconstruct": "#0072B2", "checkpoint": "#009E73", "store": "#D55E00", "auto": "#CC79A7", "pytorch": "#E69F00",
          "pytorch_checkpoint": "#000000", "normflows": "#56B4E9"}  # fmt: skip
OTHER_COLOR = "#7F7F7F"
MARKERS = "o^sDv"
PUBLISHED_LOOK = {"normflows": ("#8C8C8C", "s", "published (A100), raw"),
                  "InvertibleNetworks.jl": ("#404040", "D", "published (A100), without parameters")}  # fmt: skip
NAMES = {"pytorch": "PyTorch, all stored", "pytorch_checkpoint": "PyTorch, torch.utils.checkpoint", "normflows": "normflows, here"}


class BadInput(Exception):
    pass


class WriteFailed(Exception):
    pass


def say(text):
    print(f"plot_memory: {text}", file=sys.stderr)


def read_rows(path):
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or [])]
            if missing:
                raise BadInput(f"{path} has no column {', '.join(missing)}: is it written by glow_memory?")
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read: {error}")
    good = []
    for number, row in enumerate(rows, start=2):
        try:
            point = {name: int(row[name]) for name in ("levels", "depth", "width", "image", "channels", "batch")}
            # Rows of glow_memory --predict have no measured peak.
            point["peak"] = float(row["peak_bytes"] or row["predicted_bytes"])
            point["model"] = sum(float(row[name] or 0) for name in MODEL)
            point["mode"], point["predicted"] = row["mode"], not row["peak_bytes"]
            point["speed"] = float(row.get("images_per_s") or "nan")
            point["quartiles"] = tuple(float(row.get(name) or "nan") for name in ("images_per_s_q1", "images_per_s_q3"))
            point["optimizer"] = float(row["moments_bytes"] or 0) > 0
            if not (math.isfinite(point["peak"]) and point["peak"] > 0):
                raise ValueError
            tile = point["mode"].partition(":")[2]
            if min(point[name] for name in ("levels", "depth", "width", "image", "channels", "batch")) < 1 or (tile and int(tile) < 0):
                raise ValueError
            good.append(point)
        except (TypeError, ValueError):
            say(f"{path}: skipped unreadable line {number}")
    return good


def name_of(mode, batch):
    policy, _, tile = mode.partition(":")
    if policy in NAMES:
        return NAMES[policy]
    if not tile:
        return f"Glow, {picture_text(policy)}"
    if int(tile) >= batch:
        return f"Glow, {picture_text(policy)}, untiled"
    return f"Glow, {picture_text(policy)}, tiles of {tile} image{'s' * (int(tile) > 1)}"


def looks(modes):
    """Color and marker of each mode."""
    seen, found = {}, {}
    for mode in modes:
        policy = mode.partition(":")[0]
        number = seen[policy] = seen.get(policy, -1) + 1
        found[mode] = COLORS.get(policy, OTHER_COLOR), MARKERS[number % len(MARKERS)]
    return found


def is_published_setting(rows, x):
    sizes = x == "image" or all(row["image"] == 256 for row in rows)
    return sizes and not any(row["optimizer"] for row in rows) and all(row[name] == value for row in rows for name, value in SETTING.items())


def unit_of(largest):
    """The unit of bytes in which axes have short numbers: its size and name."""
    return (GIB, "GiB") if largest >= GIB else (2**20, "MiB")


def number_ticks(axis, low, high):
    """A few round numbers on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if high < 1000 * low else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def draw(rows, x, title, published, output):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcdefaults()  # not the user's: with text.usetex, names would be LaTeX
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
        "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "svg.hashsalt": "glow", "svg.fonttype": "none",
    })  # fmt: skip
    if x == "batch":
        return draw_speed(rows, title, output, plt)
    figure, panels = plt.subplots(1, 2, figsize=(9.2, 4.9), sharey=True)
    modes = looks(dict.fromkeys(row["mode"] for row in rows))
    unit, unit_name = unit_of(max(row["peak"] for row in rows) if not published else GIB)
    ticks = sorted({row[x] for row in rows} | ({k for curve in PUBLISHED[x].values() for k in curve} if published else set()))
    for axes, without in zip(panels, (False, True)):
        for mode, (color, marker) in modes.items():
            points = sorted((row[x], (row["peak"] - (row["model"] if without else 0)) / unit) for row in rows if row["mode"] == mode)
            predicted = all(row["predicted"] for row in rows if row["mode"] == mode)
            label = name_of(mode, rows[0]["batch"]) + (" (predicted)" if predicted else "")
            axes.plot(*zip(*points), marker + ("-" if not predicted else ":"), color=color, markersize=4, linewidth=1.6, label=label,
                      zorder=3)  # fmt: skip
        if published:
            for name, curve in PUBLISHED[x].items():
                color, marker, what = PUBLISHED_LOOK[name]
                what = what.replace("A100", "A100, K not stated") if x == "image" else what
                known = [(k, v) for k, v in curve.items() if v is not None]
                axes.plot(*zip(*known), marker + "--", color=color, markersize=3.5, linewidth=1.1, label=f"{name}, {what}", zorder=2)
                for k in (k for k, v in curve.items() if v is None):
                    axes.plot([known[-1][0], k], [known[-1][1], CARD], "--", color=color, linewidth=1.1, zorder=2)
                    axes.plot(k, CARD, "x", color=color, markersize=7, markeredgewidth=1.6, zorder=2)
                    axes.annotate("out of memory", (k, CARD), xytext=(0, 6), textcoords="offset points", fontsize=7.5,
                                  color="#595959", ha="center")  # fmt: skip
        axes.set_title("peak without parameters and their gradients" if without else "peak, raw", fontsize=9, loc="left")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=10)
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(t) if t != 480 and not (t == 48 or t == 80) else "" for t in ticks])
        axes.set_xlabel("steps of flow per level, K" if x == "depth" else "height and width of the images, pixels")
    panels[0].set_ylabel(unit_name)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low / 1.3, high * 1.5)
    number_ticks(panels[0].yaxis, low / 1.3, high * 1.5)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    handles, labels = panels[0].get_legend_handles_labels()
    rows_of_legend = math.ceil(len(labels) / 2)
    figure.legend(handles, labels, loc="lower center", ncol=2, fontsize=8, handlelength=2.6)
    figure.tight_layout(rect=(0, 0.035 + 0.037 * rows_of_legend, 1, 0.99))
    save(figure, output)


def draw_speed(rows, title, output, plt):
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    unit, unit_name = unit_of(max(row["peak"] for row in rows))
    spread = any(math.isfinite(value) for row in rows for value in row["quartiles"])
    for number, (mode, (color, marker)) in enumerate(looks(dict.fromkeys(row["mode"] for row in rows)).items()):
        points = sorted((row["peak"] / unit, row["speed"], row["batch"], *row["quartiles"]) for row in rows if row["mode"] == mode)
        # A row without quartiles is one measurement: no spread.
        below = [speed - q1 if math.isfinite(q1) else 0 for _, speed, _, q1, _ in points]
        above = [q3 - speed if math.isfinite(q3) else 0 for _, speed, _, _, q3 in points]
        axes.errorbar([p[0] for p in points], [p[1] for p in points], yerr=[below, above] if spread else None, fmt=marker + "-",
                      color=color, markersize=4, linewidth=1.6, elinewidth=1, capsize=3, label=f"Glow, {picture_text(mode)}", zorder=3)  # fmt: skip
        for peak, speed, batch, *_ in points:
            axes.annotate(str(batch), (peak, speed), xytext=(4, (5, -10)[number % 2]), textcoords="offset points",
                          fontsize=7, color=color)  # fmt: skip
    axes.set_xscale("log", base=2)
    number_ticks(axes.xaxis, *axes.get_xlim())
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"peak, {unit_name}; at each point the largest batch that fits")
    axes.set_ylabel("images/s, median and quartiles" if spread else "images/s")
    axes.set_title(title, fontsize=9, loc="left")
    axes.legend(fontsize=8)
    figure.tight_layout()
    save(figure, output)


def save(figure, output):
    metadata = {"Date": None} if output.suffix.lower() == ".svg" else None
    try:
        save_figure(figure, output, dpi=200, metadata=metadata, format=output.suffix.lower()[1:])
    except OSError as error:
        raise WriteFailed(f"cannot write {output}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="+", type=path_argument, metavar="CSV")
    parser.add_argument("-o", "--output", type=path_argument, required=True, metavar="P.png", help="picture: .png, .svg or .pdf")
    parser.add_argument("--x", choices=("depth", "image"), help="the axis (default: image if the rows differ in it)")
    parser.add_argument("--speed", action="store_true", help="images/s against the peak, one point per batch size")
    parser.add_argument("--title", help="default: the settings that all rows share")
    parser.add_argument("--no-published", dest="published", action="store_false", help="never draw the published curves")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)  # can -o be drawn here? reads no rows
    options = parse_arguments(parser)
    try:
        if options.output.suffix.lower() not in FORMATS:
            raise BadInput(f"{options.output}: the picture's name must end in .png, .svg or .pdf")
        if not os.path.isdir(options.output.absolute().parent):
            raise BadInput(f"{options.output}: no such folder")
        if options.check:
            return require_packages("matplotlib") or 0
        claim_outputs([("the input", path) for path in options.csv], [("--output", options.output)])
        rows = [row for path in options.csv for row in read_rows(path)]
        if not rows:
            raise BadInput(f"{', '.join(map(str, options.csv))}: no rows")
        x = "batch" if options.speed else options.x or ("image" if len({row["image"] for row in rows}) > 1 else "depth")
        shared = {name: {row[name] for row in rows} for name in ("image", "channels", "batch", "levels", "depth", "width")}
        several = [name for name, values in shared.items() if len(values) > 1 and name != x]
        if x == "batch" and any(math.isnan(row["speed"]) for row in rows):
            raise BadInput("a row has no images_per_s: --speed needs measured ones")
        if several:
            raise BadInput(f"the rows differ in {', '.join(several)}: only {x} may change in one picture")
        one = {name: min(values) for name, values in shared.items()}
        at = "" if x == "image" else f"{one['image']}x{one['image']}x{one['channels']}, "
        at += "" if x == "depth" else f"K = {one['depth']}, "
        at += "" if x == "batch" else f"batch {one['batch']}, "
        title = picture_text(options.title) if options.title else f"Forward and backward, {at}L = {one['levels']}, width {one['width']}"
        require_packages("matplotlib")
        if problem := reserve_linear_algebra():
            raise BadInput(problem)
        draw(rows, x, title, options.published and x != "batch" and is_published_setting(rows, x), options.output)
    except (BadInput, OutputRefused, WriteFailed) as error:
        say(error)
        return 1 if isinstance(error, WriteFailed) else 2
    return 0


if __name__ == "__main__":
    end_with("plot_memory", main)
