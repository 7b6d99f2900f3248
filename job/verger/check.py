"""Can a run work here? Each thing that one needs, tried for real, with a tick or the reason why not.

For the platform engineer who lets the job into a cluster: run it first, with the settings, the service account and the
network of the run to come. It writes one small object where a run would write, and deletes it.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from verger import engines, network, parity, storage
from verger.clearance import clear
from verger.decode import Decoder
from verger.engines import Graph
from verger.errors import SettingsError, VergerError
from verger.fleet import GIB, this_machine
from verger.launch import Launch
from verger.locations import HIDDEN
from verger.network import Weights
from verger.progress import Show
from verger.settings import Settings

if TYPE_CHECKING:
    from verger.aws import Aws

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # cgroup 2, 1


@dataclass(frozen=True)
class Finding:
    """What one look found: `error` is None where all is well."""

    name: str
    said: str
    error: VergerError | None = None


@dataclass
class Check:
    """Usage: for finding in Check(settings, show).findings(): ..."""

    settings: Settings
    show: Show
    launch: Launch = field(init=False)

    def __post_init__(self) -> None:
        self.launch = Launch(self.settings)

    def findings(self) -> Iterator[Finding]:
        """Look at everything, in the order of a run; what would touch data waits for clearance."""
        error = None
        try:
            yield from self._clearance()
        except VergerError as refusal:
            error = refusal
            yield Finding("clearance", str(refusal), refusal)
        places = self.settings.places
        looks: list[tuple[str, bool, Callable[[], str]]] = [
            ("read images", "images" in places, self._read),
            *((f"write {name}", name in places, lambda name=name: self._write(name)) for name in ("store", "results")),
            ("weights", True, self._weights),
            ("engine", True, self._engine),
            ("memory", True, self._memory),
            ("spark", True, self._spark),
        ]
        for name, given, look in looks:
            if not given:
                continue
            if error is not None and name.split()[0] in ("read", "write", "spark"):
                yield Finding(name, "not tried: no clearance", error)
            else:
                yield _tried(name, look)

    @cached_property
    def aws(self) -> Aws | None:
        return storage.clients(self.settings)

    def _clearance(self) -> Iterator[Finding]:
        clearance = clear(self.settings, self.aws, self.show)
        if clearance.identity is not None:
            self.launch.credentials = clearance.identity.provider
            yield Finding("identity", f"{clearance.identity.arn} ({clearance.identity.source})")
        for place in clearance.proof.places:
            where = f"in {place.region}, says {place.known_by}" if place.region else f"on {place.known_by}"
            yield Finding("residency", f"{clearance.proof.policy.name}: {place.name} {place.where} {where}")

    def _first(self) -> str:
        """The name of one image."""
        images = self.settings.location("images")
        names = storage.folder(images, self.aws).keys()
        name = next((name for name in names if not re.search(HIDDEN, name) and not name.endswith("/")), None)
        if name is None:
            raise SettingsError(f"--images {images}: nothing is there; give the folder that holds the images")
        return name

    def _read(self) -> str:
        name = self._first()
        content = storage.folder(self.settings.location("images"), self.aws).read(name) or b""
        return f"{name}: {len(content):,} bytes"

    def _write(self, place: str) -> str:
        folder = storage.folder(self.settings.location(place), self.aws)
        name, content = f"_verger_check-{uuid.uuid4().hex[:8]}", os.urandom(16)
        folder.write(name, content)
        try:
            if folder.read(name) != content:
                raise VergerError(f"--{place} {self.settings.location(place)}: what was written can't be read back")
            folder.assure(name)
        finally:
            folder.delete([name])
        encrypted = f", encrypted by {self.settings.kms_key}" if self.settings.kms_key and self.aws else ""
        return f"{self.settings.location(place)}: an object was written, read and deleted{encrypted}"

    @cached_property
    def _found(self) -> Weights:
        if self.settings.untrained:
            return Weights(None)
        return Weights.find(self.settings.weights, self.settings.cache_dir, self.show.download)

    def _weights(self) -> str:
        return f"{self._found.file or 'untrained'}, sha256 {self._found.sha256[:16]}..."

    @cached_property
    def _graph(self) -> Graph:
        return network.prepare(self._found, Decoder(), self.settings.engine, self.settings.cache_dir)

    def _engine(self) -> str:
        graph = self._graph
        engine = engines.build(graph, threads=1)
        difference = parity.check(engine, parity.expected(graph), f"engine {graph.engine}")
        return f"{graph.engine}: off by {difference:.1e} from TensorFlow, {parity.TOLERANCE} is allowed"

    def _memory(self) -> str:
        """What this machine or container has, and what a run here takes."""
        has = memory_limit()
        workers = (os.cpu_count() or 1) if self.launch.local else 0
        needs = this_machine(self.settings.driver_memory, workers).gb
        said = f"{has / GIB:.1f} GiB, a run takes up to {needs:.1f}"
        if has < needs * GIB:
            raise VergerError(f"memory: {said}; give it more, or lower --driver-memory")
        return said

    def _spark(self) -> str:
        """Spark itself, and with --images that its workers, wherever they are, can read and embed one of them."""
        from verger import session

        spark = session.start(self.launch)
        try:
            said = f"Spark {spark.version}, {session.slots(spark)} tasks at a time"
            if "images" not in self.settings.places:
                return said
            from verger.catalog import binary_files
            from verger.executors import guarded
            from verger.features import ROWS, new_embedder
            from verger.reading import reader

            image = self.settings.location("images") / self._first()
            embedder = new_embedder(spark.sparkContext, self._graph, Decoder(), reader(image, self.aws))
            with guarded(spark.sparkContext, self.settings.executors_within, self.show, self.launch.log):
                row = binary_files(spark, image.uri).mapInArrow(embedder, ROWS).first()
            if row is None:
                raise VergerError(f"{image}: a worker could not read it; see {self.launch.log}")
            return f"{said}; a worker read {image}: {row.status}"
        finally:
            session.stop(spark)


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, look())
    except VergerError as error:
        return Finding(name, str(error), error)
    except Exception as error:  # whatever Spark or a disk raises is a reason as well
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return Finding(name, lines[0], VergerError(lines[0]))


def memory_limit() -> int:
    """Bytes that this process may have: its container's limit, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    texts = [Path(file).read_text().strip() for file in LIMITS if Path(file).is_file()]
    return min([machine, *(int(text) for text in texts if text.isdigit())])


def check(settings: Settings, show: Show) -> None:
    """Print what was found, a line each; then the first error is raised, so that its exit code is the command's."""
    console = Console()
    findings = []
    for finding in Check(settings, show).findings():
        findings.append(finding)
        mark, style = ("✓", "green") if finding.error is None else ("✗", "red")
        console.print(Text(f"{mark} {finding.name:<13}", style), Text(finding.said), soft_wrap=True)
    failed = [finding.error for finding in findings if finding.error is not None]
    if failed:
        raise type(failed[0])(f"check: {len(failed)} of {len(findings)} failed; a run would not work here")
