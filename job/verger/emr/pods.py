"""Pod templates: those that are files of this machine go where EMR reads them, below the log URI.

https://docs.aws.amazon.com/emr/latest/EMR-on-EKS-DevelopmentGuide/pod-templates.html
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from verger.aws import Aws
from verger.buckets import BucketFolder
from verger.emr.options import Options
from verger.errors import SettingsError
from verger.locations import Location

CONTAINERS = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}  # Spark's own names
FOLDER = "pod-templates"


@dataclass(frozen=True)
class Upload:
    """A file of this machine and the object that it becomes: its name is of its content, so that runs can't differ."""

    content: bytes
    target: Location

    def put(self, aws: Aws) -> None:
        folder, _, name = self.target.path.rpartition("/")
        BucketFolder.of(Location(self.target.scheme, folder), aws).write(name, self.content)


def placed(options: Options) -> tuple[Options, list[Upload]]:
    """The options with templates that EMR can read, and what has to be uploaded for that."""
    found: dict[str, str] = {}
    uploads: list[Upload] = []
    for pod, container in CONTAINERS.items():
        name = f"{pod}_template"
        given: str | None = getattr(options, name)
        if given is None:
            continue
        place = Location.parse(given)
        if place.is_local:
            upload = _upload(f"--{pod}-template {given}", place.local, container, options)
            place, uploads = upload.target, [*uploads, upload]
        found[name] = str(place)
    return options.model_copy(update=found), uploads


def _upload(what: str, file: Path, container: str, options: Options) -> Upload:
    content = _checked(what, file, container)
    if options.log_uri is None:
        raise SettingsError(f"{what}: a file of this machine, to be put below --log-uri; give that, or s3://")
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.yaml"
    return Upload(content, Location.parse(options.log_uri) / FOLDER / name)


def _checked(what: str, file: Path, container: str) -> bytes:
    """The file's content, if it is a Pod whose container Spark finds."""
    try:
        content = file.read_bytes()
        pod = yaml.safe_load(content)
    except OSError as error:
        raise SettingsError(f"{what}: {error.strerror}; give a readable file") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{what}: not YAML ({' '.join(str(error).split())}); give a Pod") from error
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        raise SettingsError(f"{what}: not a Pod; write apiVersion: v1, kind: Pod, spec: ...")
    names = [str(each.get("name")) for each in (pod.get("spec") or {}).get("containers") or []]
    if names and container not in names:
        raise SettingsError(f"{what}: has the containers {', '.join(names)}; Spark's own must be named {container}")
    return content
