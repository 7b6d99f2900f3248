"""What a run used, before it has a price: pods for a time, and requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from verger.fleet import Pod
from verger.s3_requests import Requests


@dataclass(frozen=True)
class Held:
    """A pod, and the seconds that the run held it."""

    pod: Pod
    seconds: float

    @property
    def vcpu_hours(self) -> float:
        return self.pod.vcpu * self.seconds / 3600

    @property
    def gb_hours(self) -> float:
        return self.pod.gb * self.seconds / 3600


@dataclass(frozen=True)
class Usage:
    """`seconds` is from the run's start to its end; `local` says that nobody asks money for its pods."""

    held: tuple[Held, ...]
    seconds: float
    requests: Requests
    local: bool = False

    @property
    def vcpu_hours(self) -> float:
        return sum(held.vcpu_hours for held in self.held)

    @property
    def gb_hours(self) -> float:
        return sum(held.gb_hours for held in self.held)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Usage:
        """What `plain` wrote."""
        held = tuple(Held(Pod(pod["role"], pod["vcpu"], pod["gb"]), pod["seconds"]) for pod in plain["pods"])
        return cls(held, plain["seconds"], Requests(**plain["s3_requests"]), plain["local"])

    def plain(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "local": self.local,
            "seconds": round(self.seconds, 3),
            "vcpu_hours": round(self.vcpu_hours, 6),
            "gb_hours": round(self.gb_hours, 6),
            "pods": [
                {
                    "role": held.pod.role,
                    "vcpu": held.pod.vcpu,
                    "gb": round(held.pod.gb, 6),
                    "seconds": round(held.seconds, 3),
                }
                for held in self.held
            ],
            "s3_requests": asdict(self.requests),
        }
