"""Runs the Python of docs/python.md: every block in order, with images of each kind of array, and the calls in its text."""

import ast
import contextlib
import importlib.util
import io
import os
import re
import shutil
import unittest
import warnings

import numpy as np

import glow
from support import FOLDER, OPTIONS, SOURCE, make_images, make_run, needs

PAGE = SOURCE / "docs/python.md"
SHELL = ("tools/", "python/", "python3 ", "venv/", "CMAKE_ARGS=")
# What the calls in the text need before them; None: another test runs the call, or it is the name of a function of
# another program.
CALLS = {
    "help(glow.Model)": "",
    "help(glow.TrainingOptions)": "",
    "(255 * x).round().to(torch.uint8).permute(0, 2, 3, 1)": "import torch; x = torch.rand(2, 3, 8, 8)",
    'model.to("cuda")': None,
    "log_prob(samples)": "log_prob = model.log_prob",
    "model.sample(10, labels=3)": "model, images, labels = conditional",
    "model.log_prob(images, labels)": "model, images, labels = conditional",
    "for row in tqdm(training)": "tqdm = iter",
    "training.stop()": "",
    "stop()": "stop = training.stop",
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))": None,
    "logging.basicConfig(level=logging.INFO)": None,  # it would change the messages of the tests that follow
    "os.fork()": None,
}


def python_blocks(text):
    """The indented blocks of a page with the lines they begin after, without those of the shell."""
    blocks, lines = [], []
    for number, line in enumerate([*text.splitlines(), "end"]):
        if line.startswith("    ") or (lines and not line):
            lines.append(line[4:])
        elif lines:
            blocks.append((number - len(lines), "\n".join(lines)))
            lines = []
    return [(number, block) for number, block in blocks if not block.startswith(SHELL)]


def calls(text):
    """The code in the page's text that is a complete call or loop."""
    prose = re.sub(r"(?m)^    .*$", "", text)
    for code in re.findall(r"`([^`]+)`", prose):
        code = " ".join(code.split())
        with contextlib.suppress(SyntaxError):
            body = ast.parse(code + ": pass" if code.startswith("for ") else code)
            if any(isinstance(node, ast.Call) for node in ast.walk(body)):
                yield code


def run(code, names, line=0):
    """Executes code of the page; a traceback names its line there."""
    exec(compile("\n" * line + code, str(PAGE), "exec"), names)


class Docs(unittest.TestCase):
    def run_page(self, kind, images):
        """The names that the blocks define with images of this kind; those that need PyTorch use NumPy arrays."""
        folder = FOLDER / f"docs-{kind}"
        (folder / "runs").mkdir(parents=True)
        shutil.copytree(make_run(), folder / "runs/cifar10", symlinks=True)
        names = {"images": images}
        before = os.getcwd()
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                for line, block in python_blocks(PAGE.read_text()):
                    if "torch" not in block:
                        run(block, names, line)
                    elif importlib.util.find_spec("torch"):
                        names["images"] = np.asarray(images)
                        run(block, names, line)
                        names["images"] = images
                        self.assertEqual(names["x"].grad is None, "backward" not in block)
        finally:
            os.chdir(before)
        self.assertIn("max-steps", printed.getvalue())
        for name in ("bits", "gradient", "pixels", "numbers", "maps", "restored"):
            expected = np.ndarray if name == "bits" else type(images)  # concatenate() makes it an array of NumPy
            self.assertIsInstance(names[name], expected, name)
        np.testing.assert_array_equal(names["restored"], images)
        self.assertEqual(names["samples"].shape, (16, 8, 8, 3))
        self.assertEqual(glow.load(folder / "weights.h5").step, 30)
        return names

    def test_every_block_and_call_runs(self):
        names = self.run_page("numpy", make_images(8, 5))
        self.assertEqual(set(calls(PAGE.read_text())), set(CALLS))
        images, labels = make_images(8), np.arange(8) % 4
        conditional = FOLDER / "docs-conditional"
        list(glow.train(images, out=conditional, labels=labels, valid=0.5, y_cond=True, **{**OPTIONS, "max_steps": 2}))
        names["conditional"] = glow.load(conditional, device="cpu"), images, labels
        for call, before in CALLS.items():
            if before is None or ("torch" in before and not importlib.util.find_spec("torch")):
                continue
            scope = dict(names)
            with self.subTest(call), contextlib.redirect_stdout(io.StringIO()):
                run(f"{before}\n{call}" + (": pass" if call.startswith("for ") else ""), scope)
        # On a machine without a GPU, model.to() says so.
        if glow._extension.cuda_problem():
            with self.assertRaises((ValueError, RuntimeError)):
                run('model.to("cuda")', names)

    @needs("torch")
    def test_with_pytorch(self):
        import torch

        names = self.run_page("torch", torch.from_numpy(make_images(8, 5)))
        self.assertEqual(names["x"].grad.shape, (8, 8, 8, 3))

    @needs("jax")
    def test_with_jax(self):
        import jax.numpy as jnp

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.run_page("jax", jnp.asarray(make_images(8, 5)))


if __name__ == "__main__":
    unittest.main()
