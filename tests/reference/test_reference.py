#!/usr/bin/env python3
"""Tests of the reference itself: against written-out sums, the full Jacobian, finite differences and golden files."""

import math
import sys
import tempfile
from pathlib import Path

import with_torch  # noqa: F401  before the packages it looks for

import numpy as np
import torch

import bench_pytorch
import pytorch_gemm
import glow_files as files
import glow_reference as glow
import make_golden

tests = []


def test(f):
    tests.append(f)
    return f


def tiny(seed=1, **changes):
    """(model with random parameters, pixels [2,4,8,C]) of a tiny configuration with two levels."""
    base = dict(image_height=4, image_width=8, channels=1, levels=2, depth=2, width=5)
    config = files.make_config(**{**base, **changes})
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 4, 8, config["channels"]), dtype=np.uint8)
    return glow.Glow(config, files.random_parameters(config, seed)), torch.from_numpy(pixels)


VARIANTS = [{}, dict(coupling="additive"), dict(coupling_scale="tanh"), dict(edge_bias=False), dict(permutation="invconv_lu"),
            dict(permutation="shuffle"), dict(permutation="reverse"), dict(learn_top=False),
            dict(learn_top=False, edge_bias=False), dict(channels=3, n_bits=5),
            dict(y_cond=True, n_classes=3, weight_y=0.5)]


def labels_of(model):
    return torch.tensor([0, 2]) if model.config["y_cond"] else None


@test
def pixels_survive_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    for n_bits in range(1, 9):
        x = glow.dequantize(pixels, n_bits)
        assert torch.equal(glow.quantize(x, n_bits), pixels // 2 ** (8 - n_bits) * 2 ** (8 - n_bits))
        assert -0.5 < x.min() and x.max() < 0.5
    assert glow.dequantize(pixels, 8)[0, 0, 3, 0] == 3.5 / 256 - 0.5


@test
def squeeze_orders_channels_as_specified():
    x = torch.randn(2, 4, 6, 3)
    y = glow.squeeze(x)
    for c in range(3):
        for dy in range(2):
            for dx in range(2):
                assert torch.equal(y[..., c * 4 + dy * 2 + dx], x[:, dy::2, dx::2, c])
    assert torch.equal(glow.unsqueeze(y), x)


@test
def convolution_is_the_specified_sum():
    rng = np.random.default_rng(0)
    N, H, W, C, O = 2, 3, 4, 2, 3
    x, w = rng.standard_normal((N, H, W, C)), rng.standard_normal((O, 3, 3, C + 1))
    for edge in (False, True):
        y = np.zeros((N, H, W, O))
        for n, r, c, o, kh, kw in np.ndindex(N, H, W, O, 3, 3):
            row, column = r + kh - 1, c + kw - 1
            if 0 <= row < H and 0 <= column < W:
                y[n, r, c, o] += w[o, kh, kw, :C] @ x[n, row, column]
            elif edge:
                y[n, r, c, o] += w[o, kh, kw, C]
        weight = torch.from_numpy(w if edge else w[..., :C])
        # Both sides are double sums of 27 terms of order one.
        assert np.abs(glow.conv3x3(torch.from_numpy(x), weight, edge).numpy() - y).max() < 1e-13


@test
def an_identity_model_is_a_standard_normal():
    config = files.make_config(image_height=4, image_width=4, channels=1, levels=1, depth=1, width=4,
                               coupling="additive")
    params = {name: np.zeros(shape) for name, shape in files.parameter_shapes(config).items()}
    params["level0/step0/invconv/weight"] = np.eye(4)
    x = torch.rand(2, 4, 4, 1, dtype=torch.float64) - 0.5
    expected = 8 + (0.5 * x**2 + 0.5 * math.log(2 * math.pi)).mean(dim=(1, 2, 3)) / math.log(2)
    assert (glow.Glow(config, params).bits_per_dim(x) - expected).abs().max() < 1e-14


@test
def decode_inverts_encode():
    for changes in VARIANTS:
        model, pixels = tiny(**changes)
        x = glow.dequantize(pixels, model.config["n_bits"])
        eps, _, _ = model.encode(x, labels_of(model))
        # Four steps of condition below 1e3 in double.
        assert (model.decode(eps, labels_of(model)) - x).abs().max() < 1e-12, changes


@test
def log_p_is_the_change_of_variables():
    """eps is standard normal: log p(x) = log N(eps; 0, I) + log|det d eps / dx|, the full Jacobian, priors and all."""
    for changes in VARIANTS:
        model, pixels = tiny(**changes)
        labels = None if labels_of(model) is None else labels_of(model)[1:]
        x = glow.dequantize(pixels, model.config["n_bits"])[1:]

        def flat_eps(x):
            return torch.cat([eps.flatten() for eps in model.encode(x, labels)[0]])

        eps, D = flat_eps(x), x.numel()
        jacobian = torch.autograd.functional.jacobian(flat_eps, x).reshape(D, D)
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(eps).sum()
        expected = normal + torch.linalg.slogdet(jacobian)[1]
        assert abs(model.encode(x, labels)[1].item() - expected.item()) < 1e-10 * D, changes
        bpd = model.config["n_bits"] - expected / (D * math.log(2))
        assert abs(model.bits_per_dim(x, labels).item() - bpd.item()) < 1e-10, changes


def taylor_order(sabotage):
    """The order in t of loss(p + t d) - loss(p) - t g.d over halvings of t: 2 for a right g, 1 for a wrong one."""
    orders = []
    for changes in VARIANTS:
        model, pixels = tiny(**changes)
        x, labels = glow.dequantize(pixels, model.config["n_bits"]), labels_of(model)
        loss, gradients = model.gradient(x, labels)
        generator = torch.Generator().manual_seed(3)
        d = {n: torch.randn(g.shape, dtype=g.dtype, generator=generator) for n, g in gradients.items()}
        slope = sabotage * sum((g * d[n]).sum().item() for n, g in gradients.items())

        def remainder(t):
            moved = {n: p + t * d[n] if n in d else p for n, p in model.params.items()}
            return abs(glow.Glow(model.config, moved).loss(x, labels).item() - loss - t * slope)

        orders.append(math.log2(remainder(4e-6) / remainder(2e-6)))
    return orders


@test
def gradient_passes_the_taylor_test():
    # A step small enough to cross no ReLU kink, large enough for rounding; 1.01 x the gradient lowers 2 to 1.
    assert all(abs(order - 2) < 0.1 for order in taylor_order(1.0)), taylor_order(1.0)
    assert all(abs(order - 1) < 0.2 for order in taylor_order(1.01)), taylor_order(1.01)


@test
def gradient_does_not_depend_on_chunks():
    model, pixels = tiny()
    x = glow.dequantize(pixels, 8)
    (loss, whole), (loss_chunks, chunks) = model.gradient(x), model.gradient(x, chunk=1)
    assert abs(loss - loss_chunks) < 1e-13
    assert all((whole[n] - chunks[n]).abs().max() < 1e-12 for n in whole)
    assert set(whole) == {n for n in model.params if glow.is_trainable(n)}


@test
def initialization_normalizes_every_actnorm():
    model, pixels = tiny(channels=3)
    x = glow.dequantize(pixels, 8)
    model.initialize_from_data(x)
    seen, actnorm = [], model.actnorm

    def checking(x, name):
        y = actnorm(x, name)
        mean, std = y.mean(dim=(0, 1, 2)), y.std(dim=(0, 1, 2), unbiased=False)
        # The 1e-6 added to standard deviations of at least 0.05 is 2e-5 of them.
        assert mean.abs().max() < 1e-10 and (std - 1).abs().max() < 1e-4, name
        seen.append(name)
        return y

    model.actnorm = checking
    model.encode(x)
    assert len(seen) == 4 * 3  # the flow's and two of the network's, at each step


@test
def initial_parameters_are_orthogonal_in_either_form():
    for permutation in ("invconv", "invconv_lu"):
        config = files.make_config(levels=2, depth=1, width=4, permutation=permutation)
        model = glow.Glow(config, files.initial_parameters(config, 1))
        for level, C in ((0, 12), (1, 24)):
            W, logdet = model.mixing(f"level{level}/step0", C)
            # Values were rounded to float32.
            assert (W @ W.T - torch.eye(C)).abs().max() < 1e-5 and abs(float(logdet)) < 1e-5
            assert abs(float(torch.linalg.slogdet(W)[1] - logdet)) < 1e-12


@test
def mixing_permutes_as_specified():
    model, _ = tiny(permutation="shuffle")
    x = torch.randn(8, dtype=torch.float64)
    W, _ = model.mixing("level1/step0", 8)
    indices = model.params["level1/step0/shuffle/indices"].tolist()
    assert (W @ x).tolist() == [x[i].item() for i in indices]
    assert [indices[i] for i in indices] != list(range(8))  # otherwise its inverse would pass too
    model, _ = tiny(permutation="invconv_lu")
    name = "level1/step0/invconv"
    lower, upper, sign, log_diag, rows = (model.params[f"{name}/{part}"].numpy() for part in
                                          ("lower", "upper", "sign", "log_diag", "permutation"))
    P = np.zeros((8, 8))
    for r in range(8):
        P[r, rows[r]] = 1  # row r of P picks row permutation[r]
    expected = P @ (lower + np.eye(8)) @ (upper + np.diag(sign * np.exp(log_diag)))
    assert np.abs(model.mixing("level1/step0", 8)[0].numpy() - expected).max() < 1e-14


@test
def class_terms_are_linear_layers():
    model, _ = tiny(y_cond=True, n_classes=3, weight_y=0.5)
    p = {name: value.numpy() for name, value in model.params.items()}
    z = np.random.default_rng(1).standard_normal((2, 1, 2, 8))
    logits = (z.mean(axis=(1, 2)) @ p["classifier/weight"] + p["classifier/bias"]) * np.exp(3 * p["classifier/logs"])
    assert np.abs(model.class_logits(torch.from_numpy(z)).numpy() - logits).max() < 1e-14
    by_class = (p["prior/class/weight"] + p["prior/class/bias"]) * np.exp(3 * p["prior/class/logs"])
    means = model.top_prior(z.shape, torch.tensor([0, 2]))[0].numpy()
    assert np.abs(means[1] - means[0] - (by_class[2] - by_class[0])[:8]).max() < 1e-14


@test
def random_parameters_have_no_zeros():
    config = files.make_config(levels=2, depth=1, width=4, permutation="invconv_lu", y_cond=True, n_classes=2,
                               weight_y=0.1)
    for name, value in files.random_parameters(config, 1).items():
        part = name.rsplit("/", 1)[1]
        kept = dict(lower=np.tril(value, -1), upper=np.triu(value, 1)).get(part, value)
        expected = value.size if part not in ("lower", "upper") else len(value) * (len(value) - 1) // 2
        expected -= part == "permutation"  # the index 0
        assert np.array_equal(kept, value) and np.count_nonzero(value) == expected, name


@test
def channels_are_read_in_the_specified_order():
    """With zero weights every network and prior gives its bias, channel by channel 0, 1, 2, ...: who reads which?"""
    config = files.make_config(image_height=4, image_width=4, channels=1, levels=2, depth=1, width=4,
                               permutation="reverse")
    params = {name: np.zeros(shape) for name, shape in files.parameter_shapes(config).items()}
    for name in ("level0/split", "prior/top", "level0/step0/coupling/conv3"):
        params[f"{name}/bias"] = np.arange(params[f"{name}/bias"].size)
    model = glow.Glow(config, params)
    mean, logs = model.split_prior(torch.zeros(1, 2, 2, 2, dtype=torch.float64), 0)
    assert mean[0, 0, 0].tolist() == [0, 2] and logs[0, 0, 0].tolist() == [1, 3]
    mean, logs = model.top_prior((1, 1, 1, 8))
    assert mean[0, 0, 0].tolist() == list(range(8)) and logs[0, 0, 0].tolist() == list(range(8, 16))
    x = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).reshape(1, 1, 1, 4)
    y, logdet = model.step(x, "level0/step0")  # reversed, then b = (0.2, 0.1): shift (0, 2), scale sigmoid((3, 5))
    sigmoid = [1 / (1 + math.exp(-h)) for h in (3, 5)]
    expected = [0.4, 0.3, 0.2 * sigmoid[0], 2.1 * sigmoid[1]]
    assert np.allclose(y[0, 0, 0], expected, rtol=1e-14)
    assert abs(logdet.item() - math.log(sigmoid[0] * sigmoid[1])) < 1e-14


@test
def optimizers_match_worked_numbers():
    w, g, zero = (torch.tensor([value], dtype=torch.float64) for value in (1.0, -0.5, 0.0))
    # t = 1: m = -0.05, lr_1 = 0.1 sqrt(0.01) / 0.1 = 0.1; adamax v = 0.5, adam v = 0.01 * 0.25.
    new, m, v = glow.adamax_step(w, g, zero, zero, 1, lr=0.1, beta1=0.9, beta2=0.99)
    assert abs(new.item() - (1 + 0.1 * 0.05 / 0.5)) < 1e-9 and abs(m.item() + 0.05) < 1e-15 and v.item() == 0.5
    new, m, v = glow.adam_step(w, g, zero, zero, 1, lr=0.1, beta1=0.9, beta2=0.99, weight_decay=0.25)
    assert abs(new.item() - (0.75 + 0.1)) < 1e-6 and abs(v.item() - 0.0025) < 1e-15
    # A smaller gradient leaves adamax's v to decay.
    assert glow.adamax_step(w, g / 10, m, torch.tensor([0.5]).double(), 2, 0.1, 0.9, 0.99)[2].item() == 0.495
    assert glow.warm_up(1.0, 0, 5, 0, 100) == 1 and glow.warm_up(1.0, 0, 5, 0.5, 100) == 0.1
    assert glow.warm_up(1.0, 200, 5, 1, 100) == 1


@test
def ema_is_the_debiased_average():
    decay, values = 0.8, [torch.tensor(float(i * i)).double() for i in range(1, 6)]
    ema = torch.tensor(123.0).double()  # forgotten at t = 1
    biased = 0.0
    for t, w in enumerate(values, 1):
        ema = glow.ema_step(ema, w, t, decay)
        biased = decay * biased + (1 - decay) * w
        assert abs(ema - biased / (1 - decay**t)) < 1e-12


@test
def checkpoints_keep_their_values():
    config = files.make_config(image_height=8, image_width=8, levels=2, depth=1, width=4, permutation="invconv_lu")
    params = files.random_parameters(config, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.h5"
        files.write_checkpoint(path, config, params, dict(seed=1))
        assert files.read_config(path) == {**config, "training": dict(seed=1)}
        loaded, ema = files.read_tree(path, "params"), files.read_tree(path, "ema")
    assert loaded.keys() == params.keys() and all(np.array_equal(loaded[n], params[n]) for n in params)
    assert set(ema) == {n for n in params if glow.is_trainable(n)}


@test
def golden_files_are_current():
    for name in make_golden.VARIANTS:
        path = make_golden.FOLDER / f"{name}.h5"
        fresh, stored = make_golden.compute(name), files.read_tree(path, "golden")
        assert fresh.keys() == stored.keys(), name
        for key, value in fresh.items():
            # Another BLAS adds in another order.
            assert np.allclose(stored[key], value, rtol=1e-9, atol=1e-11), f"{name}: {key}"


def fast_gradient(fast, name):
    """The gradient of the reference's tensor `name` from a twin's, whose edge weights stand apart and whose steps may be stacked."""
    parts = []
    for part in dict.fromkeys((name, name.replace("conv3/weight", "conv3/edge"))):
        level, _, key = part.partition("/step")
        step, _, key = key.partition("/")
        if part in fast:
            parts.append(fast[part].grad)
        elif f"{level}/steps/{key}" in fast:
            parts.append(fast[f"{level}/steps/{key}"].grad[int(step)])
    return torch.cat(parts, dim=-1)


@test
def benchmarks_compute_the_same_loss_and_gradient():
    for changes in (dict(), dict(coupling="additive"), dict(edge_bias=False)):
        model, pixels = tiny(channels=3, **changes)
        loss, gradients = model.gradient(glow.dequantize(pixels, 8))
        x = glow.dequantize(pixels, 8, dtype=torch.float32)
        for form, logdet in (("conv", pytorch_gemm.library_logdet), ("gemm", pytorch_gemm.library_logdet),
                             ("gemm", pytorch_gemm.LogAbsDet.apply)):  # fmt: skip
            twin = bench_pytorch.make_model(form, model.params, model.config, torch.float32, logdet=logdet)
            fast_loss = twin.loss(x)
            fast_loss.backward()
            assert abs(fast_loss.item() - loss) < 1e-5 * abs(loss), form
            for name, g in gradients.items():
                # Float sums of some hundred terms.
                assert (fast_gradient(twin.p, name) - g).norm() < 1e-4 * g.norm(), f"{form}: {name}"


@test
def benchmarks_update_as_specified():
    w, g = torch.randn(3, 2, 7), [torch.randn(2, 7) for _ in range(3)]
    mine = list(w.clone().unbind())
    optimizer = bench_pytorch.Adamax(mine, lr=0.1)
    m, v = torch.zeros(3, 2, 7), torch.zeros(3, 2, 7)
    for t in (1, 2, 3):
        for tensor, gradient in zip(mine, g):
            tensor.grad = gradient * t
        optimizer.step()
        w, m, v = glow.adamax_step(w, torch.stack(g) * t, m, v, t, 0.1, 0.9, 0.999)
    assert (torch.stack(mine) - w).abs().max() < 1e-5


def main():
    torch.manual_seed(0)
    failed = 0
    for f in tests:
        try:
            f()
        except Exception as error:  # one line per failure; the rest still runs
            failed += 1
            print(f"FAILED {f.__name__}: {type(error).__name__}: {error}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
