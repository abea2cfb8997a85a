"""compare_tensorflow.py PROGRAMS: checkpoints of TensorFlow through glow_convert, against the same arrays in an .npz.

golden/tensorflow.ckpt.* is a small whole checkpoint of openai/glow in two data files, written by TensorFlow 2.21 (--write, which needs
TensorFlow). Damaged files must be refused, unless the damage changes no tensor. If TensorFlow is installed, it writes more
checkpoints: all types, and an index of several blocks.
"""

import argparse
import importlib.util
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[2] / folder) for folder in ("tools", "convert")]
from python_packages import require_packages

require_packages("numpy", "h5py")
import numpy as np

from compare_oracle import whole_checkpoint
from glow_files import read_tree
from tf_checkpoint import TABLE_MAGIC, TensorFlowFileError, masked_crc, read_tf_checkpoint, tf_checkpoint_files

GOLDEN = Path(__file__).resolve().parent / "golden/tensorflow.ckpt"
failures = 0


def report(name, good, text=""):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'}  {name:<36} {text}", flush=True)


def golden_variables():
    """A whole checkpoint of one step, without a learned prior."""
    rng, C, width = np.random.default_rng(1), 12, 4
    shapes = {f"{part}": (1, C) for part in ("actnorm_center/b", "actnorm_scale/logs")} | {"invconv/W": (1, 1, C, C)}
    for layer, shape in (("l_1", (3, 3, C // 2 + 1, width)), ("l_2", (1, 1, width, width))):
        shapes[f"f1/{layer}/W"] = shape
        shapes |= {f"f1/{layer}/actnorm_center/b": (1, 1, 1, width), f"f1/{layer}/actnorm_scale/logs": (1, 1, 1, width)}
    shapes |= {"f1/l_last/W": (3, 3, width + 1, C), "f1/l_last/b": (1, 1, 1, C), "f1/l_last/logs": (1, C)}

    def values(positive=False):
        found = {f"model/0/0/{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        return {name: np.abs(value) for name, value in found.items()} if positive else found

    return whole_checkpoint(values(), values(), (values(), values(positive=True)), 5)


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype and found[name].shape == value.shape and (found[name] == value).all()
        for name, value in expected.items())


# --- With TensorFlow ----------------------------------------------------------------------------------------------


def save(prefix, arrays, shards=1):
    """Writes a checkpoint with TensorFlow's own operations."""
    import tensorflow as tf

    names = list(arrays)
    parts = [names[i::shards] for i in range(shards)]
    prefixes = [f"{prefix}.part{i}" for i in range(shards)] if shards > 1 else [str(prefix)]
    for part, names in zip(prefixes, parts):
        tf.raw_ops.SaveV2(prefix=part, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tf.constant(arrays[name]) for name in names])
    if shards > 1:
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=str(prefix))


def with_tensorflow(folder):
    if importlib.util.find_spec("tensorflow") is None:
        return print("skipped: what TensorFlow itself writes, because it is not installed")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kinds = {f"kind/{kind}": np.arange(6).astype(kind).reshape(2, 3) for kind in "f4 f8 i4 u1 i2 i1 i8 ? u2 f2 u4 u8".split()}
    kinds |= {"scalar": np.array(3.5), "empty": np.zeros((0, 3), np.float32), "large": np.random.default_rng(1).random(100_003)}
    save(folder / "kinds", kinds, shards=3)
    report("every type, in three files", same(read_tf_checkpoint(folder / "kinds"), kinds))
    many = {f"model/{i}/{'a_long_name/' * 8}ExponentialMovingAverage": np.float32([i]) for i in range(8000)}
    save(folder / "many", many)
    size = (folder / "many.index").stat().st_size
    report("an index of several blocks", size > 262144 and same(read_tf_checkpoint(folder / "many"), many), f"{size} bytes")
    save(folder / "text", {"a": np.zeros(2), "b": np.array([b"text"])})
    refused("a text", folder / "text", "b is not numeric")


# --- Without --------------------------------------------------------------------------------------------------------


def refused(name, prefix, part):
    try:
        read_tf_checkpoint(prefix)
        report(f"refused: {name}", False, "was read")
    except TensorFlowFileError as error:
        report(f"refused: {name}", part in str(error), str(error)[-100:])


def damage(folder):
    """One byte at a time, in every file of the golden checkpoint."""
    expected, files = golden_variables(), tf_checkpoint_files(GOLDEN)
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    wrong, noticed, tried = [], 0, 0
    for file in files:
        content, copy = file.read_bytes(), folder / file.name
        index = file.suffix == ".index"
        positions = range(0, len(content), 3 if index else 500)
        changes = [content[:i] + bytes([content[i] ^ 0x5A]) + content[i + 1 :] for i in positions]
        changes += [content[:i] for i in range(0, len(content), 40 if index else 2000)]
        for change in changes:
            copy.write_bytes(change)
            tried += 1
            try:
                if not same(read_tf_checkpoint(folder / GOLDEN.name), expected):
                    wrong.append((file.name, len(change)))
            except TensorFlowFileError:
                noticed += 1
        copy.write_bytes(content)
    report("damage", not wrong and noticed > 0.9 * tried, f"{noticed} of {tried} changes refused, {len(wrong)} read wrong {wrong[:3]}")
    (folder / files[-1].name).unlink()
    refused("a data file is missing", folder / GOLDEN.name, "is missing")


def handmade(folder):
    """Indexes with what TensorFlow does not write for openai/glow."""

    def entry(extra=b"", kind=1, size=4):
        return bytes([8, kind, 40, size]) + extra  # tags 1 and 5

    def index(entries, compression=0, tail=TABLE_MAGIC):
        def block(items):
            body = b"".join(bytes([0, len(key), len(value)]) + key + value for key, value in items) + struct.pack("<II", 0, 1)
            kind = bytes([compression])
            return body + kind + struct.pack("<I", masked_crc(body + kind))

        data = block(entries)
        pointers = block([(b"z", bytes([0, len(data) - 5]))])
        handles = bytes([0, 0, len(data), len(pointers) - 5])
        (folder / "made.index").write_bytes(data + pointers + handles.ljust(40, b"\0") + tail)
        (folder / "made.data-00000-of-00001").write_bytes(struct.pack("<f", 2.5))

    little = (b"", bytes([8, 1]))
    crc = b"\x35" + struct.pack("<I", masked_crc(struct.pack("<f", 2.5)))
    index([little, (b"x", entry(extra=crc))])
    report("a handmade index", same(read_tf_checkpoint(folder / "made"), {"x": np.float32(2.5)}))
    for name, changes, part in (
        ("big-endian", ([(b"", bytes([8, 1, 16, 1])), (b"x", entry(extra=crc))],), "big-endian"),
        ("slices", ([little, (b"x", entry(extra=crc + bytes([58, 0])))],), "slices"),
        ("an unknown type", ([little, (b"x", entry(kind=99, extra=crc))],), "not numeric"),
        ("a size that is not the shape's", ([little, (b"x", entry(size=8, extra=crc))],), "not its shape"),
        ("another checksum", ([little, (b"x", entry())],), "damaged"),
        ("a shape that is a number", ([little, (b"x", entry(extra=bytes([16, 1])))],), "damaged"),
        ("an endless number", ([little, (b"x", b"\xff" * 11)],), "damaged"),
        ("no header", ([(b"x", entry(extra=crc))],), "not an index"),
        ("compressed", ([little], 1), "not an index"),
        ("another magic number", ([little], 0, b"12345678"), "not an index"),
    ):
        index(*changes)
        refused(name, folder / "made", part)


def through_glow_convert(programs, folder):
    def convert(source, output, **options):
        return subprocess.run([sys.executable, programs / "glow_convert", "--from", "openai", source, "--size", "8", "-o", output, "--force"],
                              capture_output=True, text=True, **options)

    np.savez(folder / "same.npz", **golden_variables())
    for name, source in (("npz", folder / "same.npz"), ("prefix", GOLDEN), ("index", f"{GOLDEN}.index")):
        done = convert(source, folder / f"{name}.h5")
        if done.returncode:
            report(f"glow_convert from the {name}", False, done.stderr)
    for tree in ("params", "ema", "optimizer/m", "optimizer/v"):
        arrays = [read_tree(folder / f"{name}.h5", tree) for name in ("npz", "prefix", "index")]
        report(f"glow_convert: {tree}", len(arrays[0]) == 12 and same(arrays[1], arrays[0]) and same(arrays[2], arrays[0]))
    for file in tf_checkpoint_files(GOLDEN):
        (folder / file.name).write_bytes(file.read_bytes())
    for name, output, part in (("overwriting the index", f"{GOLDEN.name}.index", "overwrite"),
                               ("overwriting the data", f"{GOLDEN.name}.data-00001-of-00002", "overwrite")):
        done = convert(GOLDEN.name, output, cwd=folder)
        report(f"refused: {name}", done.returncode == 2 and part in done.stderr, done.stderr.strip()[:100])
    (folder / f"{GOLDEN.name}.data-00001-of-00002").unlink()
    done = convert(folder / GOLDEN.name, folder / "refused.h5")
    good = done.returncode == 2 and "is missing" in done.stderr and not (folder / "refused.h5").exists()
    report("refused: glow_convert, a file is missing", good, done.stderr.strip()[-80:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=Path, nargs="?")
    parser.add_argument("--write", action="store_true", help="write the golden checkpoint, with TensorFlow")
    arguments = parser.parse_args()
    if arguments.write:
        return save(GOLDEN, golden_variables(), shards=2)
    report("the golden checkpoint", same(read_tf_checkpoint(GOLDEN), golden_variables()), f"{len(golden_variables())} tensors")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        handmade(folder)
        damage(folder)
        with_tensorflow(folder)
        through_glow_convert(arguments.programs.resolve(), folder)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
