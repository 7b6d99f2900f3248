"""Web identity for the tests: roles of the tests' own IAM, taken by tokens of a real Kubernetes cluster (as IRSA does).

kubectl reaches the cluster, and the server its issuer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.s3server import REGION, S3, Bucket

AUDIENCE = "sts.amazonaws.com"
READ = ("s3:GetObject",)
WRITE = (*READ, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
LIST = ("s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads")


@dataclass
class WebIdentity:
    """Service accounts of one namespace, and the roles that they may take."""

    s3: S3
    namespace: str
    provider: str
    folder: Path

    def token(self, account: str, audience: str = AUDIENCE) -> Path:
        """A file with a token of a service account, which is made when there is none."""
        subprocess.run(["kubectl", "-n", self.namespace, "create", "serviceaccount", account], capture_output=True)
        file = self.folder / f"{account}.{audience}"
        file.write_text(kubectl("-n", self.namespace, "create", "token", account, "--audience", audience))
        return file

    def role(self, account: str, bucket: Bucket, **prefixes: tuple[str, ...]) -> str:
        """A role for a service account: what it may do below each prefix of the bucket."""
        iam, issuer = self.s3.client("iam"), str(self.s3.issuer).removeprefix("https://")
        subject = f"system:serviceaccount:{self.namespace}:{account}"
        condition = {"StringEquals": {f"{issuer}:sub": subject, f"{issuer}:aud": AUDIENCE}}
        trust = {
            "Effect": "Allow", "Principal": {"Federated": self.provider},
            "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition,
        }  # fmt: skip
        here = f"arn:aws:s3:::{bucket.name}"
        allowed = [
            {"Effect": "Allow", "Action": list(actions), "Resource": [f"{here}/{prefix}", f"{here}/{prefix}/*"]}
            for prefix, actions in prefixes.items()
            if actions
        ]
        allowed.append({"Effect": "Allow", "Action": list(LIST), "Resource": [here]})
        name = f"role-{uuid4().hex[:12]}"
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document([trust]))
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document(allowed))
        return str(made["Role"]["Arn"])

    def environment(self, role: str, token: Path) -> dict[str, str]:
        """What EKS puts into a pod of this service account."""
        return {
            "AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, **self.s3.sts,
        }  # fmt: skip


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def kubectl(*words: str) -> str:
    return subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True).stdout


@contextmanager
def new_namespace(prefix: str = "verger", restricted: bool = True) -> Iterator[str]:
    """A namespace of the tests' own, of the restricted profile."""
    name = f"{prefix}-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        for what in ("enforce", "warn") if restricted else ():
            kubectl("label", "namespace", name, f"pod-security.kubernetes.io/{what}=restricted")
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def web_identity(s3: S3, folder: Path) -> Iterator[WebIdentity]:
    """A namespace of the tests' own, and the cluster's issuer known to IAM; skips where there is no cluster."""
    if s3.issuer is None or "KUBECONFIG" not in os.environ or not shutil.which("kubectl"):
        pytest.skip("no cluster for web identity: OIDC_ISSUER or KUBECONFIG names none, or there is no kubectl")
    iam = s3.client("iam")
    provider = iam.create_open_id_connect_provider(Url=s3.issuer, ClientIDList=[AUDIENCE])
    try:
        with new_namespace() as namespace:
            yield WebIdentity(s3, namespace, provider["OpenIDConnectProviderArn"], folder)
    finally:
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider["OpenIDConnectProviderArn"])
