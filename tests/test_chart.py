"""What the chart makes, and what it refuses, word for word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts import APIS, CHART, EXAMPLES, HELM, NEEDS_HELM, PLACES, helm, one, refusal, rendered, template

pytestmark = [pytest.mark.main, NEEDS_HELM]
LONGEST = "9-" + "long.name" * 5 + "-ends"  # 52 characters, and neither Kubernetes nor Spark would take it as it is
EU = "'eu-central-1', 'eu-north-1', 'eu-south-1', 'eu-south-2', 'eu-west-1', 'eu-west-3'"


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pods of a Job's release by what they are: {"driver": {"metadata":, "spec":}, "executor":, "test":}."""
    executor = yaml.safe_load(one(objects, "ConfigMap")["data"]["executor.yaml"])
    return {"driver": one(objects, "Job")["spec"]["template"], "executor": executor, "test": one(objects, "Pod")}


def spark(objects: list[dict[str, Any]]) -> dict[str, str]:
    """Spark's properties of a Job."""
    lines = one(objects, "ConfigMap")["data"]["spark.properties"].splitlines()
    return dict(line.split(" ", 1) for line in lines)


# --- as documented ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_rendered_as_it_was_reviewed(example: Path) -> None:
    known = [word for api in APIS for word in ("--api-versions", api)]
    made = helm("template", "fruits", str(CHART), "--namespace", "runs", "--values", str(example), *known)
    assert made.returncode == 0, made.stderr
    assert made.stdout == (HELM / "rendered" / example.name).read_text(), "run `make chart` and look at the difference"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_helm_lint_has_nothing_to_say(example: Path) -> None:
    needs = yaml.safe_load(example.read_text())
    made = helm("lint", "--strict", str(CHART), "--values", str(example))
    if needs.get("runner") == "operator":
        assert "this cluster has no SparkApplication" in made.stdout + made.stderr
    elif needs.get("metrics"):
        assert "this cluster has no PodMonitor" in made.stdout + made.stderr
    else:
        assert made.returncode == 0, made.stdout + made.stderr


def test_what_is_made_of_the_values_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, HELM / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_each_value_says_what_it_is() -> None:
    sys.path.insert(0, str(HELM))
    import generate

    values = generate.read(CHART / "values.yaml")
    leaves = [value for outer in values for value in outer.walk() if not value.children]
    silent = [value.path for value in leaves if not value.meaning]
    assert silent == ["networkPolicy.apiServer.cidrs", "networkPolicy.apiServer.ports", "networkPolicy.s3.cidrs"]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"drivr": {}}, "- at '': additional properties 'drivr' not allowed"),
        ({"driver": {"memry": "1g"}}, "- at '/driver': additional properties 'memry' not allowed"),
        ({"settings": {"imagez": 1}}, "- at '/settings': additional properties 'imagez' not allowed"),
        ({"settings": {"region": "us-east-1"}}, f"- at '/settings/region': value must be one of {EU}"),
        ({"settings": {"region": "eu-west-2"}}, f"- at '/settings/region': value must be one of {EU}"),
        ({"settings": {"attest_region": "us-west-2"}}, f"- at '/settings/attest_region': value must be one of {EU}"),
        ({"settings": {"images": "fruits"}}, "- at '/settings/images': 'fruits' does not match pattern '^(s3a?://[^/]+/|/).+'"),
        ({"settings": {"components": 0}}, "- at '/settings/components': minimum: got 0, want 1"),
        ({"settings": {"master": "local"}}, "- at '/settings': additional properties 'master' not allowed"),
        ({"runner": "pod"}, "- at '/runner': value must be one of 'job', 'operator'"),
        ({"executor": {"memory": "2Gi"}}, "- at '/executor/memory': '2Gi' does not match pattern '^[1-9][0-9]*[mg]$'"),
        ({"executor": {"instances": 0}}, "- at '/executor/instances': minimum: got 0, want 1"),
        (
            {"aws": {"roleArn": "verger"}},
            "- at '/aws/roleArn': 'verger' does not match pattern '^(arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)?$'",
        ),
        (
            {"aws": {"roleArn": "arn:aws:iam::123456789012:role/verger", "podIdentity": True}},
            "aws.roleArn and aws.podIdentity are two ways to the same: give the role to the Pod Identity association, "
            "or set podIdentity to false",
        ),
        (
            {"metrics": {"podMonitor": {"create": True}}},
            "metrics.podMonitor.create needs metrics.enabled: set it to true",
        ),
        (
            {"dynamicAllocation": {"enabled": True, "minExecutors": 20}},
            "dynamicAllocation.minExecutors 20 is above maxExecutors 10: lower it",
        ),
        *(
            (
                {"sparkConf": {key: "1"}},
                f"sparkConf.{key} is set by this chart or by Verger: use the chart's values, or the run's settings",
            )
            for key in (
                "spark.master", "spark.kubernetes.namespace", "spark.executor.memory", "spark.driver.port",
                "spark.hadoop.fs.s3a.endpoint", "spark.kubernetes.authenticate.driver.serviceAccountName",
                "spark.kubernetes.executor.container.image", "spark.kubernetes.container.image",
            )
        ),
    ],
    ids=lambda given: json.dumps(given)[:60] if isinstance(given, dict) else "",
)  # fmt: skip
def test_a_wrong_value_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    assert refusal(**given) == sentence


def test_a_run_needs_its_places() -> None:
    made = helm("template", "fruits", str(CHART))
    assert "- at '/settings': missing properties 'images', 'store', 'results'" in made.stderr


def test_an_upgrade_is_refused_with_the_reason() -> None:
    assert refusal("--is-upgrade") == (
        "release fruits is a run, and a run can't be changed: install another release; on the same store it embeds "
        "only what is new"
    )


def test_what_the_cluster_lacks_is_said() -> None:
    assert refusal(runner="operator", apis=()) == (
        "runner operator: this cluster has no SparkApplication (sparkoperator.k8s.io/v1beta2): install Kubeflow's "
        "Spark operator, or set runner to job"
    )
    assert refusal(metrics={"enabled": True, "podMonitor": {"create": True}}, apis=()) == (
        "metrics.podMonitor.create: this cluster has no PodMonitor (monitoring.coreos.com/v1): install the Prometheus "
        "operator, or leave it out"
    )


def test_another_policy_than_eu_takes_its_regions_and_is_loud() -> None:
    uk = {"residency": "uk", "policies": {"uk": ["eu-west-2"]}, "region": "eu-west-2"}
    assert template(settings=uk).returncode == 0
    notes = helm("install", "fruits", str(CHART), "--dry-run=client", given={"settings": {**PLACES, **uk}}).stdout
    assert "RESIDENCY: this run follows the policy `uk`, not `eu`. Data may leave the European Union." in notes


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["job", "operator"])
@pytest.mark.parametrize("release", [LONGEST, "a" * 53, "2026-11-22", "fruits.2026", "on", "fruits"])
def test_names_stay_within_what_kubernetes_and_spark_take(release: str, runner: str) -> None:
    objects = rendered(release, runner=runner)
    names = [each["metadata"]["name"] for each in objects]
    driver = one(objects, "Job" if runner == "job" else "SparkApplication")["metadata"]["name"]
    for name in [*names, f"{driver}-driver", f"{driver}-ui-svc"]:
        assert len(name) <= 63
        assert name[0].isalpha()
        assert all(letter.isalnum() or letter == "-" for letter in name)
    assert len(driver) <= 47  # the prefix of executors' names
    for each in objects:
        for value in each["metadata"]["labels"].values():
            assert len(value) <= 63
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == release


def test_cut_names_stay_apart() -> None:
    names = [one(rendered("a" * 45 + end), "Job")["metadata"]["name"] for end in "xy"]
    assert names[0] != names[1]


# --- secure by default -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["driver", "executor", "test"])
def test_each_pod_is_of_the_restricted_profile_with_a_read_only_root(name: str) -> None:
    spec = pods(rendered())[name]["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 185, "runAsGroup": 185, "fsGroup": 185,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip


def test_executors_have_no_token_of_the_api_server() -> None:
    objects = rendered()
    made = pods(objects)
    assert made["executor"]["spec"]["automountServiceAccountToken"] is False
    assert made["driver"]["spec"]["automountServiceAccountToken"] is True
    account = one(objects, "ServiceAccount", "fruits")
    assert account["automountServiceAccountToken"] is False


def test_web_identity_is_in_driver_and_executors_alike() -> None:
    role = "arn:aws:iam::123456789012:role/verger"
    objects = rendered(aws={"roleArn": role}, settings={"region": "eu-west-3"})
    for name in ("driver", "executor"):
        spec = pods(objects)[name]["spec"]
        container = spec["containers"][0]
        variables = {each["name"]: each.get("value") for each in container["env"]}
        folder = str(Path(variables["AWS_WEB_IDENTITY_TOKEN_FILE"] or "").parent)
        assert variables["AWS_ROLE_ARN"] == role
        assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "eu-west-3"
        mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        volume = next(each for each in spec["volumes"] if each["name"] == mounted[folder])
        assert volume["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
    account = one(objects, "ServiceAccount", "fruits")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": role}


def test_the_drivers_role_is_about_what_spark_makes_and_its_own_job() -> None:
    role = one(rendered(), "Role", "fruits")
    about = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert about == {"pods", "configmaps", "persistentvolumeclaims", "jobs"}
    assert all("*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]) for rule in role["rules"])
    jobs = next(rule for rule in role["rules"] if rule["resources"] == ["jobs"])
    assert (jobs["verbs"], jobs["resourceNames"]) == (["patch"], ["fruits"])


def test_the_network_policy_lets_out_to_the_servers_that_the_run_names() -> None:
    objects = rendered(
        aws={"roleArn": "arn:aws:iam::000000000000:role/verger", "stsEndpoint": "http://10.0.0.1:7076"},
        settings={"endpoint": "http://10.0.0.1:7070", "attest_region": "eu-west-3", "allow_http": True},
    )
    egress = one(objects, "NetworkPolicy", "fruits")["spec"]["egress"]
    assert [port["port"] for rule in egress for port in rule["ports"]] == [7078, 7079, 53, 53, 443, 7070, 7076]
    for rule in egress:
        for where in rule.get("to", []):
            if "ipBlock" in where:
                assert where["ipBlock"]["except"] == ["169.254.0.0/16"]


# --- what values do --------------------------------------------------------------------------------------------------


def test_the_drivers_memory_is_heap_and_overhead() -> None:
    driver = pods(rendered(driver={"memory": "1500m", "memoryOverhead": "2g"}))["driver"]["spec"]
    for container in [*driver["containers"], *driver["initContainers"]]:
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == "3548Mi"


def test_spot_puts_executors_on_spot_nodes_and_the_driver_not() -> None:
    toleration = {"key": "spot", "operator": "Exists"}
    objects = rendered(spot={"enabled": True, "tolerations": [toleration]}, executor={"nodeSelector": {"zone": "a"}})
    driver, executor = pods(objects)["driver"]["spec"], pods(objects)["executor"]["spec"]
    assert driver["nodeSelector"] == {"karpenter.sh/capacity-type": "on-demand"}
    assert executor["nodeSelector"] == {"karpenter.sh/capacity-type": "spot", "zone": "a"}
    assert (driver.get("tolerations"), executor["tolerations"]) == (None, [toleration])
    assert spark(objects)["spark.decommission.enabled"] == "true"


def test_dynamic_allocation_tracks_shuffles_and_has_no_fixed_number() -> None:
    made = spark(rendered(dynamicAllocation={"enabled": True, "maxExecutors": 50}))
    assert made["spark.dynamicAllocation.shuffleTracking.enabled"] == "true"
    assert made["spark.dynamicAllocation.maxExecutors"] == "50"
    assert "spark.executor.instances" not in made


def test_the_settings_are_the_yaml_of_the_command_line() -> None:
    from verger.settings import Settings

    objects = rendered(settings={"region": "eu-west-3", "components": 7, "policies": {"uk": ["eu-west-2"]}})
    file = one(objects, "ConfigMap")["data"]["verger.yaml"]
    settings = Settings(**yaml.safe_load(file))
    assert (settings.components, settings.region, settings.images) == (7, "eu-west-3", PLACES["images"])
    assert settings.policies == {"uk": ("eu-west-2",)}
    assert settings.container_image == "verger:0.1.0"


def test_a_users_property_reaches_spark() -> None:
    assert spark(rendered(sparkConf={"spark.task.maxFailures": "8"}))["spark.task.maxFailures"] == "8"


def test_both_runners_give_their_pods_the_same() -> None:
    given: dict[str, Any] = {"aws": {"roleArn": "arn:aws:iam::123456789012:role/verger"}, "spot": {"enabled": True}}
    job, application = rendered(**given), one(rendered(runner="operator", **given), "SparkApplication")["spec"]
    assert application["executor"]["template"]["spec"] == pods(job)["executor"]["spec"]
    own, theirs = pods(job)["driver"]["spec"], application["driver"]["template"]["spec"]
    for field in ("securityContext", "nodeSelector", "volumes", "automountServiceAccountToken"):
        assert own[field] == theirs[field]
    container, other = own["containers"][0], theirs["containers"][0]
    assert other["securityContext"] == container["securityContext"]
    assert other["volumeMounts"] == container["volumeMounts"]
    ours = {"SPARK_DRIVER_BIND_ADDRESS", "POD_NAME"}
    assert other["env"] == [each for each in container["env"] if each["name"] not in ours]


def test_operators_before_2_1_have_a_pod_in_their_own_fields() -> None:
    given: dict[str, Any] = {
        "runner": "operator", "aws": {"roleArn": "arn:aws:iam::123456789012:role/verger"},
        "spot": {"enabled": True, "tolerations": [{"key": "spot", "operator": "Exists"}]},
    }  # fmt: skip
    old, new = (
        one(rendered(operator={"podTemplates": known}, **given), "SparkApplication")["spec"] for known in (False, True)
    )
    for part in ("driver", "executor"):
        template = new[part].pop("template")
        pod, (container,) = template["spec"], template["spec"]["containers"]
        expected = template["metadata"] | {
            "env": container["env"], "securityContext": container["securityContext"],
            "podSecurityContext": pod["securityContext"],
            "volumeMounts": [mount for mount in container["volumeMounts"] if mount["name"] != "config"],
            **{name: pod[name] for name in ("nodeSelector", "tolerations") if name in pod},
        }  # fmt: skip
        assert {name: value for name, value in old[part].items() if name != "configMaps"} == new[part] | expected
    assert old["driver"]["configMaps"] == [{"name": "fruits", "path": "/etc/verger"}]
    assert {volume["name"] for volume in old["volumes"]} == {"tmp", "aws-iam-token"}
