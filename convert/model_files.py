"""Files of Glow models (checkpoints, .npz and safetensors), and the tensors of a model."""

import io
import json
import math
import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import h5py
import numpy as np
from hdf5_arrays import Hdf5FileError, hdf5_arrays
from output_files import write_atomically
from tf_checkpoint import TensorFlowFileError, read_tf_checkpoint, tf_checkpoint_files

INTEGER = ("permutation", "indices")
FIXED = INTEGER + ("sign",)


class InputError(Exception):
    pass


PROBE_FATES = {0: "", 3: "asks for gigabytes to read its directory", 127: "", -signal.SIGXCPU: "does not end on it"}
PROBE_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGKILL)


def refuse_if_hdf5_crashes(path):
    """HDF5 itself crashes on some damaged files. As the commands do, reads the file's structure in another program first
    (data/formats/hdf5_probe.cpp), if it is installed."""
    folder = Path(__file__).resolve().parent
    for place in (".", "../libexec/glow", "../../libexec/glow"):
        program = folder / place / "glow_hdf5_probe"
        if os.access(program, os.X_OK):
            break
    else:
        return
    try:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        status = subprocess.run([program, os.path.abspath(path)], **quiet).returncode
    except OSError:
        return
    crashed = status > 0 or -status in PROBE_CRASHES  # other signals come from outside
    fate = PROBE_FATES.get(status, "crashes on it" if crashed else "")
    if fate:
        raise InputError(f"cannot open {path} as an HDF5 file: it is damaged (HDF5 {fate})")


FROM_PYTORCH = "numpy.savez(F, **{k: v.numpy() for k, v in torch.load(P, map_location='cpu').items()})"


def require_file(path, what="file"):
    if os.path.islink(path) and not os.path.exists(path):
        raise InputError(f"{path}: dangling symbolic link to {os.readlink(path)}")
    if Path(path).is_dir():
        raise InputError(f"{path}: expected a {what}, found a folder")
    if not Path(path).is_file():
        mode = os.stat(path).st_mode if os.path.exists(path) else 0
        found = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device" if mode else ""
        raise InputError(f"{path}: expected a {what}, found {found}" if found else f"{path}: no such {what}")


def is_hdf5(path):
    with open(path, "rb") as file:  # h5py takes a file that cannot be read for one of another kind
        return file.read(8) == b"\x89HDF\r\n\x1a\n" or h5py.is_hdf5(path)


def system_error(error):
    """Why the system or HDF5 could not read a file; empty if the file itself is wrong."""
    found = re.search(r"errno = \d+, error message = '([^']*)'", str(error))
    if found:
        return found[1]
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""


def read_named(path):
    """{name: array} of an .npz or an HDF5 file, or of a TensorFlow checkpoint."""
    if tf_checkpoint_files(path):
        try:
            return read_tf_checkpoint(path)
        except TensorFlowFileError as error:
            raise InputError(error) from None
    require_file(path)
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"PK"
        if zipped:
            # Of the bytes: zipfile takes a file that cannot be read for a damaged one.
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as archive:
                if any(name.endswith("/data.pkl") for name in archive.files):
                    raise InputError(f"{path}: a .pt file of PyTorch, not an .npz or HDF5 file: convert it with {FROM_PYTORCH}")
                return {name: archive[name] for name in archive.files}
        if is_hdf5(path):
            refuse_if_hdf5_crashes(path)
            with h5py.File(path, "r") as f:
                return hdf5_arrays(f)
    except InputError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise InputError(f"{path}: cannot be read: {system_error(error) or error}") from None
    raise InputError(f"{path}: neither an .npz nor an HDF5 file nor a TensorFlow checkpoint (a .pt file: {FROM_PYTORCH})")


SAFE = {"F32": np.float32, "I32": np.int32}


def read_safetensors(path):
    """({name: array}, metadata): 8 bytes of length, a JSON header, the tensors."""
    require_file(path)
    data = Path(path).read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > len(data) - 8:
            raise ValueError("it has no header")
        header, tensors = json.loads(data[8 : 8 + length]), memoryview(data)[8 + length :]
        if not isinstance(header, dict):
            raise ValueError("its header is not an object")
        metadata, found, places = header.pop("__metadata__", {}), {}, []
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            shape, kind = entry["shape"], SAFE[entry["dtype"]]
            whole = all(type(number) is int and number >= 0 for number in (begin, end, *shape))
            if not whole or end > len(tensors) or end - begin != 4 * math.prod(shape):
                raise ValueError(f"the place of {name} is not inside the file, or does not fit its shape")
            expected = "I32" if name.rsplit("/", 1)[-1] in INTEGER else "F32"
            if entry["dtype"] != expected:
                raise ValueError(f"{name} is {entry['dtype']}, expected {expected}")
            found[name] = np.frombuffer(tensors[begin:end], kind).reshape(shape)
            places.append((begin, end))
        reached = 0
        for begin, end in sorted(places):  # the format has neither overlaps nor gaps
            if begin != reached:
                raise ValueError("its tensors overlap, or leave a gap between them")
            reached = end
        if reached != len(tensors):
            raise ValueError(f"{len(tensors) - reached} bytes follow its tensors")
        return found, metadata
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
    # In memory: h5py ignores errors when it closes an array, which is when HDF5 writes a small one. HDF5 reads an existing file
    # of that name first.
    with h5py.File(f".glow-convert-{os.getpid()}", "w", driver="core", backing_store=False, block_size=2**24) as f:
        f.attrs["format"] = "glow-checkpoint"
        f.attrs["version"] = 1 if config["coupling_scale"] == "sigmoid" and config["dequant_depth"] == 0 else 2
        f.attrs["config"] = json.dumps({**config, "training": {}})
        f.attrs.update(counters)
        for tree, tensors in trees.items():
            for name, value in tensors.items():
                f[f"{tree}/{name}"] = value
        f.flush()
        image = f.id.get_file_image()
    write_atomically(path, lambda temporary: Path(temporary).write_bytes(image))


VERSIONS = 1, 2  # of checkpoints
LINK_ATTEMPTS = 20  # while a running training moves latest.h5 and deletes older checkpoints


def read_checkpoint(path, ema):
    """(config, params), with averaged weights if requested and present."""
    path = Path(path) / "latest.h5" if Path(path).is_dir() else Path(path)
    for attempt in range(1, LINK_ATTEMPTS + 1):
        file = os.path.realpath(path)
        try:
            return read_checkpoint_file(file, path, ema)
        except (InputError, OSError):
            if attempt == LINK_ATTEMPTS or os.path.realpath(path) == file:
                raise


def read_checkpoint_file(file, path, ema):
    """The same of one file. path: its name in messages, perhaps a link to it."""
    require_file(path, "checkpoint")
    if not is_hdf5(file):
        raise InputError(f"{path}: not a checkpoint")
    refuse_if_hdf5_crashes(file)
    try:
        with h5py.File(file, "r") as f:
            kind = f.attrs.get("format")
            if not isinstance(kind, (str, bytes)) or kind not in ("glow-checkpoint", b"glow-checkpoint"):
                raise InputError(f"{path}: not a checkpoint")
            version = f.attrs.get("version")
            if np.size(version) != 1 or np.asarray(version).dtype.kind not in "iu" or int(version) not in VERSIONS:
                raise InputError(f"{path}: checkpoint version {version}; this program reads versions {VERSIONS[0]} to {VERSIONS[-1]}")
            config = parse_config(f.attrs["config"], path)
            params = hdf5_arrays(f, "params")
            if ema and "ema" in f:
                params |= check(config, hdf5_arrays(f, "ema"), "ema")
        return config, params
    except Hdf5FileError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        failed = system_error(error)
        raise InputError(f"{path}: cannot be read: {failed}" if failed else f"{path}: incomplete checkpoint: {error}") from None


MODEL_KEYS = ("image_height image_width channels n_bits levels depth width permutation coupling coupling_scale edge_bias "
              "learn_top y_cond n_classes weight_y dequant_depth dequant_width").split()


# Values that the commands accept (layers/config.cpp): a range of whole numbers, or words.
MODEL_VALUES = {"image_height": (2, 2**16), "image_width": (2, 2**16), "channels": (1, 4), "n_bits": (1, 8), "levels": (1, 15),
                "depth": (1, 100000), "width": (1, 2**16), "permutation": {"invconv", "invconv_lu", "shuffle", "reverse"},
                "coupling": {"affine", "additive"}, "coupling_scale": {"sigmoid", "tanh"}, "n_classes": (0, 2**20),
                "dequant_depth": (0, 1000), "dequant_width": (1, 2**12)}


def refuse_config(path, what):
    raise InputError(f"{path}: its model configuration cannot be used: {what}")


def parse_config(text, path):
    """The model's keys of a file's config, which is JSON. Older files lack some."""
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        refuse_config(path, "it is not JSON")
    if not isinstance(config, dict):
        refuse_config(path, "it is not an object")
    config = {"coupling_scale": "sigmoid", "dequant_depth": 0, "dequant_width": 32} | config
    check_values(config, path)
    if config["weight_y"] > 0 and not config["y_cond"]:
        refuse_config(path, "weight_y is the weight of a classifier, and needs y_cond")
    if config["y_cond"] and config["n_classes"] < 1:
        refuse_config(path, "y_cond needs n_classes of 1 or more")
    if config["coupling"] == "additive" and config["coupling_scale"] != "sigmoid":
        refuse_config(path, f"coupling_scale {config['coupling_scale']}: an additive coupling has no scale")
    step = 2 ** config["levels"]
    if config["image_height"] % step or config["image_width"] % step:
        refuse_config(path, f"{config['levels']} levels need sides divisible by {step}, got {config['image_height']}x{config['image_width']}")
    return {key: config[key] for key in MODEL_KEYS}


def check_values(config, path):
    """Rejects configurations that no command accepts."""

    def refuse(what):
        refuse_config(path, what)

    for key in MODEL_KEYS:
        if key not in config:
            refuse(f'it has no "{key}"')
        value, allowed = config[key], MODEL_VALUES.get(key)
        if isinstance(allowed, set):
            if not isinstance(value, str) or value not in allowed:
                refuse(f"{key} must be {' or '.join(sorted(allowed))}, got {value!r}")
        elif isinstance(allowed, tuple):
            if type(value) is not int or not allowed[0] <= value <= allowed[1]:
                refuse(f"{key} must be a whole number from {allowed[0]} to {allowed[1]}, got {value!r}")
        elif key == "weight_y":
            if type(value) not in (int, float) or not 0 <= value <= 1e6:
                refuse(f"weight_y must be a number from 0 to 1e6, got {value!r}")
        elif not isinstance(value, bool):
            refuse(f"{key} must be true or false, got {value!r}")


def parameter_shapes(c):
    """{name: shape} of every tensor of a model with this configuration."""
    edge, C = int(c["edge_bias"]), 4 * c["channels"]

    def network(name, inputs, w, outputs):
        shapes = {f"{name}/conv1/weight": (w, 3, 3, inputs + edge), f"{name}/conv2/weight": (w, 1, 1, w),
                  f"{name}/conv3/weight": (outputs, 3, 3, w + edge), f"{name}/conv3/bias": (outputs,),
                  f"{name}/conv3/logs": (outputs,)}
        return shapes | {f"{name}/conv{i}/actnorm/{part}": (w,) for i in (1, 2) for part in ("bias", "logs")}

    shapes, w = {}, c["dequant_width"]
    if c["dequant_depth"] > 0:
        shapes |= network("dequantizer/features", C, w, w)
    for step in range(c["dequant_depth"]):
        name = f"dequantizer/step{step}"
        shapes |= {f"{name}/actnorm/bias": (C,), f"{name}/actnorm/logs": (C,), f"{name}/invconv/weight": (C, C)}
        shapes |= network(f"{name}/coupling", C // 2 + w, w, C)
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
            shapes |= network(f"{name}/coupling", C // 2, c["width"], out)
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


def step_matrix(params, name, kind):
    """W of the step `name` in float64; kind: invconv or invconv_lu."""
    part = {part: params[f"{name}/invconv/{part}"].astype(np.float64) for part in MIXING_PARTS[kind]}
    if kind == "invconv":
        return part["weight"]
    L = np.tril(part["lower"], -1) + np.eye(len(part["lower"]))
    U = np.triu(part["upper"], 1) + np.diag(part["sign"] * np.exp(part["log_diag"]))
    return (L @ U)[part["permutation"].astype(int)]


MIXING_PARTS = {"invconv": ["weight"], "invconv_lu": ["permutation", "sign", "log_diag", "lower", "upper"]}
SINGULAR_CONDITION = 1e14  # kernels/small_matrix.h


def is_singular(W):
    """As the commands decide it."""
    if not np.isfinite(W).all():
        return True
    try:
        return not np.linalg.norm(W, 1) * np.linalg.norm(np.linalg.inv(W), 1) < SINGULAR_CONDITION
    except np.linalg.LinAlgError:
        return True


@np.errstate(all="ignore")
def refused_values(params):
    """What the commands refuse in a model's weights, as messages: a flow step without an inverse."""
    wrong = []
    for name, value in params.items():
        step, _, part = name.rpartition("/invconv/")
        if part in ("lower", "upper") and (np.triu(value) if part == "lower" else np.tril(value)).any():
            wrong.append(f"{name} is not strictly {part} triangular")
        kind = {"weight": "invconv", "log_diag": "invconv_lu"}.get(part)
        if kind and all(f"{step}/invconv/{other}" in params for other in MIXING_PARTS[kind]) and is_singular(step_matrix(params, step, kind)):
            what = name if kind == "invconv" else f"the matrix of {step}/invconv"
            wrong.append(f"{what} is singular or nearly so (condition number above {SINGULAR_CONDITION:g})")
        # Scales from 2^-1000 to 2^1000, as in kernels/mixing_values.cu.
        if re.fullmatch(r".*/step\d+/actnorm/logs", name) and not (np.abs(3 * value.astype(np.float64)) < 693).all():
            wrong.append(f"{name} has a value above {693 // 3} or below -{693 // 3}")
    return wrong


def check(config, params, tree="params"):
    """The tensors of a tree, /params by default, in the types of a checkpoint. Rejects missing or extra tensors, wrong shapes and
    values that no command accepts."""
    if len(params) < config["levels"] * config["depth"]:  # the names alone of a million steps take gigabytes
        raise InputError(f"{len(params)} tensors are too few for {config['levels']} levels of {config['depth']} steps")
    shapes, wrong = parameter_shapes(config), []
    if tree != "params":
        shapes = {name: shape for name, shape in shapes.items() if name.rsplit("/", 1)[1] not in FIXED}
    wrong += [f"{name} is missing" for name in shapes if name not in params]
    wrong += [f"{name} is not part of the model" for name in params if name not in shapes]
    checked = {}
    for name in shapes.keys() & params.keys():
        value, integer = np.asarray(params[name]), name.rsplit("/", 1)[1] in INTEGER
        if value.dtype.kind not in "fiub":
            wrong.append(f"{name} is not numeric, or complex")
        elif value.shape != shapes[name]:
            wrong.append(f"{name} is {list(value.shape)}, expected {list(shapes[name])}")
        elif not np.isfinite(value).all():
            wrong.append(f"{name} has a value that is not finite")
        elif integer and not np.array_equal(np.sort(value), np.arange(len(value))):
            wrong.append(f"{name} is not a permutation of 0 .. {len(value) - 1}")
        elif name.endswith("/sign") and not np.isin(value, (-1, 1)).all():
            wrong.append(f"{name} has a value other than 1 or -1")
        else:
            with np.errstate(over="ignore"):
                checked[name] = np.ascontiguousarray(value, np.int32 if integer else np.float32)
            if not np.isfinite(checked[name]).all():
                wrong.append(f"{name} has a value above the largest float32")
    if not wrong and tree in ("params", "ema"):
        wrong = refused_values(checked)
    if wrong:
        raise InputError(f"{tree}: " * (tree != "params") + "; ".join(sorted(wrong)[:5]) + (f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""))
    return {name: checked[name] for name in shapes}
