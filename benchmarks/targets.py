"""The bars: ratios between cases of the same round, and whether their medians clear them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from cases import Outcome

MB = 1e6
Seconds = Callable[[str], float]  # of a case in the round that is looked at; a LookupError where it was not measured


@dataclass(frozen=True)
class Bar:
    """What is asked: a value a round, at most (or at least) `limit`."""

    name: str
    limit: float
    value: Callable[[Seconds], float]
    shown: Callable[[float], str]
    at_least: bool = False


@dataclass(frozen=True)
class Row:
    """What came out: the value of each round (None: not measured), and the one that is judged, their median."""

    name: str
    bar: str
    rounds: list[float | None]
    shown: Callable[[float], str]
    judged: float | None
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]

    def plain(self) -> dict[str, Any]:
        return {"name": self.name, "bar": self.bar, "rounds": self.rounds, "judged": self.judged, "met": self.met}


def fraction(value: float) -> str:
    return f"1/{1 / value:.1f}"


def decimal(value: float) -> str:
    return f"{value:.2f}"


def times(value: float) -> str:
    return f"{value:.1f}x"


def megabytes(value: float) -> str:
    return f"{value / MB:.0f} MB"


RATIOS = (
    Bar("verger / notebook, all images", 1 / 14, lambda s: s("verger") / s("notebook"), fraction),
    Bar("verger / notebook, three labels", 1 / 10, lambda s: s("verger-3") / s("notebook-3"), fraction),
    Bar("verger / limit, all images", 2.1, lambda s: s("verger") / s("limit"), decimal),
    Bar(
        "verger / limit, each image more (x4 - all)",
        1.15,
        lambda s: (s("verger-x4") - s("verger")) / (s("limit-x4") - s("limit")),
        decimal,
    ),
    Bar("second run / first run, all images", 0.6, lambda s: s("again") / s("verger"), decimal),
)
REDUCTION = Bar("MLlib / statistics + projection", 4, lambda _: 0.0, times, at_least=True)
MEMORY = (
    ("verger", Bar("memory of a worker, all images (largest)", 700 * MB, lambda _: 0.0, megabytes)),
    ("verger-x4", Bar("memory of a worker, four copies (largest)", 700 * MB, lambda _: 0.0, megabytes)),
)


def judge(outcomes: list[Outcome]) -> list[Row]:
    """All bars, with what these outcomes say of them."""
    rounds = sorted({outcome.round for outcome in outcomes})
    rows = [row(bar, [_value(bar, outcomes, number) for number in rounds]) for bar in RATIOS]
    reductions = [outcome for outcome in outcomes if outcome.case == "reduction"]
    rows.append(row(REDUCTION, [ratio for outcome in reductions for ratio in outcome.detail["ratios"]]))
    for case, bar in MEMORY:
        sizes: list[float | None] = [float(outcome.worker_rss) for outcome in outcomes if outcome.case == case]
        rows.append(row(bar, sizes, of=max))
    return rows


def row(bar: Bar, values: list[float | None], of: Callable[[list[float]], float] = median) -> Row:
    measured = [value for value in values if value is not None]
    asked = f"{'at least' if bar.at_least else 'at most'} {bar.shown(bar.limit)}"
    if not measured:
        return Row(bar.name, asked, values, bar.shown, None, None)
    judged = of(measured)
    met = judged >= bar.limit if bar.at_least else judged <= bar.limit
    return Row(bar.name, asked, values, bar.shown, judged, met)


def _value(bar: Bar, outcomes: list[Outcome], number: int) -> float | None:
    """The bar's value in a round; a notebook that round went without counts by its median of the others."""

    def seconds(case: str) -> float:
        of_case = {outcome.round: outcome.seconds for outcome in outcomes if outcome.case == case}
        if number not in of_case and case.startswith("notebook") and of_case:
            return median(of_case.values())
        return of_case[number]

    try:
        return bar.value(seconds)
    except (LookupError, ZeroDivisionError):
        return None
