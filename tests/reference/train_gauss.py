#!/usr/bin/env python3
"""Trains the reference for some seconds on a data set of known entropy, and reports how close it comes.

The data set is one of `glow_data synthetic gauss`; the model is small, in float, and the test noise is uniform, so the
printed bits/dim must be above the entropy. The C++ code should reach the same with the same options.
"""

import argparse
import sys
import time

import with_torch  # noqa: F401  before the packages it looks for

import h5py
import numpy as np
import torch

import glow_files as files
import glow_reference as glow


def batch_of(images, index, n_bits, generator):
    """Dequantized with uniform noise, float."""
    pixels = torch.from_numpy(images[index])
    u = (torch.randint(0, 2**24, pixels.shape, generator=generator) + 0.5) * 2.0**-24
    return glow.dequantize(pixels, n_bits, u, torch.float64).float()


def test_bpd(config, params, images, chunk, generator):
    """Mean and standard error, bits/dim."""
    model = glow.Glow(config, params, torch.float32)
    parts = [slice(start, start + chunk) for start in range(0, len(images), chunk)]
    with torch.no_grad():
        bpd = torch.cat([model.bits_per_dim(batch_of(images, part, config["n_bits"], generator)) for part in parts])
    return bpd.mean().item(), bpd.std().item() / len(bpd) ** 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--warmup-steps", type=int, default=50)
    parser.add_argument("--limit", type=int, default=2000, help="test images")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    train, _ = files.read_images(options.data, "train")
    test, _ = files.read_images(options.data, "test", options.limit)
    with h5py.File(options.data, "r") as f:
        entropy = f.attrs.get("entropy_bpd")
    _, H, W, C = train.shape
    config = files.make_config(image_height=H, image_width=W, channels=C, levels=options.levels, depth=options.depth,
                               width=options.width)
    model = glow.Glow(config, files.initial_parameters(config, options.seed), torch.float32)
    model.initialize_from_data(batch_of(train, slice(0, 256), config["n_bits"], generator))

    m = {name: torch.zeros_like(p) for name, p in model.params.items() if glow.is_trainable(name)}
    v = {name: torch.zeros_like(p) for name, p in m.items()}
    ema = {name: model.params[name].clone() for name in m}
    start, report, t = time.monotonic(), 0.0, 0
    while time.monotonic() - start < options.seconds:
        x = batch_of(train, rng.integers(0, len(train), options.batch), config["n_bits"], generator)
        loss, gradients = model.gradient(x)
        lr = glow.warm_up(options.lr, t * options.batch, options.batch, 1, options.warmup_steps * options.batch)
        t += 1
        for name, g in gradients.items():
            w, m[name], v[name] = glow.adamax_step(model.params[name], g, m[name], v[name], t, lr, 0.9, options.beta2)
            ema[name] = glow.ema_step(ema[name], w, t, options.beta2)
            model.params[name] = w
        if time.monotonic() - start > report:
            report += options.seconds / 10
            print(f"step {t}: train {loss:.4f} bits/dim", file=sys.stderr)

    for weights, params in (("raw", model.params), ("ema", {**model.params, **ema})):
        bpd, error = test_bpd(config, params, test, options.batch, generator)
        difference = "" if entropy is None else f", {bpd - entropy:+.4f} from the entropy {entropy:.4f}"
        print(f"{weights} weights after {t} steps: test {bpd:.4f} +- {error:.4f} bits/dim{difference}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
