"""OpenVINO in float32: the fastest fp32 engine for MobileNetV2 on CPUs that was measured, 0.3 s to start."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verger.decode import SIDE
from verger.engines import tensorflow

os.environ.setdefault("OPENVINO_TELEMETRY", "0")

# Images a call, two workers at a time on two cores: 1-3 within 3 %, 4 takes 7 % longer than 2 and 8-32 a fifth, because
# their activations no longer stay in the cache. A batch that may be of any size takes a twentieth longer.
BATCH = 2


def convert(model: Any) -> dict[str, bytes]:
    """OpenVINO's IR (graph.xml, graph.bin) of a `tf.function` from uint8 pixels to features."""
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        # From a file: given the function itself, OpenVINO 2026.4 looks up TensorFlow's version by an `exec` that fails
        # on Python 3.13, where `exec` no longer changes a function's names.
        frozen = Path(folder, "graph.pb")
        frozen.write_bytes(tensorflow.convert(model)["graph.pb"])
        converted = ov.convert_model(frozen)
        ov.save_model(converted, Path(folder, "graph.xml"), compress_to_fp16=False)
        return {name: Path(folder, name).read_bytes() for name in ("graph.xml", "graph.bin")}


def build(files: dict[str, bytes], threads: int) -> OpenVinoEngine:
    return OpenVinoEngine(files, threads)


class OpenVinoEngine:
    def __init__(self, files: dict[str, bytes], threads: int) -> None:
        import openvino as ov

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the CPU has it: features off by more than 1
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # pinned, two worker processes share a core
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        core = ov.Core()
        model = core.read_model(files["graph.xml"], files["graph.bin"])
        model.reshape([BATCH, SIDE, SIDE, 3])
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._pixels = self._request.get_input_tensor(0).data  # OpenVINO's own memory, which every call uses again
        self._features = self._request.get_output_tensor(0).data

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = np.empty((len(pixels), self._features.shape[1]), np.float32)
        for start in range(0, len(pixels), BATCH):
            block = pixels[start : start + BATCH]  # the last may be short: what is computed beyond it is left
            self._pixels[: len(block)] = block
            self._request.infer()
            features[start : start + BATCH] = self._features[: len(block)]
        return features
