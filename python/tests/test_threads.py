"""Calls in threads, and what outlives them."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np

from support import DATA, ENDLESS, FOLDER, RUN, make_conditional_run, make_images, make_run, model


class Threads(unittest.TestCase):
    def test_interpreter_runs_meanwhile(self):
        owner = model()
        images = np.tile(make_images(16), (40, 1, 1, 1))
        done = threading.Event()

        def work():
            owner.bits_per_dim(images, iw_samples=4)
            done.set()

        before = sys.getswitchinterval()
        start = time.perf_counter()
        worker = threading.Thread(target=work)
        worker.start()
        turns = 0
        while not done.is_set():
            time.sleep(0.001)
            turns += 1
        worker.join()
        took = time.perf_counter() - start
        self.assertEqual(before, sys.getswitchinterval())
        # With the GIL held during the call there would be two or three turns.
        self.assertGreater(turns, 10 if took > 0.1 else 2)

    def test_ctrl_c_ends_a_long_call(self):
        code = f"""
import glow, numpy, os, signal, threading
model = glow.load({str(make_run())!r}, device="cpu", batch=4, threads=1)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
for call in (model.bits_per_dim, model.score):
    try:
        call(numpy.zeros((200000, 8, 8, 3), numpy.uint8))
    except KeyboardInterrupt:
        print("interrupted")
        break
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stdout, done.returncode), ("interrupted\n", 0), done.stderr)

    def test_ctrl_c_between_draws_and_while_waiting(self):
        code = f"""
import faulthandler, glow, numpy, os, signal, threading, time
faulthandler.dump_traceback_later(50, exit=True)
model = glow.load({str(make_run())!r}, device="cpu", batch=4, threads=1)
images = numpy.zeros((4, 8, 8, 3), numpy.uint8)

def interrupted(call):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.process_time()
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted", time.process_time() - begin < 5)
    timer.join()

interrupted(lambda: model.bits_per_dim(images, iw_samples=2**20))
busy = threading.Thread(target=lambda: model.bits_per_dim(images, iw_samples=2**20), daemon=True)
busy.start()
time.sleep(0.2)
interrupted(lambda: model.sample(1))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stdout, done.returncode), (2 * "interrupted True\n", 0), done.stderr)

    def test_one_model_in_many_threads(self):
        owner = model()
        images = make_images(12)
        expected = owner.log_prob(images)
        wrong = []

        def work():
            for _ in range(5):
                if (
                    not np.array_equal(owner.log_prob(images), expected)
                    or owner.log_prob_and_gradient(images)[1].shape != images.shape
                ):
                    wrong.append(1)

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(wrong, [])

    def test_results_outlive_the_model(self):
        owner = model()
        gradient = owner.log_prob_and_gradient(make_images(2))[1]
        copy = gradient.copy()
        del owner
        gc.collect()
        np.testing.assert_array_equal(gradient, copy)

    def test_labels_may_change_during_a_call(self):
        code = f"""
import glow, numpy, threading
model = glow.load({str(make_conditional_run())!r}, device="cpu", batch=64, threads=1)
images, labels = numpy.zeros((20000, 8, 8, 3), numpy.uint8), numpy.zeros(20000, numpy.int32)
timer = threading.Timer(0.1, lambda: labels.fill(2**30))
timer.start()
changed = model.log_prob(images, labels)
timer.join()
print((changed == model.log_prob(images, 0)).all(), labels[0] == 2**30)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual((done.stdout, done.returncode), ("True True\n", 0), done.stderr)

    def test_daemon_threads_end_with_the_program(self):
        make_run()
        calls = (
            f"model = glow.load({str(RUN)!r}, device='cpu', batch=4, threads=1); model.log_prob(images)",
            f"for row in glow.train({str(DATA)!r}, out={str(FOLDER / 'daemon')!r}, resume=True, **{ENDLESS!r}): pass",
        )
        for call in calls:
            code = f"""
import glow, numpy, threading, time
images = numpy.zeros((100000, 8, 8, 3), numpy.uint8)
def work():
    {call}
threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
"""
            for _ in range(3):
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr), (0, ""), call)

    def test_work_of_daemon_threads_is_finished_at_the_end(self):
        """Meanwhile the process would destroy objects of libraries that the threads use."""
        with tempfile.TemporaryDirectory() as folder:
            code = f"""
import glob, glow, numpy, threading, time
images = numpy.zeros((50000, 16, 16, 3), numpy.uint8)
writer = threading.Thread(target=glow.save_dataset, args=({folder + "/d.h5"!r}, images), daemon=True)
writer.start()
while writer.is_alive() and not glob.glob({folder + "/.glow-*"!r}):
    time.sleep(0.001)
"""
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr, os.listdir(folder)), (0, "", ["d.h5"]))

    def test_threads_of_openblas_are_left_to_the_program(self):
        """NumPy may use the same library."""
        code = f"""
import ctypes, glow, numpy
paths = sorted({{line.split()[-1] for line in open("/proc/self/maps") if "libopenblas" in line}})
libraries = [library for library in map(ctypes.CDLL, paths) if hasattr(library, "openblas_set_num_threads")]
for library in libraries:
    library.openblas_set_num_threads(2)
model = glow.load({str(make_run())!r}, device="cpu", threads=2)
model.log_prob_and_gradient(numpy.zeros((2, 8, 8, 3), numpy.uint8))
print({{library.openblas_get_num_threads() for library in libraries}} <= {{2}})
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stdout, done.returncode), ("True\n", 0), done.stderr)

    def test_fork(self):
        code = f"""
import glow, numpy, os, signal, sys, threading
def load():
    return glow.load({str(make_run())!r}, device="cpu", threads=2)
images = numpy.zeros((3, 8, 8, 3), numpy.uint8) + 128
model = load()
expected = model.log_prob(images)
if os.fork() == 0:
    signal.alarm(30)  # ends it if it hangs
    try:
        model.log_prob(images)
    except RuntimeError as error:
        print("forked" in str(error))
    print(numpy.allclose(load().log_prob(images), expected), flush=True)
    worker = threading.Thread(target=lambda: print(numpy.allclose(model.log_prob(images), expected), flush=True))
    worker.start()
    worker.join()
    os._exit(0)
print(os.wait()[1], numpy.array_equal(model.log_prob(images), expected))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        if os.cpu_count() > 1:
            self.assertEqual(done.stdout, "True\nTrue\nTrue\n0 True\n", done.stderr)

    def test_sub_interpreters_are_refused(self):
        code = """
try:
    import _interpreters as interpreters  # Python 3.13
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), "try: import glow\\nexcept ImportError as error: print(error)")
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertIn("cannot run in a sub-interpreter", done.stdout, done.stderr)

    def test_signal_handler_that_uses_the_same_model(self):
        code = f"""
import faulthandler, glow, numpy, os, signal, threading
faulthandler.dump_traceback_later(30, exit=True)  # a deadlock
model = glow.load({str(make_run())!r}, device="cpu", batch=4, threads=1)
def handler(number, frame):
    for call in (lambda: model.sample(1), lambda: model.to("cpu"), lambda: model.save("/nonexistent/file")):
        try:
            call()
        except RuntimeError as error:
            print(error)
signal.signal(signal.SIGUSR1, handler)
timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
timer.start()
images = numpy.zeros((20000, 8, 8, 3), numpy.uint8)
bits = model.log_prob(images)
timer.join()
print((bits == model.log_prob(images)).all(), len(model.sample(1)))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        refusal = "this thread is using the model: a signal handler needs a model of its own\n"
        self.assertEqual((done.stdout, done.returncode), (3 * refusal + "True 1\n", 0), done.stderr)


if __name__ == "__main__":
    unittest.main()
