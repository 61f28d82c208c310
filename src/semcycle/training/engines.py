"""Engines: what computes a model's networks. An engine takes the place of a network's forward call, nothing else.

torch is always there. ONNX Runtime and OpenVINO get the networks as ONNX, made from the model's own weights when it is
opened, so that no file can be out of date. All run on the CPU with as many threads as torch has.
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
from semcycle.training.checkpoint import Checkpoint
from semcycle.training.onnx_export import exportable_networks, network_to_onnx

Forward: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""``(B, C, H, W)`` to ``(B, C', H, W)``."""
TORCH = "torch"


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
    if engine == TORCH:
        return checkpoint
    if engine not in ENGINES:
        msg = f"expected an engine of {', '.join([TORCH, *ENGINES])}, got {engine!r}; correct --engine"
        raise CheckpointError(msg)
    packages, _ = ENGINES[engine]
    if missing := [package for package in packages if find_spec(package) is None]:
        msg = f"--engine {engine}: expected {' and '.join(missing)}, found none; pip install 'semcycle[{engine}]'"
        raise CheckpointError(msg)
    paths = exportable_networks(checkpoint.method)
    method = copy.deepcopy(checkpoint.method)
    if (device := next(method.parameters()).device.type) != "cpu":
        msg = f"--engine {engine}: expected --device cpu, got {device}; on a GPU use --engine {TORCH}"
        raise CheckpointError(msg)
    for path in paths:
        owner, _, name = path.rpartition(".")
        network = EngineNetwork(method.get_submodule(path), engine, checkpoint.preprocess.size)
        setattr(method.get_submodule(owner), name, network)
    return replace(checkpoint, method=method, engine=engine)


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
