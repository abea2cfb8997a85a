#!/usr/bin/env python3
"""compare_options_test.py [PROGRAMS]: tools/compare_options.py with programs that only pretend to train, and once with those of
PROGRAMS. Needs the standard library only."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "tools/compare_options.py"
PROGRAMS = None

# Pretends to train: bits/dim depend on --lr and the seed. Records its words in $CALLS, and fails or waits where told to.
TRAIN = """#!/usr/bin/env python3
import json, os, signal, sys, time
words = sys.argv[1:]
value = lambda option, otherwise: words[len(words) - 1 - words[::-1].index(option) + 1] if option in words else otherwise
if "--nonsense" in words:
    sys.exit(print("glow_train: error: unknown option --nonsense", file=sys.stderr) or 2)
if "--help" in words:
    sys.exit(print("Trains a Glow"))
lr, seed, out = value("--lr", "0.001"), value("--seed", "0"), value("--out", "")
if "--print-config" in words:
    sys.exit(print(json.dumps({"training": {"batch": int(value("--batch", "8"))}})))
open(os.environ["CALLS"], "a").write(json.dumps(words) + "\\n")
if lr == os.environ.get("FAIL"):
    sys.exit(print("starting\\nglow_train: error: step 3: the loss is not finite", file=sys.stderr) or 1)
os.makedirs(out, exist_ok=True)
if lr == os.environ.get("WAIT") and not os.path.exists(out + "/begun"):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    open(out + "/begun", "w").close()
    time.sleep(60)
if lr == os.environ.get("OBSTACLE") and seed == "0":
    while not os.path.exists(out + "/../../results.csv"):  # written while this run starts
        time.sleep(0.01)
    os.remove(out + "/../../results.csv")
    os.mkdir(out + "/../../results.csv")
bits = 4 + 100 * float(lr) + 0.1 * int(seed) + 0.001 * ((int(seed) * 7 + len(lr)) % 3)
open(out + "/bits", "w").write(str(bits))
open(out + "/metrics.csv", "w").write("step,images_seen,images_per_s\\n1,600,10\\n2,1200,20\\n")
"""
EVAL = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
bits = float(open(words[words.index("--checkpoint") + 1] + "/bits").read())
print(json.dumps({"bpd": bits + 0.5 * (words[words.index("--split") + 1] == "test"), "stderr": 0.01}))
"""
DATA = """#!/usr/bin/env python3
import json, sys
print(json.dumps({"valid": 0 if "bare" in sys.argv[2] else 10, "test": 10}))
"""


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "bin").mkdir()
        for name, text in (("glow_train", TRAIN), ("glow_eval", EVAL), ("glow_data", DATA)):
            # The python3 on PATH may be a slow script that looks for one.
            (self.folder / "bin" / name).write_text(text.replace("/usr/bin/env python3", f"{sys.executable} -IS"))
            (self.folder / "bin" / name).chmod(0o755)
        (self.folder / "d.h5").write_text("")
        self.environment = dict(os.environ, GLOW_BIN=str(self.folder / "bin"), CALLS=str(self.folder / "calls"))

    def words(self, *words, images="80", data="d.h5", common=("--width", "8")):
        return [sys.executable, SCRIPT, "--data", self.folder / data, "--out", self.folder / "out", "--images", images, *words,
                *(["--", *common] if common else [])]

    def compare(self, *words, status=0, environment=None, **options):
        done = subprocess.run(list(map(str, self.words(*words, **options))), capture_output=True, text=True,
                              env={**self.environment, **(environment or {})})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def calls(self):
        calls = self.folder / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    def rows(self):
        with open(self.folder / "out/results.csv", newline="") as file:
            return list(csv.DictReader(file))

    def test_table_has_means_errors_and_paired_differences(self):
        done = self.compare("--variant", "low: --lr 0.0005", "--variant", "high: --lr 0.002 --batch 16", "--seeds", "3")
        rows = self.rows()
        self.assertEqual([(row["variant"], row["seed"], row["steps"]) for row in rows[:3]], [("base", "0", "10"), ("base", "1", "10"), ("base", "2", "10")])
        self.assertEqual({row["steps"] for row in rows if row["variant"] == "high"}, {"5"})
        bits = {(row["variant"], int(row["seed"])): float(row["valid_bpd"]) for row in rows}
        self.assertEqual(len(bits), 9)
        self.assertEqual({row["train_minutes"] for row in rows}, {"1.5"})  # 600 images at 10/s, 600 at 20/s
        for name, verdict in (("low", "better"), ("high", "worse")):
            mine = [bits[name, seed] for seed in range(3)]
            differences = [bits[name, seed] - bits["base", seed] for seed in range(3)]
            error = lambda values: math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 6)
            line = next(line for line in done.stdout.splitlines() if line.startswith(f"| {name} |"))
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            self.assertEqual(cells[2], f"{sum(mine) / 3:.4f} +- {error(mine):.4f}")
            self.assertEqual(cells[3], f"{sum(differences) / 3:+.4f} +- {error(differences):.4f}")
            self.assertEqual(cells[4], verdict)
            self.assertEqual(cells[5], f"{sum(mine) / 3 + 0.5:.4f} +- {error(mine):.4f}")
        self.assertEqual((self.folder / "out/results.md").read_text(), done.stdout)

    def test_verdict_is_open_within_the_error(self):
        done = self.compare("--variant", "same: --lr 0.00100001", "--seeds", "4")
        self.assertIn("| open |", done.stdout)

    def test_one_seed_has_no_error_and_no_verdict(self):
        done = self.compare("--variant", "low: --lr 0.0005", "--seeds", "1")
        line = done.stdout.splitlines()[-1]
        self.assertNotIn("+-", line)
        self.assertIn("one seed", line)

    def test_every_run_has_the_same_images_seeds_and_options(self):
        self.compare("--variant", "high: --lr 0.002 --batch 16", "--seeds", "4,9", "--jobs", "2")
        calls = self.calls()
        self.assertEqual(len(calls), 4)
        for call in calls:
            steps, batch = int(call[call.index("--max-steps") + 1]), 16 if "--batch" in call else 8
            self.assertEqual(steps * batch, 80)
            self.assertIn("--resume auto", " ".join(call))
            self.assertIn("--width 8", " ".join(call))
            self.assertIn("--threads", call)  # two at once share the processors
        self.assertEqual(sorted(call[call.index("--seed") + 1] for call in calls), ["4", "4", "9", "9"])

    def test_finished_runs_are_not_repeated(self):
        self.compare("--variant", "low: --lr 0.0005", "--seeds", "2")
        first = len(self.calls())
        done = self.compare("--variant", "low: --lr 0.0005", "--variant", "new: --lr 0.01", "--seeds", "3")
        self.assertEqual((first, len(self.calls())), (4, 4 + 2 + 3))
        self.assertEqual(len(self.rows()), 9)
        self.assertIn("| new |", done.stdout)

    def test_a_name_does_not_change_its_options(self):
        self.compare("--variant", "low: --lr 0.0005", "--seeds", "1")
        before = (self.folder / "out/results.csv").read_text()
        done = self.compare("--variant", "low: --lr 0.0004", "--seeds", "1", status=2)
        self.assertIn("other settings", done.stderr)
        self.assertEqual(len(self.calls()), 2)
        done = self.compare("--seeds", "1", images="160", status=2)
        self.assertIn("other settings", done.stderr)

    def test_data_that_were_replaced_are_refused(self):
        self.compare("--seeds", "1")
        (self.folder / "d.h5").write_text("other")
        done = self.compare("--variant", "low: --lr 0.0005", "--seeds", "1", status=2)
        self.assertIn("the data differ", done.stderr)
        self.assertEqual(len(self.calls()), 1)
        (self.folder / "d.h5").write_text("")
        self.compare("--variant", "low: --lr 0.0005", "--seeds", "1")
        # A record of an earlier version says nothing about the content.
        file = self.folder / "out/base/seed-0.json"
        record = json.loads(file.read_text())
        del record["data_sha256"]
        file.write_text(json.dumps(record))
        self.assertIn("not recorded", self.compare("--seeds", "1", status=2).stderr)

    def test_a_failed_run_is_named_and_the_others_go_on(self):
        done = self.compare("--variant", "high: --lr 1000", "--variant", "low: --lr 0.0005", "--seeds", "2", status=1,
                            environment={"FAIL": "1000"})
        self.assertIn("high, seed 0: FAILED: glow_train ended with exit status 1: glow_train: error: step 3: the loss is not finite", done.stderr)
        self.assertIn("| high (0 of 2 seeds) |", done.stdout)
        self.assertEqual(len(self.rows()), 4)
        self.compare("--variant", "high: --lr 1000", "--variant", "low: --lr 0.0005", "--seeds", "2")  # now it works
        self.assertEqual(len(self.rows()), 6)

    def test_a_signal_stops_and_the_same_command_continues(self):
        words = ["--variant", "slow: --lr 0.002", "--seeds", "1"]
        process = subprocess.Popen(list(map(str, self.words(*words))), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**self.environment, "WAIT": "0.002"})
        self.addCleanup(process.kill)
        begun = self.folder / "out/slow/seed-0/begun"
        deadline = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, out + err)
        self.assertIn("the same command continues", err)
        self.assertEqual(len(self.rows()), 1)
        self.compare(*words, environment={"WAIT": "0.002"})
        self.assertEqual(len(self.rows()), 2)
        self.assertEqual(len(self.calls()), 3)

    def test_tables_that_cannot_be_written_are_reported_at_once(self):
        words = ["--variant", "high: --lr 0.002", "--seeds", "2"]
        done = self.compare(*words, status=1, environment={"OBSTACLE": "0.002"})
        lines = done.stderr.splitlines()
        self.assertIn("results.csv and results.md cannot be written: Is a directory", lines[2])
        self.assertEqual(len(self.calls()), 4)  # the other runs continue
        self.assertRegex(done.stdout, r"\| high \|.* \+- ")
        (self.folder / "out/results.csv").rmdir()
        self.compare(*words)
        self.assertEqual((len(self.calls()), len(self.rows())), (4, 4))

    def test_names_and_outputs_that_cannot_be_used(self):
        self.assertIn("is not UTF-8", self.compare("--variant", "a\udcff: --lr 0.01", status=2).stderr)
        self.assertIn("printed no JSON", self.compare(common=("--help",), status=2).stderr)
        (self.folder / "out").write_text("a file")
        self.assertIn("--out", self.compare(status=2).stderr)
        self.assertEqual(self.calls(), [])
        (self.folder / "out").unlink()
        # In a locale without these letters; the table is a file of UTF-8.
        narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
        self.compare("--seeds", "1", "--variant", "two --lr: --lr 0.002", environment=narrow)
        with open("/dev/full", "w") as full:
            environment = {name: value for name, value in self.environment.items() if name != "PYTHONUNBUFFERED"}
            done = subprocess.run(list(map(str, self.words("--seeds", "1"))), stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.endswith("error: cannot write to the standard output: No space left on device\n"), done.stderr)

    def test_wrong_use_is_refused_before_training(self):
        cases = [
            (("--variant", "no options"), "expected 'NAME: OPTIONS'"), (("--variant", "empty:"), "no options"),
            (("--variant", "quote: --lr '1"), "No closing quotation"), (("--variant", "x: --seed 3"), "--seed is set by the comparison"),
            (("--variant", "x: --max-steps=3"), "--max-steps is set"), (("--variant", "a b: --lr 1", "--variant", "a-b: --lr 2"), "same folder"),
            (("--variant", "a: --lr 1", "--variant", "a: --lr 2"), "same folder"),
            (("--variant", "base: --lr 1"), "same folder"), (("--variant", "?: --lr 1"), "needs a letter"),
            (("--variant", "x: --nonsense"), "variant 'x': glow_train: error: unknown option --nonsense"),
            (("--variant", "x: --batch 12"), "not a multiple of its batch of 12"), (("--seeds", "0"), "--seeds"), (("--seeds", "1,1"), "--seeds"),
            (("--seeds", "x"), "--seeds"), (("--jobs", "0"), "--jobs"), (("--unknown",), "--unknown"),
        ]
        for words, message in cases:
            with self.subTest(words):
                self.assertIn(message, self.compare(*words, status=2).stderr)
        self.assertIn("no such file", self.compare(data="missing.h5", status=2).stderr)
        (self.folder / "bare.h5").write_text("")
        self.assertIn("no valid images", self.compare(data="bare.h5", status=2).stderr)
        self.assertIn("no glow_train", self.compare(status=2, environment={"GLOW_BIN": str(self.folder)}).stderr)
        self.assertIn("--seed is set", self.compare(common=("--seed", "1"), status=2).stderr)
        self.assertEqual(self.calls(), [])

    def test_real_programs(self):
        if PROGRAMS is None:
            self.skipTest("no programs given")
        shutil.rmtree(self.folder / "bin")
        self.environment["GLOW_BIN"] = PROGRAMS
        subprocess.run([f"{PROGRAMS}/glow_data", "synthetic", "shapes", "--size", "8", "--train", "80", "--test", "20", "--force",
                        "--quiet", "-o", self.folder / "d.h5"], check=True)
        common = ("--levels", "1", "--depth", "1", "--width", "8", "--batch", "8", "--device", "cpu", "--threads", "1")
        done = self.compare("--variant", "slow: --lr 1e-6", "--variant", "tanh: --coupling-scale tanh", "--seeds", "2", images="240",
                            common=common)
        rows = {(row["variant"], row["seed"]): float(row["test_bpd"]) for row in self.rows()}
        self.assertEqual(len(rows), 6)
        self.assertEqual(len(set(rows.values())), 6)
        for seed in "01":  # 30 steps are enough to be better than none
            self.assertLess(rows["base", seed], rows["slow", seed])
        self.assertIn("worse", next(line for line in done.stdout.splitlines() if line.startswith("| slow |")))


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAMS = sys.argv.pop(1)
    unittest.main()
