"""Writes a model as an ONNX graph of plain operators (opset 17): its likelihood, its encoder or its decoder.

Inputs and outputs have channels last, as everywhere in Glow. Inside, a state is [N, C, H W] and a network's maps are
[N, C, H, W], as Conv needs them. Networks are float32; the state is float64 as in glow_eval, or float32. Batch, height and
width are read from the input, so the graph is the same for images of every size.
"""

import functools
import json
import math

import numpy as np
from model_files import InputError, step_matrix

LN2 = math.log(2)
OPSET, IR_VERSION = 17, 8  # those of onnx 1.12 and onnxruntime 1.12
LARGEST_BYTES = 0.99 * 2**31  # of constants; the rest is for the nodes


class GraphBuilder:
    """Collects the nodes and constants of a graph. Values are named by strings."""

    def __init__(self, state):
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper

        self.onnx, self.state = onnx, np.dtype(state)
        self.nodes, self.inputs, self.outputs, self.constants, self.bytes = [], [], [], {}, 0

    def type_of(self, dtype):
        names = {"uint8": "UINT8", "int64": "INT64", "float32": "FLOAT", "float64": "DOUBLE", "bool": "BOOL"}
        return getattr(self.onnx.TensorProto, names[np.dtype(dtype).name])

    def input(self, name, dtype, shape):
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), shape))
        return name

    def output(self, value, name, dtype, shape):
        self.nodes.append(self.onnx.helper.make_node("Cast", [value], [name], to=self.type_of(dtype)))
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), shape))

    def constant(self, value, name=None):
        """Constants without a name are shared where they are equal."""
        value = np.asarray(value, order="C")
        key = name or (value.dtype, value.shape, value.tobytes())
        if key not in self.constants:
            if not np.isfinite(value).all():
                raise InputError(f"{name or 'a constant'} of the graph overflows {value.dtype}: a parameter is out of range")
            self.bytes += value.nbytes
            if self.bytes > LARGEST_BYTES:
                raise InputError("the graph's constants exceed the 2 GiB of an ONNX file")
            self.constants[key] = self.onnx.numpy_helper.from_array(value, name or f"constant_{len(self.constants)}")
        return self.constants[key].name

    def number(self, value, name=None):
        """A constant of the state's type."""
        return self.constant(np.asarray(value, self.state), name)

    def integers(self, *values):
        return self.constant(np.array(values, np.int64))

    def op(self, kind, *inputs, outputs=1, **attributes):
        name = f"{kind}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def cast(self, value, dtype):
        return self.op("Cast", value, to=self.type_of(dtype))

    def model(self, name, text, metadata):
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, list(self.constants.values()), doc_string=text)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="glow_convert")
        helper.set_model_props(model, metadata)
        self.onnx.checker.check_model(model)
        return model


class Level:
    """The size of one level's maps, and the channel of ones that the edge channel needs."""

    def __init__(self, graph, maps):
        """maps: any [N, C, H, W] of that level."""
        self.graph, self.batch = graph, graph.op("Shape", maps, end=1)
        self.size = graph.op("Shape", maps, start=2, end=4)
        self.shape = graph.op("Concat", graph.integers(0, -1), self.size, axis=0)

    @functools.cached_property
    def ones(self):
        """[N, 1, H, W]"""
        shape = self.graph.op("Concat", self.batch, self.graph.integers(1), self.size, axis=0)
        return self.graph.op("Expand", self.graph.constant(np.float32(1)), shape)

    def maps(self, state):
        """[N, C, H W] as [N, C, H, W]."""
        return self.graph.op("Reshape", state, self.shape)


class Exporter:
    """The parts of the model. Log-densities are collected in `terms`, values that broadcast to [N, C, H W], and in `per_pixel`, the
    constant contribution of each pixel; both in nats."""

    def __init__(self, graph, config, params):
        self.graph, self.config, self.terms, self.per_pixel = graph, config, [], 0.0
        self.bounded = config["coupling_scale"] == "tanh"
        self.params = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in params.items()}

    # --- Layouts --------------------------------------------------------------------------------------------------

    def maps(self, images, dtype=None):
        """[N, H, W, C] as [N, C, H, W]."""
        return self.graph.cast(self.graph.op("Transpose", images, perm=[0, 3, 1, 2]), dtype or self.graph.state)

    def images(self, maps):
        return self.graph.op("Transpose", maps, perm=[0, 2, 3, 1])

    def flat(self, maps):
        """[N, C, H, W] as [N, C, H W]."""
        return self.graph.op("Reshape", maps, self.graph.integers(0, 0, -1))

    def halves(self, state):
        return self.graph.op("Split", state, axis=-2, outputs=2)

    def squeeze(self, maps, channels):
        """Ours has output channel c*4 + dy*2 + dx, SpaceToDepth (dy*2 + dx)*channels + c."""
        order = np.arange(4 * channels).reshape(4, channels).T.reshape(-1)
        return self.graph.op("Gather", self.graph.op("SpaceToDepth", maps, blocksize=2), self.graph.integers(*order), axis=1)

    def unsqueeze(self, maps):
        return self.graph.op("DepthToSpace", maps, blocksize=2, mode="CRD")

    def channels(self, level):
        return 4 * self.config["channels"] * 2**level

    # --- Networks -------------------------------------------------------------------------------------------------

    def filters(self, name, output):
        """Filters and bias of (conv + bias) exp(3 logs), the bias and logs those of `output`. The edge channel, 1 outside of the
        image and 0 inside, is 1 everywhere minus a channel of ones, which Conv pads with 0 as it pads the others."""
        scale = np.exp(3 * self.params[f"{output}/logs"])
        weight, bias = self.params[f"{name}/weight"] * scale[:, None, None, None], self.params[f"{output}/bias"] * scale
        if self.config["edge_bias"] and weight.shape[1] == 3:
            bias = bias + weight[..., -1].sum(axis=(1, 2))
            weight[..., -1] *= -1
        return weight.transpose(0, 3, 1, 2), bias

    def conv(self, maps, name, weight, bias):
        pads = [weight.shape[2] // 2] * 4
        return self.graph.op("Conv", maps, self.graph.constant(weight.astype(np.float32), f"{name}/weight"),
                             self.graph.constant(bias.astype(np.float32), f"{name}/bias"), pads=pads)

    def zero_conv(self, maps, name, weight, bias):
        """A last convolution; [N, outputs, H W] in the state's type."""
        return self.graph.cast(self.flat(self.conv(maps, name, weight, bias)), self.graph.state)

    def network_input(self, a, level):
        maps = self.graph.cast(level.maps(a), np.float32)
        return self.graph.op("Concat", maps, level.ones, axis=1) if self.config["edge_bias"] else maps

    def network(self, a, level, name):
        """NN(a). Affine: shift, then -(h + 2) or, for the bounded scale, h / 2, where h is the raw scale."""
        h = self.network_input(a, level)
        h = self.graph.op("Relu", self.conv(h, f"{name}/conv1", *self.filters(f"{name}/conv1", f"{name}/conv1/actnorm")))
        weight, bias = self.filters(f"{name}/conv2", f"{name}/conv2/actnorm")
        if self.config["edge_bias"]:  # one more output: the ones for conv3
            weight, bias = np.pad(weight, ((0, 1), (0, 0), (0, 0), (0, 0))), np.append(bias, 1)
        h = self.graph.op("Relu", self.conv(h, f"{name}/conv2", weight, bias))
        weight, bias = self.filters(f"{name}/conv3", f"{name}/conv3")
        if self.config["coupling"] == "affine":
            factor, offset = (0.5, 0) if self.bounded else (-1, -2)
            weight = np.concatenate([weight[0::2], factor * weight[1::2]])
            bias = np.concatenate([bias[0::2], factor * bias[1::2] + offset])
        return self.zero_conv(h, f"{name}/conv3", weight, bias)

    # --- Flow steps -----------------------------------------------------------------------------------------------

    def coupling(self, x, level, name, inverse=False):
        """b <- (b + shift) scale, or b + NN(a). Both directions use 1 / scale = 1 + exp(-(h + 2)), or exp(-2 tanh(h / 2))."""
        op = self.graph.op
        a, b = self.halves(x)
        h = self.network(a, level, name)
        if self.config["coupling"] == "additive":
            return op("Concat", a, op("Sub" if inverse else "Add", b, h), axis=1)
        shift, raw = self.halves(h)
        if self.bounded:
            minus_log = op("Mul", op("Tanh", raw), self.graph.number(-2))
            divisor = op("Exp", minus_log)
        else:
            divisor = op("Add", op("Exp", raw), self.graph.number(1))
            minus_log = op("Log", divisor)
        if not inverse:
            self.terms.append(op("Neg", minus_log))
        b = op("Sub", op("Mul", b, divisor), shift) if inverse else op("Div", op("Add", b, shift), divisor)
        return op("Concat", a, b, axis=1)

    def mixing(self, name, C):
        """(matrix W, log|det W|)."""
        kind, p = self.config["permutation"], self.params
        if kind in ("shuffle", "reverse"):
            return np.eye(C)[p[f"{name}/shuffle/indices"] if kind == "shuffle" else np.arange(C)[::-1]], 0.0
        W = step_matrix(p, name, kind)
        return W, np.linalg.slogdet(W)[1] if kind == "invconv" else p[f"{name}/invconv/log_diag"].sum()

    def actnorm_mixing(self, x, level, name, inverse=False):
        """Both as one matrix: y = W s (x + b)."""
        bias, logs = self.params[f"{name}/actnorm/bias"], 3 * self.params[f"{name}/actnorm/logs"]
        W, logdet = self.mixing(name, self.channels(level))
        matrix = np.linalg.inv(W) * np.exp(-logs)[:, None] if inverse else W * np.exp(logs)
        offset = -bias if inverse else matrix @ bias
        if not inverse:
            self.per_pixel += (logs.sum() + logdet) / 4 ** (level + 1)
        product = self.graph.op("MatMul", self.graph.number(matrix, f"{name}/matrix"), x)
        return self.graph.op("Add", product, self.graph.number(offset[:, None], f"{name}/offset"))

    # --- Priors ---------------------------------------------------------------------------------------------------

    def split_prior(self, a, level, name):
        """(mean, logs) of the half that becomes latents, predicted from the other half."""
        weight, bias = self.filters(name, name)
        order = np.r_[0 : len(bias) : 2, 1 : len(bias) : 2]
        return self.halves(self.zero_conv(self.network_input(a, level), name, weight[order], bias[order]))

    def top_prior(self, level, labels):
        """(mean, logs) that broadcast to the top latents. The learned prior is a convolution of zeros, so only its edge
        channel counts; the class adds a row of a table."""
        graph, p, parts = self.graph, self.params, []
        if self.config["learn_top"] and self.config["edge_bias"]:
            parts.append(self.zero_conv(level.ones, "prior/top", *self.filters("prior/top", "prior/top")))
        elif self.config["learn_top"]:
            parts.append(graph.number((p["prior/top/bias"] * np.exp(3 * p["prior/top/logs"]))[:, None], "prior/top/bias"))
        if self.config["y_cond"]:
            table = (p["prior/class/weight"] + p["prior/class/bias"]) * np.exp(3 * p["prior/class/logs"])
            parts.append(graph.op("Gather", graph.number(table[..., None], "prior/class"), labels, axis=0))
        if not parts:
            parts.append(graph.number(np.zeros((2 * self.channels(self.config["levels"] - 1), 1)), "prior"))
        return self.halves(parts[0] if len(parts) == 1 else graph.op("Add", *parts))

    def standardize(self, z, mean, logs):
        """eps of z, whose log-density is added."""
        op = self.graph.op
        eps = op("Mul", op("Sub", z, mean), op("Exp", op("Neg", logs)))
        self.terms.append(op("Sub", op("Mul", op("Mul", eps, eps), self.graph.number(-0.5)), logs))
        return eps

    def destandardize(self, eps, mean, logs):
        return self.graph.op("Add", mean, self.graph.op("Mul", self.graph.op("Exp", logs), eps))

    # --- The whole flow -------------------------------------------------------------------------------------------

    def dequantize(self, pixels, noise):
        """x = (k + u) / n_bins - 1/2; pixels and noise are [N, H, W, C], x is [N, C, H, W]."""
        graph, n_bits = self.graph, self.config["n_bits"]
        k = self.maps(pixels)
        if n_bits < 8:
            k = graph.op("Floor", graph.op("Mul", k, graph.number(2.0 ** (n_bits - 8))))
        u = graph.number(0.5) if noise is None else self.maps(noise)
        return graph.op("Sub", graph.op("Mul", graph.op("Add", k, u), graph.number(2.0**-n_bits)), graph.number(0.5))

    def finite(self, x):
        """Whether all values of an image x [N, C, H, W] are finite, [N, 1, 1, 1]."""
        graph = self.graph
        bounded = graph.op("LessOrEqual", graph.op("Abs", x), graph.number(np.finfo(graph.state).max))  # false for NaN
        return graph.cast(graph.op("ReduceMin", graph.cast(bounded, np.float32), axes=[1, 2, 3]), np.bool_)

    def quantize(self, x):
        """clip(floor((x + 1/2) n_bins) 2^(8 - n_bits), 0, 255) as [N, H, W, C], still of the state's type."""
        graph, n_bits = self.graph, self.config["n_bits"]
        k = graph.op("Floor", graph.op("Mul", graph.op("Add", x, graph.number(0.5)), graph.number(2.0**n_bits)))
        pixels = graph.op("Mul", k, graph.number(2.0 ** (8 - n_bits)))
        return self.images(graph.op("Clip", pixels, graph.number(0), graph.number(255)))

    def encode(self, x, labels):
        """x [N, C, H, W] to [(eps, its level), ...]; fills in the log-density."""
        C, last, latents = self.config["channels"], self.config["levels"] - 1, []
        # log 2^n_bits and the Gaussians' constant, for each of the pixel's values.
        self.per_pixel -= C * (self.config["n_bits"] * LN2 + 0.5 * math.log(2 * math.pi))
        for l in range(last + 1):
            x = self.squeeze(x, self.channels(l) // 4)
            level, x = Level(self.graph, x), self.flat(x)
            for step in range(self.config["depth"]):
                x = self.actnorm_mixing(x, l, f"level{l}/step{step}")
                x = self.coupling(x, level, f"level{l}/step{step}/coupling")
            if l < last:
                a, z = self.halves(x)
                prior = self.split_prior(a, level, f"level{l}/split")
                x = level.maps(a)
            else:
                z, prior = x, self.top_prior(level, labels)
            latents.append((self.standardize(z, *prior), level))
        return latents

    def log_prob(self, x):
        """(log p [N] in nats, bits/dim [N]) of what encode(x) has collected."""
        graph, op = self.graph, self.graph.op
        pixels = graph.cast(op("ReduceProd", op("Shape", x, start=2, end=4), keepdims=0), graph.state)
        sums = [op("ReduceSum", term, graph.integers(1, 2), keepdims=0) for term in self.terms]
        log_p = op("Sum", *sums, op("Mul", pixels, graph.number(self.per_pixel)))
        return log_p, op("Mul", op("Div", log_p, pixels), graph.number(-1 / (self.config["channels"] * LN2)))

    def decode(self, latents, labels):
        """eps of each level, [N, H, W, C], to x [N, C, H, W]."""
        last, x = self.config["levels"] - 1, None
        for l in reversed(range(last + 1)):
            maps = self.maps(latents[l])
            level, eps = Level(self.graph, maps), self.flat(maps)
            if l == last:
                x = self.destandardize(eps, *self.top_prior(level, labels))
            else:
                a = self.flat(x)
                z = self.destandardize(eps, *self.split_prior(a, level, f"level{l}/split"))
                x = self.graph.op("Concat", a, z, axis=1)
            for step in reversed(range(self.config["depth"])):
                x = self.coupling(x, level, f"level{l}/step{step}/coupling", inverse=True)
                x = self.actnorm_mixing(x, l, f"level{l}/step{step}", inverse=True)
            x = self.unsqueeze(level.maps(x))
        return x


@np.errstate(over="ignore", invalid="ignore")  # constant() refuses what is not finite
def onnx_model(config, params, what, size, noise=False, state="float64"):
    """An onnx.ModelProto. what: log_prob, encode or decode; size: (height, width) of the images, or None for any;
    noise: the dequantization's noise is an input, otherwise it is 1/2."""
    graph = GraphBuilder(state)
    model, C = Exporter(graph, config, params), config["channels"]

    def image_shape(divisor=1, channels=C):
        sides = [side // divisor for side in size] if size else [f"{side}/{divisor}".removesuffix("/1") for side in ("height", "width")]
        return ["batch", *sides, channels]

    def eps_shape(level):
        return image_shape(2 ** (level + 1), model.channels(level) // (1 if level == config["levels"] - 1 else 2))

    if what == "decode":
        latents = [graph.input(f"eps_level{level}", np.float32, eps_shape(level)) for level in range(config["levels"])]
    else:
        images = graph.input("images", np.uint8, image_shape())
        u = graph.input("noise", np.float32, image_shape()) if noise else None
    labels = graph.input("labels", np.int64, ["batch"]) if config["y_cond"] else None
    if what == "decode":
        x = model.decode(latents, labels)
        finite = model.finite(x)
        pixels = graph.cast(model.quantize(x), np.float32)  # a type of Where in every runtime
        graph.output(graph.op("Where", finite, pixels, graph.constant(np.float32(0))), "images", np.uint8, image_shape())
        graph.output(graph.op("Reshape", finite, graph.integers(-1)), "finite", np.bool_, ["batch"])
    else:
        x = model.dequantize(images, u)
        latents = model.encode(x, labels)
    if what == "encode":
        for l, (eps, level) in enumerate(latents):
            graph.output(model.images(level.maps(eps)), f"eps_level{l}", np.float32, eps_shape(l))
    if what == "log_prob":
        for name, value in zip(("log_prob", "bits_per_dim"), model.log_prob(x)):
            graph.output(value, name, np.float32, ["batch"])
    text = {"log_prob": "log-likelihood of images in nats, and their bits/dim", "encode": "latents of images", "decode": "images of latents"}
    return graph.model(f"glow_{what}", text[what], {"config": json.dumps(config), "what": what})
