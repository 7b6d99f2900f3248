from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from verger import network
from verger.decode import Decoder
from verger.downloads import DownloadError
from verger.errors import SettingsError
from verger.network import FILE, Weights, prepare, save

from tests.support import one_line, serving

FILES = {"graph.xml": b"<net/>", "graph.bin": bytes(range(256)), "expected.npy": b"features"}


# Weights


def test_weights_that_are_given_are_used(tmp_path: Path) -> None:
    file = tmp_path / "w.h5"
    file.write_bytes(b"weights")
    weights = Weights.find(file, tmp_path / "cache")
    assert weights.file == file
    assert weights.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert not (tmp_path / "cache").exists()


def test_weights_are_found_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.h5").write_bytes(b"weights")
    assert Weights.find(Path("~/w.h5"), tmp_path).file == tmp_path / "w.h5"


@pytest.mark.parametrize("name", ["missing.h5", "."])
def test_weights_that_are_no_file_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError) as error:
        Weights.find(tmp_path / name, tmp_path)
    one_line(error, f"--weights {tmp_path / name}", "no such file", FILE)


def test_weights_are_fetched_once_then_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda answer, _: answer.give(b"weights")) as server:
        monkeypatch.setattr(network, "URL", f"{server.url}/{FILE}")
        monkeypatch.setattr(network, "SHA256", hashlib.sha256(b"weights").hexdigest())
        for _ in range(2):
            weights = Weights.find(None, tmp_path)
            assert weights.file == tmp_path / "weights" / FILE
            assert weights.sha256 == hashlib.sha256(b"weights").hexdigest()
        assert server.requests == [f"/{FILE}"]


def test_weights_that_can_not_be_fetched_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda answer, _: answer.give(b"gone", 404)) as server:
        monkeypatch.setattr(network, "URL", f"{server.url}/{FILE}")
        with pytest.raises(DownloadError) as error:
            Weights.find(None, tmp_path)
    one_line(error, server.url, "404")
    assert not list((tmp_path / "weights").iterdir())


def test_other_weights_than_the_pinned_ones_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda answer, _: answer.give(b"weights")) as server:
        monkeypatch.setattr(network, "URL", f"{server.url}/{FILE}")
        with pytest.raises(DownloadError) as error:
            Weights.find(None, tmp_path)
    one_line(error, network.SHA256, hashlib.sha256(b"weights").hexdigest())
    assert not list((tmp_path / "weights").iterdir())


def test_the_official_weights_are_asked_for_over_https() -> None:
    assert network.URL == (
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    )


# The model's name


def test_the_model_is_named_by_weights_and_preprocessing(tmp_path: Path) -> None:
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    one.write_bytes(b"weights")
    other.write_bytes(b"weightz")
    models = [
        weights.model(decoder)
        for weights in (Weights(one), Weights(other), Weights(None))
        for decoder in (Decoder(), Decoder(exif=False))
    ]
    assert len(set(models)) == 6
    assert all(model.startswith("mobilenetv2-") for model in models)


def test_the_model_is_named_by_nothing_else(tmp_path: Path) -> None:
    one, copy = tmp_path / "one.h5", tmp_path / "copy.h5"
    one.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    assert Weights(one).model(Decoder()) == Weights(copy).model(Decoder(max_pixels=5))


# The cache of graphs; how they are made is in test_conversion.py


def cache_folder(cache: Path, weights: Weights) -> Path:
    """Where `prepare` keeps the graph, filled as a conversion does."""
    folder = cache / "graphs" / f"openvino-{weights.sha256[:32]}-{network.GRAPH_VERSION}"
    save(folder, FILES)
    return folder


def test_a_cached_graph_is_used_as_it_is(tmp_path: Path) -> None:
    cache_folder(tmp_path, Weights(None))
    graph = prepare(Weights(None), Decoder(), "openvino", tmp_path)
    assert graph.files == FILES
    assert (graph.engine, graph.model) == ("openvino", Weights(None).model(Decoder()))


def test_the_choices_of_decoding_share_a_graph(tmp_path: Path) -> None:
    cache_folder(tmp_path, Weights(None))
    turned, stored = (prepare(Weights(None), Decoder(exif=exif), "openvino", tmp_path) for exif in (True, False))
    assert turned.files == stored.files
    assert turned.model != stored.model


def test_saving_leaves_nothing_but_the_files_and_their_sums(tmp_path: Path) -> None:
    folder = cache_folder(tmp_path, Weights(None))
    assert {entry.name for entry in folder.iterdir()} == {*FILES, "sha256.json"}
    sums = json.loads((folder / "sha256.json").read_text())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


def test_a_graph_is_replaced_by_a_later_one(tmp_path: Path) -> None:
    folder = cache_folder(tmp_path, Weights(None))
    save(folder, FILES | {"graph.bin": b"later"})
    assert prepare(Weights(None), Decoder(), "openvino", tmp_path).files["graph.bin"] == b"later"


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a changed bit": lambda folder: flip(folder / "graph.bin"),
    "a file cut off": lambda folder: (folder / "graph.xml").write_bytes(FILES["graph.xml"][:3]),
    "a missing file": lambda folder: (folder / "expected.npy").unlink(),
    "no sums": lambda folder: (folder / "sha256.json").unlink(),
    "sums cut off": lambda folder: (folder / "sha256.json").write_text('{"graph.bin": '),
    "empty sums": lambda folder: (folder / "sha256.json").write_text(""),
    "nothing": lambda folder: shutil.rmtree(folder),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_is_not_used(tmp_path: Path, damage: str) -> None:
    folder = cache_folder(tmp_path, Weights(None))
    assert network._cached(folder) == FILES
    DAMAGES[damage](folder)
    assert network._cached(folder) is None
