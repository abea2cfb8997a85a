"""compare_onnx.py PROGRAMS: the graphs of `glow_convert --to onnx`, run by onnxruntime on the CPU, against the commands.

For every variant of the model, with random weights: bits/dim of each image against `glow_eval --dequant center`, latents against
`glow_latent encode`, decoded pixels against `glow_latent decode`. Then a model that glow_train made, with and without its averages;
images of another size; the noise input; float32 states; onnx's own evaluator. At the end single values of a graph are changed, and
the comparison must detect each change.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("onnx", "onnxruntime", "numpy", "h5py")
import h5py
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

sys.path.append(str(Path(__file__).resolve().parents[2] / "convert"))
import onnx_export  # noqa: E402
from glow_files import make_config, random_parameters, read_config, write_checkpoint, write_dataset
from model_files import InputError, read_checkpoint

PROGRAMS = Path(sys.argv[1])
N, CLASSES = 6, 3
# Outputs are float32: half a unit in the last place of 10 is 5e-7. The float32 networks sum in another order than ours. Seen: 5e-7 in all.
BITS_TOLERANCE = 2e-6
LATENT_TOLERANCE = 2e-5  # seen up to 3e-6
# A state in float32 rounds after every operation. Seen: 6e-7 in these small models.
FLOAT32_BITS_TOLERANCE = 1e-5
# A decoded value within rounding of a bin edge may fall into the next bin.
PIXELS_AT_EDGES = 2 / 1000
failures = 0


def report(name, good, text=""):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'}  {name:<36} {text}", flush=True)


def run(program, *arguments):
    done = subprocess.run([PROGRAMS / program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"FAILED: {program} {' '.join(map(str, arguments))} ended with exit status {done.returncode}: {done.stderr}")


def convert(*arguments, **environment):
    return subprocess.run([sys.executable, PROGRAMS / "glow_convert", *map(str, arguments), "--force"], capture_output=True, text=True,
                          env={**os.environ, **environment})


def export(checkpoint, what, output, *options):
    done = convert("--to", "onnx", "--what", what, checkpoint, "-o", output, *options)
    if done.returncode:
        raise SystemExit(f"FAILED: glow_convert --to onnx --what {what}: {done.stderr}")
    onnx.checker.check_model(str(output), full_check=True)  # also the types and shapes of all values
    return output


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def evaluate(model, **inputs):
    """{output: array}; inputs the graph does not have are left out."""
    graph = model if isinstance(model, onnxruntime.InferenceSession) else session(model)
    names = {value.name for value in graph.get_inputs()}
    found = graph.run(None, {name: value for name, value in inputs.items() if name in names})
    return dict(zip((value.name for value in graph.get_outputs()), found))


class Expected:
    """What the commands make of the images, and of latents at another temperature."""

    def __init__(self, folder, checkpoint, images, labels, *options):
        self.config = read_config(checkpoint)
        content = (images, labels, CLASSES) if self.config["y_cond"] else images
        write_dataset(folder / "data.h5", train=content, test=content)
        common = ("--threads", 1, "--quiet", "--checkpoint", checkpoint, *options)
        run("glow_eval", "--bpd", *common, "--data", folder / "data.h5", "--dequant", "center", "--per-image", folder / "bits.csv")
        with open(folder / "bits.csv") as file:
            self.bits = np.array([float(row["bpd"]) for row in csv.DictReader(file)])
        run("glow_latent", "encode", *common, "--data", folder / "data.h5", "-o", folder / "latents.h5")
        with h5py.File(folder / "latents.h5", "r+") as f:
            self.eps = {f"eps_level{level}": f[f"eps/level{level}"][()] for level in range(self.config["levels"])}
            self.cool = {name: np.float32(0.7) * value[::-1] for name, value in self.eps.items()}
            for level in range(self.config["levels"]):
                f[f"eps/level{level}"][...] = self.cool[f"eps_level{level}"]
        run("glow_latent", "decode", *common, "--latents", folder / "latents.h5", "-o", folder / "decoded.h5")
        with h5py.File(folder / "decoded.h5") as f:
            self.pixels = f["images"][()]


def bits_error(found, expected, images):
    """Largest difference of either output."""
    log_p = found["log_prob"] / (-np.log(2) * images[0].size)
    return max(np.abs(found["bits_per_dim"] - expected).max(), np.abs(log_p - expected).max())


def pixel_error(found, expected, n_bits):
    """(share of pixels that differ, largest difference in bins)."""
    bins = np.abs(found.astype(int) - expected) // 2 ** (8 - n_bits)
    return np.mean(bins > 0), bins.max()


def compare(name, folder, checkpoint, images, labels, *options, eval_options=(), tolerance=BITS_TOLERANCE):
    """All three graphs of a checkpoint."""
    expected = Expected(folder, checkpoint, images, labels, *eval_options)
    graphs = {what: session(export(checkpoint, what, folder / f"{what}.onnx", *options)) for what in ("log_prob", "encode", "decode")}
    inputs = {"images": images, "labels": labels}
    bits = bits_error(evaluate(graphs["log_prob"], **inputs), expected.bits, images)
    one = evaluate(graphs["log_prob"], images=images[:1], labels=labels[:1])
    bits = max(bits, bits_error(one, expected.bits[:1], images))
    latents = evaluate(graphs["encode"], **inputs)
    eps = max(np.abs(latents[name] - value).max() for name, value in expected.eps.items())
    decoded = evaluate(graphs["decode"], **expected.cool, labels=labels)
    share, bins = pixel_error(decoded["images"], expected.pixels, expected.config["n_bits"])
    again = evaluate(graphs["decode"], **latents, labels=labels)["images"]
    step = 2 ** (8 - expected.config["n_bits"])
    good = (bits < tolerance and eps < LATENT_TOLERANCE * tolerance / BITS_TOLERANCE and share <= PIXELS_AT_EDGES and bins <= 1 and
            latents.keys() == expected.eps.keys() and decoded["finite"].shape == (N,) and decoded["finite"].all() and (again == images // step * step).all())
    report(name, good, f"bits/dim {bits:.1e} of {expected.bits.mean():.2f}, latents {eps:.1e}, pixels {1000 * share:.2f} per 1000, "
                       f"round trip {'exact' if (again == images // step * step).all() else 'differs'}")
    return expected


VARIANTS = {
    "affine, 1x1 convolution": {},
    "additive, LU, 3 levels": dict(coupling="additive", permutation="invconv_lu", levels=3),
    "bounded scale": dict(coupling_scale="tanh"),
    "LU": dict(permutation="invconv_lu"),
    "shuffle, no edge channel": dict(permutation="shuffle", edge_bias=False),
    "reverse, prior not learned, 5 bits": dict(permutation="reverse", learn_top=False, n_bits=5),
    "additive, no edge channel, 1 level": dict(coupling="additive", edge_bias=False, levels=1, n_bits=1),
    "conditional, grayscale": dict(y_cond=True, n_classes=CLASSES, channels=1),
    "conditional, classifier, no edge": dict(y_cond=True, n_classes=CLASSES, weight_y=0.5, edge_bias=False),
    "conditional, prior not learned": dict(y_cond=True, n_classes=CLASSES, learn_top=False, channels=4),
    "high": dict(image_height=24, image_width=8, depth=1, width=7),
}


def checkpoint_of(folder, changes, name="model.h5"):
    config = make_config(**{**dict(image_height=16, image_width=16, levels=2, depth=2, width=8), **changes})
    write_checkpoint(folder / name, config, random_parameters(config, 5))
    return folder / name, config


def images_of(config):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (N, config["image_height"], config["image_width"], config["channels"])).astype(np.uint8)


def trained(folder):
    """A model of glow_train: initialized from data, averages that differ from the weights."""
    run("glow_data", "synthetic", "shapes", "--size", 16, "--train", 64, "--test", N, "-o", folder / "shapes.h5")
    run("glow_train", "--data", folder / "shapes.h5", "--out", folder / "run", "--levels", 2, "--depth", 3, "--width", 16, "--batch", 16,
        "--max-steps", 30, "--lr", 0.01, "--warmup-epochs", 0, "--device", "cpu", "--threads", 1, "--quiet")
    with h5py.File(folder / "shapes.h5") as f:
        images = f["test/images"][()]
    labels = np.zeros(N, np.int64)
    averages = compare("trained", folder, folder / "run/latest.h5", images, labels)
    raw = compare("trained, --no-ema", folder, folder / "run/latest.h5", images, labels, "--no-ema", eval_options=("--no-ema",))
    report("averages differ from the weights", np.abs(averages.bits - raw.bits).max() > 0.01)


def inputs_and_sizes(folder, labels):
    checkpoint, config = checkpoint_of(folder, {})
    images = images_of(config)
    expected = Expected(folder, checkpoint, images, labels)
    # A second implementation of the operators: onnx's own, in NumPy.
    graph = ReferenceEvaluator(str(export(checkpoint, "log_prob", folder / "log_prob.onnx")))
    error = bits_error(dict(zip(("log_prob", "bits_per_dim"), graph.run(None, {"images": images}))), expected.bits, images)
    report("in onnx's reference evaluator", error < BITS_TOLERANCE, f"bits/dim {error:.1e}")
    # Noise of 1.5 in a bin is 1/2 in the next.
    noisy = export(checkpoint, "log_prob", folder / "noise.onnx", "--dequant", "input")
    found = evaluate(noisy, images=np.maximum(images, 1) - np.uint8(1), noise=np.where(images > 0, 1.5, 0.5).astype(np.float32))
    error = bits_error(found, expected.bits, images)
    report("noise as an input", error < BITS_TOLERANCE, f"bits/dim {error:.1e}")
    compare("float32 state", folder, checkpoint, images, labels, "--state", "float32", tolerance=FLOAT32_BITS_TOLERANCE)
    # The same weights as a model of another size.
    other, config = checkpoint_of(folder, dict(image_height=8, image_width=24), "other.h5")
    for name, options in (("any size", ("--size", "any")), ("--size HxW", ("--size", "8x24"))):
        found = evaluate(export(checkpoint, "log_prob", folder / "size.onnx", *options), images=images_of(config))
        error = bits_error(found, Expected(folder, other, images_of(config), labels).bits, images_of(config))
        report(name, error < BITS_TOLERANCE, f"bits/dim {error:.1e}")
    fixed = session(export(checkpoint, "log_prob", folder / "fixed.onnx"))
    try:
        evaluate(fixed, images=images_of(config))
        report("another size is refused", False)
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
        report("another size is refused", "images" in str(error))


def not_finite(folder, labels):
    """Some latents overflow: the export marks as many images as the command crosses out, and the others are unchanged. The command
    refuses NaN."""
    checkpoint, _ = checkpoint_of(folder, {})
    expected = Expected(folder, checkpoint, images_of(read_config(checkpoint)), labels)
    for state in ("float64", "float32"):
        latents = {name: value.copy() for name, value in expected.cool.items()}
        latents["eps_level0"][1, 0, 0, 0], latents["eps_level1"][4, 1, 1, 1] = 3e38, -3e38
        with h5py.File(folder / "latents.h5", "r+") as f:
            for name, value in latents.items():
                f[name.replace("_", "/")][...] = value
        done = subprocess.run([PROGRAMS / "glow_latent", "decode", "--checkpoint", checkpoint, "--latents", folder / "latents.h5", "-o",
                               folder / "decoded.h5", "--threads", "1", "--quiet", "--json"], capture_output=True, text=True)
        report(f"latents that overflow, {state}: the command", done.returncode == 0 and json.loads(done.stdout)["not_finite"] == 2, done.stderr.strip())
        latents["eps_level1"][2, 0, 0, 0] = np.nan
        found = evaluate(export(checkpoint, "decode", folder / "decode.onnx", "--state", state), **latents)
        bad, good = [1, 2, 4], [0, 3, 5]
        same = pixel_error(found["images"][good], expected.pixels[good], 8)[0] <= PIXELS_AT_EDGES
        report(f"latents that overflow, {state}: the graph", same and not found["images"][bad].any() and
               [n for n in range(N) if not found["finite"][n]] == bad, f"finite {found['finite'].astype(int)}")


def sabotage(folder, labels):
    """One value of each kind of constant, changed by a tenth, must be noticed."""
    checkpoint, config = checkpoint_of(folder, dict(y_cond=True, n_classes=CLASSES))
    images = images_of(config)
    expected = Expected(folder, checkpoint, images, labels)
    graphs = {what: onnx.load(export(checkpoint, what, folder / f"{what}.onnx")) for what in ("log_prob", "decode")}
    net = "level0/step1/coupling"
    places = [f"{net}/conv{i}/{part}" for i in (1, 2, 3) for part in ("weight", "bias")]
    places += ["level0/step0/matrix", "level1/step1/offset", "level0/split/weight", "level0/split/bias", "prior/top/weight", "prior/class"]
    for place in places:
        noticed = []
        for what, graph in graphs.items():
            changed = onnx.ModelProto()
            changed.CopyFrom(graph)
            tensor = next(tensor for tensor in changed.graph.initializer if tensor.name == place)
            value = onnx.numpy_helper.to_array(tensor).copy()
            at = np.unravel_index(np.abs(value).argmax(), value.shape)
            value[at] += 0.1 * max(1, np.abs(value[at]))
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, place))
            if what == "log_prob":
                error = bits_error(evaluate(changed, images=images, labels=labels), expected.bits, images)
                noticed.append(error >= BITS_TOLERANCE)
            else:
                found = evaluate(changed, **expected.cool, labels=labels)["images"]
                noticed.append(pixel_error(found, expected.pixels, 8)[0] > PIXELS_AT_EDGES)
        report(f"sabotage: {place}", all(noticed), f"bits/dim off by {error:.1e}")
    wrong = evaluate(graphs["log_prob"], images=images, labels=(labels + 1) % CLASSES)
    report("sabotage: other labels", bits_error(wrong, expected.bits, images) > BITS_TOLERANCE)


def largest_file(folder):
    """The limit counts the constants as they are stored: matrices take 8 bytes a value, or 4."""
    config, params = read_checkpoint(checkpoint_of(folder, {})[0], True)
    limit = onnx_export.LARGEST_BYTES
    for state in ("float64", "float32"):
        graph = onnx_export.onnx_model(config, params, "log_prob", None, state=state).graph
        stored, refused = sum(len(tensor.raw_data) for tensor in graph.initializer), []
        for onnx_export.LARGEST_BYTES in (stored, stored - 1):
            try:
                onnx_export.onnx_model(config, params, "log_prob", None, state=state)
                refused.append("")
            except InputError as error:
                refused.append(str(error))
        report(f"the largest file, {state}", not refused[0] and "2 GiB" in refused[1], f"{stored} bytes: {refused[1]}")
    onnx_export.LARGEST_BYTES = limit


def refusals(folder):
    checkpoint, _ = checkpoint_of(folder, {})
    (folder / "broken/onnx").mkdir(parents=True)
    (folder / "broken/onnx/__init__.py").write_text("raise ImportError('broken')\n")
    config = make_config(levels=1, depth=1, width=4)
    params = random_parameters(config, 1)

    def changed(name, value):
        file = folder / f"{name.replace('/', '-')}-{value}.h5"
        write_checkpoint(file, config, {**params, name: np.full_like(params[name], value)})
        return file

    singular = changed("level0/step0/invconv/weight", 0)
    scales, filters = changed("level0/step0/actnorm/logs", 100), changed("level0/step0/coupling/conv1/actnorm/logs", 100)
    cases = [
        ("a singular matrix", ["--to", "onnx", "--what", "log_prob", singular], "singular", {}),
        ("filters that overflow", ["--to", "onnx", "--what", "log_prob", filters], "conv1/weight of the graph overflows float32", {}),
        ("a float32 state that overflows", ["--to", "onnx", "--what", "log_prob", "--state", "float32", scales], "matrix of the graph overflows float32", {}),
        ("no --what", ["--to", "onnx"], "needs --what", {}),
        ("an unknown --what", ["--to", "onnx", "--what", "train"], "--what", {}),
        ("--what for npz", ["--to", "npz", "--what", "encode"], "--what needs --to onnx", {}),
        ("--state for safetensors", ["--to", "safetensors", "--state", "float32"], "--state needs --to onnx", {}),
        ("--dequant of a decoder", ["--to", "onnx", "--what", "decode", "--dequant", "center"], "--dequant", {}),
        ("a size that does not fit", ["--to", "onnx", "--what", "decode", "--size", "18"], "divisible by 4", {}),
        ("a size that is none", ["--to", "onnx", "--what", "decode", "--size", "big"], "--size", {}),
        ("no onnx package", ["--to", "onnx", "--what", "decode"], "python3-onnx", {"PYTHONPATH": str(folder / "broken")}),
    ]
    for name, arguments, part, environment in cases:
        source = [] if isinstance(arguments[-1], Path) else [checkpoint]
        done = convert(*arguments, *source, "-o", folder / "refused", **environment)
        line = done.stderr.count("\n") == 1 and done.stderr.startswith("glow_convert: error: ")
        good = done.returncode == 2 and part in done.stderr and line and not (folder / "refused").exists()
        report(f"refused: {name}", good, done.stderr.strip()[:110])


def main():
    labels = np.arange(N, dtype=np.int64) % CLASSES
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, changes in VARIANTS.items():
            checkpoint, config = checkpoint_of(folder, changes)
            compare(name, folder, checkpoint, images_of(config), labels)
        trained(folder)
        inputs_and_sizes(folder, labels)
        not_finite(folder, labels)
        sabotage(folder, labels)
        largest_file(folder)
        refusals(folder)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
