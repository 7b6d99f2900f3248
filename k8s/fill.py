#!/usr/bin/env python3
"""Print a template with every ${NAME} in it replaced by the environment's NAME.

    NAMESPACE=verger k8s/fill.py k8s/namespace.yaml | kubectl apply -f -

Unlike envsubst, it takes no empty value and no pattern: either would make a policy say something else than it reads.
ROLE_BASE36 comes of ROLE: EMR on EKS writes a role's name so in the names of its service accounts.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "job"))

from verger.emr.accounts import base36  # of this checkout: the script runs where Verger is not installed

PLACE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")  # not ${aws:...}: that is IAM's own
VALUE = re.compile(r"[\w.:/@=+-]+", re.ASCII)


def fill(template: str, given: Mapping[str, str]) -> str:
    """The filled template; a ValueError for a name without a value that can be used."""
    values = {name: value for name, value in given.items() if value}
    if "ROLE" in values:
        values["ROLE_BASE36"] = base36(values["ROLE"])
    wanted = sorted(set(PLACE.findall(template)))
    if missing := [name for name in wanted if name not in values]:
        raise ValueError(f"{', '.join(missing)}: no value; give it in the environment, as {missing[0]}=...")
    for name in wanted:
        if not VALUE.fullmatch(values[name]):
            raise ValueError(
                f"{name}={values[name]}: letters, digits and . : / @ = + - _ only; a * or ? would match more than one"
            )
    return PLACE.sub(lambda place: values[place[1]], template)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: NAME=VALUE ... k8s/fill.py TEMPLATE")
    try:
        print(fill(Path(sys.argv[1]).read_text(), os.environ), end="")
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}" if isinstance(error, ValueError) else str(error))
