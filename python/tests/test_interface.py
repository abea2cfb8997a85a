"""What the package offers: descriptions, stubs, documentation."""

import copy
import importlib.util
import json
import pickle
import unittest
from pathlib import Path

import numpy as np

import glow
from support import FOLDER, SOURCE, command, make_images, make_run, make_variational_run, model


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

    def test_weights(self):
        for owner in (model(), glow.load(make_variational_run(), device="cpu", threads=1)):
            weights = owner.weights()
            self.assertEqual(weights["level1/step0/actnorm/bias"].shape, (24,))
            copy = glow.from_weights(weights, owner.config, device="cpu", threads=1)
            images = make_images(4)
            np.testing.assert_array_equal(copy.log_prob(images), owner.log_prob(images))
            self.assertEqual(list(copy.weights()), list(weights))
            for name, value in copy.weights().items():
                np.testing.assert_array_equal(value, weights[name])
        weights["level1/step0/actnorm/bias"] += 1  # a copy
        np.testing.assert_array_equal(copy.log_prob(images), owner.log_prob(images))
        self.assertFalse((glow.from_weights(weights, owner.config, device="cpu").log_prob(images) == copy.log_prob(images)).all())

    def test_weights_are_the_tensors_of_safetensors(self):
        for run in (make_run(), SOURCE / "tests/reference/golden/invconv_lu.h5", SOURCE / "tests/reference/golden/shuffle.h5"):
            file = FOLDER / "exported.safetensors"
            command("glow_convert", run, "--to", "safetensors", "-o", file, "--force")
            data = file.read_bytes()
            length = int.from_bytes(data[:8], "little")
            tensors = json.loads(data[8 : 8 + length])
            del tensors["__metadata__"]
            weights = glow.load(file, device="cpu").weights()
            self.assertEqual(set(weights), set(tensors))
            for name, value in weights.items():
                begin, end = tensors[name]["data_offsets"]
                self.assertEqual(value.tobytes(), data[8 + length :][begin:end], name)
                self.assertEqual(value.dtype, {"F32": np.float32, "I32": np.int32}[tensors[name]["dtype"]])

    def test_wrong_weights_are_refused(self):
        weights, config = model().weights(), model().config
        bias = weights["level1/step0/actnorm/bias"]
        cases = (
            ({}, "tensors"),
            ({**weights, "more": bias}, "tensors, expected"),
            ({**weights, "__metadata__": bias}, "__metadata__ is not the name of a tensor"),
            ({**weights, "level1/step0/actnorm/bias": bias[:3]}, "level1/step0/actnorm/bias is .*expected"),
            ({**weights, "level1/step0/actnorm/bias": bias.astype(int)}, "I32.*expected"),
            ({**weights, "level1/step0/actnorm/bias": bias * np.nan}, "^weights.*level1/step0/actnorm/bias"),
            ({**weights, "level1/step0/actnorm/bias": bias.astype(complex)}, "numbers"),
            ({**weights, "level1/step0/actnorm/bias": None}, "level1/step0/actnorm/bias"),
            ({name: weights[name] for name in list(weights)[1:]}, "missing|expected"),
            (None, "dicts"),
        )
        for wrong, words in cases:
            with self.assertRaisesRegex(ValueError, words):
                glow.from_weights(wrong, config, device="cpu")
        for wrong, words in (({**config, "depth": 9}, "missing|tensors"), ({}, ""), ({"depth": object()}, "config"), (3, "dicts")):
            with self.assertRaisesRegex(ValueError, words):
                glow.from_weights(weights, wrong, device="cpu")

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
        text = command("glow_train", "--help")
        spec = importlib.util.spec_from_file_location("make_options", SOURCE / "python/make_options.py")
        make_options = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(make_options)
        expected = make_options.source(text)
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
