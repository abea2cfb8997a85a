#!/usr/bin/env python3
"""Reports on a glow_train run: health checks, curves, samples over time, memory, speed, drift and condition numbers.

usage: report.py RUN                            print the verdict and its checks
       report.py RUN -o report.html             write a self-contained page
       report.py RUN -o training.png            write only the curves (.png, .svg or .pdf)
       report.py RUN --tensorboard FOLDER       write the metrics as TensorBoard files
       report.py RUN -o P --against OTHER_RUN   compare with another run

RUN is a glow_train run folder; the run may still be active. Always prints the verdict. Exits with 2 if the files cannot be used, and with 1
if the output cannot be written.
"""

import argparse
import base64
import html
import importlib
import json
import math
import os
import re
import sys
import threading
import time
from pathlib import Path

from python_packages import end_by_interrupts, require_packages, reserve_linear_algebra
from script_text import end_with, parse_arguments, path_argument

end_by_interrupts()

PAGE, PICTURES = {".html", ".htm"}, {".png", ".svg", ".pdf"}
SHEET_BYTES = 64 << 20  # a larger sheet of samples is named, not shown

VERDICT = {"ok": "healthy", "short": "too short to judge", "look": "worth a look", "broken": "broken"}
MARK = {"ok": "\N{CHECK MARK}", "look": "!", "broken": "\N{MULTIPLICATION SIGN}", "unknown": "\N{EN DASH}"}

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; } p.about { margin-top: .3rem; color: #555; }
.verdict { padding: .7rem 1rem; border-left: .5rem solid; font-size: 1.1rem; margin: 1rem 0; }
.verdict.ok { border-color: #009E73; background: #E6F5F1; } .verdict.look { border-color: #E69F00; background: #FDF4E3; }
.verdict.short { border-color: #0072B2; background: #E6F1F8; }
.verdict.broken { border-color: #D55E00; background: #FBEDE4; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
td.mark { font-weight: bold; text-align: center; } tr.unknown { color: #777; } td.limit { color: #777; font-size: .85rem; }
tr.ok .mark { color: #009E73; } tr.look .mark { color: #B87A00; } tr.broken .mark { color: #D55E00; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .85rem; }
pre { overflow-x: auto; background: #f6f6f6; padding: .6rem; }
"""


def embedded(data, alt):
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def sheets(run, count):
    """(step, bytes) of `count` sample sheets, evenly spaced, including the first and the last."""
    found = []
    for path in run.samples:
        try:
            if not path.is_file():
                say(f"{path}: skipped, not a file")
                continue
            if path.stat().st_size > SHEET_BYTES:
                say(f"{path}: too large to show")
                continue
            data = path.read_bytes()
            if data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND":
                found.append((int(path.stem.rpartition("-")[2]), data))
            else:
                say(f"{path}: skipped, not a complete PNG file")
        except (OSError, ValueError) as error:
            say(f"{path}: left out: {getattr(error, 'strerror', None) or error}")
    found.sort()
    if len(found) <= count:
        return found
    return [found[round(i * (len(found) - 1) / max(1, count - 1))] for i in range(count)] if count > 1 else found[-count:]


def about(run):
    """A line on what the run trains."""
    c = dict(run.config)
    if c.get("coupling-scale") == "tanh":
        c["coupling"] = "affine (tanh scale)"
    parts = [f"data {run.data['name']}" if run.data else "data not known"]
    if "shape" in run.data:
        N, H, W, C = run.data["shape"]
        parts[0] += f" ({N} training images {H}\N{MULTIPLICATION SIGN}{W}\N{MULTIPLICATION SIGN}{C})"
    if "levels" in c:
        model = ("L {levels:g}", "K {depth:g}", "width {width:g}", "{coupling}", "{permutation}", "{n-bits:g} bits", "batch {batch:g}",
                 "{optimizer}", "lr {lr:g}", "seed {seed:g}")  # fmt: skip
        for part in model:
            try:
                parts.append(part.format(**c))
            except (KeyError, ValueError):  # missing from this config.toml, or not a number
                continue
    parts.append(f"{run.last('step'):.0f} steps, {run.last('images_seen'):.0f} images, {run.minutes():.0f} minutes of steps")
    return ", ".join(parts)


def verdict_line(checks, state, run):
    if state == "ok":
        return VERDICT[state]
    if state == "short":
        return f"{VERDICT[state]}: nothing wrong in its {run.rows} row{'s' * (run.rows != 1)}"
    return f"{VERDICT[state]}: {', '.join(check.name for check in checks if check.state == state)}"


def evaluations_table(run):
    rows = []
    for split in run.splits():
        for weights in ("ema", "raw"):
            steps, y, error = run.evaluated(split, weights)
            if not len(steps):
                continue
            best = int(y.argmin())
            name = {"ema": "EMA", "raw": "raw"}[weights]
            last = f"{y[-1]:.4f}" + (f" \N{PLUS-MINUS SIGN} {error[-1]:.4f}" if math.isfinite(error[-1]) else "")
            numbers = (last, f"{steps[-1]:.0f}", f"{y[best]:.4f}", f"{steps[best]:.0f}")
            cells = "".join(f"<td class=number>{number}</td>" for number in numbers)
            rows.append(f"<tr><td>{html.escape(split)}</td><td>{name}</td>{cells}</tr>")
    if not rows:
        return "<p>No evaluation yet.</p>"
    return ("<table><tr><th>images</th><th>weights</th><th class=number>bits/dim, last</th><th class=number>step</th>"
            "<th class=number>best</th><th class=number>step</th></tr>" + "".join(rows) + "</table>")  # fmt: skip


def toml(value):
    """An option as config.toml has it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if "'" in value else f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else value


def page(run, references, against, title, smooth, sheet_count):
    import report_checks
    import report_figures as figures

    checks, state = report_checks.examine(run)
    rows = "".join(
        f"<tr class={check.state}><td class=mark>{MARK[check.state]}</td><td>{html.escape(check.name)}</td>"
        f"<td>{html.escape(check.found)}</td><td class=limit>{html.escape(check.limit)}</td></tr>"
        for check in checks
    )
    body = [f"<h1>{html.escape(title)}</h1><p class=about>{html.escape(about(run))}</p>",
            f"<div class='verdict {state}'><b>{html.escape(verdict_line(checks, state, run))}</b></div>",
            f"<table>{rows}</table>",
            "<h2>Likelihood</h2>",
            embedded(figures.png(figures.curves(run, references, against, None, smooth)), "bits/dim, gradient norm, speed"),
            evaluations_table(run)]  # fmt: skip
    rest = figures.rest(run)
    if rest is not None:
        name = "Learning rate, memory, drift, condition"
        body += [f"<h2>{name}</h2>", embedded(figures.png(rest), name)]
    shown = sheets(run, sheet_count)
    if shown:
        body.append("<h2>Samples over time</h2><p>From the averaged weights, with the same noise at every step, scaled by temperature T.</p>")
        for step, data in shown:
            body.append(f"<figure>{embedded(data, f'samples at step {step}')}<figcaption>step {step}</figcaption></figure>")
    if run.failures:
        body.append("<h2>Failed steps</h2>")
        body += [f"<pre>{html.escape(failure['text'])}</pre>" for failure in run.failures[-5:]]
    if run.config:
        options = "\n".join(f"{name} = {toml(value)}" for name, value in run.config.items())
        body.append(f"<details><summary>All options</summary><pre>{html.escape(options)}</pre></details>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def write_tensorboard(run, folder):
    """Scalars of metrics.csv and eval.csv, and the sheets of samples."""
    from report_read import BadInput, METRICS

    for module in ("tensorboardX", "torch.utils.tensorboard"):
        try:
            writer_class = importlib.import_module(module).SummaryWriter
            break
        except ImportError:
            continue
    else:
        raise BadInput("--tensorboard needs a Python package that writes its files: install tensorboardX, or torch with tensorboard")
    # Rows have no timestamps: count step times back from the file's last change.
    step, step_ms = run.metrics["step"], run.metrics["step_ms"]
    times = [time.time() - run.seconds_silent]
    for i in range(run.rows - 1, 0, -1):
        seconds = (step[i] - step[i - 1]) * step_ms[i] / 1000
        times.append(times[-1] - (seconds if math.isfinite(seconds) else 0))
    times.reverse()

    def end(failed):
        """tensorboardX writes in a thread of its own. Where that fails, as on a full disk, the others would wait for it forever."""
        say(f"cannot write: {folder}: {getattr(failed.exc_value, 'strerror', None) or failed.exc_value}")
        sys.stderr.flush()
        os._exit(1)

    threading.excepthook = end
    writer = writer_class(str(folder))
    for name in METRICS:
        if name in ("step", "epoch"):
            continue
        for i, value in enumerate(run.metrics[name]):
            if math.isfinite(value):
                writer.add_scalar(f"train/{name}", value, int(step[i]), walltime=times[i])
    for row in run.evaluations:
        if math.isfinite(row["bpd"]):
            writer.add_scalar(f"{row['split']}/bpd_{row['weights']}", row["bpd"], int(row["step"]))
    import matplotlib.image

    for path in run.samples:
        try:
            image = matplotlib.image.imread(path)
            writer.add_image("samples", image, int(path.stem.rpartition("-")[2]), dataformats="HWC"[: image.ndim])
        except Exception as error:  # a file being written; imread raises many kinds of errors
            say(f"{path}: left out ({error})")
    writer.close()


def say(text):
    print(f"report: {text}", file=sys.stderr)


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
    if not re.fullmatch("[0-9]{1,15}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 999999999999999")
    return int(text)


def parse():
    parser = argparse.ArgumentParser(description="A run of glow_train on one page, or its curves as a picture.")
    parser.add_argument("run", type=path_argument, metavar="RUN", help="the run's folder, with metrics.csv")
    parser.add_argument("-o", "--output", type=path_argument, metavar="FILE", help="page: .html; curves alone: .png, .svg or .pdf")
    parser.add_argument("--reference", type=reference, action="append", metavar="VALUE:LABEL",
                        help="a line in bits/dim; may be repeated (default: the published value of the same data, or its entropy)")  # fmt: skip
    parser.add_argument("--against", type=path_argument, metavar="RUN", help="another run to plot for comparison")
    parser.add_argument("--title", help="title of the page or picture")
    parser.add_argument("--smooth", type=positive, metavar="N", help="mean of N logged steps (default: a 25th of them; 1: none)")
    parser.add_argument("--sheets", type=positive, default=4, metavar="N", help="sheets of samples on the page, over the run (default: 4)")
    parser.add_argument("--tensorboard", type=path_argument, metavar="FOLDER", help="also write the metrics as TensorBoard files")
    return parse_arguments(parser)


def main():
    options = parse()
    require_packages("numpy", *(["matplotlib"] if options.output or options.tensorboard else []))
    from output_files import OutputRefused, claim_outputs, write_atomically
    from report_checks import examine
    from report_read import BadInput, Run, files_of_run

    try:
        if problem := options.output and reserve_linear_algebra():
            raise BadInput(problem)
        suffix = options.output.suffix.lower() if options.output else ""
        if options.output:
            if suffix not in PAGE | PICTURES:
                raise BadInput(f"{options.output}: the name must end in .html, .png, .svg or .pdf")
            if not os.path.isdir(options.output.absolute().parent):
                raise BadInput(f"{options.output}: no such folder")
        run = Run(options.run)
        against = Run(options.against) if options.against else None
        if options.output:
            inputs = [("the run's", file) for folder in (options.run, options.against) if folder for file in files_of_run(folder)]
            claim_outputs(inputs, [("--output", options.output)])
        references = options.reference or run.references()
        try:
            if suffix in PAGE:
                title = options.title or options.run.absolute().name
                text = page(run, references, against, title, options.smooth, options.sheets)
                write_atomically(options.output, lambda path: path.write_text(text, encoding="utf-8", errors="replace"))
            elif options.output:
                import report_figures as figures

                figures.save(figures.curves(run, references, against, options.title, options.smooth), options.output)
            if options.tensorboard:
                write_tensorboard(run, options.tensorboard)
        except OSError as error:
            say(f"cannot write: {error}")
            return 1
        checks, state = examine(run)
        for check in checks:
            if check.state in ("look", "broken"):
                say(f"{check.name}: {check.found} (expected: {check.limit})")
        print(verdict_line(checks, state, run))
    except (BadInput, OutputRefused) as error:
        say(error)
        return 2
    return 0


if __name__ == "__main__":
    end_with("report", main)
