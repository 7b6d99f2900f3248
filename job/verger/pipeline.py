"""The job: what a run looks at before it starts, Spark and the graph side by side, and its end, good or bad."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from verger import meter, network, session, storage
from verger.clearance import clear
from verger.decode import Decoder
from verger.errors import SettingsError, TooManyFailed, VergerError
from verger.executors import guarded
from verger.features import new_embedder, warm
from verger.launch import Launch
from verger.lease import Lease, LocalPlace, Place
from verger.locations import Location
from verger.network import Weights
from verger.progress import Show
from verger.projection import Projection
from verger.reading import reader
from verger.results import LocalResults, Results
from verger.settings import Settings
from verger.steps import Steps
from verger.store import refuse_foreign
from verger.workers import Embedder

if TYPE_CHECKING:
    from verger.aws import Aws


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
        prices = meter.table(self.settings, launch.local)
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
            Lease(self._place(store), launch.name, self.show.say) as lease,
            self._started(launch, decoder) as (spark, embedder, weights),
        ):
            if projection is not None and projection.model != embedder.model:
                raise SettingsError(
                    f"--projection: made from features of model {projection.model}, these images give "
                    f"{embedder.model}; use the weights and the settings of the run that made it"
                )
            results.aside.mkdir(parents=True)
            try:
                with ThreadPoolExecutor() as beside:
                    run = (self.settings, self.aws, self.show, launch, self.began)
                    steps = Steps(*run, spark, embedder, results, lease, prices, beside)
                    manifest = steps.go(images, store, projection)
                manifest |= clearance.plain()
                manifest["weights"] = {"file": str(weights.file) if weights.file else None, "sha256": weights.sha256}
                results.write_manifest(manifest)
                results.publish()
            except BaseException:  # Ctrl-C as well
                if self.aws is not None:
                    self.aws.hurry()
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
            embedder = new_embedder(context, graph, decoder, reader(settings.location("images"), self.aws))
            if launch.local:
                pool.submit(warm, context, embedder)
            spark = SparkSession(context)
            pool.shutdown(wait=False)
        try:
            with guarded(context, settings.executors_within, show, launch.log):
                yield spark, embedder, weights
        finally:
            session.end(spark) if launch.rehearsal else session.stop(spark)

    def _judge(self, manifest: dict[str, Any]) -> None:
        images = manifest["images"]
        allowed = self.settings.failed_allowed(images["listed"])
        if images["failed"] > allowed or images["failed"] == images["listed"]:
            reasons = ", ".join(f"{count} {kind}" for kind, count in manifest["failures"].items())
            raise TooManyFailed(
                f"{images['failed']} of {images['listed']} images failed ({reasons}), --max-failed "
                f"{self.settings.max_failed} allows {allowed}; see {manifest['locations']['results']}/failures.csv"
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
