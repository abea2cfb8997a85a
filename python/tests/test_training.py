"""train() and Run."""

import copy
import errno
import gc
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock

import numpy as np

import glow
from support import DATA, ENDLESS, FOLDER, OPTIONS, RUN, SOURCE, make_images, make_run, needs

ERRORS = (ValueError, RuntimeError)


class Train(unittest.TestCase):
    def test_rows_are_those_of_metrics(self):
        make_run()
        out = FOLDER / "rows"
        training = glow.train(DATA, out=out, **OPTIONS)
        self.assertIsNone(training.result)
        rows = list(training)
        metrics = glow.Run(out).metrics
        for name in rows[0]:
            np.testing.assert_array_equal([row[name] for row in rows], metrics[name])
        self.assertEqual((training.result["ended"], training.result["step"]), ("max-steps", 20))
        self.assertIn("valid_bpd_ema", training.result)
        self.assertEqual(training.model(device="cpu").step, 20)
        self.assertEqual(list(training), [])
        self.assertEqual(len(glow.Run(out).evaluations["bpd"]), 2)

    def test_tables_are_dicts_of_arrays(self):
        metrics = glow.Run(make_run()).metrics
        self.assertIsInstance(metrics, dict)
        self.assertEqual(metrics["step"].tolist(), [1, 5, 10, 15, 20])
        self.assertIsInstance(glow.Run(RUN).evaluations["bpd"], np.ndarray)

    def test_a_table_that_cannot_be_read(self):
        run = glow.Run(make_run())
        wrong = [(code, ValueError) for code in (errno.EACCES, errno.ENOENT, errno.ENAMETOOLONG)]
        for code, expected in (*wrong, (errno.EIO, RuntimeError), (errno.EMFILE, RuntimeError)):
            error = OSError(code, os.strerror(code))
            with unittest.mock.patch("builtins.open", side_effect=error), self.assertRaisesRegex(expected, error.strerror):
                run.metrics

    @needs("pandas")
    def test_tables_as_data_frames(self):
        metrics = glow.Run(make_run()).metrics
        frame = metrics.to_pandas()
        self.assertEqual(list(frame.columns), list(metrics))
        np.testing.assert_array_equal(frame["bpd"], metrics["bpd"])

    def test_result_is_there_when_the_run_has_ended(self):
        """Without a row having been read, and without losing one."""
        make_run()
        training = glow.train(DATA, out=FOLDER / "polled", **OPTIONS)
        begin = time.monotonic()
        while training.result is None and time.monotonic() < begin + 60:
            time.sleep(0.01)
        self.assertEqual((training.result["ended"], training.result["step"]), ("max-steps", 20))
        self.assertEqual([row["step"] for row in training], [1, 5, 10, 15, 20])

    def test_result_while_another_thread_reads_the_rows(self):
        make_run()
        training = glow.train(DATA, out=FOLDER / "shared", **{**OPTIONS, "log_every": 1})
        steps = []
        reader = threading.Thread(target=lambda: steps.extend(row["step"] for row in training))
        reader.start()
        while reader.is_alive():
            training.result
        reader.join()
        self.assertEqual(steps, list(range(1, 21)))
        self.assertEqual(training.result["step"], 20)

    def test_result_raises_the_error_of_a_run(self):
        training = glow.train(DATA, out=make_run(), **OPTIONS)  # which has a run already
        with self.assertRaises(ERRORS):
            for _ in range(6000):
                self.assertIsNone(training.result)
                time.sleep(0.01)
        self.assertIsNone(training.result)
        self.assertEqual(list(training), [])

    def test_result_does_not_depend_on_events(self):
        """Ctrl-C while next() waits discards what it returns."""
        make_run()
        training = glow.train(DATA, out=FOLDER / "discarded", **OPTIONS)
        while not training._training.ended:
            training._training.next(1)
        self.assertEqual(list(training), [])
        self.assertEqual(training.result["step"], 20)

    def test_errors_of_the_programs_logging(self):
        """They are neither errors of the run, nor do they let stop() return before its end."""
        make_run()

        class Handler(logging.Handler):
            def emit(self, record):
                raise KeyError("a broken handler")

        handler, log = Handler(), logging.getLogger("glow")
        training = glow.train(DATA, out=FOLDER / "broken handler", **ENDLESS)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            with self.assertRaises(KeyError):
                while True:
                    training.result
        finally:
            log.removeHandler(handler)
            log.setLevel(logging.NOTSET)
        next(training)
        self.assertEqual(training.stop()["ended"], "signal")
        self.assertEqual(training.result["ended"], "signal")

    def test_pickling_and_copying_say_what_to_do(self):
        make_run()
        with glow.train(DATA, out=FOLDER / "copied", **ENDLESS) as training:
            for call in (pickle.dumps, copy.copy, copy.deepcopy):
                with self.assertRaisesRegex(TypeError, "glow.Run"):
                    call(training)
            gc.collect()  # the copy of a training would have restored the handler of Ctrl-C
            self.assertIn("Interrupts", type(signal.getsignal(signal.SIGINT)).__name__)

    def test_incomplete_last_line(self):
        folder = FOLDER / "cut"
        folder.mkdir()
        lines = (make_run() / "metrics.csv").read_text()
        expected = glow.Run(RUN).metrics
        for cut in (1, 2, 30):
            (folder / "metrics.csv").write_text(lines[:-cut])
            metrics = glow.Run(folder).metrics
            for name in expected:
                np.testing.assert_array_equal(metrics[name], expected[name][:-1])

    def test_folder_changes_during_a_run(self):
        make_run()
        here, elsewhere = os.getcwd(), FOLDER / "elsewhere"
        elsewhere.mkdir()
        os.chdir(FOLDER)
        try:
            training = glow.train(str(DATA), out="moving", **{**OPTIONS, "max_steps": 8, "checkpoint_every": 2})
            os.chdir(elsewhere)
            list(training)
        finally:
            os.chdir(here)
        self.assertEqual(list(elsewhere.iterdir()), [])
        self.assertEqual(glow.load(FOLDER / "moving").step, 8)

    def test_decimal_comma(self):
        """The caller's locale, as Qt and GTK set it, changes what the C library takes for a number."""
        make_run()
        place = FOLDER / "locales"
        place.mkdir()
        try:
            subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", place / "de_DE.UTF-8"], capture_output=True)
        except FileNotFoundError:
            pass
        code = f"""
import glow, locale, sys
try:
    locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
except locale.Error:
    sys.exit(77)
assert locale.localeconv()["decimal_point"] == ","
options = {{**{OPTIONS!r}, "lr": 0.002, "eval_every": 4}}
for steps in (8, 12):
    training = glow.train({str(DATA)!r}, out={str(FOLDER / "comma")!r}, resume=True, **{{**options, "max_steps": steps}})
    rows = list(training)
print(rows[-1]["lr"], training.result["valid_bpd_ema"])
again = glow.train({str(DATA)!r}, out={str(FOLDER / "comma")!r}, resume=True, **{{**options, "max_steps": 12}})
print(len(list(again)), again.result["valid_bpd_ema"])
"""
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "LOCPATH": str(place)}, capture_output=True, text=True)
        if done.returncode == 77:
            self.skipTest("localedef cannot make a locale with decimal commas here (Debian: locales)")
        self.assertEqual(done.returncode, 0, done.stderr)
        (lr, bits), (rows, known) = (line.split() for line in done.stdout.splitlines())
        self.assertGreater(float(lr), 0)
        # Without a step nothing is evaluated again: it is read from eval.csv, which has fewer digits.
        self.assertEqual(rows, "0")
        self.assertAlmostEqual(float(known), float(bits), places=5)

    def test_interrupt_leaves_a_checkpoint(self):
        make_run()
        out = FOLDER / "interrupted"
        training = glow.train(DATA, out=out, **ENDLESS)
        before = signal.getsignal(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            for row in training:
                if row["step"] == 3:
                    os.kill(os.getpid(), signal.SIGINT)  # in the body of the loop
        self.assertEqual(training.stop()["ended"], "signal")
        self.assertIsNot(signal.getsignal(signal.SIGINT), before)
        step = glow.load(out, device="cpu").step
        self.assertGreaterEqual(step, 3)
        rows = list(glow.train(DATA, out=out, resume=True, **{**ENDLESS, "max_steps": step + 2}))
        self.assertEqual([row["step"] for row in rows], [step + 1, step + 2])

    def test_interrupt_handler_is_restored(self):
        make_run()
        before = signal.getsignal(signal.SIGINT)
        runs = [glow.train(DATA, out=FOLDER / f"overlap{i}", **OPTIONS) for i in range(2)]
        self.assertIsNot(signal.getsignal(signal.SIGINT), before)
        for run in runs:
            list(run)
        self.assertIs(signal.getsignal(signal.SIGINT), before, "after overlapping runs")
        training = glow.train(DATA, out=FOLDER / "deleted", **ENDLESS)
        next(training)
        del training
        gc.collect()
        self.assertIs(signal.getsignal(signal.SIGINT), before, "after del")
        training = glow.train(DATA, out=RUN, **OPTIONS)
        with self.assertRaises(ERRORS):
            training.stop()
        self.assertIs(signal.getsignal(signal.SIGINT), before, "after a stop() that raised")

    def test_interrupt_stops_all_runs(self):
        make_run()
        runs = [glow.train(DATA, out=FOLDER / f"interrupted{i}", **ENDLESS) for i in range(2)]
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        for run in runs:
            list(run)
            self.assertEqual(run.result["ended"], "signal")

    def test_interrupt_while_waiting(self):
        code = f"""
import glow, os, signal, threading
training = glow.train({str(DATA)!r}, out={str(FOLDER / "waiting")!r}, **{ {**ENDLESS, "log_every": 1000000}!r})
next(training)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    next(training)
except KeyboardInterrupt:
    print("step", glow.load(training.out, device="cpu").step == training.result["step"] > 1)
"""
        make_run()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual((done.stdout, done.returncode), ("step True\n", 0), done.stderr)

    def test_documented_handler_of_sigterm(self):
        page = (SOURCE / "docs/python.md").read_text()
        handler = re.search(r"`(signal\.signal\(signal\.SIGTERM, .*)`", page)[1]
        code = f"""
import glow, os, signal, sys, time
{handler}
training = glow.train({str(DATA)!r}, out={str(FOLDER / "terminated")!r}, **{ENDLESS!r})
next(training)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
        make_run()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 143, done.stderr)
        self.assertGreaterEqual(glow.load(FOLDER / "terminated", device="cpu").step, 1)

    def test_end_of_the_interpreter_leaves_a_checkpoint(self):
        make_run()
        code = f"import glow; training = glow.train({str(DATA)!r}, out={str(FOLDER / 'exit')!r}, **{ENDLESS!r}); next(training)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(glow.load(FOLDER / "exit", device="cpu").step, 1)

    def test_forgotten_training_ends(self):
        make_run()
        training = glow.train(DATA, out=FOLDER / "forgotten", **ENDLESS)
        next(training)
        del training
        gc.collect()
        glow.load(FOLDER / "forgotten", device="cpu")

    def test_others_run_while_a_forgotten_training_ends(self):
        make_run()
        options = {**ENDLESS, "width": 128, "depth": 16, "batch": 64}
        training = glow.train(DATA, out=FOLDER / "forgotten slowly", **options)
        next(training)
        times, done = [], threading.Event()

        def work():
            while not done.wait(0.005):
                times.append(time.perf_counter())

        worker = threading.Thread(target=work)
        worker.start()
        begin = time.perf_counter()
        del training
        gc.collect()
        end = time.perf_counter()
        done.set()
        worker.join()
        self.assertGreater(sum(begin < t < end for t in times), min(10, (end - begin) / 0.05))

    def test_fork_during_a_training(self):
        make_run()
        code = f"""
import glow, os, signal, sys
with glow.train({str(DATA)!r}, out={str(FOLDER / "fork")!r}, **{ENDLESS!r}) as training:
    next(training)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends it if it hangs
        try:
            next(training)
        except RuntimeError as error:
            print(error, flush=True)
        sys.exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
    next(training)
print(training.result["ended"])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        refusal = "this training runs in the parent of this process, which alone can use it\n"
        self.assertEqual((done.stdout, done.returncode), (refusal + "0\nsignal\n", 0), done.stderr)

    def test_forks_while_checkpoints_are_written(self):
        make_run()
        code = f"""
import glow, os, signal
with glow.train({str(DATA)!r}, out={str(FOLDER / "forks")!r}, **{ {**ENDLESS, "checkpoint_every": 1}!r}) as training:
    for _ in range(8):
        next(training)
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # ends it if it hangs
            glow.load({str(RUN)!r}, device="cpu", threads=1)
            os._exit(0)
        print(os.waitpid(child, 0)[1], end=" ")
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        self.assertEqual((done.stdout, done.returncode), (8 * "0 ", 0), done.stderr)

    def test_misspelled_folder_to_resume(self):
        make_run()
        options = {**OPTIONS, "max_steps": 2}
        list(glow.train(DATA, out=FOLDER / "experiment-one", **options))
        with self.assertLogs("glow", "WARNING") as logs:
            list(glow.train(DATA, out=FOLDER / "experiment-ome", resume=True, **options))
        words = f"--out {FOLDER}/experiment-ome: there is no run to resume, but {FOLDER}/experiment-one has one"
        self.assertIn(words, logs.records[0].getMessage())

    def test_with_statement(self):
        make_run()
        with glow.train(DATA, out=FOLDER / "with", **ENDLESS) as training:
            next(training)
        self.assertEqual(training.result["ended"], "signal")

    def test_two_at_once(self):
        make_run()
        runs = [glow.train(DATA, out=FOLDER / f"pair{i}", **OPTIONS) for i in range(2)]
        losses = [[row["bpd"] for row in run] for run in runs]
        self.assertEqual(losses[0], losses[1])

    def test_false_for_flags_without_negation(self):
        make_run()
        flags = {name: False for name in ("accept_new_data", "save_limits", "requeue_max_minutes", "resume", "plan")}
        training = glow.train(DATA, out=FOLDER / "flags", **{**OPTIONS, **flags, "tune": np.False_, "max_steps": 1})
        self.assertEqual(len(list(training)), 1)

    def test_program_changes_its_folder(self):
        make_run()
        elsewhere = FOLDER / "another folder"
        elsewhere.mkdir()
        before = os.getcwd()
        os.chdir(FOLDER)
        try:
            for options in ({}, dict(init_from=RUN.name)):
                training = glow.train(DATA.name, out=f"moving{len(options)}", **{**OPTIONS, **options})
                os.chdir(elsewhere)
                self.assertEqual(len(list(training)), 5)
                os.chdir(FOLDER)
        finally:
            os.chdir(before)

    def test_undefined_cells(self):
        """The standard error of one validation image is an empty cell."""
        glow.save_dataset(FOLDER / "one.h5", make_images(32), make_images(1, 1))
        list(glow.train(FOLDER / "one.h5", out=FOLDER / "one", **{**OPTIONS, "eval_every": 10}))
        found = glow.Run(FOLDER / "one").evaluations
        undefined = np.asarray(found["stderr"])
        self.assertEqual(undefined.dtype, np.float64)
        self.assertTrue(np.isnan(undefined).all())
        self.assertTrue(np.isfinite(np.asarray(found["bpd"])).all())

    def test_refusals(self):
        make_run()
        cases = [
            (dict(lr="fast"), "lr"),
            (dict(batch=True), "batch"),
            (dict(batch=False), "batch"),
            (dict(no_such_option=1), "no-such-option"),
            (dict(levels=9), "levels"),
            (dict(batch=0), "batch"),
            (dict(memory="magic"), "memory"),
            (dict(preset="huge"), "huge"),
            (dict(plan=True), "plan"),
            (dict(communicator="mpi"), "communicator"),
            (dict(requeue_exit=3), "requeue_exit"),
            (dict(help=True), ""),
            (dict(version=True), ""),
            (dict(max_steps="1\0"), "max_steps"),
            (dict(resume="/nonexistent.h5"), "nonexistent"),
            (dict(init_from="/nonexistent"), "nonexistent"),
            (dict(device="cuda:9"), "device"),
            (dict(preset="\udcff"), "preset must be UTF-8"),
            ({"lr\udcff": 1}, "the name of an option must be UTF-8"),
            (dict(init_from=b"/tmp/\xff"), "init_from must be UTF-8"),
            (dict(preset="", levels=2), "preset: expected a value, found an empty one"),
        ]
        for options, words in cases:
            with self.assertRaisesRegex(ERRORS, words, msg=repr(options)):
                list(glow.train(DATA, out=FOLDER / "refused", **{**OPTIONS, **options}))
        for data, out in (
            ("/nonexistent.h5", FOLDER / "refused"),
            (DATA, make_run()),
            (None, FOLDER / "refused"),
            ("", FOLDER / "refused"),
            (b"/tmp/\xff.h5", FOLDER / "refused"),
            (DATA, ""),
            (DATA, "/proc/nonexistent"),
        ):
            with self.assertRaises(ERRORS, msg=f"{data} {out}"):
                list(glow.train(data, out=out, **OPTIONS))
        for images, valid in ((make_images(4), 10**400), (range, None)):
            with self.assertRaises(ERRORS):
                glow.train(images, out=FOLDER / "refused", valid=valid, **OPTIONS)
        for name in ("/nonexistent", "", "a" * 300):
            with self.assertRaisesRegex(ERRORS, "no such folder"):
                glow.Run(name)
        with self.assertRaises(ERRORS):
            glow.Run(FOLDER).metrics


if __name__ == "__main__":
    unittest.main()
