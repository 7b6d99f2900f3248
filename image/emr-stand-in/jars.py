"""The stand-in's jars, under the names that EMR's image has: Delta, Hadoop 3.4, and S3A with its SDK and a committer.

Usage: python jars.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyspark
from verger import jars
from verger.jars import Jar
from verger.settings import Settings

# EMR's committer for S3A is its own; Spark's, for EMR's version of Spark, stands in for it.
COMMITTER = Jar(
    "3.5",
    "org.apache.spark:spark-hadoop-cloud_2.12:3.5.8",
    "9c9be6d3e185c2c9f53e66f8781f0fa32944882ced2c5c08945a78eb2f989ced",
)
# Without their versions: EMR's links are named so.
RENAMED = {"hadoop-aws-": "hadoop-aws.jar", "delta-spark_": "delta-spark.jar", "delta-storage-": "delta-storage.jar"}


def main(folder: Path) -> None:
    cache = Settings.load().cache_dir
    s3a = [file for file in jars.ensure(pyspark.__version__, cache, s3=True) if not file.name.startswith("delta-")]
    sdk = [file for file in s3a if not file.name.startswith(("hadoop-aws-", "spark-hadoop-cloud_"))]
    named = [file for file in s3a if file.name.startswith("hadoop-aws-")] + jars.ensure(COMMITTER.spark, cache)
    (folder / "sdk").mkdir(parents=True)
    for file in (*sdk, jars.fetched(COMMITTER, cache)):
        shutil.copy(file, folder / "sdk")
    for file in named:
        shutil.copy(file, folder / next(new for start, new in RENAMED.items() if file.name.startswith(start)))
    for file in (Path(pyspark.__file__).parent / "jars").glob("hadoop-client-*.jar"):
        shutil.copy(file, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
