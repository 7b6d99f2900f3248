"""Real conversions by the real TensorFlow, in this process; of untrained weights where the real ones are not named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from verger import conversion, drawing, engines, network, parity
from verger.decode import Decoder
from verger.engines import Engine, EngineName, Graph
from verger.errors import SettingsError
from verger.network import Weights

from tests.support import one_line

NAMED = os.environ.get("VERGER_WEIGHTS")
WEIGHTS = Path(NAMED) if NAMED else None  # None: untrained


@pytest.fixture
def weights() -> Path:
    if WEIGHTS is None:
        pytest.skip("VERGER_WEIGHTS names no real weights")
    return WEIGHTS


@cache
def converted(name: EngineName) -> Graph:
    return Graph(name, "m", conversion.convert(WEIGHTS, name))


@cache
def engine(name: EngineName, threads: int = 2) -> Engine:
    return engines.build(converted(name), threads)


@cache
def fruits() -> NDArray[np.uint8]:
    """Nine drawn images: more than two of OpenVINO's batches."""
    images = [drawing.draw(fruit, 0, side=224) for fruit in drawing.FRUITS] + [drawing.draw("Kiwi", 1, side=224)]
    return np.stack([np.asarray(image) for image in images])


EACH = pytest.mark.parametrize("name", ["openvino", "tensorflow"])


@EACH
def test_features_are_1280_numbers_an_image_from_0_to_6(name: EngineName) -> None:
    features = engine(name).embed(fruits())
    assert features.shape == (9, 1280)
    assert features.dtype == np.float32
    assert features.min() >= 0
    assert features.max() <= 6
    assert len(np.unique(features, axis=0)) == 9


@EACH
def test_features_do_not_depend_on_the_batch(name: EngineName) -> None:
    one = engine(name)
    whole = one.embed(fruits())
    for size in (1, 2, 5):
        parts = [one.embed(fruits()[start : start + size]) for start in range(0, 9, size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


@EACH
def test_features_are_the_callers_to_keep(name: EngineName) -> None:
    first = engine(name).embed(fruits()[:1])
    before = first.copy()
    engine(name).embed(fruits()[1:2])
    np.testing.assert_array_equal(first, before)


@EACH
def test_pixels_may_be_a_view_and_read_only(name: EngineName) -> None:
    view = fruits()[::-2, ::-1]
    plain = np.ascontiguousarray(view)
    view.flags.writeable = False
    np.testing.assert_array_equal(engine(name).embed(view), engine(name).embed(plain))


@EACH
def test_a_graph_holds_what_keras_computed_for_the_probe(name: EngineName) -> None:
    graph = converted(name)
    assert parity.check(engine(name), parity.expected(graph), name) <= parity.TOLERANCE


def test_threads_do_not_change_the_features() -> None:
    one, two = (engine("openvino", threads).embed(fruits()) for threads in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_both_engines_agree() -> None:
    one, other = (engine(name).embed(fruits()) for name in ("openvino", "tensorflow"))
    np.testing.assert_allclose(one, other, atol=parity.TOLERANCE)


@pytest.mark.real
@pytest.mark.usefixtures("weights")
def test_both_engines_give_the_fingerprint() -> None:
    for name in ("openvino", "tensorflow"):
        assert parity.check(engine(name), parity.reference(), name) <= parity.TOLERANCE


@pytest.mark.real
@pytest.mark.parametrize("photograph", [("24_100.jpg", 4.1071906), ("197_100.jpg", 3.6676247)], ids=lambda it: it[0])
def test_the_notebooks_printed_features_are_met(real_images: Path, photograph: tuple[str, float]) -> None:
    name, second = photograph
    pixels = Decoder().decode((real_images / "Pineapple" / name).read_bytes()).pixels
    features = engine("openvino").embed(pixels[np.newaxis])[0]
    np.testing.assert_allclose(features[:2], [0.0, second], atol=1e-3)


# Weights that are not the right ones


def changed(file: Path, factor: float) -> None:
    """One kernel is multiplied."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(file, "r+") as content:
        layer, names = content["Conv1"], []
        layer.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        layer[names[0]][...] *= factor


def cut_off(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


HARMS: dict[str, Callable[[Path], None]] = {
    "trained further": partial(changed, factor=1.1),
    "not a number": partial(changed, factor=np.nan),
    "cut off": cut_off,
}


@pytest.mark.real
@pytest.mark.parametrize("harm", HARMS)
def test_other_weights_are_refused_with_exit_code_2(
    weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], harm: str
) -> None:
    copy = tmp_path / "other.h5"
    shutil.copyfile(weights, copy)
    HARMS[harm](copy)
    assert conversion.main("openvino", str(tmp_path / "graph"), str(copy)) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"--weights {copy}: ")
    assert network.FILE in last
    assert not (tmp_path / "graph").exists()


def test_a_text_as_weights_is_refused_by_a_run(tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    file.write_text("not weights")
    weights = Weights.find(file, tmp_path)
    # A damaged graph of the cache is made anew: that is asked of the converting process too, and it refuses.
    folder = tmp_path / "graphs" / f"openvino-{weights.sha256[:32]}-{network.GRAPH_VERSION}"
    network.save(folder, {"graph.xml": b"<net/>"})
    (folder / "graph.xml").write_bytes(b"<nut/>")
    with pytest.raises(SettingsError) as error:
        network.prepare(weights, Decoder(), "openvino", tmp_path)
    one_line(error, f"--weights {file}", "not MobileNetV2 weights", network.FILE)
