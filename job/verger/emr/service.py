"""What EMR on EKS is asked and told: virtual clusters, job runs, job templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from verger.aws import Aws, code, told
from verger.errors import SettingsError

if TYPE_CHECKING:
    from mypy_boto3_emr_containers import EMRContainersClient

ENDED = ("COMPLETED", "FAILED", "CANCELLED")  # the other states are on the way to one of these
_CLUSTERS = "`aws emr-containers list-virtual-clusters` shows those there are"
_TEMPLATES = "`aws emr-containers list-job-templates` shows those there are"
ID = re.compile(r"[0-9a-z]{25}")  # of a virtual cluster


@dataclass(frozen=True)
class VirtualCluster:
    """`eks` is the name of the EKS cluster that `namespace` is in."""

    id: str
    name: str
    arn: str
    state: str
    eks: str
    namespace: str

    @classmethod
    def read(cls, said: Any) -> VirtualCluster:
        provider = said["containerProvider"]
        namespace = provider.get("info", {}).get("eksInfo", {}).get("namespace", "default")
        return cls(said["id"], said["name"], said["arn"], said["state"], provider["id"], namespace)

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]


@dataclass(frozen=True)
class Emr:
    """EMR on EKS of one region. Usage: Emr(aws).cluster("fruits")"""

    aws: Aws

    @cached_property
    def client(self) -> EMRContainersClient:
        client: EMRContainersClient = self.aws.client("emr-containers")
        return client

    def cluster(self, given: str) -> VirtualCluster:
        """The virtual cluster of an id or a name; a SettingsError where none or several are meant."""
        what = f"--virtual-cluster {given}"
        if ID.fullmatch(given):
            with told(what), known(f"{what}: no such virtual cluster in {self.aws.region}; {_CLUSTERS}"):
                return VirtualCluster.read(self.client.describe_virtual_cluster(id=given)["virtualCluster"])
        with told(what):
            pages = self.client.get_paginator("list_virtual_clusters").paginate()
            clusters = [VirtualCluster.read(each) for page in pages for each in page["virtualClusters"]]
        named = [cluster for cluster in clusters if cluster.name == given]
        found = [cluster for cluster in named if cluster.state == "RUNNING"] or named[-1:]
        if not found:
            there = ", ".join(sorted({each.name for each in clusters if each.state == "RUNNING"})) or "none"
            raise SettingsError(f"{what}: no such virtual cluster in {self.aws.region}; there are: {there}")
        if len(found) > 1:
            ids = ", ".join(sorted(cluster.id for cluster in found))
            raise SettingsError(f"{what}: the name of {len(found)} virtual clusters; give the id of one: {ids}")
        return found[0]

    def start(self, request: dict[str, Any]) -> str:
        """The id of the job run that EMR starts, or has started for the same token."""
        with told("start-job-run"):
            return self.client.start_job_run(**request)["id"]

    def run(self, cluster: str, run: str) -> dict[str, Any]:
        """A job run as EMR describes it; a SettingsError where there is none."""
        missing = f"{run}: no such job run in virtual cluster {cluster}; `verger emr list` shows those there are"
        with told(f"job run {run}"), known(missing):
            return dict(self.client.describe_job_run(id=run, virtualClusterId=cluster)["jobRun"])

    def runs(self, cluster: str, most: int) -> list[dict[str, Any]]:
        """The newest job runs of a virtual cluster, newest first."""
        with told(f"virtual cluster {cluster}"):
            pages = self.client.get_paginator("list_job_runs").paginate(virtualClusterId=cluster)
            found = [dict(run) for page in pages for run in page["jobRuns"]]
        return sorted(found, key=lambda run: str(run.get("createdAt", "")), reverse=True)[:most]

    def cancel(self, cluster: str, run: str) -> None:
        """Ask for a job run's end; a SettingsError where it has ended."""
        state = self.run(cluster, run)["state"]
        if state in ENDED:
            raise SettingsError(f"{run}: {state}, there is nothing to cancel")
        with told(f"job run {run}"):
            self.client.cancel_job_run(id=run, virtualClusterId=cluster)

    def template(self, template: str) -> dict[str, Any]:
        """The data of a job template; a SettingsError where there is none."""
        what = f"--template {template}"
        with told(what), known(f"{what}: no such job template in {self.aws.region}; {_TEMPLATES}"):
            return dict(self.client.describe_job_template(id=template)["jobTemplate"]["jobTemplateData"])

    def register(self, request: dict[str, Any]) -> str:
        """The id of a new job template."""
        with told("create-job-template"):
            return self.client.create_job_template(**request)["id"]


@contextmanager
def known(missing: str) -> Iterator[None]:
    """What a service does not know is the user's to correct: a SettingsError. EMR says so in two ways."""
    try:
        yield
    except ClientError as error:
        if code(error) not in ("ResourceNotFoundException", "ValidationException"):
            raise
        raise SettingsError(missing) from error
