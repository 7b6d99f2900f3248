"""What is in the image, as a CycloneDX document on standard output: system and Python packages, jars, weights.

Run at build, in the image, by Verger's Python: it lists what is there, not what a lock says should be.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions, version
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from verger import jars
from verger.network import FILE

CACHE = Path(os.environ["VERGER_CACHE"])
JARS = (Path(os.environ["SPARK_HOME"], "jars"), CACHE / "jars")
STEM = re.compile(r"(?P<name>.+?)-(?P<version>\d.*)")


def system_packages() -> Iterator[Component]:
    """Debian's or Amazon Linux's."""
    if shutil.which("dpkg-query"):
        kind, vendor, query = "deb", "debian", ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n"]
    else:
        kind, vendor, query = "rpm", "amzn", ["rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH}\n"]
    for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines():
        name, release, machine = line.split()
        yield _component(name, release, PackageURL(kind, vendor, name, release, {"arch": machine}))


def python_packages() -> Iterator[Component]:
    for found in distributions(path=[sysconfig.get_path("purelib")]):
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        yield _component(name, found.version, PackageURL("pypi", None, name, found.version))


def jar_files() -> Iterator[Component]:
    """Maven's coordinate from jars.lock or the jar itself; a jar that has none keeps its file name as a generic one."""
    locked = {line.split()[2]: line.split()[1] for line in jars.LOCK.read_text().splitlines() if line[:1].isdigit()}
    for folder in JARS:
        for file in sorted(folder.rglob("*.jar")):
            digest = _sha256(file)
            coordinate = locked[digest].split(":") if digest in locked else _coordinate(file)
            if coordinate:
                group, name, release = coordinate
                purl = PackageURL("maven", group, name, release, {"classifier": _classifier(file, name, release)})
            else:
                parts = STEM.fullmatch(file.stem)
                name, release = (parts["name"], parts["version"]) if parts else (file.stem, "")
                purl = PackageURL("generic", None, name, release or None, {"checksum": f"sha256:{digest}"})
            yield _component(name, release, purl, digest, ref=str(file))


def weights() -> Component:
    digest = _sha256(CACHE / "weights" / FILE)
    purl = PackageURL("generic", None, FILE, None, {"checksum": f"sha256:{digest}"})
    return _component(FILE, "", purl, digest, kind=ComponentType.MACHINE_LEARNING_MODEL)


def _coordinate(file: Path) -> list[str] | None:
    """Of the Maven projects in a jar (a shaded one holds many) the one that the file is named for."""
    with zipfile.ZipFile(file) as jar:
        names = [name for name in jar.namelist() if re.fullmatch(r"META-INF/maven/.+/pom\.properties", name)]
        texts = [jar.read(name).decode() for name in names]
    read = [dict(re.findall(r"^(groupId|artifactId|version)\s*=\s*(\S+)", text, re.MULTILINE)) for text in texts]
    named = [
        pom for pom in read if len(pom) == 3 and f"{file.stem}-".startswith(f"{pom['artifactId']}-{pom['version']}-")
    ]
    if not named:
        return None
    longest = max(named, key=lambda pom: len(pom["artifactId"]))
    return [longest["groupId"], longest["artifactId"], longest["version"]]


def _classifier(file: Path, name: str, release: str) -> str:
    return file.stem.removeprefix(f"{name}-{release}").removeprefix("-")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _component(
    name: str,
    release: str,
    purl: PackageURL,
    digest: str | None = None,
    ref: str | None = None,
    kind: ComponentType = ComponentType.LIBRARY,
) -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []
    return Component(
        type=kind, name=name, version=release or None, purl=purl, hashes=hashes, bom_ref=ref or purl.to_string()
    )


def main() -> None:
    bom = Bom(components=[*system_packages(), *python_packages(), *jar_files(), weights()])
    bom.metadata.component = Component(type=ComponentType.CONTAINER, name="verger", version=version("verger"))
    sys.stdout.write(JsonV1Dot6(bom).output_as_string(indent=1))


if __name__ == "__main__":
    main()
