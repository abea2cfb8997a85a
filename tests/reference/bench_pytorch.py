#!/usr/bin/env python3
"""Times a training step of Glow in PyTorch, written as efficiently as we can, for comparison with the C++ code.

Same model and parameters as glow_reference.py (a test checks that loss and gradient are equal), arranged for speed: tensors are
[N,C,H,W] in channels-last memory, the actnorms are folded into the weights, a hidden map costs one convolution with
bias and one relu in place, and the edge channel of the wide convolution is added to its few outputs. Everything is
stored for backward. Prints one JSON object.
"""

import argparse
import functools
import json
import math
import os
import resource
import statistics
import sys
import time

import with_torch  # noqa: F401  before the packages it looks for

import torch
import torch.nn.functional as F

import glow_files as files
import glow_reference as glow
import pytorch_gemm as gemm

CHANNELS_LAST = dict(memory_format=torch.channels_last)
STEP = "step"  # the name that all steps of flow have when they run: their own would be a reason to compile again


def arrange(params):
    """A checkpoint's tensors in the benchmark's form: the wide convolution's edge weights [out,3,3,1] stand apart."""
    arranged = {}
    for name, value in params.items():
        value = torch.as_tensor(value).detach().float()
        width = params[name.replace("conv3", "conv2")].shape[0] if name.endswith("conv3/weight") else None
        arranged[name] = value[..., :width].clone().requires_grad_(True)
        if width is not None and value.shape[3] > width:
            arranged[name.replace("weight", "edge")] = value[..., width:].clone().requires_grad_(True)
    return arranged


def oihw(weight):
    """A checkpoint's [out,kh,kw,in], contiguous, is exactly a channels-last [out,in,kh,kw]."""
    return weight.permute(0, 3, 1, 2)


@functools.lru_cache
def border(H, W):
    """[1,1,H+2,W+2]: 1 on the border, 0 inside."""
    border = torch.ones(1, 1, H + 2, W + 2)
    border[:, :, 1:-1, 1:-1] = 0
    return border


@functools.lru_cache
def border_taps(H, W):
    """[H*W,9]: what each 3x3 tap of each pixel sees of the border."""
    return F.unfold(border(H, W), 3)[0].T.contiguous()


def pad(a, edge_bias):
    """[N,C,H,W] -> [N,C+1,H+2,W+2], or [N,C,H+2,W+2] without the edge channel."""
    N, _, H, W = a.shape
    a = F.pad(a, (1, 1, 1, 1))
    return torch.cat([a, border(H, W).expand(N, -1, -1, -1)], dim=1) if edge_bias else a


def network(p, name, a, edge_bias, dtype):
    """NN(a) [N,out,H,W] in float; the two hidden maps are of `dtype`."""
    _, _, H, W = a.shape

    def folded(conv):
        s = torch.exp(3 * p[f"{name}/{conv}/actnorm/logs"])
        weight = oihw(p[f"{name}/{conv}/weight"]) * s[:, None, None, None]
        return weight.to(dtype), (p[f"{name}/{conv}/actnorm/bias"] * s).to(dtype)

    h = F.relu_(F.conv2d(pad(a, edge_bias).to(dtype, **CHANNELS_LAST), *folded("conv1")))
    h = F.relu_(F.conv2d(h, *folded("conv2")))
    s = torch.exp(3 * p[f"{name}/conv3/logs"])
    weight, bias = oihw(p[f"{name}/conv3/weight"]) * s[:, None, None, None], p[f"{name}/conv3/bias"] * s
    y = F.conv2d(h, weight.to(dtype), bias.to(dtype), padding=1).float()
    if edge_bias:
        edge = border_taps(H, W) @ (p[f"{name}/conv3/edge"].reshape(-1, 9) * s[:, None]).T
        y = y + edge.reshape(1, H, W, -1).permute(0, 3, 1, 2)
    return y


def zero_conv(p, name, a, edge_bias):
    y = F.conv2d(pad(a, edge_bias), oihw(p[f"{name}/weight"]), p[f"{name}/bias"])
    return y * torch.exp(3 * p[f"{name}/logs"])[:, None, None]


def squeeze(x):
    """The reference's channel order is pixel_unshuffle's."""
    return F.pixel_unshuffle(x, 2).contiguous(**CHANNELS_LAST)


def log_normal(z, mean, logs):
    """Summed over the batch, nats."""
    return -0.5 * (math.log(2 * math.pi) * z.numel() + (2 * logs + (z - mean) ** 2 * torch.exp(-2 * logs)).sum())


def flow_step(p, name, matrix, config, dtype, x):
    """One step of flow: its output and the coupling's log-determinant, nats. matrix: W with the actnorm folded in."""
    bias = matrix @ p[f"{name}/actnorm/bias"]
    x = F.conv2d(x, matrix[:, :, None, None], bias)
    a, b = x.chunk(2, dim=1)
    h = network(p, f"{name}/coupling", a, config["edge_bias"], dtype)
    if config["coupling"] == "affine":
        log_scale = F.logsigmoid(h[:, 1::2] + 2)
        b, logdet = (b + h[:, 0::2]) * torch.exp(log_scale), log_scale.sum()
    else:
        b, logdet = b + h, x.new_zeros(())
    return torch.cat([a, b], dim=1).contiguous(**CHANNELS_LAST), logdet


def loss(p, config, x, dtype, run=None, logdet=gemm.library_logdet):
    """Mean bits/dim of x [N,H,W,C] float, already dequantized; p as arrange() gives it; invconv, learn-top.

    run(step, x), where given, runs each step of flow: torch.utils.checkpoint, say. logdet(W [K,C,C]): log|det| [K].
    """
    N, H, W, C = x.shape
    D, edge, levels, depth = H * W * C, config["edge_bias"], config["levels"], config["depth"]
    log_p = -N * D * math.log(2 ** config["n_bits"])
    x = squeeze(x.permute(0, 3, 1, 2))
    for level in range(levels):
        _, C, H, W = x.shape
        names = [f"level{level}/step{step}" for step in range(depth)]
        matrices = torch.stack([p[f"{name}/invconv/weight"] for name in names])
        logs = torch.stack([p[f"{name}/actnorm/logs"] for name in names])
        log_p = log_p + N * H * W * (logdet(matrices).sum() + 3 * logs.sum())
        folded = matrices * torch.exp(3 * logs)[:, None, :]  # the actnorm comes first: scale the columns
        for k, name in enumerate(names):
            step = functools.partial(flow_step, p, name, folded[k], config, dtype)
            x, log_scale = run(step, x) if run else step(x)
            log_p = log_p + log_scale
        if level < levels - 1:
            a, b = x.chunk(2, dim=1)
            h = zero_conv(p, f"level{level}/split", a, edge)
            log_p = log_p + log_normal(b, h[:, 0::2], h[:, 1::2])
            x = squeeze(a)
    h = p["prior/top/bias"][:, None, None]  # the top's convolution sees the edge channel alone
    if edge:
        h = h + (p["prior/top/weight"].reshape(-1, 9) @ border_taps(*x.shape[2:]).T).reshape(-1, *x.shape[2:])
    h = (h * torch.exp(3 * p["prior/top/logs"])[:, None, None])[None]
    mean, logs = (half.expand(N, -1, H, W) for half in h.chunk(2, dim=1))
    return -(log_p + log_normal(x, mean, logs)) / (N * D * glow.LN2)


class ConvModel:
    """loss(x) in the form of this file; arguments as those of pytorch_gemm.Model."""

    def __init__(self, p, config, dtype, wrap=lambda f: f, run=None, logdet=gemm.library_logdet):
        self.p, self.config, self.dtype, self.logdet = p, config, dtype, logdet
        self.run = run or (lambda f, *x: f(*x))
        self.step = wrap(lambda p, matrix, x: flow_step(p, STEP, matrix, config, dtype, x))
        # Once, not at every step: a scan of all names takes as long as many kernels.
        names = {f"level{level}/step{step}" for level in range(config["levels"]) for step in range(config["depth"])}
        self.steps = {name: {} for name in names}
        for key, value in p.items():
            name = "/".join(key.split("/")[:2])
            if name in names:
                self.steps[name][STEP + key[len(name):]] = value

    def loss(self, x):
        def run(step, x):
            _, name, matrix = step.args[:3]
            return self.run(self.step, self.steps[name], matrix, x)

        return loss(self.p, self.config, x, self.dtype, run, self.logdet)


def make_model(form, params, config, dtype, device="cpu", **how):
    """The twin with these parameters, in form conv (this file) or gemm (pytorch_gemm.py), on a device."""
    p = arrange(params)
    if form == "gemm":
        p = gemm.stack(p, config)
    p = {name: value.detach().to(device).requires_grad_(True) for name, value in p.items()}
    return (gemm.Model if form == "gemm" else ConvModel)(p, config, dtype, **how)


def adamax_update(w, g, m, v, size, beta1, beta2):
    torch._foreach_mul_(m, beta1)
    torch._foreach_add_(m, g, alpha=1 - beta1)
    torch._foreach_mul_(v, beta2)
    torch._foreach_maximum_(v, torch._foreach_abs(g))
    update = torch._foreach_div(m, torch._foreach_add(v, 1e-8))
    torch._foreach_mul_(update, size)
    torch._foreach_sub_(w, update)


class Adamax:
    """The specified Adamax over all tensors at once; a tiny lr keeps the model as it is while it is timed. The number of the
    step and its size are tensors: a step can be captured in a CUDA graph."""

    def __init__(self, params, lr=1e-6, beta1=0.9, beta2=0.999, update=adamax_update):
        self.w, self.lr, self.betas, self.update = params, lr, (beta1, beta2), update
        self.t = torch.zeros((), dtype=torch.float64, device=params[0].device)
        self.m, self.v = ([torch.zeros_like(w) for w in params] for _ in range(2))

    @torch.no_grad()
    def step(self):
        beta1, beta2 = self.betas
        self.t += 1
        size = self.lr * torch.sqrt(1 - beta2**self.t) / (1 - beta1**self.t)
        self.update(self.w, [w.grad for w in self.w], self.m, self.v, size.float(), beta1, beta2)


def measure(options):
    torch.set_num_threads(options.threads)
    dtype = dict(fp32=torch.float32, bf16=torch.bfloat16)[options.dtype]
    config = files.make_config(image_height=options.size, image_width=options.size, channels=options.channels,
                               levels=options.levels, depth=options.depth, width=options.width,
                               coupling=options.coupling, edge_bias=options.edge_bias)
    x = torch.rand(options.batch, options.size, options.size, options.channels) - 0.5
    model = glow.Glow(config, files.random_parameters(config, 1), torch.float32)
    model.initialize_from_data(x[:8])  # avoids overflowing states and slow denormals
    def wrap(f):
        return torch.compile(f, dynamic=False, fullgraph=True) if options.compile else f

    twin = make_model(options.form, model.params, config, dtype, wrap=wrap)
    optimizer = Adamax(list(twin.p.values()), update=wrap(adamax_update))
    times = []
    for step in range(options.warmup + options.steps):
        start = time.perf_counter()
        for w in optimizer.w:
            w.grad = None
        value = twin.loss(x)
        value.backward()
        if options.with_optimizer:
            optimizer.step()
        value.item()
        if step >= options.warmup:
            times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times)
    return dict(levels=options.levels, depth=options.depth, width=options.width, batch=options.batch, size=options.size,
                channels=options.channels, coupling=options.coupling, edge_bias=options.edge_bias, dtype=options.dtype,
                form=options.form, compile=options.compile, threads=options.threads,
                malloc=options.malloc, with_optimizer=options.with_optimizer,
                load_average=round(os.getloadavg()[0], 2), steps=options.steps,
                ms_per_step=round(median, 3), ms_per_step_min=round(min(times), 3),
                ms_per_image=round(median / options.batch, 4), final_bpd=round(value.item(), 4),
                peak_process_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                torch=torch.__version__, mkldnn=torch.backends.mkldnn.is_available())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--coupling", choices=("affine", "additive"), default="affine")
    parser.add_argument("--no-edge-bias", dest="edge_bias", action="store_false")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, whose median is reported")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="of the coupling networks")
    parser.add_argument("--form", choices=("conv", "gemm"), default="conv", help="convolutions, or products (pytorch_gemm.py)")
    parser.add_argument("--compile", action="store_true", help="steps of flow and optimizer by torch.compile")
    parser.add_argument("--with-optimizer", action="store_true", help="Adamax inside the step")
    parser.add_argument("--malloc", choices=("default", "tuned"), default="default",
                        help="tuned: glibc keeps freed memory, which saves the page faults of fresh allocations")
    options = parser.parse_args()
    tuned = dict(MALLOC_MMAP_THRESHOLD_="4294967296", MALLOC_TRIM_THRESHOLD_="17179869184", MALLOC_TOP_PAD_="67108864")
    if options.malloc == "tuned" and any(os.environ.get(key) != value for key, value in tuned.items()):
        # glibc reads these at start
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **tuned})
    print(json.dumps(measure(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
