"""Engines: what computes a model's networks. An engine takes the place of a network's forward call, nothing else.

torch is always there; ``bfloat16`` is torch with numbers of half the length (:mod:`semcycle.training.bfloat16`), and
``auto`` takes it where the processor has units for them. ONNX Runtime and OpenVINO get the networks as ONNX, made from
the model's own weights when it is opened, so that no file can be out of date. They run on the CPU with as many threads
as torch has.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semcycle.errors import CheckpointError
from semcycle.training.bfloat16 import Bfloat16Network, has_bfloat16_units
from semcycle.training.checkpoint import Checkpoint
from semcycle.training.onnx_export import exportable_networks, network_to_onnx

Forward: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""``(B, C, H, W)`` to ``(B, C', H, W)``."""
TORCH, BFLOAT16 = "torch", "bfloat16"
AUTO = "auto"
"""``bfloat16`` on the CPU where it has units for such numbers and the method's networks can be replaced, else torch."""


def start_onnx_runtime(content: bytes, threads: int) -> Forward:
    """ONNX Runtime on an ONNX model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def start_openvino(content: bytes, threads: int) -> Forward:
    """OpenVINO on an ONNX model."""
    import openvino

    core = openvino.Core()
    # single precision, as torch; unpinned, or the processes of --workers share a core
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    compiled = core.compile_model(core.read_model(content), "CPU", options)
    return lambda x: np.array(compiled([x])[0])


ENGINES: dict[str, tuple[tuple[str, ...], Callable[[bytes, int], Forward]]] = {
    "onnx": (("onnx", "onnxruntime"), start_onnx_runtime),
    "openvino": (("onnx", "openvino"), start_openvino),
}
"""Name, also of the extra that installs it -> the packages it needs, and what starts it."""


def use_engine(checkpoint: Checkpoint, engine: str) -> Checkpoint:
    """The same model with its networks on another engine; the given one is left as it is.

    Raises:
        CheckpointError: No engine has this name, it is not installed, the model is on a GPU, or its method cannot be
            written as ONNX.
    """
    on_cpu = all(parameter.device.type == "cpu" for parameter in checkpoint.method.parameters())
    if engine == AUTO:
        engine = BFLOAT16 if on_cpu and checkpoint.method.networks and has_bfloat16_units() else TORCH
    if engine == TORCH:
        return checkpoint
    if engine not in (BFLOAT16, *ENGINES):
        msg = f"expected an engine of {', '.join([AUTO, TORCH, BFLOAT16, *ENGINES])}, got {engine!r}; correct --engine"
        raise CheckpointError(msg)
    _check_installed(engine)
    paths = exportable_networks(checkpoint.method)
    if engine != BFLOAT16 and not on_cpu:
        device = next(checkpoint.method.parameters()).device.type
        msg = f"--engine {engine}: expected --device cpu, got {device}; on a GPU use --engine {TORCH} or {BFLOAT16}"
        raise CheckpointError(msg)
    method = copy.deepcopy(checkpoint.method)
    for path in paths:
        owner, _, name = path.rpartition(".")
        network = method.get_submodule(path)
        replaced = (
            Bfloat16Network(network)
            if engine == BFLOAT16
            else EngineNetwork(network, engine, checkpoint.preprocess.size)
        )
        setattr(method.get_submodule(owner), name, replaced)
    return replace(checkpoint, method=method, engine=engine)


def _check_installed(engine: str) -> None:
    packages, _ = ENGINES.get(engine, ((), None))
    if missing := [package for package in packages if find_spec(package) is None]:
        msg = f"--engine {engine}: expected {' and '.join(missing)}, found none; pip install 'semcycle[{engine}]'"
        raise CheckpointError(msg)


class EngineNetwork(nn.Module):
    """A network whose forward call an engine computes.

    The engine starts with the first slices, in the process that has them: it cannot be sent to another one.

    Args:
        network: In evaluation mode.
        engine: Key of ``ENGINES``.
        size: Side of the slices.
    """

    def __init__(self, network: nn.Module, engine: str, size: int) -> None:
        super().__init__()
        self.network = network
        self.multiple: Any = getattr(network, "multiple", None)
        self.engine = engine
        self.content = network_to_onnx(network, size)
        self._compute: Forward | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of ``(B, C, H, W)``, without gradient."""
        if self._compute is None:
            self._compute = ENGINES[self.engine][1](self.content, torch.get_num_threads())
        return torch.from_numpy(self._compute(np.ascontiguousarray(x.detach().numpy(), np.float32)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compute": None}
