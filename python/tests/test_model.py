"""Likelihoods, gradients, latents and samples: the numbers of the commands."""

import json
import pickle
import sys
import unittest
import warnings

import numpy as np

import glow
from support import (
    DATA,
    FOLDER,
    SOURCE,
    VARIATIONAL,
    command,
    make_conditional_run,
    make_images,
    make_run,
    make_variational_run,
    model,
    needs,
)

ERRORS = (ValueError, RuntimeError)


class Commands(unittest.TestCase):
    """Bit for bit the numbers of the commands."""

    def setUp(self):
        self.model = model()
        self.images = make_images(20, 2)

    def evaluate(self, *options):
        text = command("glow_eval", "--checkpoint", make_run(), "--data", DATA, "--device", "cpu", "--json", *options)
        return json.loads(text)["bpd"]

    def test_bits_per_dim(self):
        for options, keywords in (
            ((), {}),
            (("--seed", "7"), dict(seed=7)),
            (("--iw-samples", "3"), dict(iw_samples=3)),
            (("--dequant-samples", "2", "--iw-samples", "2"), dict(dequant_samples=2, iw_samples=2)),
        ):
            bits = self.model.bits_per_dim(self.images, **keywords)
            mean = 0.0
            for value in bits:  # summed in the command's order
                mean += value
            self.assertEqual(mean / len(bits), self.evaluate(*options), keywords)

    def test_log_prob(self):
        nats = self.model.log_prob(self.images, seed=5)
        np.testing.assert_array_equal(nats, -self.model.bits_per_dim(self.images, seed=5) * (192 * np.log(2)))

    @needs("h5py")
    def test_latents(self):
        import h5py

        command(
            "glow_latent",
            "encode",
            "--checkpoint",
            make_run(),
            "--data",
            DATA,
            "--device",
            "cpu",
            "-o",
            FOLDER / "z.h5",
        )
        with h5py.File(FOLDER / "z.h5") as file:
            for level, latents in enumerate(self.model.encode(self.images)):
                np.testing.assert_array_equal(latents.astype(np.float32), file[f"eps/level{level}"][()])

    @needs("matplotlib")
    def test_samples(self):
        from matplotlib.image import imread

        out = FOLDER / "samples.png"
        options = ("--device", "cpu", "--grid", "2x3", "--temperature", "0.8", "--seed", "4", "-o", out)
        command("glow_sample", "--checkpoint", make_run(), *options)
        picture = np.rint(imread(out) * 255).astype(
            np.uint8
        )  # eight times as large, with lines of two pixels between
        samples = self.model.sample(6, temperature=0.8, seed=4)
        for i, image in enumerate(samples):
            top, left = 2 + 66 * (i // 3), 2 + 66 * (i % 3)
            np.testing.assert_array_equal(picture[top : top + 64 : 8, left : left + 64 : 8], image)

    def test_training(self):
        out = FOLDER / "by_command"
        if not out.exists():
            command(
                "glow_train",
                "--data",
                DATA,
                "--out",
                out,
                "--levels",
                2,
                "--depth",
                2,
                "--width",
                16,
                "--batch",
                16,
                "--max-steps",
                20,
                "--warmup-epochs",
                0,
                "--seed",
                3,
                "--device",
                "cpu",
                "--log-every",
                5,
                "--eval-every",
                0,
                "--sample-every",
                0,
            )
        for column in ("step", "bpd", "grad_norm", "max_condition"):
            np.testing.assert_array_equal(glow.Run(out).metrics[column], glow.Run(make_run()).metrics[column])
        other = glow.load(out, device="cpu", threads=1)
        np.testing.assert_array_equal(other.log_prob(self.images), self.model.log_prob(self.images))

    def test_safetensors(self):
        out = FOLDER / "model.safetensors"
        command("glow_convert", "--to", "safetensors", make_run(), "-o", out)
        np.testing.assert_array_equal(
            glow.load(out, device="cpu", threads=1).log_prob(self.images), self.model.log_prob(self.images)
        )

    def test_passes(self):
        """Noise depends on the image's index, not on the pass that it is in."""
        small = model(batch=7)
        for call in ("bits_per_dim", "log_prob"):
            np.testing.assert_allclose(
                getattr(small, call)(self.images, seed=2), getattr(self.model, call)(self.images, seed=2), rtol=1e-7
            )
        slopes = (owner.log_prob_and_gradient(self.images)[1] for owner in (small, self.model))
        np.testing.assert_allclose(*slopes, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(small.sample(20), self.model.sample(20))
        np.testing.assert_array_equal(small.decode(small.encode(self.images)), self.images)


    def test_parts_of_a_data_set(self):
        """With the index of its first image, a part has the noise of the whole."""
        x, owner = self.images, self.model
        log_prob_of_gradient = lambda *a, **k: owner.log_prob_and_gradient(*a, **k)[0]
        for call in (owner.bits_per_dim, owner.log_prob, owner.log_density_map, log_prob_of_gradient):
            parts = [call(x[i : i + 8], seed=3, first=i) for i in range(0, 20, 8)]
            np.testing.assert_allclose(np.concatenate(parts), call(x, seed=3), rtol=1e-6)
        draws = dict(iw_samples=2, dequant_samples=2)
        last = owner.bits_per_dim(x[13:], first=13, **draws)
        np.testing.assert_allclose(last, owner.bits_per_dim(x, **draws)[13:], rtol=1e-6)
        for first in (-1, 2**40, 0.5, "a"):
            with self.assertRaises(ValueError):
                owner.log_prob(x, first=first)
        bad = x.astype(np.float64)
        bad[2] = np.nan
        with self.assertRaisesRegex(ValueError, "image 102 "):
            owner.log_prob(bad, first=100)

    def test_fewer_bits(self):
        path = SOURCE / "tests/reference/golden/five_bit.h5"
        if not path.exists():
            self.skipTest("needs the checkout")
        owner = glow.load(path, device="cpu", threads=1)
        x = make_images(3, 0, *owner.shape[:2])[..., : owner.shape[2]]
        restored = owner.decode(owner.encode(x))
        np.testing.assert_array_equal(restored // 8, x // 8)
        np.testing.assert_array_equal(owner.decode(owner.encode(restored)), restored)


class Gradient(unittest.TestCase):
    def test_is_slope_of_log_prob(self):
        x = make_images(3, 4) + 0.5
        owner = model()
        log_prob, gradient = owner.log_prob_and_gradient(x)
        np.testing.assert_array_equal(log_prob, owner.log_prob(x))
        rng = np.random.default_rng(0)
        for _ in range(3):
            direction = rng.normal(size=x.shape)
            step = 0.02
            slope = (owner.log_prob(x + step * direction) - owner.log_prob(x - step * direction)) / (2 * step)
            claimed = (gradient * direction).sum((1, 2, 3))
            scale = np.abs(gradient * direction).sum((1, 2, 3)) / np.sqrt(192)
            self.assertLess(np.max(np.abs(slope - claimed) / scale), 0.02)  # float networks
            self.assertGreater(np.max(np.abs(slope - 1.2 * claimed) / scale), 0.02)

    @needs("h5py")
    def test_matches_pytorch_reference(self):
        """The golden files hold gradients by autograd of an independent model in double."""
        import h5py

        for name in ("affine", "additive", "invconv_lu", "five_bit", "one_channel", "conditional", "bounded_scale"):
            path = SOURCE / f"tests/reference/golden/{name}.h5"
            if not path.exists():
                self.skipTest("needs the checkout")
            owner = glow.load(path, device="cpu", averaged=False, threads=1)
            with h5py.File(path) as file:
                expected, images = file["golden/input_gradient"][()], file["golden/images"][()]
                bpd = file["golden/bpd"][()]
                labels = file["golden/labels"][()] if "labels" in file["golden"] else None
            width = 2.0 ** (8 - owner.config["n_bits"])
            x = (np.floor(images / width) + 0.5) * width
            log_prob, gradient = owner.log_prob_and_gradient(x, labels)
            np.testing.assert_allclose(owner.bits_per_dim(x, labels), bpd, atol=1e-6)
            self.assertLess(np.linalg.norm(gradient - expected), 1e-5 * np.linalg.norm(expected), name)

    @needs("torch")
    def test_latents_in_pytorch(self):
        """The slope of a function of the latents, of pixels and numbers, in passes and at another size."""
        import torch

        for owner, labels, size in (
            (model(batch=2), None, (8, 8)),
            (glow.load(make_conditional_run(), device="cpu", threads=1), [2, 0, 1], (8, 12)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the size
                x = torch.from_numpy(make_images(3, 4, *size) + 0.5).requires_grad_(True)
                latents = owner.encode(x, labels)
            for level, expected in zip(latents, owner.encode(x.detach().numpy(), labels)):
                np.testing.assert_array_equal(level.detach().numpy(), expected)
            torch.manual_seed(0)
            weights = [torch.randn_like(level) for level in latents]
            sum((w * torch.tanh(level)).sum() for w, level in zip(weights, latents)).backward()
            self.assertEqual((x.grad.dtype, x.grad.shape), (torch.float64, x.shape))

            def value(x):
                return sum((w * torch.tanh(level)).sum() for w, level in zip(weights, owner.encode(x.detach(), labels)))

            for _ in range(3):
                direction, step = torch.randn_like(x), 0.01
                slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
                claimed = (x.grad * direction).sum()
                scale = x.grad.norm()
                self.assertLess(abs(slope - claimed), 0.02 * scale)  # float networks

    @needs("torch")
    def test_latents_in_pytorch_refuse_what_they_cannot_differentiate(self):
        import torch

        x = torch.from_numpy(make_images(2) + 0.5).requires_grad_(True)
        (slope,) = torch.autograd.grad(model().encode(x)[1].sum(), x, create_graph=True)  # one level of two
        with self.assertRaisesRegex(RuntimeError, "differentiated twice"):
            torch.autograd.grad(slope.sum(), x)
        y = x * 1
        loss = model().encode(y)[0].sum()
        y += 1
        with self.assertRaisesRegex(RuntimeError, "inplace"):
            loss.backward()

    @needs("torch")
    def test_labels_may_change_before_latents_are_differentiated(self):
        import torch

        owner = glow.load(make_conditional_run(), device="cpu", threads=1)
        slopes = []
        for change in (False, True):
            x = torch.from_numpy(make_images(3) + 0.5).requires_grad_(True)
            labels = np.array([0, 1, 2], np.int32)
            latents = owner.encode(x, labels)
            if change:
                labels[:] = [2, 0, 99]
            (latents[-1] ** 2).sum().backward()
            slopes.append(x.grad)
        self.assertTrue(torch.equal(*slopes))

    @needs("h5py")
    @needs("torch")
    def test_latents_match_pytorch_reference(self):
        """Autograd of an independent model in double."""
        import h5py
        import torch

        sys.path.insert(0, str(SOURCE / "tests/reference"))
        try:
            from glow_files import read_config, read_tree
            from glow_reference import Glow
        finally:
            sys.path.pop(0)
        for name in ("affine", "additive", "conditional"):
            path = SOURCE / f"tests/reference/golden/{name}.h5"
            owner = glow.load(path, device="cpu", averaged=False, threads=1)
            with h5py.File(path) as file:
                images = file["golden/images"][()]
                labels = file["golden/labels"][()] if "labels" in file["golden"] else None
            x, y = (torch.from_numpy(images + 0.5).requires_grad_(True) for _ in range(2))
            sum((level**3).sum() for level in owner.encode(x, labels)).backward()
            reference = Glow(read_config(path), read_tree(path, "params"))
            expected, *_ = reference.encode(y / 256 - 0.5, None if labels is None else torch.from_numpy(labels))
            sum((level**3).sum() for level in expected).backward()
            self.assertLess((x.grad - y.grad).norm(), 1e-5 * y.grad.norm(), name)

    def test_score_is_another_name(self):
        x = make_images(2)
        for found, expected in zip(model().score(x, seed=3), model().log_prob_and_gradient(x, seed=3)):
            np.testing.assert_array_equal(found, expected)

    def test_pixels_have_noise_of_log_prob(self):
        images = make_images(3, 4)
        log_prob, gradient = model().log_prob_and_gradient(images, seed=9)
        np.testing.assert_array_equal(log_prob, model().log_prob(images, seed=9))


class SampleDensity(unittest.TestCase):
    def test_is_that_of_a_point_in_the_bins_of_the_pixels(self):
        for owner, labels in ((model(), None), (glow.load(make_conditional_run(), device="cpu", threads=1), 2)):
            samples, log_prob = owner.sample(70, temperature=0.5, seed=3, labels=labels, with_log_prob=True)
            np.testing.assert_array_equal(samples, owner.sample(70, temperature=0.5, seed=3, labels=labels))
            self.assertEqual((log_prob.dtype, log_prob.shape), (np.float64, (70,)))
            centers, gradient = owner.log_prob_and_gradient(samples + 0.5, labels)
            # The point is at most half a gray level from the center, where log_prob has this slope.
            farthest = 0.5 * np.abs(gradient).sum((1, 2, 3))
            self.assertTrue((np.abs(log_prob - centers) < farthest).all())
            self.assertLess(np.abs(log_prob - centers).mean(), 0.1 * farthest.mean())
            self.assertGreater(np.corrcoef(log_prob, centers)[0, 1], 0.99)

    def test_no_images(self):
        samples, log_prob = model().sample(0, with_log_prob=True)
        self.assertEqual((len(samples), log_prob.tolist()), (0, []))

    @needs("torch")
    def test_result_has_the_kind_of_like(self):
        import torch

        samples, log_prob = model().sample(2, like=torch.zeros(1), with_log_prob=True)
        self.assertEqual((samples.dtype, log_prob.dtype), (torch.uint8, torch.float64))


class Maps(unittest.TestCase):
    def test_equal_command(self):
        out = FOLDER / "maps.npy"
        command(
            "glow_eval", "--checkpoint", make_run(), "--data", DATA, "--device", "cpu", "--map", out, "--seed", "4"
        )
        maps = model().log_density_map(make_images(20, 2), seed=4)
        self.assertEqual((maps.shape, maps.dtype), ((20, 2, 2), np.float64))
        np.testing.assert_array_equal(maps, np.load(out))

    def test_sum_to_log_prob(self):
        owner = model()
        for x in (make_images(3), make_images(3) + 0.5, make_images(3, 0, 12, 20)):
            maps = owner.log_density_map(x, seed=9)
            np.testing.assert_allclose(maps.sum((1, 2)), owner.log_prob(x, seed=9), rtol=1e-10)
        with self.assertRaisesRegex(ValueError, "image 1"):
            owner.log_density_map(np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), np.nan)]))


class VariationalNoise(unittest.TestCase):
    """Of a model trained with it: pixels get its own noise."""

    def test_equal_command_and_maps_add_up(self):
        owner, x = glow.load(make_variational_run(), device="cpu", threads=1), make_images(20, 2)
        out = FOLDER / "variational.npy"
        words = ["--checkpoint", VARIATIONAL, "--data", DATA, "--device", "cpu", "--seed", "4", "--json", "--map", out]
        result = json.loads(command("glow_eval", *words))
        self.assertEqual(result["dequant"], "variational")
        bits = owner.bits_per_dim(x, seed=4)
        mean = 0.0
        for value in bits:  # summed in the command's order; sum() of Python 3.12 compensates
            mean += value
        self.assertEqual(mean / len(bits), result["bpd"])
        maps = owner.log_density_map(x, seed=4)
        np.testing.assert_array_equal(maps, np.load(out))
        np.testing.assert_allclose(maps.sum((1, 2)), owner.log_prob(x, seed=4), rtol=1e-10)
        log_prob, gradient = owner.log_prob_and_gradient(x, seed=4)
        np.testing.assert_allclose(log_prob, owner.log_prob(x, seed=4), rtol=1e-12)
        self.assertTrue(np.isfinite(gradient).all())

    def test_other_size(self):
        owner = glow.load(make_variational_run(), device="cpu", threads=1)
        with self.assertWarns(UserWarning):
            maps = owner.log_density_map(make_images(3, 0, 12, 20))
        np.testing.assert_allclose(maps.sum((1, 2)), owner.log_prob(make_images(3, 0, 12, 20)), rtol=1e-10)


class Labels(unittest.TestCase):
    def test_conditional(self):
        owner = glow.load(make_conditional_run(), device="cpu", threads=1)
        images, labels = make_images(5, 2), np.array([0, 1, 2, 0, 1])
        bits = owner.bits_per_dim(images, labels)
        np.testing.assert_array_equal(owner.bits_per_dim(images, labels.astype(np.uint8)), bits)
        np.testing.assert_array_equal(owner.decode(owner.encode(images, labels), labels), images)
        # A slice of an unpickled array: its type is equal to int32, but another object.
        pickled = pickle.loads(pickle.dumps(np.repeat(labels, 2).astype(np.int32)))[::2]
        np.testing.assert_array_equal(owner.bits_per_dim(images, pickled), bits)
        self.assertEqual(owner.sample(4, labels=2).shape, (4, 8, 8, 3))
        owner.log_prob_and_gradient(images, labels)
        for bad in (None, [0], [0, 1, 2, 0, 3], [0, 1, 2, 0, -1], [0.5] * 5, "abc", [[0] * 5], [2**40] * 5, object()):
            with self.assertRaises(ERRORS, msg=repr(bad)):
                owner.log_prob(images, bad)
        with self.assertRaises(ValueError):
            model().log_prob(images, labels)


if __name__ == "__main__":
    unittest.main()
