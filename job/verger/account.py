"""The account of a run, for run.json: what was done, by what, and what came of it."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyspark

from verger import __version__
from verger.catalog import Counts
from verger.projection import Projection
from verger.settings import Settings
from verger.workers import Embedder

PACKAGES = ("numpy", "pillow", "simplejpeg", "openvino", "pyarrow")


def account(
    settings: Settings,
    run: str,
    master: str,
    embedder: Embedder,
    counts: Counts,
    projected: int,
    failures: dict[str, int],
    projection: Projection | None,
) -> dict[str, Any]:
    """`projected` is how many images have results; `failures` how many have none, by the kind of reason."""
    explained = projection and {
        "sum": float(projection.explained.sum()),
        "components": projection.explained.tolist(),
    }
    return {
        "run": run,
        "master": master,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": {
            "listed": counts.listed,
            "embedded": projected - counts.embedded,
            "reused": counts.embedded,
            "failed": sum(failures.values()),
        },
        "failures": failures,
        "work": {
            "files_read": embedder.counters.read.value,
            "images_embedded": embedder.counters.embedded.value,
        },
        "engine": embedder.engine,
        "model": embedder.model,
        "explained_variance": explained,
        "locations": {name: str(place) for name, place in settings.places.items()},
        "settings": settings.model_dump(mode="json"),
        "versions": {
            "verger": __version__,
            "python": platform.python_version(),
            "spark": pyspark.__version__,
            **{name: version(name) for name in PACKAGES},
        },
    }
