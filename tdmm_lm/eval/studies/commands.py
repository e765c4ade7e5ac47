"""What `tdmm eval study page` and `tdmm eval study read` do, as functions of paths that return what to print."""

from collections.abc import Sequence
from pathlib import Path

from tdmm_lm import config
from tdmm_lm.eval.studies import form, making, reading, summing, telling


def make(recipe: str | Path, items: str | Path, out: str | Path, *, seed: int = 0, changes: Sequence[str] = ()) -> str:
    """Write a study's page; ``changes`` are ``key=value`` for the recipe, such as ``samples=20``.

    Raises:
        FileNotFoundError: the recipe or the items are not there.
        ValueError: a recipe, an item or an output folder that is not as it must be.
    """
    study = config.load(form.Study, recipe, list(changes))
    made = making.page(study, form.items(items), out, seed=seed)
    parts = f" in each of {study.parts} parts" if study.parts > 1 else ""
    given = "index.html" if study.embed or not made.media else "index.html and media/"
    return (
        f"study {made.study}: {made.groups} groups, {made.questions} questions, "
        f"{made.checks // study.parts} attention checks{parts} -> {made.folder}\n"
        f"Give raters {given}; keep key.json, which says what was whose."
    )


def report(folder: str | Path, files: Sequence[str | Path], *, resamples: int = 1000, seed: int = 0) -> str:
    """The raters' CSV files, unblinded by the key in ``folder``, as Markdown.

    Raises:
        FileNotFoundError: the key or a file is not there.
        ValueError: the key is none.
    """
    return telling.summary(summing.summarise(reading.read(files, folder), resamples=resamples, seed=seed))
