"""Who a run is for AWS: found before it starts, so that a missing or wrong role is one line and not a dead executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from verger.aws import code, told
from verger.errors import SettingsError, VergerError

if TYPE_CHECKING:
    from verger.aws import Aws

_SDK = "software.amazon.awssdk.auth.credentials"
# What botocore calls a source of credentials, and the one of the JVM's SDK that reads the same. Named, so that an
# executor without the run's token fails, and does not go on with its node's role.
PROVIDERS = {
    "assume-role-with-web-identity": f"{_SDK}.WebIdentityTokenFileCredentialsProvider",  # IRSA
    "container-role": f"{_SDK}.ContainerCredentialsProvider",  # EKS Pod Identity
    "iam-role": f"{_SDK}.InstanceProfileCredentialsProvider",
    "env": f"{_SDK}.EnvironmentVariableCredentialsProvider",
}
OTHERS = f"{_SDK}.DefaultCredentialsProvider"
NAMES = {"assume-role-with-web-identity": "web identity", "container-role": "pod identity", "iam-role": "node role"}


@dataclass(frozen=True)
class Identity:
    """`arn` and `account` as STS tells them; `method` is botocore's name for where the credentials came from."""

    arn: str
    account: str
    method: str

    @property
    def provider(self) -> str:
        """The class that gives S3A the same credentials."""
        return PROVIDERS.get(self.method, OTHERS)

    @property
    def source(self) -> str:
        return NAMES.get(self.method, self.method)

    def plain(self) -> dict[str, Any]:
        """For run.json."""
        return {"arn": self.arn, "account": self.account, "credentials": self.source}


def identify(aws: Aws, allow_static_keys: bool) -> Identity:
    """Ask STS who this run is; SettingsError for static keys, VergerError for no credentials or a role not allowed."""
    try:
        with told("AWS identity"):
            method = _method(aws, allow_static_keys)
            answer = aws.sts.get_caller_identity()
    except OSError as error:
        raise VergerError(f"AWS identity: {error}; mount the service account's token there") from error
    except VergerError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and cause.operation_name == "AssumeRoleWithWebIdentity":
            raise VergerError(
                f"AWS identity: the role of AWS_ROLE_ARN can't be assumed ({code(cause)}); its trust policy must name "
                "this service account and the audience sts.amazonaws.com"
            ) from cause
        raise
    return Identity(answer["Arn"], answer["Account"], method)


def _method(aws: Aws, allow_static_keys: bool) -> str:
    """Where the credentials come from; keys without a session never expire, and are refused."""
    found = aws.credentials
    if found is None:
        raise VergerError(
            "AWS identity: no credentials; run with web identity (IRSA: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE), "
            "EKS Pod Identity or a signed-in profile"
        )
    keys = found.get_frozen_credentials()
    if keys.token is None and not allow_static_keys:
        raise SettingsError(
            f"AWS key {str(keys.access_key)[:4]}... ({found.method}): a static key, which never expires; use web "
            "identity, or --allow-static-keys for a test"
        )
    return str(found.method)
