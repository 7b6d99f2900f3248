"""What PCA needs of the features, in one pass: n, mean and scatter; exact, mergeable, in float64.

Blocks are centred before they are multiplied, and merged by Chan's update (Chan, Golub, LeVeque 1983,
https://doi.org/10.1080/00031305.1983.10483115), so that large means do not eat small variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verger.errors import VergerError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Of n rows with d columns: `mean` float64 [d] and `scatter` float64 [d, d] = sum of (x - mean)(x - mean)^T.

    Usage: Statistics.of(today) + Statistics.of(tomorrow)
    """

    n: int
    mean: Floats
    scatter: Floats

    @classmethod
    def empty(cls, d: int) -> Statistics:
        return cls(0, np.zeros(d), np.zeros((d, d)))

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Statistics:
        """Of a block of rows [n, d]; a value that is not finite is a VergerError."""
        n, d = rows.shape
        if n == 0:
            return cls.empty(d)
        if not np.isfinite(rows).all():
            raise VergerError("a feature is not a finite number; the store is damaged: erase those rows and run again")
        # Shifted by the first row, a constant column is exactly zero, and so are its mean and its variance.
        shift = rows[0].astype(np.float64)
        block = rows - shift
        mean = block.mean(axis=0)
        block -= mean
        return cls(n, shift + mean, block.T @ block)

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both sets of rows."""
        if self.n == 0 or other.n == 0:
            return self if other.n == 0 else other
        n = self.n + other.n
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.n / n)
        scatter = self.scatter + other.scatter + np.outer(delta, delta) * (self.n * other.n / n)
        return Statistics(n, mean, scatter)

    @property
    def variance(self) -> Floats:
        """Of each column, with n - 1 as MLlib; zero for fewer than two rows. float64 [d]"""
        variance: Floats = np.diag(self.scatter) / max(self.n - 1, 1)
        return variance

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as half a scatter: it is symmetric."""
        return Statistics.from_bytes, (self.to_bytes(),)

    def to_bytes(self) -> bytes:
        """n, mean and the scatter's upper triangle: 6.6 MB for 1,280 columns."""
        triangle = self.scatter[np.triu_indices(len(self.mean))]
        return np.concatenate([[float(self.n)], self.mean, triangle]).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Statistics:
        values = np.frombuffer(data, dtype=np.float64)
        d = int((np.sqrt(8 * len(values) + 1) - 3) / 2)  # 1 + d + d(d + 1)/2 values
        scatter = np.zeros((d, d))
        scatter[np.triu_indices(d)] = values[1 + d :]
        return cls(int(values[0]), values[1 : 1 + d].copy(), scatter + np.triu(scatter, 1).T)


class Running:
    """The statistics of rows that come a few at a time; they are kept until there are enough to multiply."""

    def __init__(self, block: int = 2048) -> None:
        self._block = block
        self._whole = Statistics.empty(0)
        self._rows: list[NDArray[Any]] = []

    def add(self, rows: NDArray[Any]) -> None:
        self._rows.append(rows)
        if sum(map(len, self._rows)) >= self._block:
            self._whole = self.end()

    def end(self) -> Statistics:
        """The statistics of all rows so far."""
        rows, self._rows = self._rows, []
        return self._whole + Statistics.of(np.concatenate(rows)) if rows else self._whole
