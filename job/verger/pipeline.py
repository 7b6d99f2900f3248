"""The job: the steps in their order, what runs side by side, and the account that is given of it all."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger import __version__, mllib, network, reduction, session
from verger.catalog import Catalog, Counts, plan
from verger.decode import Decoder
from verger.engines import Graph
from verger.errors import NothingToDo, SettingsError, TooManyFailed, VergerError
from verger.features import Features, new_embedder, warm
from verger.lease import Lease
from verger.locations import Location
from verger.network import Weights
from verger.progress import Show
from verger.projection import Projection
from verger.results import PROJECTION, Results
from verger.session import Launch
from verger.settings import Settings
from verger.statistics import Statistics
from verger.store import Store, refuse_foreign
from verger.workers import Counters, Embedder

MLLIB = f"{PROJECTION}/pipeline"


@dataclass(frozen=True)
class Outcome:
    """What a run did, for whoever started it."""

    results: Path
    manifest: dict[str, Any]


@dataclass
class Run:
    """One run of the job. Usage: Run(settings, show).run()"""

    settings: Settings
    show: Show
    launch: Launch | None = None  # a JVM that is starting already
    began: float = field(default_factory=time.monotonic)

    def run(self) -> Outcome:
        """Features, statistics, projection, results."""
        return self._run(None)

    def transform(self) -> Outcome:
        """New images through the projection of an earlier run."""
        return self._run(Projection.load(self.settings.location("projection").local))

    def _run(self, projection: Projection | None) -> Outcome:
        images, store = self.settings.location("images"), self.settings.location("store")
        launch = self.launch or Launch(self.settings)
        results = Results(self.settings.location("results").local, launch.name, self.settings.overwrite)
        refuse_bad_locations(images, store, results)
        decoder = Decoder(exif=self.settings.exif, max_pixels=self.settings.max_pixels)
        with Lease(store.local, launch.name) as lease, self._started(launch, decoder) as (spark, graph, weights):
            if projection is not None and projection.model != graph.model:
                raise SettingsError(
                    f"--projection: made from features of model {projection.model}, these images give {graph.model}; "
                    "use the weights and the settings of the run that made it"
                )
            results.aside.mkdir(parents=True)
            try:
                steps = Steps(self.settings, self.show, launch, self.began, spark, graph, decoder, results, lease)
                manifest = steps.go(images, store, projection)
                manifest["weights"] = {"file": str(weights.file) if weights.file else None, "sha256": weights.sha256}
                results.write_manifest(manifest)
                results.publish()
            finally:
                results.discard()
        self._judge(manifest)
        return Outcome(results.folder, manifest)

    @contextmanager
    def _started(self, launch: Launch, decoder: Decoder) -> Iterator[tuple[SparkSession, Graph, Weights]]:
        """Spark, started while the graph is made or read."""
        settings = self.settings
        with self.show.stage("start"), ThreadPoolExecutor(1) as pool:
            cache = settings.cache_dir
            weights = Weights(None) if settings.untrained else Weights.find(settings.weights, cache, self.show.download)
            starting = pool.submit(launch.session)
            try:
                graph = network.prepare(weights, decoder, settings.engine, cache)
            except BaseException:
                if starting.exception() is None:
                    starting.result().stop()
                raise
            spark = starting.result()
        try:
            yield spark, graph, weights
        finally:
            session.end(spark) if launch.rehearsal else spark.stop()

    def _judge(self, manifest: dict[str, Any]) -> None:
        images = manifest["images"]
        allowed = self.settings.failed_allowed(images["listed"])
        if images["failed"] > allowed or images["failed"] == images["listed"]:
            reasons = ", ".join(f"{count} {kind}" for kind, count in manifest["failures"].items())
            raise TooManyFailed(
                f"{images['failed']} of {images['listed']} images failed ({reasons}), --max-failed "
                f"{self.settings.max_failed} allows {allowed}; see {manifest['locations']['results']}/failures.csv"
            )


@dataclass
class Steps:
    """The steps of a run, once Spark and the graph are there."""

    settings: Settings
    show: Show
    launch: Launch
    began: float
    spark: SparkSession
    graph: Graph
    decoder: Decoder
    results: Results
    lease: Lease

    def go(self, images: Location, location: Location, projection: Projection | None) -> dict[str, Any]:
        settings, show = self.settings, self.show
        store = Store(self.spark, location, self.graph.model)
        known = store.known() if store.exists() else None
        embedder = new_embedder(self.spark, self.graph, self.decoder)
        with show.stage("listing"), ThreadPoolExecutor(1) as pool:
            if known is None and settings.master.startswith("local"):
                pool.submit(warm, self.spark, embedder)
            catalog, counts = Catalog.take(self.spark, images, settings.include, known)
        if counts.listed == 0:
            raise NothingToDo(f"--images {images}: no file matches --include {settings.include!r}; nothing to do")
        show.say(f"{counts.listed:,} images, {counts.new:,} new")
        rows = self._embed(catalog, store, counts, known, embedder)
        embedded = reduction.embedded(rows)
        statistics = None
        if projection is None:
            with show.stage("statistics"):
                statistics = reduction.statistics(embedded)
        with show.stage("results"):
            if statistics is not None and statistics.n > 0:
                projection = Projection.fit(statistics, settings.components, self.graph.model)
            failures, projected = self._write(rows, embedded, projection, statistics)
        failed = sum(failures.values())
        self._reconcile(counts, projected, failed)
        return self._manifest(counts, embedder.counters, failures, projected, projection, location)

    def _embed(
        self, catalog: Catalog, store: Store, counts: Counts, known: DataFrame | None, embedder: Embedder
    ) -> DataFrame:
        """Embed what is new; the store's rows of this listing."""
        settings, counters = self.settings, embedder.counters
        others = counts.others
        if counts.new:
            work = plan(self.spark, counts, settings.commit_every, settings.partitions)
            features = Features(catalog, store, embedder, self.launch.name, settings.max_bytes)
            with self.show.stage("features", counts.new, lambda: (counters.done, counters.failed.value)):
                if known is not None:
                    store.forget_passing_failures()
                features.embed(counts, work, known, self.lease)
                if counters.done != counts.new:
                    features.record_unread()
                    others += 1  # perhaps: an image that changed meanwhile has a row that the listing does not know
        return store.of(catalog.listing if others else None)

    def _write(
        self, rows: DataFrame, embedded: DataFrame, projection: Projection | None, statistics: Statistics | None
    ) -> tuple[dict[str, int], int]:
        """The results, side by side where they don't need each other: failures by kind, and images projected."""
        with ThreadPoolExecutor(2) as pool:
            failures = pool.submit(self.results.write_failures, rows.where(F.col("status") == "failed"))
            if projection is None:  # no image has features
                return failures.result(), 0
            projection.save(self.results.aside / PROJECTION, statistics)
            saving = pool.submit(mllib.save, self.spark, projection, self.results.location(MLLIB))
            self.results.write_parquet(reduction.project(embedded, projection))
            projected = self.results.write_csv()
            saving.result()
            return failures.result(), projected

    def _reconcile(self, counts: Counts, projected: int, failed: int) -> None:
        """No image is lost: every listed one has a result or a reason."""
        if counts.listed != projected + failed:
            raise VergerError(
                f"{counts.listed} images were listed, but {projected} have results and {failed} failed: nothing was "
                f"published; run again, and report this with {self.launch.log}"
            )

    def _manifest(
        self,
        counts: Counts,
        counters: Counters,
        failures: dict[str, int],
        projected: int,
        projection: Projection | None,
        store: Location,
    ) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        failed = sum(failures.values())
        settings = self.settings
        return {
            "run": self.launch.name,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "images": {
                "listed": counts.listed,
                "embedded": projected - counts.embedded,
                "reused": counts.embedded,
                "failed": failed,
            },
            "failures": failures,
            "work": {"files_read": counters.read.value, "images_embedded": counters.embedded.value},
            "engine": self.graph.engine,
            "model": self.graph.model,
            "explained_variance": None
            if projection is None
            else {"sum": float(projection.explained.sum()), "components": projection.explained.tolist()},
            "seconds": {**self.show.seconds, "total": round(seconds, 3)},
            "images_per_second": round(counts.listed / seconds, 1),
            "locations": {
                "images": str(settings.location("images")),
                "store": str(store),
                "results": str(settings.location("results")),
            },
            "settings": settings.model_dump(mode="json"),
            "versions": {
                "verger": __version__,
                "python": platform.python_version(),
                "spark": self.spark.version,
                **{name: version(name) for name in ("numpy", "pillow", "simplejpeg", "openvino", "pyarrow")},
            },
        }


def refuse_bad_locations(images: Location, store: Location, results: Results) -> None:
    """A SettingsError for locations that can't work together, before anything is started."""
    if not images.local.is_dir():
        raise SettingsError(f"--images {images}: no such folder; give the folder that holds the images")
    for option, folder in (("store", store.local), ("results", results.folder)):
        if folder.is_relative_to(images.local):
            raise SettingsError(
                f"--{option} {folder}: inside --images, and would be listed as images; put it elsewhere"
            )
    if store.local.is_relative_to(results.folder) or results.folder.is_relative_to(store.local):
        raise SettingsError(
            f"--results {results.folder}: one of --store and --results holds the other; keep them apart"
        )
    refuse_foreign(store)
    results.refuse_earlier()
