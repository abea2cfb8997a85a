"""Likelihoods, gradients, latents and samples: the numbers of the commands, in the caller's arrays."""

import gc
import json
import subprocess
import sys
import threading
import time
import unittest
import warnings
from pathlib import Path

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
        whole = out.read_bytes()
        damaged = FOLDER / "damaged.safetensors"
        rng = np.random.default_rng(1)
        for size in [0, 4, 8, 100, len(whole) // 2, len(whole) - 1]:
            damaged.write_bytes(whole[:size])
            with self.assertRaises(ERRORS):
                glow.load(damaged, device="cpu", threads=1)
        for _ in range(60):  # changed bytes of the header: refused, or harmless
            changed = bytearray(whole)
            for place in rng.integers(0, 4000, 3):
                changed[place] = rng.integers(0, 256)
            damaged.write_bytes(changed)
            try:
                glow.load(damaged, device="cpu", threads=1)
            except ERRORS:
                pass

    def test_passes(self):
        """Noise depends on the image's index, not on the pass that it is in."""
        small = model(batch=7)
        for call in ("bits_per_dim", "log_prob"):
            np.testing.assert_allclose(
                getattr(small, call)(self.images, seed=2), getattr(self.model, call)(self.images, seed=2), rtol=1e-7
            )
        np.testing.assert_allclose(
            small.score(self.images)[1], self.model.score(self.images)[1], rtol=1e-3, atol=1e-5
        )
        np.testing.assert_array_equal(small.sample(20), self.model.sample(20))
        np.testing.assert_array_equal(small.decode(small.encode(self.images)), self.images)


class Arrays(unittest.TestCase):
    """Any layout, type and kind gives the same numbers."""

    def setUp(self):
        self.model = model()
        self.images = make_images(6, 2)
        self.bits = self.model.bits_per_dim(self.images)

    def test_layouts(self):
        wide = np.zeros((12, 8, 16, 3), np.uint8)
        wide[::2, :, ::2] = self.images
        locked = self.images.copy()
        locked.flags.writeable = False
        layouts = dict(
            strided=wide[::2, :, ::2],
            reversed=self.images[::-1].copy()[::-1],
            read_only=locked,
            fortran=np.asfortranarray(self.images),
            channels_first=np.ascontiguousarray(self.images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
        )
        for name, x in layouts.items():
            np.testing.assert_array_equal(self.model.bits_per_dim(x), self.bits, name)
            np.testing.assert_array_equal(self.model.decode(self.model.encode(x)), self.images, name)

    def test_types(self):
        x = self.images + 0.5
        expected = self.model.log_prob(x)
        for kind in ("f2", "f4", "f8", ">f4", ">f8", "longdouble"):
            np.testing.assert_array_equal(self.model.log_prob(x.astype(kind)), expected, kind)
        # The pixel p stands for [p, p + 1).
        self.assertTrue(np.all(np.abs(expected - self.model.log_prob(self.images)) < 60))

    def test_no_copy(self):
        from glow.arrays import images

        for kind in (np.uint8, np.float32, np.float64):
            x = self.images.astype(kind)
            self.assertTrue(np.shares_memory(images(x, False), x))

    def test_empty(self):
        empty = self.images[:0]
        self.assertEqual(self.model.log_prob(empty).shape, (0,))
        self.assertEqual(self.model.score(empty)[1].shape, (0, 8, 8, 3))
        self.assertEqual(self.model.decode(self.model.encode(empty)).shape, (0, 8, 8, 3))
        self.assertEqual(self.model.sample(0).shape, (0, 8, 8, 3))

    @needs("torch")
    def test_torch(self):
        import torch

        from glow.arrays import images

        x = torch.from_numpy(self.images)
        self.assertEqual(images(x, False).ctypes.data, x.data_ptr())
        bits = self.model.bits_per_dim(x)
        self.assertIsInstance(bits, torch.Tensor)
        np.testing.assert_array_equal(bits.numpy(), self.bits)
        value = x.float().requires_grad_(True) * 1.0
        log_prob, gradient = self.model.score(value)
        self.assertEqual((log_prob.dtype, gradient.dtype), (torch.float64, torch.float32))
        self.model.log_prob(value.to(torch.bfloat16))
        latents = self.model.encode(x)
        self.assertTrue(all(isinstance(level, torch.Tensor) for level in latents))
        self.assertTrue(torch.equal(self.model.decode(latents), x))
        self.assertTrue(
            torch.equal(
                self.model.decode([level.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for level in latents]),
                x,
            )
        )
        self.assertIsInstance(self.model.sample(2, like=x), torch.Tensor)

    @needs("torch")
    def test_autograd(self):
        """The gradient as a PyTorch function, as docs/python.md shows it."""
        import torch

        owner = self.model

        class LogProb(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                log_prob, gradient = owner.score(x)
                ctx.save_for_backward(gradient)
                return log_prob

            @staticmethod
            def backward(ctx, upstream):
                (gradient,) = ctx.saved_tensors
                return upstream.view(-1, 1, 1, 1) * gradient

        x = torch.from_numpy(self.images + 0.5).requires_grad_(True)
        LogProb.apply(x).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), self.model.score(self.images + 0.5)[1], rtol=1e-6)

    @needs("jax")
    def test_jax(self):
        import jax
        import jax.numpy as jnp

        x = jnp.asarray(self.images)
        bits = self.model.bits_per_dim(x)
        self.assertIsInstance(bits, jax.Array)
        np.testing.assert_allclose(
            np.asarray(bits), self.bits, rtol=1e-6
        )  # JAX has float32 alone unless told otherwise
        log_prob, gradient = self.model.score(x.astype(jnp.float32))
        self.assertIsInstance(gradient, jax.Array)
        self.assertTrue(bool((self.model.decode(self.model.encode(x)) == x).all()))


class Gradient(unittest.TestCase):
    def test_is_slope_of_log_prob(self):
        x = make_images(3, 4) + 0.5
        owner = model()
        log_prob, gradient = owner.score(x)
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
            log_prob, gradient = owner.score(x, labels)
            np.testing.assert_allclose(owner.bits_per_dim(x, labels), bpd, atol=1e-6)
            self.assertLess(np.linalg.norm(gradient - expected), 1e-5 * np.linalg.norm(expected), name)

    def test_pixels_have_noise_of_log_prob(self):
        images = make_images(3, 4)
        log_prob, gradient = model().score(images, seed=9)
        np.testing.assert_array_equal(log_prob, model().log_prob(images, seed=9))


class Sizes(unittest.TestCase):
    """Images of another size than those the model was trained on."""

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

    def test_equals_command(self):
        glow.save_dataset(FOLDER / "wide.h5", self.images, test=self.images)
        words = ("--checkpoint", make_run(), "--data", FOLDER / "wide.h5", "--device", "cpu", "--json")
        mean = 0.0
        for value in self.model.bits_per_dim(self.images):
            mean += value
        self.assertEqual(mean / 5, json.loads(command("glow_eval", *words))["bpd"])

    def test_every_method(self):
        log_prob, gradient = self.model.score(self.images)
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
        np.testing.assert_array_equal(self.model.score(small)[0], self.model.log_prob(small))
        self.assertEqual(self.model.shape, (8, 8, 3))
        self.model.bits_per_dim(self.images)
        self.model.save(FOLDER / "saved.h5")
        self.assertEqual(glow.load(FOLDER / "saved.h5", device="cpu").shape, (8, 8, 3))

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
        log_prob, gradient = owner.score(x, seed=4)
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
        self.assertEqual(owner.sample(4, labels=2).shape, (4, 8, 8, 3))
        owner.score(images, labels)
        for bad in (None, [0], [0, 1, 2, 0, 3], [0, 1, 2, 0, -1], [0.5] * 5, "abc", [[0] * 5], [2**40] * 5, object()):
            with self.assertRaises(ERRORS, msg=repr(bad)):
                owner.log_prob(images, bad)
        with self.assertRaises(ValueError):
            model().log_prob(images, labels)


class Refusals(unittest.TestCase):
    """Every bad argument is an error, never a crash."""

    def test_images(self):
        owner = model()
        good = make_images(2)
        bad = [
            None,
            3,
            "abc",
            b"abc",
            [],
            [[1, 2], [3]],
            object(),
            good[0],
            good[..., :2],
            good[None],
            good.astype(int),
            good.astype(bool),
            good.astype(complex),
            good.astype(object),
            good.astype("U3"),
            np.float32(3),
            np.zeros((2, 8, 8)),
            np.zeros((0,)),
            np.zeros((2, 0, 8, 3), np.uint8),
            {"x": good},
            iter([good]),
        ]
        for x in bad:
            for call in (owner.log_prob, owner.bits_per_dim, owner.score, owner.encode):
                with self.assertRaises(ERRORS, msg=f"{type(x)} {x!r:.60}"):
                    call(x)
        for value in (np.nan, np.inf, -np.inf, 1e300, -1e38):
            x = good.astype(np.float64)
            x[1, 2, 3, 0] = value
            for call in (owner.log_prob, owner.score):
                with self.assertRaisesRegex(ERRORS, "image 1", msg=str(value)):
                    call(x)
            owner.encode(x)  # has no numbers to refuse

    def test_latents(self):
        owner = model()
        good = owner.encode(make_images(2))
        bad = [
            None,
            3,
            [],
            good[:1],
            good + good[:1],
            [good[0], good[1][:1]],
            [good[1], good[0]],
            [good[0][0], good[1][0]],
            ["a", "b"],
            [level.astype(complex) for level in good],
            [None, None],
            np.zeros((2, 0)),
            [good[0].astype(object), good[1]],
        ]
        for latents in bad:
            with self.assertRaises(ERRORS, msg=repr(latents)[:60]):
                owner.decode(latents)
        crossed = owner.decode([np.full_like(level, np.nan) for level in good])
        self.assertEqual(crossed.shape, (2, 8, 8, 3))

    def test_samples(self):
        owner = model()
        for n in (-1, 1.5, "3", None, [1], 2**63, 2**200):
            with self.assertRaises(ERRORS, msg=repr(n)):
                owner.sample(n)
        for n in (2**50, 2**62):
            with self.assertRaises(MemoryError):
                owner.sample(n)
        for temperature in (-1, np.nan, np.inf, 1e9, "a", None):
            with self.assertRaises(ERRORS, msg=repr(temperature)):
                owner.sample(1, temperature=temperature)
        for seed in (-1, 2**64, 0.5, "a"):
            with self.assertRaises(ERRORS):
                owner.sample(1, seed=seed)
        owner.sample(1, seed=2**64 - 1)
        for draws in (0, -1, 2**21, 2**63, 1.5):
            with self.assertRaises(ERRORS):
                owner.bits_per_dim(make_images(1), iw_samples=draws)
        with self.assertRaises(ERRORS):
            owner.bits_per_dim(make_images(1) + 0.5, iw_samples=2)

    def test_files(self):
        text = FOLDER / "text.h5"
        text.write_text("no model")
        for path in ("", "/nonexistent", FOLDER, text, "a\0b", b"\xff", None, 3, "/dev/null", DATA):
            with self.assertRaises(ERRORS, msg=repr(path)):
                glow.load(path, device="cpu")
        run = make_run()
        for options in (
            dict(device="tpu"),
            dict(precision="fp8"),
            dict(precision="tf32"),
            dict(batch=0),
            dict(batch=2**40),
            dict(threads=-1),
            dict(batch="a"),
        ):
            with self.assertRaises(ERRORS, msg=repr(options)):
                glow.load(run, **{"device": "cpu", **options})
        with self.assertRaises(ERRORS):
            model().save("/nonexistent/model.h5")

    def test_damaged_checkpoint(self):
        whole = (make_run() / "latest.h5").read_bytes()
        damaged = FOLDER / "damaged.h5"
        rng = np.random.default_rng(2)
        for _ in range(12):
            changed = bytearray(whole)
            for place in rng.integers(0, 6000, 6):
                changed[place] = rng.integers(0, 256)
            damaged.write_bytes(changed)
            try:
                glow.load(damaged, device="cpu", threads=1)
            except ERRORS:
                pass

    def test_datasets(self):
        images = make_images(4)
        bad = [
            dict(train=images[:0]),
            dict(train=images.astype(int)),
            dict(train=images[0]),
            dict(train="a"),
            dict(train=np.zeros((2, 8, 8, 5), np.uint8)),
            dict(train=images, valid=images[:, :4]),
            dict(train=images, train_labels=[0]),
            dict(train=images, train_labels=[0, 1, 2, -1]),
            dict(train=images, valid=images, train_labels=[0] * 4),
            dict(train=None),
        ]
        for arguments in bad:
            with self.assertRaises(ERRORS, msg=repr(list(arguments))):
                glow.save_dataset(FOLDER / "bad.h5", **arguments)
        self.assertFalse((FOLDER / "bad.h5").exists())

    @unittest.skipIf(glow._extension.cuda_problem() == "", "this machine has a GPU")
    def test_no_gpu(self):
        with self.assertRaisesRegex(ERRORS, "--device cuda"):
            model().to("cuda")
        with self.assertRaises(ERRORS):
            model().to("tpu")
        owner = model()
        self.assertIs(owner.to("cpu"), owner)
        self.assertEqual(owner.device, "cpu")


@unittest.skipUnless(glow._extension.cuda_problem() == "", "needs a GPU")
class Gpu(unittest.TestCase):
    @needs("torch")
    def test_cuda_arrays(self):
        import torch

        images = make_images(6, 2)
        owner = model()
        expected, slopes = owner.score(images + 0.5)
        latents = owner.encode(images)
        owner.to("cuda")
        x = torch.from_numpy(images + 0.5).cuda()
        log_prob, gradient = owner.score(x)
        self.assertEqual((log_prob.device, gradient.device), (x.device, x.device))
        np.testing.assert_allclose(log_prob.cpu(), expected, rtol=1e-4)
        np.testing.assert_allclose(gradient.cpu(), slopes, atol=1e-3 * np.abs(slopes).max())
        pixels = torch.from_numpy(images).cuda()
        self.assertTrue(torch.equal(owner.decode(owner.encode(pixels)), pixels))
        np.testing.assert_allclose(owner.encode(images)[0], latents[0], atol=1e-2)
        for layout in (pixels.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), pixels):
            np.testing.assert_array_equal(owner.bits_per_dim(layout).cpu(), owner.bits_per_dim(images))
        with self.assertRaises(ERRORS):
            owner.log_prob(x[:, :4])


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

    def test_one_model_in_many_threads(self):
        owner = model()
        images = make_images(12)
        expected = owner.log_prob(images)
        wrong = []

        def work():
            for _ in range(5):
                if (
                    not np.array_equal(owner.log_prob(images), expected)
                    or owner.score(images)[1].shape != images.shape
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
        gradient = owner.score(make_images(2))[1]
        copy = gradient.copy()
        del owner
        gc.collect()
        np.testing.assert_array_equal(gradient, copy)


class Interface(unittest.TestCase):
    def test_description(self):
        owner = model()
        self.assertEqual((owner.shape, owner.dimensions, owner.step, owner.averaged), ((8, 8, 3), 192, 20, True))
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
