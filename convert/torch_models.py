"""The state dicts of the PyTorch Glows of rosinality, y0ast and chaiyujin."""

import re

import numpy as np
from foreign_tensors import LuFactors, conv, count_levels, interleave
from model_files import InputError


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

    for level in range(config["levels"]):
        block = f"blocks.{level}"
        for step in range(config["depth"]):
            at, flow = f"level{level}/step{step}", f"{block}.flows.{step}"
            scale = source.flat(f"{flow}.actnorm.scale")
            if (scale == 0).any():
                raise InputError(f"{flow}.actnorm.scale has a zero: that layer has no inverse")
            params[f"{at}/actnorm/bias"], params[f"{at}/actnorm/logs"] = source.flat(f"{flow}.actnorm.loc"), np.log(np.abs(scale)) / 3
            if f"{flow}.invconv.w_l" in source:  # by step: the last block has factors even where the others have none
                lu = LuFactors(source, f"{flow}.invconv.", "w_p", "w_l", "w_u", "s_sign", "w_s")
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
            params["prior/top/weight"] = params["prior/top/weight"][..., -1:]  # its input is 0 except for the edge channel
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
    """Reads layers of either program from `source` into `params`. y0ast's convolutions and linear layers are modules in a module,
    chaiyujin's are the module itself."""

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
        if f"{theirs}.invconv.weight" in self.source:
            return self.source.take(f"{theirs}.invconv.weight").reshape(C, C)
        if f"{theirs}.invconv.log_s" in self.source:
            lost = [name for name in ("p", "sign_s") if f"{theirs}.invconv.{name}" not in self.source]
            if lost and not self.nested:
                raise InputError(f"{theirs}.invconv.{lost[0]} is missing: chaiyujin/glow-pytorch keeps p and sign_s of its LU factors out of "
                                 "its state dict; without them the file cannot be imported")
            names = ("p", "lower", "upper") if self.nested else ("p", "l", "u")
            return LuFactors(self.source, f"{theirs}.invconv.", *names, "sign_s", "log_s")
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
    elif config["permutation"] != "reverse":  # state dicts do not contain fixed permutations
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
