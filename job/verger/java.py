"""Java for Spark: the machine's own when it is 17 or newer, else the one that the set-up put into the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from verger.errors import VergerError

OLDEST = 17


def home(cache: Path) -> Path | None:
    """The JAVA_HOME to set, or None when the `java` that Spark finds by itself will do.

    Raises VergerError when there is no Java of at least OLDEST.
    """
    if _version(_default()) >= OLDEST:
        return None
    for java in sorted(cache.glob("jre/*/bin/java")):
        if _version(str(java)) >= OLDEST:
            return java.parent.parent
    raise VergerError(
        f"no Java {OLDEST} or newer; install one (Debian: apt install openjdk-17-jre-headless) or set JAVA_HOME"
    )


def install(cache: Path) -> Path:
    """Put a Temurin JRE into the cache, for machines without Java."""
    import jdk

    target = cache / "jre"
    target.mkdir(parents=True, exist_ok=True)
    try:
        return Path(jdk.install(str(OLDEST), jre=True, path=str(target)))
    except Exception as error:  # install-jdk lets through whatever urllib, tarfile or zipfile raise
        raise VergerError(
            f"Java {OLDEST} could not be fetched ({type(error).__name__}); install it "
            "(Debian: apt install openjdk-17-jre-headless) and try again"
        ) from error


def executable() -> str:
    """The `java` that runs Spark, after `home` was heeded."""
    found = _default()
    if found is None:
        raise VergerError(f"no Java {OLDEST} or newer; install one or set JAVA_HOME")
    return found


def _default() -> str | None:
    """What Spark's scripts would run: JAVA_HOME's java, else the first on the PATH."""
    named = os.environ.get("JAVA_HOME")
    return str(Path(named, "bin", "java")) if named else shutil.which("java")


def _version(java: str | None) -> int:
    """The feature release of a `java`, 0 for none."""
    if java is None or not os.access(java, os.X_OK):
        return 0
    return _recorded(Path(java)) or _printed(java)


def _recorded(java: Path) -> int:
    """By the file `release` of its home, which is read in no time; 0 where there is none."""
    try:
        text = (java.resolve().parent.parent / "release").read_text(errors="replace")
    except OSError:
        return 0
    return _first(r'^JAVA_VERSION="(\d+)', text)


def _printed(java: str) -> int:
    """By its own word, which takes a tenth of a second."""
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:  # for another machine
        return 0
    return _first(r'version "(\d+)', text)


def _first(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else 0
