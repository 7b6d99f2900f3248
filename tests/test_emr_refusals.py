"""What a run on EMR is refused for, before EMR is asked for anything: one line each, and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emrcloud import (
    ACCOUNT,
    ELSEWHERE,
    GROUP,
    IMAGE,
    REGION,
    ROLE,
    Answer,
    Cloud,
    Judge,
    Request,
    as_json,
    as_xml,
    said,
    trust_role,
    virtual_cluster,
)

pytestmark = pytest.mark.main
EU = "residency eu allows eu-central-1, eu-north-1, eu-south-1, eu-south-2, eu-west-1, eu-west-3"
MOVE = "use a place there, or another --residency"
BUCKET = f"the bucket itself), and {EU}"
BUCKETS = (
    "images", "store", "results", "projection", "manifest", "event_log", "log_uri", "entry_point", "driver_template",
    "executor_template",
)  # fmt: skip


def started(cloud: Cloud) -> list[Request]:
    return cloud.aws.of("emr-containers", "POST .*/jobruns")


@pytest.mark.parametrize(
    ("given", "code", "line"),
    [
        # Residency
        *(
            ({name: "s3://abroad/a"}, 3, f"--{name.replace('_', '-')} s3://abroad/a: in {ELSEWHERE} ({BUCKET}; {MOVE}")
            for name in BUCKETS
        ),
        (
            {"log_uri": "s3://ireland/logs"},
            2,
            "--log-uri s3://ireland/logs: in eu-west-1, not in eu-west-3; a run stays in one region: give --region "
            "eu-west-1, or a bucket in eu-west-3",
        ),
        (
            {"container_image": IMAGE.replace(REGION, ELSEWHERE)},
            3,
            f"--container-image {IMAGE.replace(REGION, ELSEWHERE)}: in {ELSEWHERE} (its registry's name), and {EU}; "
            f"{MOVE}",
        ),
        (
            {"container_image": IMAGE.replace(REGION, "eu-west-1")},
            2,
            f"--container-image {IMAGE.replace(REGION, 'eu-west-1')}: in eu-west-1, not in eu-west-3; a run stays in "
            "one region: push it to ECR in eu-west-3",
        ),
        (
            {"log_group": f"arn:aws:logs:{ELSEWHERE}:{ACCOUNT}:log-group:mine:*"},
            3,
            f"--log-group arn:aws:logs:{ELSEWHERE}:{ACCOUNT}:log-group:mine:*: in {ELSEWHERE} (its ARN), and {EU}; "
            f"{MOVE}",
        ),
        (
            {"log_group": f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:mine"},
            2,
            f"--log-group arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:mine: in eu-west-1, not in eu-west-3; EMR writes "
            "to log groups of its own region: give one in eu-west-3",
        ),
        (
            {"spark_conf": "spark.hadoop.fs.s3a.endpoint.region=us-east-1"},
            3,
            "--spark-conf spark.hadoop.fs.s3a.endpoint.region: not for a property to say; leave it out: a run stays in "
            "one region: give --region, or --endpoint",
        ),
        (
            {"spark_conf": "spark.driver.extraJavaOptions=-Dspark.hadoop.fs.s3a.bucket.b.endpoint=s3.amazonaws.com"},
            3,
            "--spark-conf spark.hadoop.fs.s3a.bucket.b.endpoint: not for a property to say; leave it out: a run stays "
            "in one region: give --region, or --endpoint",
        ),
        (
            {"spark_conf": "spark.hadoop.fs.s3a.cross.region.access.enabled=true"},
            3,
            "--spark-conf spark.hadoop.fs.s3a.cross.region.access.enabled: not for a property to say; leave it out: a "
            "run stays in one region",
        ),
        (
            {"spark_conf": "spark.eventLog.dir=s3://abroad/events"},
            3,
            "--spark-conf spark.eventLog.dir: not for a property to say; leave it out: give --event-log, which is "
            "checked",
        ),
        (
            {"spark_conf": "spark.hadoop.fs.s3a.secret.key=x"},
            2,
            "--spark-conf spark.hadoop.fs.s3a.secret.key: not for a property to say; leave it out: the role is the "
            "identity",
        ),
        (
            {"spark_conf": "spark.kubernetes.driverEnv.AWS_SECRET_ACCESS_KEY=x"},
            2,
            "--spark-conf spark.kubernetes.driverEnv.AWS_SECRET_ACCESS_KEY: not for a property to say; leave it out: "
            "the role is the identity",
        ),
        # The run's places and its image
        (
            {"images": "/data/images"},
            2,
            "--images /data/images: a folder of this machine, which EMR's pods don't have; give s3://bucket/prefix",
        ),
        (
            {"log_uri": "/logs"},
            2,
            "--log-uri /logs: a folder of this machine, which EMR's pods don't have; give s3://bucket/prefix",
        ),
        ({"images": None}, 2, "--images is missing; give it, or set VERGER_IMAGES"),
        (
            {"images": "s3://nowhere/images"},
            1,
            "s3://nowhere: no such bucket (HeadBucket); correct the location, or make the bucket",
        ),
        (
            {"container_image": None},
            2,
            "--container-image is missing; give the one that `make image TARGET=emr` made, in ECR",
        ),
        (
            {"container_image": "public.ecr.aws/emr-on-eks/spark/emr-7.13.0:latest"},
            2,
            "--container-image public.ecr.aws/emr-on-eks/spark/emr-7.13.0:latest: EMR's own, which has no "
            "local:///opt/verger/main.py; give the one that `make image TARGET=emr` makes on it",
        ),
        (
            {"container_image": IMAGE.replace("1.0", "2.0")},
            2,
            f"--container-image {IMAGE.replace('1.0', '2.0')}: not there (ImageNotFoundException); push it, or correct "
            "it",
        ),
        (
            {"container_image": IMAGE.replace("verger-emr", "other")},
            2,
            f"--container-image {IMAGE.replace('verger-emr', 'other')}: not there (RepositoryNotFoundException); push "
            "it, or correct it",
        ),
        (
            {"entry_point": "/opt/verger/main.py"},
            2,
            "--entry-point /opt/verger/main.py: neither in the image nor in a bucket; write local:///... or s3://",
        ),
        # Logs and pod templates
        (
            {"log_group": "/emr/none"},
            2,
            "--log-group /emr/none: no such log group in eu-west-3, where the virtual cluster is; make it: `aws logs "
            "create-log-group --log-group-name /emr/none`",
        ),
        (
            {"driver_template": "/no/pod.yaml", "log_uri": "s3://fruits/logs"},
            2,
            "--driver-template /no/pod.yaml: No such file or directory; give a readable file",
        ),
        # Names and lengths, which are EMR's
        ({"name": "x" * 65}, 2, f"--name {'x' * 60}...: 65 characters, and EMR takes 64; shorten it"),
        ({"name": "my run"}, 2, r"--name my run: EMR takes what matches [\.\-_/#A-Za-z0-9]+; correct it"),
        (
            {"release_label": "emr 7"},
            2,
            r"--release-label emr 7: EMR takes what matches [\.\-_/A-Za-z0-9]+; correct it",
        ),
        ({"client_token": "t" * 65}, 2, f"--client-token {'t' * 60}...: 65 characters, and EMR takes 64; shorten it"),
        (
            {"log_group": "my group"},
            2,
            r"--log-group my group: EMR takes what matches [\.\-_/#A-Za-z0-9]+; correct it",
        ),
        (
            {"entry_point": f"local:///{'e' * 300}"},
            2,
            f"--entry-point local:///{'e' * 51}...: 309 characters, and EMR takes 256; shorten it",
        ),
        ({"tags": f"{'k' * 129}=v"}, 2, f"--tags {'k' * 60}...: 129 characters, and EMR takes 128; shorten it"),
        (
            {"spark_conf": f"spark.x={'v' * 1025}"},
            2,
            f"--spark-conf {'v' * 60}...: 1025 characters, and EMR takes 1024; shorten it",
        ),
        ({"tags": "fruit"}, 2, "--tags fruit: no pair; write NAME=VALUE"),
        (
            {"executor_memory": "4 GB"},
            2,
            r"--executor-memory 4 GB: string should match pattern '^[1-9]\d*[mg]$'; it means: Heap of an executor's "
            "JVM.",
        ),
        ({"executors": "0"}, 2, "--executors 0: input should be greater than or equal to 1; it means: Executors."),
        # The role and the virtual cluster
        ({"execution_role": None}, 2, "--execution-role is missing; give the ARN of the role that the run's pods take"),
        (
            {"execution_role": f"{ROLE}-none"},
            2,
            f"--execution-role {ROLE}-none: no such role; correct it, or make it",
        ),
        (
            {"execution_role": ROLE.replace(ACCOUNT, "999999999999")},
            2,
            f"--execution-role {ROLE.replace(ACCOUNT, '999999999999')}: of account 999999999999, the virtual cluster "
            f"is of {ACCOUNT}; give a role of {ACCOUNT}",
        ),
        ({"virtual_cluster": None}, 2, "--virtual-cluster is missing; give its id or name"),
        (
            {"virtual_cluster": "orchard"},
            2,
            "--virtual-cluster orchard: no such virtual cluster in eu-west-3; there are: verger",
        ),
        (
            {"virtual_cluster": "0" * 25},
            2,
            f"--virtual-cluster {'0' * 25}: no such virtual cluster in eu-west-3; `aws emr-containers "
            "list-virtual-clusters` shows those there are",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_run_is_refused(shared: Cloud, given: dict[str, str | None], code: int, line: str) -> None:
    assert shared.refusal("submit", *shared.options(**given)) == (code, line)
    assert started(shared) == []


def test_what_is_wrong_with_names_is_told_without_asking_anybody(cloud: Cloud) -> None:
    cloud.aws.requests.clear()
    cloud.refusal("submit", *cloud.options(name="my run"))
    assert cloud.aws.requests == []


@pytest.mark.parametrize("state", ["TERMINATED", "ARRESTED"])
def test_a_virtual_cluster_that_takes_no_runs(cloud: Cloud, state: str) -> None:
    cloud.cluster_kept().state = state
    line = f"{state}, and only one that is RUNNING takes job runs; give another"
    for given in ("verger", cloud.cluster):
        told = cloud.refusal("submit", *cloud.options(virtual_cluster=given))
        assert told == (2, f"--virtual-cluster {given}: {line}")


def test_a_name_of_several_virtual_clusters(cloud: Cloud) -> None:
    other = virtual_cluster(cloud.aws, "verger", "other")
    ids = ", ".join(sorted((cloud.cluster, other)))
    assert cloud.refusal("submit", *cloud.options()) == (
        2,
        f"--virtual-cluster verger: the name of 2 virtual clusters; give the id of one: {ids}",
    )
    cloud.cluster_kept().state = "TERMINATED"  # the name is another's since
    code, line = cloud.refusal("submit", *cloud.options())
    assert (code, "does not let system:serviceaccount:other:emr-containers-sa-" in line) == (2, True)


def test_a_role_that_another_namespaces_accounts_may_take(cloud: Cloud) -> None:
    trust_role(cloud.aws, "other", cloud.issuer, namespace="other")
    role = f"{ROLE.rpartition('/')[0]}/other"
    subject = "system:serviceaccount:verger:emr-containers-sa-spark-client-123456789012-"
    code, line = cloud.refusal("submit", *cloud.options(execution_role=role))
    assert code == 2
    assert line.startswith(f"--execution-role {role}: its trust policy does not let {subject}")
    assert line.endswith(
        " take it; `aws emr-containers update-role-trust-policy --cluster-name farm --namespace verger --role-name "
        "other` mends it"
    )


def test_a_role_that_trusts_another_clusters_issuer(cloud: Cloud) -> None:
    trust_role(cloud.aws, "other", "oidc.eks.eu-west-3.amazonaws.com/id/OTHER")
    code, line = cloud.refusal("submit", *cloud.options(execution_role=f"{ROLE.rpartition('/')[0]}/other"))
    assert (code, "its trust policy does not let system:serviceaccount:verger:emr-containers-sa-" in line) == (2, True)


def test_a_pod_template_without_sparks_container(cloud: Cloud, tmp_path: Path) -> None:
    pod = tmp_path / "pod.yaml"
    pod.write_text("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: mine}]}")
    given = cloud.options(executor_template=str(pod), log_uri="s3://fruits/logs")
    assert cloud.refusal("submit", *given) == (
        2,
        f"--executor-template {pod}: has the containers mine; Spark's own must be named spark-kubernetes-executor",
    )
    pod.write_text("kind: Job")
    told = f"--executor-template {pod}: not a Pod; write apiVersion: v1, kind: Pod, spec: ..."
    assert cloud.refusal("submit", *given) == (2, told)
    pod.write_text("kind: Pod")
    told = f"--executor-template {pod}: a file of this machine, to be put below --log-uri; give that, or s3://"
    assert cloud.refusal("submit", *cloud.options(executor_template=str(pod))) == (2, told)


# What AWS answers


EXPIRED = "the credentials have expired or are unknown to AWS ({}: {}); sign in again, and run again"
BUSY = "AWS asks for fewer requests ({}: {}); wait a minute, and run again"
MAY_NOT = "access denied to {}; let this run's role do that, or correct the location"
LIST, NAMED = "GET /virtualclusters", "--virtual-cluster verger"


def only(action: str, answer: Answer) -> Judge:
    return lambda request: answer if request.action == action else None


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (403, "ExpiredTokenException", EXPIRED),
        (403, "UnrecognizedClientException", EXPIRED),
        (429, "TooManyRequestsException", BUSY),
        (400, "ThrottlingException", BUSY),
        (403, "AccessDeniedException", MAY_NOT),
    ],
)
def test_what_aws_refuses_is_one_line(cloud: Cloud, status: int, kind: str, said: str) -> None:
    cloud.aws.judge = only(LIST, as_json(status, kind))
    told = f"{NAMED}: {said.format('ListVirtualClusters', kind)}"
    assert cloud.refusal("submit", *cloud.options()) == (1, told)


def test_expired_credentials_are_told_before_anything_else(cloud: Cloud) -> None:
    cloud.aws.judge = only("GetCallerIdentity", as_xml(403, "ExpiredToken"))
    told = f"AWS identity: {EXPIRED.format('GetCallerIdentity', 'ExpiredToken')}"
    assert cloud.refusal("submit", *cloud.options()) == (1, told)


def test_an_answer_that_is_lost_is_found_again_by_its_token(cloud: Cloud) -> None:
    start = f"POST /virtualclusters/{cloud.cluster}/jobruns"
    cloud.aws.judge = only(start, as_json(500, "InternalServerException"))
    code, line = cloud.refusal("submit", *cloud.options())
    tokens = {request.plain["clientToken"] for request in started(cloud)}
    assert (code, len(tokens)) == (1, 1)  # all tries of a command are the same run
    assert line.endswith(f"; by `--client-token {tokens.pop()}`, the next try is the same run")


def test_throttling_is_waited_out(cloud: Cloud) -> None:
    refused: list[Request] = []

    def judge(request: Request) -> Answer | None:
        if request.action == "GET /virtualclusters" and len(refused) < 2:
            refused.append(request)
            return as_json(400, "ThrottlingException", "Rate exceeded")
        return None

    cloud.aws.judge = judge
    done = cloud.submit("--dry-run")
    assert (done.code, len(refused), said(done)) == (0, 2, [])


def test_no_credentials_and_keys_that_never_expire(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = dict(cloud.aws.environment)
    del environment["AWS_SESSION_TOKEN"]
    monkeypatch.setattr(type(cloud.aws), "environment", environment)
    code, line = cloud.refusal("submit", *cloud.options())
    assert (code, line) == (
        2,
        "AWS key ASIA... (env): a static key, which never expires; use web identity, or --allow-static-keys for a test",
    )
    del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    assert cloud.refusal("submit", *cloud.options()) == (
        1,
        "AWS identity: no credentials; run with web identity (IRSA: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE), "
        "EKS Pod Identity or a signed-in profile",
    )
    assert cloud.refusal("status", "0" * 19, "--virtual-cluster", "verger") == (
        1,
        "--virtual-cluster verger: no credentials for AWS; run with web identity (IRSA, EKS Pod Identity) or a "
        "signed-in profile",
    )


@pytest.mark.parametrize(
    ("action", "answer", "what", "operation"),
    [
        ("GetRole", as_xml(403, "AccessDenied"), f"--execution-role {ROLE}", "GetRole"),
        ("GET /clusters/farm", as_json(403, "AccessDeniedException"), "EKS cluster farm", "DescribeCluster"),
        ("DescribeImages", as_json(400, "AccessDeniedException"), f"--container-image {IMAGE}", "DescribeImages"),
        ("DescribeLogGroups", as_json(400, "AccessDeniedException"), f"--log-group {GROUP}", "DescribeLogGroups"),
    ],
)
def test_what_this_user_may_not_see_is_not_checked_and_said(
    cloud: Cloud, action: str, answer: Answer, what: str, operation: str
) -> None:
    cloud.aws.judge = only(action, answer)
    done = cloud.submit("--dry-run", log_group=GROUP)
    assert (done.code, said(done)) == (0, [f"not checked: {what}: {MAY_NOT.format(operation)}"])


def test_a_bucket_that_tells_nothing_is_refused(cloud: Cloud) -> None:
    """Residency fails closed."""

    def judge(request: Request) -> Answer | None:
        return as_xml(403, "AccessDenied") if request.service == "s3" else None

    cloud.aws.judge = judge
    code, line = cloud.refusal("submit", *cloud.options())
    assert (code, line) == (
        1,
        "s3://fruits: access denied to GetBucketLocation; let this run's role do that, or correct the location",
    )


def test_commands_find_runs_in_allowed_regions_only(cloud: Cloud) -> None:
    run = cloud.start()
    line = f"--region us-east-1: in us-east-1 (its name), and {EU}; {MOVE}"
    there = ("--virtual-cluster", "verger")
    assert cloud.refusal("status", run, *there, "--region", "us-east-1") == (3, line)
    assert cloud.refusal("status", "0" * 19, *there) == (
        2,
        f"{'0' * 19}: no such job run in virtual cluster {cloud.cluster}; `verger emr list` shows those there are",
    )
    assert cloud.refusal("status", run) == (
        2,
        "--virtual-cluster is missing; give its id or name, or set VERGER_EMR_VIRTUAL_CLUSTER",
    )
    assert cloud.refusal("logs", run, *there) == (
        2,
        f"{run}: started without --log-uri or --log-group, so that its logs went with its pods",
    )
