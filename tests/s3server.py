"""Real S3 for the tests: VersityGW on a temporary folder, with its IAM and STS, on 127.0.0.1.

It enforces signatures, policies and conditional writes, and its access log says what was really asked of it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

REGION = "eu-west-3"
KEYS = {"access": "testroot", "secret": "testroot-secret"}
MISSING = "versitygw is not on the PATH: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0"
# Objects, and not what lies around them: a bucket's region and the list of its names are asked for by others.
READS = {"GetObject", "HeadObject", "GetObjectAttributes", "CopyObject"}
WRITES = {
    "PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
    "CompleteMultipartUpload",
}  # fmt: skip
_LINE = re.compile(r" s3_(?P<action>\w+) .*? (?P<url>/\S*) (?P<status>\d{3}) \S+ \d+ \d+ \d+ \d+ ")


@dataclass(frozen=True)
class Request:
    """A line of the access log: `action` is S3's name for the method (GetObject, ...)."""

    action: str
    bucket: str
    key: str
    status: int

    @classmethod
    def read(cls, line: str) -> Request | None:
        """None for the line that a log begins with."""
        found = _LINE.search(line)
        if found is None:
            return None
        bucket, _, key = unquote(urlsplit(found["url"]).path).removeprefix("/").partition("/")
        return cls(found["action"], bucket, key, int(found["status"]))


class Process:
    """A server, or the way to one, at a port: it can be killed and started again, on the same port."""

    def __init__(self, address: str, port: int, command: list[str], output: Path, **environment: str) -> None:
        self.address, self.port = address, port
        self._command, self._output, self._environment = command, output, os.environ | environment
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def versitygw(cls, folder: Path, region: str, address: str, command: list[str], **environment: str) -> Process:
        port = free_port(address)
        own = ["--access", KEYS["access"], "--secret", KEYS["secret"], "--region", region, "--quiet"]
        words = ["versitygw", *own, "--port", f"{address}:{port}", *command]
        return cls(address, port, words, folder / f"{port}.txt", **environment)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, env=self._environment)
        end = time.monotonic() + 20
        while not listens(self.port, self.address):
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < end, self._output.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@dataclass
class S3:
    """A server of S3 with its IAM and STS."""

    server: Process
    iam: Process
    region: str
    issuer: str | None  # of the cluster whose tokens STS takes
    log: Path

    def accesses(self) -> str:
        """The access log."""
        return self.log.read_text()

    def client(self, name: str = "s3", **given: Any) -> Any:
        """A boto3 client of root's."""
        url, region = (self.server.url, self.region) if name == "s3" else (self.iam.url, "us-east-1")
        keys = {"aws_access_key_id": KEYS["access"], "aws_secret_access_key": KEYS["secret"]}
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=32)
        return boto3.client(
            name,  # type: ignore[call-overload]
            **{"endpoint_url": url, "region_name": region, "config": config, **keys, **given},
        )

    def bucket(self) -> Bucket:
        name = f"orchard-{uuid4().hex[:12]}"
        place = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        self.client().create_bucket(Bucket=name, **({"CreateBucketConfiguration": place} if place else {}))
        return Bucket(self, name)

    @property
    def environment(self) -> dict[str, str]:
        """What a run that uses root's keys finds in its environment."""
        return {"AWS_ACCESS_KEY_ID": KEYS["access"], "AWS_SECRET_ACCESS_KEY": KEYS["secret"], **self.sts}

    @property
    def sts(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL_STS": self.iam.url}

    def options(self, endpoint: str | None = None) -> list[str]:
        """What lets a run use this server, or what stands before it."""
        return ["--endpoint", endpoint or self.server.url, "--attest-region", REGION, "--allow-http"]


@dataclass(frozen=True)
class Bucket:
    """A new, empty bucket: what its server's log says of it is of one test."""

    s3: S3
    name: str

    def url(self, prefix: str) -> str:
        return f"s3://{self.name}/{prefix}"

    def places(self, results: str = "results", store: str = "store", images: str = "images") -> list[str]:
        names = {"images": images, "store": store, "results": results}
        return [word for name, prefix in names.items() for word in (f"--{name}", self.url(prefix))]

    def upload(self, folder: Path, prefix: str) -> int:
        """Put all files of a folder below a prefix: how many there are."""
        client = self.s3.client()

        def put(file: Path) -> None:
            client.put_object(
                Bucket=self.name, Key=f"{prefix}/{file.relative_to(folder).as_posix()}", Body=file.read_bytes()
            )

        files = [file for file in folder.rglob("*") if file.is_file()]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, files))
        return len(files)

    def download(self, prefix: str, folder: Path) -> Path:
        """A prefix as a local folder."""
        client = self.s3.client()
        for key in self.objects(f"{prefix}/"):
            target = folder / key.removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(key, client))
        return folder

    def read(self, key: str, client: Any = None) -> bytes:
        content: bytes = (client or self.s3.client()).get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def put(self, key: str, body: bytes) -> None:
        self.s3.client().put_object(Bucket=self.name, Key=key, Body=body)

    def objects(self, prefix: str = "") -> list[str]:
        """The objects below a prefix, without the markers of folders."""
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return [key for key in found if not key.endswith("/")]

    def tags(self, prefix: str) -> dict[str, str]:
        """What lies below a prefix, and a tag that changes with its content."""
        client = self.s3.client()
        return {key: client.head_object(Bucket=self.name, Key=key)["ETag"] for key in self.objects(prefix)}

    def uploads(self) -> list[str]:
        """Multipart uploads that are neither completed nor aborted."""
        answer = self.s3.client().list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    def requests(self, *actions: str, under: str = "") -> list[Request]:
        """What the server was asked for in this bucket, from the first request on."""
        read = map(Request.read, self.s3.accesses().splitlines())
        return [
            request
            for request in read
            if request is not None
            and request.bucket == self.name
            and request.key.startswith(under)
            and (not actions or request.action in actions)
        ]


@contextmanager
def serving(folder: Path, region: str = REGION, address: str = "127.0.0.1") -> Iterator[S3]:
    """Run a server at an address of this machine; skips where there is none.

    OIDC_ISSUER and OIDC_CA name a cluster's issuer, and the CA of its certificate, to this machine. VersityGW asks no
    issuer at a private address.
    """
    if shutil.which("versitygw") is None:
        pytest.skip(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    log, data, socket_file = folder / "access.log", folder / "data", folder / "iam.sock"
    data.mkdir()
    # The CA of the cluster that web identity comes from, where there is one.
    trust = {"SSL_CERT_FILE": os.environ["OIDC_CA"]} if "OIDC_CA" in os.environ else {}
    iam = Process.versitygw(
        folder, region, address, ["iam", "--dir", str(folder / "iam"), "--private-ports", str(socket_file)], **trust
    )
    (folder / "iam").mkdir()
    own = ["--access-log", str(log), "--iam-standalone-endpoint", str(socket_file), "posix", str(data)]
    server = Process.versitygw(folder, region, address, own)
    try:
        iam.start()
        server.start()
        yield S3(server, iam, region, os.environ.get("OIDC_ISSUER"), log)
    finally:
        for process in (server, iam):
            with suppress(AssertionError):
                process.kill()


def verger(environment: dict[str, str], *arguments: object, barrier: int | None = None) -> subprocess.Popen[str]:
    """`verger ARGUMENTS` on its way, with nothing of this machine's own AWS in its environment.

    All that share a `barrier`, the reading end of a pipe, start when its other end is closed.
    """
    command = [str(Path(sys.executable).with_name("verger")), *map(str, arguments)]
    wait = [] if barrier is None else ["sh", "-c", 'read -r _; exec "$@"', "at-once"]
    inherited = clean()
    if "VERGER_WEIGHTS" not in inherited:
        inherited["VERGER_UNTRAINED"] = "true"
    return subprocess.Popen(
        [*wait, *command],
        stdin=subprocess.DEVNULL if barrier is None else barrier,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=inherited | NOWHERE | environment,
    )


# No credentials but those that a test gives: not this machine's profile, and not that of the instance it may be.
NOWHERE = {
    "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    lines: list[str]  # of standard error
    seconds: float

    def refused(self, code: int, *parts: str) -> None:
        """The run ended with this code, and its last line is Verger's and says each of `parts`."""
        assert self.code == code, self.lines
        told = [line for line in self.lines if line.startswith("verger: ")]
        assert told == self.lines[-1:], self.lines
        assert "Traceback" not in "".join(self.lines)
        for part in parts:
            assert part in told[0], told


def finished(process: subprocess.Popen[str], timeout: float = 300) -> Done:
    began = time.monotonic()
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Done(process.returncode, out, err.splitlines(), time.monotonic() - began)


def run(environment: dict[str, str], *arguments: object, timeout: float = 300) -> Done:
    """`verger ARGUMENTS`, from its start to its end."""
    return finished(verger(environment, *arguments), timeout)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as free:
        free.bind((address, 0))
        return int(free.getsockname()[1])


def listens(port: int, address: str = "127.0.0.1") -> bool:
    with suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


@dataclass
class Front:
    """What a client reaches in place of a server. It passes each request on as it is, and so the signature over its
    Host holds; unless `answer` makes an answer of its own of the request's head."""

    address: str
    port: int
    answer: Callable[[bytes], bytes | None] = lambda _: None
    loses: Callable[[bytes], bool] = lambda _: False  # whether a request is served, and its answer lost
    heads: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"


@contextmanager
def standing_before(server: Process | None, address: str = "127.0.0.1") -> Iterator[Front]:
    """Run a Front at an address of this machine.

    The servers behind it close each connection after one answer, which keeps it this simple.
    """
    front: Front

    class Handler(socketserver.StreamRequestHandler):
        timeout = 120

        def handle(self) -> None:
            head = b"".join(iter(self.rfile.readline, b"\r\n")) + b"\r\n"
            if head == b"\r\n":
                return
            front.heads.append(head)
            answer = front.answer(head)
            if answer is not None:
                self.wfile.write(answer)
                self._drain()
            elif server is not None:
                with suppress(OSError), socket.create_connection((server.address, server.port), 5) as behind:
                    behind.sendall(head)
                    threading.Thread(target=self._pass_on, args=(behind,), daemon=True).start()
                    loses = front.loses(head)
                    while data := behind.recv(1 << 16):
                        if not loses:
                            self.wfile.write(data)

        def _pass_on(self, behind: socket.socket) -> None:
            with suppress(OSError, ValueError):
                while data := self.rfile.read1(1 << 16):
                    behind.sendall(data)

        def _drain(self) -> None:
            """Take what is still coming: closed before, the connection would be reset and the answer lost."""
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            with suppress(OSError):
                while self.rfile.read1(1 << 16):
                    pass

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    with Listener((address, 0), Handler) as listener:
        front = Front(address, listener.server_address[1])
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield front
        finally:
            listener.shutdown()
            thread.join()


def answering(status: str, **headers: str) -> bytes:
    """An answer that `Front.answer` may give: answering("503 Slow Down", retry_after="1")."""
    lines = [f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
