"""Fruit-like images, drawn by seed: the embedded default's data, and the tests' where there are no real images."""

from __future__ import annotations

import math
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE = 100  # pixels, as Fruits-360
Colour = tuple[int, int, int]

FRUITS: dict[str, tuple[Colour, float, int]] = {  # skin, height/width, spots
    "Apple": ((190, 30, 40), 0.95, 12),
    "Banana": ((240, 215, 70), 0.45, 6),
    "Blueberry": ((60, 70, 150), 1.0, 3),
    "Kiwi": ((120, 95, 50), 1.2, 40),
    "Lemon": ((250, 230, 60), 0.8, 25),
    "Orange": ((245, 145, 30), 1.0, 30),
    "Pear": ((180, 195, 70), 1.35, 18),
    "Plum": ((95, 40, 85), 1.1, 5),
}


def draw(fruit: str, number: int, side: int = SIDE) -> Image.Image:
    """The `number`-th view of a fruit, RGB, side x side pixels: turned, lit and spotted by its seed."""
    random_ = random.Random(f"{fruit}-{number}")
    skin, ratio, spots = FRUITS[fruit]
    scale = 4 * side / 100
    canvas = Image.new("RGB", (4 * side, 4 * side), (255, 255, 255))
    pen = ImageDraw.Draw(canvas)
    width = random_.uniform(26, 34)
    half = (width * scale, width * ratio * scale)
    centre = 50 * scale
    warmth = [random_.uniform(0.9, 1.1) for _ in skin]
    for step in range(20):  # lighter towards the lamp
        shrink, light = 1 - step / 24, 0.6 + step / 40
        shade = tuple(min(255, round(part * light * warm)) for part, warm in zip(skin, warmth, strict=True))
        x, y = centre - step * 0.4 * scale, centre - step * 0.5 * scale
        rx, ry = half[0] * shrink, half[1] * shrink
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=shade)
    for _ in range(spots):
        angle, reach = random_.uniform(0, 2 * math.pi), random_.uniform(0, 0.85)
        x = centre + math.cos(angle) * reach * half[0]
        y = centre + math.sin(angle) * reach * half[1]
        r = random_.uniform(0.5, 1.8) * scale
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(round(part * 0.6) for part in skin))
    turned = canvas.rotate(random_.uniform(0, 360), Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    return turned.filter(ImageFilter.GaussianBlur(scale / 2)).resize((side, side), Image.Resampling.LANCZOS)


def orchard(folder: Path, each: int) -> int:
    """Draw `each` views of every fruit as FOLDER/Fruit/number.jpg; returns how many there are."""
    for fruit in FRUITS:
        (folder / fruit).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            file = folder / fruit / f"{number}.jpg"
            if not file.exists():
                draw(fruit, number).save(file, quality=90)
    return each * len(FRUITS)
