"""The commands on EMR of the README and of its page, as printed, on an account that has what they name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.emrcloud import REGION, Cloud
from tests.s3server import clean
from tests.test_readme import ON_EMR, ROOT, commands

pytestmark = pytest.mark.main


@pytest.mark.parametrize(
    ("printed", "ends"),
    [
        (ON_EMR, "64 images: 64 embedded, 0 reused, 0 failed\n"),
        (commands("docs/emr-commands.md"), '"images": {\n'),
    ],
    ids=["README.md", "docs/emr-commands.md"],
)
def test_the_commands_work_as_printed(cloud: Cloud, printed: list[str], ends: str) -> None:
    options = {"ENDPOINT": cloud.aws.url, "ATTEST_REGION": REGION, "ALLOW_HTTP": "1", "WEIGHTS": "", "UNTRAINED": ""}
    environment = clean() | cloud.aws.environment | {f"VERGER_{name}": value for name, value in options.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    assert printed
    command = ["bash", "-euc", "\n".join(printed)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as shell:
        end = time.monotonic() + 120
        while not cloud.runs:
            assert shell.poll() is None, shell.communicate()
            assert time.monotonic() < end
            time.sleep(0.1)
        (run,) = cloud.runs
        cloud.archive(run, "driver", "64 images: 64 embedded, 0 reused, 0 failed", output="stdout")
        cloud.set(run, "COMPLETED")
        out, err = shell.communicate(timeout=120)
    assert shell.returncode == 0, err
    assert f"job run {run}: COMPLETED\n" in err
    assert ends in out
