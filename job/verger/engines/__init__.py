"""The engines that run the network, behind one small interface.

A *graph* is what an engine is built from: bytes made once by the driver from the Keras model, and broadcast. A worker
process builds its engine once and keeps it across tasks (`worker_engine`), which is the only module-level state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # the settings need this module, and a JVM could be on its way meanwhile
    import numpy as np
    from numpy.typing import NDArray

FEATURES = 1280  # channels of MobileNetV2's last convolution (https://arxiv.org/abs/1801.04381, table 2)

EngineName = Literal["openvino", "tensorflow"]


@dataclass(frozen=True)
class Graph:
    """A network an engine can build: its files by name, and `model`, the fingerprint of weights + preprocessing."""

    engine: EngineName
    model: str
    files: dict[str, bytes]


class Engine(Protocol):
    """What computes features."""

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [n, 224, 224, 3] -> float32 [n, 1280], each in [0, 6]; the result is the caller's to keep."""
        ...


def convert(name: EngineName, model: Any) -> dict[str, bytes]:
    """The files of a Keras model (uint8 pixels in, features out) for the engine `name`."""
    files: dict[str, bytes] = import_module(f"verger.engines.{name}").convert(model)
    return files


def build(graph: Graph, threads: int) -> Engine:
    """An engine that runs `graph` on `threads` threads."""
    engine: Engine = import_module(f"verger.engines.{graph.engine}").build(graph.files, threads)
    return engine


_worker_engines: dict[tuple[str, str, int], Engine] = {}


def worker_engine(name: EngineName, model: str, threads: int, make: Callable[[], Engine]) -> Engine:
    """This process's engine for a model; `make` builds it the first time."""
    key = (name, model, threads)
    if key not in _worker_engines:
        _worker_engines.clear()
        _worker_engines[key] = make()
    return _worker_engines[key]
