"""TensorFlow: the engine the network is defined in, and the reference that the others are checked against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 16


def convert(model: Any) -> dict[str, bytes]:
    """The frozen GraphDef of a `tf.function` from uint8 pixels to features, weights as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(model.get_concrete_function())
    names = f"{frozen.inputs[0].name} {frozen.outputs[0].name}"
    return {"graph.pb": frozen.graph.as_graph_def().SerializeToString(), "names.txt": names.encode()}


def build(files: dict[str, bytes], threads: int) -> TensorFlowEngine:
    return TensorFlowEngine(files, threads)


class TensorFlowEngine:
    def __init__(self, files: dict[str, bytes], threads: int) -> None:
        import tensorflow as tf

        _limit_threads(tf, threads)
        definition = tf.compat.v1.GraphDef.FromString(files["graph.pb"])
        source, sink = files["names.txt"].decode().split()
        graph = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(definition, name=""), [])
        self._constant = tf.constant
        self._run = graph.prune(graph.graph.get_tensor_by_name(source), graph.graph.get_tensor_by_name(sink))

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        blocks = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        return np.concatenate([self._run(self._constant(block)).numpy() for block in blocks])


def _limit_threads(tf: Any, threads: int) -> None:
    """TensorFlow's pools ignore OMP_NUM_THREADS; they can be sized only before they are first used."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # this process has used TensorFlow already: the driver, which has the cores to itself
        return
