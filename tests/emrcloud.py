"""AWS as EMR on EKS needs it, over HTTP: moto's services, and before them what moto lacks.

That is, as AWS documents it: answers to throttled, expired and denied requests; client tokens that are known; job
templates. What moto keeps of a job run is changed as EMR would: states, reasons, logs.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import boto3
import pytest
from moto.emrcontainers.models import JobRun, VirtualCluster, emrcontainers_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from verger import cli
from verger.errors import VergerError
from werkzeug.serving import make_server

from tests.s3server import NOWHERE, Done, run
from tests.templates import SAMPLE, filled

ACCOUNT = SAMPLE["ACCOUNT"]  # moto's only one
REGION, ELSEWHERE = "eu-west-3", "us-east-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/verger-emr:1.0"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/verger"
# Keys of a session, as a signed-in user's are; moto takes any.
SESSION = {"AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
PLACES = ("--images", "s3://fruits/images", "--store", "s3://fruits/store", "--results", "s3://fruits/results")
GROUP = "/emr/verger"


@dataclass(frozen=True)
class Request:
    """`service` as the signature names it; `action` is `POST /virtualclusters/ID/jobruns`, or the query's."""

    service: str
    action: str
    body: bytes

    @property
    def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


Answer = tuple[int, str, bytes]  # status, code, body
Judge = Callable[[Request], Answer | None]


def as_json(status: int, code: str, message: str = "") -> Answer:
    """An error as services that speak JSON give it."""
    return status, code, json.dumps({"__type": code, "message": message}).encode()


def as_xml(status: int, code: str, message: str = "") -> Answer:
    """An error as STS and IAM give it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, code, f"<ErrorResponse>{error}</ErrorResponse>".encode()


@dataclass
class Aws:
    """The server. `judge` may answer in its place."""

    url: str = ""
    judge: Judge = lambda _: None
    requests: list[Request] = field(default_factory=list)
    tokens: dict[str, Answer] = field(default_factory=dict)
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, service: str, action: str) -> list[Request]:
        return [each for each in self.requests if each.service == service and re.match(action, each.action)]

    def client(self, service: str, region: str = REGION) -> Any:
        keys = {
            "aws_access_key_id": SESSION["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": "secret",
            "aws_session_token": "token",
        }  # fmt: skip
        return boto3.client(service, endpoint_url=self.url, region_name=region, **keys)  # type: ignore[call-overload]

    @property
    def environment(self) -> dict[str, str]:
        return SESSION | NOWHERE | {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION}

    @property
    def server(self) -> list[str]:
        """What makes this the server of S3 too."""
        return ["--endpoint", self.url, "--attest-region", REGION, "--allow-http"]

    def verger(self, command: str, *arguments: object) -> Done:
        """`verger emr COMMAND ARGUMENTS`, as a process; weights are the image's."""
        return run(self.environment | {"VERGER_UNTRAINED": ""}, "emr", command, *arguments, *self.server)

    def answer(self, request: Request) -> Answer | None:
        if (judged := self.judge(request)) is not None:
            return judged
        if request.action == "POST /jobtemplates":
            self.templates[template := f"{len(self.templates) + 1:025d}"] = request.plain
            return 200, "", json.dumps({"id": template, "name": request.plain["name"]}).encode()
        if (found := re.fullmatch(r"GET /jobtemplates/(\w+)", request.action)) is not None:
            if (known := self.templates.get(found[1])) is None:
                return as_json(400, "ResourceNotFoundException", f"Job template {found[1]} doesn't exist.")
            return 200, "", json.dumps({"jobTemplate": {"id": found[1], **known}}).encode()
        return None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        asked = re.search(rb"Action=(\w+)", body)
        action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2] or (asked[1].decode() if asked else "")
        named = action or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        request = Request(scope[1] if scope else "", named, body)
        self.requests.append(request)
        if (answer := self.answer(request)) is not None:
            return _give(answer, start_response)
        if re.fullmatch(r"POST /virtualclusters/\w+/jobruns", named):
            return self._once(request, environ, start_response)
        behind: Iterable[bytes] = _MOTO(environ, start_response)
        return behind

    def _once(self, request: Request, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """A client token that EMR knows gives the job run that it has."""
        token = request.plain["clientToken"]
        if token not in self.tokens:
            status: list[str] = []
            if "jobTemplateId" in request.plain:
                environ["wsgi.input"] = io.BytesIO(json.dumps(self._expanded(request.plain)).encode())
                environ["CONTENT_LENGTH"] = str(environ["wsgi.input"].getbuffer().nbytes)
            body = b"".join(_MOTO(environ, lambda line, *_: status.append(line)))
            answer = int(status[0].split()[0]), "", body
            if answer[0] != 200:
                return _give(answer, start_response)
            self.tokens[token] = answer
        return _give(self.tokens[token], start_response)

    def _expanded(self, request: dict[str, Any]) -> dict[str, Any]:
        """What EMR makes of a template and a request, which moto takes as a request without one."""
        data = self.templates[request["jobTemplateId"]]["jobTemplateData"]
        names = ("executionRoleArn", "releaseLabel", "jobDriver", "configurationOverrides")
        return request | {name: data[name] for name in names}


_MOTO = DomainDispatcherApplication(create_backend_app)


def _give(answer: Answer, start_response: Any) -> list[bytes]:
    status, code, body = answer
    kind = "text/xml" if body.startswith(b"<") else "application/json"
    headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    start_response(f"{status} answer", [*headers, *([("x-amzn-ErrorType", code)] if code else [])])
    return [body]


@dataclass
class Cloud:
    """An account with what a run needs: EKS and virtual cluster, role, image, bucket, log group."""

    aws: Aws
    cluster: str

    def options(self, **given: str | None) -> list[str]:
        """The least that a run needs, changed by what is given: None leaves one out."""
        names = {
            "images": "s3://fruits/images", "store": "s3://fruits/store", "results": "s3://fruits/results",
            "container_image": IMAGE, "virtual_cluster": "verger", "execution_role": ROLE,
        } | given  # fmt: skip
        found = [(f"--{name.replace('_', '-')}", value) for name, value in names.items() if value is not None]
        return [word for pair in found for word in pair]

    def submit(self, *arguments: object, **given: str | None) -> Done:
        return self.aws.verger("submit", *self.options(**given), *arguments)

    def refusal(self, command: str, *arguments: object) -> tuple[int, str]:
        """The exit code and the line that `verger emr COMMAND` ends with, in this process."""
        with in_environment(self.aws.environment), pytest.raises(VergerError) as error:
            cli.app(["emr", command, *map(str, arguments), *self.aws.server], standalone_mode=False)
        return error.value.exit_code, str(error.value)

    def start(self, *arguments: object, **given: str | None) -> str:
        """The id of a job run that is on its way."""
        done = self.submit("--no-wait", *arguments, **given)
        assert done.code == 0, done.lines
        return done.out.strip()

    @property
    def runs(self) -> list[str]:
        """The ids of all job runs."""
        return list(emrcontainers_backends[ACCOUNT][REGION].job_runs)

    def kept(self, run: str) -> JobRun:
        """What moto keeps of a job run."""
        return emrcontainers_backends[ACCOUNT][REGION].job_runs[run]

    def cluster_kept(self) -> VirtualCluster:
        return emrcontainers_backends[ACCOUNT][REGION].virtual_clusters[self.cluster]

    @property
    def issuer(self) -> str:
        """Of the EKS cluster's tokens."""
        found: str = self.aws.client("eks").describe_cluster(name="farm")["cluster"]["identity"]["oidc"]["issuer"]
        return found.removeprefix("https://")

    def set(self, run: str, state: str, reason: str | None = None, details: str | None = None) -> None:
        """As EMR does."""
        kept = self.kept(run)
        kept.failure_reason, kept.state_details = reason, details  # type: ignore[assignment]
        kept.state = state

    def stream(self, run: str, pod: str, output: str = "stderr") -> str:
        """Where EMR puts what a pod printed."""
        folder = f"spark-{run}/spark-{run}-{pod}" if pod != "submitter" else f"{run}-x7k2p"
        return f"{self.cluster}/jobs/{run}/containers/{folder}/{output}"

    def log(self, run: str, pod: str, *lines: str, output: str = "stderr") -> None:
        """Lines in CloudWatch."""
        logs, name = self.aws.client("logs"), f"verger/{self.stream(run, pod, output)}"
        there = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name)["logStreams"]
        if not there:
            logs.create_log_stream(logGroupName=GROUP, logStreamName=name)
        now = int(datetime.now(UTC).timestamp() * 1000)
        events = [{"timestamp": now, "message": line} for line in lines]
        logs.put_log_events(logGroupName=GROUP, logStreamName=name, logEvents=events)

    def archive(self, run: str, pod: str, *lines: str, output: str = "stderr") -> None:
        """All lines so far, in the bucket."""
        body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
        self.aws.client("s3").put_object(Bucket="fruits", Key=f"logs/{self.stream(run, pod, output)}.gz", Body=body)


def said(done: Done) -> list[str]:
    """What a dry run says before it estimates the cost."""
    estimate = ("no estimate of cost", "2 images, 10 bytes")
    return list(takewhile(lambda line: not line.startswith(estimate), done.lines))


@contextmanager
def in_environment(given: dict[str, str]) -> Iterator[None]:
    """With these variables, and none of AWS's or Verger's beside them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AWS_", "VERGER_")):
                patch.delenv(name)
        for name, value in given.items():
            patch.setenv(name, value)
        yield


@contextmanager
def serving() -> Iterator[Aws]:
    """Run the server, with nothing in it."""
    aws = Aws()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, aws, threaded=True)
    aws.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        with urlopen(HttpRequest(f"{aws.url}/moto-api/reset", method="POST")):  # what moto holds is the process's
            yield aws
    finally:
        server.shutdown()
        thread.join()


def furnish(aws: Aws) -> Cloud:
    """Make the account's things, by the APIs that make them."""
    eks = aws.client("eks")
    network = {"subnetIds": ["subnet-1", "subnet-2"]}
    eks.create_cluster(name="farm", roleArn=ROLE, resourcesVpcConfig=network)
    aws.client("ecr").create_repository(repositoryName="verger-emr")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    aws.client("ecr").put_image(repositoryName="verger-emr", imageManifest=json.dumps(manifest), imageTag="1.0")
    for bucket, region in (("fruits", REGION), ("ireland", "eu-west-1")):
        aws.client("s3", region).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    aws.client("s3", ELSEWHERE).create_bucket(Bucket="abroad")
    for name in ("Kaki/1.jpg", "Kaki/2.jpg", "_hidden/3.jpg"):
        aws.client("s3").put_object(Bucket="fruits", Key=f"images/{name}", Body=b"12345")
    aws.client("logs").create_log_group(logGroupName=GROUP)
    cloud = Cloud(aws, virtual_cluster(aws, "verger", "verger"))
    trust_role(aws, "verger", cloud.issuer)
    return cloud


def virtual_cluster(aws: Aws, name: str, namespace: str) -> str:
    provider = {"type": "EKS", "id": "farm", "info": {"eksInfo": {"namespace": namespace}}}
    made: str = aws.client("emr-containers").create_virtual_cluster(name=name, containerProvider=provider)["id"]
    return made


def trust_role(aws: Aws, name: str, issuer: str, namespace: str = "verger") -> None:
    """A role of the project's own trust policy for EMR."""
    document = filled("aws/trust-irsa-emr.json", **SAMPLE | {"OIDC": issuer, "NAMESPACE": namespace, "ROLE": name})
    aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
