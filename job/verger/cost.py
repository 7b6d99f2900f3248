"""What a run costs on EKS, and what EMR on EKS adds: vCPU-hours, GB-hours and requests, by a table of prices.

Nodes are paid by what pods keep others from having: of a node, a pod takes the larger of its shares of vCPUs and of GB.
EMR takes its price for what pods ask for (https://aws.amazon.com/emr/pricing/), the control plane for the run's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verger.prices import Node, Prices
from verger.usage import Held, Usage

WAYS = {"eks": "EKS", "emr_on_eks": "EMR on EKS"}
CAPACITY = {"on_demand": "on demand", "spot": "executors on spot"}


@dataclass(frozen=True)
class Cost:
    """US dollars: of nodes on demand, of nodes whose executors are on spot, and of the rest."""

    usage: Usage
    region: str
    prices: Prices
    on_demand: float
    spot: float
    control_plane: float
    emr: float
    s3: float

    @classmethod
    def of(cls, usage: Usage, prices: Prices, region: str | None) -> Cost:
        """A SettingsError for a region without prices."""
        local = prices.of(region)
        hours = [] if usage.local else list(usage.held)
        return cls(
            usage,
            str(region),
            prices,
            on_demand=sum(_share(held, local.node) * local.node.on_demand.usd for held in hours),
            spot=sum(_share(held, local.node) * _capacity(held, local.node) for held in hours),
            control_plane=0 if usage.local else usage.seconds / 3600 * local.eks_hour.usd,
            emr=sum(
                held.vcpu_hours * local.emr_vcpu_hour.usd + held.gb_hours * local.emr_gb_hour.usd for held in hours
            ),
            s3=(usage.requests.writes * local.s3_writes.usd + usage.requests.reads * local.s3_reads.usd) / 1000,
        )

    def usd(self, way: str, capacity: str) -> float:
        """One of WAYS, with one of CAPACITY."""
        nodes: float = getattr(self, capacity)
        return nodes + self.control_plane + self.s3 + (self.emr if way == "emr_on_eks" else 0)

    def plain(self) -> dict[str, Any]:
        """For run.json: what was used, and for what is paid the estimates and their parts."""
        parts = ("s3",) if self.usage.local else ("on_demand", "spot", "control_plane", "emr", "s3")
        totals = {} if self.usage.local else self._totals()
        return self.usage.plain() | {
            "region": self.region,
            "prices": self.prices.date.isoformat(),
            "instance": self.prices.of(self.region).node.instance,
            "stand_ins": list(self.prices.of(self.region).stand_ins()),
            "parts": {name: self._money(getattr(self, name)) for name in parts},
            "estimates": totals,
        }

    def _totals(self) -> dict[str, Any]:
        return {way: {name: self._money(self.usd(way, name)) for name in CAPACITY} for way in WAYS}

    def _money(self, usd: float) -> dict[str, float]:
        return {"usd": round(usd, 8), "eur": round(usd / self.prices.euro.usd, 8)}


def lines(plain: Mapping[str, Any]) -> list[str]:
    """What is told of the `cost` of a run.json, or of an estimate: hours and requests, then money if there is any."""
    requests = plain["s3_requests"]
    used = f"{amount(plain['vcpu_hours'])} vCPU-hours, {amount(plain['gb_hours'])} GB-hours"
    if total := requests["writes"] + requests["reads"]:
        modelled = requests["modelled"]
        how = "" if not modelled else " (modelled)" if modelled == total else f" ({modelled:,} modelled)"
        used += f", {total:,} S3 requests{how}"
    if "parts" not in plain:
        return [used]
    if not plain["estimates"]:
        return [f"{used}: {_both(plain['parts']['s3'])}"]
    totals = [
        f"{name} {_both(plain['estimates'][way]['on_demand'])}, on spot {_both(plain['estimates'][way]['spot'])}"
        for way, name in WAYS.items()
    ]
    stand_ins = f"; not this region's own: {', '.join(plain['stand_ins'])}" if plain["stand_ins"] else ""
    return [used, f"{'; '.join(totals)} (prices of {plain['prices']}, {plain['region']}{stand_ins})"]


def amount(value: float) -> str:
    """Two decimals, and as many more as a small value needs for two digits: 12.30, 0.0042."""
    decimals = 2
    while 0 < abs(value) < 10 ** (1 - decimals) and decimals < 10:
        decimals += 1
    return f"{value:,.{decimals}f}"


def _both(money: Mapping[str, float]) -> str:
    return f"${amount(money['usd'])} (€{amount(money['eur'])})"


def _share(held: Held, node: Node) -> float:
    """Hours of a node that a pod takes."""
    return max(held.vcpu_hours / node.vcpu, held.gb_hours / node.gb)


def _capacity(held: Held, node: Node) -> float:
    """What an hour costs where executors are on spot nodes, and the driver is not."""
    return node.spot.usd if held.pod.role == "executor" else node.on_demand.usd
