"""What the pods of a job run printed, where EMR's monitoring has put it: in CloudWatch, or in a bucket.

Both have the same names, below the virtual cluster's and the job run's ids: `spark-ID/spark-ID-driver/stderr`, and
`ID-xxxxx/stderr` of the pod that ran spark-submit; in the bucket as .gz, which EMR writes again as they grow.
https://docs.aws.amazon.com/emr/latest/EMR-on-EKS-DevelopmentGuide/emr-eks-jobs-s3.html
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from verger.aws import Aws, told
from verger.buckets import BucketFolder
from verger.emr.service import known
from verger.locations import Location

OUTPUTS = ("stderr", "stdout")  # a run tells its progress by the first, and its account by the second


class Store(Protocol):
    """Where logs are."""

    def names(self) -> list[str]: ...

    def new(self, name: str) -> list[str]:
        """The lines that a log has got since it was asked for last."""
        ...


@dataclass
class CloudWatch:
    """`prefix` is of the names of the job run's streams."""

    aws: Aws
    group: str
    prefix: str
    tokens: dict[str, str] = field(default_factory=dict)

    @cached_property
    def client(self) -> Any:
        return self.aws.client("logs")

    def names(self) -> list[str]:
        with told(f"log group {self.group}"), known(f"log group {self.group}: not there; correct it"):
            pages = self.client.get_paginator("describe_log_streams").paginate(
                logGroupName=self.group, logStreamNamePrefix=self.prefix
            )
            streams = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        return [stream.removeprefix(self.prefix) for stream in streams]

    def new(self, name: str) -> list[str]:
        lines: list[str] = []
        stream = {"logGroupName": self.group, "logStreamName": self.prefix + name, "startFromHead": True}
        while True:
            before = self.tokens.get(name)
            with told(f"log group {self.group}"):
                page = self.client.get_log_events(**stream, **({"nextToken": before} if before else {}))
            self.tokens[name] = page["nextForwardToken"]
            lines += [line for event in page["events"] for line in event["message"].splitlines()]
            if page["nextForwardToken"] == before:  # CloudWatch's way to say that there is no more
                return lines


@dataclass
class Bucket:
    """`folder` is the job run's."""

    folder: BucketFolder
    seen: dict[str, int] = field(default_factory=dict)

    def names(self) -> list[str]:
        objects = list(self.folder.keys())
        return [name.removesuffix(".gz") for name in objects if name.endswith(".gz")]

    def new(self, name: str) -> list[str]:
        content = self.folder.read(f"{name}.gz")
        lines = gzip.decompress(content).decode(errors="replace").splitlines() if content else []
        before, self.seen[name] = self.seen.get(name, 0), len(lines)
        return lines[before:]


@dataclass(frozen=True)
class Logs:
    """The logs of one job run."""

    id: str
    store: Store

    @classmethod
    def of(cls, run: dict[str, Any], aws: Aws) -> Logs | None:
        """As the job run itself says where they are; None where it has none. CloudWatch has them sooner."""
        found = run.get("configurationOverrides", {}).get("monitoringConfiguration", {})
        below = f"{run['virtualClusterId']}/jobs/{run['id']}/containers/"
        if (watch := found.get("cloudWatchMonitoringConfiguration")) is not None:
            prefix = f"{watch['logStreamNamePrefix']}/" if watch.get("logStreamNamePrefix") else ""
            return cls(run["id"], CloudWatch(aws, watch["logGroupName"], prefix + below))
        if (bucket := found.get("s3MonitoringConfiguration")) is not None:
            place = Location.parse(bucket["logUri"]) / below.rstrip("/")
            return cls(run["id"], Bucket(BucketFolder.of(place, aws)))
        return None

    def driver(self) -> Iterator[str]:
        """What the driver has printed since it was asked for last."""
        return self._of(rf"spark-{self.id}/[^/]+-driver")

    def executor(self, number: int) -> Iterator[str]:
        """The same of an executor."""
        return self._of(rf"spark-{self.id}/[^/]+-exec-{number}")

    def submitter(self) -> Iterator[str]:
        """The same of the pod that ran spark-submit."""
        return self._of(rf"{self.id}-[^/]+")

    def _of(self, pod: str) -> Iterator[str]:
        names = self.store.names()
        for output in OUTPUTS:
            for name in names:
                if re.fullmatch(f"{pod}/{output}", name):
                    yield from self.store.new(name)
