"""The job: the steps in their order, what runs side by side, and the account that is given of it all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger import mllib, network, reduction, session, storage
from verger.account import account
from verger.catalog import Catalog, Counts, Plan
from verger.clearance import clear
from verger.decode import Decoder
from verger.errors import NothingToDo, SettingsError, TooManyFailed, VergerError
from verger.features import Features, gathering, new_embedder, warm
from verger.launch import Launch
from verger.lease import Lease, LocalPlace, Place
from verger.locations import Location
from verger.network import Weights
from verger.progress import Show
from verger.projection import Projection
from verger.results import PROJECTION, LocalResults, Results
from verger.session import slots
from verger.settings import Settings
from verger.statistics import Statistics
from verger.store import Store, refuse_foreign
from verger.workers import Embedder

if TYPE_CHECKING:
    from verger.aws import Aws

MLLIB = f"{PROJECTION}/pipeline"


@dataclass(frozen=True)
class Outcome:
    """What a run did, for whoever started it."""

    location: Location
    manifest: dict[str, Any]

    @property
    def results(self) -> Path:
        """The results' folder, where it is a local one."""
        return self.location.local


@dataclass
class Run:
    """One run of the job. Usage: Run(settings, show).run()"""

    settings: Settings
    show: Show
    launch: Launch | None = None  # a JVM that is starting already
    began: float = field(default_factory=time.monotonic)

    def run(self) -> Outcome:
        """Features, statistics, projection, results."""
        return self._run(lambda: None)

    def transform(self) -> Outcome:
        """New images through the projection of an earlier run."""
        location = self.settings.location("projection")
        return self._run(lambda: Projection.load(storage.folder(location, self.aws), location))

    def _run(self, earlier: Callable[[], Projection | None]) -> Outcome:
        images, store = self.settings.location("images"), self.settings.location("store")
        launch = self.launch or Launch(self.settings)
        clearance = clear(self.settings, self.aws, self.show)
        if clearance.identity is not None:
            launch.credentials = clearance.identity.provider
        projection = earlier()
        results = self._results(launch)
        refuse_bad_locations(images, store, results, self.aws)
        if (event_log := self.settings.places.get("event_log")) is not None:
            storage.folder(event_log, self.aws).make()  # Spark wants it to be there
        decoder = Decoder(exif=self.settings.exif, max_pixels=self.settings.max_pixels)
        with (
            Lease(self._place(store), launch.name) as lease,
            self._started(launch, decoder) as (spark, embedder, weights),
        ):
            if projection is not None and projection.model != embedder.model:
                raise SettingsError(
                    f"--projection: made from features of model {projection.model}, these images give "
                    f"{embedder.model}; use the weights and the settings of the run that made it"
                )
            results.aside.mkdir(parents=True)
            try:
                steps = Steps(self.settings, self.aws, self.show, launch, self.began, spark, embedder, results, lease)
                manifest = steps.go(images, store, projection)
                manifest |= clearance.plain()
                manifest["weights"] = {"file": str(weights.file) if weights.file else None, "sha256": weights.sha256}
                results.write_manifest(manifest)
                results.publish()
            except BaseException:  # Ctrl-C as well
                with suppress(VergerError):  # what can't be removed now is hidden, and not the error to tell
                    results.discard()
                raise
            results.discard()
        self._judge(manifest)
        return Outcome(results.location, manifest)

    @cached_property
    def aws(self) -> Aws | None:
        return storage.clients(self.settings)

    def _results(self, launch: Launch) -> Results:
        location = self.settings.location("results")
        if location.is_local:
            return LocalResults(location.local, launch.name, self.settings.overwrite)
        from verger.bucket_results import BucketResults

        bucket: Any = storage.folder(location, self.aws)
        scratch = self.settings.scratch_dir / "results" / launch.name
        return BucketResults(location, bucket, launch.name, self.settings.overwrite, scratch)

    def _place(self, store: Location) -> Place:
        if store.is_local:
            return LocalPlace(store.local)
        from verger.bucket_lease import BucketPlace

        bucket: Any = storage.folder(store, self.aws)
        return BucketPlace(bucket)

    @contextmanager
    def _started(self, launch: Launch, decoder: Decoder) -> Iterator[tuple[SparkSession, Embedder, Weights]]:
        """Spark, started while the graph is made or read, and then its workers while the session is made."""
        settings, show, cache = self.settings, self.show, self.settings.cache_dir
        pool = ThreadPoolExecutor(2)
        with show.stage("start"):
            weights = Weights(None) if settings.untrained else Weights.find(settings.weights, cache, show.download)
            starting = pool.submit(session.context, launch)
            try:
                graph = network.prepare(weights, decoder, settings.engine, cache)
            except BaseException:
                if starting.exception() is None:
                    starting.result().stop()
                raise
            context = starting.result()
            embedder = new_embedder(context, graph, decoder)
            if launch.local:
                pool.submit(warm, context, embedder)
            spark = SparkSession(context)
            pool.shutdown(wait=False)
        try:
            yield spark, embedder, weights
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
    aws: Aws | None
    show: Show
    launch: Launch
    began: float
    spark: SparkSession
    embedder: Embedder
    results: Results
    lease: Lease

    def go(self, images: Location, location: Location, projection: Projection | None) -> dict[str, Any]:
        settings, show = self.settings, self.show
        store = Store(self.spark, location, storage.folder(location, self.aws), self.embedder.model)
        known = store.known() if store.exists() else None
        with show.stage("listing"), ThreadPoolExecutor(1) as pool:
            creating = pool.submit(store.create) if known is None else None
            catalog, counts = Catalog.take(self.spark, images, settings.include, known, settings.places.get("manifest"))
            if creating is not None:
                creating.result()
        if counts.listed == 0:
            raise NothingToDo(f"--images {images}: no file matches --include {settings.include!r}; nothing to do")
        show.say(f"{counts.listed:,} images, {counts.new:,} new")
        rows = self._embed(catalog, store, counts, known, to_fit=projection is None)
        with ThreadPoolExecutor(1) as pool:
            failed_rows = rows.where(F.col("status") == "failed") if self._may_have_failed(counts) else None
            writing = pool.submit(self.results.write_failures, failed_rows)
            projected, projection = self._reduce(reduction.embedded(rows), projection)
            failures = writing.result()
        failed = sum(failures.values())
        self._reconcile(counts, projected, failed)
        self.show.seconds["total"] = round(time.monotonic() - self.began, 3)
        name, master = self.launch.name, str(self.spark.sparkContext.master)
        return account(settings, name, master, self.embedder, counts, projected, failures, projection) | {
            "seconds": dict(self.show.seconds),
            "images_per_second": round(counts.listed / self.show.seconds["total"], 1),
        }

    def _embed(
        self, catalog: Catalog, store: Store, counts: Counts, known: DataFrame | None, to_fit: bool
    ) -> DataFrame:
        """Embed what is new; the store's rows of this listing. Workers may gather statistics on the way `to_fit`."""
        settings, counters = self.settings, self.embedder.counters
        others = counts.others
        if counts.new:
            work = Plan.of(counts, slots(self.spark), settings.commit_every, settings.partitions)
            if to_fit and known is None and work.commits * work.tasks <= reduction.PARTIALS:
                self.embedder = gathering(self.embedder, self.spark.sparkContext)
            features = Features(catalog, store, self.embedder, self.launch.name, settings.max_bytes)
            with self.show.stage("features", counts.new, lambda: (counters.done, counters.failed.value)):
                if known is not None:
                    store.forget_passing_failures()
                with ThreadPoolExecutor(1) as pool:
                    if known is None and self.launch.local:
                        pool.submit(reduction.rehearse, store.of(None))
                    features.embed(counts, work, known, self.lease)
                if counters.done != counts.new:
                    features.record_unread()
                    others += 1  # perhaps: an image that changed meanwhile has a row that the listing does not know
                if settings.kms_key is not None:
                    store.assure()
        return store.of(catalog.listing if others else None)

    def _may_have_failed(self, counts: Counts) -> bool:
        """Whether there is a failure to look for: workers count theirs, and what they never saw counts as one."""
        counters = self.embedder.counters
        return counts.failed > 0 or counters.failed.value > 0 or counters.done != counts.new

    def _reduce(self, embedded: DataFrame, projection: Projection | None) -> tuple[int, Projection | None]:
        """Fit a projection, unless there is one, and apply it: how many images that gives, and the projection."""
        statistics = None
        if projection is None:
            with self.show.stage("statistics"):
                statistics = self._gathered() or reduction.statistics(embedded)
                if statistics.n == 0:  # no image has features
                    return 0, None
                projection = Projection.fit(statistics, self.settings.components, self.embedder.model)
        with self.show.stage("results"):
            return self._write(embedded, projection, statistics), projection

    def _gathered(self) -> Statistics | None:
        """The statistics that workers gave while they embedded: a small first run need not read its store for them.

        None unless they are of all rows that were embedded.
        """
        gatherer, counters = self.embedder.gatherer, self.embedder.counters
        complete = gatherer is not None and 0 < gatherer.value.n == counters.embedded.value
        return gatherer.value if gatherer is not None and complete else None

    def _write(self, embedded: DataFrame, projection: Projection, statistics: Statistics | None) -> int:
        """The results, side by side where they don't need each other: how many images there are in them."""
        with ThreadPoolExecutor(1) as pool:
            projection.save(self.results.aside / PROJECTION, statistics)
            saving = pool.submit(mllib.save, self.spark, projection, self.results.spark(MLLIB))
            self.results.write_parquet(reduction.project(embedded, projection))
            projected = self.results.write_csv()
            saving.result()
            return projected

    def _reconcile(self, counts: Counts, projected: int, failed: int) -> None:
        """No image is lost: every listed one has a result or a reason."""
        if counts.listed != projected + failed:
            raise VergerError(
                f"{counts.listed} images were listed, but {projected} have results and {failed} failed: nothing was "
                f"published; run again, and report this with {self.launch.log}"
            )


def refuse_bad_locations(images: Location, store: Location, results: Results, aws: Aws | None) -> None:
    """A SettingsError for locations that can't work together, before anything is started."""
    source = storage.folder(images, aws)
    if images.is_local and not images.local.is_dir():
        raise SettingsError(f"--images {images}: no such folder; give the folder that holds the images")
    if not images.is_local and next(iter(source.names()), None) is None:
        raise SettingsError(f"--images {images}: nothing is there; give the prefix that holds the images")
    for option, place in (("store", store), ("results", results.location)):
        if images.holds(place):
            raise SettingsError(f"--{option} {place}: inside --images, and would be listed as images; put it elsewhere")
    if store.holds(results.location) or results.location.holds(store):
        raise SettingsError(
            f"--results {results.location}: one of --store and --results holds the other; keep them apart"
        )
    refuse_foreign(store, storage.folder(store, aws))
    results.refuse_earlier()
