"""What a run would cost, from how many images there are and how large they are."""

from __future__ import annotations

import json
from math import ceil

from verger import storage
from verger.catalog import Counts, Plan
from verger.clearance import clear
from verger.cost import Cost
from verger.errors import SettingsError
from verger.fleet import CHART, Fleet
from verger.prices import Prices, Rates
from verger.progress import Show
from verger.reading import REQUESTS
from verger.results import MANIFEST
from verger.s3_requests import Requests, of_executors, of_workers
from verger.settings import Settings
from verger.usage import Held, Usage

DRIVERS = Requests.model(writes=160, reads=80)  # measured as the executors' are (s3_requests)
IMAGE_COST = 1 << 20  # bytes of image whose decoding takes as long as one pass of the network


def estimate(images: int, size: int, fleet: Fleet, prices: Prices, region: str | None) -> Cost:
    """The cost of embedding `images` new images of `size` bytes in all.

    A SettingsError for no image, and for a region without prices.
    """
    if images < 1 or size < 0:
        raise SettingsError(f"{images} images of {size} bytes: nothing to estimate; give how many there are, and bytes")
    counts = Counts(images, images, 0, 0, 0, size, largest=ceil(size / images))
    plan = Plan.of(counts, fleet.slots, None, None)
    took = seconds(images, size, fleet.slots, prices.rates)
    requests = DRIVERS + of_workers(images, images) + of_executors(files=plan.commits * plan.tasks)
    return Cost.of(Usage(tuple(Held(pod, took) for pod in fleet.pods), took, requests), prices, region)


def seconds(images: int, size: int, slots: int, rates: Rates) -> float:
    """From start to end. A slot computes while it waits for S3: the longer of both counts."""
    computing = (images + size / IMAGE_COST) * rates.image.seconds
    waiting = images * rates.request.seconds / REQUESTS
    return rates.start.seconds + max(computing, waiting) / slots


def asked(settings: Settings, count: int, size: int, conf: list[str]) -> Cost:
    """An estimate for a fleet of the chart's sizes, but for the Spark properties `conf` (NAME=VALUE)."""
    for pair in conf:
        if "=" not in pair:
            raise SettingsError(f"--conf {pair}: no NAME=VALUE; write --conf spark.executor.instances=8")
    fleet = Fleet.of(CHART | dict(pair.split("=", 1) for pair in conf))
    return estimate(count, size, fleet, Prices.load(settings.prices), settings.region)


def again(settings: Settings, show: Show) -> Cost:
    """What an earlier run used, by the prices of now; a SettingsError where no run.json tells it."""
    if settings.results is None:
        raise SettingsError("--count is missing; give how many images, or --results of a run that is over")
    location, aws = settings.location("results"), storage.clients(settings)
    clear(settings, aws, show)
    manifest = storage.folder(location, aws).read(MANIFEST)
    if manifest is None:
        raise SettingsError(f"--results {location}: no {MANIFEST} there; give the results of a run that is over")
    told = json.loads(manifest)
    if "cost" not in told:
        raise SettingsError(f"--results {location}: its {MANIFEST} tells no cost, an older Verger wrote it; run again")
    return Cost.of(
        Usage.read(told["cost"]), Prices.load(settings.prices), settings.region or told["cost"].get("region")
    )
