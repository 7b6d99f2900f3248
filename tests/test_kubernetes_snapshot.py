"""A release at one moment: its end, its reason and what is shown of it, from recorded objects."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from verger.kubernetes import cluster, view
from verger.kubernetes.pods import end_of
from verger.kubernetes.snapshot import End, Line, Snapshot, ended, unattended, why

from tests.conftest import command
from tests.recorded import PODS, events, job, pod
from tests.support import one_line

STARTED = Line("2026-11-25T01:00:01.1Z", "start           5.9 s")
FEATURES = Line("2026-11-25T01:00:02.1Z", "features: 1,200 of 4,207 images, 310/s, 10 s left, 3 failed")
ERROR = Line("2026-11-25T01:00:03.1Z", "verger: --images s3://x/y: no such bucket; correct the location")


def at(name: str, *log: Line, reason: str | None = None, end: End | None = None) -> Snapshot:
    return Snapshot("fruits", (pod(name),), log, reason, end)


def plain(*snapshots: Snapshot) -> list[str]:
    file = io.StringIO()
    with view.shown(Console(file=file)) as tell:
        for snapshot in snapshots:
            tell(snapshot)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("name", "code", "line"),
    [
        ("done", 0, None),
        ("fails", 2, "--images s3://nowhere/x: no such bucket; correct the location"),
        ("oom", 137, "driver oom-verger-hw4qh: out of memory, its limit is 128Mi; raise the driver's memoryOverhead"),
        ("init", 1, "driver init-verger-pdv5x: init container started failed: jobs.batch x is forbidden"),
    ],
)
def test_a_run_ends_with_its_drivers_exit_code_and_line(name: str, code: int, line: str | None) -> None:
    assert ended(job("backoff"), None, pod(name), (), why([pod(name)], [])) == End(code, line)


@pytest.mark.parametrize("name", ["backoff", "big", "never", "secret"])
def test_a_driver_that_waits_is_no_end(name: str) -> None:
    assert ended(job("backoff"), None, pod(name), (), "whatever") is None


def test_a_driver_that_is_gone_with_its_deadline_is_explained_by_its_events() -> None:
    reason = why([], events("pull"))
    end = ended(job("pull"), None, None, (), reason)
    assert end is not None
    assert end.code == 1
    assert str(end.line).startswith("ended by its deadline of 25 s: driver pull-verger-rnllw: image registry.invalid/")
    late = ended(job("late"), None, None, (), why([], events("late")))
    assert late == End(1, "ended by its deadline of 20 s; raise the deadline, and run again")


def test_a_driver_that_is_killed_for_its_deadline_is_not_told_as_killed() -> None:
    """The Job says so before its pod is gone, and the container's exit code is SIGTERM's."""
    end = ended(job("late"), None, pod("fails"), (), None)
    assert end == End(1, "ended by its deadline of 20 s; raise the deadline, and run again")


def test_a_driver_that_never_was_made_is_explained_by_its_events() -> None:
    """Its pod is taken down by the deadline while its image is waited for: the kubelet gives it SIGKILL's exit code."""
    driver = pod("fails")
    end = end_of(driver)
    assert end is not None
    end.reason, end.exitCode = "ContainerStatusUnknown", 137
    assert "image registry.invalid/" in str(why([driver], events("pull")))


def test_a_driver_whose_release_is_gone_was_uninstalled() -> None:
    driver = pod("fails")
    assert ended(None, None, driver, (), None) == End(
        2, "--images s3://nowhere/x: no such bucket; correct the location"
    )
    assert driver.metadata is not None
    driver.metadata.deletionTimestamp = driver.metadata.creationTimestamp
    end = ended(None, None, driver, (), None)
    assert end is not None
    assert end.code == 1
    assert "its release was uninstalled" in str(end.line)


def test_a_driver_that_was_told_to_end_was_deleted() -> None:
    """Its own last line says that it stopped, and not why."""
    driver = pod("fails")
    terminated = end_of(driver)
    assert terminated is not None
    terminated.exitCode = 143
    end = ended(job("backoff"), None, driver, (), None)
    assert end == End(143, "the driver's pod was deleted; run again, what was committed to the store is kept")


def test_the_jobs_word_counts_where_there_is_no_pod() -> None:
    assert ended(job("done"), None, None, (), None) == End(0)
    assert ended(job("quota"), None, None, (), why([], events("quota"))) is None
    failed = ended(job("fails"), None, None, (), None)
    assert failed == End(1, "the driver's pod was deleted; run again, what was committed to the store is kept")


@pytest.mark.parametrize(
    ("state", "end"),
    [
        ({"state": "SUBMITTED"}, None),
        ({"state": "COMPLETED"}, End(0)),
        (
            {"state": "FAILED", "errorMessage": "driver container failed with ExitCode: 1"},
            End(1, "the operator says: driver container failed with ExitCode: 1"),
        ),
        (
            {"state": "FAILED", "errorMessage": "driver pod not found"},
            End(1, "the driver's pod was deleted; run again, what was committed to the store is kept"),
        ),
        (
            {
                "state": "SUBMISSION_FAILED",
                "errorMessage": "pods x: exceeded quota: small, requested: a=2, used: a=0, limited: a=1.\n",
            },
            End(
                1, "no room in quota small: asks for a=2, used is a=0, the limit a=1; raise the quota, or ask for less"
            ),
        ),
    ],
)
def test_the_operators_word_counts_where_there_is_no_driver(state: dict[str, str], end: End | None) -> None:
    assert ended(None, {"status": {"applicationState": state}}, None, (), None) == end


def test_an_application_that_no_operator_takes_up_is_told_after_a_while() -> None:
    def made(seconds: int, **status: object) -> dict[str, object]:
        then = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        return {"metadata": {"name": "fruits", "namespace": "runs", "creationTimestamp": then}, "status": status}

    assert unattended(made(45)) == (
        "fruits: the operator has made no driver yet; it must run, and watch namespace runs (its value "
        "spark.jobNamespaces)"
    )
    assert unattended(made(5)) is None
    assert unattended(made(45, applicationState={"state": "SUBMITTED"})) is None


def test_plain_lines_tell_what_changed_and_the_log_as_it_comes() -> None:
    said = plain(
        at("big", reason="no node"), at("big", reason="no node"), at("fails", STARTED), at("fails", STARTED, FEATURES)
    )
    assert said == [
        "driver big-verger-tlss6: Pending", "no node", "driver fails-verger-4bsb4: Error", STARTED.text, FEATURES.text,
    ]  # fmt: skip


def test_a_watch_begins_with_the_last_lines_of_a_log() -> None:
    log = tuple(Line(f"2026-11-25T01:00:{second:02}Z", f"line {second}") for second in range(60))
    assert plain(at("done", *log))[1:] == [f"line {second}" for second in range(52, 60)]


def test_the_runs_own_error_is_left_for_the_end() -> None:
    end = End(2, ERROR.text.removeprefix("verger: "))
    assert plain(at("fails", STARTED, ERROR, end=end))[1:] == [STARTED.text]


def test_a_terminal_shows_pods_stage_reason_and_log() -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(view.picture(at("secret", STARTED, FEATURES, reason="secret absent")))
    shown = console.export_text()
    for part in ("driver secret-verger-v2866", "CreateContainerConfigError", "test-node", "━", FEATURES.text):
        assert part in shown
    assert "\nsecret absent\n" in shown
    assert "1,200 of 4,207 images, 310/s, 10 s left, 3 failed" in shown


def test_a_kubeconfig_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Exception, match="no such kubeconfig") as error:
        cluster.connect()
    one_line(error, "KUBECONFIG")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Callable[[str, str], Path]:
    """A kubeconfig with one context, whose server is not there."""

    def write(context: str, current: str = "") -> Path:
        file = tmp_path / context
        file.write_text(
            f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:9'}}}}]\n"
            f"contexts: [{{name: {context}, context: {{cluster: c, user: u, namespace: {context}-space}}}}]\n"
            "users: [{name: u, user: {token: t}}]\n"
            f"current-context: {current!r}\n"
        )
        return file

    return write


def test_a_context_is_found_in_any_file_of_kubeconfig(
    kubeconfig: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{kubeconfig('one', 'one')}:{kubeconfig('two')}:/nowhere")
    assert cluster.connect().namespace == "one-space"
    assert cluster.connect("two").namespace == "two-space"
    with pytest.raises(Exception, match="it has one, two") as error:
        cluster.connect("three")
    one_line(error, "--context three")


def test_a_cluster_that_does_not_answer_is_one_line(
    kubeconfig: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig("one", "one")))
    done = command("kubernetes", "watch", "fruits")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("verger: the cluster does not answer: ")


def test_a_plugin_that_is_not_installed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `aws eks update-kubeconfig` writes, on a machine that has no `aws`."""
    (tmp_path / "config").write_text(
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9'}}]\ncurrent-context: eks\n"
        "contexts: [{name: eks, context: {cluster: c, user: u}}]\n"
        "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-aws}}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(Exception, match="no-aws: no such program") as error:
        cluster.Release(cluster.connect(), "default", "fruits").job()
    one_line(error, "kubeconfig")


def test_runs_do_not_import_the_client_of_kubernetes() -> None:
    look = "import sys, verger.cli, verger.pipeline; print([n for n in sys.modules if n.startswith('lightkube')])"
    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "[]\n"


def test_what_was_recorded_is_small() -> None:
    assert all(len(str(each)) < 4000 for each in PODS.values())
