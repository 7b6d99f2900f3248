"""The image of a run on EMR: in the run's region, in its registry, and with the entry point in it."""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from verger.aws import Aws, code, told
from verger.emr.options import Options
from verger.errors import SettingsError
from verger.residency import ECR
from verger.settings import Settings

_NAME = re.compile(r"[^/]+/(?P<repository>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>.+))?")
_EMRS_OWN = re.compile(r"(^public\.ecr\.aws/emr-on-eks/|/spark/emr-)")
_MISSING = ("ImageNotFoundException", "RepositoryNotFoundException")


def agree(settings: Settings, options: Options) -> None:
    """A SettingsError where the image can't have what EMR is to start, or is in another region than the run."""
    image, entry = settings.container_image, options.entry_point
    if image is None:
        raise SettingsError("--container-image is missing; give the one that `make image TARGET=emr` made, in ECR")
    if not re.match(r"local:///.|s3a?://.", entry):
        raise SettingsError(f"--entry-point {entry}: neither in the image nor in a bucket; write local:///... or s3://")
    if entry.startswith("local:") and _EMRS_OWN.search(image):
        raise SettingsError(
            f"--container-image {image}: EMR's own, which has no {entry}; give the one that `make image TARGET=emr` "
            "makes on it"
        )
    if (ecr := ECR.match(image)) and ecr["region"] != settings.region:
        raise SettingsError(
            f"--container-image {image}: in {ecr['region']}, not in {settings.region}; a run stays in one region: push "
            f"it to ECR in {settings.region}"
        )


def pinned(settings: Settings) -> None:
    """A SettingsError for an image that may be another tomorrow."""
    found = _NAME.fullmatch(settings.container_image or "")
    if found is None or (found["digest"] is None and found["tag"] in (None, "latest")):
        raise SettingsError(
            f"--container-image {settings.container_image}: not pinned, and a template is for long; name it by its "
            "digest (@sha256:...), or a tag that is not latest"
        )


def find(image: str, aws: Aws) -> str | None:
    """Ask ECR for the image; a SettingsError where it is not there. Gives what could not be told, of others' images."""
    ecr, name = ECR.match(image), _NAME.fullmatch(image)
    if ecr is None or name is None:
        return f"--container-image {image}: not in ECR, so that nobody here can tell where it is or whether it is there"
    wanted = {"imageDigest": name["digest"]} if name["digest"] else {"imageTag": name["tag"] or "latest"}
    what = f"--container-image {image}"
    with told(what):
        try:
            aws.client("ecr").describe_images(
                registryId=ecr["account"], repositoryName=name["repository"], imageIds=[wanted]
            )
        except ClientError as error:
            if code(error) not in _MISSING:
                raise
            raise SettingsError(f"{what}: not there ({code(error)}); push it, or correct it") from error
    return None
