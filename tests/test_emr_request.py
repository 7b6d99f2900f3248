"""What EMR is asked for: every request is what botocore's own model of the service takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st
from verger.emr import limits, request, template
from verger.emr.options import Options
from verger.emr.trust import Pods, mistrusted
from verger.errors import SettingsError
from verger.settings import Settings

from tests.emrcloud import ACCOUNT, IMAGE, REGION, ROLE
from tests.templates import SAMPLE, filled

pytestmark = pytest.mark.main
PLACES = {"images": "s3://fruits/images", "store": "s3://fruits/store", "results": "s3://fruits/results"}
ISSUER = SAMPLE["OIDC"]
PODS = Pods("verger", ACCOUNT, ISSUER)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "VERGER_WEIGHTS", "VERGER_UNTRAINED"):
        monkeypatch.delenv(name, raising=False)


def settings(**given: Any) -> Settings:
    return Settings.load(**{**PLACES, "region": REGION, "container_image": IMAGE, **given})


def options(**given: Any) -> Options:
    return Options.load(**{"execution_role": ROLE, **given})


def taken(operation: str, asked: dict[str, Any]) -> None:
    """As botocore checks what it sends, and by the lengths and patterns that its model has beside."""
    shape = limits.model().operation_model(operation).input_shape
    assert shape is not None
    report = ParamValidator().validate(asked, shape)
    assert not report.has_errors(), report.generate_report()
    limits.admit(operation, asked)


def test_a_run_is_the_same_settings_as_arguments_of_the_driver() -> None:
    asked = request.start(settings(components=50, exif=False, policies="uk=eu-west-2"), options(), "abc", "token")
    driver = asked["jobDriver"]["sparkSubmitJobDriver"]
    assert driver["entryPoint"] == "local:///opt/verger/main.py"
    words = driver["entryPointArguments"]
    assert words[:7] == ["run", *(word for name, place in PLACES.items() for word in (f"--{name}", place))]
    assert words[7:] == [
        "--region", REGION, "--policies", "uk=eu-west-2", "--container-image", IMAGE, "--components", "50", "--no-exif",
    ]  # fmt: skip
    taken("StartJobRun", asked)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "components": st.integers(1, 1280), "engine": st.sampled_from(["openvino", "tensorflow"]),
            "overwrite": st.booleans(), "include": st.text("abc*{,}. ", min_size=1), "max_failed": st.just("3%"),
            "exif": st.booleans(), "commit_every": st.integers(1, 10**6), "policies": st.just({"uk": ("eu-west-2",)}),
        },
    )
)  # fmt: skip
def test_the_arguments_are_read_back_as_the_same_settings(given: dict[str, Any]) -> None:
    before = settings(**given)
    words = iter(request.arguments(before)[1:])
    read: dict[str, Any] = {}
    for word in words:
        name = word.removeprefix("--")
        if (flag := name.removeprefix("no-").replace("-", "_")) in ("overwrite", "exif"):
            read[flag] = not name.startswith("no-")
        else:
            read[name.replace("-", "_")] = next(words)
    assert Settings.load(**read) == before


def test_nothing_of_this_machine_goes_to_the_driver(tmp_path: Path) -> None:
    asked = settings(weights="w.h5", cache=str(tmp_path), master="local[2]", allow_static_keys=True, verbose=True)
    assert request.arguments(asked) == request.arguments(settings())


def test_a_projection_makes_it_a_transform() -> None:
    words = request.arguments(settings(projection="s3://fruits/earlier"))
    assert (words[0], words[words.index("--projection") + 1]) == ("transform", "s3://fruits/earlier")


def test_everything_that_emr_is_told_is_what_its_model_takes() -> None:
    told = options(
        name="fruits", spark_conf={"spark.dynamicAllocation.enabled": "true", "a.b": "two words"}, executors=8,
        driver_template="s3://fruits/d.yaml", executor_template="s3://fruits/e.yaml", log_uri="s3a://fruits/logs",
        log_group="/emr/verger", attempts=3, tags={"team": "fruits"}, release_label="emr-7.13.0-20260101",
    )  # fmt: skip
    asked = request.start(settings(), told, "abc", "token")
    taken("StartJobRun", asked)
    (defaults,) = asked["configurationOverrides"]["applicationConfiguration"]
    assert defaults["classification"] == "spark-defaults"
    assert defaults["properties"] == {
        "spark.kubernetes.container.image": IMAGE,
        "spark.pyspark.python": "/opt/verger/venv/bin/python",
        "spark.kubernetes.driver.podTemplateFile": "s3://fruits/d.yaml",
        "spark.kubernetes.executor.podTemplateFile": "s3://fruits/e.yaml",
        "spark.dynamicAllocation.enabled": "true",
        "a.b": "two words",
    }
    assert asked["configurationOverrides"]["monitoringConfiguration"] == {
        "persistentAppUI": "DISABLED",
        "managedLogs": {"allowAWSToRetainLogs": "DISABLED"},
        "s3MonitoringConfiguration": {"logUri": "s3://fruits/logs"},
        "cloudWatchMonitoringConfiguration": {"logGroupName": "/emr/verger", "logStreamNamePrefix": "verger"},
    }
    parameters = asked["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"]
    assert "--conf spark.executor.instances=8 " in parameters
    assert asked["retryPolicyConfiguration"] == {"maxAttempts": 3}
    assert asked["tags"] == {"team": "fruits"}


def test_what_emr_sets_is_not_set_by_verger() -> None:
    asked = json.dumps(request.start(settings(), options(), "abc", "token"))
    for word in ("s3a", "committer", "extraClassPath", "delta", "extraJavaOptions"):
        assert word not in asked


def test_a_template_leaves_the_places_open_and_fixes_the_rest() -> None:
    told = options(log_uri="s3://fruits/logs", tags={"team": "fruits"}, executors=4)
    asked = template.create(settings(images=None, components=50), told, "token")
    taken("CreateJobTemplate", asked)
    data = asked["jobTemplateData"]
    words = data["jobDriver"]["sparkSubmitJobDriver"]["entryPointArguments"]
    assert words[:7] == ["run", "--images", "${images}", "--store", "${store}", "--results", "${results}"]
    assert words[-2:] == ["--components", "50"]
    assert data["parameterConfiguration"] == {
        "images": {"type": "STRING"},
        "store": {"type": "STRING", "defaultValue": PLACES["store"]},
        "results": {"type": "STRING", "defaultValue": PLACES["results"]},
        "executors": {"type": "NUMBER", "defaultValue": "4"},
    }
    assert (
        "spark.executor.instances=${executors} " in data["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"]
    )
    monitoring = data["configurationOverrides"]["monitoringConfiguration"]
    assert monitoring["s3MonitoringConfiguration"] == {"logUri": "s3://fruits/logs"}


def test_the_limits_are_those_of_the_model() -> None:
    asked = request.start(settings(), options(), "abc", "token")
    for change, told in (
        ({"name": "n" * 65}, "--name "),
        ({"virtualClusterId": "A"}, "--virtual-cluster A: EMR takes what matches [0-9a-z]+; correct it"),
        ({"executionRoleArn": "verger"}, "--execution-role verger: "),
        ({"executionRoleArn": ROLE.replace("role", "user")}, "--execution-role arn:"),
        ({"tags": {str(number): "" for number in range(51)}}, "--tags 51 entries: EMR takes 0 to 50; give others"),
        ({"retryPolicyConfiguration": {}}, "retryPolicyConfiguration.maxAttempts is missing; give it"),
        ({"clientToken": " "}, "--client-token  : EMR takes what matches"),
    ):
        with pytest.raises(SettingsError) as error:
            limits.admit("StartJobRun", asked | change)
        assert str(error.value).startswith(told)


def test_emrs_options_come_from_the_same_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "verger.yaml"
    file.write_text(
        "components: 5\nemr:\n  virtual-cluster: farm\n  executors: 3\n  spark_conf: {spark.a: true, spark.b: 2}\n"
        "  tags: {team: fruits}\n"
    )
    assert Settings.load(config=file).components == 5  # and nothing about `emr`
    monkeypatch.setenv("VERGER_EMR_EXECUTORS", "4")
    monkeypatch.setenv("VERGER_EMR_TAGS", "a=1; b=2=3")
    read = Options.load(config=file)
    assert (read.virtual_cluster, read.executors, read.tags) == ("farm", 4, {"a": "1", "b": "2=3"})
    assert read.spark_conf == {"spark.a": "true", "spark.b": "2"}
    assert Options.load(config=file, executors="6").executors == 6


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("emr: [a]", "--config {}: emr: not a mapping; write 'name: value' lines"),
        ("emr: {colour: red}", "colour: no such setting; `verger emr submit --help` lists them"),
        ("emr: {executors: many}", "--executors many: input should be a valid integer, unable to parse string as an "
                                   "integer; it means: Executors."),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "verger.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        Options.load(config=file)
    assert str(error.value) == line.format(file)


# Trust


def trust(**given: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(filled("aws/trust-irsa-emr.json", **given))
    return document


def test_the_projects_own_trust_policy_is_what_emrs_accounts_need() -> None:
    assert mistrusted(trust(), PODS, "verger") is None
    assert mistrusted(trust(), Pods("verger", ACCOUNT, None), "verger") is None  # an issuer that could not be asked for
    pod_identity = json.loads(filled("aws/trust-pod-identity.json"))
    assert mistrusted(pod_identity, PODS, "verger") is None


@pytest.mark.parametrize(
    "given", [{"NAMESPACE": "other"}, {"ROLE": "other"}, {"OIDC": "oidc.eks/other"}, {"ACCOUNT": "999999999999"}]
)
def test_a_trust_policy_that_names_others(given: dict[str, str]) -> None:
    subject = "system:serviceaccount:verger:emr-containers-sa-spark-client-123456789012-1a56zhlzsi"
    assert mistrusted(trust(**given), PODS, "verger") == subject


def test_a_trust_policy_without_emrs_accounts() -> None:
    assert mistrusted(json.loads(filled("aws/trust-irsa.json")), PODS, "verger") is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [("Effect", "Deny"), ("Action", "sts:AssumeRole"), ("Principal", {"Federated": "arn:aws:iam::1:x"})],
)
def test_a_statement_that_does_not_let_them(key: str, value: Any) -> None:
    document = trust()
    document["Statement"][1][key] = value
    assert mistrusted(document, PODS, "verger") is not None


def test_an_audience_of_another() -> None:
    document = trust()
    document["Statement"][1]["Condition"]["StringEquals"][f"{ISSUER}:aud"] = "other"
    assert mistrusted(document, PODS, "verger") is not None
