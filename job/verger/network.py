"""The network: MobileNetV2 without its classifier, its weights, and the graph that engines are built from.

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

from verger import downloads
from verger.decode import Decoder
from verger.engines import EngineName, Graph
from verger.errors import SettingsError, VergerError

FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{FILE}"
SHA256 = "e67de5246b7a227acd5f741cbeb290b525088e6c73483c0e5e71cf50f33e0c0f"  # of what is downloaded or put in an image
UNTRAINED_SEED = 20
GRAPH_VERSION = 2  # change it with anything here or in engines/ that changes a graph


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
        return cls(cached if cached.is_file() else downloads.fetch(URL, cached, sha256=SHA256, tell=tell))

    @cached_property
    def sha256(self) -> str:
        if self.file is None:
            return f"untrained-{UNTRAINED_SEED}"
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def model(self, decoder: Decoder) -> str:
        """Fingerprint of weights + preprocessing: equal names mean comparable features."""
        name = f"{self.sha256}/{decoder.version}"
        return f"mobilenetv2-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


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
