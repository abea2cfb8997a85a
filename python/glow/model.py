"""A trained model."""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any, Sequence

import numpy as np

from . import _extension
from .arrays import (
    Caller,
    device_name,
    differentiable,
    differentiable_parts,
    images,
    labels as checked_labels,
    to_host,
    utf8,
    wants_gradient,
    whole,
)

_SEEDS = 2**64 - 1
_NUMBERS = 2**39  # of images


def load(
    path: str | bytes | os.PathLike[str],
    *,
    device: Any = "auto",
    precision: str = "fp32",
    averaged: bool = True,
    batch: int = 64,
    threads: int = 0,
) -> Model:
    """Loads a trained model.

    path: a run's folder (its latest checkpoint), a checkpoint, or a file of `glow_convert --to safetensors`.
    device: "cpu", "cuda", or "auto" (a GPU if this build and machine have one); may be a torch.device.
    precision: of the coupling networks: "fp32", "tf32" (GPUs) or "bf16".
    averaged: use the averaged weights if the checkpoint has them.
    batch: images of the training size per pass; memory grows with it. Fewer large images are processed at a time.
    threads: CPU threads; 0: all usable processors.
    """
    return Model(path, device=device, precision=precision, averaged=averaged, batch=batch, threads=threads)


def from_weights(
    weights: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    device: Any = "auto",
    precision: str = "fp32",
    batch: int = 64,
    threads: int = 0,
) -> Model:
    """A model with weights from arrays.

    weights: all tensors of Model.weights(), with the same names and shapes; numbers of any precision are rounded to float32.
    config: the hyperparameters, as Model.config.
    device, precision, batch, threads: as for load().
    """
    if not isinstance(weights, Mapping) or not isinstance(config, Mapping):
        raise ValueError("weights and config must be dicts: those of Model.weights() and Model.config")
    try:
        with tempfile.TemporaryDirectory(prefix="glow-") as folder:
            path = os.path.join(folder, "weights.safetensors")
            _write_safetensors(path, weights, config)
            return Model(path, device=device, precision=precision, batch=batch, threads=threads)
    except OSError as error:
        raise RuntimeError(f"temporary file of the weights: {error}") from None
    except ValueError as error:
        raise ValueError(str(error).replace(path, "weights")) from None


def _write_safetensors(path: str, weights: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """8 bytes of length, a JSON header, the tensors (docs/formats.md)."""
    try:
        header: dict[str, Any] = {"__metadata__": {"format": "glow", "config": json.dumps(dict(config))}}
    except (TypeError, ValueError) as error:
        raise ValueError(f"config: {error}") from None
    arrays, begin = [], 0
    for name, value in weights.items():
        if str(name) in header:
            raise ValueError(f"{name} is not the name of a tensor, or is there twice")
        array = to_host(value, str(name))
        if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
            raise ValueError(f"{name} must be an array of numbers, got {array.dtype}")
        integer = array.dtype.kind in "iu"
        if integer and array.size and not -(2**31) <= int(array.min()) <= int(array.max()) < 2**31:
            raise ValueError(f"{name} must be whole numbers of 32 bits")
        with np.errstate(over="ignore"):  # infinities are refused later
            array = np.require(array, "<i4" if integer else "<f4", "C")
        header[str(name)] = {
            "dtype": "I32" if integer else "F32",
            "shape": list(array.shape),
            "data_offsets": [begin, begin + array.nbytes],
        }
        begin += array.nbytes
        arrays.append(array)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(array.tobytes())


class Model:
    """A trained model. Made by load(). Any thread may use it; concurrent calls wait for each other.

    Images `x` are [N, H, W, C], with the channels of `config` and a height and width divisible by 2^levels. The first
    images whose size is not that of the training images give a UserWarning. Values are uint8 pixels, or floating-point
    numbers in pixel units, where the pixel p stands for the values from p to p + 1. Pixels get uniform noise, as in
    published results, or the model's own noise if it was trained with --dequant variational. Floating-point numbers are
    used as they are; if none exceeds 1, a UserWarning is given (on the CPU).

    x may be an array of NumPy, PyTorch, JAX or CuPy, or a list of images of one size. Contiguous arrays of uint8, float32 or float64 on the model's device
    are not copied, others are. Results are arrays of the same library.

    The noise of an image depends on `seed` and the image's index, which is `first` for the first image of x: to score a
    data set in parts, pass the index that the part begins with.

    Conditional models need `labels`, whole numbers [N]; a single number applies to all images.

    Invalid arguments raise ValueError and failures at run time RuntimeError, with the message of the command.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        device: Any = "auto",
        precision: str = "fp32",
        averaged: bool = True,
        batch: int = 64,
        threads: int = 0,
    ) -> None:
        self._model = _extension.Model(
            _name(path),
            bool(averaged),
            device_name(device),
            utf8(precision, "precision"),
            whole(batch, "batch", 1, 2**20),
            whole(threads, "threads", 0, 4096),
        )
        self._warned = self._warned_of_range = False
        self.config: dict[str, Any] = json.loads(self._model.config)
        """The model's hyperparameters, named as in a checkpoint (docs/formats.md)."""

    def __repr__(self) -> str:
        c = self.config
        return (
            f"<glow.Model {c['image_height']}x{c['image_width']}x{c['channels']}, {c['levels']} levels of {c['depth']} "
            f"steps, width {c['width']}, on {self.device}>"
        )

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return self._model.device

    @property
    def training_steps(self) -> int:
        """Number of training steps of the checkpoint. `step` is another name."""
        return self._model.step

    @property
    def step(self) -> int:  # type checkers would take an alias of a property for a method
        """Another name of training_steps."""
        return self.training_steps

    @property
    def averaged(self) -> bool:
        """Whether the model uses the averaged weights."""
        return self._model.averaged

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images that the model was trained on."""
        return self.config["image_height"], self.config["image_width"], self.config["channels"]

    @property
    def dimensions(self) -> int:
        """Values in an image of that shape, and in its latents: H W C."""
        return math.prod(self.shape)

    def __reduce__(self) -> Any:
        raise TypeError("a Model can be neither pickled nor copied: pass its path, and call glow.load() where it is used")

    def to(self, device: Any) -> Model:
        """Moves the model to "cpu" or "cuda" (the first GPU), and returns it. device may be a torch.device."""
        self._model.move(device_name(device))
        return self

    def save(self, path: str | bytes | os.PathLike[str], *, force: bool = False) -> None:
        """Writes the weights as a checkpoint (HDF5) without training state, which all commands read.

        force: replace the file if it exists; otherwise that raises ValueError.
        """
        self._model.save(_name(path), bool(force))

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the weights in use by name, such as "level0/step1/actnorm/bias" (docs/formats.md#checkpoint): the tensors
        of `glow_convert --to safetensors`, float32, and int32 for permutations. from_weights() makes a model of them."""
        return self._model.weights()

    def log_prob(self, x: Any, labels: Any = None, *, seed: int = 0, first: int = 0) -> Any:
        """Log-likelihood of each image in nats, float64 [N].

        Of pixels: a lower bound from one draw of noise, which depends on seed and the image's index. Of numbers: the
        log-density at x, per bin of the model's pixels (one gray level at 8 bits). PyTorch differentiates it, once, if x
        requires a gradient.
        """
        caller = Caller(x)
        array, classes = self._inputs(x, labels)
        noise = _noise(seed, first)
        if wants_gradient(x):
            return self._differentiable(x, array, classes, noise, in_bits=False)
        bits = self._model.bits_per_dim(array, classes, *noise, 1, 1)
        return caller.result(bits * -_nats_per_bit_dim(array))

    def bits_per_dim(
        self,
        x: Any,
        labels: Any = None,
        *,
        iw_samples: int = 1,
        dequant_samples: int = 1,
        seed: int = 0,
        first: int = 0,
    ) -> Any:
        """-log_prob in bits/dim, float64 [N]; equal to `glow_eval --per-image`.

        iw_samples: draws per importance-weighted bound, tighter for more. dequant_samples: bounds to average.
        """
        caller = Caller(x)
        array, classes = self._inputs(x, labels)
        noise = _noise(seed, first)
        bounds = whole(dequant_samples, "dequant_samples", 1, 2**20)
        draws = whole(iw_samples, "iw_samples", 1, 2**20)
        if wants_gradient(x) and bounds == draws == 1:
            return self._differentiable(x, array, classes, noise, in_bits=True)
        return caller.result(self._model.bits_per_dim(array, classes, *noise, bounds, draws))

    def _differentiable(
        self, x: Any, array: Any, classes: np.ndarray | None, noise: tuple[int, int], in_bits: bool
    ) -> Any:
        """log_prob, or bits/dim, as a function that PyTorch differentiates."""

        def values_and_gradient() -> tuple[Any, Any]:
            found = self._model.log_prob_and_gradient(array, classes, *noise)
            log_prob, gradient = (Caller(x).result(values) for values in found)
            scale = -1 / _nats_per_bit_dim(array) if in_bits else 1.0
            return scale * log_prob, scale * gradient

        return differentiable(x, values_and_gradient)

    def _differentiable_latents(self, x: Any, array: Any, classes: np.ndarray | None) -> list[Any]:
        """encode() as a function that PyTorch differentiates."""
        caller = Caller(x)
        classes = None if classes is None else classes.copy()  # the caller may change them before the derivative is computed

        def values() -> tuple[Any, ...]:
            return tuple(caller.result(level) for level in self._model.encode(array, classes))

        def gradient(saved: Any, upstream: Sequence[Any]) -> Any:
            levels = [np.require(to_host(level, "gradient"), np.float64, "CA") for level in upstream]
            return caller.result(self._model.encode_gradient(images(saved, self.device == "cuda"), classes, levels))

        return list(differentiable_parts(x, values, gradient))

    def log_prob_and_gradient(self, x: Any, labels: Any = None, *, seed: int = 0, first: int = 0) -> tuple[Any, Any]:
        """(log_prob, gradient): log_prob() [N], and its gradient to x, float32 [N, H, W, C] in nats per gray level.

        One forward and one backward pass; memory does not grow with the model's depth. The gradient alone is known as the
        score of x. `score` is another name of this method.
        """
        caller = Caller(x)
        array, classes = self._inputs(x, labels)
        log_prob, gradient = self._model.log_prob_and_gradient(array, classes, *_noise(seed, first))
        return caller.result(log_prob), caller.result(gradient)

    score = log_prob_and_gradient

    def log_density_map(self, x: Any, labels: Any = None, *, seed: int = 0, first: int = 0) -> Any:
        """log_prob() by position, float64 [N, H / 2^levels, W / 2^levels] in nats; equal to `glow_eval --map`.

        A position is a block of 2^levels x 2^levels pixels. A map sums to the image's log_prob().
        """
        caller = Caller(x)
        array, classes = self._inputs(x, labels)
        return caller.result(self._model.log_density_map(array, classes, *_noise(seed, first)))

    def encode(self, x: Any, labels: Any = None) -> list[Any]:
        """Latents of images, standard normal under the model: float64 [N, H_l, W_l, C_l] for each level l, 0 first.

        Level 0 holds the finest detail. Pixels stand for the centers of their bins, without noise. PyTorch differentiates
        the latents, once, if x requires a gradient.
        """
        caller = Caller(x)
        array, classes = self._inputs(x, labels)
        if wants_gradient(x):
            return self._differentiable_latents(x, array, classes)
        return [caller.result(level) for level in self._model.encode(array, classes)]

    def decode(self, latents: Sequence[Any], labels: Any = None) -> Any:
        """Decodes latents to images, uint8 [N, H, W, C]. Images that are not finite are crossed out, with a UserWarning.

        decode(encode(x)) is x for 8-bit models. Models of fewer bits see fewer gray levels, and return those.

        latents: floating arrays as encode() returns them, one for each level.
        """
        try:
            levels = list(latents)
        except TypeError:
            raise ValueError("latents must be a list of arrays, one for each level") from None
        host = [to_host(level, "latents") for level in levels]
        for level in host:
            if level.dtype.kind not in "fiu":
                raise ValueError(f"latents must be floating numbers, got {level.dtype}")
        host = [np.require(level, np.float64, "CA") for level in host]
        count = len(host[0]) if host and host[0].ndim else 0
        caller = Caller(levels[0] if levels else None)
        if host and host[0].ndim == 4:
            self._warn_of_size(2 * host[0].shape[1], 2 * host[0].shape[2])
        decoded, problems = self._model.decode(host, checked_labels(labels, count))
        _warn_of_images(problems)
        return caller.result(decoded)

    def sample(
        self,
        n: int,
        *,
        temperature: float = 0.7,
        labels: Any = None,
        seed: int = 0,
        size: Sequence[int] | None = None,
        like: Any = None,
        with_log_prob: bool = False,
    ) -> Any:
        """n images drawn from the model, uint8 [n, H, W, C]; equal to `glow_sample`.

        temperature: standard deviation of the latents; 0.7 is common. Image i depends only on seed and i (and its label).
        Images that are not finite, which occur at temperature 1 early in training, are crossed out, with a UserWarning.
        size: (height, width) of the images, divisible by 2^levels; by default that of the training images.
        like: an array; the result has its type and device. By default those of labels, otherwise a NumPy array.
        with_log_prob: return (images, log_prob). log_prob, float64 [n] in nats, is that of the real numbers that were
        rounded to pixels: their log-density under the model, at temperature 1, per bin of the model's pixels. It is
        exact, NaN for images that are not finite, and costs a forward pass. log_prob(images) of the pixels is instead a
        lower bound with noise of its own.
        """
        count = whole(n, "n", 0)
        try:
            spread = float(temperature)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"temperature must be a number, got {temperature!r}") from None
        height, width = self.shape[:2] if size is None else _pair(size)
        caller = Caller(labels if like is None else like)
        self._warn_of_size(height, width)
        samples, problems, log_prob = self._model.sample(
            count, spread, checked_labels(labels, count), whole(seed, "seed", 0, _SEEDS), height, width, bool(with_log_prob)
        )
        _warn_of_images(problems)
        return caller.result(samples) if log_prob is None else (caller.result(samples), caller.result(log_prob))

    def _inputs(self, x: Any, labels: Any) -> tuple[Any, np.ndarray | None]:
        array = images(x, self.device == "cuda")
        if len(array.shape) == 4:
            self._warn_of_size(array.shape[1], array.shape[2], 1)
        self._warn_of_range(array)
        return array, checked_labels(labels, array.shape[0] if len(array.shape) else 0)

    def _warn_of_range(self, array: Any) -> None:
        """Images in [0, 1], as those of torchvision's ToTensor, or in [-1, 1] are valid numbers, but nearly black."""
        if self._warned_of_range or not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.size < 2:
            return
        if not array.max() <= 1:  # also if a value is NaN
            return
        self._warned_of_range = True
        warnings.warn(
            "no value of the images exceeds 1, which is nearly black: floating images are in pixel units, 0 .. 256. "
            "Pass uint8 pixels; for x in [0, 1] these are 255 x, rounded",
            stacklevel=4,
        )

    def _warn_of_size(self, height: int, width: int, deeper: int = 0) -> None:
        trained = self.shape[:2]
        if self._warned or (height, width) == trained:
            return
        self._warned = True
        warnings.warn(
            f"the model was trained on {trained[0]}x{trained[1]} images; these are {height}x{width}",
            stacklevel=3 + deeper,
        )


def _noise(seed: int, first: int) -> tuple[int, int]:
    """Seed and first image's index."""
    return whole(seed, "seed", 0, _SEEDS), whole(first, "first", 0, _NUMBERS)


def _warn_of_images(problems: str) -> None:
    if problems:
        warnings.warn(f"images: {problems}", stacklevel=3)


def _nats_per_bit_dim(array: Any) -> float:
    """Nats of one bit/dim of an image in the array."""
    return math.prod(array.shape[1:]) * math.log(2)


def _pair(size: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = size
    except (TypeError, ValueError):
        raise ValueError(f"size must be (height, width), got {size!r}") from None
    return whole(height, "height", 1, 2**16), whole(width, "width", 1, 2**16)


def _name(path: str | bytes | os.PathLike[str]) -> str:
    try:
        name = os.fspath(path)
    except TypeError:
        raise ValueError(f"expected the name of a file or folder, got {path!r}") from None
    name = os.fsdecode(name)
    if "\0" in name:
        raise ValueError("the name of a file cannot contain a null character")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name of a file must be UTF-8, got {name!r}") from None
    return name
