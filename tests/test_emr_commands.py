"""`verger emr` as a user types it, on moto's services over HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.emrcloud import GROUP, IMAGE, PLACES, REGION, ROLE, Cloud, said
from tests.test_emr_request import taken

pytestmark = pytest.mark.main
THERE = ("--virtual-cluster", "verger")


def test_a_dry_run_prints_the_request_alone_and_starts_nothing(cloud: Cloud) -> None:
    done = cloud.submit("--dry-run", "--executors", 4, "--log-uri", "s3://fruits/logs")
    assert done.code == 0
    assert done.lines[0] == "2 images, 10 bytes, if all are new:"
    assert re.match(r"[\d.]+ vCPU-hours, [\d.]+ GB-hours, \d+ S3 requests \(modelled\)$", done.lines[1])
    assert re.match(r"EKS \$[\d.]+ .*; EMR on EKS \$[\d.]+ .* \(prices of 20", done.lines[2])
    assert len(done.lines) == 3
    asked = json.loads(done.out)
    taken("StartJobRun", asked)
    assert (asked["virtualClusterId"], asked["executionRoleArn"]) == (cloud.cluster, ROLE)
    assert cloud.aws.of("emr-containers", "POST .*/jobruns") == []
    # and it is what starts a run, by EMR's own client
    assert cloud.kept(cloud.aws.client("emr-containers").start_job_run(**asked)["id"]).name == "verger"


def test_what_is_sent_is_what_a_dry_run_shows(cloud: Cloud) -> None:
    shown = json.loads(cloud.submit("--dry-run", "--client-token", "one").out)
    done = cloud.submit("--no-wait", "--client-token", "one")
    (sent,) = cloud.aws.of("emr-containers", "POST .*/jobruns")
    assert (done.code, done.out.strip()) == (0, cloud.kept(done.out.strip()).id)
    assert sent.plain | {"virtualClusterId": cloud.cluster} == shown  # the id is in the address
    again = f"verger emr status {done.out.strip()} --virtual-cluster {cloud.cluster} --region {REGION} --wait"
    assert done.lines == [f"job run {done.out.strip()} in virtual cluster verger; `{again}` finds it again"]


def test_a_policy_that_is_not_the_default_is_said(cloud: Cloud) -> None:
    policy = ("--policies", "all=eu-west-3,us-east-1", "--residency", "all")
    done = cloud.submit("--dry-run", *policy)
    assert (done.code, done.lines[:-3]) == (
        0,
        ["RESIDENCY all: data may be in eu-west-3, us-east-1; eu is the default"],
    )


def test_a_token_makes_two_commands_one_run_and_without_it_they_are_two(cloud: Cloud) -> None:
    assert cloud.start("--client-token", "today") == cloud.start("--client-token", "today")
    assert cloud.start() != cloud.start()


def test_the_least_that_is_typed_is_read_from_a_file(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "verger.yaml"
    places = dict(zip((word.removeprefix("--") for word in PLACES[::2]), PLACES[1::2], strict=True))
    emr = {"virtual_cluster": "verger", "execution_role": ROLE, "executors": 7, "log_group": GROUP}
    file.write_text(yaml.safe_dump(places | {"container_image": IMAGE, "components": 9, "emr": emr}))
    done = cloud.aws.verger("submit", "--config", file, "--dry-run")
    assert done.code == 0, done.lines
    driver = json.loads(done.out)["jobDriver"]["sparkSubmitJobDriver"]
    assert driver["entryPointArguments"][-2:] == ["--components", "9"]
    assert "spark.executor.instances=7 " in driver["sparkSubmitParameters"]


def test_pod_templates_of_this_machine_are_put_below_the_log_uri(cloud: Cloud, tmp_path: Path) -> None:
    pod = tmp_path / "driver.yaml"
    pod.write_text("apiVersion: v1\nkind: Pod\nspec: {nodeSelector: {disk: fast}}\n")
    given = ("--driver-template", pod, "--log-uri", "s3://fruits/logs")
    dry = cloud.submit("--dry-run", *given)
    (properties,) = json.loads(dry.out)["configurationOverrides"]["applicationConfiguration"]
    place = properties["properties"]["spark.kubernetes.driver.podTemplateFile"]
    assert said(dry) == [f"to be put to {place}: a pod template"]
    s3, key = cloud.aws.client("s3"), place.removeprefix("s3://fruits/")
    assert "Contents" not in s3.list_objects_v2(Bucket="fruits", Prefix="logs/")
    cloud.start(*given)
    assert key.startswith("logs/pod-templates/")
    assert s3.get_object(Bucket="fruits", Key=key)["Body"].read() == pod.read_bytes()


def test_runs_are_listed_and_cancelled(cloud: Cloud) -> None:
    runs = [cloud.start("--name", name) for name in ("first", "second")]
    listed = cloud.aws.verger("list", *THERE)
    assert {tuple(line.split())[::4] for line in listed.out.splitlines()} == {(runs[0], "first"), (runs[1], "second")}
    assert len(cloud.aws.verger("list", *THERE, "--most", 1).out.splitlines()) == 1
    done = cloud.aws.verger("cancel", runs[0], *THERE)
    assert (done.code, done.out) == (
        0, f"{runs[0]}: to be cancelled; what was committed to the store is kept, the next run goes on from there\n"
    )  # fmt: skip
    assert cloud.kept(runs[0]).state == "CANCELLED"
    assert cloud.refusal("cancel", runs[0], *THERE) == (2, f"{runs[0]}: CANCELLED, there is nothing to cancel")


# Templates


def test_a_template_is_printed_registered_and_started_from(cloud: Cloud) -> None:
    fixed = cloud.options(virtual_cluster=None, images=None, log_uri="s3://fruits/logs")
    printed = cloud.aws.verger("template", *fixed, "--name", "fruits")
    assert (printed.code, printed.lines) == (0, [])
    taken("CreateJobTemplate", json.loads(printed.out))
    assert cloud.aws.templates == {}
    registered = cloud.aws.verger("template", *fixed, "--name", "fruits", "--register")
    (known,) = cloud.aws.templates
    assert registered.out.strip() == known

    places = ("--images", "s3://fruits/more", "--store", "s3://fruits/store", "--results", "s3://fruits/results")
    done = cloud.aws.verger("submit", *places, *THERE, "--template", known, "--parameters", "executors=9", "--no-wait")
    assert done.code == 0, done.lines
    (sent,) = cloud.aws.of("emr-containers", "POST .*/jobruns")
    asked = sent.plain | {"virtualClusterId": cloud.cluster}
    taken("StartJobRun", asked)
    assert asked["jobTemplateId"] == known
    assert asked["jobTemplateParameters"] == {
        "images": "s3://fruits/more", "store": "s3://fruits/store", "results": "s3://fruits/results", "executors": "9",
    }  # fmt: skip
    assert "executionRoleArn" not in asked


def test_what_a_template_is_refused_for(cloud: Cloud) -> None:
    def refused(**given: str | None) -> tuple[int, str]:
        return cloud.refusal("template", *cloud.options(**{"log_uri": "s3://fruits/logs", **given}))

    for image in (IMAGE.replace(":1.0", ""), IMAGE.replace(":1.0", ":latest")):
        told = (
            f"--container-image {image}: not pinned, and a template is for long; name it by its digest (@sha256:...), "
        )
        assert refused(container_image=image) == (2, f"{told}or a tag that is not latest")
    told = "--log-uri is missing; a template says where logs go: give it, or --log-group"
    assert refused(log_uri=None) == (2, told)
    code, line = refused(log_uri="s3://abroad/logs")
    assert (code, line.startswith("--log-uri s3://abroad/logs: in us-east-1 (the bucket itself), and resid")) == (
        3,
        True,
    )


def test_what_a_run_from_a_template_is_refused_for(cloud: Cloud) -> None:
    known = cloud.aws.verger(
        "template", *cloud.options(images=None, log_uri="s3://fruits/logs"), "--register"
    ).out.strip()

    def refused(*words: str, images: str = "s3://fruits/images") -> tuple[int, str]:
        return cloud.refusal("submit", "--template", known, *THERE, "--images", images, *words)

    code, line = refused(images="s3://abroad/images")
    assert (code, line.startswith("--images s3://abroad/images: in us-east-1 (the bucket itself), and res")) == (
        3,
        True,
    )
    fixed = "the template says it; leave it out, or give --parameters if it has one"
    assert refused("--components", "5") == (2, f"--components 5: {fixed}")
    assert refused("--executors", "5") == (2, f"--executors 5: {fixed}")
    assert refused("--overwrite") == (2, f"--overwrite: {fixed}")
    assert refused("--parameters", "colour=red") == (
        2, f"--parameters colour: not one of template {known}, which has images, store, results, executors"
    )  # fmt: skip
    assert cloud.refusal("submit", "--template", known, *THERE) == (
        2, f"--images is missing; template {known} has no default for it: give it"
    )  # fmt: skip
    assert cloud.refusal("submit", "--template", "1" * 25, *THERE) == (
        2,
        f"--template {'1' * 25}: no such job template in eu-west-3; `aws emr-containers list-job-templates` shows "
        "those there are",
    )
