"""One training step of LN-tuned CLIP: ours (norms train in place) beside peft's (a trained copy of each), in turns.

    python benchmarks/train_step.py --backbone clip-vit-b-32 --batch 16

Weights are random, which changes no time. Both compute the same losses with the same optimiser. Memory is the peak of a
process that does two steps of one variant and nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from common import Times, take_turns
from peft import LNTuningConfig, inject_adapter_in_model

from unmask.base.detector import Batch
from unmask.detectors.gend import GenD

VARIANTS = ("unmask", "peft")


def stepper(variant: str, backbone: str, batch: int, device: str) -> Callable[[], Times]:
    """A function that does one step and gives its time."""
    torch.manual_seed(0)
    detector = GenD(backbone, "ln" if variant == "unmask" else "probe")
    if variant == "peft":
        norms = [n for n, m in detector.encoder.body.named_modules() if isinstance(m, torch.nn.LayerNorm)]
        inject_adapter_in_model(LNTuningConfig(target_modules=norms), detector.encoder.body)
    detector.to(device).train()
    trained = [p for p in detector.parameters() if p.requires_grad]
    print(f"  {variant}: {sum(p.numel() for p in trained):,} weights train", file=sys.stderr)
    optimiser = torch.optim.AdamW(trained, 3e-4, weight_decay=0)
    side = detector.input.size
    data = Batch(torch.rand(batch, 3, side, side, device=device), torch.arange(batch, device=device) % 2)

    def step() -> Times:
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(detector.loss(data).values())).sum().backward()
        optimiser.step()
        if device != "cpu":
            torch.cuda.synchronize()
        return {"all": time.perf_counter() - start}

    step()
    return step


def peak(variant: str, arguments: argparse.Namespace) -> float:
    """MB: of the process on a CPU, of the device's allocator on a GPU."""
    command = [sys.executable, __file__, "--alone", variant, "--backbone", arguments.backbone]
    command += ["--batch", str(arguments.batch), "--device", arguments.device, "--threads", str(arguments.threads)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="clip-vit-b-32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        stepper(arguments.alone, arguments.backbone, arguments.batch, arguments.device)()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(used if arguments.device == "cpu" else torch.cuda.max_memory_allocated() / 2**20)
        return
    memory = {variant: peak(variant, arguments) for variant in VARIANTS}
    steps = {v: stepper(v, arguments.backbone, arguments.batch, arguments.device) for v in VARIANTS}
    times = take_turns(steps, arguments.repeat)
    print(f"{arguments.backbone}, batch {arguments.batch}, {arguments.device}, {arguments.threads} threads, "
          f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, torch {torch.__version__}")  # fmt: skip
    for variant in VARIANTS:
        seconds, used = times[variant]["all"], memory[variant]
        print(f"{variant:7} {arguments.batch / seconds:7.2f} images/s  {1000 * seconds:8.0f} ms  {used:7.0f} MB")
    print(f"ours / peft: time {times['unmask']['all'] / times['peft']['all']:.3f}, "
          f"memory {memory['unmask'] / memory['peft']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
