"""Every command of the README is run, as printed, in an empty folder beside the project's files."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def commands(file: str) -> list[str]:
    """Those that a page has, as printed."""
    return [
        line.split("#")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]


COMMANDS = commands("README.md")
ELSEWHERE = {"make test": "what runs this very test", "make check": "a step of .ci/run"}
BY_HELM = [command for command in COMMANDS if command.startswith("helm ")]
ON_EMR = [command for command in COMMANDS if "verger emr" in command]
ON_S3 = [command for command in COMMANDS if "s3://" in command and command not in [*BY_HELM, *ON_EMR]]
IN_A_CLUSTER = [command for command in COMMANDS if "verger kubernetes" in command]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, without what earlier commands left in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if entry.name not in {"demo", ".git"}:
            (folder / entry.name).symlink_to(entry)
    return folder


def test_the_two_first_commands_are_the_demo_and_the_tests() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]


@pytest.mark.spark
@pytest.mark.main
@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command not in [*ELSEWHERE, *ON_S3, *ON_EMR, *IN_A_CLUSTER, *BY_HELM]],
)
def test_the_command_works_as_printed(command: str, checkout: Path, weights: dict[str, object]) -> None:
    environment = os.environ | ({"VERGER_UNTRAINED": "true"} if "untrained" in weights else {})
    done = subprocess.run(
        command, shell=True, cwd=checkout, capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if command == "make demo":
        assert "320 images: 320 embedded, 0 reused, 0 failed" in done.stdout
        assert (checkout / "demo" / "results" / "results.csv").is_file()
