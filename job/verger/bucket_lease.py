"""A lease in a bucket: conditional puts, of which S3 lets one of many win.

`If-None-Match: *` makes the object when there is none, `If-Match: TAG` replaces what was read (Amazon S3, "Conditional
writes"). How old a lease is goes by the server's own clock, so that those of the machines need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from verger.aws import code, told
from verger.buckets import BucketFolder
from verger.lease import NAME, Claim, Owner

OTHERS = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404")


@dataclass(frozen=True)
class BucketPlace:
    folder: BucketFolder

    def __str__(self) -> str:
        return str(self.folder)

    def read(self) -> Claim | None:
        with told(self):
            try:
                answer = self.folder.aws.s3.get_object(**self._key)
            except ClientError as error:
                if code(error) in ("NoSuchKey", "404"):
                    return None
                raise
            owner = Owner.read(answer["Body"].read())
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return Claim(owner, (now - answer["LastModified"]).total_seconds(), answer["ETag"])

    def write(self, owner: Owner, replacing: str | None) -> bool:
        condition: Any = {"IfMatch": replacing} if replacing else {"IfNoneMatch": "*"}
        aws = self.folder.aws
        with told(self):
            try:
                answer = aws.s3.put_object(**self._key, **condition, **aws.encryption, Body=owner.to_bytes())
            except ClientError as error:
                if code(error) in OTHERS:
                    return False
                raise
        aws.assure(answer, self)
        return True

    def remove(self, _tag: str) -> None:
        """Delete the lease; nobody else's is at risk, since it is ours until EXPIRY has passed."""
        with told(self):
            self.folder.aws.s3.delete_object(**self._key)

    @property
    def _key(self) -> dict[str, Any]:
        return {"Bucket": self.folder.bucket, "Key": self.folder.prefix + NAME}
