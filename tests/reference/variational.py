"""Variational dequantization (Ho et al. 2019, section 3.1) in PyTorch, written from the formulas in docs/training.md alone.

The noise of an image is u = sigmoid(f(eps; c)) with eps from Philox, f a flow at half resolution and c features of the
image; log q(u) = log N(eps) - log|det df/deps| - sum log(u (1 - u)).
"""

import numpy as np
import torch
import torch.nn.functional as F

import glow_reference as glow

TRAINING, EVALUATION = 1, 7  # purposes of the random numbers


def philox(seed, purpose, item, blocks):
    """uint32 [blocks, 4]: Philox 4x32-10 (Salmon et al. 2011) of counters (block, item) under a key of seed and purpose."""
    key = np.uint64(seed) ^ (np.uint64(purpose) << np.uint64(56))
    keys = [np.uint64(key & np.uint64(0xFFFFFFFF)), np.uint64(key >> np.uint64(32))]
    block = np.arange(blocks, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    words = [block & low, block >> np.uint64(32), np.full(blocks, item & 0xFFFFFFFF, np.uint64),
             np.full(blocks, item >> 32, np.uint64)]
    for _ in range(10):
        products = [np.uint64(0xD2511F53) * words[0], np.uint64(0xCD9E8D57) * words[2]]
        words = [(products[1] >> np.uint64(32)) ^ words[1] ^ keys[0], products[1] & low,
                 (products[0] >> np.uint64(32)) ^ words[3] ^ keys[1], products[0] & low]
        keys = [(keys[0] + np.uint64(0x9E3779B9)) & low, (keys[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack(words, axis=1)


def normal_numbers(seed, purpose, items, shape):
    """float64 [N, H/2, W/2, 4C]: the standard normal numbers of images of `shape` [H, W, C] with these numbers."""
    H, W, C = shape
    count = H * W * C
    drawn = []
    for item in items:
        words = philox(seed, purpose, int(item), -(-count // 4)).astype(np.float64)
        radius = np.sqrt(-2 * np.log((words[:, 0::2] + 0.5) / 2**32))
        turn = 2 * np.pi * (words[:, 1::2] + 0.5) / 2**32
        drawn.append(np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=2).reshape(-1)[:count])
    return torch.from_numpy(np.stack(drawn).reshape(len(drawn), H // 2, W // 2, 4 * C))


class VariationalGlow(glow.Glow):
    """A model with a dequantizer. Where Glow takes images x, it takes pack(pixels, eps)."""

    @staticmethod
    def pack(pixels, eps):
        """Pixels uint8 [N,H,W,C] and their normal numbers [N,H/2,W/2,4C] as one tensor, for chunks of a batch."""
        return torch.cat([pixels.to(torch.float64), glow.unsqueeze(eps)], dim=3)

    def features(self, pixels):
        """c [N,H/2,W/2,width] of the pixels' bins, seen at their centers."""
        return self.network(glow.squeeze(glow.dequantize(pixels, self.config["n_bits"])), "dequantizer/features")

    def noise(self, pixels, eps):
        """(u [N,H,W,C] in (0, 1), log q(u) [N] in nats)."""
        condition, y = self.features(pixels), eps
        _, H, W, _ = y.shape
        logdet = torch.zeros(len(eps), dtype=self.dtype)
        for step in range(self.config["dequant_depth"]):
            name = f"dequantizer/step{step}"
            y = self.actnorm(y, f"{name}/actnorm")
            matrix = self.params[f"{name}/invconv/weight"]
            y = y @ matrix.T
            a, b = y.chunk(2, dim=3)
            h = self.network(torch.cat([a, condition], dim=3), f"{name}/coupling")
            log_scale = F.logsigmoid(h[..., 1::2] + 2)
            y = torch.cat([a, (b + h[..., 0::2]) * torch.exp(log_scale)], dim=3)
            logs = self.logs_factor * self.params[f"{name}/actnorm/logs"].sum()
            logdet = logdet + H * W * (logs + torch.linalg.slogdet(matrix)[1]) + glow.sum_image(log_scale)
        logits = glow.unsqueeze(y)
        logdet = logdet + glow.sum_image(F.logsigmoid(logits) + F.logsigmoid(-logits))
        return torch.sigmoid(logits), glow.log_normal(eps, torch.zeros_like(eps)) - logdet

    def encode(self, packed, labels=None):
        pixels, eps = packed.chunk(2, dim=3)
        u, log_q = self.noise(pixels.to(torch.uint8), glow.squeeze(eps))
        x = glow.dequantize(pixels, self.config["n_bits"], u)
        latents, log_p, z = super().encode(x, labels)
        return latents, log_p - log_q, z


def model_of(config, params):
    return (VariationalGlow if config.get("dequant_depth") else glow.Glow)(config, params)


def input_of(config, images, purpose, first=0):
    """What model_of(config) takes for uint8 images [N,H,W,C] with numbers from `first` on and seed 0: with noise of the
    dequantizer, or at the centers of their bins."""
    pixels = torch.from_numpy(images)
    if not config.get("dequant_depth"):
        return glow.dequantize(pixels, config["n_bits"])
    numbers = range(first, first + len(images))
    return VariationalGlow.pack(pixels, normal_numbers(0, purpose, numbers, images.shape[1:]))
