#!/usr/bin/env python3
"""Times training steps of the PyTorch twin (bench_pytorch.py) on a GPU: eager and torch.compile, float, tf32 and bf16
networks, everything stored or the networks recomputed (torch.utils.checkpoint). One JSON object a variant, a line each.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.utils.checkpoint

import bench_pytorch as bench
import glow_files as files
import glow_reference as glow

eager_network = bench.network


def network_of(compiled, checkpointed):
    """bench.network as one compiled function for all layers of a shape, recomputed in backward where asked."""
    inner = torch.compile(eager_network, dynamic=False) if compiled else eager_network

    def run(p, name, a, edge_bias, dtype):
        # The same keys for every layer: its name would be a reason to compile again.
        mine = {"n" + key[len(name):]: value for key, value in p.items() if key.startswith(name + "/conv")}
        if checkpointed:
            return torch.utils.checkpoint.checkpoint(inner, mine, "n", a, edge_bias, dtype, use_reentrant=False)
        return inner(mine, "n", a, edge_bias, dtype)

    return run


def prepare(options, device):
    config = files.make_config(image_height=32, image_width=32, channels=3, levels=options.levels,
                               depth=options.depth, width=options.width, coupling="affine", edge_bias=True)
    model = glow.Glow(config, files.random_parameters(config, 1), torch.float32)
    model.initialise_from_data(torch.rand(8, 32, 32, 3) - 0.5)
    p = {name: value.detach().to(device).requires_grad_(True) for name, value in bench.arrange(model.params).items()}
    return config, p


def measure(options, config, p, device, batch, precision, compiled, checkpointed):
    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    bench.network = network_of(compiled, checkpointed)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x = torch.rand(batch, 32, 32, 3) - 0.5
    optimizer = bench.Adamax(list(p.values()))
    times = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for step in range(options.warmup + options.steps):
        wait()
        start = time.perf_counter()
        for w in optimizer.w:
            w.grad = None
        value = bench.loss(p, config, x, dtype)
        value.backward()
        optimizer.step()
        wait()
        if step >= options.warmup:
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    return dict(program="PyTorch " + torch.__version__, mode="compile" if compiled else "eager",
                memory="checkpoint" if checkpointed else "store", precision=precision, batch=batch,
                depth=options.depth, ms_per_step=round(1e3 * seconds, 3), images_per_s=round(batch / seconds, 1),
                peak_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
                bpd=round(value.item(), 4))


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
        options.batches, options.steps, options.warmup = "2", 1, 1
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench_pytorch_gpu: PyTorch sees no GPU", file=sys.stderr)
        return 2
    config, p = prepare(options, device)
    if device.type != "cpu":
        torch.set_default_device(device)
    start = time.perf_counter()
    for mode in options.modes.split(","):
        for memory in options.memory.split(","):
            for precision in options.precisions.split(","):
                for batch in map(int, options.batches.split(",")):
                    variant = dict(mode=mode, memory=memory, precision=precision, batch=batch)
                    if time.perf_counter() - start > options.seconds:
                        print(json.dumps(dict(variant, skipped="out of time")), flush=True)
                        continue
                    try:
                        row = measure(options, config, p, device, batch, precision, mode == "compile",
                                      memory == "checkpoint")
                    except (RuntimeError, AttributeError) as error:  # out of memory; a PyTorch without compile
                        row = dict(variant, error=str(error).split("\n")[0][:200])
                    print(json.dumps(row), flush=True)
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
