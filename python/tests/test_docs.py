"""Runs the Python of docs/python.md, block by block."""

import contextlib
import io
import os
import shutil
import unittest

import numpy as np

import glow
from support import FOLDER, SOURCE, make_images, make_run, needs

SHELL = ("tools/", "python/", "python3 ", "venv/")


def python_blocks(text):
    """The indented blocks of a page, without those of the shell."""
    blocks, lines = [], []
    for line in [*text.splitlines(), "end"]:
        if line.startswith("    ") or (lines and not line):
            lines.append(line[4:])
        elif lines:
            blocks.append("\n".join(lines))
            lines = []
    return [block for block in blocks if not block.startswith(SHELL)]


class Docs(unittest.TestCase):
    @needs("torch")
    def test_every_block_runs(self):
        folder = FOLDER / "docs"
        (folder / "runs").mkdir(parents=True)
        shutil.copytree(make_run(), folder / "runs/cifar10", symlinks=True)
        images = make_images(8, 5)
        names = {"images": images}
        before = os.getcwd()
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                for block in python_blocks((SOURCE / "docs/python.md").read_text()):
                    exec(block, names)
        finally:
            os.chdir(before)
        self.assertIn("max-steps", printed.getvalue())
        np.testing.assert_array_equal(names["restored"], images)
        self.assertEqual(names["samples"].shape, (16, 8, 8, 3))
        self.assertEqual(names["x"].grad.shape, images.shape)
        self.assertEqual(glow.load(folder / "weights.h5").step, 30)


if __name__ == "__main__":
    unittest.main()
