"""Standardise + PCA from statistics: MLlib's `StandardScaler(withMean, withStd)` and `PCA(k)`, from one pass.

The covariance of standardised columns is their correlation, so one symmetric eigenproblem of d x d gives the
components. As in MLlib, standard deviations divide by n - 1, and a column that never varies becomes 0.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verger.errors import SettingsError
from verger.statistics import Floats, Statistics
from verger.storage import Folder, LocalFolder

FILE = "projection.npz"
STATISTICS = "statistics.npz"
MANIFEST = "projection.json"


@dataclass(frozen=True)
class Projection:
    """features [n, d] -> components [n, k].

    mean, std: float64 [d]; components: float64 [d, k], orthonormal columns, each with its largest loading positive;
    explained: float64 [k], each component's share of the whole variance; model: the features this is for.
    """

    mean: Floats
    std: Floats
    components: Floats
    explained: Floats
    n: int
    model: str

    @classmethod
    def fit(cls, statistics: Statistics, k: int, model: str) -> Projection:
        """The k leading principal components of the standardised columns; k is at most d."""
        std = np.sqrt(statistics.variance)
        correlation = statistics.scatter * np.outer(_inverse(std), _inverse(std)) / max(statistics.n - 1, 1)
        values, vectors = np.linalg.eigh(correlation)
        leading = np.argsort(values)[::-1][:k]
        values = np.clip(values, 0, None)  # a correlation has no negative ones: that is rounding
        whole = values.sum()
        explained = values[leading] / whole if whole > 0 else np.zeros(k)
        components = vectors[:, leading]
        signs = np.sign(components[np.abs(components).argmax(axis=0), np.arange(k)])
        return cls(statistics.mean, std, components * signs, explained, statistics.n, model)

    def apply(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """[n, d] -> float32 [n, k], computed in float64."""
        standard = (features - self.mean) * _inverse(self.std)
        return (standard @ self.components).astype(np.float32)

    @property
    def k(self) -> int:
        return int(self.components.shape[1])

    def save(self, folder: Path, statistics: Statistics | None = None) -> None:
        """Write projection.npz, projection.json and, to merge more images later, statistics.npz."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / FILE, mean=self.mean, std=self.std, components=self.components, explained=self.explained)
        summary = {
            "model": self.model,
            "images": self.n,
            "components": self.k,
            "explained_variance": float(self.explained.sum()),
            "explained_variance_ratio": self.explained.tolist(),
        }
        (folder / MANIFEST).write_text(json.dumps(summary, indent=2) + "\n")
        if statistics is not None:
            np.savez(folder / STATISTICS, n=statistics.n, mean=statistics.mean, scatter=statistics.scatter)

    @classmethod
    def load(cls, folder: Folder | Path, named: object = None) -> Projection:
        """Read what `save` wrote, from the folder itself or a run's results; a SettingsError when it is not there."""
        named, folder = named or folder, LocalFolder(folder) if isinstance(folder, Path) else folder
        try:
            summary = json.loads(_read(folder, MANIFEST))
            with np.load(io.BytesIO(_read(folder, FILE))) as arrays:
                parts = {name: arrays[name] for name in ("mean", "std", "components", "explained")}
            return cls(**parts, n=int(summary["images"]), model=str(summary["model"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise SettingsError(
                f"--projection {named}: no projection to read ({error}); give RESULTS/projection of a finished run"
            ) from error


def _read(folder: Folder, name: str) -> bytes:
    for place in (name, f"projection/{name}"):
        if (content := folder.read(place)) is not None:
            return content
    raise FileNotFoundError(f"no {name}")


def _inverse(std: Floats) -> Floats:
    """1 / std, and 0 where std is 0: such a column carries nothing."""
    return np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
