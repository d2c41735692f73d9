"""Inference of an encoder on the CPU: runtimes and precisions in turns, their error, and their share of the GEMM peak.

    python benchmarks/encode.py --backbone clip-vit-b-32 --batch 8

Weights are random. The error is that of the logits of GenD's head beside eager torch in float32, relative to their
largest value. The peak is the best rate of a float32 matrix product of 2048 in torch on the same threads; a lower
precision may exceed it. OpenVINO falls back to float32 where the CPU has no bfloat16: its error then shows it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from common import Times, take_turns
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch.utils.flop_counter import FlopCounterMode

from unmask.bundles.distance import ExportWrapper
from unmask.detectors.gend import GenD
from unmask.exporting.onnx import to_onnx
from unmask.types import Floats

Run = Callable[[Floats], Floats]


def torch_runs(model: ExportWrapper) -> dict[str, Run]:
    def run(image: Floats, dtype: torch.dtype | None = None) -> Floats:
        with torch.inference_mode(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            return model(torch.from_numpy(image))[0].float().numpy()

    return {"torch float32": run, "torch bfloat16": lambda image: run(image, torch.bfloat16)}


def onnx_run(path: Path, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["logits"], {"image": image})[0]


def openvino_run(path: Path, threads: int, precision: str) -> Run:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda image: np.array(compiled({"image": image})["logits"])


def timed(run: Run, image: Floats) -> Callable[[], Times]:
    def once() -> Times:
        start = time.perf_counter()
        run(image)
        return {"all": time.perf_counter() - start}

    return once


def gemm_peak(n: int = 2048) -> float:
    """Floating-point operations a second, the best of ten."""
    a, b = torch.rand(n, n), torch.rand(n, n)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="clip-vit-b-32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = ExportWrapper(GenD(arguments.backbone)).eval()
    side = model.detector.input.size
    rng = np.random.default_rng(0)
    image = rng.random((arguments.batch, 3, side, side), np.float32)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.from_numpy(image))
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        to_onnx(model, path, rng.integers(0, 256, (5, side, side, 3), np.uint8))
        quantize_dynamic(path, small, weight_type=QuantType.QInt8)
        threads = arguments.threads
        runs = torch_runs(model) | {
            "ONNX Runtime float32": onnx_run(path, threads),
            "ONNX Runtime int8 (dynamic)": onnx_run(small, threads),
            "OpenVINO float32": openvino_run(path, threads, "f32"),
            "OpenVINO bfloat16": openvino_run(path, threads, "bf16"),
        }
    want = runs["torch float32"](image)
    error = {name: float(np.abs(run(image) - want).max() / np.abs(want).max()) for name, run in runs.items()}
    before = gemm_peak()
    times = take_turns({name: timed(run, image) for name, run in runs.items()}, arguments.repeat)
    flops, peak = counter.get_total_flops(), max(before, gemm_peak())  # either may meet a busy moment
    print(f"{arguments.backbone}, batch {arguments.batch}, {threads} threads, load {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} cores; float32 GEMM peak {peak / 1e9:.0f} GFLOP/s")  # fmt: skip
    for name in runs:
        seconds = times[name]["all"]
        share = flops / seconds / peak
        print(f"{name:28} {arguments.batch / seconds:7.2f} images/s  {share:6.1%} of the peak  error {error[name]:.1e}")


if __name__ == "__main__":
    main()
