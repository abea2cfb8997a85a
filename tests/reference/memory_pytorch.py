#!/usr/bin/env python3
"""Memory of a forward and backward pass of Glow in PyTorch against depth and image size, for comparison with `glow_memory`.

Writes the columns of glow_memory's CSV, so that tools/plot_memory.py can draw both. Every point runs in a new process.
Modes:

  pytorch             the model of bench_pytorch.py, actnorms folded, everything that autograd needs stored
  pytorch_checkpoint  the same, each flow step under torch.utils.checkpoint: its input stored, its network recomputed
  normflows           normflows.MultiscaleFlow of GlowBlocks, if that package is installed

On a CPU, peak_bytes is the growth of the process's resident memory from before the model was made to the peak (VmHWM, reset
after the model was made); on CUDA, torch.cuda.max_memory_allocated. stored_bytes is what autograd has saved at the end of
the forward pass, each storage once, without parameters (saved_tensors_hooks). No optimizer.
"""

import argparse
import contextlib
import csv
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

COLUMNS = ("mode levels depth width image channels batch device precision peak_bytes params_bytes grads_bytes moments_bytes "
           "ema_bytes derived_bytes state_bytes workspace_bytes stored_bytes predicted_bytes process_bytes step_ms "
           "images_per_s grad_cosine max_drift").split()  # fmt: skip
MODES = ("pytorch", "pytorch_checkpoint", "normflows")
DEPTHS = (4, 8, 16, 32, 48, 64, 80)


def resident(field):
    """VmRSS or VmHWM of this process, bytes."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(field + ":"))


def reset_peak():
    """Sets VmHWM to VmRSS (Linux)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def plain_glow(options, device):
    """Parameters and loss(x) of the model of bench_pytorch.py."""
    import torch
    import torch.utils.checkpoint

    import bench_pytorch as bench
    import glow_files as files
    import glow_reference as glow

    config = files.make_config(image_height=options.size, image_width=options.size, channels=options.channels,
                               levels=options.levels, depth=options.depth, width=options.width)  # fmt: skip
    # States must be of order one; the initialization from data uses a few small images at the same depth.
    small = dict(config, image_height=32, image_width=32) if options.size > 32 and options.levels <= 4 else config
    model = glow.Glow(small, files.random_parameters(small, 1), torch.float32)
    model.initialize_from_data(torch.rand(2, small["image_height"], small["image_width"], options.channels) - 0.5)
    p = {name: w.detach().to(device).requires_grad_(True) for name, w in bench.arrange(model.params).items()}
    run = None
    if options.mode == "pytorch_checkpoint":
        run = lambda step, *args: torch.utils.checkpoint.checkpoint(step, *args, use_reentrant=False)  # noqa: E731
    dtype = dict(fp32=torch.float32, bf16=torch.bfloat16)[options.precision]
    return list(p.values()), lambda x: bench.loss(p, config, x, dtype, run)


def normflows_glow(options, device):
    """As normflows' own Glow example, levels and hidden channels as asked for."""
    import normflows as nf

    L, C, H = options.levels, options.channels, options.size
    q0, merges, flows = [], [], []
    for i in range(L):
        blocks = [nf.flows.GlowBlock(C * 2 ** (L + 1 - i), options.width, split_mode="channel", scale=True)
                  for _ in range(options.depth)]  # fmt: skip
        flows.append([*blocks, nf.flows.Squeeze()])
        if i > 0:
            merges.append(nf.flows.Merge())
        shape = (C * 2 ** (L - i), H // 2 ** (L - i), H // 2 ** (L - i)) if i > 0 else (C * 2 ** (L + 1), H // 2**L, H // 2**L)
        q0.append(nf.distributions.DiagGaussian(shape))
    model = nf.MultiscaleFlow(q0, flows, merges).to(device)
    return list(model.parameters()), lambda x: model.forward_kld(x.permute(0, 3, 1, 2).contiguous())


class Saved:
    """Bytes that autograd saves while it is active: each storage once, those of the parameters apart."""

    def __init__(self, params):
        self.params = {w.storage().data_ptr() for w in params}
        self.storages = {}

    def pack(self, tensor):
        storage = tensor.storage()
        if storage.data_ptr() not in self.params:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self):
        return sum(self.storages.values())


def measure(options):
    import torch

    cuda = options.device == "cuda"
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    # What the first products and random numbers load belongs to the libraries, not the model.
    warm = torch.nn.functional.conv2d(torch.rand(1, 4, 8, 8, device=device), torch.rand(4, 4, 3, 3, device=device))
    del warm
    before = torch.cuda.memory_allocated() if cuda else resident("VmRSS")
    params, loss = (normflows_glow if options.mode == "normflows" else plain_glow)(options, device)
    x = (torch.rand(options.batch, options.size, options.size, options.channels) - 0.5).to(device)
    if options.mode == "normflows":  # the first batch sets its actnorms
        with torch.no_grad():
            loss(x[:1])
    torch.cuda.reset_peak_memory_stats() if cuda else reset_peak()

    def step(saved=None):
        for w in params:
            w.grad = None
        hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda t: t) if saved else contextlib.nullcontext()
        with hooks:
            value = loss(x)
        value.backward()
        if cuda:
            torch.cuda.synchronize()
        return value.item()

    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    peak = (torch.cuda.max_memory_allocated() if cuda else resident("VmHWM")) - before
    saved = Saved(params)
    step(saved)
    size = sum(w.numel() * w.element_size() for w in params)
    ms = statistics.median(times)
    return dict(mode=options.mode, levels=options.levels, depth=options.depth, width=options.width, image=options.size,
                channels=options.channels, batch=options.batch, device=options.device, precision=options.precision,
                peak_bytes=peak, params_bytes=size, grads_bytes=size, moments_bytes=0, ema_bytes=0, derived_bytes=0,
                stored_bytes=saved.bytes, process_bytes=resident("VmHWM") - (0 if cuda else before),
                step_ms=f"{ms:.3f}", images_per_s=f"{1e3 * options.batch / ms:.3f}")  # fmt: skip


def whole_numbers(text):
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError("numbers above 0 are expected")
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", default="pytorch,pytorch_checkpoint,normflows", help="of " + ", ".join(MODES))
    parser.add_argument("--depths", type=whole_numbers, default=[4], metavar="K,...")
    parser.add_argument("--sizes", type=whole_numbers, default=[32], metavar="S,...", help="height and width of the images")
    parser.add_argument("--figure", choices=("depth", "size"), help="the published settings, as glow_memory --figure")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the networks (not of normflows)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=1, help="passes; the median time is reported")
    parser.add_argument("--under", type=float, metavar="GiB", help="address space a point may use on a CPU; beyond it: out of memory")
    parser.add_argument("--csv", required=True, metavar="F.csv")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        vars(options).update(json.loads(options.point))
        if options.under and options.device == "cpu":
            import resource

            limit = int(options.under * 2**30) + resident("VmSize") + 2**31
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        print(json.dumps(measure(options)))
        return 0
    if options.figure == "depth":
        options.depths, options.sizes = list(DEPTHS), options.sizes if options.sizes != [32] else [256]
    elif options.figure == "size":
        options.depths, options.sizes = [16], [64, 128, 256, 480, 512, 1024]

    import with_torch  # noqa: F401  after the options, so that --help needs no PyTorch

    modes = options.modes.split(",")
    for mode in modes:
        if mode not in MODES:
            parser.error(f"--modes {mode}: it must be of {', '.join(MODES)}")
    if "normflows" in modes and importlib.util.find_spec("normflows") is None:
        print("memory_pytorch: normflows is not installed: left out", file=sys.stderr)
        modes.remove("normflows")
    with open(options.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for mode in modes:
            for depth, size in itertools.product(options.depths, options.sizes):
                point = json.dumps(dict(mode=mode, depth=depth, size=size))
                done = subprocess.run([sys.executable, "-B", __file__, *sys.argv[1:], "--point", point], stdout=subprocess.PIPE)
                label = f"{mode} K {depth} {size}x{size}"
                if done.returncode != 0:
                    print(f"memory_pytorch: {label}: failed, as it does out of memory (exit status {done.returncode})",
                          file=sys.stderr)  # fmt: skip
                    break  # larger points need more
                row = json.loads(done.stdout)
                print(f"{label}: {row['peak_bytes'] / 2**30:.2f} GiB, {float(row['step_ms']) / 1e3:.1f} s", file=sys.stderr)
                writer.writerow(row)
                file.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
