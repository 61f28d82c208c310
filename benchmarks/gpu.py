"""Training and prediction on one card, as a share of what the card's convolutions reach, in at most 8 minutes.

    python benchmarks/gpu.py                  # on the first GPU; tables, and gpu.json with all figures
    python benchmarks/gpu.py --small          # on the CPU with tiny sizes: shows that it runs, and nothing else

Ceiling: the best of a few 3 x 3 convolutions, forward and backward, in the same precision. Training: steps of S and of
G + D with the paper's recipe on slices of 128 x 128 that lie on the device; operations are counted by torch, and their
rate is set in relation to the ceiling. Loading: the share of a step in which the next batch is gathered. Prediction:
scans of 155 slices through the bundled model's S and G (and refiner), with slices that stay on the device, and from
arrays in main memory. What does not fit into the time is left out and named.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from semcycle.methods.base import Batch
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.training.accumulation import gradient_steps
from semcycle.training.models import open_model
from semcycle.training.recipe import Recipe, load_recipe
from semcycle.training.shipped import DEFAULT, recipe_folder
from semcycle.training.slices import Batches, SliceSet

VARIANTS = {
    "fp32": ("32-true", False, False),
    "fp32, channels last": ("32-true", True, False),
    "bf16": ("bf16-mixed", False, False),
    "bf16, channels last": ("bf16-mixed", True, False),
    "bf16, channels last, compiled": ("bf16-mixed", True, True),
}
"""Name -> precision of Fabric, memory format, torch.compile."""


@dataclass(frozen=True)
class Size:
    """What is measured: slices a step, side, channels of the ceiling's convolutions, slices of a scan, repetitions."""

    batch: int = 128
    side: int = 128
    channels: tuple[int, ...] = (64, 128, 256, 512)
    scan: int = 155
    seconds: float = 3.0
    base: int | None = None
    """Channels of the networks' first levels, where they are not the paper's."""


SMALL = Size(batch=4, side=32, channels=(8,), scan=6, seconds=0.05, base=4)


@dataclass
class Row:
    """One line of the training table."""

    stage: str
    variant: str
    slices_a_second: float
    teraflops: float
    share_of_ceiling: float
    loading_share: float
    gigabytes: float


def repeat(run: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Seconds a call, after two calls that do not count."""
    for _ in range(2):
        run()
    wait(device)
    started, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - started < seconds:
        run()
        calls += 1
        if calls % 8 == 0:
            wait(device)
    wait(device)
    return (time.perf_counter() - started) / calls


def wait(device: torch.device) -> None:
    """Until the card has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_ceiling(device: torch.device, precision: str, size: Size) -> float:
    """TFLOP/s of the best 3 x 3 convolution, forward and backward."""
    best = 0.0
    for channels in size.channels:
        side = max(8, size.side * 64 // channels if channels > 64 else size.side)
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1, device=device).to(memory_format=torch.channels_last)
        x = torch.randn(max(2, size.batch // 2), channels, side, side, device=device, requires_grad=True)
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        half = torch.autocast(device.type, torch.bfloat16) if precision.startswith("bf16") else nullcontext()

        def step(layer: torch.nn.Module = layer, x: torch.Tensor = x, half: Any = half) -> None:
            with half:
                y = layer(x)
            y.float().sum().backward()

        operations = 3 * 2 * 9 * channels**2 * side**2 * len(x)
        best = max(best, operations / repeat(step, device, size.seconds / 3) / 1e12)
    return best


def make_slices(count: int, side: int) -> SliceSet:
    """Made-up slices as a store holds them."""
    generator = np.random.default_rng(0)
    image = generator.random((count, 1, side, side), np.float32).astype(np.float16)
    tissue = generator.dirichlet((1, 1, 1), (count, side, side)).transpose(0, 3, 1, 2)
    ones = np.ones((count, 1, side, side), np.uint8)
    return SliceSet(image=image, brain=ones, tissue=(255 * tissue).astype(np.uint8), valid=ones)


def paper_recipe(size: Size) -> Recipe:
    """The paper's cycle, smaller where ``size`` says so."""
    recipe = load_recipe(recipe_folder() / "paper/cycle-continuous.yaml")
    if size.base is None:
        return recipe
    segmentation = recipe.method.segmentation.model_copy(update={"base": size.base})
    synthesis = recipe.method.synthesis.model_copy(update={"base": size.base, "discriminator_base": size.base})
    method = recipe.method.model_copy(update={"segmentation": segmentation, "synthesis": synthesis})
    return recipe.model_copy(update={"method": method})


def measure_training(device: torch.device, size: Size, variant: str, ceiling: float, number: int) -> Row:
    """One stage of the paper's cycle in one variant."""
    precision, last, compiled = VARIANTS[variant]
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    torch.manual_seed(0)
    method = paper_recipe(size).build().to(device)
    if last:
        method.to(memory_format=torch.channels_last)
    stage = method.stages()[number]
    if compiled:
        for name in ("S",) if number == 0 else ("G", "D"):
            getattr(method, name).compile()
    optimizers = {
        name: fabric.setup_optimizers(
            torch.optim.Adam([p for part in player.modules for p in getattr(method, part).parameters()], 1e-4)
        )
        for name, player in stage.players.items()
    }
    batches = Batches(make_slices(4 * size.batch, size.side), device)
    drawn = endless(batches, size.batch)
    loading = repeat(lambda: next(drawn), device, size.seconds / 3)

    def step(batch: Batch | None = None) -> None:
        for player, _ in gradient_steps(fabric, method, stage.name, batch or next(drawn), optimizers):
            optimizers[player].step()

    method.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = repeat(step, device, size.seconds)
    gigabytes = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
    operations = count_operations(size, number, device)
    rate = operations / seconds / 1e12
    return Row(stage.name, variant, size.batch / seconds, rate, rate / ceiling, loading / seconds, gigabytes)


def endless(batches: Batches, size: int) -> Iterator[Batch]:
    """Batches without end."""
    seed = 0
    while True:
        yield from batches.epoch(size, seed)
        seed += 1


def count_operations(size: Size, number: int, device: torch.device) -> float:
    """Floating-point operations of one step of a stage, counted on few slices."""
    few = min(4, size.batch)
    method, fabric = paper_recipe(size).build().to(device), Fabric(accelerator=device.type, devices=1)
    stage = method.stages()[number]
    optimizers = {
        name: fabric.setup_optimizers(
            torch.optim.SGD([p for part in player.modules for p in getattr(method, part).parameters()], 0.0)
        )
        for name, player in stage.players.items()
    }
    batch = Batches(make_slices(few, size.side), device).take(np.arange(few))
    with FlopCounterMode(display=False) as counter:
        for _ in gradient_steps(fabric, method, stage.name, batch, optimizers):
            pass
    return counter.get_total_flops() * size.batch / few


def measure_prediction(device: torch.device, size: Size, variant: str) -> dict[str, float]:
    """Scans a second: slices on the device through the networks, and from arrays to arrays with the refiner."""
    precision, last, _ = VARIANTS[variant]
    method = open_model(DEFAULT, str(device)).method
    method.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    side = open_model(DEFAULT).preprocess.size
    x = np.random.default_rng(0).random((size.scan, side, side), np.float32)
    brain = np.zeros(x.shape, bool)
    brain[:, side // 8 : -side // 8, side // 8 : -side // 8] = True
    images = torch.from_numpy(x * brain)[:, None].to(device)
    masks = torch.from_numpy(brain)[:, None].float().to(device)
    half = torch.autocast(device.type, torch.bfloat16) if precision.startswith("bf16") else nullcontext()

    def on_device() -> None:
        with half:
            for start in range(0, len(images), 32):
                method.reconstruct(images[start : start + 32], masks[start : start + 32])

    def from_arrays() -> None:
        with half:
            reconstruct_slices(method, x * brain, brain)

    return {
        "scans_a_second_on_device": 1 / repeat(on_device, device, size.seconds),
        "scans_a_second_from_arrays": 1 / repeat(from_arrays, device, size.seconds),
    }


def describe(device: torch.device) -> dict[str, str]:
    """Card, versions and day."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": name, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--minutes", type=float, default=7.0, help="nothing new is begun after that")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    words = parser.parse_args()
    if not words.small and not torch.cuda.is_available():
        parser.error("expected a CUDA device, found none; --small runs on the CPU")
    device, size = (torch.device("cpu"), SMALL) if words.small else (torch.device("cuda", 0), Size())
    torch.set_float32_matmul_precision("high")
    end = time.monotonic() + 60 * words.minutes
    ceilings = {
        precision: measure_ceiling(device, precision, size) for precision in {VARIANTS[v][0] for v in words.variants}
    }
    content: dict[str, Any] = {**describe(device), "ceiling_teraflops": ceilings, "training": [], "prediction": {}}
    print(", ".join(f"{key} {value}" for key, value in describe(device).items()))
    for precision, rate in sorted(ceilings.items()):
        print(f"ceiling of convolutions, {precision}: {rate:.3f} TFLOP/s")
    print("\n| stage | variant | slices/s | TFLOP/s | of the ceiling | loading | GB |\n|---|---|---|---|---|---|---|")
    for number in (0, 1):
        for variant in words.variants:
            if time.monotonic() > end:
                print(f"left out for time: stage {number + 1}, {variant}")
                continue
            row = measure_training(device, size, variant, ceilings[VARIANTS[variant][0]], number)
            content["training"].append(asdict(row))
            print(
                f"| {row.stage} | {variant} | {row.slices_a_second:.1f} | {row.teraflops:.3f} | "
                f"{row.share_of_ceiling:.0%} | {row.loading_share:.1%} | {row.gigabytes:.1f} |",
                flush=True,
            )
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    print("\n| prediction | scans/s, slices on the device | scans/s, arrays to arrays |\n|---|---|---|")
    for variant in (name for name in words.variants if not VARIANTS[name][2]):
        if time.monotonic() > end:
            print(f"left out for time: prediction, {variant}")
            continue
        rates = content["prediction"][variant] = measure_prediction(device, size, variant)
        print(f"| {variant} | {' | '.join(f'{rate:.2f}' for rate in rates.values())} |", flush=True)
    words.out.write_text(json.dumps(content, indent=2).replace("NaN", "null") + "\n")


if __name__ == "__main__":
    main()
