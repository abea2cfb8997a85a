#!/usr/bin/env python3
"""Measures the effect of differences between the paper and its public code. Trains the reference, in float, as in the code and
with one change at a time, from the same initial weights on the same images: those of a data set, averaged over 2x2 pixels.
docs/paper-against-code.md quotes the results.

Prints one row of a Markdown table per run: whether the loss and the gradient stayed finite, the largest gradient norm and
loss after the first 20 steps, the mean loss of the last 50, the smallest and largest scale of a coupling on a batch at the
end, and the largest error of decode(encode(x)) in float at the end.
"""

import argparse
import math
import sys

import with_torch  # noqa: F401  before the packages it looks for

import numpy as np
import torch

import glow_files as files
import glow_reference as glow


class Watched(glow.Glow):
    """The reference, which remembers the couplings' scales."""

    lowest, highest = math.inf, -math.inf

    def log_scale(self, h):
        log_scale = self.log_scale_of(h)
        self.lowest = min(self.lowest, log_scale.min().item())
        self.highest = max(self.highest, log_scale.max().item())
        return log_scale

    def log_scale_of(self, h):
        return super().log_scale(h)


class ExpScale(Watched):
    """Scale exp(h) instead of sigmoid(h + 2)."""

    def log_scale_of(self, h):
        return h


class ScaleThenShift(Watched):
    """b scale + shift instead of (b + shift) scale."""

    def coupling(self, x, name, inverse=False):
        a, b = x.chunk(2, dim=3)
        h = self.network(a, name)
        shift, log_scale = h[..., 0::2], self.log_scale(h[..., 1::2])
        b = (b - shift) * torch.exp(-log_scale) if inverse else b * torch.exp(log_scale) + shift
        return torch.cat([a, b], dim=3), glow.sum_image(log_scale)


class PlainLogs(Watched):
    """exp(logs) instead of exp(3 logs)."""

    logs_factor = 1


class PlainNetwork(Watched):
    """Hidden convolutions with a bias instead of an actnorm."""

    def actnorm(self, x, name):
        return x + self.params[f"{name}/bias"] if "/coupling/" in name else super().actnorm(x, name)


VARIANTS = {
    "the code": (Watched, {}),
    "scale exp(h)": (ExpScale, {}),
    "scale, then shift": (ScaleThenShift, {}),
    "exp(logs), not exp(3 logs)": (PlainLogs, {}),
    "no edge channel": (Watched, dict(edge_bias=False)),
    "no actnorm in the networks": (PlainNetwork, {}),
}


def run(options, images, variant, lr):
    """The cells of a row."""
    N, H, W, C = images.shape
    form, changes = VARIANTS[variant]
    config = files.make_config(image_height=H, image_width=W, channels=C, levels=2, depth=options.depth,
                               width=options.width, **changes)
    generator, rng = torch.Generator().manual_seed(options.seed), np.random.default_rng(options.seed)
    with_noise = lambda x: (x + torch.rand(x.shape, generator=generator)) / 256 - 0.5
    model = form(config, files.initial_parameters(config, options.seed), torch.float32)
    model.initialize_from_data(with_noise(images[:128]))
    m = {name: torch.zeros_like(p) for name, p in model.params.items() if glow.is_trainable(name)}
    v = {name: torch.zeros_like(p) for name, p in m.items()}
    losses, norms, finite = [], [], "all steps"
    for t in range(1, options.steps + 1):
        loss, gradients = model.gradient(with_noise(images[rng.integers(0, N, options.batch)]))
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))
        if not math.isfinite(loss + norm):
            finite = f"{t - 1} steps"
            break
        losses.append(loss)
        norms.append(norm)
        rate = lr * min(1.0, t / options.warmup_steps)
        for name, g in gradients.items():
            model.params[name], m[name], v[name] = glow.adamax_step(model.params[name], g, m[name], v[name], t, rate, 0.9,
                                                                    0.999)
    model.lowest, model.highest = math.inf, -math.inf
    with torch.no_grad():
        x = with_noise(images[: options.batch])
        error = (model.decode(model.encode(x)[0]) - x).abs().max().item()
    settled = slice(min(20, len(losses) - 1), None)
    return [f"{lr:g}", variant, finite, f"{max(norms[settled]):.2g}", f"{max(losses[settled]):.2f}",
            f"{np.mean(losses[-50:]):.3f}", f"{math.exp(model.lowest):.2g} to {math.exp(min(700.0, model.highest)):.2g}",
            f"{error:.0e}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data set, e.g. of glow_data cifar10")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--lr", type=float, nargs="*", default=[1e-3])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--warmup-steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pixels = torch.from_numpy(files.read_images(options.data, "train", 4000)[0]).float()
    N, H, W, C = pixels.shape
    images = torch.floor(pixels.reshape(N, H // 2, 2, W // 2, 2, C).mean(dim=(2, 4)))
    show = lambda cells: print("| " + " | ".join(cells) + " |", flush=True)
    show(["lr", "what", "finite", "largest gradient norm", "largest loss", "last losses", "scales", "decode(encode(x))"])
    show(["---"] * 8)
    for lr in options.lr:
        for variant in options.variants:
            show(run(options, images, variant, lr))
    return 0


if __name__ == "__main__":
    sys.exit(main())
