"""Images of another size than those the model was trained on, or of another range of values."""

import json
import unittest
import warnings

import numpy as np

import glow
from support import FOLDER, command, make_images, make_run, model


class Sizes(unittest.TestCase):
    def setUp(self):
        self.model = model()
        self.images = make_images(5, 3, 12, 20)

    def test_warns_once(self):
        with self.assertWarnsRegex(UserWarning, "trained on 8x8 images; these are 12x20") as caught:
            self.model.bits_per_dim(self.images)
        self.assertEqual(caught.filename, __file__)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.model.log_prob(self.images)
            self.model.sample(1, size=(8, 12))
            model().sample(1, size=(8, 8))
        with self.assertWarns(UserWarning):
            model().sample(1, size=(8, 12))

    def test_warns_of_values_up_to_one(self):
        unit = make_images(3) / 255
        for x in (unit, unit.astype(np.float32), 2 * unit - 1, unit - 0.5):
            owner = model()
            with self.assertWarnsRegex(UserWarning, "no value .* exceeds 1.*pixel units") as caught:
                owner.bits_per_dim(x)
            self.assertEqual(caught.filename, __file__)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                owner.log_prob(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for x in (make_images(3), make_images(3) + 0.5, make_images(3) - 100.0, np.zeros((2, 8, 8, 3), np.uint8)):
                model().bits_per_dim(x)

    def test_warns_of_invalid_images(self):
        owner = model()
        latents = owner.encode(make_images(3))
        latents[1][2] = np.nan
        with self.assertWarnsRegex(UserWarning, r"images: 1 of 3 not finite \(crossed out\)") as caught:
            owner.decode(latents)
        self.assertEqual(caught.filename, __file__)
        for scale in (1e3, 1e6):
            latents = [scale * level for level in owner.encode(make_images(3))]
            with self.assertWarnsRegex(UserWarning, "images: .* of 3 ") as caught:
                owner.decode(latents)
        with self.assertWarnsRegex(UserWarning, "images: .* of 64 ") as caught:
            owner.sample(64, temperature=100)
        self.assertEqual(caught.filename, __file__)

    def test_equals_command(self):
        glow.save_dataset(FOLDER / "wide.h5", self.images, test=self.images)
        words = ("--checkpoint", make_run(), "--data", FOLDER / "wide.h5", "--device", "cpu", "--json")
        mean = 0.0
        for value in self.model.bits_per_dim(self.images):
            mean += value
        self.assertEqual(mean / 5, json.loads(command("glow_eval", *words))["bpd"])

    def test_every_method(self):
        log_prob, gradient = self.model.log_prob_and_gradient(self.images)
        np.testing.assert_array_equal(log_prob, self.model.log_prob(self.images))
        bits = self.model.bits_per_dim(self.images)
        np.testing.assert_allclose(log_prob, -bits * 12 * 20 * 3 * np.log(2), rtol=1e-12)
        self.assertEqual(gradient.shape, self.images.shape)
        latents = self.model.encode(self.images)
        self.assertEqual([level.shape for level in latents], [(5, 6, 10, 6), (5, 3, 5, 24)])
        np.testing.assert_array_equal(self.model.decode(latents), self.images)
        self.assertEqual(self.model.sample(2, size=(12, 20)).shape, (2, 12, 20, 3))
        # The size of the training images again, and the shape of the model, are as before.
        small = make_images(3)
        np.testing.assert_array_equal(self.model.bits_per_dim(small), model().bits_per_dim(small))
        np.testing.assert_array_equal(self.model.log_prob_and_gradient(small)[0], self.model.log_prob(small))
        self.assertEqual(self.model.shape, (8, 8, 3))
        self.model.bits_per_dim(self.images)
        self.model.save(FOLDER / "sizes.h5")
        self.assertEqual(glow.load(FOLDER / "sizes.h5", device="cpu").shape, (8, 8, 3))

    def test_refusals(self):
        for x in (make_images(2, 0, 10, 8), make_images(2, 0, 8, 6)):
            for call in (self.model.bits_per_dim, self.model.score, self.model.encode):
                with self.assertRaisesRegex(ValueError, "divisible by 4"):
                    call(x)
        for size in ((10, 8), (0, 8), (8, 2**17), 8, (8,), (8, 8, 3), "ab", (8.5, 8)):
            with self.assertRaises(ValueError, msg=repr(size)):
                self.model.sample(1, size=size)
        with self.assertRaisesRegex(ValueError, "level 1"):
            latents = self.model.encode(self.images)
            self.model.decode([latents[0], latents[1][:, :2]])
        self.assertEqual(len(self.model.bits_per_dim(self.images)), 5)


if __name__ == "__main__":
    unittest.main()
