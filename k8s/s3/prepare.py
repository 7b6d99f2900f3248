#!/usr/bin/env python3
"""Make a bucket, the cluster's OIDC provider and a role of the templates in ../aws on a server that `up` has started,
or any other of S3, IAM and STS. Prints the role's ARN. What is there already is kept; the role's policies are put anew.

The environment has S3, IAM (their URLs), ISSUER, BUCKET, ROLE and what the templates want.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

HERE = Path(__file__).parent.parent
PLACES = {"images": "read", "store": "write", "results": "write"}


def client(name: str, endpoint: str, region: str) -> Any:
    config = Config(s3={"addressing_style": "path"})
    return boto3.client(name, endpoint_url=endpoint, region_name=region, config=config)  # type: ignore[call-overload]


def filled(template: str, **given: str) -> str:
    """As a user fills it."""
    command = [sys.executable, str(HERE / "fill.py"), str(HERE / "aws" / template)]
    done = subprocess.run(command, env=os.environ | given, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def bucket(s3: Any, name: str, region: str, images: Path | None) -> None:
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    if images is None:
        return
    for file in sorted(images.rglob("*")):
        if file.is_file():
            s3.put_object(Bucket=name, Key=f"images/{file.relative_to(images).as_posix()}", Body=file.read_bytes())


def role(iam: Any, name: str, issuer: str) -> str:
    """Its ARN. The names of its policies are those of the places that they open."""
    oidc = issuer.removeprefix("https://")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])
    (provider,) = (
        one["Arn"]
        for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        if one["Arn"].endswith(f"/{oidc}")
    )
    trust = filled("trust-irsa.json", OIDC=oidc, ACCOUNT=provider.split(":")[4])
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    except iam.exceptions.EntityAlreadyExistsException:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    for prefix, policy in PLACES.items():
        document = filled(f"{policy}.json", PREFIX=prefix)
        iam.put_role_policy(RoleName=name, PolicyName=prefix, PolicyDocument=document)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def main() -> None:
    given = os.environ
    images = given.get("IMAGES")
    s3 = client("s3", given["S3"], given["REGION"])
    bucket(s3, given["BUCKET"], given["REGION"], Path(images) if images else None)
    print(role(client("iam", given["IAM"], "us-east-1"), given["ROLE"], given["ISSUER"]))  # IAM is signed for us-east-1


if __name__ == "__main__":
    try:
        main()
    except (ClientError, KeyError) as error:
        sys.exit(f"{Path(__file__).name}: {error!r}")
