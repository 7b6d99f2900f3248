"""Job runs that are watched to their end, on moto's services: states, logs and reasons change as EMR changes them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from verger.emr.watch import last_error

from tests.emrcloud import GROUP, REGION, Answer, Cloud, Request, as_json
from tests.s3server import Done, finished, verger

pytestmark = pytest.mark.main
THERE = ("--virtual-cluster", "verger")
LOGGED = ("--log-group", GROUP)
OFTEN = ("--interval", "0.3")


class Watched:
    """`verger emr status RUN --wait`, while things happen."""

    def __init__(self, cloud: Cloud, run: str) -> None:
        self.cloud = cloud
        words = ("status", run, *THERE, "--wait", *OFTEN, *cloud.aws.server)
        self.process = verger(cloud.aws.environment, "emr", *words)
        self.done: Done | None = None

    def looks(self, more: int = 2) -> None:
        """Wait until it has looked again, so that it has seen what there is now."""
        enough = len(self._asked) + more
        end = time.monotonic() + 300
        while len(self._asked) < enough:
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)

    @property
    def _asked(self) -> list[Request]:
        return self.cloud.aws.of("emr-containers", "GET .*/jobruns/")


@contextmanager
def watched(cloud: Cloud, run: str) -> Iterator[Watched]:
    watch = Watched(cloud, run)
    try:
        yield watch
        watch.done = finished(watch.process)
    finally:
        watch.process.kill()


def test_a_run_is_shown_from_its_first_state_to_its_last(cloud: Cloud) -> None:
    run = cloud.start(*LOGGED)
    cloud.set(run, "PENDING")
    with watched(cloud, run) as watch:
        watch.looks()
        cloud.set(run, "SUBMITTED")
        watch.looks()
        cloud.set(run, "RUNNING")
        cloud.log(run, "driver", "26/11/26 10:00:00 INFO SparkContext: Running Spark", "listing: 5 s")
        watch.looks()
        cloud.log(run, "driver", "features: 32 of 64 images, 3/s, 11 s left, 0 failed")
        watch.looks()
        cloud.log(run, "driver", "64 images: 64 embedded, 0 reused, 0 failed", output="stdout")
        cloud.set(run, "COMPLETED")
    assert watch.done is not None
    assert (watch.done.code, watch.done.lines) == (
        0,
        [
            f"job run {run}: PENDING", f"job run {run}: SUBMITTED", f"job run {run}: RUNNING", "listing: 5 s",
            "features: 32 of 64 images, 3/s, 11 s left, 0 failed", f"job run {run}: COMPLETED",
            "64 images: 64 embedded, 0 reused, 0 failed",
        ],
    )  # fmt: skip


ENDED = (
    "Container final statuses:", "", "", "\t container name: spark-kubernetes-driver", "\t container state: terminated",
    "\t exit code: {}", "\t termination reason: Error", "\t container name: emr-container-fluentd", "\t exit code: 0",
)  # fmt: skip


@pytest.mark.parametrize(("submitter", "code"), [(ENDED, 4), ((), 1)], ids=["its code is known", "it is not"])
def test_a_failed_run_tells_emrs_reason_and_the_drivers_last_error(
    cloud: Cloud, submitter: tuple[str, ...], code: int
) -> None:
    run = cloud.start(*LOGGED)
    error = "3 of 64 images failed, --max-failed 1% allows 0; see failures.csv"
    cloud.log(
        run, "driver", "features       1.0 s", f"verger: {error}", "26/11/26 10:00:01 INFO ShutdownHookManager: x"
    )
    if submitter:
        cloud.log(run, "submitter", *(line.format(4) for line in submitter if line))
    cloud.set(run, "FAILED", "USER_ERROR", "Job execution failed.")
    done = cloud.aws.verger("status", run, *THERE, "--wait")
    told = f"FAILED (USER_ERROR): Job execution failed; the driver's last error: {error}"
    assert (done.code, done.lines[-1]) == (code, f"verger: job run {run}: {told}")
    assert not [line for line in done.lines if line.startswith(f"verger: {error}")]  # it is told once
    assert not [line for line in done.lines if "INFO" in line]
    once = cloud.aws.verger("status", run, *THERE)
    assert (once.code, once.lines) == (code, done.lines[-1:])


@pytest.mark.parametrize(
    ("state", "reason", "details", "told"),
    [
        (
            "FAILED",
            "VALIDATION_ERROR",
            "Pod template is not valid.",
            "FAILED (VALIDATION_ERROR): Pod template is not valid",
        ),
        ("FAILED", "CLUSTER_UNAVAILABLE", None, "FAILED (CLUSTER_UNAVAILABLE)"),
        ("CANCELLED", None, "JobRun CANCELLED successfully.", "CANCELLED: JobRun CANCELLED successfully"),
    ],
)
def test_a_run_without_a_log_tells_what_emr_says(
    cloud: Cloud, state: str, reason: str | None, details: str | None, told: str
) -> None:
    run = cloud.start()
    cloud.set(run, state, reason, details)
    done = cloud.aws.verger("status", run, *THERE, "--wait")
    assert (done.code, done.lines) == (1, [f"job run {run}: {told}", f"verger: job run {run}: {told}"])


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_find_it(cloud: Cloud) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    run = cloud.start()
    with watched(cloud, run) as watch:
        watch.looks()
        watch.process.send_signal(signal.SIGINT)
    assert watch.done is not None
    again = f"verger emr status {run} --virtual-cluster {cloud.cluster} --region {REGION} --wait"
    told = f"verger: stopped watching; the run goes on, `{again}` comes back to it"
    assert (watch.done.code, watch.done.lines[-1]) == (130, told)
    assert cloud.kept(run).state == "RUNNING"


def test_submit_waits_and_ends_as_the_run_does(cloud: Cloud) -> None:
    process = verger(cloud.aws.environment, "emr", "submit", *cloud.options(), *OFTEN, *cloud.aws.server)
    try:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        cloud.set(run, "COMPLETED")
        done = finished(process)
    finally:
        process.kill()
    assert (done.code, done.lines[-1]) == (0, f"job run {run}: COMPLETED")


def test_a_watch_goes_on_when_emr_is_busy(cloud: Cloud) -> None:
    run = cloud.start()
    busy = False

    def judge(request: Request) -> Answer | None:
        throttled = busy and f"/jobruns/{run}" in request.action
        return as_json(400, "ThrottlingException", "Rate exceeded") if throttled else None

    cloud.aws.judge = judge
    with watched(cloud, run) as watch:
        watch.looks(1)
        busy = True
        watch.looks(5)  # one look is four requests, and the next has begun
        busy = False
        cloud.set(run, "COMPLETED")
    assert watch.done is not None
    said = (
        "AWS asks for fewer requests (DescribeJobRun: ThrottlingException); wait a minute, and run again; trying again"
    )
    assert watch.done.code == 0
    assert f"job run {run}: {said}" in watch.done.lines


def test_logs_of_all_pods_from_cloudwatch_and_from_a_bucket(cloud: Cloud) -> None:
    for given, put in ((LOGGED, cloud.log), (("--log-uri", "s3://fruits/logs"), cloud.archive)):
        run = cloud.start(*given)
        told = cloud.refusal("logs", run, *THERE)
        assert told == (
            1,
            f"{run}: no log of the driver yet (RUNNING); EMR writes it a minute after the pod: try again",
        )
        put(run, "driver", "listing: 5 s")
        put(run, "driver", "64 images", output="stdout")
        put(run, "77fab59ebcabdbc6-exec-2", "an executor's")
        put(run, "submitter", "spark-submit's")
        for words, lines in (
            ((), ["listing: 5 s", "64 images"]),
            (("--executor", 2), ["an executor's"]),
            (("--submitter",), ["spark-submit's"]),
        ):
            done = cloud.aws.verger("logs", run, *THERE, *words)
            assert (done.code, done.out.splitlines()) == (0, lines)
        assert "no log of executor 3 yet" in cloud.refusal("logs", run, *THERE, "--executor", 3)[1]


def test_logs_are_followed_to_the_end_of_the_run(cloud: Cloud) -> None:
    run = cloud.start("--log-uri", "s3://fruits/logs")
    cloud.archive(run, "driver", "one")
    words = ("logs", run, *THERE, "--follow", *OFTEN)
    process = verger(cloud.aws.environment, "emr", *words, *cloud.aws.server)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        cloud.archive(run, "driver", "one", "two")
        assert process.stdout.readline() == "two\n"
        cloud.archive(run, "driver", "one", "two", "three")
        cloud.set(run, "COMPLETED")
        done = finished(process)
    finally:
        process.kill()
    assert (done.code, done.out) == (0, "three\n")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (("verger: the run's", "java.lang.Error: later"), "the run's"),
        (("  File x", "ValueError: no", "26/11/26 10:00:00 INFO Utils: end"), "ValueError: no"),
        (("26/11/26 10:00:00 ERROR Utils: away",), "26/11/26 10:00:00 ERROR Utils: away"),
        (("all is well",), None),
    ],
)
def test_the_last_error_is_vergers_or_else_the_last_that_looks_like_one(log: tuple[str, ...], said: str | None) -> None:
    assert last_error(log) == said
