"""Releases in a real cluster, watched: each thing that keeps one from starting is its own line, and leaves no pod.

The cluster is that of kubectl's context, and has the image that VERGER_TEST_IMAGE names.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.handmade import VERGER, Space, allowed, readable, release, spark_release
from tests.test_image import IMAGE
from tests.test_readme import IN_A_CLUSTER, ROOT
from tests.webidentity import kubectl, new_namespace

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif(not IMAGE, reason="VERGER_TEST_IMAGE names no image in the cluster of kubectl's context"),
]
PROGRESS = "for i in 1 2 3; do echo features: $i of 3 images, 1/s, $((3 - i)) s left, 0 failed; sleep 1; done"


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    """As strict as a namespace can be."""
    with new_namespace("watch") as name:
        yield Space(name)


@pytest.fixture
def small() -> Iterator[Space]:
    """One that has room for one pod."""
    with new_namespace("watch", restricted=False) as name:
        kubectl("-n", name, "create", "quota", "small", "--hard=pods=1,requests.cpu=150m,requests.memory=8Gi")
        yield Space(name)


def one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stdout + done.stderr
    assert done.stderr.startswith("verger: ")
    for part in parts:
        assert part in done.stderr


def no_pod_is_left(space: Space, name: str, seconds: float = 30) -> None:
    """None that runs or waits."""
    end = time.monotonic() + seconds
    only = ("-l", f"app.kubernetes.io/instance={name}", "--field-selector", "status.phase!=Failed", "-o", "name")
    while left := space.get("pods", *only):
        assert time.monotonic() < end, left
        time.sleep(0.5)


def test_a_run_that_ends_well_is_shown_to_its_end(space: Space) -> None:
    space.apply(release("well", f"{PROGRESS}; echo 3 images: 3 embedded, 0 reused, 0 failed"))
    done = space.verger("watch", "well", "--interval", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("driver ")][-1].endswith(": Completed")
    for line in ("features: 2 of 3 images, 1/s, 1 s left, 0 failed", "3 images: 3 embedded, 0 reused, 0 failed"):
        assert lines.count(line) == 1
    assert space.verger("logs", "well").stdout.splitlines()[-1] == "3 images: 3 embedded, 0 reused, 0 failed"


def test_a_run_that_fails_gives_its_own_line_and_exit_code(space: Space) -> None:
    error = "--images s3://fruits/x: no such bucket; correct the location"
    space.apply(release("fails", f"echo 'start  5.9 s'; echo 'verger: {error}' >&2; exit 3"))
    done = space.verger("watch", "fails", "--interval", "0.5")
    one_line(done, 3)
    assert done.stderr == f"verger: {error}\n"
    assert error not in done.stdout  # it is told once


def test_an_image_that_cannot_be_pulled_is_told_and_ended_by_the_deadline(space: Space) -> None:
    image = "registry.invalid/verger:1"
    space.apply(release("pull", "true", deadline=8, image=image, imagePullPolicy="Always"))
    done = space.verger("watch", "pull", "--interval", "0.5")
    one_line(done, 1, "ended by its deadline of 8 s: ", f"image {image} can't be pulled: ", "no such host; correct")
    assert done.stdout.count("can't be pulled") == 1
    no_pod_is_left(space, "pull")
    one_line(space.verger("logs", "pull"), 1, "no log yet: ", f"image {image} can't be pulled: ")


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        (
            "secret",
            {"envFrom": [{"secretRef": {"name": "absent"}}]},
            'secret "absent" not found; create it in this namespace, or correct its name',
        ),
        ("huge", {"resources": {"requests": {"cpu": "500"}}}, "no node takes it: 0/1 nodes are available: 1 Insuff"),
        (
            "policy",
            {"securityContext": {"privileged": True}},
            'the namespace\'s Pod Security "restricted:latest" refuses the pod: privileged',
        ),
    ],
)
def test_what_keeps_a_driver_from_starting(space: Space, name: str, given: dict[str, Any], line: str) -> None:
    space.apply(release(name, "true", **given))
    done = space.verger("watch", name, "--interval", "0.5", "--give-up-after", "3")
    one_line(done, 1, f"{name}: has not started within --give-up-after 3 s: driver", line)
    kubectl("-n", space.name, "delete", "job", f"{name}-verger", "--wait=false")


def test_a_quota_that_is_too_small_for_the_driver(small: Space) -> None:
    small.apply(release("quota", "true", deadline=5, resources={"requests": {"cpu": "200m", "memory": "64Mi"}}))
    done = small.verger("watch", "quota", "--interval", "0.5")
    one_line(
        done, 1, "ended by its deadline of 5 s: driver: no room in quota small: asks for requests.cpu=200m, used is",
        "the limit requests.cpu=150m; raise the quota, or ask for less",
    )  # fmt: skip


def test_a_driver_that_is_out_of_memory(space: Space) -> None:
    space.apply(release("oom", "exec python -c 'bytearray(1 << 30)'"))
    one_line(space.verger("watch", "oom"), 137, "out of memory, its limit is 256Mi; raise the driver's memoryOverhead")


def test_a_driver_that_starts_is_given_the_deadline_of_a_run(space: Space) -> None:
    space.apply(
        *allowed(space.name),
        release("long", "sleep 1", init=["verger", "kubernetes", "started", "long-verger", "--deadline", "7200"]),
        release("free", "sleep 1", init=["verger", "kubernetes", "started", "free-verger", "--deadline", "0"]),
    )
    for name, deadline in (("long", "7200"), ("free", "")):
        assert space.verger("watch", name, "--interval", "0.5").returncode == 0
        assert space.get("job", f"{name}-verger", "-o", "jsonpath={.spec.activeDeadlineSeconds}") == deadline


def test_a_driver_that_may_not_set_its_deadline_says_so(small: Space) -> None:
    """The small namespace has no Role for it."""
    init = ["verger", "kubernetes", "started", "mute-verger", "--deadline", "7200"]
    small.apply(release("mute", "true", init=init))
    done = small.verger("watch", "mute", "--interval", "0.5")
    one_line(done, 1, "init container started failed: ", 'cannot patch resource "jobs"', "have a Role that allows it")


def test_logs_wait_for_what_comes(space: Space) -> None:
    space.apply(release("slow", f"sleep 2; {PROGRESS}; echo end"))
    done = space.verger("logs", "slow", "--follow")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "end")
    one_line(space.verger("logs", "slow", "--executor", "3"), 2, "--executor 3: not there", "there are now: none")


def test_the_readmes_commands_work_as_printed(space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the namespace of the context."""
    space.apply(release("fruits", f"{PROGRESS}; echo 3 images: 3 embedded, 0 reused, 0 failed"))
    (tmp_path / "config").write_text(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    kubectl("config", "set-context", "--current", "--namespace", space.name)
    assert [command.split()[2] for command in IN_A_CLUSTER] == ["watch", "logs"]
    for command in IN_A_CLUSTER:
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert "3 images: 3 embedded, 0 reused, 0 failed\n" in done.stdout


def test_a_release_that_is_not_there(space: Space) -> None:
    for command in ("watch", "logs"):
        one_line(space.verger(command, "nothing"), 2, f"nothing: no such release in namespace {space.name} of")


def test_a_release_that_is_uninstalled_while_it_is_watched(space: Space) -> None:
    space.apply(release("gone", "sleep 100"))
    command = [VERGER, "kubernetes", "watch", "gone", "-n", space.name, "--interval", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        next(line for line in watch.stdout if line.endswith(": Running\n"))
        kubectl("-n", space.name, "delete", "job", "gone-verger")
        said, error = watch.communicate(timeout=30)
    assert watch.returncode == 1, said
    assert error.startswith("verger: ")
    assert "uninstalled" in error


@pytest.mark.spark
def test_a_region_that_is_not_allowed_is_the_drivers_own_line(space: Space) -> None:
    space.apply(*spark_release("abroad", "--images", "s3://fruits/images", "--region", "us-east-1"))
    done = space.verger("watch", "abroad", "--interval", "0.5")
    one_line(done, 3, "--region us-east-1: in us-east-1 (its name), and residency eu allows eu-central-1, ")
    assert space.verger("logs", "abroad").stdout == done.stderr  # and nothing else


@pytest.mark.spark
def test_a_driver_that_may_not_make_executors_says_so(small: Space) -> None:
    """The small namespace has no Role for it."""
    small.apply(*spark_release("mute"))
    done = small.verger("watch", "mute", "--interval", "0.5")
    who = f"system:serviceaccount:{small.name}:default"
    one_line(done, 1, f'Spark did not start: {who} may not get resource "pods"; give it a Role that allows it')


@pytest.mark.spark
def test_executors_that_are_refused_end_the_run(small: Space) -> None:
    small.apply(*allowed(small.name), *spark_release("refused", "--executors-within", "6"))
    done = small.verger("watch", "refused", seconds=180)
    why = "no room in quota small: asks for pods=1"
    one_line(done, 1, "no executor for ", "--executors-within 6: ", why)
    assert f"no executor yet: {why}" in done.stdout
    no_pod_is_left(small, "refused")
    readable(small.verger("logs", "refused").stdout)


@pytest.mark.spark
def test_executors_that_die_again_and_again_end_the_run(space: Space) -> None:
    touched = {"executor__extraJavaOptions": "-XX:+AlwaysPreTouch", "executor__memoryOverhead": "1m"}
    space.apply(*allowed(space.name), *spark_release("dying", "--executors-within", "60", **touched))
    done = space.verger("watch", "dying", seconds=180)
    one_line(done, 1, "out of memory, its limit is 501Mi; raise the executors' memoryOverhead")
    assert done.stderr.startswith(("verger: executors die as soon as they are made, ", "verger: no executor for "))
    no_pod_is_left(space, "dying")
