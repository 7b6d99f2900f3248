"""What is looked at before EMR is asked for anything: that it may be, and that it can work.

What AWS does not let this user see is not checked, and said; but for residency, where that is a refusal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from verger import residency
from verger.aws import DENIED, Aws, code, told
from verger.emr import image, properties
from verger.emr.options import Options
from verger.emr.service import Emr, VirtualCluster
from verger.emr.trust import Pods, mistrusted
from verger.errors import SettingsError, VergerError
from verger.identity import identify
from verger.locations import Location
from verger.residency import Place, Policy
from verger.settings import Settings


@dataclass
class Checks:
    """`notes` is what the user has to know, a line each: a policy that is not the default, and what was not checked."""

    settings: Settings
    options: Options
    aws: Aws
    notes: list[str] = field(default_factory=list)

    def alone(self) -> Policy:
        """What settings alone can tell; nobody is asked."""
        if self.options.execution_role is None:
            raise SettingsError("--execution-role is missing; give the ARN of the role that the run's pods take")
        for name, place in {**self.settings.places, **self._more()}.items():
            if place.is_local:
                raise SettingsError(
                    f"--{name.replace('_', '-')} {place}: a folder of this machine, which EMR's pods don't have; give "
                    "s3://bucket/prefix"
                )
        policy = Policy.of(self.settings)
        self.notes += [policy.warning] if policy.warning else []
        residency.known(self.settings, policy)
        image.agree(self.settings, self.options)
        properties.admit(self.options.spark_conf)
        return policy

    def asked(self, policy: Policy, cluster: VirtualCluster | None) -> None:
        """What AWS tells of places, image, logs and role; without a cluster, the role is only looked for."""
        for _ in residency.asked(self.settings, self.aws, policy, self._more()):
            pass
        with self._if_allowed():
            if note := image.find(str(self.settings.container_image), self.aws):
                self.notes.append(note)
        with self._if_allowed():
            self._log_group()
        self._role(cluster)

    def identify(self) -> None:
        identify(self.aws, self.settings.allow_static_keys)

    def _more(self) -> dict[str, Location]:
        """Places beside a run's own."""
        names = ("log_uri", "driver_template", "executor_template")
        given = {name: getattr(self.options, name) for name in names}
        if self.options.entry_point.startswith("s3"):
            given["entry_point"] = self.options.entry_point
        return {name: Location.parse(text) for name, text in given.items() if text is not None}

    def _log_group(self) -> None:
        group = self.options.log_group
        if group is None:
            return
        with told(f"--log-group {group}"):
            pages = self.aws.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=group)
            there = any(each["logGroupName"] == group for page in pages for each in page["logGroups"])
        if not there:
            raise SettingsError(
                f"--log-group {group}: no such log group in {self.aws.region}, where the virtual cluster is; make it: "
                f"`aws logs create-log-group --log-group-name {group}`"
            )

    def _role(self, cluster: VirtualCluster | None) -> None:
        arn = str(self.options.execution_role)
        if cluster is not None and (account := arn.split(":")[4]) != (own := cluster.arn.split(":")[4]):
            raise SettingsError(
                f"--execution-role {arn}: of account {account}, the virtual cluster is of {own}; give a role of {own}"
            )
        with self._if_allowed():
            document = self._trust_policy(arn)
            if cluster is not None:
                self._trusts(arn, document, cluster)

    def _trusts(self, arn: str, document: dict[str, Any], cluster: VirtualCluster) -> None:
        """That the trust policy names the accounts of this cluster's job runs."""
        name = arn.rpartition("/")[2]
        pods = Pods(cluster.namespace, arn.split(":")[4], self._issuer(cluster))
        if (subject := mistrusted(document, pods, name)) is not None:
            raise SettingsError(
                f"--execution-role {arn}: its trust policy does not let {subject} take it; `aws emr-containers "
                f"update-role-trust-policy --cluster-name {cluster.eks} --namespace {cluster.namespace} --role-name "
                f"{name}` mends it"
            )

    def _trust_policy(self, arn: str) -> dict[str, Any]:
        name = arn.rpartition("/")[2]
        with told(f"--execution-role {arn}"):
            try:
                return dict(self.aws.client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
            except ClientError as error:
                if code(error) != "NoSuchEntity":
                    raise
                raise SettingsError(f"--execution-role {arn}: no such role; correct it, or make it") from error

    def _issuer(self, cluster: VirtualCluster) -> str | None:
        with self._if_allowed(), told(f"EKS cluster {cluster.eks}"):
            found = self.aws.client("eks").describe_cluster(name=cluster.eks)["cluster"]
            return str(found["identity"]["oidc"]["issuer"]).removeprefix("https://")
        return None

    @contextmanager
    def _if_allowed(self) -> Iterator[None]:
        try:
            yield
        except VergerError as error:
            if not isinstance(error.__cause__, ClientError) or code(error.__cause__) not in DENIED:
                raise
            self.notes.append(f"not checked: {error}")


def cluster_of(emr: Emr, options: Options, policy: Policy) -> VirtualCluster:
    """The virtual cluster, where the policy admits it and it takes job runs."""
    if options.virtual_cluster is None:
        raise SettingsError("--virtual-cluster is missing; give its id or name")
    cluster = emr.cluster(options.virtual_cluster)
    policy.admit(Place("--virtual-cluster", options.virtual_cluster, cluster.region, "its ARN"))
    if cluster.state != "RUNNING":
        raise SettingsError(
            f"--virtual-cluster {options.virtual_cluster}: {cluster.state}, and only one that is RUNNING takes job "
            "runs; give another"
        )
    return cluster


def with_log_group(options: Options, settings: Settings, policy: Policy) -> Options:
    """The options with the log group's name, where its ARN was given, which tells its region."""
    group = options.log_group
    if group is None or not group.startswith("arn:"):
        return options
    parts = group.split(":")
    if len(parts) < 7 or parts[2] != "logs":
        raise SettingsError(f"--log-group {group}: not the ARN of a log group; give its name")
    policy.admit(Place("--log-group", group, parts[3], "its ARN"))
    if parts[3] != settings.region:
        raise SettingsError(
            f"--log-group {group}: in {parts[3]}, not in {settings.region}; EMR writes to log groups of its own "
            f"region: give one in {settings.region}"
        )
    return options.model_copy(update={"log_group": parts[6]})
