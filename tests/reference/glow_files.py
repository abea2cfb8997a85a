"""Glow's files and the values in them: configurations, names and shapes of parameters, checkpoints, data sets.

Random numbers come from NumPy and are rounded to float32, as in a checkpoint, so that the reference and the program that it
is compared with use the same values.
"""

import json
from pathlib import Path, PurePosixPath

import h5py
import numpy as np


def make_config(**changes):
    """All model keys of a checkpoint's config, with the command line's defaults, and `changes`. Files may lack coupling_scale,
    which is then sigmoid, and the keys of a dequantizer: they are here only if given."""
    config = dict(image_height=32, image_width=32, channels=3, n_bits=8, levels=3, depth=32, width=512,
                  permutation="invconv", coupling="affine", edge_bias=True, learn_top=True, y_cond=False,
                  n_classes=0, weight_y=0.0)
    unknown = set(changes) - set(config) - {"coupling_scale", "dequant_depth", "dequant_width"}
    if unknown:
        raise KeyError(f"no such configuration keys: {sorted(unknown)}")
    return {**config, **changes}


def is_trainable(name):
    """Permutations and signs are fixed; every other tensor is trained."""
    return name.rsplit("/", 1)[1] not in ("permutation", "sign", "indices")


def network_shapes(name, inputs, width, outputs, edge):
    """Of the three convolutions of a coupling."""
    shapes = {f"{name}/conv1/weight": (width, 3, 3, inputs + edge)}
    shapes |= {f"{name}/conv1/actnorm/{part}": (width,) for part in ("bias", "logs")}
    shapes[f"{name}/conv2/weight"] = (width, 1, 1, width)
    shapes |= {f"{name}/conv2/actnorm/{part}": (width,) for part in ("bias", "logs")}
    shapes[f"{name}/conv3/weight"] = (outputs, 3, 3, width + edge)
    return shapes | {f"{name}/conv3/{part}": (outputs,) for part in ("bias", "logs")}


def dequantizer_shapes(config, C, edge):
    """Of the flow of variational noise, at the resolution of level 0 with C channels; none without it."""
    depth, width = config.get("dequant_depth", 0), config.get("dequant_width", 0)
    shapes = network_shapes("dequantizer/features", C, width, width, edge) if depth else {}
    for step in range(depth):
        name = f"dequantizer/step{step}"
        shapes |= {f"{name}/actnorm/{part}": (C,) for part in ("bias", "logs")}
        shapes[f"{name}/invconv/weight"] = (C, C)
        shapes |= network_shapes(f"{name}/coupling", C // 2 + width, width, C, edge)
    return shapes


def parameter_shapes(config):
    """{name: shape} of every tensor, trainable or not, in the order of the forward pass."""
    width, edge = config["width"], int(config["edge_bias"])
    C = 4 * config["channels"]
    shapes = dequantizer_shapes(config, C, edge)
    for level in range(config["levels"]):
        out = C if config["coupling"] == "affine" else C // 2
        for step in range(config["depth"]):
            name = f"level{level}/step{step}"
            shapes |= {f"{name}/actnorm/bias": (C,), f"{name}/actnorm/logs": (C,)}
            if config["permutation"] == "invconv":
                shapes[f"{name}/invconv/weight"] = (C, C)
            elif config["permutation"] == "invconv_lu":
                shapes |= {f"{name}/invconv/{part}": (C,) for part in ("permutation", "sign", "log_diag")}
                shapes |= {f"{name}/invconv/{part}": (C, C) for part in ("lower", "upper")}
            elif config["permutation"] == "shuffle":
                shapes[f"{name}/shuffle/indices"] = (C,)
            shapes |= network_shapes(f"{name}/coupling", C // 2, width, out, edge)
        if level < config["levels"] - 1:
            shapes[f"level{level}/split/weight"] = (C, 3, 3, C // 2 + edge)
            shapes |= {f"level{level}/split/{part}": (C,) for part in ("bias", "logs")}
            C *= 2
    if config["learn_top"]:
        if edge:
            shapes["prior/top/weight"] = (2 * C, 3, 3, 1)
        shapes |= {f"prior/top/{part}": (2 * C,) for part in ("bias", "logs")}
    classes = config["n_classes"]
    if config["y_cond"]:
        shapes["prior/class/weight"] = (classes, 2 * C)
        shapes |= {f"prior/class/{part}": (2 * C,) for part in ("bias", "logs")}
    if config["y_cond"] and config["weight_y"] > 0:
        shapes["classifier/weight"] = (C, classes)
        shapes |= {f"classifier/{part}": (classes,) for part in ("bias", "logs")}
    return shapes


def make_parameters(config, value):
    """{name: array} with value(name, shape) for each tensor, in the types of a checkpoint."""
    integer = ("permutation", "indices")
    params = {}
    for name, shape in parameter_shapes(config).items():
        dtype = np.int32 if name.rsplit("/", 1)[1] in integer else np.float32
        params[name] = np.asarray(value(name, shape)).astype(dtype)
    return params


def initial_parameters(config, seed):
    """Training's start, before the initialization from data. For invconv_lu: a random orthogonal W, factored."""
    rng = np.random.default_rng(seed)
    factors = {}  # of the invconv_lu being filled in; its permutation comes first

    def value(name, shape):
        layer, part = name.rsplit("/", 1)
        if part == "indices":
            return rng.permutation(*shape)
        if layer.endswith("/invconv"):
            if part == "weight":
                return orthogonal(rng, shape[0])
            if part == "permutation":
                factors.update(plu(orthogonal(rng, shape[0])))
            return factors[part]
        if name.endswith(("conv1/weight", "conv2/weight")):
            return 0.05 * rng.standard_normal(shape)
        return np.zeros(shape)

    return make_parameters(config, value)


def random_parameters(config, seed):
    """Every value random and non-zero, W far from orthogonal and from singular. The states stay of order one for a few
    steps; a deep model's actnorms need the initialization from data on top."""
    rng = np.random.default_rng(seed)

    def value(name, shape):
        layer, part = name.rsplit("/", 1)
        if part in ("permutation", "indices"):
            return rng.permutation(*shape)
        if part == "sign":
            return rng.choice([-1.0, 1.0], shape)
        noise = rng.standard_normal(shape)
        if layer.endswith("/invconv"):
            if part == "weight":  # singular values in [0.6, 1.6]
                scale = np.exp(rng.uniform(-0.5, 0.5, shape[0]))
                return orthogonal(rng, shape[0]) @ np.diag(scale) @ orthogonal(rng, shape[0])
            if part == "log_diag":
                return 0.2 * noise
            triangle = np.tril(noise, -1) if part == "lower" else np.triu(noise, 1)
            return 0.5 / np.sqrt(shape[0]) * triangle
        if part == "logs":
            return 0.05 * noise
        if part == "bias":
            return 0.2 * noise
        fan_in = shape[0] if len(shape) == 2 else np.prod(shape[1:])  # [in, out] or [out, kh, kw, in]
        gain = 1.0 if name.endswith(("conv1/weight", "conv2/weight")) else 0.3
        return gain / np.sqrt(fan_in) * noise

    return make_parameters(config, value)


def orthogonal(rng, C):
    return np.linalg.qr(rng.standard_normal((C, C)))[0]


def plu(W):
    """The parts of W = P (L + I) (U + diag(sign exp(log_diag))), by elimination with row pivoting."""
    C, A = len(W), W.astype(np.float64).copy()
    rows = np.arange(C)  # row i of A stems from row rows[i] of W
    for i in range(C):
        pivot = i + np.argmax(np.abs(A[i:, i]))
        A[[i, pivot]], rows[[i, pivot]] = A[[pivot, i]], rows[[pivot, i]]
        A[i + 1 :, i] /= A[i, i]
        A[i + 1 :, i + 1 :] -= np.outer(A[i + 1 :, i], A[i, i + 1 :])
    diagonal = np.diag(A)
    # Row i of LU is row rows[i] of W; permutation[r] is the row of LU that W's row r picks.
    return dict(permutation=np.argsort(rows), sign=np.sign(diagonal), log_diag=np.log(np.abs(diagonal)),
                lower=np.tril(A, -1), upper=np.triu(A, 1))


# --- Files --------------------------------------------------------------------------------------------------------


def create_file(path):
    """An empty file, as small and as repeatable as HDF5 makes them: compact groups (1.8), no time stamps."""
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_obj_track_times(False)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V18)
    return h5py.File(h5py.h5f.create(bytes(Path(path)), h5py.h5f.ACC_TRUNC, creation, access))


def put(f, name, value):
    """f[name] = value (a data set makes a hard link), creating groups without time stamps."""
    untimed = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    untimed.set_obj_track_times(False)
    for parent in reversed(PurePosixPath(name).parents[:-1]):
        if str(parent) not in f:
            h5py.h5g.create(f.id, bytes(parent), gcpl=untimed)
    f[name] = value


def write_checkpoint(path, config, params, training=None):
    """A full checkpoint at step 0: /params, an /ema equal to it and zero moments. Returns nothing; overwrites path."""
    trainable = {name: value for name, value in params.items() if is_trainable(name)}
    with create_file(path) as f:
        f.attrs["format"] = "glow-checkpoint"
        f.attrs["version"] = 2 if config.get("coupling_scale", "sigmoid") != "sigmoid" or config.get("dequant_depth") else 1
        f.attrs["config"] = json.dumps({**config, "training": training or {}}, indent=1)
        for counter in ("step", "images_seen", "epoch"):
            f.attrs[counter] = 0
        for name, value in params.items():
            put(f, f"params/{name}", value)
        for name, value in trainable.items():
            put(f, f"ema/{name}", f[f"params/{name}"])  # a hard link: one copy of two equal tensors, as for m and v
            put(f, f"optimizer/m/{name}", np.zeros_like(value))
            put(f, f"optimizer/v/{name}", f[f"optimizer/m/{name}"])


def read_tree(path, tree):
    """{name: array} of all data sets below `tree` ("params", "ema", "optimizer/m", "golden/gradients", ...)."""
    values = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            values[name] = item[()]

    with h5py.File(path, "r") as f:
        f[tree].visititems(keep)
    return values


def read_config(path):
    with h5py.File(path, "r") as f:
        return json.loads(f.attrs["config"])


def read_images(path, split, limit=None):
    """(uint8 [N,H,W,C], labels int [N] or None): the first `limit` of a split of a data set."""
    with h5py.File(path, "r") as f:
        labels = f[f"{split}/labels"][:limit].astype(np.int64) if f"{split}/labels" in f else None
        return f[f"{split}/images"][:limit], labels


def read_n_classes(path, split="train"):
    with h5py.File(path, "r") as f:
        return int(f[f"{split}/labels"].attrs["n_classes"])


def write_dataset(path, name="test", **splits):
    """splits: train=images, test=images, or (images, labels, n_classes)."""
    with h5py.File(path, "w") as f:
        f.attrs["format"] = "glow-dataset"
        f.attrs["version"] = 1
        f.attrs["name"] = name
        for split, content in splits.items():
            images, labels, n_classes = content if isinstance(content, tuple) else (content, None, 0)
            f[f"{split}/images"] = images
            if labels is not None:
                f[f"{split}/labels"] = labels.astype(np.int32)
                f[f"{split}/labels"].attrs["n_classes"] = n_classes
