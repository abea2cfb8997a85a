"""Glow (Kingma & Dhariwal 2018) in PyTorch, written from the specification alone: the reference for the C++ code.

Layout: images, states and latents [N, H, W, C], channels last; D = H W C of the image; log densities in nats.
Parameters are a dict from a checkpoint's names ("level0/step1/actnorm/bias") to tensors; autograd computes the gradients.
Written for clarity: bench_pytorch.py has the fast form of the same model.
"""

import math

import torch
import torch.nn.functional as F

from glow_files import is_trainable

LN2 = math.log(2.0)


# --- Pixels, squeeze and Gaussians --------------------------------------------------------------------------------


def dequantize(pixels, n_bits, u=0.5, dtype=torch.float64):
    """uint8 [N,H,W,C] -> x in (-1/2, 1/2). u in (0, 1): the noise, a tensor like pixels; 1/2 is `--dequant center`."""
    k = torch.div(pixels.long(), 2 ** (8 - n_bits), rounding_mode="floor")
    return (k.to(dtype) + u) / 2**n_bits - 0.5


def quantize(x, n_bits):
    """x [N,H,W,C] -> uint8: the left inverse of dequantize for 8 bits, the bin's lowest pixel for fewer."""
    k = torch.floor((x + 0.5) * 2**n_bits)
    return (k * 2 ** (8 - n_bits)).clamp(0, 255).to(torch.uint8)


def squeeze(x):
    """[N,H,W,C] -> [N,H/2,W/2,4C]; output channel c*4 + dy*2 + dx."""
    N, H, W, C = x.shape
    x = x.reshape(N, H // 2, 2, W // 2, 2, C)  # N y dy x dx c
    return x.permute(0, 1, 3, 5, 2, 4).reshape(N, H // 2, W // 2, 4 * C)


def unsqueeze(x):
    """[N,H,W,4C] -> [N,2H,2W,C]."""
    N, H, W, C = x.shape
    x = x.reshape(N, H, W, C // 4, 2, 2)  # N y x c dy dx
    return x.permute(0, 1, 4, 2, 5, 3).reshape(N, 2 * H, 2 * W, C // 4)


def sum_image(x):
    """[N,H,W,C] -> [N]."""
    return x.sum(dim=(1, 2, 3))


def log_normal(eps, logs):
    """log N(mean + exp(logs) eps; mean, exp(logs)) summed over each image, [N], nats."""
    return sum_image(-0.5 * math.log(2 * math.pi) - logs - 0.5 * eps**2)


# --- The model ----------------------------------------------------------------------------------------------------


def conv3x3(x, weight, edge_bias):
    """y[p,o] = sum w[o,kh,kw,i] x[p + (kh-1, kw-1), i], zero-padded; weight [out,3,3,in], or in+1 with edge_bias:
    the last input channel is then 1 on the padded border and 0 inside."""
    N, H, W, C = x.shape
    padded = x.new_zeros(N, H + 2, W + 2, weight.shape[3])
    if edge_bias:
        padded[..., C] = 1
    padded[:, 1:-1, 1:-1] = 0
    padded[:, 1:-1, 1:-1, :C] = x
    return F.conv2d(padded.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Glow:
    """The model of one checkpoint: `config` as in its JSON, `params` its tensors, converted to `dtype`."""

    logs_factor = 3  # every scale is exp(3 logs)

    def __init__(self, config, params, dtype=torch.float64):
        self.config = config
        self.dtype = dtype
        self.params = {}
        for name, value in params.items():
            value = torch.as_tensor(value).detach().clone()
            self.params[name] = value.to(dtype) if value.is_floating_point() else value.long()
        self.initializing = False
        self.kink = 0.0  # where relu begins; moved a little, it tells which units a rounding could switch

    # Each part takes the state x and returns the new state and its logdet, [N] or scalar, if it has one.

    def actnorm(self, x, name):
        """(x + b) exp(3 logs). While initializing from data, b and logs are first set for zero mean, unit variance."""
        if self.initializing:
            bias = -x.mean(dim=(0, 1, 2))
            s = ((x + bias) ** 2).mean(dim=(0, 1, 2)).sqrt()
            self.params[f"{name}/bias"] = bias
            self.params[f"{name}/logs"] = -torch.log(s + 1e-6) / self.logs_factor
        return (x + self.params[f"{name}/bias"]) * torch.exp(self.logs_factor * self.params[f"{name}/logs"])

    def relu(self, h):
        """relu'(0) = 0."""
        return torch.where(h > self.kink, h, torch.zeros_like(h))

    def scaled(self, h, name):
        """(h + bias) exp(3 logs): how every zero-initialized layer ends."""
        return (h + self.params[f"{name}/bias"]) * torch.exp(self.logs_factor * self.params[f"{name}/logs"])

    def zero_conv(self, x, name):
        return self.scaled(conv3x3(x, self.params[f"{name}/weight"], self.config["edge_bias"]), name)

    def network(self, a, name):
        """The coupling network NN(a): [N,H,W,C/2] -> [N,H,W,C] (affine) or [N,H,W,C/2] (additive)."""
        h = conv3x3(a, self.params[f"{name}/conv1/weight"], self.config["edge_bias"])
        h = self.relu(self.actnorm(h, f"{name}/conv1/actnorm"))
        h = h @ self.params[f"{name}/conv2/weight"][:, 0, 0, :].T
        h = self.relu(self.actnorm(h, f"{name}/conv2/actnorm"))
        return self.zero_conv(h, f"{name}/conv3")

    def mixing(self, name, C):
        """(W [C,C] with y = W x per pixel, log|det W|)."""
        kind, p = self.config["permutation"], self.params
        if kind == "invconv":
            W = p[f"{name}/invconv/weight"]
            return W, torch.linalg.slogdet(W)[1]
        identity = torch.eye(C, dtype=self.dtype)
        if kind == "invconv_lu":
            log_diag = p[f"{name}/invconv/log_diag"]
            L = torch.tril(p[f"{name}/invconv/lower"], -1) + identity
            U = torch.triu(p[f"{name}/invconv/upper"], 1) + torch.diag(p[f"{name}/invconv/sign"] * torch.exp(log_diag))
            return (L @ U)[p[f"{name}/invconv/permutation"]], log_diag.sum()
        indices = p[f"{name}/shuffle/indices"] if kind == "shuffle" else torch.arange(C - 1, -1, -1)
        return identity[indices], 0.0  # y_c = x[indices[c]]

    def log_scale(self, h):
        """log sigmoid(h + 2), or 2 tanh(h / 2)."""
        if self.config.get("coupling_scale") == "tanh":
            return 2 * torch.tanh(h / 2)
        return -F.softplus(-(h + 2))

    def coupling(self, x, name, inverse=False):
        """b <- (b + shift) scale, or b + NN(a), with a the first half of the channels; (state, logdet [N])."""
        a, b = x.chunk(2, dim=3)
        h = self.network(a, name)
        if self.config["coupling"] == "additive":
            return torch.cat([a, b - h if inverse else b + h], dim=3), 0.0
        shift, log_scale = h[..., 0::2], self.log_scale(h[..., 1::2])
        scale = torch.exp(log_scale)
        b = b / scale - shift if inverse else (b + shift) * scale
        return torch.cat([a, b], dim=3), sum_image(log_scale)

    def step(self, x, name):
        """One flow step: actnorm, mixing, coupling; (state, logdet [N])."""
        _, H, W, C = x.shape
        x = self.actnorm(x, f"{name}/actnorm")
        matrix, logdet_matrix = self.mixing(name, C)
        x, logdet = self.coupling(x @ matrix.T, f"{name}/coupling")
        return x, logdet + H * W * (self.logs_factor * self.params[f"{name}/actnorm/logs"].sum() + logdet_matrix)

    def step_inverse(self, y, name):
        y, _ = self.coupling(y, f"{name}/coupling", inverse=True)
        y = y @ torch.linalg.inv(self.mixing(name, y.shape[3])[0]).T
        return y * torch.exp(-self.logs_factor * self.params[f"{name}/actnorm/logs"]) - self.params[f"{name}/actnorm/bias"]

    def split_prior(self, a, level):
        """(mean, logs) of the half that becomes latents, predicted from the other half."""
        h = self.zero_conv(a, f"level{level}/split")
        return h[..., 0::2], h[..., 1::2]

    def top_prior(self, shape, labels=None):
        """(mean, logs) of the top latent of the given shape [N,H,W,C]; contiguous halves, unlike the split's."""
        N, H, W, C = shape
        h = torch.zeros(N, H, W, 2 * C, dtype=self.dtype)
        if self.config["learn_top"]:
            if self.config["edge_bias"]:  # an input without channels: only the edge channel remains
                h = h + self.zero_conv(torch.zeros(N, H, W, 0, dtype=self.dtype), "prior/top")
            else:
                h = h + self.scaled(h, "prior/top")
        if self.config["y_cond"]:
            onehot = F.one_hot(labels.long(), self.config["n_classes"]).to(self.dtype)
            h = h + self.scaled(onehot @ self.params["prior/class/weight"], "prior/class")[:, None, None, :]
        return h[..., :C], h[..., C:]

    def encode(self, x, labels=None):
        """x [N,H,W,C] -> (eps of each level, log p(x) [N] in nats as a density of x, top z)."""
        x, log_p, eps = squeeze(x), torch.zeros(len(x), dtype=self.dtype), []
        for level in range(self.config["levels"]):
            for step in range(self.config["depth"]):
                x, logdet = self.step(x, f"level{level}/step{step}")
                log_p = log_p + logdet
            if level < self.config["levels"] - 1:
                a, b = x.chunk(2, dim=3)
                mean, logs = self.split_prior(a, level)
                eps.append((b - mean) * torch.exp(-logs))
                log_p = log_p + log_normal(eps[-1], logs)
                x = squeeze(a)
        mean, logs = self.top_prior(x.shape, labels)
        eps.append((x - mean) * torch.exp(-logs))
        return eps, log_p + log_normal(eps[-1], logs), x

    def density_map(self, x, labels=None):
        """log p of the discrete image by position of the last level, [N,h,w] in nats; a position's terms are those of its
        block of 2^L x 2^L pixels, and an equal part of what all positions share."""

        def blocks(values):  # [N,H,W] -> [N,h,w]
            factor = values.shape[1] // h
            return values.reshape(len(values), h, factor, w, factor).sum(dim=(2, 4))

        L, D = self.config["levels"], x[0].numel()
        h, w = x.shape[1] >> L, x.shape[2] >> L
        result = torch.zeros(len(x), h, w, dtype=self.dtype)
        shared = torch.full((len(x),), -D * math.log(2 ** self.config["n_bits"]), dtype=self.dtype)
        x = squeeze(x)
        for level in range(L):
            for step in range(self.config["depth"]):
                name = f"level{level}/step{step}"
                y, logdet = self.step(x, name)
                own = torch.zeros(y.shape[:3], dtype=self.dtype)
                if self.config["coupling"] == "affine":
                    a = y.chunk(2, dim=3)[0]  # as the network saw it
                    own = self.log_scale(self.network(a, f"{name}/coupling")[..., 1::2]).sum(dim=3)
                result = result + blocks(own)
                shared = shared + logdet - own.sum(dim=(1, 2))
                x = y
            last = level == L - 1
            a, b = (None, x) if last else x.chunk(2, dim=3)
            mean, logs = self.top_prior(x.shape, labels) if last else self.split_prior(a, level)
            density = -0.5 * math.log(2 * math.pi) - logs - 0.5 * ((b - mean) * torch.exp(-logs)) ** 2
            result = result + blocks(density.sum(dim=3))
            x = x if last else squeeze(a)
        return result + (shared / (h * w))[:, None, None]

    def decode(self, eps, labels=None):
        """The inverse of encode: eps of each level -> x."""
        mean, logs = self.top_prior(eps[-1].shape, labels)
        x = mean + torch.exp(logs) * eps[-1]
        for level in reversed(range(self.config["levels"])):
            if level < self.config["levels"] - 1:
                a = unsqueeze(x)
                mean, logs = self.split_prior(a, level)
                x = torch.cat([a, mean + torch.exp(logs) * eps[level]], dim=3)
            for step in reversed(range(self.config["depth"])):
                x = self.step_inverse(x, f"level{level}/step{step}")
        return unsqueeze(x)

    # Reported and differentiated values.

    def bits_per_dim(self, x, labels=None):
        """x [N,H,W,C] -> bits/dim [N] of the discrete image, D ln(n_bins) included."""
        return self.bits(x, labels)[0]

    def bits(self, x, labels=None):
        """(bits/dim [N], cross-entropy of the classifier in bits [N], zeros without one)."""
        D = self.config["image_height"] * self.config["image_width"] * self.config["channels"]
        _, log_p, z = self.encode(x, labels)
        bpd = -(log_p - D * math.log(2 ** self.config["n_bits"])) / (D * LN2)
        if not self.has_classifier():
            return bpd, torch.zeros_like(bpd)
        return bpd, F.cross_entropy(self.class_logits(z), labels.long(), reduction="none") / LN2

    def has_classifier(self):
        return self.config["y_cond"] and self.config["weight_y"] > 0

    def class_logits(self, z):
        """Top z [N,H,W,C] -> logits [N,n_classes]."""
        return self.scaled(z.mean(dim=(1, 2)) @ self.params["classifier/weight"], "classifier")

    def loss(self, x, labels=None):
        """What training differentiates: the mean over the batch of bits/dim + weight_y * cross-entropy in bits."""
        bpd, bits_y = self.bits(x, labels)
        return (bpd + self.config["weight_y"] * bits_y).mean()

    def gradient(self, x, labels=None, chunk=None):
        """(loss, {name: d loss / d parameter}), summed over chunks of images so that memory stays bounded."""
        leaves = {n: p.requires_grad_(True) for n, p in self.params.items() if is_trainable(n)}
        total, N = 0.0, len(x)
        for start in range(0, N, chunk or N):
            part = slice(start, min(N, start + (chunk or N)))
            loss = self.loss(x[part], None if labels is None else labels[part]) * (part.stop - part.start) / N
            loss.backward()
            total += loss.item()
        gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in leaves.items()}
        for p in leaves.values():
            p.requires_grad_(False).grad = None
        return total, gradients

    def input_gradient(self, x, labels=None):
        """d log p / d image, in nats per gray level: x is a gray level / 256 - 1/2."""
        x = x.detach().requires_grad_(True)
        nats = -self.bits_per_dim(x, labels) * math.log(2) * x[0].numel()
        return torch.autograd.grad(nats.sum(), x)[0] / 256

    @torch.no_grad()
    def initialize_from_data(self, x):
        """Sets every actnorm, the networks' own included, from the images x, in the order of the forward pass."""
        self.initializing = True
        self.encode(x, torch.zeros(len(x), dtype=torch.long))  # labels only matter after the last actnorm
        self.initializing = False


# --- Optimization: pure functions of one tensor; t = 1, 2, ... -----------------------------------------------------


def warm_up(lr, images_seen, batch, warmup_epochs, epoch_images):
    """The learning rate of the step that follows `images_seen` images."""
    return lr if warmup_epochs == 0 else lr * min(1.0, (images_seen + batch) / (warmup_epochs * epoch_images))


def lr_at(lr, t, beta1, beta2):
    return lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)


def adamax_step(w, g, m, v, t, lr, beta1, beta2, weight_decay=0.0):
    """(w, m, v) after step t."""
    m = beta1 * m + (1 - beta1) * g
    v = torch.maximum(beta2 * v, g.abs())
    return (1 - weight_decay) * w - lr_at(lr, t, beta1, beta2) * m / (v + 1e-8), m, v


def adam_step(w, g, m, v, t, lr, beta1, beta2, weight_decay=0.0):
    """(w, m, v) after step t."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return (1 - weight_decay) * w - lr_at(lr, t, beta1, beta2) * m / (v.sqrt() + 1e-8), m, v


def ema_step(ema, w, t, decay):
    """Zero-debiased exponential average; at t = 1 it is w."""
    return ema + (w - ema) * (1 - decay) / (1 - decay**t)
