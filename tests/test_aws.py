"""How long a server that is away is waited for, whatever chance does to the pauses."""

from __future__ import annotations

import random
import threading
import time

import pytest
from verger.aws import Aws, told
from verger.errors import Away

from tests.s3server import REGION, free_port


@pytest.mark.parametrize(
    ("chance", "hurried", "least", "most"), [(0, False, 30, 60), (1, False, 60, 100), (1, True, 0, 5)]
)
def test_a_server_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, chance: float, hurried: bool, least: float, most: float
) -> None:
    slept: list[float] = []
    here, sleep = threading.get_ident(), time.sleep

    def no_sleep(seconds: float) -> None:  # threads of others go on as they did
        slept.append(seconds) if threading.get_ident() == here else sleep(seconds)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setattr(time, "sleep", no_sleep)
    monkeypatch.setattr(random, "random", lambda: chance)
    aws = Aws(REGION, f"http://127.0.0.1:{free_port()}")
    if hurried:
        aws.hurry()
    with pytest.raises(Away, match=r"^s3://fruits: Could not connect"), told("s3://fruits"):
        aws.s3.head_bucket(Bucket="fruits")
    assert least <= sum(slept) <= most
