"""How results get into place; what is in them is tried with Spark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from verger.errors import SettingsError
from verger.results import ASIDE, CSV, FAILURES, MANIFEST, PARQUET, PROJECTION, LocalResults

from tests.support import one_line

FILES = (f"{PARQUET}/part-0.parquet", f"{PARQUET}/_SUCCESS", CSV, f"{PROJECTION}/projection.npz", FAILURES, MANIFEST)


def fill(folder: Path, content: str, files: tuple[str, ...] = FILES) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def contents(folder: Path) -> dict[str, str]:
    """Every file below the folder, hidden ones too."""
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def written(folder: Path, run: str = "r1", *, overwrite: bool = False) -> LocalResults:
    """Results that are complete, and not published yet."""
    results = LocalResults(folder, run, overwrite)
    fill(results.aside, run)
    return results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


# A free folder


def test_nothing_is_in_place_before_it_is_published(folder: Path) -> None:
    results = written(folder)
    assert [entry.name for entry in folder.iterdir()] == [results.aside.name]
    assert results.aside.name.startswith(".")
    LocalResults(folder, "other", overwrite=False).refuse_earlier()


def test_publishing_moves_everything_and_leaves_nothing_hidden(folder: Path) -> None:
    written(folder).publish()
    assert contents(folder) == dict.fromkeys(FILES, "r1")
    assert {entry.name for entry in folder.iterdir()} == {PARQUET, CSV, PROJECTION, FAILURES, MANIFEST}


def test_discarding_leaves_nothing(folder: Path) -> None:
    results = written(folder)
    results.discard()
    assert list(folder.iterdir()) == []
    results.discard()  # twice is no error


def test_discarding_after_publishing_changes_nothing(folder: Path) -> None:
    results = written(folder)
    results.publish()
    results.discard()
    assert contents(folder) == dict.fromkeys(FILES, "r1")


def test_the_manifest_is_json_for_people(folder: Path) -> None:
    results = written(folder)
    results.write_manifest({"label": "Pêche"})
    text = (results.aside / MANIFEST).read_text(encoding="utf-8")
    assert "Pêche" in text
    assert json.loads(text) == {"label": "Pêche"}


def test_the_folders_location_is_where_spark_writes(folder: Path) -> None:
    results = LocalResults(folder, "r1", overwrite=False)
    assert results.spark(PARQUET).uri == f"file:{folder}/{ASIDE}r1/{PARQUET}"


# A folder with something in it


@pytest.mark.parametrize("name", ["run.json", "my thesis.odt", ".gitignore", "_SUCCESS"])
def test_a_folder_that_is_not_empty_is_refused(folder: Path, name: str) -> None:
    fill(folder, "mine", (name,))
    results = written(folder)
    for refusing in (results.refuse_earlier, results.publish):
        with pytest.raises(SettingsError) as error:
            refusing()
        one_line(error, str(folder), "not empty", "--overwrite")
    assert (folder / name).read_text() == "mine"


def test_a_file_is_refused_even_to_overwrite(folder: Path) -> None:
    folder.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(SettingsError) as error:
            LocalResults(folder, "r1", overwrite).refuse_earlier()
        one_line(error, str(folder), "give a folder")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_empty_or_not_there_is_fine(folder: Path, overwrite: bool) -> None:
    results = LocalResults(folder, "r1", overwrite)
    results.refuse_earlier()
    folder.mkdir()
    results.refuse_earlier()


def test_what_another_run_has_aside_is_no_earlier_result(folder: Path) -> None:
    written(folder, "dead")
    results = written(folder, "r2")
    results.publish()
    assert contents(folder) == dict.fromkeys(FILES, "r2") | {f"{ASIDE}dead/{name}": "dead" for name in FILES}


def test_overwriting_replaces_everything_and_leaves_nothing_hidden(folder: Path) -> None:
    fill(folder, "earlier", (*FILES, "report.html", f"{PARQUET}/part-1.parquet"))
    written(folder, "r2", overwrite=True).publish()
    assert contents(folder) == dict.fromkeys(FILES, "r2")
    assert not any(entry.name.startswith(ASIDE) for entry in folder.iterdir())


def test_overwriting_again_and_again_works(folder: Path) -> None:
    for run in ("r1", "r2", "r3"):
        written(folder, run, overwrite=True).publish()
        assert contents(folder) == dict.fromkeys(FILES, run)


# A publication that fails


def block(results: LocalResults) -> str:
    """Make one rename of the new results fail for real: its target is a folder that is not empty, and stays."""
    name = f"{ASIDE}in-the-way"
    fill(results.folder, "another run's", (f"{name}/file",))
    fill(results.aside, "new", (f"{name}/file",))
    return name


def test_earlier_results_are_kept_when_publishing_fails_half_way(folder: Path) -> None:
    fill(folder, "earlier")
    results = written(folder, "r2", overwrite=True)
    name = block(results)
    with pytest.raises(OSError, match="not empty"):
        results.publish()
    visible = {file: text for file, text in contents(folder).items() if not file.startswith(ASIDE)}
    assert visible == dict.fromkeys(FILES, "earlier")
    assert {entry.name for entry in results.aside.iterdir() if entry.name != "replaced"} == {
        PARQUET, CSV, PROJECTION, FAILURES, MANIFEST, name,
    }  # fmt: skip
    results.discard()
    assert contents(folder) == dict.fromkeys(FILES, "earlier") | {f"{name}/file": "another run's"}


def test_nothing_is_in_place_when_the_first_publication_fails(folder: Path) -> None:
    results = written(folder)
    name = block(results)
    with pytest.raises(OSError, match="not empty"):
        results.publish()
    results.discard()
    assert contents(folder) == {f"{name}/file": "another run's"}


def test_the_manifest_is_moved_last_and_removed_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, "earlier")
    complete: list[bool] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        """The real rename; then: is there a manifest, and if so, is it beside the results of its own run?"""
        moved = rename(self, target)
        if (folder / MANIFEST).exists():
            run = (folder / MANIFEST).read_text()
            complete.append(all((folder / name).exists() and (folder / name).read_text() == run for name in FILES))
        return moved

    monkeypatch.setattr(Path, "rename", watched)
    written(folder, "r2", overwrite=True).publish()
    assert complete == [True]  # only after the very last rename


def test_earlier_results_are_kept_when_publishing_is_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, "earlier")
    results = written(folder, "r2", overwrite=True)
    renames = 0
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == 3:
            raise KeyboardInterrupt  # Ctrl-C between two renames
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.publish()
    results.discard()  # as pipeline.py does
    assert contents(folder) == dict.fromkeys(FILES, "earlier")
