#!/usr/bin/env python3
"""Times training steps of the PyTorch twin (bench_pytorch.py) on a GPU: eager and torch.compile, float, tf32 and bf16
networks in channels-last memory, everything stored or each step of flow recomputed (torch.utils.checkpoint). One JSON
object a variant, a line each. All variants begin with the same weights and images; `bpd` is the loss of their first step.

--dry runs every variant on the CPU and ends with 1 if a loss is not the reference's (glow_reference.py), which in turn is
held against the C++ by other scripts; a variant that fails on its way says why and does not end the rest.
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

STEP = "step"  # common name of all flow steps at run time: distinct names would cause recompilation


def step_of(config, dtype, compiled, checkpointed):
    """What runs a step of flow in bench.loss, as one compiled function for all steps of a shape, or recomputed."""

    def plain(p, matrix, x):
        return bench.flow_step(p, STEP, matrix, config, dtype, x)

    inner = plain
    if compiled:
        # otherwise the variants together exceed its limit of shapes, and it silently continues in eager mode
        torch._dynamo.reset()
        inner = torch.compile(plain, dynamic=False, fullgraph=True)

    def run(step, x):
        p, name, matrix = step.args[:3]
        mine = {STEP + key[len(name):]: value for key, value in p.items() if key.startswith(name + "/")}
        if checkpointed:
            return torch.utils.checkpoint.checkpoint(inner, mine, matrix, x, use_reentrant=False)
        return inner(mine, matrix, x)

    return run


def prepare(options):
    config = files.make_config(image_height=32, image_width=32, channels=3, levels=options.levels,
                               depth=options.depth, width=options.width, coupling="affine", edge_bias=True)
    model = glow.Glow(config, files.random_parameters(config, 1), torch.float32)
    model.initialize_from_data(images(8))
    return config, model


def images(batch):
    """[batch,32,32,3] float, already dequantized."""
    return torch.rand(batch, 32, 32, 3, generator=torch.Generator("cpu").manual_seed(batch), device="cpu") - 0.5


def measure(options, config, model, device, batch, precision, compiled, checkpointed):
    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    p = {name: value.detach().to(device).requires_grad_(True) for name, value in bench.arrange(model.params).items()}
    x = images(batch).to(device)
    run = step_of(config, dtype, compiled, checkpointed)
    optimizer = bench.Adamax(list(p.values()))
    times = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for step in range(options.warmup + options.steps):
        wait()
        start = time.perf_counter()
        for w in optimizer.w:
            w.grad = None
        value = bench.loss(p, config, x, dtype, run)
        value.backward()
        optimizer.step()
        wait()
        if step == 0:
            bpd = value.item()
        if step >= options.warmup:
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    return dict(program="PyTorch " + torch.__version__, mode="compile" if compiled else "eager",
                memory="checkpoint" if checkpointed else "store", precision=precision, batch=batch,
                depth=options.depth, ms_per_step=round(1e3 * seconds, 3), images_per_s=round(batch / seconds, 1),
                peak_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
                bpd=round(bpd, 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batches", default="64,512")
    parser.add_argument("--precisions", default="fp32,tf32,bf16")
    parser.add_argument("--modes", default="eager,compile")
    parser.add_argument("--memory", default="store,checkpoint")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, whose median is reported")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry", action="store_true", help="every variant once on the CPU, with a tiny model")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further variant after so long")
    options = parser.parse_args()
    if options.dry:
        options.device, options.levels, options.depth, options.width = "cpu", 2, 1, 8
        options.batches, options.precisions, options.steps, options.warmup = "2", "bf16,fp32", 1, 1
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench_pytorch_gpu: PyTorch sees no GPU", file=sys.stderr)
        return 2
    config, model = prepare(options)
    wrong = 0
    if device.type != "cpu":
        torch.set_default_device(device)
    start = time.perf_counter()
    # Most important first: time may run out during compilation.
    for precision in options.precisions.split(","):
        for batch in map(int, options.batches.split(",")):
            for mode in options.modes.split(","):
                for memory in options.memory.split(","):
                    variant = dict(mode=mode, memory=memory, precision=precision, batch=batch)
                    if time.perf_counter() - start > options.seconds:
                        print(json.dumps(dict(variant, skipped="out of time")), flush=True)
                        continue
                    try:
                        row = measure(options, config, model, device, batch, precision, mode == "compile",
                                      memory == "checkpoint")
                    except Exception as error:  # out of memory, missing or failing compiler, old PyTorch
                        reason = str(error).strip().split("\n")[0]
                        row = dict(variant, error=f"{type(error).__name__}: {reason}"[:200])
                    if options.dry and "bpd" in row:
                        row["reference_bpd"] = round(model.bits_per_dim(images(batch)).mean().item(), 5)
                        # Rounding of a sum of float terms, and of maps and weights to 8 bits.
                        if not abs(row["bpd"] - row["reference_bpd"]) < (2e-2 if precision == "bf16" else 1e-4):
                            wrong = 1
                            print(f"bench_pytorch_gpu: {row} is not the reference's loss", file=sys.stderr)
                    print(json.dumps(row), flush=True)
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
