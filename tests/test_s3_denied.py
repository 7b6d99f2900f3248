"""Runs that must not be: each ends with its exit code and one line, and no object was read or written.

That is the server's word (its access log), not the run's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from verger.aws import Aws

from tests import s3server
from tests.s3server import NOWHERE, READS, REGION, S3, WRITES, Bucket, Done, Front, answering, run, standing_before
from tests.webidentity import READ, WRITE, WebIdentity, web_identity

pytestmark = pytest.mark.s3


@pytest.fixture
def elsewhere() -> Iterator[Front]:
    """A server that no run may ask for anything."""
    with standing_before(None) as front:
        front.answer = lambda _: answering("200 OK")
        yield front
        assert front.heads == []


def untouched(bucket: Bucket, since: int) -> None:
    """Nobody asked for an object since then, not even in vain."""
    assert [request for request in bucket.requests()[since:] if request.action in READS | WRITES] == []


def denied(bucket: Bucket, environment: dict[str, str], *options: object) -> Done:
    since = len(bucket.requests())
    done = run(environment, "run", *bucket.places(), *options)
    untouched(bucket, since)
    return done


KMS = "arn:aws:kms:{}:123456789012:key/1234abcd"


@pytest.mark.parametrize(
    ("changed", "code", "parts"),
    [
        ({"--allow-static-keys": None}, 2, ("AWS key test... (env): a static key", "use web identity")),
        ({"--allow-http": None}, 2, ("not encrypted; use https", "--allow-http")),
        ({"--attest-region": None, "--region": REGION}, 3, ("nobody can tell where this server is", "--attest-region")),
        ({"--attest-region": "us-east-1"}, 3, ("in us-east-1 (--attest-region)", "residency eu allows")),
        ({"--attest-region": "eu-west-2"}, 3, ("in eu-west-2 (--attest-region)", "residency eu allows")),
        ({"--attest-region": "eu-central-2"}, 3, ("in eu-central-2",)),
        ({"--kms-key": KMS.format("eu-west-2")}, 3, ("--kms-key", "in eu-west-2 (its ARN)")),
        ({"--kms-key": KMS.format("eu-west-1")}, 2, ("--kms-key", "in eu-west-1, the buckets in eu-west-3")),
    ],
    ids=str,
)
def test_settings_that_are_not_allowed_are_told_before_anybody_is_asked(
    images: Bucket, changed: dict[str, str | None], code: int, parts: tuple[str, ...]
) -> None:
    given = {
        "--endpoint": images.s3.server.url, "--attest-region": REGION, "--allow-http": "", "--allow-static-keys": "",
        **changed,
    }  # fmt: skip
    options = [word for name, value in given.items() if value is not None for word in (name, value) if word]
    since = len(images.requests())
    done = denied(images, images.s3.environment, *options)
    done.refused(code, *parts)
    assert len(done.lines) == 1
    assert len(images.requests()) == since


def test_a_bucket_that_says_it_is_elsewhere_is_refused_whatever_was_attested(tmp_path: Path) -> None:
    with s3server.serving(tmp_path / "us", "us-east-1") as us:
        bucket = us.bucket()
        done = denied(bucket, us.environment, *us.options(), "--allow-static-keys")
        done.refused(3, "--images", "in us-east-1 (the bucket itself)", "residency eu allows")


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect"])
def test_a_redirect_is_refused_by_the_region_it_leads_to_and_not_followed(
    images: Bucket, elsewhere: Front, status: str
) -> None:
    with standing_before(images.s3.server) as front:
        headers = {"location": f"{elsewhere.url}/{images.name}", "x_amz_bucket_region": "us-east-1"}
        front.answer = lambda _: answering(status, **headers)
        options = [*images.s3.options(front.url), "--allow-static-keys"]
        done = denied(images, images.s3.environment, *options)
        done.refused(3, "--images", "in us-east-1 (the bucket itself)")
        assert front.heads


def test_a_redirect_that_names_no_region_is_not_followed_either(images: Bucket, elsewhere: Front) -> None:
    with standing_before(images.s3.server) as front:
        front.answer = lambda _: answering("307 Temporary Redirect", location=f"{elsewhere.url}/{images.name}")
        options = [*images.s3.options(front.url), "--allow-static-keys"]
        denied(images, images.s3.environment, *options).refused(1, f"s3://{images.name}")


@pytest.mark.spark
def test_a_redirect_in_mid_run_is_not_followed(images: Bucket, elsewhere: Front) -> None:
    """The server turns once Spark, whose client is another one, fetches images."""
    with standing_before(images.s3.server) as front:

        def turned(head: bytes) -> bytes | None:
            if not head.startswith(b"GET /" + images.name.encode() + b"/images/"):
                return None
            return answering("307 Temporary Redirect", location=elsewhere.url, x_amz_bucket_region="us-east-1")

        front.answer = turned
        options = [*images.s3.options(front.url), "--allow-static-keys", "--components", 2]
        done = run(images.s3.environment, "run", *images.places(), *options)
        assert done.code != 0
        assert any(b"/images/" in head for head in front.heads)


def test_without_any_credentials_one_line_says_how_to_get_some(images: Bucket) -> None:
    done = denied(images, images.s3.sts, *images.s3.options())
    done.refused(1, "AWS identity: no credentials", "AWS_WEB_IDENTITY_TOKEN_FILE")
    assert len(done.lines) == 1


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.spark
def test_endpoints_of_the_environment_lead_nowhere(images: Bucket, elsewhere: Front, name: str) -> None:
    environment = images.s3.environment | {name: elsewhere.url}
    options = [*images.s3.options(), "--allow-static-keys", "--components", 2]
    done = run(environment, "run", *images.places(), *options)
    assert done.code == 0, done.lines


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_not_even_where_the_endpoint_is_awss_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Aws(REGION).s3.meta.endpoint_url == f"https://s3.{REGION}.amazonaws.com"


@pytest.fixture(scope="module")
def pods(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebIdentity]:
    with web_identity(s3, tmp_path_factory.mktemp("tokens")) as given:
        yield given


def as_pod(pods: WebIdentity, bucket: Bucket, **prefixes: tuple[str, ...]) -> dict[str, str]:
    """The environment of a pod whose role may do this much."""
    allowed = {"images": READ, "store": WRITE, "results": WRITE, **prefixes}
    return pods.environment(pods.role("verger", bucket, **allowed), pods.token("verger"))


@pytest.mark.spark
def test_web_identity_is_all_that_a_run_needs(images: Bucket, pods: WebIdentity) -> None:
    done = run(as_pod(pods, images), "run", *images.places(), *images.s3.options(), "--components", 2)
    assert done.code == 0, done.lines
    told = json.loads(images.read("results/run.json"))["identity"]
    assert told["credentials"] == "web identity"
    assert ":assumed-role/role-" in told["arn"]


def test_a_role_that_may_not_write_the_store_is_told_so_and_nothing_is_written(
    images: Bucket, pods: WebIdentity
) -> None:
    environment, before = as_pod(pods, images, store=READ), images.tags("")
    done = run(environment, "run", *images.places(), *images.s3.options())
    done.refused(1, images.url("store"), "access denied to PutObject; let this run's role do that")
    assert images.tags("") == before
    assert images.uploads() == []


@pytest.mark.spark
def test_a_role_that_may_not_write_the_results_is_told_so(images: Bucket, pods: WebIdentity) -> None:
    environment = as_pod(pods, images, results=READ)
    done = run(environment, "run", *images.places(), *images.s3.options(), "--components", 2)
    done.refused(1, "/.verger-", "access denied", "let this run's role do that")
    assert images.objects("results/") == []


@pytest.mark.spark
def test_a_role_that_may_not_read_the_images_is_told_so(images: Bucket, pods: WebIdentity) -> None:
    environment = as_pod(pods, images, images=())
    done = run(environment, "run", *images.places(), *images.s3.options(), "--components", 2)
    done.refused(1, images.url("images"), "access denied", "let this run's role do that")
    assert images.objects("results/") == []


def test_a_role_of_another_service_account_is_refused(images: Bucket, pods: WebIdentity) -> None:
    role = pods.role("verger", images, images=READ, store=WRITE, results=WRITE)
    done = denied(images, pods.environment(role, pods.token("other")), *images.s3.options())
    done.refused(
        1, "AWS identity: the role of AWS_ROLE_ARN can't be assumed", "trust policy must name this service account"
    )
    assert len(done.lines) == 1


def test_a_token_for_somebody_else_is_refused(images: Bucket, pods: WebIdentity) -> None:
    role = pods.role("verger", images, images=READ, store=WRITE, results=WRITE)
    environment = pods.environment(role, pods.token("verger", audience="vault"))
    done = denied(images, environment, *images.s3.options())
    done.refused(1, "AWS identity: the role of AWS_ROLE_ARN can't be assumed", "audience sts.amazonaws.com")


def test_a_token_that_is_not_there_is_named(images: Bucket, tmp_path: Path) -> None:
    environment = {
        "AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/any",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        **images.s3.sts,
    }
    done = denied(images, environment, *images.s3.options())
    done.refused(1, "AWS identity: ", str(tmp_path / "token"), "mount the service account's token there")
    assert len(done.lines) == 1


EXECUTOR = """
import sys
from verger import session
from verger.identity import PROVIDERS
from verger.launch import Launch
from verger.settings import Settings
launch = Launch(Settings.load(images=sys.argv[2], endpoint=sys.argv[3], attest_region="eu-west-3"))
launch.credentials = PROVIDERS[sys.argv[1]]
spark = session.start(launch)
print(spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(sys.argv[2]).count())
"""


@pytest.mark.spark
def test_a_process_without_the_runs_token_fails_and_does_not_use_other_credentials(images: Bucket) -> None:
    """As an executor whose pod has no token of its own: keys lie about in its environment, and are left there."""

    def read(method: str) -> subprocess.CompletedProcess[str]:
        given = [method, f"s3a://{images.name}/images", images.s3.server.url]
        environment = s3server.clean() | NOWHERE | images.s3.environment
        return subprocess.run(
            [sys.executable, "-c", EXECUTOR, *given], capture_output=True, text=True, env=environment, check=False
        )

    assert read("env").stdout == "8\n"
    since = len(images.requests())
    without = read("assume-role-with-web-identity")
    assert without.returncode != 0
    assert "Either the environment variable AWS_WEB_IDENTITY_TOKEN_FILE" in without.stderr
    assert len(images.requests()) == since
