"""What a run must show before it may touch data: that all its places are allowed, and who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from verger import residency
from verger.progress import Show
from verger.residency import Policy, Proof
from verger.settings import Settings

if TYPE_CHECKING:
    from verger.aws import Aws
    from verger.identity import Identity


@dataclass(frozen=True)
class Clearance:
    """`identity` is None for a run without a bucket."""

    proof: Proof
    identity: Identity | None

    def plain(self) -> dict[str, Any]:
        """For run.json."""
        return {"identity": self.identity and self.identity.plain(), "residency": self.proof.plain()}


def clear(settings: Settings, aws: Aws | None, show: Show) -> Clearance:
    """Look at all places and ask who this is, and say what was found; `aws` is None for a run without a bucket.

    Raises ResidencyError, SettingsError or VergerError before a byte of data is read or written: first for what
    settings alone can tell, then for the identity, then for what the buckets say.
    """
    policy = Policy.of(settings)
    if policy.warning is not None:
        show.say(policy.warning, style="bold")
    places = residency.known(settings, policy)
    identity = None
    if aws is not None:
        from verger.identity import identify  # botocore: as in `storage`

        identity = identify(aws, settings.allow_static_keys)
        show.say(f"as {identity.arn} ({identity.source})")
        places += residency.asked(settings, aws, policy)
    return Clearance(Proof(policy, tuple(places)), identity)
