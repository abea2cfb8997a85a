#!/usr/bin/env python3
"""Plots memory scaling from the CSV files of glow_memory and tests/reference/memory_pytorch.py, with published curves.

usage: plot_memory.py CSV [CSV ...] -o memory.png [--x depth|image | --speed] [--title TEXT] [--no-published]

Left: the raw peak. Right: the peak without parameters, gradients, moments, averages and derived values. The x axis is the image
size if the rows differ in it, otherwise the depth. Published (InvertibleNetworks.jl, JOSS 2024; A100, 256x256x3, batch 8, L = 3, width
256, forward and backward, no optimizer): normflows as it is, InvertibleNetworks.jl with its parameters subtracted; each is drawn
dashed in both panels and says which it is. --speed: images/s against the peak instead, of rows that differ in their batch (those of
glow_memory --under ... --largest batch). Exit status 2: the files cannot be used.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

from output_files import OutputRefused, claim_outputs, write_atomically
from python_packages import require_packages

FORMATS = {".png", ".svg", ".pdf"}
GIB = 2**30
MODEL = ("params_bytes", "grads_bytes", "moments_bytes", "ema_bytes", "derived_bytes")
NEEDED = ("mode", "levels", "depth", "width", "image", "channels", "batch", "peak_bytes", "predicted_bytes", *MODEL)

# GiB. None: out of memory on the 40 GB of the card.
PUBLISHED = {
    "depth": {
        "normflows, published, raw": {4: 5.09, 8: 7.88, 16: 13.55, 32: 24.87, 48: 36.20, 64: None},
        "InvertibleNetworks.jl, published, without parameters": {4: 5.1, 8: 5.1, 16: 5.1, 32: 5.1, 48: 5.1, 64: 5.1, 80: 5.15},
    },
    "image": {
        "normflows, published, raw": {64: 2.2, 128: 4.3, 256: 13.0, 480: None},
        "InvertibleNetworks.jl, published, without parameters": {256: 5.1, 512: 14.5, 1024: 38},
    },
}
CARD = 40e9 / GIB

# Okabe & Ito: distinguishable for the color-blind and in print.
COLORS = ["#0072B2", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#000000"]
GREYS = {"normflows, published, raw": "#8C8C8C", "InvertibleNetworks.jl, published, without parameters": "#404040"}
NAMES = {"pytorch": "PyTorch, all stored", "pytorch_checkpoint": "PyTorch, torch.utils.checkpoint", "normflows": "normflows, here"}


class BadInput(Exception):
    pass


def say(text):
    print(f"plot_memory: {text}", file=sys.stderr)


def read_rows(path):
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or [])]
            if missing:
                raise BadInput(f"{path} has no column {', '.join(missing)}: is it written by glow_memory?")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
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
            if not (math.isfinite(point["peak"]) and point["peak"] > 0):
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
        return f"Glow, {policy}"
    if int(tile) >= batch:
        return f"Glow, {policy}, untiled"
    return f"Glow, {policy}, tiles of {tile} image{'s' * (int(tile) > 1)}"


def draw(rows, x, title, published, output):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullLocator

    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
        "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "svg.hashsalt": "glow", "svg.fonttype": "none",
    })  # fmt: skip
    if x == "batch":
        return draw_speed(rows, title, output, plt)
    figure, panels = plt.subplots(1, 2, figsize=(9.2, 4.9), sharey=True)
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    ticks = sorted({row[x] for row in rows} | ({k for curve in PUBLISHED[x].values() for k in curve} if published else set()))
    for axes, without in zip(panels, (False, True)):
        for i, mode in enumerate(modes):
            points = sorted((row[x], (row["peak"] - (row["model"] if without else 0)) / GIB) for row in rows if row["mode"] == mode)
            predicted = all(row["predicted"] for row in rows if row["mode"] == mode)
            label = name_of(mode, rows[0]["batch"]) + (" (predicted)" if predicted else "")
            axes.plot(*zip(*points), "o-" if not predicted else "o:", color=COLORS[i % len(COLORS)], markersize=4, linewidth=1.6,
                      label=label, zorder=3)  # fmt: skip
        if published:
            for (label, curve), marker in zip(PUBLISHED[x].items(), "sD"):
                known = [(k, v) for k, v in curve.items() if v is not None]
                axes.plot(*zip(*known), marker + "--", color=GREYS[label], markersize=3.5, linewidth=1.1, label=label, zorder=2)
                for k in (k for k, v in curve.items() if v is None):
                    axes.plot([known[-1][0], k], [known[-1][1], CARD], "--", color=GREYS[label], linewidth=1.1, zorder=2)
                    axes.plot(k, CARD, "x", color=GREYS[label], markersize=7, markeredgewidth=1.6, zorder=2)
                    axes.annotate("out of memory", (k, CARD), xytext=(0, 6), textcoords="offset points", fontsize=7.5,
                                  color="#595959", ha="center")  # fmt: skip
        axes.set_title("peak without parameters and their gradients" if without else "peak, raw", fontsize=9, loc="left")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=10)
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(t) if t != 480 and not (t == 48 or t == 80) else "" for t in ticks])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("steps of flow per level, K" if x == "depth" else "height and width of the images, pixels")
    panels[0].set_ylabel("GiB")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low / 1.3, high * 1.5)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    handles, labels = panels[0].get_legend_handles_labels()
    rows_of_legend = math.ceil(len(labels) / 2)
    figure.legend(handles, labels, loc="lower center", ncol=2, fontsize=8, handlelength=2.6)
    figure.tight_layout(rect=(0, 0.035 + 0.037 * rows_of_legend, 1, 0.99))
    save(figure, output)


def draw_speed(rows, title, output, plt):
    from matplotlib.ticker import FuncFormatter, LogLocator

    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    for i, mode in enumerate(dict.fromkeys(row["mode"] for row in rows)):
        points = sorted((row["peak"] / GIB, row["speed"], row["batch"]) for row in rows if row["mode"] == mode)
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", color=COLORS[i % len(COLORS)], markersize=4, linewidth=1.6,
                  label=f"Glow, {mode}", zorder=3)  # fmt: skip
        for gib, speed, batch in points:
            axes.annotate(str(batch), (gib, speed), xytext=(0, 5), textcoords="offset points", fontsize=7, ha="center",
                          color=COLORS[i % len(COLORS)])  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1.0, 1.25, 1.5, 1.75)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("peak, GiB; at each point the largest batch that fits")
    axes.set_ylabel("images/s")
    axes.set_title(title, fontsize=9, loc="left")
    axes.legend(fontsize=8)
    figure.tight_layout()
    save(figure, output)


def save(figure, output):
    metadata = {"Date": None} if output.suffix.lower() == ".svg" else None
    try:
        write_atomically(output, lambda path: figure.savefig(path, dpi=200, metadata=metadata, format=output.suffix.lower()[1:]))
    except OSError as error:
        raise BadInput(f"cannot write {output}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="+", type=Path, metavar="CSV")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="P.png", help="picture: .png, .svg or .pdf")
    parser.add_argument("--x", choices=("depth", "image"), help="the axis (default: image if the rows differ in it)")
    parser.add_argument("--speed", action="store_true", help="images/s against the peak, one point per batch size")
    parser.add_argument("--title", help="default: the settings that all rows share")
    parser.add_argument("--no-published", dest="published", action="store_false", help="without the published curves")
    options = parser.parse_args()
    try:
        if options.output.suffix.lower() not in FORMATS:
            raise BadInput(f"{options.output}: the picture's name must end in .png, .svg or .pdf")
        if not options.output.absolute().parent.is_dir():
            raise BadInput(f"{options.output}: no such folder")
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
        title = options.title or f"Forward and backward, {at}L = {one['levels']}, width {one['width']}"
        require_packages("matplotlib")
        draw(rows, x, title, options.published, options.output)
    except (BadInput, OutputRefused) as error:
        say(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
