from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from verger.errors import SettingsError
from verger.locations import Location
from verger.settings import Settings

from tests.support import one_line


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"VERGER_{name.upper()}", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "verger.yaml"


def refusal(**given: Any) -> pytest.ExceptionInfo[SettingsError]:
    with pytest.raises(SettingsError) as error:
        Settings.load(**given)
    assert error.value.exit_code == 2
    return error


# Where values come from


def test_command_line_before_environment_before_file_before_default(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    assert Settings.load().components == 100
    config.write_text("components: 7\n")
    assert Settings.load(config=config).components == 7
    monkeypatch.setenv("VERGER_COMPONENTS", "8")
    assert Settings.load(config=config).components == 8
    assert Settings.load(config=config, components=9).components == 9


def test_the_file_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text("components: 7\n")
    monkeypatch.setenv("VERGER_CONFIG", str(config))
    assert Settings.load().components == 7


def test_the_file_of_the_command_line_wins_over_the_environments(
    monkeypatch: pytest.MonkeyPatch, config: Path, tmp_path: Path
) -> None:
    config.write_text("components: 7\n")
    monkeypatch.setenv("VERGER_CONFIG", str(tmp_path / "missing.yaml"))
    assert Settings.load(config=str(config)).components == 7


def test_sources_are_merged_setting_by_setting(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text("images: /from/file\nstore: /from/file\nresults: /from/file\n")
    monkeypatch.setenv("VERGER_STORE", "/from/environment")
    settings = Settings.load(config=config, results="/from/command")
    assert (settings.images, settings.store, settings.results) == ("/from/file", "/from/environment", "/from/command")


def test_options_not_given_do_not_hide_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERGER_OVERWRITE", "true")
    assert Settings.load(overwrite=None).overwrite
    assert not Settings.load(overwrite=False).overwrite


def test_an_empty_environment_variable_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERGER_COMPONENTS", "")
    assert Settings.load().components == 100


def test_other_environment_variables_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPONENTS", "3")
    monkeypatch.setenv("VERGER_TEST_IMAGES", "/somewhere")
    assert Settings.load().components == 100


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n", "{}\n"])
def test_an_empty_file_changes_nothing(config: Path, text: str) -> None:
    config.write_text(text)
    assert Settings.load(config=config) == Settings.load(config=config, components=100)


def test_a_file_may_write_names_as_options_do(config: Path) -> None:
    config.write_text("max-failed: 3%\ndriver_memory: 1g\n")
    settings = Settings.load(config=config)
    assert (settings.max_failed, settings.driver_memory) == ("3%", "1g")


@pytest.mark.parametrize("text", ["5", "0", "'5'"])  # YAML's 5 is a number
def test_a_file_may_write_a_count_as_a_number(config: Path, text: str) -> None:
    config.write_text(f"max_failed: {text}\n")
    assert Settings.load(config=config).failed_allowed(100) == int(text.strip("'"))


def test_values_are_read_from_text_as_the_command_line_has_it() -> None:
    settings = Settings.load(components="5", overwrite="true", partitions="3", weights="~/w.h5", max_bytes="1000")
    assert (settings.components, settings.overwrite, settings.partitions, settings.max_bytes) == (5, True, 3, 1000)
    assert settings.weights == Path("~/w.h5")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().components = 3


# What is refused


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("components", "0", "greater than or equal to 1"),
        ("components", "1281", "less than or equal to 1280"),
        ("components", "many", "integer"),
        ("components", "2.5", "integer"),
        ("engine", "onnx", "'openvino' or 'tensorflow'"),
        ("max_bytes", "0", "greater than or equal to 1"),
        ("max_bytes", str(1 << 31), "less than or equal to"),
        ("max_pixels", "0", "greater than or equal to 1"),
        ("commit_every", "0", "greater than or equal to 1"),
        ("partitions", "-2", "greater than or equal to 1"),
        ("driver_memory", "2 GB", "pattern"),
        ("driver_memory", "lots", "pattern"),
        ("include", "", "at least 1 character"),
        ("overwrite", "perhaps", "boolean"),
    ],
)
def test_a_bad_value_is_one_line_with_option_value_rule_and_meaning(name: str, value: str, rule: str) -> None:
    meaning = Settings.model_fields[name].description
    one_line(refusal(**{name: value}), f"--{name.replace('_', '-')} {value}", rule, f"it means: {meaning}")


@pytest.mark.parametrize("value", ["some", "-1", "1.5", "5 %", "", "%", "1%%", "1,5%"])
def test_a_bad_share_is_one_line_with_option_value_rule_and_remedy(value: str) -> None:
    one_line(refusal(max_failed=value), f"--max-failed {value}", "neither a count nor a share", "write 10 or 1%")


def test_a_bad_value_of_the_environment_is_told_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERGER_COMPONENTS", "0")
    one_line(refusal(), "--components 0", "greater than or equal to 1")


def test_a_bad_value_of_the_file_is_told_likewise(config: Path) -> None:
    config.write_text("components: [1, 2]\n")
    one_line(refusal(config=config), "--components [1, 2]", "integer")


@pytest.mark.parametrize("name", ["images", "store", "results", "projection"])
def test_a_bad_location_is_one_line(name: str) -> None:
    one_line(refusal(**{name: "gopher://x"}), f"--{name} gopher://x", "unknown scheme")
    one_line(refusal(**{name: " "}), "location is empty")


def test_an_unknown_name_in_the_file_is_refused(config: Path) -> None:
    config.write_text("components: 5\ncolour: red\n")
    one_line(refusal(config=config), "colour", "no such setting", "--help")


def test_an_unknown_name_is_refused() -> None:
    one_line(refusal(colour="red"), "colour", "no such setting")


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "3\n"])
def test_a_file_that_is_no_mapping_is_refused(config: Path, text: str) -> None:
    config.write_text(text)
    one_line(refusal(config=config), str(config), "not a mapping", "'name: value'")


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\tx: 1\n", "a: 1\n b: 2\n", "a: !!python/name:os.system\n"])
def test_a_file_that_is_not_yaml_is_refused(config: Path, text: str) -> None:
    config.write_text(text)
    one_line(refusal(config=config), str(config), "not YAML")


def test_a_file_that_is_not_text_is_refused(config: Path) -> None:
    config.write_bytes(b"images: \xff\xfe\n")
    one_line(refusal(config=config), str(config))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    one_line(refusal(config=tmp_path / "missing.yaml"), "missing.yaml", "No such file", "give a readable YAML file")
    one_line(refusal(config=tmp_path), str(tmp_path), "give a readable YAML file")


# What is asked of them


def test_a_location_is_parsed() -> None:
    assert Settings.load(images="s3://fruits/test").location("images") == Location("s3a", "fruits/test")


@pytest.mark.parametrize("name", ["images", "store", "results", "projection"])
def test_a_missing_location_says_how_to_give_it(name: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.load().location(name)
    one_line(error, f"--{name} is missing", f"VERGER_{name.upper()}")


def test_the_cache_is_an_absolute_folder() -> None:
    assert Settings.load().cache_dir == Path.home() / ".cache" / "verger"
    assert Settings.load(cache="here").cache_dir == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("text", "listed", "allowed"),
    [
        ("0", 1000, 0),
        ("5", 3, 5),
        ("1%", 4207, 42),
        ("1%", 99, 0),
        ("0%", 99, 0),
        ("100%", 99, 99),
        ("0.5%", 1000, 5),
        ("33.4%", 500, 167),
        ("1%", 0, 0),
    ],
)
def test_failed_images_are_allowed_as_a_count_or_a_share(text: str, listed: int, allowed: int) -> None:
    assert Settings.load(max_failed=text).failed_allowed(listed) == allowed


# In binary fractions, int(3000 * 2.3 / 100) is 68.
@example(230, 3000)
@example(57, 10_000)
@given(st.integers(0, 10_000), st.integers(0, 10_000_000))
def test_a_share_is_rounded_down_exactly(hundredths: int, listed: int) -> None:
    text = f"{hundredths // 100}.{hundredths % 100:02}%"
    allowed = Settings.load(max_failed=text).failed_allowed(listed)
    assert allowed == Fraction(hundredths, 10_000) * listed // 1
