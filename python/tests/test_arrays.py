"""Arrays of every layout, type and kind, also on a GPU."""

import unittest

import numpy as np

import glow
from support import FOLDER, make_conditional_run, make_images, model, needs

ERRORS = (ValueError, RuntimeError)


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

    @unittest.skipUnless(hasattr(np, "from_dlpack"), "NumPy before 1.22")
    def test_dlpack_alone(self):
        class Exporter:
            """An array of a library that NumPy does not know."""

            def __init__(self, array):
                self.array = array

            def __dlpack__(self, **options):
                return self.array.__dlpack__(**options)

            def __dlpack_device__(self):
                return self.array.__dlpack_device__()

        for x in (self.images, self.images + 0.5):
            np.testing.assert_array_equal(self.model.log_prob(Exporter(x)), self.model.log_prob(x))
        strided = Exporter(np.asfortranarray(self.images))
        np.testing.assert_array_equal(self.model.bits_per_dim(strided), self.bits)

    def test_empty(self):
        empty = self.images[:0]
        self.assertEqual(self.model.log_prob(empty).shape, (0,))
        self.assertEqual(self.model.log_prob_and_gradient(empty)[1].shape, (0, 8, 8, 3))
        self.assertEqual(self.model.decode(self.model.encode(empty)).shape, (0, 8, 8, 3))
        conditional = glow.load(make_conditional_run(), device="cpu", threads=1)
        for labels in ([], (), np.zeros(0, np.int32), None):
            self.assertEqual(conditional.log_prob(empty, labels).shape, (0,))
            self.assertEqual(conditional.sample(0, labels=labels).shape, (0, 8, 8, 3))
        for labels in (np.zeros(0), [[]]):
            with self.assertRaises(ValueError):
                conditional.log_prob(empty, labels)
        self.assertEqual(self.model.sample(0).shape, (0, 8, 8, 3))

    def test_lists(self):
        np.testing.assert_array_equal(self.model.bits_per_dim(list(self.images)), self.bits)
        with self.assertRaises(ValueError):
            self.model.bits_per_dim([self.images[0], self.images[1][:4]])
        with self.assertRaisesRegex(ValueError, "x: a list must hold either pixels .* got float64 and uint8"):
            self.model.bits_per_dim([self.images[0], self.images[1] + 0.5])
        numbers = [self.images[0] + 0.5, (self.images[1] + 0.5).astype(np.float32)]
        np.testing.assert_array_equal(self.model.log_prob(numbers), self.model.log_prob(self.images[:2] + 0.5))

    def test_masked_arrays(self):
        """NumPy itself would use the values under the mask."""
        masked = np.ma.masked_greater(self.images, 100)
        latents = [np.ma.masked_greater(level, 1) for level in self.model.encode(self.images)]
        for call in (
            lambda: self.model.log_prob(masked),
            lambda: self.model.encode(list(masked)),
            lambda: self.model.decode(latents),
            lambda: self.model.log_prob(self.images, np.ma.array([0] * 6, mask=[0, 1, 0, 0, 0, 0])),
            lambda: glow.save_dataset(FOLDER / "masked.h5", masked),
        ):
            with self.assertRaisesRegex(ValueError, "masked"):
                call()
        np.testing.assert_array_equal(self.model.bits_per_dim(np.ma.array(self.images)), self.bits)

    def test_unaligned(self):
        from glow.arrays import images

        for kind in ("f4", "f8"):
            x = (self.images + 0.5).astype(kind)
            view = np.frombuffer(b"\0" + x.tobytes(), kind, offset=1).reshape(x.shape)
            self.assertTrue(images(view, False).flags.aligned)
            np.testing.assert_array_equal(self.model.log_prob(view), self.model.log_prob(x))
        latents = [
            np.frombuffer(b"\0" + level.tobytes(), offset=1).reshape(level.shape)
            for level in self.model.encode(self.images)
        ]
        np.testing.assert_array_equal(self.model.decode(latents), self.images)

    @needs("torch")
    def test_lists_of_tensors(self):
        import torch

        tensors = list(torch.from_numpy(self.images))
        np.testing.assert_array_equal(self.model.bits_per_dim(tensors), self.bits)
        self.assertEqual(self.model.to(torch.device("cpu")).device, "cpu")

    @needs("PIL")
    def test_lists_of_pictures(self):
        from PIL import Image

        pictures = [Image.fromarray(image) for image in self.images]
        np.testing.assert_array_equal(self.model.bits_per_dim(pictures), self.bits)

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
        log_prob, gradient = self.model.log_prob_and_gradient(value)
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

        class Pictures(torch.Tensor):  # defined outside torch, as those of torchvision
            pass

        for kind in (x.as_subclass(Pictures), torch.nn.Parameter(x, requires_grad=False)):
            again = self.model.bits_per_dim(kind)
            self.assertIs(type(again), torch.Tensor)
            self.assertTrue(torch.equal(again, bits))

    @needs("torch")
    def test_sparse_tensors(self):
        import torch

        x = torch.from_numpy(self.images + 0.5).to_sparse()
        for tensor in (x, x.clone().requires_grad_(True)):
            with self.assertRaisesRegex(ValueError, "x must be a dense tensor, got torch.sparse_coo"):
                self.model.log_prob(tensor)

    @needs("torch")
    def test_autograd(self):
        """PyTorch differentiates likelihoods of numbers, once."""
        import torch

        expected = self.model.log_prob_and_gradient(self.images + 0.5)[1]
        weights = torch.linspace(1, 2, 6, dtype=torch.float64)
        for kind in (torch.float64, torch.float32, torch.float16):
            for call, scale in ((self.model.log_prob, 1), (self.model.bits_per_dim, -1 / (192 * np.log(2)))):
                x = torch.from_numpy(self.images + 0.5).to(kind).requires_grad_(True)
                value = call(2 * x - x)
                self.assertTrue(value.requires_grad)
                (weights * value).sum().backward()
                self.assertEqual(x.grad.dtype, kind)
                slopes = scale * weights.numpy().reshape(-1, 1, 1, 1) * expected
                bound = 1e-6 if kind != torch.float16 else 1e-2
                np.testing.assert_allclose(x.grad.numpy(), slopes, rtol=bound, atol=bound * np.abs(slopes).max())
                with torch.no_grad():
                    plain = call(x)
                self.assertFalse(plain.requires_grad)
                np.testing.assert_allclose(value.detach().numpy(), plain.numpy(), rtol=1e-14)
                self.assertFalse(call(x.detach()).requires_grad)
        x = torch.from_numpy(self.images + 0.5).requires_grad_(True)
        (slope,) = torch.autograd.grad((self.model.log_prob(x) ** 2).sum(), x, create_graph=True)
        with self.assertRaisesRegex(RuntimeError, "twice"):
            slope.sum().backward()
        with self.assertRaises(ValueError):
            self.model.bits_per_dim(x, iw_samples=2)  # numbers get no noise
        for shape in ((6, 8, 8), (6, 0, 0, 3), (0, 8, 8, 4)):
            for call in (self.model.log_prob, self.model.bits_per_dim):
                with self.assertRaises(ValueError):
                    call(torch.zeros(shape, requires_grad=True))
        empty = x[:0]
        self.model.log_prob(empty).sum().backward()

    @needs("torch")
    def test_derivatives_that_do_not_exist_are_refused(self):
        """PyTorch would take them for 0."""
        import torch
        from torch.autograd import forward_ad

        x = torch.from_numpy(self.images + 0.5).requires_grad_(True)
        for call in (self.model.log_prob, self.model.bits_per_dim, lambda x: self.model.encode(x)[1]):
            (slope,) = torch.autograd.grad(call(x).sum(), x, create_graph=True)
            with self.assertRaisesRegex(RuntimeError, "twice"):
                ((slope**2).sum() + (x**2).sum()).backward()
            for function in (torch.autograd.functional.hvp, torch.autograd.functional.jvp):
                with self.assertRaisesRegex(RuntimeError, "twice"):
                    function(lambda x: call(x).sum(), x.detach(), torch.ones_like(x))
            with forward_ad.dual_level(), self.assertRaisesRegex(ValueError, "forward mode"):
                call(forward_ad.make_dual(x.detach(), torch.ones_like(x)))

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
        log_prob, gradient = self.model.log_prob_and_gradient(x.astype(jnp.float32))
        self.assertIsInstance(gradient, jax.Array)
        self.assertTrue(bool((self.model.decode(self.model.encode(x)) == x).all()))


@unittest.skipUnless(glow._extension.cuda_problem() == "", "needs a GPU")
class Gpu(unittest.TestCase):
    @needs("torch")
    def test_cuda_arrays(self):
        import torch

        images = make_images(6, 2)
        owner = model()
        expected, slopes = owner.log_prob_and_gradient(images + 0.5)
        latents = owner.encode(images)
        owner.to("cuda")
        x = torch.from_numpy(images + 0.5).cuda()
        log_prob, gradient = owner.log_prob_and_gradient(x)
        self.assertEqual((log_prob.device, gradient.device), (x.device, x.device))
        np.testing.assert_allclose(log_prob.cpu(), expected, rtol=1e-4)
        np.testing.assert_allclose(gradient.cpu(), slopes, atol=1e-3 * np.abs(slopes).max())
        y = x.clone().requires_grad_(True)
        owner.log_prob(y).sum().backward()
        self.assertTrue(torch.allclose(y.grad.float(), gradient))
        pixels = torch.from_numpy(images).cuda()
        self.assertTrue(torch.equal(owner.decode(owner.encode(pixels)), pixels))
        np.testing.assert_allclose(owner.encode(images)[0], latents[0], atol=1e-2)
        for layout in (pixels.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), pixels):
            np.testing.assert_array_equal(owner.bits_per_dim(layout).cpu(), owner.bits_per_dim(images))
        with self.assertRaises(ERRORS):
            owner.log_prob(x[:, :3])


if __name__ == "__main__":
    unittest.main()
