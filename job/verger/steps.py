"""The steps of a run, in the order of the data: listing, features, statistics, results; what can, runs side by side."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger import mllib, reduction, storage
from verger.account import account
from verger.catalog import Catalog, Counts, Plan
from verger.errors import NothingToDo, VergerError
from verger.features import Features, gathering
from verger.launch import Launch
from verger.lease import Lease
from verger.locations import Location
from verger.meter import Meter, priced
from verger.prices import Prices
from verger.progress import Show
from verger.projection import Projection
from verger.results import PROJECTION, Results
from verger.session import slots
from verger.settings import Settings
from verger.statistics import Statistics
from verger.store import Store
from verger.workers import Embedder

if TYPE_CHECKING:
    from verger.aws import Aws

MLLIB = f"{PROJECTION}/pipeline"
LOOK = 0.02  # seconds between two looks at what workers have counted


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
    prices: Prices | None
    beside: ThreadPoolExecutor  # for what runs beside a step, or from one into the next
    files: int = 0  # of the store, written by this run
    early: Future[Projection | None] | None = None  # fitted before the store's last commit is there
    saving: Future[None] | None = None  # of the projection

    def go(self, images: Location, location: Location, projection: Projection | None) -> dict[str, Any]:
        settings, show = self.settings, self.show
        meter = Meter.start(settings, self.launch, self.aws, self.spark, self.began)
        store = Store(self.spark, location, storage.folder(location, self.aws), self.embedder.model)
        known = store.known() if store.exists() else None
        with show.stage("listing"):
            creating = self.beside.submit(store.create) if known is None else None
            manifest = settings.places.get("manifest")
            catalog, counts = Catalog.take(self.spark, images, settings.include, known, manifest, self.aws)
            if creating is not None:
                creating.result()
        if counts.listed == 0:
            raise NothingToDo(f"--images {images}: no file matches --include {settings.include!r}; nothing to do")
        show.say(f"{counts.listed:,} images, {counts.new:,} new")
        rows = self._embed(catalog, store, counts, known, to_fit=projection is None)
        failed_rows = rows.where(F.col("status") == "failed") if self._may_have_failed(counts) else None
        writing = self.beside.submit(self.results.write_failures, failed_rows)
        projected, projection = self._reduce(reduction.embedded(rows), projection)
        failures = writing.result()
        failed = sum(failures.values())
        self._reconcile(counts, projected, failed)
        self.show.seconds["total"] = round(time.monotonic() - self.began, 3)
        name, master = self.launch.name, str(self.spark.sparkContext.master)
        return account(settings, name, master, self.embedder, counts, projected, failures, projection) | {
            "seconds": dict(self.show.seconds),
            "images_per_second": round(counts.listed / self.show.seconds["total"], 1),
            "cost": priced(meter.usage(counts, self.files), self.prices, settings.region, show),
        }

    def _embed(
        self, catalog: Catalog, store: Store, counts: Counts, known: DataFrame | None, to_fit: bool
    ) -> DataFrame:
        """Embed what is new; the store's rows of this listing. Workers may gather statistics on the way `to_fit`."""
        settings, counters = self.settings, self.embedder.counters
        others = counts.others
        if counts.new:
            work = Plan.of(counts, slots(self.spark), settings.commit_every, settings.partitions)
            self.files = work.commits * work.tasks
            small = known is None and self.files <= reduction.PARTIALS
            if to_fit and small:
                self.embedder = gathering(self.embedder, self.spark.sparkContext)
            features = Features(catalog, store, self.embedder, self.launch.name, settings.max_bytes)
            with self.show.stage("features", counts.new, lambda: (counters.done, counters.failed.value)):
                if known is not None:
                    store.forget_passing_failures()
                over = Event()
                if self.embedder.gatherer is not None:
                    self.early = self.beside.submit(self._fit_early, counts.new, over)
                try:
                    features.embed(work, known, self.lease)
                finally:
                    over.set()
                if counters.done != counts.new:
                    features.record_unread()
                    others += 1  # perhaps: an image that changed meanwhile has a row that the listing does not know
                if settings.kms_key is not None:
                    store.assure()
            if small and not others and (made := store.made()) is not None:
                return made
        return store.of(catalog.listing if others else None)

    def _may_have_failed(self, counts: Counts) -> bool:
        """Whether there is a failure to look for: workers count theirs, and what they never saw counts as one."""
        counters = self.embedder.counters
        return counts.failed > 0 or counters.failed.value > 0 or counters.done != counts.new

    def _reduce(self, embedded: DataFrame, projection: Projection | None) -> tuple[int, Projection | None]:
        """Fit a projection, unless there is one, and apply it: how many images that gives, and the projection."""
        if projection is None:
            with self.show.stage("statistics"):
                projection = self.early.result() if self.early is not None else None
                if projection is None:
                    statistics = self._gathered() or reduction.statistics(embedded)
                    if statistics.n == 0:  # no image has features
                        return 0, None
                    projection = self._fit(statistics)
        else:
            self._save(projection, None)
        with self.show.stage("results"):
            self.results.write_parquet(reduction.project(embedded, projection))
            projected = self.results.write_csv()
            if self.saving is not None:
                self.saving.result()
            return projected, projection

    def _fit_early(self, images: int, over: Event) -> Projection | None:
        """Fit as soon as workers have done the last image: the store's commit leaves a core idle.

        None when it is `over` and not all was counted; then the store is read.
        """
        while not over.wait(LOOK):
            if self.embedder.counters.done == images and (statistics := self._gathered()) is not None:
                return self._fit(statistics)
        return None

    def _fit(self, statistics: Statistics) -> Projection:
        projection = Projection.fit(statistics, self.settings.components, self.embedder.model)
        self._save(projection, statistics)
        return projection

    def _save(self, projection: Projection, statistics: Statistics | None) -> None:
        """Begin to save it, with the statistics that it was fitted to; `saving` ends when it is there."""

        def save() -> None:
            projection.save(self.results.aside / PROJECTION, statistics)
            mllib.save(self.spark, projection, self.results.spark(MLLIB))

        self.saving = self.beside.submit(save)

    def _gathered(self) -> Statistics | None:
        """The statistics that workers gave while they embedded: a small first run need not read its store for them.

        None unless they are of all rows that were embedded.
        """
        gatherer, counters = self.embedder.gatherer, self.embedder.counters
        complete = gatherer is not None and 0 < gatherer.value.n == counters.embedded.value
        return gatherer.value if gatherer is not None and complete else None

    def _reconcile(self, counts: Counts, projected: int, failed: int) -> None:
        """No image is lost: every listed one has a result or a reason."""
        if counts.listed != projected + failed:
            raise VergerError(
                f"{counts.listed} images were listed, but {projected} have results and {failed} failed: nothing was "
                f"published; run again, and report this with {self.launch.log}"
            )
