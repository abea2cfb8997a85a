"""What the package offers: descriptions, stubs, documentation."""

import copy
import importlib.util
import pickle
import unittest
from pathlib import Path

import numpy as np

import glow
from support import FOLDER, SOURCE, command, make_images, model


class Interface(unittest.TestCase):
    def test_description(self):
        owner = model()
        self.assertEqual((owner.shape, owner.dimensions, owner.step, owner.averaged), ((8, 8, 3), 192, 20, True))
        self.assertEqual(owner.training_steps, 20)
        self.assertEqual(owner.config["depth"], 2)
        self.assertIn("8x8x3", repr(owner))
        self.assertFalse(model(averaged=False).averaged)

    def test_save(self):
        owner = model()
        owner.save(FOLDER / "saved.h5")
        images = make_images(4)
        np.testing.assert_array_equal(
            glow.load(FOLDER / "saved.h5", device="cpu", threads=1).log_prob(images), owner.log_prob(images)
        )

    def test_pickling_and_copying_say_what_to_do(self):
        for call in (pickle.dumps, copy.copy, copy.deepcopy):
            with self.assertRaisesRegex(TypeError, "glow.load"):
                call(model())

    def test_stubs_name_the_extension(self):
        import ast

        from glow import _glow

        stub = Path(glow.__file__).parent / "_glow.pyi"
        for item in ast.parse(stub.read_text()).body:
            if isinstance(item, ast.ClassDef):
                names = {part.name for part in item.body if isinstance(part, ast.FunctionDef)} - {"__init__"}
                found = {
                    name
                    for name in vars(getattr(_glow, item.name))
                    if not name.startswith("_") or name.startswith("__dlpack")
                }
                self.assertEqual(names, found)

    def test_training_options_are_those_of_glow_train(self):
        spec = importlib.util.spec_from_file_location("make_options", SOURCE / "python/make_options.py")
        make_options = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(make_options)
        expected = make_options.source(command("glow_train", "--help"))
        found = (SOURCE / "python/glow/options.py").read_text()
        self.assertEqual(found.splitlines(), expected.splitlines(), f"run: {make_options.__doc__.splitlines()[2]}")
        self.assertGreater(len(glow.TrainingOptions.__annotations__), 60)

    def test_everything_is_documented(self):
        for name in glow.__all__:
            value = getattr(glow, name)
            if not callable(value):
                continue
            self.assertTrue(value.__doc__, name)
            for part, method in vars(value).items() if isinstance(value, type) else ():
                if not part.startswith("_"):
                    self.assertTrue(getattr(method, "__doc__", None), f"{name}.{part}")


if __name__ == "__main__":
    unittest.main()
