#!/usr/bin/env python3
"""Times training steps of equivalent PyTorch models ("twins") on a GPU. Prints one JSON object per variant, one per line. All variants
begin with the same weights and images; `bpd` is the loss before the first update, from the captured graph if there is one.

  gemm-graph      the fastest: products (pytorch_gemm.py), compiled, the whole step with Adamax in one CUDA graph
  gemm-autotune   the same with torch.compile's max-autotune, which also tries Triton's products
  conv-graph      convolutions in channels-last memory (bench_pytorch.py), not compiled, the whole step in one CUDA graph
  conv-compile    the ordinary twin, steps of flow compiled
  conv-eager      the ordinary twin

Each with everything stored, or each step of flow recomputed (torch.utils.checkpoint, inside the graph); float, tf32 or bf16
networks. --smoke runs every variant on the CPU, without capture, and exits with 1 if a loss differs from that of glow_reference.py,
which other scripts compare with the C++ code. If a variant fails, its row gives the reason, and the others still run.
"""

import argparse
import json
import statistics
import sys
import time

import with_torch  # noqa: F401  before the packages it looks for

import torch
import torch.utils.checkpoint

import bench_pytorch as bench
import glow_files as files
import glow_reference as glow
import pytorch_gemm as gemm

# name: (form, torch.compile's mode or None, whether in a CUDA graph)
VARIANTS = {
    "gemm-graph": ("gemm", "default", True),
    "gemm-autotune": ("gemm", "max-autotune-no-cudagraphs", True),
    "conv-graph": ("conv", None, True),
    "conv-compile": ("conv", "default", False),
    "conv-eager": ("conv", None, False),
}


class Compiler:
    """torch.compile of the functions of one variant, precision and batch, once for both memory policies."""

    def __init__(self):
        self.key, self.compiled = None, {}

    def wrap(self, mode, key):
        if key != self.key:
            torch._dynamo.reset()  # together the variants exceed its limit of shapes and would silently run in eager mode
            self.key, self.compiled = key, {}

        def compiled(f):
            if f not in self.compiled:
                self.compiled[f] = torch.compile(f, dynamic=False, fullgraph=True, mode=mode)
            return self.compiled[f]

        return compiled


def recomputed(f, *x):
    # No random numbers: saving their state is a copy to the CPU, which cannot be captured.
    return torch.utils.checkpoint.checkpoint(f, *x, use_reentrant=False, preserve_rng_state=False)


def prepare(options):
    config = files.make_config(image_height=32, image_width=32, channels=3, levels=options.levels,
                               depth=options.depth, width=options.width, coupling="affine", edge_bias=True)
    model = glow.Glow(config, files.random_parameters(config, 1), torch.float32)
    model.initialize_from_data(images(8))
    return config, model


def images(batch):
    """[batch,32,32,3] float, already dequantized."""
    return torch.rand(batch, 32, 32, 3, generator=torch.Generator("cpu").manual_seed(batch), device="cpu") - 0.5


class Step:
    """A training step: loss, gradients, update."""

    def __init__(self, twin, x, update):
        self.twin, self.x = twin, x
        self.w = list(twin.p.values())
        self.optimizer = bench.Adamax(self.w, update=update)
        self.graph = None

    def run(self):
        """The loss before the update."""
        for w in self.w:
            w.grad = None
        value = self.twin.loss(self.x)
        value.backward()
        self.optimizer.step()
        return value.detach()

    def capture(self):
        """The whole step in one CUDA graph: gradients and activations lie in its own memory, at the same addresses each time."""
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.value = self.run()

    def __call__(self):
        if self.graph is None:
            return self.run()
        self.graph.replay()
        return self.value


def measure(options, compiler, config, model, device, batch, precision, variant, memory, logdet):
    cuda = device.type == "cuda"
    form, mode, graph = VARIANTS[variant]
    graph = graph and cuda
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    wrap = compiler.wrap(mode, (variant, precision, batch)) if mode else lambda f: f
    twin = bench.make_model(form, model.params, config, dtype, device, wrap=wrap,
                            run=recomputed if memory == "checkpoint" else None, logdet=logdet)
    step = Step(twin, images(batch).to(device), wrap(bench.adamax_update))
    start = time.perf_counter()
    first = [w.detach().clone() for w in step.w]
    bpd = None
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream() if cuda else None):  # what will be captured must not have run on the default stream
        for _ in range(options.warmup):
            value = step.run()
            bpd = value.item() if bpd is None else bpd
    if cuda:
        torch.cuda.synchronize()
    if graph:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step.capture()
        with torch.no_grad():
            for w, value in zip(step.w, first):
                w.copy_(value)
        bpd = step().item()
    prepared = time.perf_counter() - start
    times = []
    while not options.prepare and len(times) < options.steps:
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times) if times else float("nan")
    row = dict(program="PyTorch " + torch.__version__, mode=variant, memory=memory, precision=precision, batch=batch,
               depth=options.depth, prepared_s=round(prepared, 1), bpd=round(bpd, 5),
               logdet="library" if logdet is gemm.library_logdet else "elimination",
               peak_bytes=torch.cuda.max_memory_allocated() if cuda else 0)
    if times:
        row.update(ms_per_step=round(1e3 * seconds, 3), images_per_s=round(batch / seconds, 1))
    return row


def attempt(options, compiler, config, model, device, batch, precision, variant, memory):
    """measure(), with the elimination of pytorch_gemm.py where the library's determinant cannot be captured."""
    try:
        return measure(options, compiler, config, model, device, batch, precision, variant, memory, gemm.library_logdet)
    except RuntimeError as error:
        if device.type != "cuda" or not VARIANTS[variant][2] or isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        print(f"bench_pytorch_gpu: {variant}: {first_line(error)}; again without the library's determinant", file=sys.stderr)
    torch.cuda.synchronize()
    return measure(options, compiler, config, model, device, batch, precision, variant, memory, gemm.LogAbsDet.apply)


def first_line(error):
    return f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"[:200]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batches", default="512,64")
    parser.add_argument("--precisions", default="bf16")
    parser.add_argument("--variants", default="gemm-graph,conv-eager,conv-graph,conv-compile,gemm-autotune")
    parser.add_argument("--memory", default="store,checkpoint")
    parser.add_argument("--steps", type=int, default=7, help="measured steps, whose median is reported")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prepare", action="store_true", help="measure nothing: fill torch.compile's cache on disk")
    parser.add_argument("--smoke", action="store_true", help="every variant once on the CPU, with a tiny model")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further variant after so long")
    options = parser.parse_args()
    if options.smoke:
        options.device, options.levels, options.depth, options.width = "cpu", 2, 2, 8
        options.batches, options.precisions, options.steps, options.warmup = "2", "bf16,fp32", 1, 1
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench_pytorch_gpu: PyTorch sees no GPU", file=sys.stderr)
        return 2
    config, model = prepare(options)
    compiler = Compiler()
    wrong = 0
    if device.type != "cpu":
        torch.set_default_device(device)
    start = time.perf_counter()
    # Most important first: time may run out during compilation.
    for variant in options.variants.split(","):
        for precision in options.precisions.split(","):
            for batch in map(int, options.batches.split(",")):
                for memory in options.memory.split(","):
                    what = dict(mode=variant, memory=memory, precision=precision, batch=batch)
                    if time.perf_counter() - start > options.seconds:
                        print(json.dumps(dict(what, skipped="out of time")), flush=True)
                        continue
                    try:
                        row = attempt(options, compiler, config, model, device, batch, precision, variant, memory)
                    except Exception as error:  # out of memory, missing or failing compiler, old PyTorch
                        row = dict(what, error=first_line(error))
                        # Only a compiler may be missing on a CPU.
                        wrong = wrong or (options.smoke and VARIANTS[variant][1] is None)
                    if options.smoke and "bpd" in row:
                        row["reference_bpd"] = round(model.bits_per_dim(images(batch)).mean().item(), 5)
                        # Rounding of a sum of float terms, and of maps and weights to 8 bits.
                        if not abs(row["bpd"] - row["reference_bpd"]) < (2e-2 if precision == "bf16" else 1e-4):
                            wrong = 1
                            print(f"bench_pytorch_gpu: {row} is not the reference's loss", file=sys.stderr)
                    print(json.dumps(row), flush=True)
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
