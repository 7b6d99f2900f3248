"""The `emr` image on a real Kubernetes and a real S3, by the request that start-job-run takes: `make e2e`.

The image stands on image/emr-stand-in, and tests.emrjobs does there what EMR does. What is ours is real: the image, the
request, k8s/emr with its pod templates, and the role of k8s/aws, taken by accounts that are named as EMR names them.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from verger.emr.options import Options
from verger.emr.request import start
from verger.settings import Settings

from tests import clusterserver
from tests.clusterserver import S3_IMAGE, ClusterS3
from tests.conftest import Runner
from tests.emrjobs import EMR, VirtualCluster
from tests.s3server import REGION, Bucket
from tests.templates import ROOT, filled
from tests.test_emr_docs import FOR_KUBECTL
from tests.test_pipeline import assert_same
from tests.webidentity import AUDIENCE, kubectl

IMAGE = os.environ.get("VERGER_TEST_EMR_IMAGE", "")
pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.spark,
    pytest.mark.main,
    pytest.mark.skipif(
        not (IMAGE and S3_IMAGE),
        reason="VERGER_TEST_EMR_IMAGE names no `emr` image in the cluster, or VERGER_TEST_S3_IMAGE none of k8s/s3",
    ),
]
ON_DEMAND = "karpenter.sh/capacity-type"
PLACES = {"images": "read", "store": "write", "results": "write"}


@dataclass
class Farm:
    """A virtual cluster, a server with one bucket, and the execution role of EMR's runs."""

    s3: ClusterS3
    bucket: Bucket
    cluster: VirtualCluster

    def token(self, account: str) -> str:
        """A token of a service account, which is made when there is none."""
        space = self.cluster.namespace
        subprocess.run(["kubectl", "-n", space, "create", "serviceaccount", account], capture_output=True)
        return kubectl("-n", space, "create", "token", account, "--audience", AUDIENCE)

    def run(self, name: str, request: dict[str, Any], seconds: float = 600) -> tuple[int, str]:
        """The exit code of a job's driver, and what it printed."""
        self.cluster.start(name, request)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for pod in self.cluster.pods(name):
                if pod["metadata"]["labels"][f"{EMR}/component"] == "driver":
                    for container in pod["status"].get("containerStatuses", []):
                        if (ended := container["state"].get("terminated")) is not None:
                            return int(ended["exitCode"]), self.cluster.log(name)
            time.sleep(1)
        raise AssertionError(kubectl("-n", self.cluster.namespace, "describe", "pods"))


def typed(block: str, **names: str) -> None:
    """Commands of docs/emr.md, as a user types them."""
    command = ["bash", "-euo", "pipefail", "-c", block]
    subprocess.run(command, cwd=ROOT, env=os.environ | names, check=True)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """All that docs/emr.md has made once: by its commands in the cluster, and on AWS of the files that it names."""
    *once, back = FOR_KUBECTL
    namespace, role = f"emr-{uuid4().hex[:8]}", f"emr-{uuid4().hex[:8]}"
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    with clusterserver.serving(tmp_path_factory.mktemp("farm")) as s3:
        iam, bucket = s3.client("iam"), s3.bucket()
        provider = iam.create_open_id_connect_provider(Url=s3.issuer, ClientIDList=[AUDIENCE])
        account = provider["OpenIDConnectProviderArn"].split(":")[4]
        oidc = str(s3.issuer).removeprefix("https://")
        trust = filled("aws/trust-irsa-emr.json", OIDC=oidc, ACCOUNT=account, NAMESPACE=namespace, ROLE=role)
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
        for prefix, policy in PLACES.items():
            document = filled(f"aws/{policy}.json", BUCKET=bucket.name, PREFIX=prefix)
            iam.put_role_policy(RoleName=role, PolicyName=prefix, PolicyDocument=document)
        try:
            names = {"NAMESPACE": namespace, "ACCOUNT": account, "ROLE": role, "SERVICE_ACCOUNT": "verger"}
            for block in once:
                typed(block, **names)
            kubectl("label", "node", node, f"{ON_DEMAND}=on-demand", "--overwrite")
            regions = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
            environment = regions | {"AWS_ENDPOINT_URL_STS": s3.inside("iam")}
            accounts = json.loads(trust)["Statement"][1]["Condition"]["StringLike"][f"{oidc}:sub"]
            yield Farm(s3, bucket, VirtualCluster(namespace, account, role, accounts.rpartition("-")[2], environment))
        finally:
            kubectl("label", "node", node, f"{ON_DEMAND}-")
            typed(back, NAMESPACE=namespace)


def request(farm: Farm, components: int, **properties: str) -> dict[str, Any]:
    """What `verger emr submit` asks EMR for; `properties` are Spark's, with __ for dots, as little CPU as it takes."""
    options = Options.load(
        execution_role=f"arn:aws:iam::{farm.cluster.account}:role/{farm.cluster.role}",
        **{"driver_memory": "1g", "executor_memory": "1g", "executor_overhead": "1g", "executor_cores": 1},
        spark_conf={
            "spark.kubernetes.driver.request.cores": "100m",
            "spark.kubernetes.executor.request.cores": "100m",
            **{key.replace("__", "."): value for key, value in properties.items()},
        },
    )
    settings = Settings.load(
        **{place: farm.bucket.url(place) for place in PLACES},
        **{"endpoint": farm.s3.inside("s3"), "attest_region": REGION, "allow_http": True},
        **{"container_image": IMAGE, "components": components, "overwrite": True},
    )
    return start(settings, options, "0", "token")


def test_the_role_is_for_emrs_accounts_of_this_role_and_for_our_own(farm: Farm) -> None:
    arn = f"arn:aws:iam::{farm.cluster.account}:role/{farm.cluster.role}"
    sts = farm.s3.client("sts")

    def take(account: str) -> None:
        sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="test", WebIdentityToken=farm.token(account))

    for part in ("client", "driver", "executor"):
        take(farm.cluster.service_account(part))
    take("verger")
    for other in ("default", farm.cluster.service_account("driver").rpartition("-")[0] + "-0another0role"):
        with pytest.raises(ClientError, match=r"AccessDenied|InvalidIdentityToken"):  # AWS says the first
            take(other)


@pytest.mark.real
def test_a_job_gives_what_a_local_run_gives(
    farm: Farm, run: Runner, orchard: Path, weights: dict[str, object], tmp_path: Path
) -> None:
    if "untrained" in weights:
        pytest.skip("VERGER_WEIGHTS names no real weights, which the image has")
    farm.bucket.upload(orchard, "images")
    code, printed = farm.run("0000fruits", request(farm, 5))
    assert code == 0, printed
    assert "64 images: 64 embedded, 0 reused, 0 failed" in printed
    manifest = json.loads(farm.bucket.read("results/run.json"))
    assert manifest["identity"]["arn"].startswith(
        f"arn:aws:sts::{farm.cluster.account}:assumed-role/{farm.cluster.role}/"
    )
    assert manifest["identity"]["credentials"] == "web identity"
    assert manifest["master"].startswith("k8s://")
    assert manifest["settings"]["s3a"] == "emr"
    assert (manifest["versions"]["spark"][:4], manifest["versions"]["python"][:5]) == ("3.5.", "3.11.")
    # The job's own committer wrote them, and each image was read once.
    assert json.loads(farm.bucket.read("results/pca.parquet/_SUCCESS"))["committer"] == "magic"
    assert len(farm.bucket.requests("GetObject", under="images/")) == 64
    assert_same(run(orchard).results, farm.bucket.download("results", tmp_path / "downloaded"))
    placed_and_locked_in(farm.cluster.pods("0000fruits"))


def placed_and_locked_in(pods: list[dict[str, Any]]) -> None:
    """The driver's pod has the template's place beside what EMR says of it."""
    (driver,) = (pod for pod in pods if pod["metadata"]["labels"][f"{EMR}/component"] == "driver")
    assert driver["spec"]["nodeSelector"] == {ON_DEMAND: "on-demand"}
    assert driver["metadata"]["labels"]["app.kubernetes.io/name"] == "verger"
    (container,) = driver["spec"]["containers"]
    assert container["securityContext"]["runAsUser"] == 999
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["name"] == "spark-kubernetes-driver"


def test_a_job_whose_own_settings_lead_elsewhere_is_refused(farm: Farm, orchard: Path) -> None:
    farm.bucket.put("images/Kaki/1.jpg", next(orchard.rglob("*.jpg")).read_bytes())
    before = farm.bucket.tags("results")
    own = {"spark__hadoop__fs__s3a__endpoint__region": "us-east-1"}
    code, printed = farm.run("0000elsewhere", request(farm, 2, **own))
    assert code == 3, printed
    told = [line for line in printed.splitlines() if line.startswith("verger: ")]
    assert told == [
        "verger: fs.s3a.endpoint.region=us-east-1: set for this job, but the run needs eu-west-3; leave it out of the "
        "job's spark-defaults and core-site, or correct it"
    ]
    assert farm.bucket.tags("results") == before
