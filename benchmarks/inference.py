"""Ways to run S and G over one scan in torch: memory format and precision, side by side in one run.

    python benchmarks/inference.py [--model RUN] [--slices 140] [--threads 2]

ONNX Runtime and OpenVINO are compared by `python benchmarks/performance.py --sections engines`. Every way gets the same
slices in batches of 32, one warm-up pass and then the best of three. Prints seconds a scan, the ratio to plain torch,
and the largest difference to it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.shipped import DEFAULT, find_model

BATCH = 32
Slices = np.ndarray
Run = Callable[[Slices, Slices], Slices]


class RoundTrip(torch.nn.Module):
    """G(S(x)) as one module."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: torch.Tensor, brain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and tissue maps."""
        y = self.method.segment(x, brain)
        return self.method.synthesise(y), y


def batches(x: Slices, brain: Slices) -> Iterator[tuple[Slices, Slices, int]]:
    """Whole batches; the last one is filled up, as engines with a fixed shape want it."""
    for start in range(0, len(x), BATCH):
        part, mask = x[start : start + BATCH], brain[start : start + BATCH]
        missing = BATCH - len(part)
        if missing:
            part, mask = (np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in (part, mask))
        yield part, mask, BATCH - missing


def measure(run: Run, x: Slices, brain: Slices) -> tuple[float, Slices]:
    """Best of three, and the images."""

    def once() -> Slices:
        return np.concatenate([run(a, b)[:n] for a, b, n in batches(x, brain)])

    result, seconds = once(), []
    for _ in range(3):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def ways(model: RoundTrip) -> Iterator[tuple[str, Run]]:
    def plain(a: Slices, b: Slices) -> Slices:
        with torch.inference_mode():
            return model(torch.from_numpy(a), torch.from_numpy(b))[0].numpy()

    def last(a: Slices, b: Slices) -> Slices:
        with torch.inference_mode():
            image = model(torch.from_numpy(a).contiguous(memory_format=torch.channels_last), torch.from_numpy(b))[0]
            return image.numpy()

    def bf16(a: Slices, b: Slices) -> Slices:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return model(torch.from_numpy(a), torch.from_numpy(b))[0].float().numpy()

    yield "torch", plain
    model.to(memory_format=torch.channels_last)
    yield "torch, channels last", last
    yield "torch, bf16", bf16
    model.to(memory_format=torch.contiguous_format)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT, help="bundled model or run folder")
    parser.add_argument("--slices", type=int, default=140)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    method = load_checkpoint(Path(find_model(arguments.model))).method.eval()
    method = getattr(method, "cycle", method)
    generator = np.random.default_rng(0)
    x = generator.random((arguments.slices, 1, 128, 128), np.float32)
    brain = np.ones_like(x)
    base, reference = None, None
    print(f"{arguments.slices} slices of 128 x 128, {arguments.threads} threads, torch {torch.__version__}")
    for name, run in ways(RoundTrip(method)):
        seconds, result = measure(run, x, brain)
        base, reference = base or seconds, result if reference is None else reference
        print(
            f"{name:22} {seconds:6.2f} s  {base / seconds:5.2f} x  largest difference "
            f"{np.abs(result - reference).max():.1e}"
        )


if __name__ == "__main__":
    main()
