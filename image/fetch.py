"""The image's cache: jars with S3A, MobileNetV2's weights, and the graphs made of them and checked. Run at build.

Unlike `verger prepare`, it never makes do with untrained weights, nor with others than the pinned ones.
Usage: python fetch.py FOLDER [--emr]; FOLDER may hold the weights, else they are downloaded; --emr: the jars are EMR's
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import get_args

import pyspark
from verger import jars, network
from verger.decode import Decoder
from verger.engines import EngineName
from verger.errors import VergerError
from verger.settings import Settings


def main(given: Path, own_jars: bool) -> int:
    cache = Settings.load().cache_dir
    try:
        if (given / network.FILE).is_file():
            (cache / "weights").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given / network.FILE, cache / "weights" / network.FILE)
        weights = network.Weights.find(None, cache)
        if weights.sha256 != network.SHA256:
            raise VergerError(
                f"{given / network.FILE}: sha256 {weights.sha256} is not the pinned {network.SHA256}; "
                "give Keras's file, or none: it is downloaded then"
            )
        if own_jars:
            jars.ensure(pyspark.__version__, cache, s3=True)
        for engine in get_args(EngineName):
            network.prepare(weights, Decoder(), engine, cache)
    except VergerError as error:
        print(f"no image without its parts: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), own_jars="--emr" not in sys.argv))
