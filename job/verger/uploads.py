"""Objects that are uploaded whole and stay invisible until they are completed, all together.

S3 has no rename. What it has is the multipart upload: its parts are stored, and no object is there, until one request
completes it. S3A's magic committer is built on this (Hadoop, "Committing work to S3 with the S3A Committers"); here it
serves the files that the driver writes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from verger.aws import code, told
from verger.buckets import BucketFolder
from verger.errors import VergerError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20  # bytes: S3 wants 5 MiB at least, and 10,000 parts at most: files up to 160 GB
AT_A_TIME = 16


@dataclass
class Upload(io.RawIOBase):
    """One object on its way: write to it, close it, and complete or abort it."""

    folder: BucketFolder
    name: str
    _id: str = ""
    _parts: list[CompletedPartTypeDef] = field(default_factory=list)
    _buffer: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        with told(self):
            answer = self._s3.create_multipart_upload(**self._key, **self.folder.aws.encryption)
        self._id = answer["UploadId"]
        try:
            self.folder.aws.assure(answer, self)
        except VergerError:
            self.abort()
            raise

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def _s3(self) -> Any:
        return self.folder.aws.s3

    @property
    def _key(self) -> dict[str, Any]:
        return {"Bucket": self.folder.bucket, "Key": self.folder.prefix + self.name}

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._buffer += data
        while len(self._buffer) >= PART:
            self._send(bytes(self._buffer[:PART]))
            del self._buffer[:PART]
        return len(memoryview(data).cast("B"))

    def finish(self) -> None:
        """Send what is left: an upload has one part at least, which may be empty."""
        if self._buffer or not self._parts:
            self._send(bytes(self._buffer))
            self._buffer.clear()

    def _send(self, body: bytes) -> None:
        number = len(self._parts) + 1
        with told(self):
            answer = self._s3.upload_part(**self._key, UploadId=self._id, PartNumber=number, Body=body)
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})

    def complete(self) -> None:
        """Make the object visible. An answer that was lost on its way is not an error: the object is looked for."""
        try:
            with told(self):
                self._s3.complete_multipart_upload(
                    **self._key, UploadId=self._id, MultipartUpload={"Parts": self._parts}
                )
        except VergerError as error:
            cause = error.__cause__
            if not (isinstance(cause, ClientError) and code(cause) == "NoSuchUpload" and self._is_there()):
                raise

    def _is_there(self) -> bool:
        with told(self):
            return str(self._s3.head_object(**self._key)["ETag"]).strip('"').endswith(f"-{len(self._parts)}")

    def abort(self) -> None:
        # Completed, or aborted by the bucket's lifecycle: nothing is left either way.
        with told(self), suppress(ClientError):
            self._s3.abort_multipart_upload(**self._key, UploadId=self._id)


@dataclass
class Uploads:
    """The uploads of one folder, completed together. Usage: `with uploads.open("a.csv") as file: file.write(b"...")`"""

    folder: BucketFolder
    pending: list[Upload] = field(default_factory=list)

    @contextmanager
    def open(self, name: str) -> Iterator[Upload]:
        upload = Upload(self.folder, name)
        try:
            yield upload
            upload.finish()
        except BaseException:
            upload.abort()
            raise
        self.pending.append(upload)

    def complete(self, last: str, before_last: Callable[[], None]) -> None:
        """Make all visible: `last` after the others, and after what has to be done between."""
        self._each(lambda upload: upload.complete(), [upload for upload in self.pending if upload.name != last])
        before_last()
        self._each(lambda upload: upload.complete(), [upload for upload in self.pending if upload.name == last])
        self.pending.clear()

    def abort(self) -> None:
        self._each(lambda upload: upload.abort(), self.pending)
        self.pending.clear()

    @staticmethod
    def _each(do: Callable[[Upload], None], uploads: list[Upload]) -> None:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for done in [pool.submit(do, upload) for upload in uploads]:
                done.result()
