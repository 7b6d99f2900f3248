"""Spark's settings for a run: Verger's own, and beside those that EMR has given to Spark already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyspark
import pytest
from verger import jars, java, launch, session
from verger.errors import VergerError
from verger.launch import Launch
from verger.settings import Settings

from tests.support import one_line

pytestmark = pytest.mark.spark
S3A = "spark.hadoop.fs.s3a."
KEY = "arn:aws:kms:eu-west-3:123456789012:key/01234567"
IN_REGION = {
    f"{S3A}endpoint": "s3.eu-west-3.amazonaws.com",
    f"{S3A}endpoint.region": "eu-west-3",
    f"{S3A}cross.region.access.enabled": "false",
    f"{S3A}connection.ssl.enabled": "true",
    f"{S3A}path.style.access": "false",
}
# What EMR sets itself, and what would be gone if Verger set its own.
EMRS = {
    "spark.driver.extraClassPath": "/usr/lib/hadoop/hadoop-aws.jar",
    "spark.executor.extraClassPath": "/usr/lib/hadoop/hadoop-aws.jar",
    "spark.sql.sources.commitProtocolClass": "com.example.EmrsCommitProtocol",
    "spark.sql.parquet.output.committer.class": "com.example.EmrsCommitter",
    f"{S3A}committer.name": "emrs",
    f"{S3A}aws.credentials.provider": "com.example.EmrsProvider",
    f"{S3A}retry.limit": "3",
    f"{S3A}connection.maximum": "1000",
}
DELTA = "io.delta.sql.DeltaSparkSessionExtension"


@pytest.fixture(autouse=True)
def submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As spark-submit starts a driver."""
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")


def settings(**given: Any) -> Settings:
    return Settings.load(**{"images": "s3://fruits/images", "region": "eu-west-3", "s3a": "emr", **given})


def configured(given: dict[str, str], **own: Any) -> dict[str, str]:
    """What Verger tells Spark, beside what EMR has given to it."""
    return dict(session.configuration(Launch(settings(**own)), given).getAll())


def test_what_emr_sets_itself_is_left_alone() -> None:
    set_here = configured(EMRS)
    assert set(set_here) & set(EMRS) == set()
    assert {key: value for key, value in set_here.items() if key.startswith(S3A)} == IN_REGION


def test_verger_sets_all_of_that_where_s3a_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "ensure", lambda *_, s3: [Path("/s3a.jar")] if s3 else [])
    set_here = configured({}, s3a="own")
    assert set(EMRS) - set(set_here) == set()
    assert set_here.items() >= IN_REGION.items()


def test_what_emr_says_of_the_region_stays_as_it_says_it() -> None:
    given = {
        f"{S3A}endpoint": "https://s3.dualstack.eu-west-3.amazonaws.com",
        f"{S3A}endpoint.region": "eu-west-3",
        f"{S3A}cross.region.access.enabled": "False",
        f"{S3A}bucket.fruits.endpoint": "https://bucket.vpce-1a2b.s3.eu-west-3.vpce.amazonaws.com",
        f"{S3A}encryption.algorithm": "SSE-KMS",
        f"{S3A}impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3.impl": "com.amazon.ws.emr.hadoop.fs.EmrFileSystem",
    }
    set_here = configured(given)
    assert set(set_here) & set(given) == set()
    assert set_here.items() >= {key: value for key, value in IN_REGION.items() if key not in given}.items()


def test_a_kms_key_is_set_where_emr_has_none() -> None:
    set_here = configured({}, kms_key=KEY)
    assert (set_here[f"{S3A}encryption.algorithm"], set_here[f"{S3A}encryption.key"]) == ("SSE-KMS", KEY)


@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [
        ("fs.s3a.endpoint.region", "us-east-1", "eu-west-3"),
        ("fs.s3a.endpoint.region", "eu-central-1", "eu-west-3"),
        ("fs.s3a.endpoint", "s3.amazonaws.com", "s3.eu-west-3.amazonaws.com"),
        ("fs.s3a.endpoint", "http://s3.eu-west-3.amazonaws.com", "s3.eu-west-3.amazonaws.com"),
        ("fs.s3a.endpoint", "https://s3.eu-west-3.example.com", "s3.eu-west-3.amazonaws.com"),
        ("fs.s3.endpoint", "s3.us-east-1.amazonaws.com", "s3.eu-west-3.amazonaws.com"),
        ("fs.s3a.cross.region.access.enabled", "true", "false"),
        ("fs.s3a.connection.ssl.enabled", "false", "true"),
        ("fs.s3a.bucket.my.fruits.endpoint.region", "us-east-1", "eu-west-3"),
        ("fs.s3a.impl", "com.amazon.ws.emr.hadoop.fs.EmrFileSystem", "org.apache.hadoop.fs.s3a.S3AFileSystem"),
    ],
)
def test_what_leads_out_of_the_region_is_refused(key: str, value: str, needed: str) -> None:
    with pytest.raises(VergerError) as error:
        configured({f"spark.hadoop.{key}": value})
    one_line(error, f"{key}={value}: set for this job, but the run needs {needed}; leave it out")
    assert isinstance(error.value, VergerError)
    assert error.value.exit_code == 3


def test_a_server_of_ones_own_is_the_only_one() -> None:
    own = {"endpoint": "http://s3:7070", "attest_region": "eu-west-3", "allow_http": True}
    given = {f"{S3A}endpoint": "http://s3:7070"}
    assert f"{S3A}endpoint" not in configured(given, **own)
    with pytest.raises(VergerError, match="the run needs http://s3:7070; leave it out"):
        configured({f"{S3A}endpoint": "s3.eu-west-3.amazonaws.com"}, **own)


def test_another_key_than_the_runs_is_refused() -> None:
    with pytest.raises(VergerError) as error:
        configured({f"{S3A}encryption.key": f"{KEY}8"}, kms_key=KEY)
    one_line(error, f"fs.s3a.encryption.key={KEY}8: set for this job, but the run needs {KEY};")
    assert isinstance(error.value, VergerError)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "extensions"),
    [
        ({}, DELTA),
        ({session.EXTENSIONS: "org.apache.iceberg.Extensions"}, f"org.apache.iceberg.Extensions,{DELTA}"),
        ({session.EXTENSIONS: f"{DELTA}, org.apache.iceberg.Extensions"}, f"{DELTA},org.apache.iceberg.Extensions"),
    ],
)
def test_delta_is_an_extension_beside_those_that_were_given(given: dict[str, str], extensions: str) -> None:
    assert configured(given)[session.EXTENSIONS] == extensions


def test_a_setting_of_delta_stays_as_it_was_given() -> None:
    given = {"spark.databricks.delta.snapshotPartitions": "2"}
    assert configured(given)["spark.databricks.delta.snapshotPartitions"] == "2"


def test_another_catalog_than_deltas_is_refused() -> None:
    with pytest.raises(VergerError) as error:
        configured({session.CATALOG: "org.apache.iceberg.spark.SparkSessionCatalog"})
    one_line(error, f"{session.CATALOG}=org.apache.iceberg.spark.SparkSessionCatalog: set for this job, but the store")


DRIVER = """
import json
from verger import session
from verger.launch import Launch
from verger.settings import Settings

settings = Settings.load(images="s3://fruits/images", region="eu-west-3", s3a="emr")
spark = session.start(Launch(settings))
spark.range(1).write.format("delta").save("table")
print(json.dumps(dict(spark.sparkContext.getConf().getAll())))
"""


def spark_submit(folder: Path, core_site: dict[str, str], **conf: str) -> subprocess.CompletedProcess[str]:
    """DRIVER by spark-submit, with Delta on a class path of the job's own, as EMR has it; `conf` has __ for dots."""
    (folder / "driver.py").write_text(DRIVER)
    properties = "".join(f"<property><name>{k}</name><value>{v}</value></property>" for k, v in core_site.items())
    (folder / "core-site.xml").write_text(f"<configuration>{properties}</configuration>")
    delta = ":".join(map(str, jars.ensure(pyspark.__version__, Settings.load().cache_dir)))
    given = {"spark.driver.extraClassPath": delta, "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false"}
    given |= {key.replace("__", "."): value for key, value in conf.items()}
    words = [word for key, value in given.items() for word in ("--conf", f"{key}={value}")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}
    if (home := java.home(Settings.load().cache_dir)) is not None:
        environment["JAVA_HOME"] = str(home)
    return subprocess.run(
        [str(launch.spark_home() / "bin/spark-submit"), "--master", "local[1]", *words, "driver.py"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env=environment | {
            "HADOOP_CONF_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable, "VERGER_SCRATCH": str(folder / "scratch"),
        },
    )  # fmt: skip


def test_a_submitted_driver_keeps_its_class_path_and_reads_what_was_given(tmp_path: Path) -> None:
    done = spark_submit(
        tmp_path, {"fs.s3a.endpoint": "https://s3.eu-west-3.amazonaws.com"},
        spark__executor__extraClassPath="/emrs.jar", spark__hadoop__fs__s3a__committer__name="emrs",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    run_by = json.loads(done.stdout.splitlines()[-1])
    assert run_by["spark.executor.extraClassPath"] == "/emrs.jar"
    assert run_by["spark.hadoop.fs.s3a.committer.name"] == "emrs"
    assert f"{S3A}endpoint" not in run_by  # core-site's holds
    assert run_by[f"{S3A}endpoint.region"] == "eu-west-3"


@pytest.mark.parametrize(
    ("core_site", "conf"),
    [
        ({"fs.s3a.endpoint.region": "us-east-1"}, {}),
        ({"fs.s3a.endpoint.region": "eu-west-3"}, {"spark__hadoop__fs__s3a__endpoint__region": "us-east-1"}),
    ],
    ids=["in core-site", "in spark-defaults, which counts"],
)
def test_a_submitted_driver_is_refused_another_region(
    tmp_path: Path, core_site: dict[str, str], conf: dict[str, str]
) -> None:
    done = spark_submit(tmp_path, core_site, **conf)
    assert done.returncode != 0
    told = "ResidencyError: fs.s3a.endpoint.region=us-east-1: set for this job, but the run needs eu-west-3"
    assert told in done.stdout
    assert not (tmp_path / "table").exists()
