#!/usr/bin/env python3
"""Compares options of glow_train: trains every variant with every seed on the same number of images, and tabulates bits/dim.

    tools/compare_options.py --data F.h5 --out DIR --images N --variant "NAME: OPTIONS" [...] [-- OPTIONS OF ALL RUNS]

    tools/compare_options.py --data datasets/cifar10.h5 --out runs/rates --images 200000 --seeds 3 \\
        --variant "lr 2e-3: --lr 2e-3" --variant "cosine: --lr-schedule cosine" -- --preset quick

The base has the options of all runs; a variant adds its own. Runs with equal seeds see the same images in the same order, so a
variant is judged by its differences from the base with the same seed. The verdict is a paired t-test at the 95% level on /valid;
results on the test set are only reported. Evaluations use the averaged weights.

DIR holds a folder for each run, results.csv (a row for each run) and results.md (the table, which is also printed). Finished runs
are not repeated and interrupted ones continue, so seeds and variants may be added to a finished comparison. Programs: $GLOW_BIN,
the bundle this script lies in, or build/release/bin.

Exit status: 0 success, 1 a run failed (the table has the others), 2 wrong options or data, 75 stopped by a signal (repeat the command
to continue).
"""

import argparse
import csv
import hashlib
import io
import json
import math
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from output_files import OutputRefused, claim_outputs, write_atomically
from script_text import end_with, parse_arguments

BASE = "base"
# Options that the comparison sets itself, so that runs are comparable.
RESERVED = ("--data", "--out", "--seed", "--max-steps", "--max-minutes", "--epochs", "--resume", "--init-from", "--json", "--plan",
            "--estimate", "--dry-run", "--print-config")
# Two-sided 95% quantiles of Student's t distribution for 1, 2, ... degrees of freedom.
T95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


class UsageError(Exception):
    """Wrong options or data: exit status 2."""


class RunFailed(Exception):
    pass


class Stopped(Exception):
    pass


@dataclass(frozen=True)
class Variant:
    name: str
    words: tuple  # options of glow_train besides those of all runs

    @property
    def folder(self):
        return re.sub(r"[^A-Za-z0-9.+-]+", "-", self.name).strip("-.")


def parse_variant(text):
    name, colon, options = text.partition(":")
    name = " ".join(name.split())
    if not colon or not name:
        raise UsageError(f"--variant '{text}': expected 'NAME: OPTIONS', such as 'lr 2e-3: --lr 2e-3'")
    try:
        words = tuple(shlex.split(options))
    except ValueError as error:
        raise UsageError(f"--variant '{text}': {error}") from None
    if not words:
        raise UsageError(f"--variant '{text}': it has no options; the base is always part of the comparison")
    return Variant(name, words)


def parse_seeds(text):
    """'3' is 0, 1, 2; '4,7' is 4 and 7."""
    if not re.fullmatch(r"\d{1,18}(,\d{1,18})*", text):
        raise UsageError(f"--seeds {text}: expected a number of seeds, or seeds separated by commas")
    seeds = [int(seed) for seed in text.split(",")]
    if "," not in text:
        seeds = list(range(seeds[0]))
    if not seeds or len(set(seeds)) < len(seeds) or len(seeds) > 1000:
        raise UsageError(f"--seeds {text}: expected 1 to 1000 different seeds")
    return seeds


def check_variants(variants, common):
    for where, words in [("options of all runs", common)] + [(f"variant '{v.name}'", v.words) for v in variants]:
        for word in words:
            if word.split("=")[0] in RESERVED:
                raise UsageError(f"{where}: {word.split('=')[0]} is set by the comparison itself")
    folders = {}
    for variant in variants:
        other = folders.setdefault(variant.folder, variant)
        if not variant.folder:
            raise UsageError(f"variant '{variant.name}': the name needs a letter or digit")
        if other is not variant:
            raise UsageError(f"variants '{other.name}' and '{variant.name}' have the same folder, '{variant.folder}': give them other names")


def find_programs():
    root = Path(__file__).resolve().parent.parent
    folders = [os.environ["GLOW_BIN"]] if os.environ.get("GLOW_BIN") else [root / "bin", root / "build/release/bin"]
    for folder in map(Path, folders):
        if os.access(folder / "glow_train", os.X_OK):
            return folder
    raise UsageError(f"no glow_train in {' or '.join(map(str, folders))}; run: cmake --preset release && cmake --build --preset release")


def error_of(text):
    """The last line that is an error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "no output")


def ask(command):
    """Returns the JSON that a command prints; raises UsageError with its message if it fails."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise UsageError(error_of(done.stderr))
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise UsageError(f"{Path(command[0]).name} printed no JSON: is --help or --version among its options?") from None


class Comparison:
    def __init__(self, arguments, common):
        self.data, self.out, self.images = Path(arguments.data), Path(arguments.out), arguments.images
        self.common, self.jobs, self.seeds = tuple(common), arguments.jobs, parse_seeds(arguments.seeds)
        self.base = Variant(BASE, ())
        self.variants = [self.base] + [parse_variant(text) for text in arguments.variant]
        check_variants(self.variants, self.common)
        self.bin = find_programs()
        if not os.path.isfile(self.data):
            raise UsageError(f"--data {self.data}: no such file")
        self.data_hash = hash_of(self.data)
        described = ask([self.bin / "glow_data", "info", self.data, "--json"])
        for split in ("valid", "test"):
            if not described.get(split):
                raise UsageError(f"--data {self.data}: no {split} images, which the comparison needs")
        self.steps, self.threads = {}, []
        for variant in self.variants:
            self.steps[variant] = self.steps_of(variant)
        if self.jobs > 1 and not option_in(self.common, "--threads"):
            self.threads = ["--threads", str(max(1, len(os.sched_getaffinity(0)) // self.jobs))]
        self.children, self.stopping, self.refused = set(), False, None
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {self.out}: {error.strerror}") from None
        claim_outputs([("--data", self.data)], [("--out", self.out / name) for name in ("results.csv", "results.md")])

    def steps_of(self, variant):
        """Steps of each of the variant's runs. Checks its options before any training starts."""
        try:
            config = ask([self.bin / "glow_train", *self.common, *variant.words, "--max-steps", "1", "--max-minutes", "0", "--epochs", "0",
                          "--print-config", "--json"])
        except UsageError as error:
            raise UsageError(f"variant '{variant.name}': {error}") from None
        batch = config["training"]["batch"]
        if self.images % batch:
            raise UsageError(f"variant '{variant.name}': --images {self.images} is not a multiple of its batch of {batch}, so it would "
                             "not train on as many images as the others")
        return self.images // batch

    # --- One run ----------------------------------------------------------------------------------------------------

    def options_of(self, variant, seed):
        return [*self.common, *variant.words, "--seed", str(seed), "--max-steps", str(self.steps[variant]), "--max-minutes", "0", "--epochs", "0"]

    def folder_of(self, variant, seed):
        return self.out / variant.folder / f"seed-{seed}"

    def request_of(self, variant, seed):
        """The part of a run's record that is written at its start and must not change."""
        return {"variant": variant.name, "options": shlex.join(self.options_of(variant, seed)), "data": str(self.data.resolve()),
                "data_sha256": self.data_hash}

    def record_of(self, variant, seed):
        """The record of a run, or None if there is none. Raises UsageError if its settings or data differ."""
        file, request = self.folder_of(variant, seed).with_suffix(".json"), self.request_of(variant, seed)
        record = read_record(file)
        different = [key for key in request if record.get(key) != request[key]] if record else []
        if different == ["data_sha256"]:
            reason = f"the data differ from those in {self.data} now" if "data_sha256" in record else "the content of the data was not recorded"
            raise UsageError(f"{file}: of this run {reason}: choose another --out")
        if different:
            raise UsageError(f"{file}: this run has other settings ({different[0]} '{record.get(different[0])}', now "
                             f"'{request[different[0]]}'): choose another --out, or another name for the variant")
        return record

    def run(self, variant, seed):
        """Trains and evaluates one run, unless it is finished. Returns its record."""
        folder, options, request = self.folder_of(variant, seed), self.options_of(variant, seed), self.request_of(variant, seed)
        record_file, log = folder.with_suffix(".json"), folder.with_suffix(".log")
        folder.parent.mkdir(parents=True, exist_ok=True)
        record = self.record_of(variant, seed)
        if not record:
            write_text(record_file, json.dumps(request, indent=1))
        elif "test_bpd" in record:
            return record
        begin, words = time.monotonic(), self.common + variant.words
        self.call([self.bin / "glow_train", "--data", self.data, "--out", folder, *options, *self.threads, "--resume", "auto"], log)
        result = dict(request, seed=seed, images=self.images, steps=self.steps[variant])
        for split in ("valid", "test"):
            text = self.call([self.bin / "glow_eval", "--checkpoint", folder, "--data", self.data, "--split", split, "--json",
                              *option_in(words, "--device"), *(self.threads or option_in(words, "--threads"))], log)
            scores = json.loads(text)
            result |= {f"{split}_bpd": scores["bpd"], f"{split}_stderr": scores["stderr"]}
        result["train_minutes"] = train_minutes(folder / "metrics.csv")
        result["wall_minutes"] = round((time.monotonic() - begin) / 60, 2)
        write_text(record_file, json.dumps(result, indent=1))
        return result

    def call(self, command, log):
        """Runs a program, appends its messages to the log, and returns its output."""
        if self.stopping:
            raise Stopped()
        with open(log, "ab") as messages:
            begin = messages.tell()
            # In its own session, so that Ctrl-C reaches it only through stop().
            child = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages,
                                     start_new_session=True)
            self.children.add(child)
            if self.stopping:
                child.terminate()
            printed = child.communicate()[0].decode(errors="replace")
            self.children.discard(child)
        if self.stopping:
            raise Stopped()
        if child.returncode != 0:
            with open(log, "rb") as messages:
                messages.seek(begin)
                reason = error_of(messages.read().decode(errors="replace"))
            raise RunFailed(f"{Path(command[0]).name} ended with exit status {child.returncode}: {reason} (log: {log})")
        return printed

    def stop(self, *_):
        if not self.stopping:
            self.stopping = True
            print("compare_options: stopping; each run writes a checkpoint", file=sys.stderr, flush=True)
            for child in list(self.children):
                child.terminate()

    # --- All of them ------------------------------------------------------------------------------------------------

    def run_all(self):
        """Returns ({(variant, seed): record}, number of failures). Finishes one seed after another, so that a table is available early."""
        work = [(variant, seed) for seed in self.seeds for variant in self.variants]
        for task in work:
            self.record_of(*task)  # refuses before any run starts
        records, failures, written = {}, 0, True
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self.run, *task): task for task in work}
            for count, future in enumerate(as_completed(futures), 1):
                variant, seed = futures[future]
                try:
                    record = records[variant, seed] = future.result()
                    text = f"valid {record['valid_bpd']:.4f}, test {record['test_bpd']:.4f} bits/dim"
                except Stopped:
                    continue
                except UsageError as error:
                    self.refused = self.refused or error
                    self.stop()
                    continue
                except (RunFailed, OSError) as error:
                    failures, text = failures + 1, f"FAILED: {error}"
                print(f"[{count}/{len(work)}] {variant.name}, seed {seed}: {text}", file=sys.stderr, flush=True)
                written = self.write(records)
        return records, failures + (not written)

    def write(self, records):
        """Writes the tables. If that fails, prints a message and returns False: the runs continue."""
        ordered = [records[task] for task in ((v, s) for v in self.variants for s in self.seeds) if task in records]
        try:
            write_text(self.out / "results.csv", csv_text(ordered))
            write_text(self.out / "results.md", self.table(records))
        except OSError as error:
            print(f"compare_options: error: {self.out}: results.csv and results.md cannot be written: {error.strerror}", file=sys.stderr, flush=True)
            return False
        return True

    def table(self, records):
        """The results as a Markdown table."""
        lines = [f"{self.images} images, seeds {', '.join(map(str, self.seeds))}; all runs: `{shlex.join(self.common) or 'defaults'}`. "
                 "bits/dim of the averaged weights, and differences from the base with the same seed: mean and standard error over seeds.",
                 "",
                 "| variant | options | valid | difference | verdict | test | difference |", "|---|---|---|---|---|---|---|"]
        for variant in self.variants:
            cells = [variant.name, f"`{shlex.join(variant.words)}`" if variant.words else ""]
            mine = {seed: records[variant, seed] for seed in self.seeds if (variant, seed) in records}
            base = {seed: records[self.base, seed] for seed in mine if (self.base, seed) in records}
            for split in ("valid", "test"):
                key = f"{split}_bpd"
                differences = [mine[seed][key] - base[seed][key] for seed in base] if variant.words else []
                cells += [summary([record[key] for record in mine.values()]), summary(differences, signed=True)]
                if split == "valid":
                    cells.append(verdict(differences) if variant.words else "")
            if len(mine) < len(self.seeds):
                cells[0] += f" ({len(mine)} of {len(self.seeds)} seeds)"
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"


def option_in(words, option):
    """[option, value] as last given in the words, or []."""
    found = []
    for word, following in zip(words, (*words[1:], "")):
        if word == option:
            found = [option, following]
        elif word.startswith(option + "="):
            found = [option, word.split("=", 1)[1]]
    return found


def hash_of(path):
    content = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
    except OSError as error:
        raise UsageError(f"--data {path}: {error.strerror}") from None
    return content.hexdigest()


def read_record(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    if not isinstance(record, dict):
        raise UsageError(f"{path}: not a record of a run")
    return record


def write_text(path, text):
    write_atomically(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def train_minutes(metrics):
    """Minutes of training without startup, evaluations and checkpoints: images of each logged row divided by its images/s."""
    seconds, before = 0.0, 0
    with open(metrics, newline="") as file:
        for row in csv.DictReader(file):
            seen = int(row["images_seen"])
            seconds += (seen - before) / float(row["images_per_s"])
            before = seen
    return round(seconds / 60, 2)


def standard_error(values):
    return statistics.stdev(values) / math.sqrt(len(values))


def summary(values, signed=False):
    if not values:
        return ""
    mean = f"{statistics.fmean(values):{'+' if signed else ''}.4f}"
    return mean if len(values) < 2 else f"{mean} +- {standard_error(values):.4f}"


def verdict(differences):
    """Paired t-test of the differences from the base, one for each seed; lower is better."""
    if len(differences) < 2:
        return "one seed" if differences else ""
    freedom, mean = len(differences) - 1, statistics.fmean(differences)
    quantile = T95[freedom - 1] if freedom <= len(T95) else 1.96 + 2.8 / freedom  # slightly too large
    if abs(mean) <= quantile * standard_error(differences):
        return "open"
    return "better" if mean < 0 else "worse"


COLUMNS = ("variant", "seed", "options", "images", "steps", "valid_bpd", "valid_stderr", "test_bpd", "test_stderr", "train_minutes",
           "wall_minutes")


def csv_text(records):
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def parse(words):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise UsageError(f"{message} (see --help)")

    def whole(low):
        def parse(text):
            if not re.fullmatch(r"\d{1,15}", text) or int(text) < low:
                raise argparse.ArgumentTypeError(f"{text}: expected a whole number from {low} on")
            return int(text)
        return parse

    split = words.index("--") if "--" in words else len(words)
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS, allow_abbrev=False)
    parser.add_argument("--data", required=True, metavar="F.h5", help="data set with /train, /valid and /test")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the comparison")
    parser.add_argument("--images", required=True, type=whole(1), metavar="N", help="training images of each run, a multiple of every batch")
    parser.add_argument("--variant", action="append", default=[], metavar="'NAME: OPTIONS'", help="a variant of the base; may be repeated")
    parser.add_argument("--seeds", default="3", help="number of seeds, or a list such as 4,7 (default 3: seeds 0, 1, 2)")
    parser.add_argument("--jobs", type=whole(1), default=1, metavar="N", help="runs at once, which share the processors (default 1)")
    return parse_arguments(parser, words[:split]), words[split + 1:]


def check_text(words):
    """Rejects words that JSON files and tables cannot hold."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{ascii(word)} is not UTF-8") from None


def main():
    try:
        check_text(sys.argv[1:])
        comparison = Comparison(*parse(sys.argv[1:]))
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, comparison.stop)
        records, failures = comparison.run_all()
        if comparison.refused:
            raise comparison.refused
    except (UsageError, OutputRefused) as error:
        print(f"compare_options: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # of stdout; end_with is silent
        raise
    except OSError as error:
        print(f"compare_options: error: {error}", file=sys.stderr)
        return 1
    print(comparison.table(records), end="")
    if comparison.stopping:
        print("compare_options: stopped; the same command continues", file=sys.stderr)
        return 75
    return 1 if failures else 0


if __name__ == "__main__":
    end_with("compare_options", main)
