"""From Keras's MobileNetV2 to an engine's graph, checked: the only module that needs TensorFlow on the way.

Run as `python -m verger.conversion ENGINE FOLDER [WEIGHTS]`; the last line on stderr says why it failed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from verger import engines
from verger.decode import SIDE
from verger.engines import EngineName, Graph
from verger.errors import SettingsError, VergerError
from verger.network import FILE, UNTRAINED_SEED, save
from verger.parity import TOLERANCE, check, probe, reference


def convert(weights: Path | None, name: EngineName) -> dict[str, bytes]:
    """The files of a graph, with what Keras computed for the probe; None is the untrained network.

    Raises SettingsError when the weights are not MobileNetV2's ImageNet weights, ParityError when the engine's
    features differ from Keras's.
    """
    keras_function = _keras(weights)
    features = keras_function(probe()).numpy()
    if weights is not None:
        difference = float(np.abs(features - reference()).max())
        if not difference <= TOLERANCE:
            raise SettingsError(
                f"--weights {weights}: features of the probe are off by {difference:.3g}, allowed is {TOLERANCE}: "
                f"wrong or damaged; give Keras's {FILE}"
            )
    files = engines.convert(name, keras_function)
    files["expected.npy"] = features.tobytes()
    check(engines.build(Graph(name, "", files), threads=os.cpu_count() or 1), features, f"engine {name}")
    return files


def _keras(weights: Path | None) -> Any:
    """The network as a `tf.function` from uint8 [n, 224, 224, 3] to float32 [n, 1280]."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if weights is None:
        tf.keras.utils.set_random_seed(UNTRAINED_SEED)
    try:
        network = tf.keras.applications.MobileNetV2(
            weights=str(weights) if weights else None,
            include_top=False,
            pooling="avg",
            input_shape=(SIDE, SIDE, 3),
        )
    except (ValueError, OSError, KeyError) as error:
        detail = " ".join(str(error).split())[:120]
        raise SettingsError(f"--weights {weights}: not MobileNetV2 weights ({detail}); give Keras's {FILE}") from error

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8)])  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return network(tf.cast(pixels, tf.float32) / 127.5 - 1.0, training=False)

    return features


def main(name: EngineName, folder: str, weights: str | None = None) -> int:
    try:
        save(Path(folder), convert(Path(weights) if weights else None, name))
    except VergerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]
