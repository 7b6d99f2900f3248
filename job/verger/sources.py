"""Where settings come from: the command line, the environment and one YAML file, in that order.

Nothing else in Verger reads the environment. A model of settings says under which prefix its variables are, and which
part of the file is its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from verger import yaml_file
from verger.errors import SettingsError
from verger.locations import Location

SECTIONS = ("emr",)  # keys of the file that hold the settings of another model


def _location(text: str) -> str:
    try:
        Location.parse(text)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return text


Uri = Annotated[str, AfterValidator(_location)]


class Configured(BaseSettings):
    """Settings of one kind. Frozen: built once by `load`, then only passed on."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    section: ClassVar[str | None] = None  # None: the file's own top level
    listed_by: ClassVar[str] = "verger run --help"
    beside: ClassVar[tuple[type[PydanticBaseSettingsSource], ...]] = ()  # sources after the file

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, and the YAML file that either of them names."""
        named = init_settings().get("config") or env_settings().get("config")
        file = _YamlFile(settings_cls, named, cls.section)
        return init_settings, env_settings, file, *(source(settings_cls) for source in cls.beside)

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Build settings from what the command line gave; a SettingsError says what is wrong."""
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(cls._one_line(error)) from error

    @classmethod
    def _one_line(cls, error: ValidationError) -> str:
        """The first thing wrong: value, rule, remedy."""
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        option = "--" + name.replace("_", "-")
        if first["type"] == "extra_forbidden":
            return f"{name}: no such setting; `{cls.listed_by}` lists them"
        if isinstance(cause := first.get("ctx", {}).get("error"), Exception):
            return f"{option} {cause}"
        hint = cls.model_fields[name].description if name in cls.model_fields else ""
        rule = first["msg"][0].lower() + first["msg"][1:]
        return f"{option} {first['input']}: {rule}; it means: {hint}"


class _YamlFile(PydanticBaseSettingsSource):
    """The settings of one YAML mapping, or of a mapping in it."""

    def __init__(self, settings_cls: type[BaseSettings], file: str | Path | None, section: str | None) -> None:
        super().__init__(settings_cls)
        self._file, self._section = file, section

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("the whole file is one mapping: see __call__")

    def __call__(self) -> dict[str, Any]:
        if self._file is None:
            return {}
        content = yaml_file.mapping("--config", self._file)
        if self._section is None:
            own = {key: value for key, value in content.items() if key not in SECTIONS}
        else:
            own = content.get(self._section) or {}
            if not isinstance(own, dict):
                raise SettingsError(f"--config {self._file}: {self._section}: not a mapping; write 'name: value' lines")
        return {str(key).replace("-", "_"): value for key, value in own.items()}
