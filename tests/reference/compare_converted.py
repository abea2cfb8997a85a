"""compare_converted.py PROGRAMS: weights of foreign layouts through glow_convert, against PyTorch models of those layouts.

For every variant, the state dict of a model of foreign_models.py with random weights goes through glow_convert; then
`glow_eval --per-image --dequant center` must give each image the bits/dim of the foreign model. Glow's own checkpoints must
survive the conversion to npz and safetensors and back bit for bit, and examples/glow_torch.py must agree with glow_eval.
Weights that Glow's model cannot express must be refused with exit status 2 and a message that names the difference.
"""

import csv
import fcntl
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import h5py
import numpy as np
import torch

import foreign_models as foreign
from glow_files import make_config, random_parameters, read_tree, write_checkpoint, write_dataset

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests"), str(ROOT / "convert"), str(ROOT / "tools")]
import forked_scripts  # noqa: E402
import model_files  # noqa: E402

PROGRAMS = Path(sys.argv[1])
N, SIZE, CLASSES = 6, 8, 3
failures = 0


def report(name, good, text):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'}  {name:<34} {text}")


def convert(*arguments, force=True):
    return forked_scripts.run(PROGRAMS / "glow_convert", *arguments, *["--force"] * force)


def evaluate(folder, checkpoint):
    # Always the same file name, so that errors show as differences, not as an old file.
    (folder / "bits.csv").unlink(missing_ok=True)
    command = [PROGRAMS / "glow_eval", "--bpd", "--checkpoint", checkpoint, "--data", folder / "data.h5", "--dequant", "center",
               "--per-image", folder / "bits.csv", "--quiet", "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True)
    with open(folder / "bits.csv") as file:
        return np.array([float(row["bpd"]) for row in csv.DictReader(file)])


def save(path, state, as_hdf5):
    tensors = {name: value.numpy() for name, value in state.items()}
    if as_hdf5:
        with h5py.File(path, "w") as f:
            for name, value in tensors.items():
                f[name] = value
    else:
        np.savez(path, **tensors)


def compare(folder, name, kind, model, pixels, labels, n_bits=8, as_hdf5=False, channels=3, options=(), added=()):
    """float32 weights both ways; our networks are float32, theirs here double: 1e-6 bits/dim for some 200 values."""
    images = pixels[..., :channels]
    write_dataset(folder / "data.h5", train=(images, labels, CLASSES), test=(images, labels, CLASSES))
    save(folder / "weights", {**model.state_dict(), **dict(added)}, as_hdf5)
    source = folder / "weights" if as_hdf5 else folder / "weights.npz"
    done = convert("--from", kind, source, "--size", SIZE, "--n-bits", n_bits, "-o", folder / "c.h5", "--json", *options)
    if done.returncode != 0:
        return report(name, False, done.stderr)
    x = (torch.as_tensor(images // 2 ** (8 - n_bits)).double() + 0.5) / 2**n_bits - 0.5 + model.offset
    with torch.no_grad():
        log_prob = model.log_prob(x.permute(0, 3, 1, 2), torch.as_tensor(labels).long())
    theirs = n_bits - log_prob.numpy() / (x[0].numel() * math.log(2))
    difference = np.abs(evaluate(folder, folder / "c.h5") - theirs).max()
    config = json.loads(done.stdout)["config"]
    report(name, difference < 2e-6, f"largest difference {difference:.1e} bits/dim of {theirs.mean():.3f}, {config['permutation']} {config['coupling']}")


def float32(model):
    """Weights as a file of float32 holds them, computed with in double."""
    with torch.no_grad():
        if isinstance(model, foreign.OpenAI):
            model.v = {name: value.float().double() if value.is_floating_point() else value for name, value in model.v.items()}
            return model
        return model.float().double()


def ours(folder, name, pixels, labels, **changes):
    """Out and in again bit for bit; the example's PyTorch model against glow_eval."""
    from glow_torch import Glow

    config = make_config(image_height=SIZE, image_width=SIZE, levels=2, depth=2, width=8, **changes)
    params = random_parameters(config, 1)
    write_checkpoint(folder / "c.h5", config, params)
    write_dataset(folder / "data.h5", train=(pixels, labels, CLASSES), test=(pixels, labels, CLASSES))
    bits = evaluate(folder, folder / "c.h5")
    kinds = ["npz"]
    try:
        import safetensors  # noqa: F401
        kinds.append("safetensors")
    except ImportError:
        print("        the safetensors package is not here: its format is read by glow_convert alone")
    for kind in ("npz", "safetensors"):
        out, back = folder / f"out.{kind}", folder / f"{kind}.h5"
        for step in (("--to", kind, folder / "c.h5", "-o", out, "--no-ema"), ("--from", kind, out, "-o", back)):
            done = convert(*step)
            if done.returncode != 0:
                return report(f"{name}, {kind}", False, done.stderr)
        again = read_tree(back, "params")
        with h5py.File(back) as f:
            scale, version = json.loads(f.attrs["config"])["coupling_scale"], f.attrs["version"]
        good = scale == config.get("coupling_scale", "sigmoid") and version == (1 if scale == "sigmoid" else 2)
        same = good and again.keys() == params.keys() and all(np.array_equal(params[n], again[n]) and params[n].dtype == again[n].dtype for n in params)
        report(f"{name}, {kind} and back", same, f"{len(params)} tensors bit for bit")
        if kind in kinds:
            with torch.no_grad():
                theirs = Glow(str(out)).bits_per_dim(pixels, torch.as_tensor(labels).long()).numpy()
            difference = np.abs(theirs - bits).max()
            report(f"{name}, glow_torch.py from {kind}", difference < 2e-6, f"largest difference {difference:.1e} bits/dim")


FIXED = ("P", "sign_S", "indices", "indices_inverse")


def openai_checkpoint(model, seed=1):
    """{name: array} of a whole checkpoint: weights, averages, moments of the nameless variables and the counter of a next step 8."""
    rng = np.random.default_rng(seed)
    weights = {name: value.numpy() for name, value in float32(model).v.items()}
    weights = {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in weights.items()}
    tensors, trainable = dict(weights), [name for name in weights if name.rsplit("/", 1)[1] not in FIXED]
    tensors["Variable"] = np.float32(8)
    for i, name in enumerate(trainable):
        first, second, average = (rng.normal(size=weights[name].shape).astype(np.float32) for _ in range(3))
        tensors |= {f"Variable_{2 * i + 1}": second**2, f"Variable_{2 * i + 2}": first, f"{name}/ExponentialMovingAverage": weights[name] + average / 64}
    return tensors, weights, trainable


def from_openai(folder, tensors, *options):
    (folder / "whole.h5").unlink(missing_ok=True)
    np.savez(folder / "whole.npz", **dict(sorted(tensors.items())))
    return convert("--from", "openai", folder / "whole.npz", "--size", SIZE, "-o", folder / "whole.h5", "--json", *options)


def trees_of(path):
    with h5py.File(path, "r") as f:
        found = {tree: read_tree(path, tree) for tree in ("params", "ema", "optimizer/m", "optimizer/v") if tree in f}
        return found, {name: f.attrs[name] for name in ("step", "images_seen", "epoch")}


def equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def whole_checkpoints(folder, pixels):
    """Averages, moments and counters of openai/glow. What a tree must be is what the same numbers give as weights."""
    for name, options in (("openai/glow, whole", {}), ("openai/glow, whole, shuffle", dict(permutation="shuffle", affine=False)),
                          ("openai/glow, whole, reversed", dict(permutation="reverse", learn_top=False)),
                          ("openai/glow, whole, classifier", dict(classes=CLASSES, classifier=True, depth=1))):
        tensors, weights, trainable = openai_checkpoint(foreign.OpenAI(**options))
        done = from_openai(folder, tensors, "--batch", "020")
        if done.returncode != 0:
            report(name, False, done.stderr)
            continue
        trees, counters = trees_of(folder / "whole.h5")
        as_weights = {"ema": {n: tensors[f"{n}/ExponentialMovingAverage"] for n in trainable},
                      "optimizer/m": {n: tensors[f"Variable_{2 * i + 2}"] for i, n in enumerate(trainable)},
                      "optimizer/v": {n: tensors[f"Variable_{2 * i + 1}"] for i, n in enumerate(trainable)}}
        good = trees.keys() == {"params", *as_weights} and counters == {"step": 7, "images_seen": 140, "epoch": 140 / 50000}
        good &= not done.stderr and json.loads(done.stdout)["config"]["weight_y"] == (0.01 if "classifier" in name else 0)
        for tree, values in as_weights.items():
            again = from_openai(folder, weights | values, "--permutation", "reverse") if "reversed" in name else from_openai(folder, weights | values)
            expected = {n: value for n, value in trees_of(folder / "whole.h5")[0]["params"].items() if not n.endswith("/indices")}
            good &= again.returncode == 0 and equal(trees[tree], expected)
        report(name, good, f"{len(trees['optimizer/m'])} tensors of moments and averages, {counters}")

    tensors, weights, trainable = openai_checkpoint(foreign.OpenAI(levels=1))
    averages = {n: v for n, v in tensors.items() if n.endswith("Average")}
    moments = {n: v for n, v in tensors.items() if n.startswith("Variable")}
    first_alone = {"Variable": np.float32(1)} | {f"Variable_{i + 1}": tensors[f"Variable_{2 * i + 1}"] for i in range(len(trainable))}
    saved_ema = {f"{n}/ExponentialMovingAverage": v for n, v in weights.items()} | \
        {f"{n}/ExponentialMovingAverage": v for n, v in moments.items()}
    from_openai(folder, tensors)
    full = trees_of(folder / "whole.h5")[0]
    for name, given, expected in (
            ("averages alone", weights | averages, {"params": full["params"], "ema": full["ema"]}),
            ("moments alone", weights | moments, full | {"ema": full["params"]}),
            ("a counter alone", weights | {"Variable": np.float32(8)}, {"params": full["params"]}),
            ("beta1 = 0", weights | averages | first_alone, full | {"optimizer/m": {n: 0 * v for n, v in full["optimizer/m"].items()}}),
            ("saved by save_ema", saved_ema, full | {"ema": full["params"]}),
            ("names with :0, without model/", {f"{n.removeprefix('model/')}:0": v for n, v in tensors.items()}, full),
            ("TensorFlow's own Adam", weights | {f"{n}/Adam": v for n, v in weights.items()} |
             {f"{n}/Adam_1": v for n, v in weights.items()} | {"beta1_power": np.float32(0.1)}, {"params": full["params"]})):
        done = from_openai(folder, given)
        trees = trees_of(folder / "whole.h5")[0] if done.returncode == 0 else {}
        report(f"openai/glow, {name}", trees.keys() == expected.keys() and all(equal(trees[t], expected[t]) for t in expected), done.stderr.strip())

    tensors, _, trainable = openai_checkpoint(foreign.OpenAI(levels=1, permutation="lu"))
    done = from_openai(folder, tensors)
    trees = trees_of(folder / "whole.h5")[0] if done.returncode == 0 else {}
    quiet = from_openai(folder, tensors, "--quiet")
    report("openai/glow, whole, LU", trees.keys() == {"params", "ema"} and "moments" in done.stderr and not quiet.stderr, done.stderr.strip()[:110])

    # Resume from the converted checkpoint.
    tensors, _, _ = openai_checkpoint(foreign.OpenAI(levels=1))
    from_openai(folder, tensors, "--batch", "2")
    write_dataset(folder / "data.h5", train=pixels, test=pixels)
    done = subprocess.run([PROGRAMS / "glow_train", "--resume", folder / "whole.h5", "--out", folder / "resumed", "--data", folder / "data.h5",
                           "--levels", "1", "--depth", "2", "--width", "8", "--batch", "2", "--max-steps", "9", "--threads", "1", "--quiet",
                           "--lr", "1e-6"], capture_output=True, text=True)
    resumed = trees_of(folder / "resumed/latest.h5")[1] if done.returncode == 0 else {}
    report("openai/glow, resumed", resumed.get("step") == 9 and resumed["images_seen"] == 18, done.stderr.strip()[-110:])


def openai_refusals(folder):
    """(what, checkpoint, options, part of the message)."""
    whole, weights, trainable = openai_checkpoint(foreign.OpenAI())
    shuffle = openai_checkpoint(foreign.OpenAI(permutation="shuffle"))[1]
    reverse = openai_checkpoint(foreign.OpenAI(permutation="reverse"))[1]
    lu = openai_checkpoint(foreign.OpenAI(permutation="lu"))[1]
    classes = openai_checkpoint(foreign.OpenAI(classes=CLASSES, classifier=True))[1]
    indices, P, sign = "model/0/1/shuffle/indices", "model/1/0/invconv/P", "model/1/0/invconv/sign_S"
    average = f"{trainable[3]}/ExponentialMovingAverage"

    def without(tensors, *names):
        return {name: value for name, value in tensors.items() if name not in names}

    def last(count):
        return [f"Variable_{2 * len(trainable) - i}" for i in range(count)]

    nan = whole["Variable_4"].copy()
    nan.flat[1] = np.nan
    cases = [
        ("a moment is missing", without(whole, "Variable_7"), (), "Variable_7 is missing"),
        ("the counter is missing", without(whole, "Variable"), (), "Variable is missing"),
        ("too few moments", without(whole, *last(2)), (), "expected two for each"),
        ("one moment too many", whole | {f"Variable_{2 * len(trainable) + 1}": np.ones(3)}, (), "expected two for each"),
        ("moments in another order", whole | {"Variable_1": whole["Variable_5"], "Variable_5": whole["Variable_1"]}, (), "in the order in which"),
        ("a negative second moment", whole | {"Variable_1": -1 - whole["Variable_1"]}, (), "negative"),
        ("a moment that is not finite", whole | {"Variable_4": nan}, (), "optimizer/m: "),
        ("a counter of 0", whole | {"Variable": np.float32(0)}, (), "counter"),
        ("a counter of 1.5", whole | {"Variable": np.float32(1.5)}, (), "counter"),
        ("an infinite counter", whole | {"Variable": np.float32(np.inf)}, (), "counter"),
        ("a counter of 1e30", whole | {"Variable": np.float32(1e30)}, (), "is out of range"),
        ("a counter of two", whole | {"Variable": np.ones(2)}, (), "counter"),
        ("an average is missing", without(whole, average), (), f"{average.removeprefix('model/')} is missing"),
        ("an average of nothing", whole | {"model/9/ExponentialMovingAverage": np.ones(3)}, (), "averages are not part"),
        ("an average of another shape", whole | {average: np.ones((1, 2))}, (), "shape does not match"),
        ("indices out of range", shuffle | {indices: shuffle[indices] + 1}, (), "not a permutation of 0 .. 11"),
        ("indices twice", shuffle | {indices: 0 * shuffle[indices]}, (), "not a permutation of 0 .. 11"),
        ("non-integer indices", shuffle | {indices: shuffle[indices] + 0.5}, (), "not a permutation of 0 .. 11"),
        ("too few indices", shuffle | {indices: np.arange(10), indices + "_inverse": np.arange(10)}, (), "expected [12]"),
        ("another inverse", shuffle | {indices + "_inverse": shuffle[indices + "_inverse"][::-1]}, (), "not the inverse"),
        ("a step without its shuffle", without(shuffle, indices, indices + "_inverse"), (), "different ways"),
        ("a matrix and a shuffle", shuffle | {"model/0/0/invconv/W": np.eye(12)}, (), "different ways"),
        ("no permutation", reverse, (), "say --permutation reverse"),
        ("a reversal where matrices are", weights, ("--permutation", "reverse"), "--permutation reverse: but the file has"),
        ("a P that is not a permutation", lu | {P: 0.5 * lu[P]}, (), "not a permutation matrix"),
        ("a P with a row twice", lu | {P: np.repeat(lu[P][:1], len(lu[P]), axis=0)}, (), "not a permutation matrix"),
        ("a sign of 0.5", lu | {sign: 0.5 * lu[sign]}, (), "other than 1 or -1"),
        ("a factor of another shape", lu | {"model/1/0/invconv/U": np.eye(23)}, (), "expected [24, 24]"),
        ("a factor that overflows", lu | {"model/1/0/invconv/log_S": lu["model/1/0/invconv/log_S"] + 1000}, (), "invconv/weight has a value that is not finite"),
        ("a factor is missing", without(lu, "model/1/0/invconv/log_S"), (), "log_S is missing"),
        ("an unknown tensor", weights | {"model/0/0/f1/l_1/W_1": np.ones(3)}, (), "not part of our model"),
        ("a tensor twice", weights | {trainable[0].removeprefix("model/"): weights[trainable[0]]}, (), "appears twice"),
        ("a network of two dimensions", weights | {"model/0/0/f1/l_1/W": np.ones((7, 8))}, (), "shape does not match"),
        ("a classifier without classes", without(classes, *(n for n in classes if "y_emb" in n)), (), "is not part of the model"),
        ("--weight-y without a classifier", weights, ("--weight-y", "0.5"), "no classifier"),
        ("--weight-y 0 with a classifier", classes, ("--weight-y", "0"), "has a classifier"),
        ("a negative --weight-y", classes, ("--weight-y", "-1"), "--weight-y"),
        ("an infinite --weight-y", classes, ("--weight-y", "inf"), "--weight-y"),
        ("a non-numeric --weight-y", classes, ("--weight-y", "x"), "--weight-y"),
        ("a --batch of 0", whole, ("--batch", "0"), "--batch"),
    ]
    for name, tensors, options, part in cases:
        done = from_openai(folder, tensors, *options)
        line = done.stderr.count("\n") == 1 and done.stderr.startswith("glow_convert: error: ")
        report(f"refused: {name}", done.returncode == 2 and part in done.stderr and line and not (folder / "whole.h5").exists(), done.stderr.strip()[:110])


def refusals(folder):
    """(what, arguments of glow_convert, part of the message)."""
    state = {name: value.numpy() for name, value in foreign.randomise(foreign.Y0ast()).state_dict().items()}
    rosinality = {name: value.numpy() for name, value in foreign.Rosinality().state_dict().items()}
    chaiyujin = {name: value.numpy() for name, value in foreign.randomise(foreign.Chaiyujin()).state_dict().items()}

    def file(name, tensors):
        np.savez(folder / name, **tensors)
        return folder / name

    def without(tensors, part):
        return {name: value for name, value in tensors.items() if part not in name}

    classes, channels = (foreign.randomise(foreign.Y0ast(**options)).state_dict() for options in (dict(classes=CLASSES), dict(channels=5)))
    classes, channels = ({name: value.numpy() for name, value in tensors.items()} for tensors in (classes, channels))
    write_checkpoint(folder / "c.h5", make_config(levels=1, depth=1, width=4), random_parameters(make_config(levels=1, depth=1, width=4), 1))
    convert("--to", "safetensors", folder / "c.h5", "-o", folder / "s.safetensors")
    convert("--to", "npz", folder / "c.h5", "-o", folder / "own.npz")
    whole = (folder / "s.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "text").write_text("no weights\n")
    torch.save(foreign.Y0ast().state_dict(), folder / "state.pt")
    torch.save(foreign.Y0ast().state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "texts.zip", "w") as texts:
        texts.writestr("data.txt", "no weights")
    archive = (file("whole.npz", state)).read_bytes()
    (folder / "cut.npz").write_bytes(archive[: len(archive) // 2])
    (folder / "flipped.npz").write_bytes(archive[:300] + bytes([archive[300] ^ 255]) + archive[301:])
    begin = 8 + int.from_bytes(whole[:8], "little")
    header, tensors = json.loads(whole[8:begin]), whole[begin:]
    config = json.loads(header["__metadata__"]["config"])
    weight = next(name for name in header if name != "__metadata__")
    first, end = header[weight]["data_offsets"]

    def safetensors(name, text, body=tensors):
        text = text if isinstance(text, bytes) else json.dumps(text).encode()
        (folder / name).write_bytes(len(text).to_bytes(8, "little") + text + body)
        return ["--from", "safetensors", folder / name]

    def configured(**values):
        metadata = {**header["__metadata__"], "config": json.dumps({**config, **values})}
        return safetensors(f"config-{len(list(folder.iterdir()))}", {**header, "__metadata__": metadata})

    def placed(begin, end):
        return {**header, weight: {**header[weight], "data_offsets": [begin, end]}}

    large, objects = {"config": json.dumps(config)}, {"config": json.dumps(config)}
    with h5py.File(folder / "c.h5") as f:
        f["params"].visititems(lambda name, item: large.update({name: item[()].astype(np.float64)}) if isinstance(item, h5py.Dataset) else None)
    complex_, text_ = dict(large), dict(large)
    complex_[weight], text_[weight] = large[weight] + 1j, large[weight].astype("U9")
    large[weight] = large[weight] + 1e300
    def stored(permutation, name, change):
        """Our weights with one of them changed, as an .npz."""
        ours = make_config(levels=1, depth=1, width=4, permutation=permutation)
        tensors = random_parameters(ours, 1)
        return file(f"{permutation}-{len(list(folder.iterdir()))}.npz", {"config": json.dumps(ours), **tensors, name: change(tensors[name])})

    # The first string's index into its heap, out of range: HDF5 1.10 crashes on it.
    with h5py.File(folder / "damaged.h5", "w") as f:
        f.attrs["format"] = "glow-checkpoint"
    damaged = bytearray((folder / "damaged.h5").read_bytes())
    text = len("glow-checkpoint").to_bytes(4, "little") + damaged.index(b"GCOL").to_bytes(8, "little")
    damaged[damaged.index(text) + 15] = 0x7F
    (folder / "damaged.h5").write_bytes(damaged)

    (folder / "moved").mkdir()
    (folder / "moved/latest.h5").symlink_to("checkpoints/step-1.h5")
    step = "level0/step0"
    with h5py.File(folder / "c.h5") as f, h5py.File(folder / "outside.h5", "w") as outside:
        outside.attrs.update(f.attrs)
        for tree in ("params", "ema"):
            f.copy("params", outside, tree)
        with h5py.File(folder / "format.h5", "w") as other:
            other.attrs["format"] = np.arange(3)
        outside["params/odd"] = outside["ema/odd"] = np.ones(3)
    os.mkfifo(folder / "pipe")
    (folder / "raw").write_bytes(bytes(10000))
    conv = f"params/{step}/coupling/conv1/weight"

    def edited(name, change):
        """A checkpoint of other HDF5 contents; change(file, array, its value) without /ema, and with that array removed."""
        path = folder / f"edited-{name}.h5"
        shutil.copyfile(folder / "c.h5", path)
        with h5py.File(path, "r+") as f:
            value = f[conv][()]
            del f["ema"], f[conv]
            change(f, conv, value)
        return ["--to", "npz", path]

    def create(**options):
        return lambda f, name, value: f.create_dataset(name, value.shape, "f4", **options)

    def one_chunk(f, name, value):
        f.create_dataset(name, value.shape, "f4", chunks=(1, *value.shape[1:]), compression="gzip")[0] = 1

    def virtual(f, name, value):
        layout = h5py.VirtualLayout(value.shape, "f4")
        layout[...] = h5py.VirtualSource(folder / "c.h5", conv, value.shape)
        f.create_virtual_dataset(name, layout)

    def moved(f, name, value):
        f["elsewhere"] = value
        f[name] = h5py.SoftLink("/elsewhere")

    def linked(f, name, value):
        del f["params"]
        f["params"] = h5py.ExternalLink(folder / "c.h5", "params")

    def stored_as(path):
        def change(f, name, value):
            f[name] = value
            f[path] = f["params"] if path.endswith("loop") else np.ones(3)

        return change

    def twice(f, name, value):
        first, second = (f"params/{step}/coupling/conv{i}/actnorm/bias" for i in (1, 2))
        f[name] = value
        del f[second]
        f[second] = f[first]

    def without_parameters(f, name, value):
        del f["params"]

    def later(f, name, value):
        f[name] = value
        f.attrs["version"] = 3

    with h5py.File(folder / "unwritten.h5", "w") as f:
        for name, value in state.items():
            f.create_dataset(name, value.shape, value.dtype)
    w_p, s_sign, w_l = (f"blocks.0.flows.0.invconv.{name}" for name in ("w_p", "s_sign", "w_l"))
    odd, short = dict(state), dict(state)
    odd["flow.layers.1.actnorm.bias"] = np.full_like(odd["flow.layers.1.actnorm.bias"], np.nan)
    short["flow.layers.1.actnorm.bias"] = short["flow.layers.1.actnorm.bias"][:, :5]
    cases = [
        ("a layer of another kind", ["--from", "y0ast", file("a.npz", {**state, "flow.layers.1.attention.weight": np.ones(3)})], "attention"),
        ("a shuffle that is not in the file", ["--from", "y0ast", file("b.npz", without(state, "invconv"))], "--permutation reverse"),
        ("a tensor is missing", ["--from", "y0ast", file("c.npz", without(state, "layers.2.block.0.conv"))], "is missing"),
        ("levels of other depths", ["--from", "y0ast", file("d.npz", without(state, "flow.layers.6."))], "steps"),
        ("LU factors that its state dict lacks", ["--from", "chaiyujin", file("cl.npz", chaiyujin)], "p and sign_s"),
        ("not finite", ["--from", "y0ast", file("e.npz", odd)], "not finite"),
        ("another shape", ["--from", "y0ast", file("f.npz", short)], "expected"),
        ("another layout", ["--from", "openai", file("g.npz", rosinality)], "different layout"),
        ("actnorm without inverse", ["--from", "rosinality", file("h.npz", {**rosinality, "blocks.0.flows.0.actnorm.scale": np.zeros((1, 12, 1, 1))})], "no inverse"),
        ("a size that does not fit", ["--from", "y0ast", folder / "whole.npz", "--size", "6"], "divisible by 4"),
        ("a size that no command takes", ["--from", "y0ast", folder / "whole.npz", "--size", "80000"], "--size 80000: expected"),
        ("a height that no command takes", ["--from", "y0ast", folder / "whole.npz", "--size", "65540x8"], "--size 65540x8: expected"),
        ("a width of 0", ["--from", "y0ast", folder / "whole.npz", "--size", "8x0"], "--size 8x0: expected"),
        ("a weight that no command takes", ["--from", "y0ast", file("classes.npz", classes), "--weight-y", "2e6"], "--weight-y: 2e6: expected"),
        ("channels that no command takes", ["--from", "y0ast", file("channels.npz", channels)], "channels must be"),
        ("a size that is none", ["--from", "y0ast", folder / "whole.npz", "--size", "large"], "--size"),
        ("bits out of range", ["--from", "y0ast", folder / "whole.npz", "--n-bits", "9"], "n-bits"),
        ("no such file", ["--from", "y0ast", folder / "none.npz"], "no such file"),
        ("a file of Glow's own", ["--from", "rosinality", folder / "own.npz"], "is read with --from npz"),
        ("a folder", ["--from", "y0ast", folder], "expected a file, found a folder"),
        ("a text", ["--from", "y0ast", folder / "text"], "neither"),
        ("a .pt file", ["--from", "y0ast", folder / "state.pt"], "numpy.savez("),
        ("a .pt file of earlier versions", ["--from", "y0ast", folder / "old.pt"], "numpy.savez("),
        ("an archive of texts", ["--from", "y0ast", folder / "texts.zip"], "not numeric"),
        ("cut short", ["--from", "y0ast", folder / "cut.npz"], "cut.npz"),
        ("damaged", ["--from", "y0ast", folder / "flipped.npz"], "flipped.npz"),
        ("cut safetensors", ["--from", "safetensors", folder / "cut.safetensors"], "safetensors"),
        ("tensors that overlap", safetensors("a.s", placed(first + 4, end + 4)), "overlap"),
        ("a place that is negative", safetensors("b.s", placed(-4, end - first - 4)), "not inside"),
        ("weights as integers", safetensors("f.s", {**header, weight: {**header[weight], "dtype": "I32"}}), f"{weight} is I32, expected F32"),
        ("bytes behind the tensors", safetensors("c.s", header, tensors + bytes(4)), "4 bytes follow"),
        ("a header that is nested deeply", safetensors("d.s", b"[" * 100000), "safetensors"),
        ("a header that is a list", safetensors("e.s", b"[1]"), "not an object"),
        *((f"{key} {value!r:.20}", configured(**{key: value}), key) for key, value in (
            ("levels", 10**9), ("levels", True), ("levels", "1"), ("levels", 1.5), ("levels", None), ("depth", 10**12), ("width", "x"),
            ("channels", "3"), ("channels", 3.0), ("n_bits", 0), ("n_bits", "8"), ("image_height", -8), ("image_height", "8"),
            ("image_height", 10**9), ("permutation", 5), ("permutation", "turn"), ("coupling", None), ("edge_bias", "no"), ("learn_top", 1),
            ("n_classes", -1), ("weight_y", math.nan), ("weight_y", -1), ("weight_y", "x"), ("dequant_depth", 10**9), ("dequant_depth", "x"),
            ("dequant_width", 0))),
        ("a classifier's weight without classes", configured(weight_y=0.5), "needs y_cond"),
        ("a conditional model of no class", configured(y_cond=True), "y_cond needs n_classes"),
        ("the scale of an additive coupling", configured(coupling="additive", coupling_scale="tanh"), "an additive coupling has no scale"),
        ("values above float32", ["--from", "npz", file("large.npz", large)], "above the largest float32"),
        ("complex numbers", ["--from", "npz", file("complex.npz", complex_)], "not numeric, or complex"),
        ("text for numbers", ["--from", "npz", file("text.npz", text_)], "not numeric"),
        ("a singular matrix", ["--from", "npz", stored("invconv", f"{step}/invconv/weight", np.zeros_like)], "invconv/weight is singular"),
        ("a matrix that is nearly singular", ["--from", "npz", stored("invconv", f"{step}/invconv/weight", lambda W: W * np.r_[1e-20, np.ones(11)])],
         "invconv/weight is singular"),
        ("scales out of range", ["--from", "npz", stored("reverse", f"{step}/actnorm/logs", lambda logs: logs + 1000)], "actnorm/logs has a value above 231"),
        ("a triangle that is full", ["--from", "npz", stored("invconv_lu", f"{step}/invconv/lower", np.ones_like)], "lower is not strictly lower triangular"),
        ("a diagonal of 0", ["--from", "npz", stored("invconv_lu", f"{step}/invconv/log_diag", lambda logs: logs - 1e4)], "the matrix of level0/step0/invconv is singular"),
        ("a diagonal that overflows", ["--from", "npz", stored("invconv_lu", f"{step}/invconv/log_diag", lambda logs: logs + 1e4)], "is singular"),
        ("a checkpoint of a later version", edited("later", later), "version 3; this program reads versions 1 to 2"),
        ("an array that was never written", edited("unwritten", create()), "never written"),
        ("an array of one chunk of four", edited("chunk", one_chunk), f"only 1 of the 4 chunks of /{conv}"),
        ("an array in another file", edited("external", create(external=[(str(folder / "raw"), 0, h5py.h5f.UNLIMITED)])), "stored in another file"),
        ("a virtual array", edited("virtual", virtual), "stored in another file"),
        ("an array behind a link", edited("soft", moved), "symbolic or external link"),
        ("parameters behind a link", edited("linked", linked), "/params is a symbolic or external link"),
        ("no parameters", edited("none", without_parameters), "/params is missing"),
        ("another compression", edited("lzf", create(compression="lzf")), "HDF5 filter 32000"),
        ("groups in a cycle", edited("cycle", stored_as("params/loop")), "form a cycle"),
        ("an average of nothing", edited("average", stored_as("ema/odd")), "ema: level0/step0/actnorm/bias is missing"),
        ("weights that were never written", ["--from", "y0ast", folder / "unwritten.h5"], "never written"),
        ("a size that its levels do not divide", configured(image_height=7), "1 levels need sides divisible by 2, got 7x"),
        ("a pipe", ["--from", "y0ast", folder / "pipe"], "expected a file, found a named pipe"),
        ("a tensor with and without module.", ["--from", "y0ast", file("twice.npz", state | {f"module.{next(iter(state))}": np.ones(3)})], "appears twice"),
        ("a P of no permutation", ["--from", "rosinality", file("P.npz", rosinality | {w_p: 0.5 * rosinality[w_p]})], f"{w_p} is not a permutation matrix"),
        ("signs of 0.5", ["--from", "rosinality", file("s.npz", rosinality | {s_sign: 0.5 * rosinality[s_sign]})], f"{s_sign} has a value other than"),
        ("a factor that is a number", ["--from", "rosinality", file("l.npz", rosinality | {w_l: np.float32(1)})], f"{w_l} is [], expected [12, 12]"),
        ("a tensor outside of the layers", ["--to", "npz", folder / "outside.h5"], "odd is not part of the model"),
        ("a checkpoint that crashes HDF5", ["--to", "npz", folder / "damaged.h5"], "damaged.h5"),
        ("weights that crash HDF5", ["--from", "y0ast", folder / "damaged.h5"], "damaged.h5"),
        ("more steps than tensors", configured(levels=5, depth=100000), "too few for 5 levels of 100000 steps"),
        ("a folder without its checkpoints", ["--to", "npz", folder / "moved"], "latest.h5: dangling symbolic link to checkpoints/step-1.h5"),
        ("a dangling link", ["--from", "npz", folder / "moved/latest.h5"], "latest.h5: dangling symbolic link"),
        ("a format of numbers", ["--to", "npz", folder / "format.h5"], "not a checkpoint"),
        ("a name that is too long", ["--to", "npz", folder / "c.h5", "-o", folder / ("x" * 300 + ".npz")], "File name too long"),
        ("an input whose name is too long", ["--from", "npz", folder / ("x" * 300)], "cannot be read: File name too long"),
        ("an unreadable archive", ["--from", "y0ast", "/proc/self/mem"], "cannot be read: Input/output error"),
        ("an unreadable checkpoint", ["--to", "npz", "/proc/self/mem"], "cannot be read: Input/output error"),
        ("not ours", ["--from", "npz", folder / "whole.npz"], "configuration"),
        ("no checkpoint", ["--to", "npz", folder / "text"], "checkpoint"),
        ("no such folder", ["--to", "npz", folder / "c.h5", "-o", folder / "none/x.npz"], "cannot be written"),
        ("an empty input", ["--to", "npz", ""], "input: expected a value, found an empty one"),
        ("an empty output", ["--to", "npz", folder / "c.h5", "-o", ""], "--output: expected a value, found an empty one"),
        ("an empty size", ["--from", "y0ast", folder / "whole.npz", "--size", ""], "--size: expected a value"),
        ("an empty weight", ["--from", "y0ast", folder / "whole.npz", "--weight-y", ""], "--weight-y: expected a value"),
        ("-- as a value", ["--to", "npz", folder / "c.h5", "--output=--"], "--output: expected a value, found --"),
        ("-- as a kind", ["--to=--", folder / "c.h5"], "--to: expected a value, found --"),
        ("neither way", [folder / "c.h5"], "--from"),
        ("both ways", ["--from", "npz", "--to", "npz", folder / "c.h5"], "--from"),
        ("unknown kind", ["--from", "pickle", folder / "c.h5"], "pickle"),
        ("bits of our own file", ["--from", "safetensors", folder / "s.safetensors", "--n-bits", "5"], "--n-bits: the safetensors file holds its own"),
        ("size of our own file", ["--from", "safetensors", folder / "s.safetensors", "--size", "16"], "--size"),
        ("size of a checkpoint", ["--to", "npz", folder / "c.h5", "--size", "16"], "--size: a checkpoint holds its own"),
        ("averages into a checkpoint", ["--from", "y0ast", folder / "whole.npz", "--no-ema"], "--no-ema needs --to"),
        ("a name of another format", ["--to", "npz", folder / "c.h5", "-o", folder / "out.h5"], "must end in .npz"),
        ("a checkpoint named as an archive", ["--from", "y0ast", folder / "whole.npz", "-o", folder / "out.npz"], "must end in .h5"),
    ]
    for name, arguments, part in cases:
        given = arguments if "-o" in arguments else [*arguments, "-o", folder / "out"]
        done = convert(*given)
        line = done.stderr.count("\n") == 1 and done.stderr.startswith("glow_convert: error: ")
        report(f"refused: {name}", done.returncode == 2 and part in done.stderr and line and not (folder / "out").exists(), done.stderr.strip()[:110])
    done = convert(*edited("twice", twice), "-o", folder / "twice-named.npz")
    report("an array with two names", done.returncode == 0, done.stderr.strip()[:110])
    existing = (folder / "own.npz").read_bytes()
    done = convert("--to", "npz", folder / "c.h5", "-o", folder / "own.npz", force=False)
    kept = (folder / "own.npz").read_bytes() == existing
    report("refused: an existing file", done.returncode == 2 and kept and "own.npz exists" in done.stderr and "--force" in done.stderr, done.stderr.strip()[:110])


def compare_outputs(folder):
    """What cannot be written, and names that are no text in the locale."""
    write_checkpoint(folder / "o.h5", make_config(levels=1, depth=1, width=4), random_parameters(make_config(levels=1, depth=1, width=4), 1))
    program, clean = str(PROGRAMS / "glow_convert"), {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_"))}

    def run(words, **options):
        return subprocess.run([program, *map(str, words)], stderr=subprocess.PIPE, env={**clean, **options.pop("env", {})}, **options)

    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    for code, variables in ((2, {"OMPI_COMM_WORLD_SIZE": "2"}), (2, {"MV2_COMM_WORLD_SIZE": "3"}), (2, step), (2, {"PMIX_RANK": "1"}),
                            (0, {"OMPI_COMM_WORLD_SIZE": "1", **step}), (0, {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"})):
        done = run(["--to", "npz", folder / "o.h5", "-o", folder / "launched.npz", "--force"], stdout=subprocess.PIPE, env=variables)
        refused = b"a launcher started several processes (" in done.stderr
        report(f"launched with {variables}", done.returncode == code and refused == (code == 2), done.stderr.decode().strip()[:110])
    with open("/dev/full", "w") as full:
        for name, words in (("standard output is full", ["--to", "npz", folder / "o.h5", "-o", folder / "o.npz"]), ("--help into a full disk", ["--help"])):
            done = run(words, stdout=full)
            report(f"failed: {name}", done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"standard output" in done.stderr, done.stderr.decode().strip()[:110])
    # Ctrl-C while packages are imported, and after the work.
    (folder / "interrupted/numpy").mkdir(parents=True)
    interrupt = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    (folder / "interrupted/numpy/__init__.py").write_text(f"{interrupt}\nraise ImportError\n")
    heeding = {"capture_output": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # ignored in background jobs
    done = subprocess.run([sys.executable, program, "--help"], env={**clean, "PYTHONPATH": str(folder / "interrupted")}, **heeding)
    report("interrupted while it starts", done.returncode == -signal.SIGINT and not done.stderr, done.stderr.decode().strip()[-110:])
    late = f"import atexit, sys; sys.path.append({str(ROOT / 'tools')!r}); import script_text\n"
    late += f"def end():\n    {interrupt}\natexit.register(end)\nscript_text.end_with('late', lambda: 0)"
    done = subprocess.run([sys.executable, "-c", late], env=clean, **heeding)
    report("interrupted after its work", done.returncode == 0 and not done.stderr, done.stderr.decode().strip()[-110:])
    with open(folder / "o.h5", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(["--to", "npz", folder / "o.h5", "-o", folder / "unlocked.npz"], stdout=subprocess.PIPE)
        report("a checkpoint is read without a lock", done.returncode == 0, done.stderr.decode().strip()[:110])
    for kind in ("npz", "safetensors"):
        done = run(["--to", kind, folder / "o.h5", "-o", "/dev/full"], stdout=subprocess.PIPE)
        good = done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"/dev/full: cannot be written: No space left" in done.stderr
        report(f"failed: a full disk, {kind}", good, done.stderr.decode().strip()[:110])
    # Files that cannot grow stand for a full disk.
    done = run(["--from", "npz", folder / "o.npz", "-o", folder / "full.h5"], stdout=subprocess.PIPE,
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)))
    good = done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"full.h5: cannot be written: File too large" in done.stderr
    report("failed: a full disk, checkpoint", good and not (folder / "full.h5").exists(), done.stderr.decode().strip()[:110])
    save(folder / "r", foreign.Rosinality().state_dict(), False)
    for bits, told in (((), True), (("--n-bits", 8), False), (("--quiet",), False)):
        done = convert("--from", "rosinality", folder / "r.npz", "--size", SIZE, "-o", folder / "r.h5", *bits)
        report(f"noted: assumed bits, {' '.join(map(str, bits)) or 'not given'}", done.returncode == 0 and ("--n-bits 5" in done.stderr) == told, done.stderr.strip()[:110])
    for locale in ("C.UTF-8", "C"):
        for name in ("\u00e9.npz", os.fsdecode(b"\xff.npz")):
            done = run(["--to", "npz", folder / "o.h5", "-o", folder / name, "--force"], stdout=subprocess.PIPE, env={"LC_ALL": locale, "PYTHONIOENCODING": "ascii" if locale == "C" else "utf-8:strict"})
            report(f"named: {ascii(name)} in {locale}", done.returncode == 0 and (folder / name).exists(), done.stderr.decode().strip()[:110])


def compare_shortly_full_disk(folder):
    """The disk is full while the tensors are written, and has space again afterwards: no checkpoint may have zeros in their place."""
    path, config, value = folder / "short.h5", dict(coupling_scale="sigmoid", dequant_depth=0), np.full(500, 0.5, np.float32)
    tensors = {f"w{n}": value for n in range(20)}
    store, limits = h5py.File.__setitem__, resource.getrlimit(resource.RLIMIT_FSIZE)
    lost, complete = 0, 0
    for limit in range(0, 80000, 4000):

        def store_in_little_space(file, name, array):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            try:
                store(file, name, array)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        h5py.File.__setitem__ = store_in_little_space
        try:
            model_files.write_checkpoint(path, config, {"params": tensors}, {"step": 0})
        except OSError:
            continue
        finally:
            h5py.File.__setitem__ = store
        with h5py.File(path) as f:
            lost += sum(not np.array_equal(f[f"params/{name}"], value) for name in tensors)
        complete += 1
    report("checkpoint: a disk that is shortly full", lost == 0 and complete > 0, f"{complete} files, {lost} tensors lost")


def compare_moving_link(folder):
    """While a checkpoint is opened, the training that writes it moves latest.h5 and deletes the file; HDF5 reports an error."""
    config, run, opened = make_config(coupling_scale="sigmoid", dequant_depth=0), folder / "moving", h5py.File
    run.mkdir()
    for step in (1, 2):
        model_files.write_checkpoint(run / f"{step}.h5", config, {"params": {"a": np.float32([step])}}, {"step": step})
    (run / "latest.h5").symlink_to("1.h5")

    def move(*ignored):
        h5py.File = opened
        (run / "next").symlink_to("2.h5")
        (run / "next").rename(run / "latest.h5")
        (run / "1.h5").unlink()
        raise OSError("Unable to open file (files' st_ino or st_dev fields changed!)")

    h5py.File = move
    try:
        found = f"step {model_files.read_checkpoint(run, True)[1]['a'][0]:.0f}"
    except model_files.InputError as error:
        found = str(error)
    finally:
        h5py.File = opened
    report("checkpoint: of a running training", found == "step 2", found)


def main():
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    pixels, labels = rng.integers(0, 256, (N, SIZE, SIZE, 4)).astype(np.uint8), np.arange(N) % CLASSES
    R, Y, C, O = foreign.Rosinality, foreign.Y0ast, foreign.Chaiyujin, foreign.OpenAI
    chaiyujin_lu = C()
    variants = [
        ("rosinality, LU", "rosinality", R(), {}),
        ("rosinality, LU, HDF5, 5 bits", "rosinality", R(levels=1, depth=3), dict(n_bits=5, as_hdf5=True)),
        ("rosinality, plain, additive", "rosinality", R(lu=False, affine=False), {}),
        ("rosinality, plain, 3 levels", "rosinality", R(lu=False, levels=3, depth=1), {}),
        ("rosinality, negative scales", "rosinality", R(negative=True, channels=1), dict(channels=1)),
        ("y0ast, LU", "y0ast", Y(), {}),
        ("y0ast, plain, additive, HDF5", "y0ast", Y(permutation="plain", affine=False), dict(as_hdf5=True)),
        ("y0ast, conditional, 3 levels", "y0ast", Y(levels=3, depth=1, classes=CLASSES), {}),
        ("y0ast, reversed, fixed top", "y0ast", Y(permutation="reverse", learn_top=False), dict(options=("--permutation", "reverse"))),
        ("chaiyujin, plain", "chaiyujin", C(permutation="plain"), {}),
        ("chaiyujin, plain, conditional", "chaiyujin", C(permutation="plain", classes=CLASSES), dict(n_bits=5)),
        ("chaiyujin, LU, attributes added", "chaiyujin", chaiyujin_lu, dict(added=chaiyujin_lu.attributes())),
        ("openai/glow", "openai", O(), {}),
        ("openai/glow, LU, additive", "openai", O(permutation="lu", affine=False), {}),
        ("openai/glow, shuffle, fixed top", "openai", O(permutation="shuffle", learn_top=False), {}),
        ("openai/glow, reversed, 5 bits", "openai", O(permutation="reverse"), dict(n_bits=5, options=("--permutation", "reverse"))),
        ("openai/glow, conditional", "openai", O(classes=CLASSES, channels=4), dict(channels=4)),
        ("openai/glow, classifier", "openai", O(classes=CLASSES, classifier=True), dict(options=("--weight-y", "0.5"))),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, kind, model, options in variants:
            if isinstance(model, torch.nn.Module):
                model = foreign.randomise(model)
            compare(folder, name, kind, float32(model), pixels, labels, **options)
        for name, changes in (("ours", {}), ("ours, LU, additive", dict(permutation="invconv_lu", coupling="additive")),
                              ("ours, bounded scale", dict(coupling_scale="tanh")),
                              ("ours, shuffle, no edge", dict(permutation="shuffle", edge_bias=False)),
                              ("ours, reverse, no top, 5 bits", dict(permutation="reverse", learn_top=False, n_bits=5)),
                              ("ours, conditional", dict(y_cond=True, n_classes=CLASSES))):
            ours(folder, name, pixels[..., :3], labels, **changes)
        whole_checkpoints(folder, pixels[..., :3])
        refusals(folder)
        openai_refusals(folder)
        compare_outputs(folder)
        compare_shortly_full_disk(folder)
        compare_moving_link(folder)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
