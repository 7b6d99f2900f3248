"""What is told of the measurements: tables on the terminal, RESULTS.md, and a JSON file with everything."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from cases import CASES, Outcome, suffix_of
from rich.console import Console
from rich.table import Table
from targets import MB, judge

WHAT = {
    "limit": "the limit",
    "verger": "verger, new store",
    "again": "verger, second run",
    "notebook": "the notebook",
    "reduction": "MLlib and statistics + projection, in turns",
}
IMAGES = {"": "all", "-x4": "four copies", "-3": "three labels"}
PACKAGES = ("verger", "pyspark", "openvino", "keras", "numpy", "pillow", "pyarrow")
Grid = tuple[str, list[str], list[list[str]]]  # title, headings, rows


@cache
def machine() -> dict[str, Any]:
    """Where and with what: numbers mean little without it."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "java": _told("java", "-version").split("\n")[0],
        "commit": _told("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")


def _told(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "?"
    return (done.stdout or done.stderr).strip()


def save(file: Path, outcomes: list[Outcome]) -> None:
    """Everything as JSON; called after each case, so that an interrupted hour is not lost."""
    account = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "targets": [row.plain() for row in judge(outcomes)],
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(account, indent=2) + "\n")


def grids(outcomes: list[Outcome]) -> list[Grid]:
    """The two tables."""
    rows = judge(outcomes)
    width = max(len(row.rounds) for row in rows)
    numbers = [f"round {number}" for number in range(1, width + 1)]
    bars = []
    for row in rows:
        values = ["-" if value is None else row.shown(value) for value in row.rounds]
        judged = "-" if row.judged is None else row.shown(row.judged)
        bars.append([row.name, row.bar, judged, row.verdict, *values, *[""] * (width - len(values))])
    return [
        ("Targets", ["target", "bar", "median", "verdict", *numbers], bars),
        ("Seconds, start to end of the process", ["what", "images", "median", "images/s", "worker", "rounds"],
         [_case(case, outcomes) for case in CASES]),
    ]  # fmt: skip


def _case(case: str, outcomes: list[Outcome]) -> list[str]:
    own = [outcome for outcome in outcomes if outcome.case == case]
    name = WHAT[case.split("-")[0]]
    if case != "reduction":
        name += f", {IMAGES[suffix_of(case)]}"
    if not own:
        return [name, "", "", "", "", "not measured"]
    seconds = median(outcome.seconds for outcome in own)
    size = max(outcome.worker_rss for outcome in own)
    memory = f"{size / MB:.0f} MB" if size and case != "reduction" else ""
    speed = f"{own[0].images / seconds:.1f}" if case != "reduction" else ""
    return [name, f"{own[0].images:,}", f"{seconds:.1f}", speed, memory, ", ".join(f"{o.seconds:.1f}" for o in own)]


def agreement(outcomes: list[Outcome]) -> list[str]:
    """Who computed what: a faster way to another result would be no news."""
    lines = []
    for suffix, images in (("", "all images"), ("-3", "three labels")):
        found = {
            kind: [o.detail["explained_variance"] for o in outcomes if o.case == f"{kind}{suffix}"]
            for kind in ("notebook", "verger")
        }
        texts = [f"{kind} {median(values):.9f}" for kind, values in found.items() if values]
        if texts:
            lines.append(f"Explained variance, {images}: {', '.join(texts)}.")
    return lines


def show(console: Console, outcomes: list[Outcome]) -> None:
    for title, headings, rows in grids(outcomes):
        table = Table(title=title, title_justify="left")
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in agreement(outcomes):
        console.print(line, highlight=False)


def markdown(outcomes: list[Outcome], data: str) -> str:
    """RESULTS.md."""
    where = machine()
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    lines = [
        "# Results",
        "",
        f"Written by `benchmarks/run.py`; numbers in `{data}`, commit {where['commit']}.",
        f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB; Python {where['python']}, {packages}.",
        "What each row is: `README.md`. A round without the notebook is compared with the notebook of another round.",
    ]
    for title, headings, rows in grids(outcomes):
        lines += ["", f"## {title}", "", _line(headings), _line(["---", *["---:"] * (len(headings) - 1)])]
        lines += [_line(row) for row in rows]
    return "\n".join([*lines, "", *agreement(outcomes)]) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
