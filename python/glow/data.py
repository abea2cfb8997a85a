"""Data sets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import _extension
from .arrays import labels as checked_labels, to_host, utf8
from .model import _name


def save_dataset(
    path: str | bytes | os.PathLike[str],
    train: Any,
    valid: Any = None,
    test: Any = None,
    *,
    train_labels: Any = None,
    valid_labels: Any = None,
    test_labels: Any = None,
    name: str = "images",
) -> None:
    """Writes a data set for train() and the commands (docs/formats.md).

    train, valid, test: uint8 [N, H, W, C] with C in 1 .. 4; valid and test may be missing.
    *_labels: classes [N] of all splits, or of none.
    """
    splits = {}
    for split, values, classes in (
        ("train", train, train_labels),
        ("valid", valid, valid_labels),
        ("test", test, test_labels),
    ):
        if values is None:
            continue
        array = to_host(values, split)
        if array.dtype != np.uint8:
            raise ValueError(f"{split} must be uint8 [N, H, W, C], got {array.dtype}")
        splits[split] = (np.ascontiguousarray(array), checked_labels(classes, len(array) if array.ndim else 0))
    _extension.write_dataset(_name(path), utf8(name, "name"), splits)
