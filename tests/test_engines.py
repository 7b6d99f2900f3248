from __future__ import annotations

from collections.abc import Iterator

import pytest
from verger import engines
from verger.engines import Engine, EngineName, Graph, worker_engine


class Idle:
    """An engine that is only built."""

    def embed(self, _: object) -> None:
        raise AssertionError


@pytest.fixture(autouse=True)
def no_engine_yet() -> Iterator[None]:
    engines._worker_engines.clear()
    yield
    engines._worker_engines.clear()


def made(name: EngineName = "openvino", model: str = "m", threads: int = 1) -> tuple[Engine, int]:
    """This process's engine, and how many were built for it now."""
    built: list[Idle] = []

    def make() -> Engine:
        built.append(Idle())
        return built[-1]  # type: ignore[return-value]

    return worker_engine(name, model, threads, make), len(built)


def test_a_worker_builds_its_engine_once() -> None:
    first, built = made()
    assert built == 1
    assert made() == (first, 0)


@pytest.mark.parametrize("other", [("tensorflow", "m", 1), ("openvino", "other", 1), ("openvino", "m", 2)])
def test_another_engine_model_or_thread_count_is_built_anew(other: tuple[EngineName, str, int]) -> None:
    first, _ = made()
    second, built = made(*other)
    assert built == 1
    assert second is not first


def test_a_worker_keeps_one_engine_at_a_time() -> None:
    first, _ = made(model="first")
    made(model="second")
    again, built = made(model="first")
    assert built == 1
    assert again is not first


def test_an_engine_that_could_not_be_built_is_tried_again() -> None:
    def fail() -> Engine:
        raise MemoryError

    with pytest.raises(MemoryError):
        worker_engine("openvino", "m", 1, fail)
    assert made()[1] == 1


def test_an_unknown_engine_is_not_built() -> None:
    with pytest.raises(ModuleNotFoundError):
        engines.build(Graph("onnx", "m", {}), 1)  # type: ignore[arg-type]
