"""Measure Verger between the notebook and the limit, and say which bars it clears.

Whole processes, one at a time, in rounds: what is compared is measured within minutes, so that a machine that slows
down slows all of it. About half an hour with the notebook on two cores, ten minutes with --quick.

    python benchmarks/run.py --images IMAGES --weights WEIGHTS.h5 [--rounds 3] [--quick] [--only verger limit ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from account import markdown, save, show
from cases import CASES, HERE, LABELS, Bench, Outcome
from measure import BenchmarkError
from rich.console import Console


def main() -> int:
    options = _options()
    wrong = missing(options)
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 130)
    started = f"{datetime.now(UTC):%Y-%m-%dT%H%M}"
    data = options.out / "results" / f"{started}.json"
    outcomes: list[Outcome] = []
    try:
        with tempfile.TemporaryDirectory(prefix="verger-bench-") as folder:
            logs = options.out / "results" / "logs" / started
            bench = Bench(options.images.absolute(), options.weights.absolute(), Path(folder), logs)
            rounds(bench, options, console, outcomes, data)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        if outcomes:
            show(console, outcomes)
            (options.out / "RESULTS.md").write_text(markdown(outcomes, f"results/{data.name}"))
    return 0


def rounds(bench: Bench, options: argparse.Namespace, console: Console, outcomes: list[Outcome], data: Path) -> None:
    """Measure, and keep what there is after each case."""
    with console.status("setting up: images, graphs, a first run"):
        bench.set_up(options.only)
    for number in range(1, options.rounds + 1):
        for case in options.only:
            if number > how_often(case, options):
                continue
            with console.status(f"round {number} of {options.rounds}: {case}"):
                outcomes.append(bench.run(case, number))
            console.print(f"{number}  {case:<10} {outcomes[-1].images:>7,} images {outcomes[-1].seconds:8.1f} s")
            save(data, outcomes)
        bench.end_round()


def how_often(case: str, options: argparse.Namespace) -> int:
    """The reduction has rounds of its own."""
    if case.startswith("notebook"):
        return int(options.notebook_rounds)
    return 1 if case == "reduction" else int(options.rounds)


def missing(options: argparse.Namespace) -> str | None:
    """What can't be done without, in one line."""
    if options.images is None or not options.images.is_dir():
        return f"--images {options.images}: no such folder; give it, or set VERGER_TEST_IMAGES"
    if next(options.images.rglob("*.jpg"), None) is None:
        return f"--images {options.images}: no *.jpg in it; give the folder that holds a folder of images a label"
    absent = [label for label in LABELS if not (options.images / label).is_dir()]
    if absent and any(case.endswith("-3") for case in options.only):
        return (
            f"--images {options.images}: no folder {absent[0]!r} in it; give Fruits-360's Test, or leave out cases -3"
        )
    if options.weights is None or not options.weights.is_file():
        return f"--weights {options.weights}: no such file; give Keras's MobileNetV2 no-top .h5, or set VERGER_WEIGHTS"
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", metavar="DIR", type=Path, default=os.environ.get("VERGER_TEST_IMAGES") or None)
    parser.add_argument("--weights", metavar="FILE", type=Path, default=os.environ.get("VERGER_WEIGHTS") or None)
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--notebook-rounds", metavar="N", type=int, default=1, help="rounds with the notebook in them")
    parser.add_argument("--quick", action="store_true", help="without the notebook")
    parser.add_argument("--only", metavar="CASE", nargs="+", choices=CASES, default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--out", metavar="DIR", type=Path, default=HERE, help="where results/ and RESULTS.md go")
    options = parser.parse_args()
    wanted = set(options.only) | ({"verger"} if "again" in options.only else set())  # a second run needs a first one
    if options.quick:
        wanted -= {"notebook", "notebook-3"}
    options.only = [case for case in CASES if case in wanted]
    options.out = options.out.absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())
