"""Hardware to train and predict on: refused in one line where this machine lacks it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

from semcycle.errors import SettingsError, error_line, shorten


@dataclass(frozen=True)
class Hardware:
    """Where to train; see Lightning Fabric for the values.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda``, ...
        devices: Per node.
        nodes: Machines.
        precision: ``32-true``, ``bf16-mixed``, ``16-mixed``, ...
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Any = "32-true"


def find_device(name: torch.device | str) -> torch.device:
    """A device that tensors can be put on and read from.

    Raises:
        SettingsError: There is none of that name here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1).to(device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # what torch says of a device it lacks
        reason = error_line(error)[:120]
        msg = (
            f"expected a device that torch has here, such as cpu, got {shorten(str(name))} ({reason}); correct --device"
        )
        raise SettingsError(msg) from error
    return device


def start_fabric(hardware: Hardware) -> Fabric:
    """Start Lightning Fabric and its processes.

    Raises:
        SettingsError: This machine has no such accelerator, or fewer devices, or no launcher started other machines.
    """
    processes = max(os.cpu_count() or 1, 2)
    try:
        fabric = Fabric(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            precision=hardware.precision,
        )
    except (ValueError, RuntimeError, TypeError, ImportError) as error:  # what Fabric says of hardware that is not here
        reason = error_line(error)[:200]
        msg = f"expected an accelerator, devices and a precision that this machine has, got {hardware} ({reason})"
        raise SettingsError(msg) from error
    if fabric.device.type == "cpu" and hardware.devices > processes:
        msg = f"expected at most {processes} processes on this machine's CPU, got {hardware.devices}; lower --devices"
        raise SettingsError(msg)
    alone = isinstance(getattr(fabric.strategy, "cluster_environment", None), LightningEnvironment)
    if hardware.nodes > 1 and alone and not {"NODE_RANK", "GROUP_RANK"} & set(os.environ):
        msg = (
            f"expected {hardware.nodes} machines started by Slurm or torchrun, got this one alone; see "
            "docs/how-to/cluster.md, or leave --nodes out"
        )
        raise SettingsError(msg)
    fabric.launch()
    return fabric
