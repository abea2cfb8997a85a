#!/usr/bin/env python3
"""glow_convert: converts weights of other Glow programs to our checkpoints, and our checkpoints to plain files.

    glow_convert --from rosinality F.npz --size 32 --n-bits 5 -o C.h5
    glow_convert --to safetensors RUN -o F.safetensors
    glow_convert --to onnx --what log_prob RUN -o F.onnx

Reads state dicts of the PyTorch Glows of rosinality, y0ast and chaiyujin, and the variables of openai/glow, from .npz or
HDF5 files with the original names, and TensorFlow's checkpoints (the prefix of F.index and F.data-*). Tensors that are not part of our model are errors.
Writes /params. A complete openai/glow checkpoint also provides averages, moments and step, so that glow_train --resume
continues the run. Without moments, continue training with --init-from.

Exit status: 0 done, 1 failure while writing, 2 bad usage, or weights that our model cannot express (the message says why).
"""

import argparse
import json
import math
import os
import re
import sys
import zipfile
from pathlib import Path

from python_packages import require_packages

require_packages("numpy", "h5py")
import h5py
import numpy as np

from onnx_export import onnx_model
from output_files import OutputRefused, claim_outputs, write_atomically
from tf_checkpoint import TensorFlowFileError, read_tf_checkpoint, tf_checkpoint_files

VERSION = "@PROJECT_VERSION@"
EPOCH_IMAGES = 50000  # openai/glow's epoch length, for any data set
INTEGER = ("permutation", "indices")
FIXED = INTEGER + ("sign",)


class InputError(Exception):
    pass


# --- Files --------------------------------------------------------------------------------------------------------


def read_named(path):
    """{name: array} of an .npz or an HDF5 file, or of a TensorFlow checkpoint."""
    if tf_checkpoint_files(path):
        try:
            return read_tf_checkpoint(path)
        except TensorFlowFileError as error:
            raise InputError(error) from None
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if h5py.is_hdf5(path):
            found = {}
            with h5py.File(path, "r") as f:
                f.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
            return found
    except InputError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise InputError(f"{path}: cannot be read: {error}") from None
    raise InputError(f"{path}: neither an .npz nor an HDF5 file nor a TensorFlow checkpoint (a .pt file: numpy.savez(F, **{{k: v.numpy() for k, v in "
                     "torch.load(P).items()}))")


SAFE = {"F32": np.float32, "I32": np.int32}


def read_safetensors(path):
    """({name: array}, metadata): 8 bytes of length, a JSON header, the tensors."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    data = Path(path).read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        metadata, found = header.pop("__metadata__", {}), {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            array = np.frombuffer(data[8 + length :][begin:end], SAFE[entry["dtype"]])
            found[name] = array.reshape(entry["shape"])
        return found, metadata
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a safetensors file of float32 and int32 tensors: {error}") from None


def write_safetensors(path, tensors, metadata):
    header, begin = {"__metadata__": metadata}, 0
    for name, value in tensors.items():
        kind = "I32" if value.dtype == np.int32 else "F32"
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [begin, begin + value.nbytes]}
        begin += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value).tobytes())


def write_checkpoint(path, config, trees, counters):
    def write(temporary):
        with h5py.File(temporary, "w") as f:
            f.attrs["format"], f.attrs["version"] = "glow-checkpoint", 1
            f.attrs["config"] = json.dumps({**config, "training": {}})
            f.attrs.update(counters)
            for tree, tensors in trees.items():
                for name, value in tensors.items():
                    f[f"{tree}/{name}"] = value

    write_atomically(path, write)


def read_checkpoint(path, ema):
    """(config, params), with averaged weights if requested and present."""
    path = Path(path) / "latest.h5" if Path(path).is_dir() else Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise InputError(f"{path}: no such checkpoint")
    try:
        with h5py.File(path, "r") as f:
            if f.attrs.get("format") not in ("glow-checkpoint", b"glow-checkpoint"):
                raise InputError(f"{path}: not a checkpoint")
            config = json.loads(f.attrs["config"])
            params = {}
            f["params"].visititems(lambda n, item: params.update({n: item[()]}) if isinstance(item, h5py.Dataset) else None)
            if ema and "ema" in f:
                params.update({name: f[f"ema/{name}"][()] for name in params if name.rsplit("/", 1)[1] not in FIXED})
        return {key: config[key] for key in shapes_of_config()}, params
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: incomplete checkpoint: {error}") from None


# --- Our model ----------------------------------------------------------------------------------------------------


def shapes_of_config():
    return ("image_height image_width channels n_bits levels depth width permutation coupling edge_bias learn_top y_cond "
            "n_classes weight_y").split()


def parameter_shapes(c):
    """{name: shape} of every tensor of a model with this configuration."""
    w, edge, C, shapes = c["width"], int(c["edge_bias"]), 4 * c["channels"], {}
    for level in range(c["levels"]):
        out = C if c["coupling"] == "affine" else C // 2
        for step in range(c["depth"]):
            name = f"level{level}/step{step}"
            shapes |= {f"{name}/actnorm/{part}": (C,) for part in ("bias", "logs")}
            if c["permutation"] == "invconv":
                shapes[f"{name}/invconv/weight"] = (C, C)
            elif c["permutation"] == "invconv_lu":
                shapes |= {f"{name}/invconv/{part}": (C,) for part in ("permutation", "sign", "log_diag")}
                shapes |= {f"{name}/invconv/{part}": (C, C) for part in ("lower", "upper")}
            elif c["permutation"] == "shuffle":
                shapes[f"{name}/shuffle/indices"] = (C,)
            net = f"{name}/coupling"
            shapes |= {f"{net}/conv1/weight": (w, 3, 3, C // 2 + edge), f"{net}/conv2/weight": (w, 1, 1, w),
                       f"{net}/conv3/weight": (out, 3, 3, w + edge), f"{net}/conv3/bias": (out,),
                       f"{net}/conv3/logs": (out,)}
            shapes |= {f"{net}/conv{i}/actnorm/{part}": (w,) for i in (1, 2) for part in ("bias", "logs")}
        if level + 1 < c["levels"]:
            shapes |= {f"level{level}/split/weight": (C, 3, 3, C // 2 + edge), f"level{level}/split/bias": (C,),
                       f"level{level}/split/logs": (C,)}
            C *= 2
    if c["learn_top"]:
        if edge:
            shapes["prior/top/weight"] = (2 * C, 3, 3, 1)
        shapes |= {f"prior/top/{part}": (2 * C,) for part in ("bias", "logs")}
    if c["y_cond"]:
        shapes |= {"prior/class/weight": (c["n_classes"], 2 * C), "prior/class/bias": (2 * C,), "prior/class/logs": (2 * C,)}
        if c["weight_y"] > 0:
            n = c["n_classes"]
            shapes |= {"classifier/weight": (C, n), "classifier/bias": (n,), "classifier/logs": (n,)}
    return shapes


def check(config, params, trainable=False, tree=""):
    """params in the types of a checkpoint. Rejects missing or extra tensors, wrong shapes and non-finite values."""
    if not 1 <= config["channels"] <= 4 or config["width"] < 1:
        raise InputError(f"the tensors are those of a model of {config['channels']} image channels and width {config['width']}: "
                         "expected 1 to 4 channels and a width of 1 or more")
    shapes, wrong = parameter_shapes(config), []
    if trainable:
        shapes = {name: shape for name, shape in shapes.items() if name.rsplit("/", 1)[1] not in FIXED}
    wrong += [f"{name} is missing" for name in shapes if name not in params]
    wrong += [f"{name} is not part of the model" for name in params if name not in shapes]
    checked = {}
    for name in shapes.keys() & params.keys():
        value = np.asarray(params[name])
        if value.shape != shapes[name]:
            wrong.append(f"{name} is {list(value.shape)}, expected {list(shapes[name])}")
        elif not np.isfinite(value).all():
            wrong.append(f"{name} has a value that is not finite")
        else:
            checked[name] = np.ascontiguousarray(value, np.int32 if name.rsplit("/", 1)[1] in INTEGER else np.float32)
    if wrong:
        raise InputError(tree + "; ".join(sorted(wrong)[:5]) + (f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""))
    return {name: checked[name] for name in shapes}


# --- Foreign layouts ----------------------------------------------------------------------------------------------


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
    """Concatenated outputs (shift, scale) or (mean, logs) to our interleaved ones."""
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

    def __init__(self, p, lower, upper, sign, log_diag):
        self.parts = {"permutation": np.argmax(p, axis=1), "sign": np.sign(sign), "log_diag": log_diag,
                      "lower": np.tril(lower, -1), "upper": np.triu(upper, 1)}

    def matrix(self):
        part, C = self.parts, len(self.parts["sign"])
        LU = (part["lower"] + np.eye(C)) @ (part["upper"] + np.diag(part["sign"] * np.exp(part["log_diag"])))
        return LU[part["permutation"]]


def mixings(config, params, found):
    """Converts {step name: matrix or LuFactors} to tensors; keeps factors if every step has them."""
    lu = all(isinstance(value, LuFactors) for value in found.values())
    config["permutation"] = "invconv_lu" if lu else "invconv"
    for name, value in found.items():
        if lu:
            params |= {f"{name}/invconv/{part}": tensor for part, tensor in value.parts.items()}
        else:
            params[f"{name}/invconv/weight"] = value.matrix() if isinstance(value, LuFactors) else value


def rosinality(source, config):
    """github.com/rosinality/glow-pytorch. Zero convolutions pad with ones: our edge channel with the sum of the weights.
    Hidden convolutions have a bias: our actnorm's, with scale 1. actnorm's scale may be negative: the sign goes to W."""
    params, found = {}, {}
    names = list(source.left)
    config["levels"] = count_levels(names, r"blocks\.(\d+)\.")
    config["depth"] = count_levels(names, r"blocks\.0\.flows\.(\d+)\.")

    def zero_conv(prefix, at, order):
        weight, bias, logs = source.take(f"{prefix}.conv.weight"), source.flat(f"{prefix}.conv.bias"), source.flat(f"{prefix}.scale")
        weight = conv(weight, edge=weight.sum(axis=1))
        for part, value in (("weight", weight), ("bias", bias), ("logs", logs)):
            params[f"{at}/{part}"] = order(value)

    def turns(value, second_first):
        first, second = np.split(value, 2)
        return interleave(second, first) if second_first else interleave(first, second)

    factors = "blocks.0.flows.0.invconv.w_l" in source
    for level in range(config["levels"]):
        block = f"blocks.{level}"
        for step in range(config["depth"]):
            at, flow = f"level{level}/step{step}", f"{block}.flows.{step}"
            scale = source.flat(f"{flow}.actnorm.scale")
            if (scale == 0).any():
                raise InputError(f"{flow}.actnorm.scale has a zero: that layer has no inverse")
            params[f"{at}/actnorm/bias"], params[f"{at}/actnorm/logs"] = source.flat(f"{flow}.actnorm.loc"), np.log(np.abs(scale)) / 3
            if factors:
                lu = LuFactors(*(source.take(f"{flow}.invconv.{part}") for part in ("w_p", "w_l", "w_u")),
                               source.flat(f"{flow}.invconv.s_sign"), source.flat(f"{flow}.invconv.w_s"))
                found[at] = lu if (scale > 0).all() else lu.matrix() * np.sign(scale)
            else:
                W = source.take(f"{flow}.invconv.weight")
                found[at] = W.reshape(W.shape[:2]) * np.sign(scale)
            net = f"{flow}.coupling.net"
            weight1, weight2 = source.take(f"{net}.0.weight"), source.take(f"{net}.2.weight")
            params[f"{at}/coupling/conv1/weight"] = conv(weight1, edge=0 * weight1[:, 0])
            params[f"{at}/coupling/conv2/weight"] = conv(weight2)
            for ours, theirs in (("conv1", "0"), ("conv2", "2")):
                params[f"{at}/coupling/{ours}/actnorm/bias"] = source.flat(f"{net}.{theirs}.bias")
                params[f"{at}/coupling/{ours}/actnorm/logs"] = 0 * params[f"{at}/coupling/{ours}/actnorm/bias"]
            affine = len(source.left[f"{net}.4.conv.bias"]) == len(scale) if f"{net}.4.conv.bias" in source else True
            zero_conv(f"{net}.4", f"{at}/coupling/conv3", (lambda v: turns(v, True)) if affine else (lambda v: v))
        if level + 1 < config["levels"]:
            zero_conv(f"{block}.prior", f"level{level}/split", lambda v: turns(v, False))
        else:
            zero_conv(f"{block}.prior", "prior/top", lambda v: v)
            params["prior/top/weight"] = params["prior/top/weight"][..., -1:]  # its input is 0, but for the edge
        config["coupling"] = "affine" if affine else "additive"
    mixings(config, params, found)
    source.forget(r".*\.actnorm\.initialized|.*\.invconv\.(u_mask|l_mask|l_eye)")
    config.update(width=len(params["level0/step0/coupling/conv1/weight"]), edge_bias=True, learn_top=True,
                  channels=len(params["level0/step0/actnorm/bias"]) // 4)
    return params


def layers_of(source, prefix):
    """y0ast's and chaiyujin's list of layers: squeeze, steps, split, squeeze, ...; [(kind, index)]."""
    kinds = {}
    for name in source.left:
        match = re.match(re.escape(prefix) + r"(\d+)\.(\w+)\.", name)
        if match:
            kinds[int(match[1])] = "split" if match[2] == "conv" else "step"
    if not kinds:
        raise InputError(f"no {prefix}N weights in the file: a different layout")
    return sorted((index, kind) for index, kind in kinds.items())


class TorchLayers:
    """Layers of the two, read from `source` into `params`. y0ast's convolutions and linear layers are modules in a module, chaiyujin's
    are the module itself."""

    def __init__(self, source, params, nested):
        self.source, self.params, self.nested = source, params, nested

    def inner(self, theirs, kind):
        return f"{theirs}.{kind}" if self.nested else theirs

    def zeros(self, at, theirs, kind, weight):
        self.params[f"{at}/weight"] = weight(self.source.take(f"{self.inner(theirs, kind)}.weight"))
        self.bias_logs(at, theirs, kind)

    def bias_logs(self, at, theirs, kind):
        self.params[f"{at}/bias"] = self.source.flat(f"{self.inner(theirs, kind)}.bias")
        self.params[f"{at}/logs"] = self.source.flat(f"{theirs}.logs")

    def actnorm(self, at, theirs):
        self.params[f"{at}/bias"] = self.source.flat(f"{theirs}.bias")
        self.params[f"{at}/logs"] = self.source.flat(f"{theirs}.logs") / 3

    def step(self, at, theirs, net):
        self.actnorm(f"{at}/actnorm", f"{theirs}.actnorm")
        for ours, index in (("conv1", "0"), ("conv2", "2")):
            self.params[f"{at}/coupling/{ours}/weight"] = conv(self.source.take(f"{self.inner(f'{theirs}.{net}.{index}', 'conv')}.weight"))
            self.actnorm(f"{at}/coupling/{ours}/actnorm", f"{theirs}.{net}.{index}.actnorm")
        self.zeros(f"{at}/coupling/conv3", f"{theirs}.{net}.4", "conv", conv)

    def mixing(self, theirs, C):
        """The step's 1x1 convolution; None where it has a fixed permutation."""
        take, flat = self.source.take, self.source.flat
        if f"{theirs}.invconv.weight" in self.source:
            return take(f"{theirs}.invconv.weight").reshape(C, C)
        if f"{theirs}.invconv.log_s" in self.source:
            return LuFactors(*(take(f"{theirs}.invconv.{name}") for name in "plu"), flat(f"{theirs}.invconv.sign_s"),
                             flat(f"{theirs}.invconv.log_s"))
        return None

    def prior(self, config, top):
        if f"{self.inner(top, 'conv')}.weight" in self.source:
            self.source.take(f"{self.inner(top, 'conv')}.weight")  # of an input that is 0
            self.bias_logs("prior/top", top, "conv")
        config["learn_top"] = "prior/top/bias" in self.params

    def classes(self, config):
        if not any(name.startswith("project_ycond.") for name in self.source.left):
            return
        self.zeros("prior/class", "project_ycond", "linear", lambda weight: weight.T)
        config.update(y_cond=True, n_classes=len(self.params["prior/class/weight"]))
        if any(name.startswith("project_class.") for name in self.source.left):
            self.zeros("classifier", "project_class", "linear", lambda weight: weight.T)


def torch_steps(layers, net):
    """All steps and splits into layers.params; the steps of each level, and the 1x1 convolutions by step."""
    params, found = layers.params, {}
    level, step, depths = 0, 0, []
    for index, kind in layers_of(layers.source, "flow.layers."):
        theirs = f"flow.layers.{index}"
        if kind == "split":
            layers.zeros(f"level{level}/split", f"{theirs}.conv", "conv", conv)
            depths.append(step)
            level, step = level + 1, 0
            continue
        at = f"level{level}/step{step}"
        layers.step(at, theirs, net)
        mixing = layers.mixing(theirs, len(params[f"{at}/actnorm/bias"]))
        if mixing is not None:
            found[at] = mixing
        step += 1
    depths.append(step)
    if len(set(depths)) != 1:
        raise InputError(f"levels of {depths} steps: Glow needs the same number in each level")
    if found and len(found) != sum(depths):
        raise InputError("some steps have a 1x1 convolution and others have none")
    return depths, found


def y0ast(source, config, chaiyujin=False):
    """github.com/y0ast/Glow-PyTorch, and github.com/chaiyujin/glow-pytorch, from which it stems: no edge channel, scales of
    the actnorms exp(logs) without the 3."""
    params = {}
    layers = TorchLayers(source, params, nested=not chaiyujin)
    depths, found = torch_steps(layers, "f" if chaiyujin else "block")
    if found:
        mixings(config, params, found)
    elif config["permutation"] != "reverse":  # a fixed permutation is in no state dict
        raise InputError("the steps have no 1x1 convolution, and the file does not store their permutation: use "
                         "--permutation reverse if channels are reversed; a shuffle cannot be recovered")
    layers.prior(config, "learn_top" if chaiyujin else "learn_top_fn")
    layers.classes(config)
    source.forget(r"prior_h|new_mean|new_logs|flow\.z_shapes|.*\.(l_mask|eye)|.*\.actnorm\.inited|.*\.(inited|num_batches_tracked)")
    outputs = len(params["level0/step0/coupling/conv3/bias"])
    config.update(levels=len(depths), depth=depths[0], width=len(params["level0/step0/coupling/conv1/weight"]), edge_bias=False,
                  channels=len(params["level0/step0/actnorm/bias"]) // 4,
                  coupling="affine" if outputs == len(params["level0/step0/actnorm/bias"]) else "additive")
    if chaiyujin:  # images of 0 .. 1, ours of -1/2 .. 1/2
        params["level0/step0/actnorm/bias"] = params["level0/step0/actnorm/bias"] + 0.5
    return params


def chaiyujin(source, config):
    return y0ast(source, config, chaiyujin=True)


class Imported:
    """The training state of a checkpoint: trees of the trainable tensors by our names; empty if absent."""

    def __init__(self, params, ema=None, m=None, v=None, step=0):
        self.params, self.trees, self.step = params, {"ema": ema or {}, "optimizer/m": m or {}, "optimizer/v": v or {}}, step
        self.notes = []


def flat(value):
    return value.reshape(-1)


def filters(value):
    """TensorFlow's [kh, kw, in, out]."""
    return value.transpose(3, 0, 1, 2)


def mixing_matrix(value):
    """y = x W."""
    return value.reshape(value.shape[-2:]).T


AVERAGE = "/ExponentialMovingAverage"


def openai_layout(source, config, mixing):
    """[(their name, our name or None, transformation)] of the trainable variables, in the order in which openai/glow creates
    them: its optimizer's variables have no names but follow this order. None: LU factors, and what acts on zeros alone."""
    layout = []

    def conv(at, theirs):
        layout.append((f"{theirs}/W", f"{at}/weight", filters))

    def actnorm(at, theirs):
        layout.append((f"{theirs}/actnorm_center/b", f"{at}/bias", flat))
        layout.append((f"{theirs}/actnorm_scale/logs", f"{at}/logs", flat))

    def zeros(at, theirs, weight):
        layout.append((f"{theirs}/W", f"{at}/weight" if weight else None, weight))
        layout.append((f"{theirs}/b", f"{at}/bias", flat))
        layout.append((f"{theirs}/logs", f"{at}/logs", flat))

    for level in range(config["levels"]):
        for step in range(config["depth"]):
            at, theirs = f"level{level}/step{step}", f"{level}/{step}"
            actnorm(f"{at}/actnorm", theirs)
            if mixing == "W":
                layout.append((f"{theirs}/invconv/W", f"{at}/invconv/weight", mixing_matrix))
            if mixing == "LU":
                layout += [(f"{theirs}/invconv/{part}", None, None) for part in ("L", "log_S", "U")]
            for ours, layer in (("conv1", "l_1"), ("conv2", "l_2")):
                conv(f"{at}/coupling/{ours}", f"{theirs}/f1/{layer}")
                actnorm(f"{at}/coupling/{ours}/actnorm", f"{theirs}/f1/{layer}")
            zeros(f"{at}/coupling/conv3", f"{theirs}/f1/l_last", filters)
        if level + 1 < config["levels"]:
            zeros(f"level{level}/split", f"pool{level}/conv", filters)
    if "prior/p/b" in source:  # its input is 0 but for the edge
        zeros("prior/top", "prior/p", (lambda value: filters(value)[..., -1:]) if config["edge_bias"] else None)
    for at, theirs in (("prior/class", "prior/y_emb"), ("classifier", "classifier")):
        if f"{theirs}/W" in source:
            zeros(at, theirs, lambda value: value)
    return layout


def openai_permutation(source, config, whole):
    """The kind of channel mixing: "W", "LU", "shuffle" or "reverse", equal in every step."""
    marks = {"W": "invconv/W", "LU": "invconv/L", "shuffle": "shuffle/indices"}
    steps = [f"{level}/{step}" for level in range(config["levels"]) for step in range(config["depth"])]
    found = {theirs: [kind for kind, mark in marks.items() if f"{theirs}/{mark}" in source] for theirs in steps}
    kinds = {tuple(kinds) for kinds in found.values()}
    if len(kinds) != 1 or len(next(iter(kinds))) > 1:
        text = ", ".join(f"{theirs} {' and '.join(kinds) or 'none'}" for theirs, kinds in found.items())
        raise InputError(f"the steps mix their channels in different ways ({text}): a tensor is missing or too many")
    kind = "".join(next(iter(kinds)))
    if kind and config["permutation"] == "reverse":
        raise InputError(f"--permutation reverse: but the file has {steps[0]}/{marks[kind]}")
    # A whole checkpoint holds every variable, so that without matrices and indices only the reversal is left.
    if not kind and not whole and config["permutation"] != "reverse":
        raise InputError("the steps have no 1x1 convolution and no shuffle: if their channels are reversed, say --permutation reverse")
    return kind or "reverse"


def openai_indices(source, theirs):
    """y[c] = x[indices[c]], as in our model. The stored inverse is redundant and must agree."""
    indices = source.flat(f"{theirs}/indices")
    if not np.array_equal(np.sort(indices), np.arange(len(indices))):
        raise InputError(f"{theirs}/indices is not a permutation of 0 ..  {len(indices) - 1}")
    indices = indices.astype(np.int32)
    if f"{theirs}/indices_inverse" in source and not np.array_equal(source.flat(f"{theirs}/indices_inverse"), np.argsort(indices)):
        raise InputError(f"{theirs}/indices_inverse is not the inverse of {theirs}/indices")
    return indices


def openai_lu_matrix(tensors, theirs):
    """The transpose of P (L + I) (U + diag(sign_S exp(log_S))): with the factors of `tensors`, a Source."""
    part = {name: tensors.take(f"{theirs}/{name}") for name in ("P", "L", "U", "sign_S", "log_S")}
    C = part["sign_S"].size
    for name, shape in (("P", (C, C)), ("L", (C, C)), ("U", (C, C)), ("log_S", (C,))):
        if part[name].shape != shape:
            raise InputError(f"{theirs}/{name} is {list(part[name].shape)}, expected {list(shape)}")
    P = part["P"]
    if not (np.isin(P, (0, 1)).all() and (P.sum(axis=0) == 1).all() and (P.sum(axis=1) == 1).all()):
        raise InputError(f"{theirs}/P is not a permutation matrix")
    if not np.isin(part["sign_S"], (-1, 1)).all():
        raise InputError(f"{theirs}/sign_S has a value other than 1 or -1")
    return LuFactors(P, part["L"], part["U"], part["sign_S"].reshape(-1), part["log_S"]).matrix().T


def openai_moments(optimizer, layout, weights):
    """(first moments, second moments, step) by their names. The optimizer creates the counter, then for each weight the second
    moment and the first one, all without a name: Variable, Variable_1, Variable_2, ... With beta1 = 0 there are no first ones."""
    if not optimizer:
        return {}, {}, 0
    named = {int(name.partition("_")[2] or 0): value for name, value in optimizer.items()}
    missing = sorted(set(range(len(named))) - set(named))
    if missing:
        raise InputError(f"Variable{f'_{missing[0]}' if missing[0] else ''} is missing: the optimizer's variables are numbered without gaps")
    counter = np.asarray(named[0], np.float64)
    if counter.size != 1 or not np.isfinite(counter).all() or counter.item() < 1 or counter.item() % 1:
        raise InputError("Variable: expected the optimizer's counter, 1 at the start and 1 more with every step")
    step = int(counter.item()) - 1
    if len(named) == 1:
        return {}, {}, step
    each = (len(named) - 1) / len(layout)
    if each not in (1, 2):
        raise InputError(f"{len(named) - 1} optimizer's variables Variable_N for {len(layout)} weights: expected two for each (one with beta1 = 0)")
    m, v = {}, {}
    for i, (theirs, _, _) in enumerate(layout):
        # The last update's m is not needed where beta1 = 0.
        numbers = (2 * i + 1, 2 * i + 2) if each == 2 else (i + 1, None)
        for moments, number in zip((v, m), numbers):
            value = np.zeros_like(weights[theirs]) if number is None else named[number]
            if value.shape != weights[theirs].shape:
                raise InputError(f"Variable_{number} is {list(value.shape)}, expected {list(weights[theirs].shape)}, a moment of {theirs}: "
                                 "the optimizer's variables follow the weights in the order in which openai/glow creates them")
            if moments is v and (np.asarray(value) < 0).any():
                raise InputError(f"Variable_{number}, the second moment of {theirs}, has a negative value")
            moments[theirs] = value
    return m, v, step


def openai_groups(tensors):
    """({weight: value}, {weight: average}, {optimizer's variable: value}), without TensorFlow's decorations."""
    found = {}
    for name, value in tensors.items():
        short = re.sub(r":0$", "", name).removeprefix("model/")
        if short in found:
            raise InputError(f"{name} appears twice, with and without model/ or :0")
        found[short] = value
    optimizer = {name: value for name, value in found.items() if re.fullmatch(r"Variable(_[1-9]\d*)?", name)}
    averages = {name.removesuffix(AVERAGE): value for name, value in found.items() if name.endswith(AVERAGE)}
    weights = {name: value for name, value in found.items() if name not in optimizer and not name.endswith(AVERAGE)}
    if averages and not any(name in weights for name in averages):
        # save_ema of optim.py: every trainable variable is stored under its average's name.
        optimizer |= {name: averages.pop(name) for name in list(averages) if re.fullmatch(r"Variable(_[1-9]\d*)?", name)}
        weights, averages = weights | averages, {}
    return weights, averages, optimizer


def openai(source, config):
    """github.com/openai/glow: TensorFlow's variables, [kh, kw, in, out], y = x W. The edge channel is there, as in ours."""
    weights, averages, optimizer = openai_groups(source.left)
    # Forks use TensorFlow's own Adam: its slots are left out.
    source.left = {name: value for name, value in weights.items() if not re.fullmatch(r"beta[12]_power|global_step", name) and
                   not (re.search(r"/Adam(_1)?$", name) and name.rpartition("/")[0] in weights)}
    names = list(source.left)
    config["levels"] = count_levels(names, r"(\d+)/\d+/")
    config["depth"] = count_levels(names, r"0/(\d+)/")
    kind = openai_permutation(source, config, bool(optimizer))
    for name in ("0/0/actnorm_center/b", "0/0/f1/l_1/W", "0/0/f1/l_last/b"):
        if name not in source:
            raise InputError(f"{name} is missing: the file has a different layout or version")
    C, first = np.size(weights["0/0/actnorm_center/b"]), np.shape(weights["0/0/f1/l_1/W"])
    config.update(channels=C // 4, width=first[3], learn_top="prior/p/b" in source, edge_bias=first[2] > C // 2,
                  coupling="affine" if np.size(weights["0/0/f1/l_last/b"]) == C else "additive",
                  permutation={"W": "invconv", "LU": "invconv"}.get(kind, kind))
    layout = openai_layout(source, config, kind)
    steps = [(f"level{level}/step{step}", f"{level}/{step}") for level in range(config["levels"]) for step in range(config["depth"])]
    fixed = {name: value for name, value in weights.items() if name.endswith(("/P", "/sign_S"))}

    def converted(tensors):
        tree = {}
        for theirs, ours, change in layout:
            if ours:
                tree[ours] = change(tensors.take(theirs))
            elif kind != "LU" or "/invconv/" not in theirs:
                tensors.take(theirs)
        if kind == "LU":
            tree |= {f"{at}/invconv/weight": openai_lu_matrix(tensors, f"{theirs}/invconv") for at, theirs in steps}
        return tree

    params = converted(source)
    if kind == "shuffle":
        params |= {f"{at}/shuffle/indices": openai_indices(source, f"{theirs}/shuffle") for at, theirs in steps}
    if "prior/class/weight" in params:
        config.update(y_cond=True, n_classes=len(params["prior/class/weight"]))
    imported = Imported(params)
    m, v, imported.step = openai_moments(optimizer, layout, weights)
    if averages:
        left = Source(averages | fixed, AVERAGE)
        imported.trees["ema"] = converted(left)
        left.finish("averages")
    if v and kind == "LU":
        imported.notes.append("skipped the moments of LU factors: our W is their product")
    elif v:
        imported.trees["optimizer/m"], imported.trees["optimizer/v"] = converted(Source(m)), converted(Source(v))
        if not averages:  # as theirs begin
            imported.trees["ema"] = {ours: params[ours] for _, ours, _ in layout if ours}
    return imported


FOREIGN = {"rosinality": rosinality, "y0ast": y0ast, "chaiyujin": chaiyujin, "openai": openai}


# --- The command --------------------------------------------------------------------------------------------------


def import_foreign(kind, arguments):
    tensors = {name.removeprefix("module."): value for name, value in read_named(arguments.input).items()}
    if not tensors:
        raise InputError(f"{arguments.input}: it contains no tensors")
    wrong = [name for name, value in tensors.items() if np.asarray(value).dtype.kind not in "fiub"]
    if wrong:
        raise InputError(f"{arguments.input}: {wrong[0]} is not numeric")
    source, (height, width) = Source(tensors), size_of(arguments.size or "32")
    config = dict(image_height=height, image_width=width, channels=3, n_bits=arguments.n_bits, levels=1, depth=1, width=1,
                  permutation=arguments.permutation or "invconv", coupling="affine", edge_bias=True, learn_top=True, y_cond=False,
                  n_classes=0, weight_y=0.0)
    try:
        imported = FOREIGN[kind](source, config)
    except (ValueError, IndexError) as error:  # both bases of NumPy's AxisError
        raise InputError(f"{arguments.input}: a tensor's shape does not match the layout: {error}") from None
    source.finish()
    if not isinstance(imported, Imported):
        imported = Imported(imported)
    config["weight_y"] = weight_of_classifier(arguments.weight_y, "classifier/weight" in imported.params)
    trees = {"params": check(config, imported.params)}
    trees |= {tree: check(config, tensors, True, f"{tree}: ") for tree, tensors in imported.trees.items() if tensors}
    images = imported.step * arguments.batch
    counters = {"step": imported.step, "images_seen": images, "epoch": images / EPOCH_IMAGES}
    return config, trees, counters, imported.notes


def weight_of_classifier(given, has_classifier):
    if not has_classifier:
        if given:
            raise InputError(f"--weight-y {given:g}: the file has no classifier")
        return 0.0
    if given == 0:
        raise InputError("--weight-y 0: the file has a classifier, whose weight in the loss is above 0")
    return 0.01 if given is None else given


def import_ours(kind, arguments):
    """Reads a file written by --to."""
    if kind == "safetensors":
        tensors, metadata = read_safetensors(arguments.input)
    else:
        tensors = read_named(arguments.input)
        metadata = {"config": str(tensors.pop("config", ""))}
    try:
        config = json.loads(metadata["config"])
        config = {key: config[key] for key in shapes_of_config()}
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{arguments.input}: it contains no Glow model configuration") from None
    return config, {"params": check(config, tensors)}, {"step": 0, "images_seen": 0, "epoch": 0}, []


def size_of(text):
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise InputError(f"--size {text}: expected S or HxW in pixels")
    return int(match[1]), int(match[2] or match[1])


def check_size(size, config):
    step = 2 ** config["levels"]
    if not all(size) or any(side % step for side in size):
        raise InputError(f"--size {size[0]}x{size[1]}: {config['levels']} levels need sides divisible by {step}")


def export_onnx(arguments, config, params):
    """Function that writes the graph to a path."""
    size = config["image_height"], config["image_width"]
    if arguments.size:
        size = None if arguments.size == "any" else size_of(arguments.size)
    if size:
        check_size(size, config)
    if sum(value.nbytes for value in params.values()) > 0.99 * 2**31:
        raise InputError("the weights exceed the 2 GiB of an ONNX file")
    try:
        model = onnx_model(config, params, arguments.what, size, arguments.dequant == "input", arguments.state)
    except np.linalg.LinAlgError:
        raise InputError("a 1x1 convolution is singular: the model has no inverse") from None
    return lambda temporary: Path(temporary).write_bytes(model.SerializeToString())


ONNX_OPTIONS = {"what": None, "dequant": "center", "state": "float64"}


def check_options(arguments):
    if (arguments.source is None) == (arguments.target is None):
        raise InputError("give either --from KIND or --to KIND")
    if arguments.target != "onnx":
        for name in ONNX_OPTIONS:
            if getattr(arguments, name) is not None:
                raise InputError(f"--{name} needs --to onnx")
        return
    if arguments.what is None:
        raise InputError("--to onnx needs --what log_prob, encode or decode")
    if arguments.what == "decode" and arguments.dequant:
        raise InputError("--dequant: --what decode has no pixels as input")
    for name, value in ONNX_OPTIONS.items():
        setattr(arguments, name, getattr(arguments, name) or value)
    require_packages("numpy", "h5py", "onnx")


def run(arguments):
    check_options(arguments)
    latest = Path(arguments.input) / "latest.h5"
    files = tf_checkpoint_files(arguments.input) or [latest if latest.exists() else arguments.input]
    claim_outputs([("the input", file) for file in files], [("--output", arguments.output)])
    if arguments.source:
        foreign = arguments.source in FOREIGN
        if arguments.weight_y is not None and not foreign:
            raise InputError(f"--weight-y: an {arguments.source} file holds its own")
        config, trees, counters, notes = (import_foreign if foreign else import_ours)(arguments.source, arguments)
        params = trees["params"]
        check_size((config["image_height"], config["image_width"]), config)
        write_checkpoint(arguments.output, config, trees, counters)
    else:
        trees, notes = {}, []
        config, params = read_checkpoint(arguments.input, not arguments.no_ema)
        params = check(config, params)
        text = json.dumps(config)
        if arguments.target == "onnx":
            write = export_onnx(arguments, config, params)
        elif arguments.target == "npz":
            def write(temporary):
                with open(temporary, "wb") as file:
                    np.savez(file, config=np.array(text), **params)
        else:
            def write(temporary):
                write_safetensors(temporary, params, {"format": "glow", "config": text})
        write_atomically(arguments.output, write)
    count = sum(int(value.size) for value in params.values())
    result = {"output": arguments.output, "tensors": len(params), "values": count, "config": config}
    text = (f"{arguments.output}: {len(params)} tensors, {count} values; L {config['levels']}, K {config['depth']}, "
            f"width {config['width']}, {config['permutation']}, {config['coupling']}")
    if arguments.source:
        result |= {"trees": list(trees), **counters}
        names = {"ema": "averages", "optimizer/m": "moments"}
        with_ = " and ".join(name for tree, name in names.items() if tree in trees)
        text += f"; {with_}" * bool(with_) + f"; step {counters['step']}" * bool(counters["step"])
    for note in notes:
        print("glow_convert: note:", note, file=sys.stderr)
    print(json.dumps(result) if arguments.json else text)


def weight(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a finite number that is not negative")
    return value


def whole_number(text):
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1 on")
    return int(text)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (glow_convert --help lists the options)")


def main():
    parser = Parser("glow_convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="the file to convert, or a run folder (its latest checkpoint)")
    parser.add_argument("--from", dest="source", choices=[*FOREIGN, "npz", "safetensors"], help="source format of the weights")
    parser.add_argument("--to", dest="target", choices=["npz", "safetensors", "onnx"], help="format to convert our checkpoint to")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--size", help="image size S or HxW, which foreign files do not store (default 32); with --to onnx: the size of "
                        "the input, or 'any' (default: the size the model was trained at)")
    parser.add_argument("--n-bits", type=int, choices=range(1, 9), default=8, help="bits per channel (default 8)")
    parser.add_argument("--permutation", choices=["reverse"], help="permutation used if there are no 1x1 convolutions")
    parser.add_argument("--weight-y", type=weight, help="classifier's weight in the loss, which foreign files do not store (default 0.01)")
    parser.add_argument("--batch", type=whole_number, default=64,
                        help="images per step, to compute how many a checkpoint has seen (default 64)")
    parser.add_argument("--what", choices=["log_prob", "encode", "decode"], help="with --to onnx: what the graph computes")
    parser.add_argument("--dequant", choices=["center", "input"],
                        help="with --to onnx: u in x = (k + u) / 2^n_bits - 1/2 is 1/2, or an input of the graph (default center)")
    parser.add_argument("--state", choices=["float64", "float32"],
                        help="with --to onnx: type of the state between the networks, which are float32 (default float64, as glow_eval)")
    parser.add_argument("--no-ema", action="store_true", help="with --to: raw weights instead of averages")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="accepted for consistency; has no effect")
    parser.add_argument("--version", action="version", version=f"glow_convert {VERSION}\nHDF5 {h5py.version.hdf5_version}\nNumPy {np.__version__}")
    try:
        run(parser.parse_args())
        return 0
    except (InputError, OutputRefused) as error:
        print("glow_convert: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except (OSError, MemoryError) as error:
        print("glow_convert: error:", " ".join(str(error).split()), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
