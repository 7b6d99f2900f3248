"""What a run has really used: executors from when Spark added them to when it lost them, and the requests to S3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from verger import s3_requests
from verger.catalog import Counts
from verger.cost import Cost
from verger.executors import recorded
from verger.fleet import Fleet, this_machine
from verger.prices import Prices
from verger.progress import Show
from verger.s3_requests import Requests
from verger.session import slots
from verger.usage import Held, Usage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from verger.aws import Aws
    from verger.launch import Launch
    from verger.settings import Settings


@dataclass(frozen=True)
class Meter:
    """Usage: meter = Meter.start(...), when Spark is there; meter.usage(...) before it stops."""

    settings: Settings
    launch: Launch
    aws: Aws | None
    spark: SparkSession
    began: float  # of the run, by time.monotonic
    earlier: Requests  # of runs before, in the same JVM

    @classmethod
    def start(cls, settings: Settings, launch: Launch, aws: Aws | None, spark: SparkSession, began: float) -> Meter:
        return cls(settings, launch, aws, spark, began, s3_requests.of_jvm(spark, _buckets(settings)))

    def usage(self, counts: Counts, files: int) -> Usage:
        """Until now. `files` of the store were written by executors, if there are any."""
        lasted = time.monotonic() - self.began
        executors = list(self._executors())
        requests = s3_requests.of_jvm(self.spark, _buckets(self.settings)) - self.earlier
        if self.aws is not None:
            requests += self.aws.tally.requests
            if not self.settings.location("images").is_local:
                requests += s3_requests.of_workers(counts.new, 0 if self.settings.manifest else counts.listed)
            if executors:
                requests += s3_requests.of_executors(files)
        if self.launch.local and not executors:
            pod = this_machine(self.settings.driver_memory, slots(self.spark))
            return Usage((Held(pod, lasted),), lasted, requests, local=True)
        fleet = Fleet.of(dict(self.spark.sparkContext.getConf().getAll()))
        held = [Held(fleet.driver, lasted), *(Held(fleet.executor, seconds) for seconds in executors)]
        return Usage(tuple(held), lasted, requests)

    def _executors(self) -> Iterator[float]:
        """The seconds that each executor was there."""
        now = time.time()
        for executor in recorded(self.spark.sparkContext):
            removed = executor.removeTime()
            end = removed.get().getTime() / 1000 if removed.isDefined() else now
            yield max(end - executor.addTime().getTime() / 1000, 0.0)


def priced(usage: Usage, prices: Prices | None, region: str | None, show: Show) -> dict[str, Any]:
    """The `cost` of a run.json. A run is not refused for a region without prices: it says so, and has no money."""
    if prices is None:
        return usage.plain()
    if region not in prices.regions:
        show.say(f"no estimate of cost: no prices for {region}; give a table that has it by --prices")
        return usage.plain()
    return Cost.of(usage, prices, region).plain()


def table(settings: Settings, local: bool) -> Prices | None:
    """The prices of a run: none where nobody asks money for it, as long as none are given."""
    wanted = settings.prices is not None or settings.s3 or (not local and settings.region is not None)
    return Prices.load(settings.prices) if wanted else None


def _buckets(settings: Settings) -> set[str]:
    return {place.path.split("/")[0] for place in settings.places.values() if not place.is_local}
