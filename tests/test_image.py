"""The container image that VERGER_TEST_IMAGE names, from outside: `make image-check`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from verger import drawing
from verger.network import FILE

IMAGE = os.environ.get("VERGER_TEST_IMAGE", "")
TARGET = os.environ.get("VERGER_TEST_TARGET", "spark")
pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(not IMAGE, reason="VERGER_TEST_IMAGE names no image; `make image-check` does"),
]

# What a pod of Kubernetes' restricted profile has. /tmp: Spark's native libraries are unpacked and mapped there.
RESTRICTED = (
    "--read-only", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--tmpfs", "/tmp:exec", "--tmpfs", "/work",
)  # fmt: skip
RUN = (
    "verger",
    "run",
    "--images",
    "/images",
    "--store",
    "/tmp/store",
    "--results",
    "/tmp/results",
    "--components",
    "3",
)
EXPECTED = {
    "spark": ("185", ["/usr/bin/tini", "-s", "--", "/opt/entrypoint.sh"], "/work"),
    "emr": ("hadoop:hadoop", ["/usr/bin/entrypoint.sh"], "/home/hadoop"),
}


def docker(*words: str, given: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", *RESTRICTED, *given, IMAGE, *words],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def shell(script: str, *given: str) -> str:
    """What a script in the image prints; it must not fail."""
    done = docker("bash", "-c", script, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def config() -> dict[str, object]:
    told = subprocess.run(["docker", "inspect", IMAGE], capture_output=True, text=True, check=True).stdout
    found: dict[str, object] = json.loads(told)[0]["Config"]
    return found


@pytest.fixture(scope="module")
def sbom() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(shell("cat /opt/verger/sbom.cdx.json"))["components"]
    return found


def test_user_entrypoint_and_folder_are_those_of_the_platform(config: dict[str, object]) -> None:
    assert (config["User"], config["Entrypoint"], config["WorkingDir"]) == EXPECTED[TARGET]


def test_the_user_has_a_name_and_is_not_root() -> None:
    assert shell("id -u").strip() == {"spark": "185", "emr": "999"}[TARGET]
    assert shell('getent passwd "$(id -u)"')


def test_python3_is_the_platforms() -> None:
    """EMR's own tools use its python3; the `spark` image has no other than Verger's."""
    assert shell("command -v python3").startswith("/opt/verger/") == (TARGET == "spark")


def test_s3a_and_delta_are_the_platforms() -> None:
    """EMR has its own; the `spark` image has none but Verger's."""
    own = shell("find $VERGER_CACHE -name '*.jar' -printf '%f\\n'")
    linked = shell("find $SPARK_HOME/jars -type l -printf '%l\\n'").split()
    if TARGET == "emr":
        assert own == ""
        assert sorted(linked) == [f"/usr/share/aws/delta/lib/delta-{name}.jar" for name in ("spark", "storage")]
        assert shell("echo $VERGER_S3A") == "emr\n"
    else:
        assert {"hadoop-aws", "delta-spark"} <= {re.split(r"[-_]\d", name)[0] for name in own.split()}
        assert linked == []


@pytest.mark.spark_image
def test_no_file_makes_its_user_somebody_else() -> None:
    assert shell("find / -xdev -type f -perm /6000 2>/dev/null || true") == ""


@pytest.mark.spark_image
def test_the_user_can_write_only_where_runs_must() -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", IMAGE, "bash", "-c",
         "find / -xdev -writable ! -type l 2>/dev/null | grep -vE '^/(proc|sys|dev)(/|$)'"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) <= {"/tmp", "/var/tmp", "/run/lock", "/work"}


@pytest.mark.spark_image
def test_it_is_at_most_1_1_gb_compressed() -> None:
    """As a registry keeps it and a node fetches it; docs/image.md says what would have to go for less."""
    pipe = f"set -o pipefail; docker save {IMAGE} | gzip | wc -c"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=600, check=True)
    assert int(done.stdout) <= 1_100_000_000


def test_nothing_of_ours_is_where_emr_mounts() -> None:
    folders = {"spark": "/tmp", "emr": "/tmp /mnt /var/log/spark /var/log/fluentd"}[TARGET]
    done = subprocess.run(
        ["docker", "run", "--rm", IMAGE, "bash", "-c", f"find {folders} -mindepth 1 ! -name 'hsperfdata*' 2>/dev/null"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == ""


def test_the_weights_and_their_checked_graphs_are_there() -> None:
    digest = shell(f"sha256sum $VERGER_CACHE/weights/{FILE}").split()[0]
    graphs = shell("cd $VERGER_CACHE/graphs && for g in *; do (cd $g && echo $g && python3 -c '"
                   "import hashlib,json; [print(hashlib.sha256(open(n,\"rb\").read()).hexdigest() == d)"
                   " for n, d in json.load(open(\"sha256.json\")).items()]'); done")  # fmt: skip
    assert len(re.findall(rf"^(openvino|tensorflow)-{digest[:32]}-", graphs, re.MULTILINE)) == 2
    assert "True" in graphs
    assert "False" not in graphs


def test_the_command_line_is_there() -> None:
    done = docker("verger", "--help")
    assert done.returncode == 0, done.stderr
    assert "transform" in done.stdout


@pytest.mark.parametrize(
    "user",
    [
        pytest.param((), id="its user"),
        pytest.param(("--user", "1000650000:0"), id="any uid", marks=pytest.mark.spark_image),  # EMR knows hadoop only
    ],
)
def test_a_run_in_a_locked_room(user: tuple[str, ...], tmp_path: Path) -> None:
    drawing.orchard(tmp_path, 2)
    tmp_path.chmod(0o755)
    given = ("-v", f"{tmp_path}:/images:ro", *user)
    done = docker("bash", "-c", f"{' '.join(RUN)} && head -2 /tmp/results/results.csv", given=given)
    assert done.returncode == 0, done.stderr
    assert "16 images: 16 embedded, 0 reused, 0 failed" in done.stdout
    assert "path,label,pcaFeatures" in done.stdout


@pytest.mark.spark_image
def test_a_runs_jvm_takes_the_class_archive(tmp_path: Path) -> None:
    """With -Xshare:on it would rather not start than do without."""
    drawing.orchard(tmp_path, 1)
    tmp_path.chmod(0o755)
    done = docker(*RUN, given=("-e", "JAVA_TOOL_OPTIONS=-Xshare:on", "-v", f"{tmp_path}:/images:ro"))
    assert done.returncode == 0, done.stderr


EXECUTOR = {
    "SPARK_JAVA_OPT_0": "-Done=two words",
    "SPARK_JAVA_OPT_1": "-Dtwo",
    **{f"SPARK_JAVA_OPT_{number}": f"-Dn{number}" for number in range(2, 12)},
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_CLASSPATH": "/given.jar",
    "SPARK_DRIVER_URL": "spark://driver:7078",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_APPLICATION_ID": "app",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.9",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "pod",
}


def _recorded(role: str, program: str, environment: dict[str, str], tmp_path: Path, *words: str) -> list[str]:
    """The words that the entrypoint calls `program` with: something that prints them stands in its place."""
    recorder = tmp_path / "recorder"
    recorder.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    given = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    place = shell(f"readlink -f $(command -v {program})").strip()
    done = docker(role, *words, given=("-v", f"{recorder}:{place}:ro", *given))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.spark_image
def test_an_executor_is_the_java_command_that_spark_wants(tmp_path: Path) -> None:
    words = _recorded("executor", "java", EXECUTOR, tmp_path)
    assert words[:12] == [EXECUTOR[f"SPARK_JAVA_OPT_{number}"] for number in range(12)]
    assert words[12:15] == ["-Xms512m", "-Xmx512m", "-cp"]
    assert words[15] == "/given.jar:/opt/spark/conf:/opt/spark/jars/*:/opt/verger/cache/jars/*"
    assert words[16] == "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
    assert " ".join(words[17:]) == (
        "--driver-url spark://driver:7078 --executor-id 7 --cores 2 --app-id app --hostname 10.0.0.9 "
        "--resourceProfileId 0 --podName pod"
    )


@pytest.mark.spark_image
def test_an_executor_starts_and_looks_for_its_driver() -> None:
    """A driver that nobody is: the JVM, its classes and its network code were there to find that out."""
    environment = {name: value for name, value in EXECUTOR.items() if not name.startswith("SPARK_JAVA_OPT")}
    environment |= {"SPARK_DRIVER_URL": "spark://driver@127.0.0.1:9", "SPARK_EXECUTOR_POD_IP": "127.0.0.1"}
    given = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    done = docker("executor", given=("-e", "SPARK_LOCAL_IP=127.0.0.1", *given))
    assert done.returncode != 0
    assert "Connection refused: /127.0.0.1:9" in done.stdout + done.stderr


@pytest.mark.spark_image
def test_a_driver_is_a_spark_submit_that_binds_to_its_pod(tmp_path: Path) -> None:
    program = "/opt/spark/bin/spark-submit"
    words = _recorded("driver", program, {"SPARK_DRIVER_BIND_ADDRESS": "10.0.0.8"}, tmp_path, "a.py", "run")
    assert words[:2] == ["--conf", "spark.driver.bindAddress=10.0.0.8"]
    assert words[-4:] == ["--deploy-mode", "client", "a.py", "run"]


@pytest.mark.spark_image
def test_a_driver_runs_the_job_in_the_jvm_and_by_the_master_of_spark_submit(tmp_path: Path) -> None:
    drawing.orchard(tmp_path, 2)
    tmp_path.chmod(0o755)
    words = ["--master", "local[1]", "--conf", "spark.driver.host=127.0.0.1", "/opt/verger/main.py", *RUN[1:]]
    given = ("-e", "SPARK_DRIVER_BIND_ADDRESS=127.0.0.1", "-e", "SPARK_LOCAL_IP=127.0.0.1")
    script = f"/opt/entrypoint.sh driver {' '.join(words)} && cat /tmp/results/run.json"
    told = shell(script, *given, "-v", f"{tmp_path}:/images:ro")
    assert "16 images: 16 embedded, 0 reused, 0 failed" in told
    assert '"master": "local[1]"' in told


def _purls(sbom: list[dict[str, object]], kind: str) -> set[str]:
    return {str(part["purl"]) for part in sbom if str(part["purl"]).startswith(f"pkg:{kind}/")}


def test_the_sbom_has_the_python_packages_that_are_there(sbom: list[dict[str, object]]) -> None:
    there = shell("cd /opt/verger/venv/lib/python3.*/site-packages && ls -d *.dist-info")
    expected = {folder.removesuffix(".dist-info").lower() for folder in there.split()}
    told = {purl.removeprefix("pkg:pypi/").replace("-", "_").replace("@", "-") for purl in _purls(sbom, "pypi")}
    assert told == {re.sub(r"[.-](?=[^-]*-)", "_", name) for name in expected}


def test_the_sbom_has_the_jars_and_weights_that_are_there(sbom: list[dict[str, object]]) -> None:
    there = shell(
        rf"find -L $SPARK_HOME/jars $VERGER_CACHE -type f \( -name '*.jar' -o -name {FILE} \) -exec sha256sum {{}} +"
    )
    told = sorted(part["hashes"][0]["content"] for part in sbom if part.get("hashes"))  # type: ignore[index]
    assert told == sorted(line.split()[0] for line in there.splitlines())
    assert len(_purls(sbom, "maven")) > 100


@pytest.mark.spark_image
def test_the_sbom_has_debians_packages(sbom: list[dict[str, object]]) -> None:
    status = shell("grep -c '^Status: install ok installed' /var/lib/dpkg/status")
    assert len(_purls(sbom, "deb")) == int(status)
    assert any(purl.startswith("pkg:deb/debian/openjdk-21-jre-headless@") for purl in _purls(sbom, "deb"))
