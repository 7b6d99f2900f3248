"""A prefix of a bucket as a folder, by boto3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from verger.aws import Aws, code, told
from verger.errors import VergerError
from verger.locations import Location


@dataclass(frozen=True)
class BucketFolder:
    """All keys that begin with `prefix`, which ends with a slash (or is empty: the whole bucket)."""

    aws: Aws
    bucket: str
    prefix: str

    @classmethod
    def of(cls, location: Location, aws: Aws) -> BucketFolder:
        bucket, _, key = location.path.partition("/")
        return cls(aws, bucket, f"{key}/" if key else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def is_file(self) -> bool:
        return False  # a bucket may hold both an object `a` and objects `a/b`

    def names(self) -> Iterator[str]:
        """One request for a thousand names: objects, and folders as S3 sums them up."""
        with told(self):
            pages = self.aws.s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
            )
            for page in pages:
                for folder in page.get("CommonPrefixes", []):
                    yield folder["Prefix"].removeprefix(self.prefix).rstrip("/")
                for item in page.get("Contents", []):
                    if item["Key"] != self.prefix:  # the marker of an empty folder
                        yield item["Key"].removeprefix(self.prefix)

    def keys(self, under: str = "") -> Iterator[str]:
        """The names of all objects below a name, however deep."""
        with told(self):
            pages = self.aws.s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + under
            )
            for page in pages:
                yield from (item["Key"].removeprefix(self.prefix) for item in page.get("Contents", []))

    def read(self, name: str) -> bytes | None:
        try:
            with told(f"{self}/{name}"):
                return self.aws.s3.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read()
        except VergerError as error:
            if isinstance(error.__cause__, ClientError) and code(error.__cause__) in ("NoSuchKey", "404"):
                return None
            raise

    def write(self, name: str, content: bytes) -> None:
        with told(f"{self}/{name}"):
            answer = self.aws.s3.put_object(
                Bucket=self.bucket, Key=self.prefix + name, Body=content, **self.aws.encryption
            )
        self.aws.assure(answer, f"{self}/{name}")

    def assure(self, name: str) -> None:
        """A VergerError unless the object is encrypted by the run's key, if it has one."""
        if self.aws.kms_key is not None:
            with told(f"{self}/{name}"):
                answer = self.aws.s3.head_object(Bucket=self.bucket, Key=self.prefix + name)
            self.aws.assure(answer, f"{self}/{name}")

    def fetch(self, name: str, target: Path) -> Path:
        """Bring an object that Spark wrote to a local file; one that is not encrypted as asked is a VergerError."""
        self.assure(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with told(f"{self}/{name}"):
            self.aws.s3.download_file(self.bucket, self.prefix + name, str(target))
        return target

    def delete(self, names: list[str]) -> None:
        """Delete objects, a thousand a request."""
        with told(self):
            for start in range(0, len(names), 1000):
                objects = [{"Key": self.prefix + name} for name in names[start : start + 1000]]
                answer = self.aws.s3.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": objects, "Quiet": True},  # type: ignore[typeddict-item]
                )
                for refused in answer.get("Errors", []):
                    raise VergerError(
                        f"{self}/{refused.get('Key')}: could not be deleted ({refused.get('Code')}); let this run's "
                        "role delete there"
                    )

    def make(self) -> None:
        """The marker that S3A takes for an empty folder."""
        self.write("", b"")

    def remove(self) -> None:
        self.delete(list(self.keys()))
