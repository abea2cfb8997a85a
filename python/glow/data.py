"""Data sets."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from typing import Any, Dict, Optional, Tuple

import numpy as np

from . import _extension
from .arrays import device_of, labels as checked_labels, numpy_reads, to_host, utf8
from .model import _name

Splits = Dict[str, Tuple[np.ndarray, Optional[np.ndarray]]]
"""Images uint8 [N, H, W, C] and labels int32 [N] or None by split."""


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
    force: bool = False,
) -> None:
    """Writes a data set for train() and the commands (docs/formats.md).

    train, valid, test: uint8 [N, H, W, C] with C in 1 .. 4; valid and test may be missing.
    *_labels: classes [N] of all splits, or of none.
    force: replace the file if it exists; otherwise that raises ValueError.
    """
    _extension.refuse_dataset_file(_name(path), bool(force))
    splits: Splits = {}
    for split, values, classes in (
        ("train", train, train_labels),
        ("valid", valid, valid_labels),
        ("test", test, test_labels),
    ):
        if values is not None:
            splits[split] = _split(values, split, classes)
    _extension.write_dataset(_name(path), utf8(name, "name"), splits, bool(force))


def _split(values: Any, name: str, classes: Any) -> tuple[np.ndarray, np.ndarray | None]:
    array = to_host(values, name)
    if array.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8 [N, H, W, C], got {array.dtype}")
    return np.ascontiguousarray(array), checked_labels(classes, len(array) if array.ndim else 0)


def images_of_run(images: Any, labels: Any, valid: Any, valid_labels: Any) -> Splits:
    """The splits of a run on images in arrays, as train() describes its arguments."""
    images, labels = _items(images, "data", labels)
    train = _split(images, "data", labels)
    if not isinstance(valid, numbers.Real) or isinstance(valid, bool):
        splits: Splits = {"train": train}
        if valid is not None:
            valid, valid_labels = _items(valid, "valid", valid_labels)
            splits["valid"] = _split(valid, "valid", valid_labels)
        elif valid_labels is not None:
            raise ValueError("valid_labels are for images in valid")
        return splits
    if valid_labels is not None:
        raise ValueError("valid_labels are for images in valid, which is a fraction of the images")
    array, classes = train
    if array.ndim != 4:
        raise ValueError(f"data must be uint8 [N, H, W, C], got {list(array.shape)}")
    try:
        fraction = float(valid)
    except OverflowError:
        raise ValueError(f"valid must be a fraction from 0 to below 1, got {valid}") from None
    taken = _extension.draw_validation(len(array), fraction, classes)
    parts = {"train": ~taken, "valid": taken} if taken.any() else {"train": ~taken}
    return {split: (array[part], None if classes is None else classes[part]) for split, part in parts.items()}


def _items(values: Any, name: str, labels: Any) -> tuple[Any, Any]:
    """Images and labels. Those of a data set of PyTorch are read item by item."""
    is_dataset = hasattr(values, "__getitem__") and hasattr(values, "__len__") and not isinstance(values, (list, tuple, Mapping, type))
    if not is_dataset or device_of(values) is not None or numpy_reads(values):
        return values, labels
    items = [values[i] for i in range(len(values))]
    if not items or not all(isinstance(item, (list, tuple)) and len(item) == 2 for item in items):
        return items, labels
    if labels is not None:
        raise ValueError(f"labels were given, but the items of {name} are pairs with their own")
    return [image for image, _ in items], [label for _, label in items]
