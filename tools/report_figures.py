"""Figures of a run: bits/dim with reference values, and small plots of the other columns of metrics.csv."""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from output_files import save_figure
from report_checks import CONDITION_LOOK, drift_tolerance
from report_read import smoothed
from script_text import picture_text

# Okabe & Ito: distinguishable for the color-blind and in print.
COLORS = {"train": "#0072B2", "valid": "#009E73", "test": "#D55E00"}
OTHER_COLOR = "#CC79A7"
GREY = "#595959"
POINTS = 4000  # points per curve, at most

matplotlib.rcdefaults()  # not the user's: with text.usetex, names would be LaTeX
plt.rcParams.update({
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "svg.hashsalt": "glow", "svg.fonttype": "none",
})  # fmt: skip


def thinned(n):
    """Indices of at most POINTS of n points, including the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))


def curve(axes, run, name, smooth, label=None, scale=1.0):
    """A column against images seen: all of it, pale, and its mean over `smooth` rows."""
    seen, y = run.metrics["images_seen"], run.metrics[name] * scale
    y = np.where(np.isfinite(y), y, np.nan)
    points = ".-" if run.rows < 20 else "-"
    some = thinned(run.rows)
    if smooth > 1:
        axes.plot(seen[some], y[some], points, color=COLORS["train"], alpha=0.25, linewidth=0.8, markersize=4)
    axes.plot(seen[some], smoothed(y, smooth)[some], points if smooth == 1 else "-", color=COLORS["train"], linewidth=1.6,
              markersize=4, label=label)  # fmt: skip
    return y


def images_axis(axes, ticks):
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))


def draw_bits(axes, run, references, against, smooth):
    """bits/dim of training batches and evaluations, with reference values."""
    bpd = curve(axes, run, "bpd", smooth, "training batches" + (f", mean of {smooth} logged" if smooth > 1 else ""))
    shown = [bpd[np.isfinite(bpd)]]
    for split in run.splits():
        for weights in ("ema", "raw"):
            steps, y, error = run.evaluated(split, weights)
            if not len(steps):
                continue
            color = COLORS.get(split, OTHER_COLOR)
            name = {"ema": "EMA", "raw": "raw weights"}[weights]
            last = f"{y[-1]:.3f}" + (f" \N{PLUS-MINUS SIGN} {error[-1]:.3f}" if np.isfinite(error[-1]) else "")
            # EMA: filled markers and solid lines; raw: hollow markers and dashed lines.
            axes.errorbar(run.images_at(steps), y, yerr=np.nan_to_num(error), color=color, fmt="o-" if weights == "ema" else "o--",
                          markersize=4.5, capsize=2.5, linewidth=1.2 if weights == "ema" else 0.9, zorder=4 if weights == "ema" else 3,
                          markerfacecolor=color if weights == "ema" else "white", label=f"{picture_text(split)}, {name}: {last} at the end")  # fmt: skip
            shown.append(y)
    lines = []
    if against is not None:
        end = run.metrics["images_seen"][-1]
        other = smoothed(against.metrics["bpd"], max(1, against.rows // 25))
        part, few = thinned(against.rows), against.rows < 20
        within = np.searchsorted(against.metrics["images_seen"][part], end, side="right")
        part = part[: max(1, within + few)]  # if the curve has few points, also the first one beyond the run, to draw a line to it
        seen, other = against.metrics["images_seen"][part], other[part]
        is_run = np.isfinite(against.metrics["grad_norm"]).any()  # not a curve from elsewhere
        label = picture_text(against.folder.absolute().name) + (", training batches" if is_run else "")
        if seen[0] > end:
            label += f", from {EngFormatter(sep='')(seen[0])} images on"  # all of it lies beyond the axis
        if few and seen[0] > 0:  # dots, and between them the logarithm of the images
            between = np.geomspace(seen[0], seen[-1], 200)
            axes.plot(between, np.interp(np.log(between), np.log(seen), other), ":", color=GREY, linewidth=1.2)
            lines += axes.plot(seen, other, "o", color=GREY, markersize=4.5, label=label)
        else:
            lines += axes.plot(seen, other, color=GREY, linewidth=1.2, label=label)
        shown.append(other[np.isfinite(other)][len(part) // 20 :])
    for value, label in references:
        lines.append(axes.axhline(value, color=GREY, linestyle=(0, (4, 3)), linewidth=1, label=f"{picture_text(label)}: {value:.4g}"))
        shown.append(np.array([value]))
    shown = [part for part in shown if len(part)]

    # The first steps would dominate the axis: scale it to all but the first 5% of the logged steps.
    settled = bpd[len(bpd) // 20 :]
    settled = settled[np.isfinite(settled)] if np.isfinite(settled).any() else shown[0]
    everything = np.concatenate([settled, *shown[1:]])
    low, high = everything.min(), everything.max()
    later = np.concatenate([np.quantile(settled, [0, 0.98]), *shown[1:]])
    if high - low > 3 * (later.max() - later.min()) > 0:
        high = later.max()
    margin = 0.06 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    axes.set_ylabel("bits/dim")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: handles[i] in lines)  # reference lines last
    axes.legend([handles[i] for i in order], [labels[i] for i in order], loc="best", fontsize=8, handlelength=2.2)
    axes.set_xlim(0, 1.05 * run.metrics["images_seen"][-1])
    images_axis(axes, 6)


def panel(axes, run, name, title, smooth, scale=1.0):
    y = curve(axes, run, name, smooth, scale=scale)
    axes.set_title(title, fontsize=9, loc="left")
    return y[np.isfinite(y)]


def draw_norm(axes, run, smooth):
    y = panel(axes, run, "grad_norm", "gradient norm", smooth)
    positive = y[y > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        axes.set_yscale("log")


def draw_speed(axes, run, smooth):
    y = panel(axes, run, "images_per_s", "images/s", smooth)
    axes.set_ylim(0, 1.1 * max(y, default=0) or 1)


def curves(run, references, against=None, title=None, smooth=None):
    """bits/dim, gradient norm and speed."""
    smooth = smooth or max(1, run.rows // 25)
    figure = plt.figure(figsize=(8.4, 3.7), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[2.1, 1])
    main = figure.add_subplot(grid[:, 0])
    norm = figure.add_subplot(grid[0, 1], sharex=main)
    speed = figure.add_subplot(grid[1, 1], sharex=main)
    draw_bits(main, run, references, against, smooth)
    draw_norm(norm, run, smooth)
    norm.tick_params(labelbottom=False)
    draw_speed(speed, run, smooth)
    images_axis(speed, 4)
    if title:
        main.set_title(picture_text(title), fontsize=9, loc="left")
    return figure


def limit_line(axes, value, label):
    axes.axhline(value, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    axes.annotate(label, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7, color=GREY)


def rest(run):
    """Everything else that was logged, each against images seen: learning rate, memory, drift, condition, classifier."""
    panels = []

    def known(name):
        return np.isfinite(run.metrics[name]).any()

    if known("lr"):
        panels.append(lambda axes: panel(axes, run, "lr", "learning rate", 1))
    if known("peak_bytes"):

        def memory(axes):
            y = panel(axes, run, "peak_bytes", "peak of memory, MiB", 1, scale=2.0**-20)
            axes.set_ylim(0, 1.2 * y.max() or 1)

        panels.append(memory)
    if known("drift"):

        def drift(axes):
            y = panel(axes, run, "drift", "drift of reconstructed images, units of x", 1)
            tolerance = drift_tolerance(run)
            limit_line(axes, tolerance, "tolerance")
            if (y > 0).any():
                axes.set_yscale("log")
            axes.set_ylim(top=10 * max(tolerance, y.max()))

        panels.append(drift)
    if known("max_condition") and run.last("max_condition") > 0:

        def condition(axes):
            y = panel(axes, run, "max_condition", "largest condition number of a W", 1)
            limit_line(axes, CONDITION_LOOK, "worth a look")
            axes.set_yscale("log")
            axes.set_ylim(top=3 * max(CONDITION_LOOK, y.max()))

        panels.append(condition)
    if known("bits_y"):
        panels.append(lambda axes: panel(axes, run, "bits_y", "classifier, bits", max(1, run.rows // 25)))
    if known("error_y"):
        panels.append(lambda axes: panel(axes, run, "error_y", "classifier, part wrong", max(1, run.rows // 25)))
    if not panels:
        return None
    columns = 2
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8.4, 1.9 * rows), layout="constrained", squeeze=False)
    for draw, each in zip(panels, axes.flat):
        draw(each)
        each.set_xlim(left=0)
        images_axis(each, 5)
    for each in list(axes.flat)[len(panels) :]:
        each.set_visible(False)
    return figure


def png(figure, dpi=110):
    """The figure's bytes; the same run gives the same."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()


def save(figure, path):
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    save_figure(figure, path, dpi=200, metadata=metadata, format=path.suffix.lower()[1:])
