from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verger.decode import Decoder
from verger.drawing import FRUITS, SIDE, draw, orchard


@pytest.mark.parametrize("fruit", FRUITS)
def test_a_fruit_is_drawn_on_white_in_its_colour(fruit: str) -> None:
    pixels = np.asarray(draw(fruit, 0)).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(pixels[0, 0], 255)
    skin = np.array(FRUITS[fruit][0])
    middle = pixels[40:60, 40:60].reshape(-1, 3).mean(axis=0)
    assert np.corrcoef(middle, skin)[0, 1] > 0.9


def test_a_view_is_the_same_each_time_and_unlike_the_next() -> None:
    one, again, other = (np.asarray(draw("Kiwi", number)).astype(int) for number in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).mean() > 1


@pytest.mark.parametrize("side", [10, 224])
def test_a_fruit_is_drawn_in_any_size(side: int) -> None:
    assert draw("Pear", 0, side).size == (side, side)


def test_an_orchard_holds_every_fruit_in_its_folder(tmp_path: Path) -> None:
    assert orchard(tmp_path / "images", 2) == 2 * len(FRUITS)
    files = sorted(tmp_path.glob("images/*/*"))
    assert {(file.parent.name, file.name) for file in files} == {(f, f"{n}.jpg") for f in FRUITS for n in (0, 1)}
    decoded = Decoder().decode(files[0].read_bytes())
    assert (decoded.width, decoded.height, decoded.format) == (SIDE, SIDE, "JPEG")


def test_an_orchard_grows_and_keeps_what_is_there(tmp_path: Path) -> None:
    orchard(tmp_path, 1)
    kept = tmp_path / "Kiwi" / "0.jpg"
    Image.new("RGB", (1, 1)).save(kept)
    before = kept.read_bytes()
    assert orchard(tmp_path, 2) == 2 * len(FRUITS)
    assert kept.read_bytes() == before
    assert (tmp_path / "Kiwi" / "1.jpg").is_file()
