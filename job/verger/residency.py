"""Where everything of a run really is, and whether data may be there: asked before a byte is read or written.

It fails closed: a place whose region nobody can tell is refused like one outside the policy. The European Union is a
list, not a prefix: eu-west-2 is in the United Kingdom, eu-central-2 in Switzerland.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from verger.errors import ResidencyError, SettingsError
from verger.locations import Location
from verger.settings import Settings

if TYPE_CHECKING:
    from verger.aws import Aws

EU = ("eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3")
ECR = re.compile(r"^(?P<account>\d{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/")


@dataclass(frozen=True)
class Policy:
    """A named list of regions that data may be in."""

    name: str
    regions: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """The policy of a run; a SettingsError for a name that nothing stands behind."""
        if "eu" in settings.policies:
            raise SettingsError("--policies eu=...: eu is the EU's regions and can't be another; give it another name")
        regions = {"eu": EU, **settings.policies}.get(settings.residency)
        if not regions:
            raise SettingsError(f"--residency {settings.residency}: no such policy; use eu, or list it in --policies")
        return cls(settings.residency, regions)

    @property
    def warning(self) -> str | None:
        """What is said of a policy that is not the default."""
        if self.name == "eu":
            return None
        return f"RESIDENCY {self.name}: data may be in {', '.join(self.regions)}; eu is the default"

    def admit(self, place: Place) -> Place:
        """The place, if data may be there; else a ResidencyError."""
        if place.region not in self.regions:
            raise ResidencyError(
                f"{place.name} {place.where}: in {place.region} ({place.known_by}), and residency {self.name} allows "
                f"{', '.join(self.regions)}; use a place there, or another --residency"
            )
        return place


@dataclass(frozen=True)
class Place:
    """Something of a run and where it is: `known_by` says who says so. This machine has no region."""

    name: str
    where: str
    region: str | None
    known_by: str


@dataclass(frozen=True)
class Proof:
    """The places of a run, all of which the policy admits."""

    policy: Policy
    places: tuple[Place, ...]

    def plain(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "policy": self.policy.name,
            "allowed": list(self.policy.regions),
            "places": [asdict(place) for place in self.places],
        }


def known(settings: Settings, policy: Policy) -> list[Place]:
    """The places that settings alone decide; nobody is asked.

    Raises ResidencyError for one that the policy does not admit or whose region can't be told, SettingsError for
    settings that contradict each other.
    """
    places = [_on_this_machine(name, place) for name, place in settings.places.items() if place.is_local]
    return places + ([policy.admit(place) for place in _declared(settings)] if settings.s3 else [])


def _on_this_machine(name: str, location: Location) -> Place:
    return Place(_option(name), str(location), None, "this machine")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _declared(settings: Settings) -> Iterator[Place]:
    """What is known without asking anybody."""
    if settings.endpoint is None:
        yield Place("--region", str(settings.region), settings.region, "its name")
    elif settings.endpoint.startswith("http:") and not settings.allow_http:
        raise SettingsError(f"--endpoint {settings.endpoint}: not encrypted; use https, or --allow-http for a test")
    elif settings.attest_region is None:
        raise ResidencyError(
            f"--endpoint {settings.endpoint}: nobody can tell where this server is; name its region by --attest-region"
        )
    else:
        yield Place("--endpoint", settings.endpoint, settings.attest_region, "--attest-region")
    if settings.kms_key is not None:
        region = settings.kms_key.split(":")[3]
        yield Place("--kms-key", settings.kms_key, region, "its ARN")
        if region != settings.region:
            raise SettingsError(
                f"--kms-key {settings.kms_key}: in {region}, the buckets in {settings.region}; S3 needs a key of the "
                "bucket's own region"
            )
    if settings.container_image is not None and (ecr := ECR.match(settings.container_image)):
        yield Place("--container-image", settings.container_image, ecr["region"], "its registry's name")


def asked(settings: Settings, aws: Aws, policy: Policy, more: Mapping[str, Location] | None = None) -> Iterator[Place]:
    """The buckets, by their own word; a ResidencyError for one that is elsewhere. `more` are places beside a run's.

    A run stays in one region, so that nothing of it has to be able to reach another: a SettingsError otherwise.
    """
    buckets: dict[str, tuple[str | None, str]] = {}
    for name, location in (settings.places | dict(more or {})).items():
        if location.is_local:
            continue
        bucket = location.path.split("/")[0]
        if bucket not in buckets:
            said = aws.region_of(bucket)
            buckets[bucket] = (said, "the bucket itself") if said else (settings.attest_region, "--attest-region")
        place = policy.admit(Place(_option(name), str(location), *buckets[bucket]))
        if place.region != settings.region:
            raise SettingsError(
                f"{place.name} {place.where}: in {place.region}, not in {settings.region}; a run stays in one region: "
                f"give --region {place.region}, or a bucket in {settings.region}"
            )
        yield place
