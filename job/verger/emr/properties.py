"""Spark properties that users may not give a run on EMR: with them, data could leave what was checked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from verger.errors import ResidencyError, SettingsError

_S3A = r"fs\.s3a\.(bucket\.[^.]+\.)?"
# Each with what is to be done instead.
ELSEWHERE = (
    (rf"{_S3A}endpoint(\..+)?", "a run stays in one region: give --region, or --endpoint"),
    (rf"{_S3A}cross\.region\.access\.enabled", "a run stays in one region"),
    (rf"{_S3A}connection\.ssl\.enabled", "data is encrypted on its way"),
    (rf"{_S3A}proxy\..+", "data goes straight to S3"),
    (r"fs\.s3\.(endpoint|region)(\..+)?", "a run stays in one region: give --region"),
    (r"fs\.defaultFS", "a run's places are options"),
    (r"spark\.eventLog\.dir", "give --event-log, which is checked"),
    (r"spark\.(sql\.warehouse\.dir|kubernetes\.file\.upload\.path)", "a run's places are options"),
)
REFUSED = (
    (rf"{_S3A}(access\.key|secret\.key|session\.token|aws\.credentials\.provider(\..+)?)", "the role is the identity"),
    (r"spark\.(executorEnv|kubernetes\.driverEnv)\.AWS_.+", "the role is the identity"),
    (r"spark\.kubernetes\.((driver|executor)\.)?container\.image", "give --container-image, which is checked"),
    (r"spark\.kubernetes\.(driver|executor)\.podTemplateFile", "give --driver-template or --executor-template"),
)


def admit(properties: dict[str, str]) -> None:
    """A ResidencyError or a SettingsError for the first property that may not be given."""
    for name, value in properties.items():
        for said in _names(name, value):
            for rules, refusal in ((ELSEWHERE, ResidencyError), (REFUSED, SettingsError)):
                for pattern, remedy in rules:
                    if re.fullmatch(rf"(spark\.hadoop\.)?(?:{pattern})", said):
                        raise refusal(f"--spark-conf {said}: not for a property to say; leave it out: {remedy}")


def _names(name: str, value: str) -> Iterator[str]:
    """The property, and those that a JVM's options (-D) would set."""
    yield name
    yield from re.findall(r"-D\s*([\w.-]+)", value)
