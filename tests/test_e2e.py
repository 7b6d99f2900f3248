"""`helm install` to `helm uninstall` on a real cluster and a real S3, by web identity: `make e2e`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from verger import drawing
from verger.lease import NAME

from tests import clusterserver
from tests.charts import CHART, helm
from tests.clusterserver import S3_IMAGE
from tests.conftest import Runner
from tests.handmade import readable
from tests.releases import NEEDS, ONE, PATIENCE, Cloud, Release, cloud, secure, told
from tests.test_pipeline import assert_same
from tests.test_readme import BY_HELM, ROOT
from tests.test_s3_lease import stored
from tests.webidentity import READ, WRITE, kubectl

pytestmark = [pytest.mark.kubernetes, pytest.mark.spark, NEEDS]
PLACES = {"images": READ, "store": WRITE, "results": WRITE}


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture
def orchards(sky: Cloud, orchard: Path) -> Cloud:
    """The bucket with 64 drawn images below few/."""
    if not sky.bucket.objects("few/"):
        sky.bucket.upload(orchard, "few")
    return sky


def fetched(sky: Cloud, prefix: str = "images/") -> Counter[str]:
    """How often each image was read."""
    return Counter(request.key for request in sky.bucket.requests("GetObject", under=prefix) if request.status < 300)


def served(release: Release, path: str) -> str:
    """What the driver's Spark tells Prometheus."""
    script = f"import urllib.request as r; print(r.urlopen('http://localhost:4040{path}').read().decode())"
    name = release.objects("pods", "driver")[0]["metadata"]["name"]
    return kubectl("-n", release.namespace, "exec", name, "--", "python", "-c", script)


@pytest.mark.real
def test_a_release_is_a_run_whose_results_are_the_local_ones(
    sky: Cloud, run: Runner, real_images: Path, tmp_path: Path
) -> None:
    assert sky.bucket.upload(real_images, "images") == 4207
    role = sky.identity.role("runner", sky.bucket, **PLACES)
    values = sky.values(role) | {"serviceAccount": {"name": "runner"}, "metrics": {"enabled": True}}
    release = Release("fruits-2026-11-22", sky.namespace).install(values)
    began = time.monotonic()
    watching = release.watch()
    secure(release.running("driver", 1)[0], token_of_the_api_server=True)
    for executor in release.running("executor", 2):
        secure(executor, token_of_the_api_server=False)
    assert "metrics_executor_totalTasks_total{" in served(release, "/metrics/executors/prometheus/")
    assert "_driver_" in served(release, "/metrics/prometheus/")
    said, _ = watching.communicate(timeout=PATIENCE)
    print(f"{time.monotonic() - began:.0f} s from the installed release to its end\n{said}\n--- log\n{release.log()}")

    assert watching.returncode == 0
    assert told(sky)["images"] == {"listed": 4207, "embedded": 4207, "reused": 0, "failed": 0}
    assert told(sky)["identity"]["credentials"] == "web identity"
    cost = told(sky)["cost"]
    asked = [(pod["role"], pod["vcpu"], pod["gb"]) for pod in cost["pods"]]
    assert asked == [("driver", 0.1, 2), ("executor", 0.1, 2), ("executor", 0.1, 2)]
    assert 0 < cost["estimates"]["eks"]["on_demand"]["usd"] < cost["estimates"]["emr_on_eks"]["on_demand"]["usd"]
    assert set(fetched(sky).values()) == {1}
    assert len(fetched(sky)) == 4207
    local = run(real_images, components=100)
    assert_same(local.results, sky.bucket.download("results", tmp_path / "cluster"))

    tested = release.test()
    assert tested.returncode == 0, tested.stdout + tested.stderr
    readable(release.log(), first="as arn:aws:sts::")
    release.uninstall()
    assert release.left() == []


@pytest.mark.real
def test_a_run_survives_its_executors_and_the_next_one_goes_on_where_a_lost_driver_was(
    sky: Cloud, real_images: Path
) -> None:
    total = 0
    for folder in sorted(real_images.iterdir())[:9]:
        total += sky.bucket.upload(folder, f"some/{folder.name}")
    role = sky.identity.role("runner", sky.bucket, some=READ, store2=WRITE, results2=WRITE)
    places = {"images": "some", "store": "store2", "results": "results2"}
    own = {name: sky.bucket.url(prefix) for name, prefix in places.items()} | {"commit_every": 200}
    values = sky.values(role, **own) | {"serviceAccount": {"name": "runner"}}

    first = Release("lost-driver", sky.namespace).install(values)
    first.until(lambda: any("/_delta_log/00000000000000000002" in key for key in sky.bucket.objects("store2/")))
    kubectl("-n", sky.namespace, "delete", "pod", first.objects("pods", "driver")[0]["metadata"]["name"], "--now")
    code, said = first.watched()
    print(said)
    assert code == 1
    assert "the driver's pod was deleted; run again, what was committed to the store is kept" in said
    failed = first.test()
    print(failed.stdout, failed.stderr)
    assert failed.returncode != 0
    first.until(lambda: first.objects("pods", "executor") == [])
    first.uninstall()
    assert not sky.bucket.objects("results2/run.json")
    kept = Counter(stored(sky.bucket, "store2"))

    second = Release("goes-on", sky.namespace).install(values)
    names = [pod["metadata"]["name"] for pod in second.running("executor", 2)]  # the lost driver's lease expires
    second.until(lambda: len(fetched(sky, "some/")) > len(kept) + 200)
    watching = second.watch()
    kubectl("-n", sky.namespace, "delete", "pod", names[0], "--now")
    out_of_memory(sky.namespace, names[1])
    said, _ = watching.communicate(timeout=PATIENCE)
    print(said, second.log(), sep="\n--- log\n")
    assert watching.returncode == 0
    assert "is lost, its tasks are done again: out of memory" in said
    assert "out of memory, its limit is 2Gi; raise the executors' memoryOverhead" in said
    assert "is lost, its tasks are done again: its pod was deleted" in second.log()
    counted = told(sky, "results2")["images"]
    assert counted == {"listed": total, "embedded": total - len(kept), "reused": len(kept), "failed": 0}
    assert Counter(stored(sky.bucket, "store2")) == Counter(
        f"s3a://{sky.bucket.name}/{key}" for key in sky.bucket.objects("some/")
    )
    again = sum(fetched(sky, "some/").values()) - total
    print(f"{again} images were fetched again after a driver and two executors were lost")
    assert again <= 4 * 200  # the driver's two commits in the making, and a task's part of one for each executor
    second.uninstall()
    assert second.left() == []


def test_a_release_uninstalled_in_mid_run_leaves_the_store_to_the_next(orchards: Cloud) -> None:
    """Its driver is told to end, and has the time to release the lease."""
    sky = orchards
    role = sky.identity.role("runner", sky.bucket, few=READ, store4=WRITE, results4=WRITE)
    own = {"images": sky.bucket.url("few"), "store": sky.bucket.url("store4"), "results": sky.bucket.url("results4")}
    values = sky.values(role, **own, components=5, commit_every=4) | ONE | {"serviceAccount": {"name": "runner"}}
    first = Release("uninstalled", sky.namespace).install(values)
    first.until(lambda: any("/_delta_log/00000000000000000002" in key for key in sky.bucket.objects("store4/")))
    began = time.monotonic()
    first.uninstall()
    first.until(lambda: not sky.bucket.objects(f"store4/{NAME}"), seconds=30)
    print(f"{time.monotonic() - began:.1f} s from `helm uninstall` to the end of the lease")
    assert not sky.bucket.objects("results4/run.json")
    second = Release("the-next", sky.namespace).install(values)
    code, said = second.watched()
    assert code == 0, said
    assert "looking whether it lives" not in second.log()
    assert told(sky, "results4")["images"]["reused"] > 0
    second.uninstall()


def out_of_memory(namespace: str, pod: str) -> None:
    """Many processes, each smaller than the executor's JVM, until the kernel ends the largest: the JVM."""
    hog = "for i in $(seq 40); do python3 -c 'import time; x = bytearray(60 << 20); time.sleep(60)' & done; wait"
    command = ["kubectl", "-n", namespace, "exec", pod, "--", "sh", "-c", hog]
    subprocess.run(command, capture_output=True, timeout=120, check=False)  # its container is killed under it


def test_each_run_that_cannot_be_is_one_line_and_leaves_no_pod_at_work(orchards: Cloud, tmp_path: Path) -> None:
    """Five at a time: they wait more than they work."""
    sky, soon = orchards, {"job": {"startDeadlineSeconds": 30}}
    few = {"images": sky.bucket.url("few"), "components": 5}
    good = {"few": READ, "store": WRITE, "results": WRITE}
    with clusterserver.serving(tmp_path, region="us-east-1") as abroad:
        there = abroad.bucket()
        drawing.orchard(tmp_path / "drawn", 1)
        there.upload(tmp_path / "drawn", "images")
        wrong_role = sky.identity.role("someone-else", sky.bucket, **good)
        role = {name: sky.identity.role(name, sky.bucket, **good) for name in ("no-bucket", "not-in-the-eu")}
        foreign = {name: there.url(name) for name in ("images", "store", "results")}
        runs: dict[str, tuple[dict[str, Any], list[str]]] = {
            "wrong-role": (sky.values(wrong_role, **few), ["role"]),
            "no-bucket": (
                sky.values(role["no-bucket"], **few | {"results": "s3://no-such-bucket-here/results"}),
                ["s3://no-such-bucket-here", "no such bucket"],
            ),
            "not-in-the-eu": (
                sky.values(role["not-in-the-eu"], **foreign, endpoint=abroad.inside("s3")), ["us-east-1"],
            ),
            "no-image": (
                sky.values(wrong_role, **few) | soon | {"image": {"repository": "registry.invalid/verger"}},
                ["registry.invalid/verger", "pull"],
            ),
            "no-quota": (
                sky.values(wrong_role, **few) | soon | {"driver": {"memory": "100g", "coreRequest": "100m"},
                                                        "quota": {"hard": {"requests.memory": "90Gi"}}},
                ["no room in quota no-quota", "requests.memory=101Gi"],
            ),
        }  # fmt: skip
        releases = {name: Release(name, sky.namespace) for name in runs}
        for name, (values, _) in runs.items():
            releases[name].install(values)
        ends = {name: release.watched() for name, release in releases.items()}
        for name, (code, said) in ends.items():
            print(f"{name}: {code}: {said.splitlines()[-1]}")
        for name, (_, parts) in runs.items():
            code, said = ends[name]
            assert code == {"not-in-the-eu": 3}.get(name, 1), said
            for part in parts:
                assert part in said.splitlines()[-1], said
            # Where the image can't be pulled, the test's own pod can't start either.
            tested = releases[name].test(timeout="10s" if name == "no-image" else "3m")
            assert tested.returncode != 0
            if name != "no-image":
                assert all(part in tested.stdout + tested.stderr for part in parts), tested.stdout
            assert not [
                pod for pod in releases[name].objects("pods") if pod["status"]["phase"] in ("Pending", "Running")
            ]
        for release in releases.values():
            release.uninstall()
        assert releases["no-image"].left() == []


def test_the_readmes_release_works_as_printed_and_can_not_be_upgraded(orchards: Cloud, tmp_path: Path) -> None:
    """But for the role's and the bucket's names, and what this cluster needs beside."""
    sky = orchards
    role = sky.identity.role("fruits", sky.bucket, few=READ, store3=WRITE, results3=WRITE)
    named = {"region", *PLACES}  # by the command itself
    values = sky.values(role, components=5) | ONE
    values["settings"] = {name: value for name, value in values["settings"].items() if name not in named}
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    places = {"images": "few", "store": "store3", "results": "results3"}
    replaced = {f"s3://fruits/{name}": sky.bucket.url(prefix) for name, prefix in places.items()}
    replaced["arn:aws:iam::123456789012:role/verger"] = role

    def printed(command: str) -> subprocess.CompletedProcess[str]:
        for old, new in replaced.items():
            command = command.replace(old, new)
        more = f" --values {tmp_path / 'values.yaml'}" if command.startswith("helm install") else ""
        return subprocess.run(
            command + more, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
            env=os.environ | {"HELM_NAMESPACE": sky.namespace},
        )  # fmt: skip

    install, test, uninstall = BY_HELM
    done = printed(install)
    assert done.returncode == 0, done.stderr
    assert "The run fruits is on its way" in done.stdout
    upgraded = helm("upgrade", "fruits", str(CHART), "--namespace", sky.namespace, "--reuse-values")
    assert upgraded.returncode != 0
    assert "release fruits is a run, and a run can't be changed" in upgraded.stderr
    done = printed(test)
    said = done.stdout + done.stderr  # helm tells what its test's pod printed on either, by its version
    assert done.returncode == 0, said
    assert "64 images: 64 embedded" in said
    assert printed(uninstall).returncode == 0
    assert told(sky, "results3")["images"]["embedded"] == 64


def test_the_commands_of_the_documentation_go_from_an_empty_cluster_to_results(orchard: Path) -> None:
    """docs/kubernetes.md, as printed: k8s/s3/up stands in for kind-up, which calls it."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    blocks = [block.replace("\\\n", " ").splitlines() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    environment = os.environ | {"S3_IMAGE": S3_IMAGE, "PYTHON": sys.executable, "IMAGES": str(orchard)}

    def done(command: str) -> str:
        made = subprocess.run(
            command,
            shell=True,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert made.returncode == 0, f"{command}\n{made.stdout}{made.stderr}"
        return made.stdout

    try:
        done("k8s/s3/up")
        assert "64 images: 64 embedded, 0 reused, 0 failed" in "\n".join(map(done, blocks[1]))
        assert Release("try", "verger").left() == ["serviceaccount/verger", "resourcequota/runs"]
    finally:
        done("k8s/s3/down")
