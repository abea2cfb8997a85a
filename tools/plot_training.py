#!/usr/bin/env python3
"""Draws a training run: bits/dim, gradient norm and speed from the run's metrics.csv, evaluations from its eval.csv.

usage: plot_training.py RUN -o training.png [--reference VALUE:LABEL] ...

RUN is the folder that glow_train writes, also while it is still writing. Exit status 2: the files cannot be used.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

METRICS = ["step", "images_seen", "bpd", "grad_norm", "images_per_s"]
EVAL = ["step", "split", "bpd", "stderr", "images", "weights"]
NUMBERS = {"step", "images_seen", "bpd", "grad_norm", "images_per_s", "stderr", "images"}
FORMATS = {".png", ".svg", ".pdf"}

# Okabe & Ito: told apart by the colour-blind, and in print.
COLOURS = {"train": "#0072B2", "valid": "#009E73", "test": "#D55E00"}
OTHER_COLOUR = "#CC79A7"
GREY = "#595959"


class BadInput(Exception):
    pass


def say(text):
    print(f"plot_training: {text}", file=sys.stderr)


def read_csv(path, columns):
    """Rows as dictionaries of the columns asked for. A line being written, and lines a crash broke, are left out and named."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path} is not there: is this the folder of a run of glow_train?")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}")
    lines = text.split("\n")
    unfinished = lines.pop()  # what follows the last newline: nothing, or a line not yet whole
    if not lines:
        raise BadInput(f"{path} is empty: glow_train has not logged yet")
    header = next(csv.reader([lines[0]]), [])
    missing = [name for name in columns if name not in header]
    if missing:
        raise BadInput(f"{path} has no column {', '.join(missing)}: its first line should name {','.join(columns)}")
    place = {name: header.index(name) for name in columns}

    rows, broken = [], []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            fields = next(csv.reader([line]))
            if len(fields) != len(header):
                raise ValueError
            row = {}
            for name in columns:
                field = fields[place[name]].strip()
                row[name] = (float(field) if field else math.nan) if name in NUMBERS else field
            if not math.isfinite(row["step"]):
                raise ValueError
            rows.append(row)
        except (ValueError, csv.Error, StopIteration):
            broken.append(number)
    if broken:
        some = ", ".join(map(str, broken[:5])) + (", ..." if len(broken) > 5 else "")
        say(f"{path}: left out {len(broken)} line{'s' * (len(broken) > 1)} that cannot be read (line {some})")
    if unfinished.strip():
        say(f"{path}: left out the last line, which is not whole yet")
    return rows


def after_resume(rows):
    """A resumed run logs again the steps since its last checkpoint: the later rows count."""
    kept = []
    for row in rows:
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def smoothed(values, window):
    """Mean of the finite values in a centred window: narrower at the start, where the curve is steep, cut off at the end."""
    import numpy as np

    n = len(values)
    finite = np.isfinite(values)
    total = np.concatenate([[0], np.cumsum(np.where(finite, values, 0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    i = np.arange(n)
    reach = np.minimum(window // 2, i)
    first, last = i - reach, np.minimum(i + reach + 1, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total[last] - total[first]) / (count[last] - count[first])


def column(rows, name):
    import numpy as np

    return np.array([row[name] for row in rows], dtype=float)


def images_at(steps, metrics):
    """Images seen at given steps: between the logged ones, and beyond them at the last rate."""
    import numpy as np

    step, seen = column(metrics, "step"), column(metrics, "images_seen")
    inside = np.interp(steps, np.concatenate([[0], step]), np.concatenate([[0], seen]))
    rate = seen[-1] / step[-1] if step[-1] > 0 else 0
    return np.where(steps > step[-1], seen[-1] + (steps - step[-1]) * rate, inside)


def draw(metrics, evaluations, references, title, smooth, output):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.ticker import EngFormatter, MaxNLocator

    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
        "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "svg.hashsalt": "glow", "svg.fonttype": "none",
    })  # fmt: skip

    seen = column(metrics, "images_seen")
    points = ".-" if len(metrics) < 20 else "-"
    window = smooth or max(1, len(metrics) // 25)

    def curve(axes, name, label=None):
        y = column(metrics, name)
        y[~np.isfinite(y)] = np.nan
        if window > 1:
            axes.plot(seen, y, points, color=COLOURS["train"], alpha=0.25, linewidth=0.8, markersize=4)
        axes.plot(seen, smoothed(y, window), points if window == 1 else "-", color=COLOURS["train"], linewidth=1.6,
                  markersize=4, label=label)  # fmt: skip
        return y

    figure = plt.figure(figsize=(8.4, 3.7), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[2.1, 1])
    main = figure.add_subplot(grid[:, 0])
    norm = figure.add_subplot(grid[0, 1], sharex=main)
    speed = figure.add_subplot(grid[1, 1], sharex=main)

    bpd = curve(main, "bpd", "training batches" + (f", mean of {window} logged" if window > 1 else ""))
    shown = [bpd[np.isfinite(bpd)]]
    for split in sorted({row["split"] for row in evaluations}):
        for weights in ("ema", "raw"):
            rows = [row for row in evaluations if row["split"] == split and row["weights"] == weights]
            rows = sorted({row["step"]: row for row in rows if math.isfinite(row["bpd"])}.values(), key=lambda row: row["step"])
            if not rows:
                continue
            y, error = column(rows, "bpd"), column(rows, "stderr")
            colour = COLOURS.get(split, OTHER_COLOUR)
            name = {"ema": "EMA", "raw": "raw weights"}[weights]
            last = f"{y[-1]:.3f}" + (f" \N{PLUS-MINUS SIGN} {error[-1]:.3f}" if math.isfinite(error[-1]) else "")
            # EMA filled and drawn through, raw hollow and dashed.
            main.errorbar(images_at(column(rows, "step"), metrics), y, yerr=np.nan_to_num(error), color=colour,
                          fmt="o-" if weights == "ema" else "o--", markersize=4.5, capsize=2.5,
                          linewidth=1.2 if weights == "ema" else 0.9, zorder=4 if weights == "ema" else 3,
                          markerfacecolor=colour if weights == "ema" else "white",
                          label=f"{split}, {name}: {last} at the end")  # fmt: skip
            shown.append(y)
    lines = []
    for value, label in references:
        lines.append(main.axhline(value, color=GREY, linestyle=(0, (4, 3)), linewidth=1, label=f"{label}: {value:.4g}"))
        shown.append(np.array([value]))

    # The first steps would press the rest flat: the axis shows what all but the first 5% of the logged steps reach.
    settled = bpd[len(bpd) // 20 :]
    settled = settled[np.isfinite(settled)] if np.isfinite(settled).any() else shown[0]
    everything = np.concatenate([settled, *shown[1:]])
    low, high = everything.min(), everything.max()
    later = np.concatenate([np.quantile(settled, [0, 0.98]), *shown[1:]])
    if high - low > 3 * (later.max() - later.min()) > 0:
        high = later.max()
    margin = 0.06 * (high - low) or 0.1
    main.set_ylim(low - margin, high + margin)
    main.set_ylabel("bits/dim")
    handles, labels = main.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: handles[i] in lines)  # the references last
    main.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper right", fontsize=8, handlelength=2.2)

    y = curve(norm, "grad_norm")
    positive = y[np.isfinite(y) & (y > 0)]
    if len(positive) and positive.max() > 20 * positive.min():
        norm.set_yscale("log")
    norm.set_title("gradient norm", fontsize=9, loc="left")
    norm.tick_params(labelbottom=False)
    y = curve(speed, "images_per_s")
    speed.set_ylim(0, 1.1 * max(y[np.isfinite(y)], default=0) or 1)
    speed.set_title("images/s", fontsize=9, loc="left")

    for axes in (main, speed):
        axes.set_xlabel("images seen")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    main.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    speed.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    main.set_xlim(left=0)
    if title:
        main.set_title(title, fontsize=9, loc="left")
    metadata = {"Date": None} if output.suffix.lower() == ".svg" else None
    try:
        figure.savefig(output, dpi=200, metadata=metadata)
    except OSError as error:
        raise BadInput(f"cannot write {output}: {error}")


def reference(text):
    value, _, label = text.partition(":")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not label:
        raise argparse.ArgumentTypeError(f"'{text}' is not VALUE:LABEL, such as 3.35:published")
    return number, label


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description="Draw the training curve of a run of glow_train.")
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, with metrics.csv and perhaps eval.csv")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="P.png", help="picture: .png, .svg or .pdf")
    parser.add_argument("--reference", type=reference, action="append", default=[], metavar="VALUE:LABEL",
                        help="a horizontal line in bits/dim; may be repeated")  # fmt: skip
    parser.add_argument("--title", help="title of the picture")
    parser.add_argument("--smooth", type=positive, metavar="N", help="mean of N logged steps (default: a 25th of them; 1: none)")
    options = parser.parse_args()
    try:
        if options.output.suffix.lower() not in FORMATS:
            raise BadInput(f"{options.output}: the picture's name must end in .png, .svg or .pdf")
        if not options.output.absolute().parent.is_dir():
            raise BadInput(f"{options.output}: there is no such folder")
        metrics = [row for row in after_resume(read_csv(options.run / "metrics.csv", METRICS)) if math.isfinite(row["images_seen"])]
        if not metrics:
            raise BadInput(f"{options.run / 'metrics.csv'} has no whole line below its header: nothing is logged yet")
        if not any(math.isfinite(row["bpd"]) for row in metrics):
            raise BadInput(f"{options.run / 'metrics.csv'} has no finite bits/dim")
        path = options.run / "eval.csv"
        evaluations = []
        if path.exists() and path.stat().st_size > 0:
            evaluations = read_csv(path, EVAL)
        try:
            import matplotlib  # noqa: F401
            import numpy  # noqa: F401
        except ImportError as error:
            raise BadInput(f"{sys.executable} lacks a module ({error}). Install python3-matplotlib and use /usr/bin/python3, "
                           "or name a Python that has it")  # fmt: skip
        draw(metrics, evaluations, options.reference, options.title, options.smooth, options.output)
    except BadInput as error:
        say(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
