"""What is measured: each case is one command on one set of images, checked for having done its work."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import BenchmarkError, measure

HERE = Path(__file__).parent
LABELS = ("Apple Red 1", "Dates", "Kaki")  # the notebook's first three fruits
COPIES = 4
# In the order of a round; what is compared stands close together, so that the machine's drift hits both alike.
CASES = (
    "limit", "verger", "again", "limit-x4", "verger-x4", "limit-3", "verger-3", "notebook-3", "notebook", "reduction",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One measurement, as it is kept."""

    case: str
    round: int
    images: int
    seconds: float
    worker_rss: int
    detail: dict[str, Any]


@dataclass
class Bench:
    """The images, graphs and stores of one session of measurements, in a folder that is thrown away."""

    images: Path
    weights: Path
    work: Path
    logs: Path
    sets: dict[str, Path] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def set_up(self, cases: list[str]) -> None:
        """Everything that is not measured: copies of the images, converted graphs, caches filled, a first run."""
        self.logs.mkdir(parents=True, exist_ok=True)
        wanted = {suffix_of(case) for case in cases if case != "reduction"}
        for suffix in sorted(wanted):
            self.sets[suffix] = self._set(suffix)
            self.counts[suffix] = sum(1 for _ in self.sets[suffix].rglob("*.jpg"))
        if not wanted:
            return
        smallest = min(wanted, key=lambda suffix: self.counts[suffix])
        if any(case.startswith("limit") for case in cases):
            self._do([python(), script("limit"), "--convert", "--weights", str(self.weights), "--graph", self._graph])
            self._do(self._limit(smallest))
        if any(case.startswith(("verger", "again")) for case in cases):
            self._do([verger(), "prepare", "--weights", str(self.weights)])
            self._do(self._verger(smallest, "first", "first"))

    def run(self, case: str, number: int) -> Outcome:
        """Measure one case in round `number`; a BenchmarkError when it did not do what it should."""
        suffix = suffix_of(case)
        name = f"{case}-{number}"
        log = self.logs / f"{name}.log"
        store = f"verger{suffix}-{number}"
        kind = case.split("-")[0]
        account = self.work / f"{name}.json"
        commands = {
            "limit": lambda: self._limit(suffix),
            "verger": lambda: self._verger(suffix, store, name),
            "again": lambda: self._verger(suffix, store, name),
            "notebook": lambda: self._notebook(suffix, name),
            "reduction": lambda: [python(), script("reduction"), "--json", str(account)],
        }
        measured = measure(commands[kind](), log, self.work)
        count = self.counts.get(suffix, 0)
        if kind in ("verger", "again"):
            detail = self._manifest(name, count, reused=kind == "again")
        elif kind == "reduction":
            detail = json.loads(account.read_text())
            count = detail["rows"]
        else:
            detail = told(log.read_text(), count, case)
        shutil.rmtree(self.work / "results" / name, ignore_errors=True)
        return Outcome(case, number, count, round(measured.seconds, 3), measured.worker_rss, detail)

    def end_round(self) -> None:
        shutil.rmtree(self.work / "stores", ignore_errors=True)

    def _set(self, suffix: str) -> Path:
        """The folder of a set of images. All were read once when this returns: no case pays for a cold disk."""
        folder = self.work / f"images{suffix}"
        roots = [self.images / label for label in LABELS] if suffix == "-3" else [self.images]
        files = [file for root in roots for file in root.rglob("*.jpg")]
        for copy in range(COPIES if suffix == "-x4" else 1):
            for file in files:
                link(file, folder / str(copy) / file.relative_to(self.images))
        for file in files:
            file.read_bytes()
        return folder

    @property
    def _graph(self) -> str:
        return str(self.work / "graph")

    def _limit(self, suffix: str) -> list[str]:
        return [python(), script("limit"), "--images", str(self.sets[suffix]), "--graph", self._graph]

    def _verger(self, suffix: str, store: str, results: str) -> list[str]:
        return [
            *(verger(), "run", "--images", str(self.sets[suffix]), "--weights", str(self.weights)),
            *("--store", str(self.work / "stores" / store), "--results", str(self.work / "results" / results)),
            *("--master", "local[2]"),  # as the notebook and the limit have it, on machines with more cores too
        ]

    def _notebook(self, suffix: str, results: str) -> list[str]:
        return [
            *(python(), script("notebook"), "--images", str(self.sets[suffix]), "--weights", str(self.weights)),
            *("--results", str(self.work / "results" / results)),
        ]

    def _manifest(self, name: str, count: int, reused: bool) -> dict[str, Any]:
        manifest = json.loads((self.work / "results" / name / "run.json").read_text())
        images, what = manifest["images"], "reused" if reused else "embedded"
        if images[what] != count:
            raise BenchmarkError(f"{name}: {count} images should have been {what}, but run.json says {images}")
        return {"explained_variance": manifest["explained_variance"]["sum"], "stages": manifest["seconds"]}

    def _do(self, command: list[str]) -> None:
        measure(command, self.logs / "set-up.log", self.work)


def told(printed: str, count: int, case: str) -> dict[str, Any]:
    """What the limit and the notebook say of their work."""
    if case.startswith("limit"):
        if f"{count} images" not in printed:
            raise BenchmarkError(f"{case}: should have been {count} images, but it says {printed.strip()[-200:]}")
        return {}
    found = re.search(r"^explained variance: ([\d.]+)$", printed, re.MULTILINE)
    if found is None:
        raise BenchmarkError(f"{case}: no explained variance in its output")
    return {"explained_variance": float(found[1])}


def suffix_of(case: str) -> str:
    """Which images a case is about: "" is all of them, -x4 four copies, -3 three labels."""
    return next((suffix for suffix in ("-x4", "-3") if case.endswith(suffix)), "")


def link(source: Path, target: Path) -> None:
    """A hard link, which costs no space; a copy where that can't be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def python() -> str:
    return sys.executable


def verger() -> str:
    """The command beside this Python: the one that `make setup` made."""
    return str(Path(sys.executable).with_name("verger"))


def script(name: str) -> str:
    return str(HERE / f"{name}.py")
