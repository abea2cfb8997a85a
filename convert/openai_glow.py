"""The variables of openai/glow: weights, averages, moments and counters."""

import re

import numpy as np
from foreign_tensors import Imported, LuFactors, Source, count_levels
from model_files import InputError


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
    if "prior/p/b" in source:  # its input is 0 except for the edge channel
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
    # A whole checkpoint holds every variable, so without matrices and indices the permutation must be the reversal.
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
    return LuFactors(tensors, f"{theirs}/", "P", "L", "U", "sign_S", "log_S").matrix().T


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
        if not averages:  # openai/glow's averages begin with the weights
            imported.trees["ema"] = {ours: params[ours] for _, ours, _ in layout if ours}
    return imported
