"""A small run that all tests share, and the commands."""

import atexit
import importlib.util
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import glow

SOURCE = Path(__file__).resolve().parents[2]
PROGRAMS = os.environ.get("GLOW_PROGRAMS", "")
FOLDER = Path(tempfile.mkdtemp(prefix="glow-python-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

DATA = FOLDER / "data.h5"
RUN = FOLDER / "run"
CONDITIONAL = FOLDER / "conditional"
VARIATIONAL = FOLDER / "variational"
OPTIONS = dict(
    levels=2,
    depth=2,
    width=16,
    batch=16,
    max_steps=20,
    warmup_epochs=0,
    seed=3,
    device="cpu",
    threads=1,  # more would mostly wait for each other
    log_every=5,
    eval_every=0,
    sample_every=0,
)
ENDLESS = {**OPTIONS, "max_steps": 1_000_000, "log_every": 1, "lr": 1e-4}


def make_images(count, seed=0, height=8, width=8):
    """Smooth colored images uint8 [count, height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 8
    phase = rng.uniform(0, 6, (count, 1, 1, 3))
    slope = rng.uniform(1, 4, (count, 2))
    wave = np.sin(slope[:, :1, None] * x + slope[:, 1:, None] * y)[..., None] + 0.4 * np.sin(phase)
    return np.clip(128 + 60 * wave + rng.normal(0, 4, wave.shape), 0, 255).astype(np.uint8)


def make_run():
    """The shared run, trained once."""
    if not RUN.exists():
        labels = np.arange(64) % 3
        glow.save_dataset(
            DATA,
            make_images(64),
            make_images(16, 1),
            make_images(20, 2),
            train_labels=labels,
            valid_labels=labels[:16],
            test_labels=labels[:20],
        )
        rows = list(glow.train(DATA, out=RUN, **OPTIONS))
        assert [row["step"] for row in rows] == [1, 5, 10, 15, 20]
    return RUN


def make_conditional_run():
    make_run()
    if not CONDITIONAL.exists():
        list(glow.train(DATA, out=CONDITIONAL, y_cond=True, **OPTIONS))
    return CONDITIONAL


def make_variational_run():
    make_run()
    if not VARIATIONAL.exists():
        list(glow.train(DATA, out=VARIATIONAL, dequant="variational", dequant_depth=2, dequant_width=6, **OPTIONS))
    return VARIATIONAL


def model(**options):
    return glow.load(make_run(), device="cpu", **{"threads": 1, **options})


def command(name, *arguments):
    """Standard output of a command of the build, with one thread."""
    program = Path(PROGRAMS) / name
    if not PROGRAMS or not program.exists():
        raise unittest.SkipTest(f"needs {name}: set GLOW_PROGRAMS to the folder of the commands")
    threads = [] if name == "glow_convert" else ["--threads", "1"]
    words = [program, *map(str, arguments), *threads]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def needs(module):
    """Skips a test without this package."""
    return unittest.skipUnless(importlib.util.find_spec(module), f"needs {module}")
