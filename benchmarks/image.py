"""Measure a container image: the size of each layer, and how long driver, executor and a first image take.

Prints the tables of docs/image.md. Take an idle machine; after the first round the image's files are in the page cache.

    python benchmarks/image.py [--image verger] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from measure import BenchmarkError
from verger import drawing

# What a pod of Kubernetes' restricted profile has: as in tests/test_image.py.
RESTRICTED = (
    "--read-only", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--tmpfs", "/tmp:exec", "--tmpfs", "/work",
)  # fmt: skip
SESSION = 'from pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate()\nprint("session ready")\n'
NOBODY = {  # an executor's environment, with a driver that is not there
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_DRIVER_URL": "spark://driver@127.0.0.1:9",
    "SPARK_EXECUTOR_POD_IP": "127.0.0.1",
    "SPARK_EXECUTOR_POD_NAME": "pod",
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_ID": "1",
    "SPARK_APPLICATION_ID": "app",
    "SPARK_RESOURCE_PROFILE_ID": "0",
}
CHUNK = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", metavar="NAME", default="verger")
    parser.add_argument("--rounds", metavar="N", type=int, default=5)
    options = parser.parse_args()
    try:
        commit = told("git", "describe", "--always", "--dirty")
        print(f"Measured {datetime.now(UTC):%Y-%m-%d}, commit {commit}.\n")
        print("| from `docker run` to | least | median | most |\n|---|---|---|---|")
        for what, seconds in times(options.image, options.rounds).items():
            print(f"| {what} | {min(seconds):.1f} s | {statistics.median(seconds):.1f} s | {max(seconds):.1f} s |")
        print("\n| layer | MB | compressed |\n|---|---|---|")
        rows = layers(options.image)
        for what, size, compressed in [*rows, ("all", sum(row[1] for row in rows), sum(row[2] for row in rows))]:
            print(f"| {what} | {size / 1e6:.1f} | {compressed / 1e6:.1f} |")
    except (BenchmarkError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def times(image: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round."""
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="verger-image-") as name:
        given = Path(name)
        given.chmod(0o755)
        drawing.orchard(given / "images", 2)
        (given / "session.py").write_text(SESSION)
        for _ in range(rounds):
            for what, seconds in one_round(image, given).items():
                measured.setdefault(what, []).append(seconds)
    return measured


def one_round(image: str, given: Path) -> dict[str, float]:
    mounted = ("-v", f"{given}:/given:ro")
    nobody = [word for key, value in NOBODY.items() for word in ("-e", f"{key}={value}")]
    submitted = ("--master", "local[2]", "--conf", "spark.driver.host=127.0.0.1", "/given/session.py")
    run = ("--images", "/given/images", "--store", "/tmp/store", "--results", "/tmp/results", "--components", "3")
    return {
        "a driver's Spark session": until(
            r"^session ready$", image, *mounted, "-e", "SPARK_DRIVER_BIND_ADDRESS=127.0.0.1",
            "-e", "SPARK_LOCAL_IP=127.0.0.1", words=("driver", *submitted),
        ),
        "an executor's call to its driver": until(
            r"Connection refused: /127\.0\.0\.1:9", image, *nobody, words=("executor",)
        ),
        # The line at the end of the step: the first of the sixteen was embedded before.
        "16 embedded images (`verger run`)": until(
            r"^features .* 16 of 16 images", image, *mounted, words=("verger", "run", *run)
        ),
    }  # fmt: skip


def until(pattern: str, image: str, *given: str, words: tuple[str, ...]) -> float:
    """Seconds from `docker run` to the first line that matches; the container then ends by itself."""
    command = ["docker", "run", "--rm", *RESTRICTED, *given, image, *words]
    began = time.perf_counter()
    found: float | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found is None and re.search(pattern, line):
                found = time.perf_counter() - began
    if found is None:
        raise BenchmarkError(f"{' '.join(command)}: no line of its output matches {pattern!r}")
    return found


def layers(image: str) -> list[tuple[str, int, int]]:
    """What made each layer that is not empty, its bytes, and its bytes as registries keep them."""
    sizes: dict[str, tuple[int, int]] = {}
    told_of: dict[str, bytes] = {}
    with (
        subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            if member.name.endswith("layer.tar"):
                sizes[member.name] = (member.size, compressed_size(file))
            elif member.name.endswith(".json"):
                told_of[member.name] = file.read()
    manifest = json.loads(told_of["manifest.json"])[0]
    history = json.loads(told_of[manifest["Config"]])["history"]
    made_by = [step.get("created_by", "base") for step in history if not step.get("empty_layer")]
    return [
        (" ".join(words.split())[:70].replace("|", "\\|") or "base", *sizes[name])
        for words, name in zip(made_by, manifest["Layers"], strict=True)
    ]


def compressed_size(file: IO[bytes]) -> int:
    """As `gzip` makes it."""
    squeeze = zlib.compressobj(6)
    size = sum(len(squeeze.compress(chunk)) for chunk in iter(lambda: file.read(CHUNK), b""))
    return size + len(squeeze.flush())


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
