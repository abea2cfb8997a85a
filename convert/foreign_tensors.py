"""Shared by the readers of other programs' models."""

import re

import numpy as np
from model_files import InputError


class Source:
    """Tensors to convert; tracks which ones have not been used."""

    def __init__(self, tensors, suffix=""):
        self.left, self.suffix = dict(tensors), suffix

    def __contains__(self, name):
        return name in self.left

    def take(self, name):
        if name not in self.left:
            raise InputError(f"{name}{self.suffix} is missing: the file has a different layout or version")
        return np.asarray(self.left.pop(name), np.float64)

    def flat(self, name):
        return self.take(name).reshape(-1)

    def forget(self, pattern):
        for name in [name for name in self.left if re.fullmatch(pattern, name)]:
            del self.left[name]

    def finish(self, what="tensors"):
        if self.left:
            names = sorted(self.left)
            raise InputError(f"{len(names)} {what} are not part of our model: {', '.join(names[:5])}")


def conv(weight, edge=None):
    """PyTorch's [out, in, kh, kw] to [out, kh, kw, in], with a last channel for the edge."""
    weight = weight.transpose(0, 2, 3, 1)
    return weight if edge is None else np.concatenate([weight, edge[..., None]], axis=3)


def interleave(first, second):
    """Concatenated outputs (shift, scale) or (mean, logs) to Glow's interleaved ones."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def plu(W):
    """W = P L U by elimination with row pivoting, as the parts of invconv_lu."""
    A, rows = W.copy(), np.arange(len(W))
    for i in range(len(W)):
        pivot = i + np.argmax(np.abs(A[i:, i]))
        A[[i, pivot]], rows[[i, pivot]] = A[[pivot, i]], rows[[pivot, i]]
        A[i + 1 :, i] /= A[i, i]
        A[i + 1 :, i + 1 :] -= np.outer(A[i + 1 :, i], A[i, i + 1 :])
    return A, rows


def count_levels(names, pattern):
    """The numbers that `pattern` captures, 0 .. n - 1."""
    numbers = {int(match[1]) for match in map(re.compile(pattern).match, names) if match}
    if numbers != set(range(len(numbers))) or not numbers:
        raise InputError("no such weights in the file: a different layout, or a part is missing")
    return len(numbers)


class LuFactors:
    """Converts their W = p (l + I) (u + diag(sign exp(log s))) to ours."""

    def __init__(self, source, at, p, lower, upper, sign, log_diag):
        """Takes the factors from `source`, where their names begin with `at`."""
        part = {name: source.take(at + name) for name in (p, lower, upper)} | {name: source.flat(at + name) for name in (sign, log_diag)}
        C = len(part[sign])
        for name in (p, lower, upper, log_diag):
            shape = (C,) if name == log_diag else (C, C)
            if part[name].shape != shape:
                raise InputError(f"{at}{name} is {list(part[name].shape)}, expected {list(shape)}")
        if not (np.isin(part[p], (0, 1)).all() and (part[p].sum(axis=0) == 1).all() and (part[p].sum(axis=1) == 1).all()):
            raise InputError(f"{at}{p} is not a permutation matrix")
        if not np.isin(part[sign], (-1, 1)).all():
            raise InputError(f"{at}{sign} has a value other than 1 or -1")
        self.parts = {"permutation": np.argmax(part[p], axis=1), "sign": part[sign], "log_diag": part[log_diag],
                      "lower": np.tril(part[lower], -1), "upper": np.triu(part[upper], 1)}

    def matrix(self):
        part, C = self.parts, len(self.parts["sign"])
        LU = (part["lower"] + np.eye(C)) @ (part["upper"] + np.diag(part["sign"] * np.exp(part["log_diag"])))
        return LU[part["permutation"]]


class Imported:
    """The training state of a checkpoint: trees of the trainable tensors by our names; empty if absent."""

    def __init__(self, params, ema=None, m=None, v=None, step=0):
        self.params, self.trees, self.step = params, {"ema": ema or {}, "optimizer/m": m or {}, "optimizer/v": v or {}}, step
        self.notes = []
