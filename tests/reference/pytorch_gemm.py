"""The model of bench_pytorch.py arranged as matrix products: the fastest form of it that we know how to write in PyTorch.

The state is [N,H,W,C]. The 3x3 convolutions are im2col and a product, a product and col2im; the 1x1 ones are products, as is the
mixing. Rows and columns are padded to multiples of 8, and the column of ones that pads the first product carries its bias. The
parameters of all steps of a level are one tensor each, [depth,...], so that folding and the optimizer process about 40 tensors
instead of 1,248. Everything can be captured in a CUDA graph.
"""

import math

import torch
import torch.nn.functional as F

import glow_reference as glow

STEP_KEYS = ("actnorm/bias", "actnorm/logs", "invconv/weight", "coupling/conv1/weight", "coupling/conv1/actnorm/bias",
             "coupling/conv1/actnorm/logs", "coupling/conv2/weight", "coupling/conv2/actnorm/bias",
             "coupling/conv2/actnorm/logs", "coupling/conv3/weight", "coupling/conv3/edge", "coupling/conv3/bias",
             "coupling/conv3/logs")


def stack(params, config):
    """The tensors of bench_pytorch.arrange() by name, those of a level's steps stacked under "levelL/steps/...". """
    stacked = {}
    for level in range(config["levels"]):
        for key in STEP_KEYS:
            if f"level{level}/step0/{key}" not in params:
                continue
            steps = [params[f"level{level}/step{step}/{key}"].detach() for step in range(config["depth"])]
            stacked[f"level{level}/steps/{key}"] = torch.stack(steps).requires_grad_(True)
    for name, value in params.items():
        if "/step" not in name:
            stacked[name] = value.detach().clone().requires_grad_(True)
    return stacked


def pad_to(x, dim, multiple=8):
    """x with zeros after it along `dim` (counted from the end, -1 the last)."""
    missing = -x.shape[dim] % multiple
    return F.pad(x, [0, 0] * (-dim - 1) + [0, missing]) if missing else x


def frame(x, edge_bias):
    """[N,H,W,C] -> [N,H+2,W+2,C(+1)]: zeros around, and the edge channel, 1 on the frame alone."""
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    if not edge_bias:
        return padded
    edge = F.pad(x.new_zeros(x.shape[:3] + (1,)), (0, 0, 1, 1, 1, 1), value=1)
    return torch.cat([padded, edge], dim=3)


def im2col(x, edge_bias, ones):
    """[N,H,W,C] -> [N*H*W, 9*(C+1)], padded to a multiple of 8; `ones`: then comes a column of ones."""
    N, H, W, _ = x.shape
    x = frame(x, edge_bias)
    taps = [x[:, kh:kh + H, kw:kw + W] for kh in range(3) for kw in range(3)]
    if ones:
        taps.append(x.new_ones(N, H, W, 1))
    columns = torch.cat(taps, dim=3)
    return pad_to(columns.reshape(N * H * W, -1), -1)


def col2im(taps, N, H, W, C):
    """[N*H*W, >= 9*C] -> [N*H*W, C]: each pixel's sum over the taps that reach it."""
    taps = F.pad(taps[:, :9 * C].reshape(N, H, W, 9 * C), (0, 0, 1, 1, 1, 1))
    total = 0
    for kh in range(3):
        for kw in range(3):
            tap = 3 * kh + kw
            total = total + taps[:, kh:kh + H, kw:kw + W, tap * C:(tap + 1) * C].float()
    return total.reshape(N * H * W, C)


def border_taps(H, W, device):
    """[H*W,9]: which taps of a pixel fall outside of the image."""
    inside = F.pad(torch.zeros(1, 1, H, W, device=device), (1, 1, 1, 1), value=1)
    return F.unfold(inside, 3)[0].T.contiguous()


def fold(bias, logs, mixing, w1, b1, s1, w2, b2, s2, w3, b3, s3, edge, border, dtype):
    """What the steps of a level work with, from their parameters [K,...]: scales folded into weights, rounded to dtype."""
    K, width = w1.shape[:2]
    matrix = mixing * torch.exp(3 * logs)[:, None, :]  # the actnorm acts first: scale the columns
    shift = torch.bmm(matrix, bias[:, :, None])[:, :, 0]
    s1, s2, s3 = (torch.exp(3 * s)[:, :, None] for s in (s1, s2, s3))
    w1 = pad_to(torch.cat([w1.reshape(K, width, -1), b1[:, :, None]], dim=2) * s1, -1).to(dtype)
    w2, b2 = (w2.reshape(K, width, width) * s2).to(dtype), (b2 * s2[:, :, 0]).to(dtype)
    out = w3.shape[1]
    w3 = (w3.reshape(K, out, 9, width) * s3[..., None]).permute(0, 2, 1, 3).reshape(K, 9 * out, width)
    offset = (b3 * s3[:, :, 0])[:, None, :]
    if edge is not None:
        offset = offset + border @ (edge.reshape(K, out, 9) * s3).transpose(1, 2)  # [K,H*W,out]
    return matrix, shift, w1, w2, b2, pad_to(w3, -2).to(dtype), offset


def flow_step(x, matrix, shift, w1, w2, b2, w3, offset, edge_bias, affine):
    """One step of flow: its output [N,H,W,C] and the coupling's log-determinant, nats."""
    N, H, W, C = x.shape
    x = torch.addmm(shift, x.reshape(-1, C), matrix.T).reshape(N, H, W, C)
    a, b = x[..., :C // 2], x[..., C // 2:]
    h = F.relu(im2col(a.to(w1.dtype), edge_bias, True) @ w1.T)
    h = F.relu(torch.addmm(b2, h, w2.T))
    out = offset.shape[1]
    y = col2im(h @ w3.T, N, H, W, out).reshape(N, -1, out) + offset
    if affine:
        y = y.reshape(N, H, W, C // 2, 2)
        log_scale = F.logsigmoid(y[..., 1] + 2)
        b, logdet = (b + y[..., 0]) * torch.exp(log_scale), log_scale.sum()
    else:
        b, logdet = b + y.reshape(N, H, W, C // 2), x.new_zeros(())
    return torch.cat([a, b], dim=3), logdet


def zero_conv(p, name, x, edge_bias):
    N, H, W, _ = x.shape
    weight = p[f"{name}/weight"]
    y = im2col(x, edge_bias, False) @ pad_to(weight.reshape(weight.shape[0], -1), -1).T
    return ((y + p[f"{name}/bias"]) * torch.exp(3 * p[f"{name}/logs"])).reshape(N, H, W, -1)


def squeeze(x):
    return glow.squeeze(x).contiguous()


def log_normal(z, mean, logs):
    """Summed over the batch, nats."""
    return -0.5 * (math.log(2 * math.pi) * z.numel() + (2 * logs + (z - mean) ** 2 * torch.exp(-2 * logs)).sum())


def split(p, name, x, edge_bias):
    """The half of the channels that stays in the flow, and the log-density of the other."""
    C = x.shape[3]
    a, b = x[..., :C // 2], x[..., C // 2:]
    h = zero_conv(p, name, a, edge_bias)
    return squeeze(a), log_normal(b, h[..., 0::2], h[..., 1::2])


def eliminate(matrices):
    """log|det| [K] and inverse [K,C,C] by Gauss-Jordan elimination with partial pivoting: no library, no wait for the CPU."""
    K, C, _ = matrices.shape
    eye = torch.eye(C, dtype=matrices.dtype, device=matrices.device)
    work = torch.cat([matrices, eye.expand(K, C, C)], dim=2)
    rows = torch.arange(C, device=matrices.device)
    logdet = matrices.new_zeros(K)
    for k in range(C):
        pivot = k + work[:, k:, k].abs().argmax(dim=1, keepdim=True)  # [K,1]
        order = torch.where(rows == k, pivot, torch.where(rows == pivot, k, rows))
        work = torch.gather(work, 1, order[:, :, None].expand_as(work))
        head = work[:, k, :] / work[:, k, k:k + 1]
        logdet = logdet + work[:, k, k].abs().log()
        column = torch.where(rows == k, work[:, :, k] - 1, work[:, :, k])
        work = work - column[:, :, None] * head[:, None, :]
    return logdet, work[:, :, C:]


class LogAbsDet(torch.autograd.Function):
    """log|det| of matrices [K,C,C], nats, by eliminate()."""

    @staticmethod
    def forward(ctx, matrices):
        logdet, inverse = eliminate(matrices)
        ctx.save_for_backward(inverse)
        return logdet

    @staticmethod
    def backward(ctx, gradient):
        (inverse,) = ctx.saved_tensors
        return gradient[:, None, None] * inverse.transpose(1, 2)


def library_logdet(matrices):
    return torch.linalg.slogdet(matrices)[1]


class Model:
    """loss(x): mean bits/dim of x [N,H,W,C] float, already dequantized; `p` as stack() gives it; invconv, learn-top.

    wrap(f) is applied to each function that all steps of a shape share (torch.compile), run(f, *x) calls a step of flow
    (torch.utils.checkpoint).
    """

    def __init__(self, p, config, dtype, wrap=lambda f: f, run=None, logdet=library_logdet):
        self.p, self.config, self.dtype, self.logdet = p, config, dtype, logdet
        self.fold, self.step, self.split = wrap(fold), wrap(flow_step), wrap(split)
        self.run = run or (lambda f, *x: f(*x))
        device = next(iter(p.values())).device
        H, W = config["image_height"], config["image_width"]
        self.border = [border_taps(H >> level + 1, W >> level + 1, device) for level in range(config["levels"])]

    def folded(self, level):
        """One tuple of arguments of flow_step for each step of a level."""
        q = [self.p.get(f"level{level}/steps/{key}") for key in STEP_KEYS]
        bias, logs, mixing, w1, b1, s1, w2, b2, s2, w3, edge, b3, s3 = q
        tensors = self.fold(bias, logs, mixing, w1, b1, s1, w2, b2, s2, w3, b3, s3, edge, self.border[level], self.dtype)
        return zip(*(t.unbind() for t in tensors))

    def loss(self, x):
        p, config, edge = self.p, self.config, self.config["edge_bias"]
        N, D = x.shape[0], x[0].numel()
        log_p = -N * D * math.log(2 ** config["n_bits"])
        x = squeeze(x)
        for level in range(config["levels"]):
            steps = f"level{level}/steps"
            scale = self.logdet(p[f"{steps}/invconv/weight"]).sum() + 3 * p[f"{steps}/actnorm/logs"].sum()
            log_p = log_p + N * x.shape[1] * x.shape[2] * scale
            for tensors in self.folded(level):
                x, logdet = self.run(self.step, x, *tensors, edge, config["coupling"] == "affine")
                log_p = log_p + logdet
            if level < config["levels"] - 1:
                x, log_q = self.split(p, f"level{level}/split", x, edge)
                log_p = log_p + log_q
        h = p["prior/top/bias"]  # the top's convolution sees the edge channel alone
        if edge:
            h = h + self.border[-1] @ p["prior/top/weight"].reshape(-1, 9).T
        h = (h * torch.exp(3 * p["prior/top/logs"])).reshape(1, *(x.shape[1:3] if edge else (1, 1)), -1)
        half = h.shape[-1] // 2
        mean, logs = (part.expand_as(x) for part in (h[..., :half], h[..., half:]))
        return -(log_p + log_normal(x, mean, logs)) / (N * D * glow.LN2)
