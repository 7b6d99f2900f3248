"""The network: MobileNetV2 without its classifier, its weights, and the proof that they are the right ones.

MobileNetV2 1.0 at 224x224, ImageNet, global average pooling: 1,280 features an image, each a mean of ReLU6 outputs
and so in [0, 6] (Sandler et al., https://arxiv.org/abs/1801.04381). Pixels are scaled to [-1, 1] inside the graph.

The graph that an engine is built from is made once a machine (`conversion`) and cached by the weights' sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verger import downloads
from verger.decode import SIDE, Decoder
from verger.engines import Engine, EngineName, Graph
from verger.errors import SettingsError, VergerError

FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{FILE}"
TOLERANCE = 1e-3  # largest difference allowed between engines, and to the fingerprint
UNTRAINED_SEED = 20
GRAPH_VERSION = 1  # change it with anything here or in engines/ that changes a graph
FINGERPRINT = Path(__file__).with_name("fingerprint.npy")


class ParityError(VergerError):
    """The engine does not compute what it should on this machine."""


@dataclass(frozen=True)
class Weights:
    """A weights file; `file` None means untrained: random, seeded, for trying the job only."""

    file: Path | None

    @classmethod
    def find(cls, file: Path | None, cache: Path, tell: downloads.Tell | None = None) -> Weights:
        """`file` if given, else the official Keras file from the cache or the network."""
        if file is not None:
            if not file.expanduser().is_file():
                raise SettingsError(f"--weights {file}: no such file; give Keras's {FILE}")
            return cls(file.expanduser())
        cached = cache / "weights" / FILE
        return cls(cached if cached.is_file() else downloads.fetch(URL, cached, tell=tell))

    @cached_property
    def sha256(self) -> str:
        if self.file is None:
            return f"untrained-{UNTRAINED_SEED}"
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def model(self, decoder: Decoder) -> str:
        """Fingerprint of weights + preprocessing: equal names mean comparable features."""
        name = f"{self.sha256}/{decoder.version}"
        return f"mobilenetv2-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


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


def prepare(weights: Weights, decoder: Decoder, engine: EngineName, cache: Path) -> Graph:
    """The checked graph of an engine: from the cache, or made from the weights and put there.

    Raises SettingsError when the weights are not MobileNetV2's ImageNet weights, ParityError when the engine's
    features differ from TensorFlow's.
    """
    folder = cache / "graphs" / f"{engine}-{weights.sha256[:32]}-{GRAPH_VERSION}"
    files = _cached(folder)
    if files is None:
        _convert(weights, engine, folder)
        files = _cached(folder)
    if files is None:
        raise VergerError(f"{folder}: the converted graph can't be read back; free some space and try again")
    return Graph(engine, weights.model(decoder), files)


def _convert(weights: Weights, engine: EngineName, folder: Path) -> None:
    """In a process of its own: TensorFlow's memory and messages stay out of the driver."""
    command = [
        sys.executable,
        "-m",
        "verger.conversion",
        engine,
        str(folder),
        *([str(weights.file)] if weights.file else []),
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        message = child.stderr.strip().splitlines()[-1:] or [f"the conversion ended with {child.returncode}"]
        raise {2: SettingsError}.get(child.returncode, VergerError)(message[0])


def expected(graph: Graph) -> NDArray[np.float32]:
    """What TensorFlow computed for the probe when the graph was made, float32 [2, 1280]."""
    return np.frombuffer(graph.files["expected.npy"], dtype=np.float32).reshape(2, -1)


def _cached(folder: Path) -> dict[str, bytes] | None:
    """The files of a cached graph, or None when there is none or it is damaged."""
    try:
        sums = json.loads((folder / "sha256.json").read_text())
        files = {name: (folder / name).read_bytes() for name in sums}
    except (OSError, ValueError):
        return None
    intact = all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in sums.items())
    return files if intact else None


def save(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    for name, data in {**files, "sha256.json": json.dumps(sums).encode()}.items():
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(data)
        partial.replace(folder / name)  # sha256.json last: it vouches for the others
