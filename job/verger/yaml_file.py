"""YAML files that users write: a mapping, or one line about what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from verger.errors import SettingsError


def mapping(option: str, file: str | Path) -> dict[str, Any]:
    """The mapping in the file that `option` names; a SettingsError for anything else."""
    try:
        content = yaml.safe_load(Path(file).expanduser().read_text())
    except OSError as error:
        raise SettingsError(f"{option} {file}: {error.strerror}; give a readable YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = re.sub(r"\s+", " ", str(error))
        raise SettingsError(f"{option} {file}: not YAML ({detail}); write 'name: value' lines") from error
    if not isinstance(content or {}, dict):
        raise SettingsError(f"{option} {file}: not a mapping; write 'name: value' lines")
    return content or {}
