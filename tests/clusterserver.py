"""The S3 server of k8s/s3, with its IAM and STS, in the cluster of kubectl's context.

Pods reach it by its service, the tests by ports that kubectl forwards: nothing but kubectl is needed, in any cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.s3server import KEYS, REGION, S3, Process, free_port
from tests.templates import filled
from tests.webidentity import kubectl, new_namespace

# The image of k8s/s3/Dockerfile, by the name that the cluster's nodes have it by.
S3_IMAGE = os.environ.get("VERGER_TEST_S3_IMAGE", "")
PORTS = {"s3": 7070, "iam": 7076}
LOG = Path("/tmp/access.log")


@dataclass
class ClusterS3(S3):
    """A server in a namespace of its own; `server` and `iam` are the ways to it from here."""

    namespace: str
    _read: list[str] = field(default_factory=list)

    def inside(self, name: str) -> str:
        """The URL of `s3` or `iam` for pods."""
        return f"http://s3.{self.namespace}.svc:{PORTS[name]}"

    def accesses(self) -> str:
        """The access log, of which only what is new is fetched."""
        known = sum(len(part.encode()) for part in self._read)
        command = ["exec", "deployment/s3", "-c", "s3", "--", "tail", "-c", f"+{known + 1}", str(self.log)]
        self._read.append(kubectl("-n", self.namespace, *command))
        return "".join(self._read)


@contextmanager
def serving(folder: Path, region: str = REGION) -> Iterator[ClusterS3]:
    with new_namespace("s3") as namespace:
        root = [f"--from-literal={name}={value}" for name, value in KEYS.items()]
        kubectl("-n", namespace, "create", "secret", "generic", "s3-root", *root)
        try:
            command = ["kubectl", "apply", "-f", "-"]
            subprocess.run(command, input=_manifests(namespace, region), text=True, capture_output=True, check=True)
            kubectl("-n", namespace, "rollout", "status", "deployment/s3", "--timeout=120s")
            with forwarded(folder, namespace) as ways:
                yield ClusterS3(ways["s3"], ways["iam"], region, _issuer(), LOG, namespace)
        finally:
            kubectl("delete", "clusterrolebinding", f"{namespace}-reads-the-issuer", "--ignore-not-found")


def _manifests(namespace: str, region: str) -> str:
    """Those of a try-out, but for the log of what is asked for."""
    text = filled("s3/server.yaml", S3_NAMESPACE=namespace, S3_IMAGE=S3_IMAGE, REGION=region)
    deployment, *others = yaml.safe_load_all(text)
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    at = arguments.index("posix")
    arguments[at:at] = ["--access-log", str(LOG)]
    made: str = yaml.safe_dump_all([deployment, *others])
    return made


@contextmanager
def forwarded(folder: Path, namespace: str) -> Iterator[dict[str, Process]]:
    """Ports of this machine that lead to a server's."""
    with ExitStack() as stack:
        ways = {}
        for name, port in PORTS.items():
            here = free_port()
            command = ["kubectl", "-n", namespace, "port-forward", "service/s3", f"{here}:{port}"]
            ways[name] = Process("127.0.0.1", here, command, folder / f"forward-{here}.txt")
            ways[name].start()
            stack.callback(ways[name].kill)
        yield ways


def _issuer() -> str:
    """The issuer of the cluster's service accounts' tokens."""
    found: dict[str, Any] = json.loads(kubectl("get", "--raw", "/.well-known/openid-configuration"))
    return str(found["issuer"])
