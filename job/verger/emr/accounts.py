"""The service accounts that EMR on EKS makes for its job runs, as IAM's trust policies have to name them.

https://docs.aws.amazon.com/emr/latest/EMR-on-EKS-DevelopmentGuide/setting-up-trust-policy.html; `aws emr-containers
update-role-trust-policy` writes `emr-containers-sa-*-*-ACCOUNT-ROLE`, the role's name in base 36. Nothing here is
imported from elsewhere: k8s/fill.py takes it where Verger is not installed.
"""

from __future__ import annotations

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PODS = ("client", "driver", "executor")  # the client is the pod that runs spark-submit


def base36(name: str) -> str:
    """A role's name, its bytes taken as one number."""
    number, digits = int.from_bytes(name.encode(), "big"), ""
    while number:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits


def subjects(namespace: str, account: str, role: str) -> list[str]:
    """What the pods' tokens say of whose they are: one for each kind of pod."""
    prefix = f"system:serviceaccount:{namespace}:emr-containers-sa-spark"
    return [f"{prefix}-{pod}-{account}-{base36(role)}" for pod in PODS]
