"""Whether a role's trust policy lets the pods of a job run take it, as far as that can be read.

Either by the tokens of the service accounts that EMR makes (IRSA), or by EKS Pod Identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from verger.emr.accounts import subjects

AUDIENCE = "sts.amazonaws.com"
POD_IDENTITY = "pods.eks.amazonaws.com"


@dataclass(frozen=True)
class Pods:
    """The pods of a virtual cluster's job runs; `issuer` without https://, None where nobody could be asked."""

    namespace: str
    account: str
    issuer: str | None


def mistrusted(document: dict[str, Any], pods: Pods, role: str) -> str | None:
    """The first subject that may not take the role; None where all may."""
    statements = [each for each in _listed(document.get("Statement")) if each.get("Effect") == "Allow"]
    if any(POD_IDENTITY in _listed(_principal(each).get("Service")) for each in statements):
        return None
    for subject in subjects(pods.namespace, pods.account, role):
        if not any(_takes(statement, pods, subject) for statement in statements):
            return subject
    return None


def _takes(statement: dict[str, Any], pods: Pods, subject: str) -> bool:
    actions = _listed(statement.get("Action"))
    if not any(_like(action, "sts:AssumeRoleWithWebIdentity") for action in actions):
        return False
    for provider in _listed(_principal(statement).get("Federated")):
        issuer = str(provider).partition(":oidc-provider/")[2]
        if issuer and pods.issuer in (None, issuer):
            said = {f"{issuer}:sub": subject, f"{issuer}:aud": AUDIENCE}
            if all(_holds(*condition, said) for condition in _conditions(statement)):
                return True
    return False


def _conditions(statement: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, values in keys.items():
            yield operator, key, [str(value) for value in _listed(values)]


def _holds(operator: str, key: str, values: list[str], said: dict[str, str]) -> bool:
    """A condition of a kind or on a key that is not known here is taken to hold: AWS will say so if it does not."""
    if key not in said:
        return True
    if operator == "StringEquals":
        return said[key] in values
    if operator == "StringLike":
        return any(_like(value, said[key]) for value in values)
    return True


def _like(pattern: str, text: str) -> bool:
    """IAM's * and ?."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def _principal(statement: dict[str, Any]) -> dict[str, Any]:
    principal = statement.get("Principal")
    return principal if isinstance(principal, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
