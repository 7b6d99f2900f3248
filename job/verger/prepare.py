"""Make a machine ready, once: Java, jars, weights, the converted network, and the JVM's class archive."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyspark

from verger import drawing, jars, java
from verger.downloads import DownloadError
from verger.errors import VergerError
from verger.launch import Launch, class_archive
from verger.network import Weights
from verger.pipeline import Run
from verger.progress import Show
from verger.settings import Settings

REHEARSED = 4  # drawn images of each fruit


def prepare(settings: Settings, show: Show) -> None:
    """Do what is not done yet, and say what was found.

    The rehearsal is a whole run on a few drawn images. It proves that runs work here, converts the network on the way,
    and its JVM leaves the archive of classes that later ones start from.
    """
    cache = settings.cache_dir
    try:
        java.home(cache)
    except VergerError:
        show.say(f"Java: none of {java.OLDEST} or newer here, fetching a JRE")
        java.install(cache)
    jars.ensure(pyspark.__version__, cache, show.download)
    settings = or_untrained(settings, show)
    archive = class_archive(cache)
    if archive.is_file():
        show.say(f"ready: {cache}")
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        drawing.orchard(Path(folder, "images"), REHEARSED)
        places = {name: f"{folder}/{name}" for name in ("images", "store", "results")}
        rehearsed = settings.model_copy(update={**places, "components": 2})
        Run(rehearsed, show, Launch(rehearsed, rehearsal=True)).run()
    Launch(settings).command()  # that a run's JVM starts by, now that there is an archive
    show.say(f"ready: {cache}")


def or_untrained(settings: Settings, show: Show) -> Settings:
    """These settings, with untrained weights when the real ones are not to be had, said in one bold line."""
    try:
        Weights.find(settings.weights, settings.cache_dir, show.download)
    except DownloadError as error:
        show.say(f"UNTRAINED WEIGHTS: features mean nothing; give the real ones by --weights ({error})", style="bold")
        return settings.model_copy(update={"untrained": True})
    return settings
