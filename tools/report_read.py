"""Reads a glow_train run folder for report.py, even if the run is active or files are missing."""

import csv
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
from script_text import open_text

NEEDED = ["step", "images_seen", "bpd"]  # of metrics.csv; other missing columns count as unknown
METRICS = NEEDED + ["epoch", "loss", "grad_norm", "lr", "images_per_s", "step_ms", "peak_bytes", "drift", "max_condition",
                    "bits_y", "error_y"]  # fmt: skip
EVAL = ["step", "split", "bpd", "stderr", "images", "weights"]
TEXT = {"split", "weights"}

# (test bits/dim, bits of the pixels) of the published runs (Kingma & Dhariwal 2018, table 2), by name of the data set.
PUBLISHED = {"cifar10": (3.35, 8), "imagenet32": (4.09, 8), "imagenet64": (3.81, 8)}


class BadInput(Exception):
    pass


def say(text):
    print(f"report: {text}", file=sys.stderr)


def read_csv(path, needed, wanted=()):
    """Rows as dictionaries of the columns asked for, NaN where one is absent. Skips and reports incomplete
    lines."""
    try:
        with open_text(path) as file:
            text = file.read().replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{path} does not exist: is this a glow_train run folder?")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}")
    lines = text.split("\n")
    unfinished = lines.pop()  # after the last newline: nothing, or an incomplete line
    if not lines:
        raise BadInput(f"{path} is empty: glow_train has not logged yet")
    try:
        header = next(csv.reader([lines[0]]), [])
    except csv.Error:  # not text
        header = []
    missing = [name for name in needed if name not in header]
    if missing:
        raise BadInput(f"{path} has no column {', '.join(missing)}: its first line should name {','.join(needed)}")
    place = {name: header.index(name) for name in (*needed, *wanted) if name in header}

    rows, broken = [], []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            fields = next(csv.reader([line]))
            if len(fields) != len(header):
                raise ValueError
            row = dict.fromkeys(wanted, math.nan)
            for name, i in place.items():
                field = fields[i].strip()
                row[name] = field if name in TEXT else float(field) if field else math.nan
            if not math.isfinite(row["step"]):
                raise ValueError
            rows.append(row)
        except (ValueError, csv.Error, StopIteration):
            broken.append(number)
    if broken:
        some = ", ".join(map(str, broken[:5])) + (", ..." if len(broken) > 5 else "")
        say(f"{path}: skipped {len(broken)} unreadable line{'s' * (len(broken) > 1)} (line {some})")
    if unfinished.strip():
        say(f"{path}: skipped the incomplete last line")
    return rows


def after_resume(rows):
    """A resumed run logs again the steps since its last checkpoint: the later rows count."""
    kept = []
    for row in rows:
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def read_config(path):
    """The options in a config.toml as glow_train writes it: one `name = value` per line."""
    options = {}
    try:
        with open_text(path) as file:
            lines = file.read().split("\n")  # splitlines() would also split within names
    except (FileNotFoundError, NotADirectoryError):
        return options
    except OSError as error:  # without its options, the checks would judge the run wrongly
        raise BadInput(f"{path} cannot be read: {error.strerror}")
    for line in lines:
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or name.startswith("#"):
            continue
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            options[name] = value[1:-1]
            if value[0] == '"':
                try:
                    options[name] = json.loads(value)  # glow_train writes only escapes that JSON has too
                except ValueError:
                    pass
        elif value in ("true", "false"):
            options[name] = value == "true"
        else:
            try:
                options[name] = int(value)
            except ValueError:
                try:
                    options[name] = float(value)
                except ValueError:
                    options[name] = value
    return options


def describe_data(path):
    """Description of a data set if h5py can read it, otherwise only its file name."""
    described = {"name": Path(str(path)).stem}
    try:
        import h5py

        if not Path(path).is_file():  # HDF5 would wait for a pipe
            return described
        with h5py.File(path, "r") as file:
            name = file.attrs.get("name", described["name"])
            described["name"] = name.decode() if isinstance(name, bytes) else str(name)
            described["shape"] = file["train/images"].shape
            if "entropy_bpd" in file.attrs:
                described["entropy"] = float(file.attrs["entropy_bpd"])
    except Exception:  # moved, on another machine, no HDF5, no h5py: many kinds of errors
        pass
    return described


def read_failures(folder):
    """Reports of failed steps in file order: {step, what, gave_up, text} each."""
    failures = []
    for path in sorted((folder / "trouble").glob("step-*.json")):
        try:
            text = path.read_text(encoding="utf-8-sig")
            report = json.loads(text)
            failures.append({"step": int(report["step"]), "what": str(report.get("message", "no message")),
                            "gave_up": report.get("action") == "given up", "text": text})  # fmt: skip
        except OSError as error:
            say(f"{path}: skipped: {error.strerror}")
        except (ValueError, KeyError, TypeError, AttributeError):
            say(f"{path}: skipped, not a complete report")
    return failures


def files_of_run(folder):
    """The files of a run."""
    return [folder / name for name in ("metrics.csv", "eval.csv", "audit.csv", "config.toml")] + [
        file for name in ("samples", "checkpoints", "trouble") for file in sorted((folder / name).glob("step-*"))]  # fmt: skip


class Run:
    """A run. metrics: one array per column, in step order."""

    def __init__(self, folder):
        self.folder = Path(folder)
        path = self.folder / "metrics.csv"
        rows = [row for row in after_resume(read_csv(path, NEEDED, METRICS)) if math.isfinite(row["images_seen"])]
        if not rows:
            raise BadInput(f"{path} has no complete line below its header: nothing is logged yet")
        self.metrics = {name: np.array([row[name] for row in rows]) for name in METRICS}
        if not np.isfinite(self.metrics["bpd"]).any():
            raise BadInput(f"{path} has no finite bits/dim")
        self.rows = len(rows)
        self.seconds_silent = max(0.0, time.time() - path.stat().st_mtime)  # the clock may be behind that of the file

        path = self.folder / "eval.csv"
        self.evaluations = read_csv(path, EVAL) if path.exists() and path.stat().st_size > 0 else []
        self.config = read_config(self.folder / "config.toml")
        self.data = describe_data(self.config["data"]) if "data" in self.config else {}
        self.samples = sorted((self.folder / "samples").glob("step-*.png"))
        self.checkpoints = sorted((self.folder / "checkpoints").glob("step-*.h5"))
        self.has_latest = (self.folder / "latest.h5").exists()
        self.failures = read_failures(self.folder)

    def option(self, name, default=0.0):
        """An option's number, or the default."""
        value = self.config.get(name, default)
        return value if type(value) in (int, float) and math.isfinite(value) else default

    def last(self, name):
        """The last finite value of a column, or NaN."""
        values = self.metrics[name]
        values = values[np.isfinite(values)]
        return float(values[-1]) if len(values) else math.nan

    def evaluated(self, split, weights):
        """(steps, bits/dim, standard errors) of the evaluations of a split, the last one of each step."""
        rows = [row for row in self.evaluations if row["split"] == split and row["weights"] == weights and math.isfinite(row["bpd"])]
        rows = sorted({row["step"]: row for row in rows}.values(), key=lambda row: row["step"])
        return tuple(np.array([row[name] for row in rows]) for name in ("step", "bpd", "stderr"))

    def splits(self):
        return sorted({row["split"] for row in self.evaluations})

    def minutes(self):
        """Minutes spent in steps: each row's step time applies to the steps since the row before."""
        steps = np.diff(self.metrics["step"], prepend=0)
        return float(np.nansum(steps * self.metrics["step_ms"])) / 60000

    def images_at(self, steps):
        """Images seen at given steps: between the logged ones, and beyond them at the last rate."""
        step, seen = self.metrics["step"], self.metrics["images_seen"]
        inside = np.interp(steps, np.concatenate([[0], step]), np.concatenate([[0], seen]))
        rate = seen[-1] / step[-1] if step[-1] > 0 else 0
        return np.where(steps > step[-1], seen[-1] + (steps - step[-1]) * rate, inside)

    def references(self):
        """(bits/dim, label) to compare with: the data's entropy if known, and the published result for the same data and bits."""
        bits = self.option("n-bits", 8)
        if "entropy" in self.data:  # of 8-bit pixels
            return [(self.data["entropy"], "entropy of the data")] if bits == 8 else []
        value, published_bits = PUBLISHED.get(self.data.get("name"), (None, None))
        return [(value, "Glow, published")] if value and bits == published_bits else []


def smoothed(values, window):
    """Mean of the finite values in a centered window: narrower at the start, where the curve is steep, cut off at the end."""
    n = len(values)
    finite = np.isfinite(values)
    total = np.concatenate([[0], np.cumsum(np.where(finite, values, 0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    i = np.arange(n)
    reach = np.minimum(window // 2, i)
    first, last = i - reach, np.minimum(i + reach + 1, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total[last] - total[first]) / (count[last] - count[first])
