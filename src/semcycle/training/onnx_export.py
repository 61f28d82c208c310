"""ONNX: a model's networks as files for other programs, and as bytes for the engines of prediction."""

from __future__ import annotations

import copy
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semcycle.errors import CheckpointError
from semcycle.files import write_bytes, write_json
from semcycle.methods import METHODS, method_class
from semcycle.methods.base import Method
from semcycle.training.checkpoint import copy_companions, load_checkpoint

OPSET = 18
"""Of all files; ONNX Runtime reads it from 1.14 on."""
DESCRIPTION = "onnx.json"


def export_onnx(run: Path, folder: Path) -> list[Path]:
    """Pack a finished run for programs other than torch: a file a network, and what is needed to use them.

    Args:
        run: A finished run.
        folder: For ``S.onnx``, ``G.onnx`` or whatever the networks are called, ``onnx.json`` that says what goes in,
            ``run.json``, ``calibration.json``, ``prior.safetensors`` and the model card.

    Returns:
        The networks' files.

    Raises:
        CheckpointError: ``run`` is no finished run, its method cannot be written, or the package ``onnx`` is missing.
    """
    checkpoint = load_checkpoint(run)
    files, networks = [], {}
    for path in exportable_networks(checkpoint.method):
        network = checkpoint.method.get_submodule(path)
        owner, _, name = path.rpartition(".")
        files.append(folder / f"{f'{owner}-{name}' if name.isdigit() else name}.onnx")
        write_bytes(files[-1], network_to_onnx(network, checkpoint.preprocess.size))
        multiple = getattr(network, "multiple", None)
        networks[files[-1].name] = {
            "network": path,
            "input": f"x: float32 (batch, {channels_in(network)}, height, width)",
            "output": "y: float32 (batch, channels, height, width)",
            "sides": f"multiples of {multiple}" if multiple else f"{checkpoint.preprocess.size} alone",
        }
    content: dict[str, Any] = {"format": 1, "opset": OPSET, "model": checkpoint.recipe.name}
    content |= {"method": checkpoint.recipe.method_name, "fingerprint": checkpoint.record["fingerprint"]}
    write_json(folder / DESCRIPTION, {**content, "networks": networks})
    copy_companions(checkpoint, folder)
    return files


def exportable_networks(method: Method[Any]) -> tuple[str, ...]:
    """Where the networks of a method's prediction are, from the method.

    Raises:
        CheckpointError: Its prediction is no plain pass of networks: it needs gradients, noise, or no network at all.
    """
    if not method.networks:
        able = ", ".join(name for name in METHODS if method_class(name).networks)
        msg = (
            f"expected a method that predicts by networks alone ({able}), got {type(method).__name__}; predict with "
            "--engine torch, export with --format safetensors"
        )
        raise CheckpointError(msg)
    return method.networks


def network_to_onnx(network: nn.Module, size: int) -> bytes:
    """Write a network as an ONNX model that takes batches of any length.

    Args:
        network: From ``(B, C, H, W)`` to the same sides; one with an attribute ``multiple`` takes all sides that are
            multiples of it, another one only those of ``size``.
        size: Side of the slices.

    Returns:
        A model with the input ``x`` and the output ``y``.

    Raises:
        CheckpointError: The package ``onnx`` is missing.
    """
    if find_spec("onnx") is None:
        msg = "expected the package onnx to write networks with, found none; pip install 'semcycle[onnx]'"
        raise CheckpointError(msg)
    axes = {0: "batch"} | ({2: "height", 3: "width"} if hasattr(network, "multiple") else {})
    plain = copy.deepcopy(network).cpu().float().eval()
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs leave it out
    example = torch.zeros(2, channels_in(network), size, size)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # torch calls this exporter outdated; the new one takes 5 s a network instead of 0.2 and another package
        warnings.simplefilter("ignore")
        torch.onnx.export(
            plain,
            (example,),
            Path(folder) / "network.onnx",
            dynamo=False,
            opset_version=OPSET,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": axes, "y": axes},
        )
        return (Path(folder) / "network.onnx").read_bytes()


def channels_in(network: nn.Module) -> int:
    """Channels that a convolutional network takes."""
    return next(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
