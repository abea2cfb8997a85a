#!/usr/bin/env python3
"""glow_convert: weights of other programs to a checkpoint of ours, and a checkpoint's to plain files.

    glow_convert --from rosinality F.npz --size 32 --n-bits 5 -o C.h5
    glow_convert --to safetensors RUN -o F.safetensors

Reads state dicts of the PyTorch Glows of rosinality, y0ast and chaiyujin, and the variables of openai/glow, from .npz or
HDF5 files whose entries are named as there; a tensor whose place in our model is not known is refused, never dropped.
Writes /params alone: evaluate with --no-ema or without, train on with --init-from.

Exit status: 0 done, 1 failure while writing, 2 bad usage, or weights that our model cannot express (the message says why).
"""

import argparse
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

from output_files import OutputRefused, claim_outputs, write_atomically

VERSION = "@PROJECT_VERSION@"
INTEGER = ("permutation", "indices")
FIXED = INTEGER + ("sign",)


class InputError(Exception):
    pass


# --- Files --------------------------------------------------------------------------------------------------------


def read_named(path):
    """{name: array} of an .npz, an HDF5 or a .safetensors file."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
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
    raise InputError(f"{path}: neither an .npz nor an HDF5 file (a .pt file: numpy.savez(F, **{{k: v.numpy() for k, v in "
                     "torch.load(P).items()}))")


SAFE = {"F32": np.float32, "I32": np.int32}


def read_safetensors(path):
    """({name: array}, metadata): 8 bytes of length, a JSON header, the tensors."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
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


def write_checkpoint(path, config, params):
    def write(temporary):
        with h5py.File(temporary, "w") as f:
            f.attrs["format"], f.attrs["version"] = "glow-checkpoint", 1
            f.attrs["config"] = json.dumps({**config, "training": {}})
            for counter in ("step", "images_seen", "epoch"):
                f.attrs[counter] = 0
            for name, value in params.items():
                f[f"params/{name}"] = value

    write_atomically(path, write)


def read_checkpoint(path, ema):
    """(config, params): the averaged weights where they are and wanted."""
    path = Path(path) / "latest.h5" if Path(path).is_dir() else Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise InputError(f"{path}: there is no such checkpoint")
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
        raise InputError(f"{path}: not a whole checkpoint: {error}") from None


# --- Our model ----------------------------------------------------------------------------------------------------


def shapes_of_config():
    return ("image_height image_width channels n_bits levels depth width permutation coupling edge_bias learn_top y_cond "
            "n_classes weight_y").split()


def parameter_shapes(c):
    """{name: shape} of every tensor that a model of this configuration has."""
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


def check(config, params):
    """params in the types of a checkpoint; refuses what is missing, too much, of another shape or not finite."""
    shapes, wrong = parameter_shapes(config), []
    wrong += [f"{name} is missing" for name in shapes if name not in params]
    wrong += [f"{name} has no place in the model" for name in params if name not in shapes]
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
        raise InputError("; ".join(sorted(wrong)[:5]) + (f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""))
    return {name: checked[name] for name in shapes}


# --- Foreign layouts ----------------------------------------------------------------------------------------------


class Source:
    """Tensors that are taken one by one, so that what is left over is known."""

    def __init__(self, tensors):
        self.left = dict(tensors)

    def __contains__(self, name):
        return name in self.left

    def take(self, name):
        if name not in self.left:
            raise InputError(f"{name} is missing: another layout, or another version of it")
        return np.asarray(self.left.pop(name), np.float64)

    def flat(self, name):
        return self.take(name).reshape(-1)

    def forget(self, pattern):
        for name in [name for name in self.left if re.fullmatch(pattern, name)]:
            del self.left[name]

    def finish(self):
        if self.left:
            names = sorted(self.left)
            raise InputError(f"{len(names)} tensors have no place in our model: {', '.join(names[:5])}")


def conv(weight, edge=None):
    """PyTorch's [out, in, kh, kw] to [out, kh, kw, in], with a last channel for the edge."""
    weight = weight.transpose(0, 2, 3, 1)
    return weight if edge is None else np.concatenate([weight, edge[..., None]], axis=3)


def interleave(first, second):
    """Outputs (shift, scale) or (mean, logs), one after the other, to ours in turn."""
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
        raise InputError("no such weights in the file: another layout, or a part is missing")
    return len(numbers)


class LuFactors:
    """Their W = p (l + I) (u + diag(sign exp(log s))), as ours."""

    def __init__(self, p, lower, upper, sign, log_diag):
        self.parts = {"permutation": np.argmax(p, axis=1), "sign": np.sign(sign), "log_diag": log_diag,
                      "lower": np.tril(lower, -1), "upper": np.triu(upper, 1)}

    def matrix(self):
        part, C = self.parts, len(self.parts["sign"])
        LU = (part["lower"] + np.eye(C)) @ (part["upper"] + np.diag(part["sign"] * np.exp(part["log_diag"])))
        return LU[part["permutation"]]


def mixings(config, params, found):
    """found: {step name: matrix or LuFactors} to tensors; factors are kept where every step has them."""
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
                raise InputError(f"{flow}.actnorm.scale is 0 somewhere: that layer has no inverse")
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
        raise InputError(f"no {prefix}N weights in the file: another layout")
    return sorted((index, kind) for index, kind in kinds.items())


def y0ast(source, config, chaiyujin=False):
    """github.com/y0ast/Glow-PyTorch, and github.com/chaiyujin/glow-pytorch, from which it stems: no edge channel, scales of
    the actnorms exp(logs) without the 3."""
    params, found, C = {}, {}, None
    prefix, net = ("flow.layers.", "f") if chaiyujin else ("flow.layers.", "block")
    inner = "" if chaiyujin else ".conv"  # theirs hold a convolution, his are one

    def zero_conv(at, theirs):
        params[f"{at}/weight"] = conv(source.take(f"{theirs}{inner}.weight"))
        params[f"{at}/bias"], params[f"{at}/logs"] = source.flat(f"{theirs}{inner}.bias"), source.flat(f"{theirs}.logs")

    def linear_zeros(at, theirs):
        inside = "" if chaiyujin else ".linear"
        params[f"{at}/weight"] = source.take(f"{theirs}{inside}.weight").T
        params[f"{at}/bias"], params[f"{at}/logs"] = source.flat(f"{theirs}{inside}.bias"), source.flat(f"{theirs}.logs")

    level, step, depths = 0, 0, []
    for index, kind in layers_of(source, prefix):
        layer = f"{prefix}{index}"
        if kind == "split":
            zero_conv(f"level{level}/split", f"{layer}.conv")
            depths.append(step)
            level, step = level + 1, 0
            continue
        at = f"level{level}/step{step}"
        params[f"{at}/actnorm/bias"], params[f"{at}/actnorm/logs"] = source.flat(f"{layer}.actnorm.bias"), source.flat(f"{layer}.actnorm.logs") / 3
        C = len(params[f"{at}/actnorm/bias"])
        if f"{layer}.invconv.weight" in source:
            found[at] = source.take(f"{layer}.invconv.weight").reshape(C, C)
        elif f"{layer}.invconv.log_s" in source:
            found[at] = LuFactors(source.take(f"{layer}.invconv.p"), source.take(f"{layer}.invconv.l"), source.take(f"{layer}.invconv.u"),
                                  source.flat(f"{layer}.invconv.sign_s"), source.flat(f"{layer}.invconv.log_s"))
        for ours, theirs in (("conv1", "0"), ("conv2", "2")):
            params[f"{at}/coupling/{ours}/weight"] = conv(source.take(f"{layer}.{net}.{theirs}{inner}.weight"))
            params[f"{at}/coupling/{ours}/actnorm/bias"] = source.flat(f"{layer}.{net}.{theirs}.actnorm.bias")
            params[f"{at}/coupling/{ours}/actnorm/logs"] = source.flat(f"{layer}.{net}.{theirs}.actnorm.logs") / 3
        zero_conv(f"{at}/coupling/conv3", f"{layer}.{net}.4")
        step += 1
    depths.append(step)
    if len(set(depths)) != 1:
        raise InputError(f"levels of {depths} steps: ours have the same number each")
    if found and len(found) != sum(depths):
        raise InputError("some steps have a 1x1 convolution and others have none")
    if found:
        mixings(config, params, found)
    else:  # a fixed permutation, which is in no state dict
        if config["permutation"] != "reverse":
            raise InputError("the steps have no 1x1 convolution; their permutation is not in the file: with --permutation reverse "
                             "it is the reversal, and a shuffle cannot be known")
    if "learn_top.weight" in source if chaiyujin else "learn_top_fn.conv.weight" in source:
        top = "learn_top" if chaiyujin else "learn_top_fn"
        source.take(f"{top}{inner}.weight")  # of an input that is 0
        params["prior/top/bias"], params["prior/top/logs"] = source.flat(f"{top}{inner}.bias"), source.flat(f"{top}.logs")
    config["learn_top"] = "prior/top/bias" in params
    if any(name.startswith("project_ycond.") for name in source.left):
        linear_zeros("prior/class", "project_ycond")
        config.update(y_cond=True, n_classes=len(params["prior/class/weight"]))
        if any(name.startswith("project_class.") for name in source.left):
            linear_zeros("classifier", "project_class")
            config["weight_y"] = 0.01
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


def openai(source, config):
    """github.com/openai/glow: TensorFlow's variables, [kh, kw, in, out], y = x W. The edge channel is there, as in ours."""
    source.left = {re.sub(r":0$", "", name): value for name, value in source.left.items()}
    source.left = {name.removeprefix("model/"): value for name, value in source.left.items()}
    params, found, names = {}, {}, list(source.left)
    config["levels"] = count_levels(names, r"(\d+)/\d+/")
    config["depth"] = count_levels(names, r"0/(\d+)/")

    def conv_of(at, theirs):
        params[f"{at}/weight"] = source.take(f"{theirs}/W").transpose(3, 0, 1, 2)

    def actnorm(at, theirs):
        params[f"{at}/bias"] = source.flat(f"{theirs}/actnorm_center/b")
        params[f"{at}/logs"] = source.flat(f"{theirs}/actnorm_scale/logs")

    def zeros(at, theirs):
        params[f"{at}/bias"], params[f"{at}/logs"] = source.flat(f"{theirs}/b"), source.flat(f"{theirs}/logs")

    for level in range(config["levels"]):
        for step in range(config["depth"]):
            at, theirs = f"level{level}/step{step}", f"{level}/{step}"
            actnorm(f"{at}/actnorm", theirs)
            if f"{theirs}/invconv/W" in source:
                W = source.take(f"{theirs}/invconv/W")
                found[at] = W.reshape(W.shape[-2:]).T
            elif f"{theirs}/invconv/L" in source:
                found[at] = LuFactors(source.take(f"{theirs}/invconv/P"), source.take(f"{theirs}/invconv/L"), source.take(f"{theirs}/invconv/U"),
                                      source.flat(f"{theirs}/invconv/sign_S"), source.flat(f"{theirs}/invconv/log_S")).matrix().T
            elif f"{theirs}/indices" in source or f"{theirs}/shuffle/indices" in source:
                raise InputError(f"{theirs}: a shuffle; only its 1x1 convolutions and the reversal (--permutation reverse) are converted")
            for ours, layer in (("conv1", "l_1"), ("conv2", "l_2")):
                conv_of(f"{at}/coupling/{ours}", f"{theirs}/f1/{layer}")
                actnorm(f"{at}/coupling/{ours}/actnorm", f"{theirs}/f1/{layer}")
            conv_of(f"{at}/coupling/conv3", f"{theirs}/f1/l_last")
            zeros(f"{at}/coupling/conv3", f"{theirs}/f1/l_last")
        if level + 1 < config["levels"]:
            conv_of(f"level{level}/split", f"pool{level}/conv")
            zeros(f"level{level}/split", f"pool{level}/conv")
    if found:
        mixings(config, params, found)
    elif config["permutation"] != "reverse":
        raise InputError("the steps have no 1x1 convolution: if their channels are reversed, say --permutation reverse")
    C = len(params["level0/step0/actnorm/bias"])
    width = len(params["level0/step0/coupling/conv1/weight"])
    config.update(channels=C // 4, width=width, learn_top="prior/p/b" in source, edge_bias=params["level0/step0/coupling/conv1/weight"].shape[3] > C // 2,
                  coupling="affine" if len(params["level0/step0/coupling/conv3/bias"]) == C else "additive")
    if config["learn_top"]:
        weight = source.take("prior/p/W").transpose(3, 0, 1, 2)
        if config["edge_bias"]:
            params["prior/top/weight"] = weight[..., -1:]
        zeros("prior/top", "prior/p")
    for at, theirs in (("prior/class", "prior/y_emb"), ("classifier", "classifier")):
        if f"{theirs}/W" in source:
            params[f"{at}/weight"] = source.take(f"{theirs}/W")
            zeros(at, theirs)
    if "prior/class/weight" in params:
        config.update(y_cond=True, n_classes=len(params["prior/class/weight"]), weight_y=0.01 if "classifier/weight" in params else 0.0)
    source.forget(r"(.*/)?(Adam\w*|beta\d_power|global_step|ExponentialMovingAverage)(/.*)?|.*(_1|_2)$")
    return params


FOREIGN = {"rosinality": rosinality, "y0ast": y0ast, "chaiyujin": chaiyujin, "openai": openai}


# --- The command --------------------------------------------------------------------------------------------------


def import_foreign(kind, arguments):
    tensors = {name.removeprefix("module."): value for name, value in read_named(arguments.input).items()}
    if not tensors:
        raise InputError(f"{arguments.input}: it holds no tensors")
    wrong = [name for name, value in tensors.items() if np.asarray(value).dtype.kind not in "fiub"]
    if wrong:
        raise InputError(f"{arguments.input}: {wrong[0]} holds no numbers")
    source, height, width = Source(tensors), *size_of(arguments.size)
    config = dict(image_height=height, image_width=width, channels=3, n_bits=arguments.n_bits, levels=1, depth=1, width=1,
                  permutation=arguments.permutation or "invconv", coupling="affine", edge_bias=True, learn_top=True, y_cond=False,
                  n_classes=0, weight_y=0.0)
    try:
        params = FOREIGN[kind](source, config)
    except (ValueError, IndexError, np.AxisError) as error:
        raise InputError(f"{arguments.input}: a tensor has another shape than that layout gives it: {error}") from None
    source.finish()
    return config, check(config, params)


def import_ours(kind, arguments):
    """What --to wrote."""
    if kind == "safetensors":
        tensors, metadata = read_safetensors(arguments.input)
    else:
        tensors = read_named(arguments.input)
        metadata = {"config": str(tensors.pop("config", ""))}
    try:
        config = json.loads(metadata["config"])
        config = {key: config[key] for key in shapes_of_config()}
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{arguments.input}: it holds no configuration of a model of ours") from None
    return config, check(config, tensors)


def size_of(text):
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise InputError(f"--size {text}: expected S or HxW in pixels")
    return int(match[1]), int(match[2] or match[1])


def run(arguments):
    if (arguments.source is None) == (arguments.target is None):
        raise InputError("give either --from KIND or --to KIND")
    latest = Path(arguments.input) / "latest.h5"
    claim_outputs([("the input", latest if latest.exists() else arguments.input)], [("--output", arguments.output)])
    if arguments.source:
        config, params = (import_foreign if arguments.source in FOREIGN else import_ours)(arguments.source, arguments)
        step = 2 ** config["levels"]
        if config["image_height"] % step or config["image_width"] % step or not config["image_height"] or not config["image_width"]:
            raise InputError(f"--size {arguments.size}: {config['levels']} levels need sides divisible by {step}")
        write_checkpoint(arguments.output, config, params)
    else:
        config, params = read_checkpoint(arguments.input, not arguments.no_ema)
        params = check(config, params)
        text = json.dumps(config)
        if arguments.target == "npz":
            def write(temporary):
                with open(temporary, "wb") as file:
                    np.savez(file, config=np.array(text), **params)
        else:
            def write(temporary):
                write_safetensors(temporary, params, {"format": "glow", "config": text})
        write_atomically(arguments.output, write)
    count = sum(int(value.size) for value in params.values())
    result = {"output": arguments.output, "tensors": len(params), "values": count, "config": config}
    print(json.dumps(result) if arguments.json else f"{arguments.output}: {len(params)} tensors, {count} values; L {config['levels']}, "
          f"K {config['depth']}, width {config['width']}, {config['permutation']}, {config['coupling']}")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (glow_convert --help lists the options)")


def main():
    parser = Parser("glow_convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="the file to convert; a run's folder means its latest checkpoint")
    parser.add_argument("--from", dest="source", choices=[*FOREIGN, "npz", "safetensors"], help="whose weights the file holds")
    parser.add_argument("--to", dest="target", choices=["npz", "safetensors"], help="what to write of a checkpoint of ours")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--size", default="32", help="S or HxW of the images, which no foreign file holds (default 32)")
    parser.add_argument("--n-bits", type=int, choices=range(1, 9), default=8, help="bits of a pixel (default 8)")
    parser.add_argument("--permutation", choices=["reverse"], help="what stands in place of 1x1 convolutions, where there are none")
    parser.add_argument("--no-ema", action="store_true", help="with --to: the raw weights instead of their average")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="has no effect: there is no text for people")
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
