"""Does an engine compute what Keras does? Asked where the graph is made, and again in every worker on its own CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verger.decode import SIDE
from verger.engines import Engine, Graph
from verger.errors import VergerError

TOLERANCE = 1e-3  # largest difference allowed between engines, and to the fingerprint
FINGERPRINT = Path(__file__).with_name("fingerprint.npy")


class ParityError(VergerError):
    """The engine does not compute what it should on this machine."""


def probe() -> NDArray[np.uint8]:
    """The fixed input of the fingerprint: uint8 [2, 224, 224, 3], from integer arithmetic, the same everywhere."""
    y, x, colour = np.ogrid[:SIDE, :SIDE, :3]
    rings = ((x - 90) ** 2 + (y - 120) ** 2) // (40 + 25 * colour)
    waves = (x * (3 + colour) + y * 2) // 3 + ((x // 32 + y // 32) % 2) * 60
    return (np.stack([rings, waves]) % 256).astype(np.uint8)


def reference() -> NDArray[np.float32]:
    """The features of `probe` by the ImageNet weights, float32 [2, 1280], as Keras computes them."""
    values: NDArray[np.float32] = np.load(FINGERPRINT)
    return values


def check(engine: Engine, expected: NDArray[np.float32], what: str) -> float:
    """The largest difference between the engine's features of the probe and `expected`; too large is a ParityError."""
    difference = float(np.abs(engine.embed(probe()) - expected).max())
    if not difference <= TOLERANCE:
        raise ParityError(f"{what}: features of the probe are off by {difference:.3g}, allowed is {TOLERANCE}")
    return difference


def expected(graph: Graph) -> NDArray[np.float32]:
    """What TensorFlow computed for the probe when the graph was made, float32 [2, 1280]."""
    return np.frombuffer(graph.files["expected.npy"], dtype=np.float32).reshape(2, -1)
