"""What is set up once (k8s/), as far as that can be told without a cluster and without AWS."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from verger.residency import EU

from tests.templates import FOLDER, ROOT, SAMPLE, actions, fill, filled

pytestmark = pytest.mark.main
AWS = sorted(file.name for file in (FOLDER / "aws").glob("*.json"))
TRUST = [name for name in AWS if name.startswith("trust-")]
GRANTS = ["key.json", "read.json", "write.json"]
DENIALS = ["bucket-policy.json", "scp-eu.json"]
MANIFESTS = sorted(
    str(file.relative_to(FOLDER))
    for file in FOLDER.rglob("*.yaml")
    if file.name not in ("values.yaml", "cluster.yaml") and file.parent.name != "pods"
)
EMRS_GRANTS = ["emr/logs.json", "emr/submit.json"]
IRSA = "system:serviceaccount:verger:"


def statements(name: str, folder: str = "aws") -> list[dict[str, Any]]:
    document = json.loads(filled(f"{folder}/{name}"))
    assert document["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = document["Statement"]
    return found


def test_these_are_the_templates_that_are_tested() -> None:
    assert [*TRUST, *GRANTS, *DENIALS, "bucket-lifecycle.json"] == sorted(AWS, key=order)
    assert len(MANIFESTS) == 8
    assert sorted(f"emr/{file.name}" for file in (FOLDER / "emr").glob("*.json")) == EMRS_GRANTS


def order(name: str) -> int:
    return [*TRUST, *GRANTS, *DENIALS, "bucket-lifecycle.json"].index(name)


@pytest.mark.parametrize("name", AWS)
def test_a_template_is_json_before_and_after_it_is_filled(name: str) -> None:
    json.loads((FOLDER / "aws" / name).read_text())
    assert "${" not in filled(f"aws/{name}")


@pytest.mark.parametrize("name", GRANTS)
def test_what_is_granted_is_named_one_by_one(name: str) -> None:
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert not [action for action in actions(statement) if "*" in action]
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            assert re.fullmatch(
                r"arn:aws:(s3:::fruits(/store(/\*)?)?|kms:eu-west-3:123456789012:key/[0-9a-f-]+)", resource
            )


@pytest.mark.parametrize("name", ["read.json", "write.json"])
def test_names_are_listed_below_the_prefix_only(name: str) -> None:
    (listing,) = (statement for statement in statements(name) if "s3:ListBucket" in actions(statement))
    assert actions(listing) == ["s3:ListBucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["store", "store/*"]}}


def test_the_key_is_used_by_way_of_s3_only() -> None:
    (only,) = statements("key.json")
    assert only["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-3.amazonaws.com"}}


def test_the_grants_are_what_the_page_on_s3_says_a_role_must_be_allowed() -> None:
    page = (ROOT / "docs/s3.md").read_text().partition("## How credentials")[0]
    granted = {action for name in GRANTS for statement in statements(name) for action in actions(statement)}
    assert granted == set(re.findall(r"`((?:s3|kms):\w+)`", page))
    read = {action for statement in statements("read.json") for action in actions(statement)}
    assert read == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


@pytest.mark.parametrize("name", ["trust-irsa.json", "trust-irsa-emr.json"])
def test_one_service_account_may_take_the_role_and_it_is_named_in_full(name: str) -> None:
    statement = statements(name)[0]
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{SAMPLE['OIDC']}"}
    assert actions(statement) == ["sts:AssumeRoleWithWebIdentity"]
    assert statement["Condition"] == {
        "StringEquals": {f"{SAMPLE['OIDC']}:sub": f"{IRSA}verger", f"{SAMPLE['OIDC']}:aud": "sts.amazonaws.com"}
    }


def test_emrs_own_service_accounts_are_known_by_account_and_role() -> None:
    (only,) = statements("trust-irsa-emr.json")[1:]
    assert only["Condition"] == {
        "StringLike": {f"{SAMPLE['OIDC']}:sub": f"{IRSA}emr-containers-sa-*-*-123456789012-1a56zhlzsi"},
        "StringEquals": {f"{SAMPLE['OIDC']}:aud": "sts.amazonaws.com"},
    }


def test_emrs_runs_may_write_to_one_log_group() -> None:
    write, find = statements("logs.json", "emr")
    assert actions(write) == ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    assert write["Resource"] == "arn:aws:logs:eu-west-3:123456789012:log-group:/verger/runs:*"
    assert actions(find) == ["logs:DescribeLogGroups"]  # IAM knows no group for it


def test_who_submits_may_start_runs_by_one_role_in_one_virtual_cluster() -> None:
    start, watch, find, templates, see, read = statements("submit.json", "emr")
    here = "arn:aws:emr-containers:eu-west-3:123456789012:/virtualclusters/abcdefghijklmnopqrstuvwxy"
    assert (actions(start), start["Resource"]) == (["emr-containers:StartJobRun"], here)
    role = {"emr-containers:ExecutionRoleArn": "arn:aws:iam::123456789012:role/verger"}
    assert start["Condition"] == {"StringEquals": role}
    assert watch["Resource"] == [here, f"{here}/jobruns/*"]
    assert actions(find) == ["emr-containers:ListVirtualClusters"]  # IAM knows no resource for it
    assert templates["Resource"] == "arn:aws:emr-containers:eu-west-3:123456789012:/jobtemplates/*"
    assert "arn:aws:s3:::fruits" in see["Resource"]  # its names, and no object
    assert read["Resource"] == "arn:aws:logs:eu-west-3:123456789012:log-group:/verger/runs:*"


# What EMR takes in a pod template, and what it has there itself:
# https://docs.aws.amazon.com/emr/latest/EMR-on-EKS-DevelopmentGuide/pod-templates.html
TEMPLATE = {"apiVersion", "kind", "metadata", "spec"}
POD = {
    "activeDeadlineSeconds", "affinity", "containers", "enableServiceLinks", "ephemeralContainers", "hostAliases",
    "hostname", "imagePullSecrets", "initContainers", "nodeName", "nodeSelector", "overhead", "preemptionPolicy",
    "priority", "priorityClassName", "readinessGates", "runtimeClassName", "schedulerName", "subdomain",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
}  # fmt: skip
CONTAINER = {
    "env", "envFrom", "name", "lifecycle", "livenessProbe", "readinessProbe", "resources", "startupProbe", "stdin",
    "stdinOnce", "terminationMessagePath", "terminationMessagePolicy", "tty", "volumeDevices", "volumeMounts",
    "workingDir",
}  # fmt: skip


@pytest.mark.parametrize("part", ["driver", "executor"])
def test_a_pod_template_has_only_what_emr_takes_in_one(part: str) -> None:
    template = yaml.safe_load((FOLDER / "emr/pods" / f"{part}.yaml").read_text())
    (container,) = template["spec"]["containers"]
    assert container["name"] == f"spark-kubernetes-{part}"
    assert (set(template) - TEMPLATE, set(template["spec"]) - POD, set(container) - CONTAINER) == (set(), set(), set())


def test_pod_identity_gives_the_role_to_one_service_account_of_one_cluster() -> None:
    (only,) = statements("trust-pod-identity.json")
    assert only["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert actions(only) == ["sts:AssumeRole", "sts:TagSession"]
    assert only["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:eu-west-3:123456789012:cluster/farm",
        "aws:RequestTag/kubernetes-namespace": "verger",
        "aws:RequestTag/kubernetes-service-account": "verger",
    }


@pytest.mark.parametrize("name", DENIALS)
def test_what_guards_a_bucket_or_an_organisation_only_denies(name: str) -> None:
    assert {statement["Effect"] for statement in statements(name)} == {"Deny"}


def test_the_organisations_regions_are_those_of_the_residency_policy() -> None:
    (only,) = statements("scp-eu.json")
    assert tuple(only["Condition"]["StringNotEquals"]["aws:RequestedRegion"]) == EU


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"BUCKET": ""}, "BUCKET: no value; give it in the environment, as BUCKET=..."),
        ({"BUCKET": "*"}, "BUCKET=*: letters, digits and . : / @ = + - _ only; a * or ? would match more than one"),
        ({"PREFIX": 'a"'}, 'PREFIX=a": letters, digits'),
        ({"PREFIX": "a\nb"}, "PREFIX=a\nb: letters, digits"),
    ],
    ids=str,
)
def test_no_template_is_filled_by_nothing_or_by_a_pattern(changed: dict[str, str], told: str) -> None:
    done = fill("aws/read.json", **SAMPLE | changed)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"aws/read.json: {told}" in done.stderr
    assert "Traceback" not in done.stderr


def test_iams_own_variables_stay(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"a": "${aws:PrincipalAccount}", "b": "${BUCKET}"}')
    assert filled(str(tmp_path / "one.json")) == '{"a": "${aws:PrincipalAccount}", "b": "fruits"}'


@pytest.mark.parametrize(
    ("role", "digits"), [("verger", "1a56zhlzsi"), ("Job-Execution_Role", "66u7ycuggbcnhrfhfmwop92uu5b9")]
)
def test_a_roles_name_is_written_as_awss_own_tool_does(role: str, digits: str) -> None:
    """`aws emr-containers update-role-trust-policy` of AWS CLI 1.46.3 wrote these."""
    assert f"-{digits}" in filled("aws/trust-irsa-emr.json", ROLE=role)


def test_all_pods_that_are_made_here_keep_the_restricted_profile_and_have_no_token() -> None:
    """What only the real API server can say is in test_kubernetes_setup.py; these it does not ask for."""
    (spec,) = (
        document["spec"]["template"]["spec"]
        for document in yaml.safe_load_all(filled("s3/server.yaml"))
        if document["kind"] == "Deployment"
    )
    assert spec["automountServiceAccountToken"] is False
    for container in [*spec["containers"], *spec["initContainers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]


def test_the_operator_watches_the_namespace_of_runs_and_nothing_is_started_without_its_webhook() -> None:
    values = yaml.safe_load(filled("operator/values.yaml", NAMESPACE="orchard"))
    assert values["spark"]["jobNamespaces"] == ["orchard"]
    assert values["webhook"]["enable"] is True
    assert values["webhook"]["failurePolicy"] == "Fail"
    for part in ("webhook", "controller"):
        pod, container = values[part]["podSecurityContext"], values[part]["securityContext"]
        assert pod == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert container == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_index_names_every_file() -> None:
    index = (FOLDER / "README.md").read_text()
    files = [file for file in FOLDER.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    missing = [str(file.relative_to(FOLDER)) for file in files if f"`{file.relative_to(FOLDER)}`" not in index]
    assert missing == ["README.md"]
