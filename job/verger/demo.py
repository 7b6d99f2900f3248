"""The embedded default: the whole job on images that are drawn here, so that one command shows what Verger does."""

from __future__ import annotations

from pathlib import Path

from verger import drawing
from verger.pipeline import Outcome, Run
from verger.prepare import or_untrained
from verger.progress import Show
from verger.settings import Settings

FOLDER = Path("demo")
EACH = 40  # images of each of the eight fruits


def demo(settings: Settings, show: Show) -> Outcome:
    """Draw the images and run the job on them; a second time, nothing is embedded again."""
    places = {name: getattr(settings, name) or str(FOLDER / name) for name in ("images", "store", "results")}
    settings = settings.model_copy(update={**places, "overwrite": True})
    count = drawing.orchard(settings.location("images").local, EACH)
    show.say(f"{count} images drawn in {settings.location('images')}")
    return Run(or_untrained(settings, show), show).run()
