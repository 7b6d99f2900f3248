"""What a cluster's API server is asked about a release, and what it is told: objects by labels, events, logs."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2
from lightkube import Client
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import PatchType

from verger.errors import Away, SettingsError, VergerError
from verger.kubernetes.pods import COMPONENT, name

PATIENCE = 20.0  # seconds for an answer
SparkApplication: Any = create_namespaced_resource(
    "sparkoperator.k8s.io", "v1beta2", "SparkApplication", "sparkapplications"
)


def connect(context: str | None = None) -> Client:
    """The cluster of a kubeconfig's context, or the one that this pod is in."""
    with asking():
        config = _config(context)
        return Client(config, timeout=httpx2.Timeout(PATIENCE), transport=_transport(config))


def _transport(config: SingleConfig) -> httpx2.HTTPTransport:
    """As lightkube would make it, but certificates are checked as by kubectl: since 3.13, Python refuses those that
    lack what RFC 5280 recommends, and EKS's and many others' authorities do."""
    if config.user is None:
        raise SettingsError(
            f"--context {config.context_name}: the kubeconfig has no user for it; sign in to the cluster"
        )
    trusted = verify_cluster(config.cluster, config.user, config.abs_file)
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    server = httpx2.URL(config.cluster.server)
    proxy = None if proxy_bypass(server.host) else getproxies().get(server.scheme)
    return httpx2.HTTPTransport(verify=trusted, proxy=proxy)


def _config(context: str | None) -> SingleConfig:
    if context is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        return _chosen(KubeConfig.from_service_account(), None)
    files = [Path(file).expanduser() for file in (os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG).split(os.pathsep)]
    configs = [KubeConfig.from_file(file) for file in files if file.is_file()]
    if not configs:
        raise SettingsError(f"{files[0]}: no such kubeconfig; let KUBECONFIG name one, or sign in to the cluster")
    chosen = context or next((config.current_context for config in configs if config.current_context), None)
    for config in configs:
        if chosen in config.contexts:
            return _chosen(config, chosen)
    known = ", ".join(sorted(name for config in configs for name in config.contexts))
    raise SettingsError(f"--context {chosen}: not in the kubeconfig; it has {known or 'none'}")


def _chosen(config: KubeConfig, context: str | None) -> SingleConfig:
    chosen = config.get(context)
    assert chosen is not None  # lightkube: only where a default was given
    return chosen


@contextmanager
def asking() -> Iterator[None]:
    """Whatever goes wrong on the way to the API server, in one line."""
    try:
        yield
    except httpx2.HTTPStatusError as error:  # lightkube's ApiError is one, where the answer is of Kubernetes's own form
        code, said = error.response.status_code, str(error)
        if code == 401:
            raise VergerError("the cluster does not know you: its credentials have expired; sign in again") from error
        if code == 403:
            raise VergerError(f"{said}; have a Role that allows it bound to you") from error
        if code >= 500 or code == 429:
            raise Away(f"the cluster's API server is busy: {said}; try again") from error
        raise VergerError(f"the cluster refuses: {said}; see `kubectl get events`") from error
    except httpx2.TransportError as error:
        raise Away(f"the cluster does not answer: {error}; check the network, the VPN and --context") from error
    except FileNotFoundError as error:  # of a plugin that signs in, such as EKS's `aws`
        raise SettingsError(f"kubeconfig: {error.filename}: no such program; install it, and sign in") from error
    except ConfigError as error:
        raise SettingsError(f"kubeconfig: {error}; sign in to the cluster again") from error


def executors(client: Client, namespace: str, application: str) -> list[Pod]:
    """Those that Spark made for one application, in the order in which they were made."""
    labels: dict[str, Any] = {"spark-app-selector": application, "spark-role": "executor"}
    with asking():
        return sorted(client.list(Pod, namespace=namespace, labels=labels), key=_made)


def _made(pod: Pod) -> tuple[str, str]:
    return str(pod.metadata and pod.metadata.creationTimestamp), name(pod)


@dataclass(frozen=True)
class Release:
    """The objects of one release. Usage: Release(connect(), "default", "fruits").pods()"""

    client: Client
    namespace: str
    name: str

    @property
    def _labels(self) -> dict[str, Any]:
        return {"app.kubernetes.io/name": "verger", "app.kubernetes.io/instance": self.name}

    def job(self) -> Job | None:
        with asking():
            return next(iter(self.client.list(Job, namespace=self.namespace, labels=self._labels)), None)

    def application(self) -> dict[str, Any] | None:
        """The SparkApplication; none where the operator is not installed, or is not ours to see."""
        with asking():
            try:
                found = self.client.list(SparkApplication, namespace=self.namespace, labels=self._labels)
                return next((dict(each) for each in found), None)
            except httpx2.HTTPStatusError as error:
                if error.response.status_code in (403, 404):
                    return None
                raise

    def pods(self) -> list[Pod]:
        """Driver and executors, in the order in which they were made."""
        labels = self._labels | {COMPONENT: ("driver", "executor")}
        with asking():
            return sorted(self.client.list(Pod, namespace=self.namespace, labels=labels), key=_made)

    def events(self, owner: str) -> list[Event]:
        """Those of an object and of the pods that were made for it, which may be gone."""
        with asking():
            events = list(self.client.list(Event, namespace=self.namespace))
        names = [(event, event.involvedObject.name or "") for event in events]
        return [event for event, name in names if name == owner or name.startswith(f"{owner}-")]

    def log(self, pod: str, container: str | None = None, **options: Any) -> Iterator[str]:
        """Lines without their ends; none where the pod has not begun. Options are `Client.log`'s."""
        with asking():
            try:
                yield from self.client.log(
                    pod, namespace=self.namespace, container=container, newlines=False, **options
                )
            except httpx2.HTTPStatusError as error:
                if error.response.status_code not in (400, 404):  # it waits to start, or it is gone
                    raise

    def set_deadline(self, job: str, seconds: int | None) -> None:
        """How long a Job may take, from its start on; None is without end."""
        change = {"spec": {"activeDeadlineSeconds": seconds}}
        with asking():
            self.client.patch(Job, job, change, namespace=self.namespace, patch_type=PatchType.MERGE)
