"""Glow: exact likelihoods, latents, samples and training of an invertible flow for images.

    import glow

    model = glow.load("runs/cifar10")
    model.bits_per_dim(images)                 # uint8 [N, H, W, C]
    model.sample(16, temperature=0.7)

Functions accept arrays of NumPy, PyTorch, JAX and CuPy, and return results of the same kind.
"""

from ._extension import version as __version__
from .data import save_dataset
from .model import Model, from_weights, load
from .options import TrainingOptions
from .training import Run, Table, Training, train

__all__ = ["Model", "Run", "Table", "Training", "TrainingOptions", "from_weights", "load", "save_dataset", "train", "__version__"]
