"""The bare limit: what two plain processes need for the network itself, with nothing around it.

Two processes (spawned, one thread each), every second file each: Pillow decodes and resizes, OpenVINO computes in
float32. Nothing is listed in advance, kept, checked or written; there is no Spark. What Verger needs beyond this is
the price of everything else that it does.

It is meant to be hard to beat with these parts. The graph has a fixed batch of 2 and is fed in place: images are
normalised straight into the request's own input tensor (5% faster than a dynamic batch, here). TensorFlow is needed
only to convert, which is done once, outside of what is timed:

    python benchmarks/limit.py --convert --weights WEIGHTS.h5 --graph DIR
    python benchmarks/limit.py --images IMAGES --graph DIR [--input uint8]
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the other imports: they are part of what is measured

import argparse  # noqa: E402
import multiprocessing  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from multiprocessing.connection import Connection  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

SIDE, FEATURES = 224, 1280
BATCH = 2
PROCESSES = 2
TOLERANCE = 1e-3  # of a feature, as Verger's
INPUTS = ("float32", "uint8")  # normalised by NumPy; or by the graph, which is Verger's own
OPENVINO = {
    "INFERENCE_PRECISION_HINT": "f32",
    "INFERENCE_NUM_THREADS": 1,
    "ENABLE_CPU_PINNING": False,
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
}


def main() -> int:
    options = _options()
    if options.convert:
        convert(options.weights, options.graph)
        return 0
    graph = options.graph / f"{options.input}.xml"
    if not graph.is_file():
        print(f"--graph {options.graph}: no {graph.name} in it; --convert makes it", file=sys.stderr)
        return 2
    images, total = run(options.images, graph, options.input)
    seconds = time.perf_counter() - BEGAN
    print(f"{images} images as {options.input}, sum of all features {total:.1f}, {seconds:.2f} s since the first line")
    return 0


def run(images: Path, graph: Path, kind: str) -> tuple[int, float]:
    """How many images there were, and the sum of all their features."""
    context = multiprocessing.get_context("spawn")
    waiting = []
    for part in range(PROCESSES):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(sender, images, graph, kind, part))
        child.start()
        sender.close()  # else the end of a child that died is never seen
        waiting.append((child, receiver))
    parts = [receiver.recv() for _, receiver in waiting]
    for child, _ in waiting:
        child.join()
    return sum(count for count, _ in parts), sum(total for _, total in parts)


def work(answer: Connection, folder: Path, graph: Path, kind: str, part: int) -> None:
    """One process: every second image, two at a time."""
    import numpy as np
    from PIL import Image

    files = listed(folder)[part::PROCESSES]
    request = compiled(graph)
    batch = request.get_input_tensor(0).data  # OpenVINO's own memory: what is written here is not copied again
    output = request.get_output_tensor(0).data
    features = np.empty((len(files), FEATURES), np.float32)
    scale, one = np.float32(1 / 127.5), np.float32(1)
    for start in range(0, len(files), len(batch)):
        count = min(len(batch), len(files) - start)
        for slot, file in zip(batch, files[start : start + count], strict=False):
            with Image.open(file) as image:
                slot[...] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        if kind == "float32":
            np.multiply(batch, scale, out=batch)
            np.subtract(batch, one, out=batch)
        request.infer()
        features[start : start + count] = output[:count]  # the last batch may be padded with older images
    answer.send((len(files), float(features.sum(dtype=np.float64))))


def listed(folder: Path) -> list[str]:
    """All JPEG files below a folder, in an order that both processes agree on."""
    tree = os.walk(folder)
    return sorted(f"{where}/{name}" for where, _, names in tree for name in names if name.endswith(".jpg"))


def compiled(graph: Path) -> Any:
    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    import openvino as ov

    return ov.Core().compile_model(graph, "CPU", OPENVINO).create_infer_request()


def convert(weights: Path, folder: Path) -> None:
    """Both graphs, from Keras: with float32 input in [-1, 1], and Verger's own with pixels as they are."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import openvino as ov
    import tensorflow as tf
    from verger.conversion import convert as verger_graph

    network = tf.keras.applications.MobileNetV2(
        weights=str(weights), include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    signature = [tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)]
    features = tf.function(lambda x: network(x, training=False), input_signature=signature)
    files = verger_graph(weights, "openvino")
    graphs = {
        "float32": ov.convert_model(features.get_concrete_function()),
        "uint8": ov.Core().read_model(files["graph.xml"], files["graph.bin"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for kind, graph in graphs.items():
        graph.reshape([BATCH, SIDE, SIDE, 3])
        ov.save_model(graph, folder / f"{kind}.xml", compress_to_fp16=False)
    check(folder, lambda pixels: features(tf.constant(pixels)).numpy())


def check(folder: Path, keras: Any) -> None:
    """The limit must compute the same features as everyone else."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    normal = pixels / np.float32(127.5) - 1
    for kind in INPUTS:
        request = compiled(folder / f"{kind}.xml")
        request.get_input_tensor(0).data[...] = pixels if kind == "uint8" else normal
        request.infer()
        difference = float(np.abs(request.get_output_tensor(0).data - keras(normal)).max())
        if not difference <= TOLERANCE:
            raise SystemExit(f"{kind}: features differ from Keras's by {difference:.3g}, allowed is {TOLERANCE}")
        print(f"{kind}: features differ from Keras's by {difference:.1e} at most")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Two bare processes, Pillow and OpenVINO: the limit.")
    parser.add_argument("--images", metavar="DIR", type=Path, help="folder of images, read recursively")
    parser.add_argument("--graph", metavar="DIR", type=Path, required=True, help="where the converted graphs are")
    parser.add_argument("--input", choices=INPUTS, default="float32", help="what the graph is fed")
    parser.add_argument("--convert", action="store_true", help="make the graphs, and stop")
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="Keras's MobileNetV2 no-top weights, for --convert"
    )
    options = parser.parse_args()
    if options.convert and not options.weights:
        parser.error("--convert needs --weights")
    if not options.convert and not options.images:
        parser.error("--images is missing")
    return options


if __name__ == "__main__":
    sys.exit(main())
