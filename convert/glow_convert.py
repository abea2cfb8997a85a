#!/usr/bin/env python3
"""glow_convert: converts weights of other programs to checkpoints of this one, and its checkpoints to other formats.

    glow_convert --from rosinality F.npz --size 32 --n-bits 5 -o C.h5
    glow_convert --to safetensors RUN -o F.safetensors
    glow_convert --to onnx --what log_prob RUN -o F.onnx

Reads state dicts of the PyTorch Glows of rosinality, y0ast and chaiyujin, and the variables of openai/glow, from .npz or
HDF5 files with the original names, and TensorFlow's checkpoints (the prefix of F.index and F.data-*). A tensor
without a counterpart in the model is an error.
Writes /params. A complete openai/glow checkpoint also provides averages, moments and step, so that glow_train --resume
continues the run. Without moments, continue training with --init-from.

Exit status: 0 done, 1 failure while writing, 2 bad usage, or weights that the model cannot express (the message says why).
"""

import argparse
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import sys
from pathlib import Path

from python_packages import end_by_interrupts, require_packages, reserve_linear_algebra

end_by_interrupts()
require_packages("numpy", "h5py")
import h5py
import numpy as np

from script_text import end_with, parse_arguments
from tf_checkpoint import tf_checkpoint_files
from hdf5_arrays import hdf5_arrays
from output_files import OutputRefused, claim_outputs, write_atomically
from model_files import MODEL_VALUES, InputError, check, check_values, parse_config, read_checkpoint, read_named, read_safetensors, write_checkpoint, write_safetensors
from foreign_tensors import Imported, Source
from torch_models import chaiyujin, rosinality, y0ast
from openai_glow import openai
from onnx_export import onnx_model

VERSION = "@PROJECT_VERSION@"
EPOCH_IMAGES = 50000  # openai/glow's epoch length, for any data set
LARGEST_COUNTER = 2**52  # that the commands read (inference/model_file.cpp)
FOREIGN = {"rosinality": rosinality, "y0ast": y0ast, "chaiyujin": chaiyujin, "openai": openai}


def import_foreign(kind, arguments):
    stored = read_named(arguments.input)
    tensors = {name.removeprefix("module."): value for name, value in stored.items()}
    if twice := [name for name in stored if f"module.{name}" in stored]:
        raise InputError(f"{arguments.input}: {twice[0]} appears twice, with and without module.")
    if not tensors:
        raise InputError(f"{arguments.input}: it contains no tensors")
    wrong = [name for name, value in tensors.items() if np.asarray(value).dtype.kind not in "fiub"]
    if wrong:
        own = "; a file that glow_convert --to npz wrote is read with --from npz" if wrong[0] == "config" else ""
        raise InputError(f"{arguments.input}: {wrong[0]} is not numeric{own}")
    source, (height, width) = Source(tensors), size_of(arguments.size or "32")
    config = dict(image_height=height, image_width=width, channels=3, n_bits=arguments.n_bits, levels=1, depth=1, width=1,
                  permutation=arguments.permutation or "invconv", coupling="affine", coupling_scale="sigmoid", edge_bias=True, learn_top=True, y_cond=False,
                  n_classes=0, weight_y=0.0, dequant_depth=0, dequant_width=32)
    try:
        with np.errstate(all="ignore"):  # check() refuses what is not finite
            imported = FOREIGN[kind](source, config)
    except (ValueError, IndexError) as error:  # both bases of NumPy's AxisError
        raise InputError(f"{arguments.input}: a tensor's shape does not match the layout: {error}") from None
    source.finish()
    if not isinstance(imported, Imported):
        imported = Imported(imported)
    if arguments.bits_assumed:
        imported.notes.append("assumed 8 bits per channel, which the file does not store; rosinality/glow-pytorch trains with 5 by default (--n-bits 5)")
    config["weight_y"] = weight_of_classifier(arguments.weight_y, "classifier/weight" in imported.params)
    check_values(config, arguments.input)
    trees = {"params": check(config, imported.params)}
    trees |= {tree: check(config, tensors, tree) for tree, tensors in imported.trees.items() if tensors}
    images = imported.step * arguments.batch
    if images > LARGEST_COUNTER:
        raise InputError(f"{arguments.input}: step {imported.step:g} of --batch {arguments.batch} images is out of range")
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
    if not isinstance(metadata, dict) or not isinstance(metadata.get("config"), str) or not metadata["config"]:
        raise InputError(f"{arguments.input}: it contains no Glow model configuration")
    config = parse_config(metadata["config"], arguments.input)
    return config, {"params": check(config, tensors)}, {"step": 0, "images_seen": 0, "epoch": 0}, []


def size_of(text):
    match = re.fullmatch(r"0*([0-9]{1,5})(?:x0*([0-9]{1,5}))?", text)
    if not match:
        raise InputError(f"--size {text}: expected S or HxW in pixels")
    size = int(match[1]), int(match[2] or match[1])
    low, high = MODEL_VALUES["image_height"]
    if not all(low <= side <= high for side in size):
        raise InputError(f"--size {text}: expected sides of {low} to {high} pixels")
    return size


def check_size(size, config):
    step = 2 ** config["levels"]
    if any(side % step for side in size):
        raise InputError(f"--size {size[0]}x{size[1]}: {config['levels']} levels need sides divisible by {step}")


def export_onnx(arguments, config, params):
    """Function that writes the graph to a path."""
    size = config["image_height"], config["image_width"]
    if arguments.size:
        size = None if arguments.size == "any" else size_of(arguments.size)
    if size:
        check_size(size, config)
    model = onnx_model(config, params, arguments.what, size, arguments.dequant == "input", arguments.state)
    return lambda temporary: Path(temporary).write_bytes(model.SerializeToString())


ONNX_OPTIONS = {"what": None, "dequant": "center", "state": "float64"}
FOREIGN_OPTIONS = "n_bits", "permutation", "weight_y", "batch"
SUFFIXES = {"npz": (".npz",), "safetensors": (".safetensors",), "onnx": (".onnx",), None: (".h5", ".hdf5")}
OTHER_SUFFIXES = ".npy", ".csv", ".png", ".toml", ".glow"


def check_options(arguments):
    if (arguments.source is None) == (arguments.target is None):
        raise InputError("give either --from KIND or --to KIND")
    foreign, kind = arguments.source in FOREIGN, arguments.source or arguments.target
    for name in () if foreign else FOREIGN_OPTIONS if kind == "onnx" else (*FOREIGN_OPTIONS, "size"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name.replace('_', '-')}: {'a checkpoint' if arguments.target else f'the {kind} file'} holds its own")
    if arguments.no_ema and arguments.source:
        raise InputError("--no-ema needs --to: a checkpoint is written with all weights of the file")
    suffix = Path(arguments.output).suffix.lower()
    known = {*OTHER_SUFFIXES}.union(*SUFFIXES.values())
    if suffix in known and suffix not in SUFFIXES[arguments.target]:
        raise InputError(f"--output {arguments.output}: the name must end in {SUFFIXES[arguments.target][0]}; {suffix} is the suffix of another format")
    arguments.bits_assumed = arguments.source == "rosinality" and arguments.n_bits is None
    arguments.n_bits, arguments.batch = arguments.n_bits or 8, arguments.batch or 64
    if kind != "onnx":
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
    def reason(error):
        return os.strerror(error.errno) if error.errno else error

    def read_input(read, *what):
        try:
            return read(*what)
        except OSError as error:
            raise InputError(f"{arguments.input}: cannot be read: {reason(error)}") from None

    def write_output(write, *what):
        try:
            write(*what)
        except OSError as error:
            raise OSError(f"{arguments.output}: cannot be written: {reason(error)}") from None

    check_options(arguments)
    if problem := reserve_linear_algebra():
        raise InputError(problem)
    latest = Path(arguments.input) / "latest.h5"
    files = read_input(tf_checkpoint_files, arguments.input) or [latest if os.path.exists(latest) else arguments.input]
    claim_outputs([("the input", file) for file in files], [("--output", arguments.output)])
    if os.path.isfile(arguments.output) and not arguments.force:
        raise OutputRefused(f"{arguments.output} exists: choose another name, or replace it with --force")
    if arguments.source:
        read = import_foreign if arguments.source in FOREIGN else import_ours
        config, trees, counters, notes = read_input(read, arguments.source, arguments)
        params = trees["params"]
        check_size((config["image_height"], config["image_width"]), config)
        write_output(write_checkpoint, arguments.output, config, trees, counters)
    else:
        trees, notes = {}, []
        config, params = read_input(read_checkpoint, arguments.input, not arguments.no_ema)
        params = check(config, params)
        text = json.dumps(config)
        if arguments.target == "onnx":
            write = export_onnx(arguments, config, params)
        elif arguments.target == "npz":
            def write(temporary):
                archive = io.BytesIO()  # in memory, because zipfile reports a full disk twice
                np.savez(archive, config=np.array(text), **params)
                Path(temporary).write_bytes(archive.getbuffer())
        else:
            def write(temporary):
                write_safetensors(temporary, params, {"format": "glow", "config": text})
        write_output(write_atomically, arguments.output, write)
    count = sum(int(value.size) for value in params.values())
    result = {"output": arguments.output, "tensors": len(params), "values": count, "config": config}
    text = (f"{arguments.output}: {len(params)} tensors, {count} values; L {config['levels']}, K {config['depth']}, "
            f"width {config['width']}, {config['permutation']}, {config['coupling']}")
    if arguments.source:
        result |= {"trees": list(trees), **counters}
        names = {"ema": "averages", "optimizer/m": "moments"}
        with_ = " and ".join(name for tree, name in names.items() if tree in trees)
        text += f"; {with_}" * bool(with_) + f"; step {counters['step']}" * bool(counters["step"])
    for note in [] if arguments.quiet else notes:
        print("glow_convert: note:", note, file=sys.stderr)
    print(json.dumps(result) if arguments.json else text)


def word(text):
    if not text:
        raise argparse.ArgumentTypeError("expected a value, found an empty one: is a variable on the command line not set?")
    return text


def weight(text):
    try:
        value = float(word(text))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1e6")
    return value


def whole_number(low, high):
    def parse(text):
        if not re.fullmatch(r"0*[0-9]{1,9}", word(text)) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number from {low} to {high}")
        return int(text)

    return parse


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (glow_convert --help lists the options)")


def version_text():
    versions = {"Python": platform.python_version(), "NumPy": np.__version__, "h5py": h5py.__version__, "HDF5": h5py.version.hdf5_version}
    try:
        versions["onnx"] = importlib.metadata.version("onnx")
    except importlib.metadata.PackageNotFoundError:  # needed by --to onnx alone
        pass
    return "\n".join([f"glow_convert {VERSION}", *(f"{name:<9}{version}" for name, version in versions.items())])


# As in runtime/launcher.cpp: variables with the number of processes, and those of launchers that set only a rank.
LAUNCHER_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "MVP_COMM_WORLD_SIZE")
LAUNCHER_RANKS = ("PMIX_RANK", "PMI_RANK", "PALS_RANKID")


def launcher_number(variable):
    value = os.environ.get(variable, "")
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else 0


# The shell of `srun --pty`, which only task 0 has.
def in_interactive_shell():
    if "SLURM_PTY_PORT" not in os.environ or launcher_number("SLURM_TASK_PID") == os.getpid():
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        return True
    except OSError:
        return False


def variable_of_several_processes():
    """The environment variable by which this is one of several processes of a launcher, or None."""
    sizes = {variable: launcher_number(variable) for variable in LAUNCHER_SIZES}
    for variable, size in sizes.items():
        if size > 1:
            return variable
    if sizes["OMPI_COMM_WORLD_SIZE"] == 1:  # whose daemons may be tasks of srun
        return None
    tasks = launcher_number("SLURM_STEP_NUM_TASKS") if "SLURM_STEP_ID" in os.environ else 0
    if launcher_number("SLURM_PROCID") > 0:
        return "SLURM_PROCID"
    if tasks > 1 and not in_interactive_shell():
        return "SLURM_STEP_NUM_TASKS"
    if tasks > 0 or 1 in sizes.values():
        return None
    return next((variable for variable in LAUNCHER_RANKS if launcher_number(variable) > 0), None)


def refuse_to_run_twice():
    if variable := variable_of_several_processes():
        raise InputError(f"a launcher started several processes ({variable}={os.environ[variable]}), each of which would do the whole "
                         f"work: start the command without it, or unset {variable}")


def main():
    parser = Parser("glow_convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=word, help="the file to convert, or a run folder (its latest checkpoint)")
    parser.add_argument("--from", dest="source", type=word, choices=[*FOREIGN, "npz", "safetensors"], help="source format of the weights")
    parser.add_argument("--to", dest="target", type=word, choices=["npz", "safetensors", "onnx"], help="format to convert a checkpoint to")
    parser.add_argument("-o", "--output", type=word, required=True, help="the file to write")
    parser.add_argument("--size", type=word, help="image size S or HxW, which foreign files do not store (default 32); with --to onnx: the size of "
                        "the input, or 'any' (default: the size the model was trained at)")
    parser.add_argument("--n-bits", type=whole_number(1, 8), metavar="BITS", help="bits per channel (default 8)")
    parser.add_argument("--permutation", type=word, choices=["reverse"], help="permutation used if there are no 1x1 convolutions")
    parser.add_argument("--weight-y", type=weight, help="classifier's weight in the loss, which foreign files do not store (default 0.01)")
    parser.add_argument("--batch", type=whole_number(1, 999999999),
                        help="images per step, to compute how many a checkpoint has seen (default 64)")
    parser.add_argument("--what", type=word, choices=["log_prob", "encode", "decode"], help="with --to onnx: what the graph computes")
    parser.add_argument("--dequant", type=word, choices=["center", "input"],
                        help="with --to onnx: u in x = (k + u) / 2^n_bits - 1/2 is 1/2, or an input of the graph (default center)")
    parser.add_argument("--state", type=word, choices=["float64", "float32"],
                        help="with --to onnx: type of the state between the networks, which are float32 (default float64, as glow_eval)")
    parser.add_argument("--no-ema", action="store_true", help="with --to: raw weights instead of averages")
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no notes")
    parser.add_argument("--version", action="version", version=version_text(), help="show the versions of Glow and of what it uses here")
    try:
        arguments = parse_arguments(parser)
        refuse_to_run_twice()
        run(arguments)
        return 0
    except (InputError, OutputRefused) as error:
        print("glow_convert: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except BrokenPipeError:  # of stdout; end_with is silent
        raise
    except (OSError, MemoryError) as error:
        print("glow_convert: error:", " ".join(str(error).split()) or "there is not enough memory", file=sys.stderr)
        return 1


if __name__ == "__main__":
    end_with("glow_convert", main)
