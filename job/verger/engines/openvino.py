"""OpenVINO in float32: the fastest fp32 engine for MobileNetV2 on CPUs that was measured, 0.3 s to start."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("OPENVINO_TELEMETRY", "0")

BATCH = 4  # images a call: 1-4 are fastest (the activations stay in the cache), 8-32 cost a fifth more


def convert(model: Any) -> dict[str, bytes]:
    """OpenVINO's IR (graph.xml, graph.bin) of a `tf.function` from uint8 pixels to features."""
    import openvino as ov

    converted = ov.convert_model(model.get_concrete_function())
    with tempfile.TemporaryDirectory() as folder:
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
        self._request = core.compile_model(
            core.read_model(files["graph.xml"], files["graph.bin"]), "CPU", settings
        ).create_infer_request()

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        blocks = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        # A request's output tensor is reused by its next call: copy it.
        return np.concatenate([self._request.infer({0: block})[0].copy() for block in blocks])
