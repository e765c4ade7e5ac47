"""A sample becomes a row: observed where labels are missing, described in words, tokenised, packed."""

import json
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from jaxtyping import Float
from pydantic import ValidationError

from tdmm_lm import rigs
from tdmm_lm.corpus import caption, labels, table
from tdmm_lm.corpus.building import recipe
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.sources import Rejected
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import run as observing
from tdmm_lm.sample import Sample

if TYPE_CHECKING:
    from tdmm_lm.codec import Codec

SCORED = ("score", "prompts", "edit")  # of a performance's provenance, which have columns of their own


class Maker:
    """Turns samples into rows; holds the rigs and the codec once they are needed."""

    def __init__(self, settings: recipe.Settings) -> None:
        self.settings = settings

    @cached_property
    def codec(self) -> "Codec | None":
        from tdmm_lm import codec  # torch's weights, for recipes that tokenise

        name = self.settings.codec
        return codec.load(recipe.codec_folder(name)) if name else None

    @cached_property
    def more(self) -> dict[str, list[str]]:
        return recipe.more(self.settings)

    def ready(self) -> None:
        """Raises what would fail for every row."""
        _rig(self.settings.rig)
        _ = self.codec, self.more

    def rig(self, clip: MotionClip) -> rigs.Rig:
        """ARKit's shapes are shown on the recipe's rig, others on their own."""
        return _rig(self.settings.rig if clip.rig == "head" else clip.rig)

    def codes(self, clips: dict[str, MotionClip]) -> list[int] | None:
        """Codes of the clip that the codec is for, books flattened inside a frame; None without a codec or a clip."""
        if self.codec is None or self.codec.settings.modality not in clips:
            return None
        from tdmm_lm import codec

        clip = clips[self.codec.settings.modality]
        rig = self.rig(clip) if clip.modality == "face" else None
        return codec.tokenize(self.codec, clip, rig).reshape(-1).tolist()

    def row(self, sample: Sample) -> dict[str, Any] | Rejected:
        """The table's columns; or why there are none: a clip that cannot be observed or tokenised, no licence."""
        if not sample.licence:
            return Rejected(sample.id, sample.source, "no_licence", "expected a licence, got none.")
        try:
            return self._row(sample)
        except ValueError as error:
            return Rejected(sample.id, sample.source, "not_a_row", " ".join(str(error).split()))

    def _row(self, sample: Sample) -> dict[str, Any]:
        rng = np.random.default_rng([self.settings.seed, crc32(sample.id.encode())])
        known, provenance = self._labels(sample), dict(sample.provenance)
        score, prompts, edit = (provenance.pop(key, None) for key in SCORED)
        if sample.labels and set(sample.labels) != set(Labels.model_fields):
            provenance["given_labels"] = sample.labels  # what a source knows stays beside what was observed
        made: list[str] = []
        if known is not None:
            styles = [self.settings.styles[place] for place in rng.permutation(len(self.settings.styles))]
            some = islice(cycle(styles), self.settings.texts)
            made = [caption.describe(known, rng, style, split="train") for style in some]
        clips = {name: table.packed(clip) for name, clip in sample.clips.items()} if self.settings.clips else {}
        sound = _as_long(sample) if self.settings.audio else None
        return {
            "id": sample.id, "split": sample.split, "source": sample.source, "licence": sample.licence,
            "speaker": sample.speaker, "described": len(made),
            "texts": [*sample.texts, *self.more.get(sample.id, ()), *made],
            "prompts": prompts or [], "labels": known and known.model_dump(), "score": score and json.dumps(score),
            "face": clips.get("face"), "body": clips.get("body"),
            "audio": None if sound is None else table.flac(sound, sample.id),
            "codes": self.codes(sample.clips), "edit": edit and self._edit(edit),
            "provenance": json.dumps(provenance, sort_keys=True),
        }

    def _labels(self, sample: Sample) -> Labels | None:
        """The source's own where they are whole, else what is observed of a face."""
        try:
            return Labels.model_validate(sample.labels)
        except ValidationError:
            pass
        clip = sample.clips.get("face")
        return labels.of_observation(observing.run(clip, self.rig(clip))) if clip else None

    def _edit(self, edit: dict[str, Any]) -> dict[str, Any]:
        from tdmm_lm.corpus.perform import perform
        from tdmm_lm.corpus.score import Score

        after = Score.model_validate(edit["score"])
        return {
            "instruction": edit["instruction"], "score": json.dumps(edit["score"]),
            "codes": self.codes({"face": perform(after)}) if self.settings.codec else None,
        }


def _as_long(sample: Sample) -> Float[np.ndarray, " samples"] | None:
    """A sample's sound, cut or filled with silence to its clip's length; None where there is none."""
    if sample.audio is None or not len(sample.audio):
        return None
    clip = next(iter(sample.clips.values()), None)
    if clip is None:
        return sample.audio
    length = round(clip.frames / clip.fps * table.AUDIO_RATE)
    return np.pad(sample.audio[:length], (0, max(0, length - len(sample.audio))))


@lru_cache(maxsize=4)
def _rig(name: str) -> rigs.Rig:
    return rigs.load(name)


def of_item(
    found: Iterator[Sample | Rejected], maker: Maker, *, split: str, where: str
) -> Iterator[dict[str, Any] | Rejected]:
    """Rows and rejections of what a source made of one item.

    Raises:
        ValueError: the source gives a sample another split than its item: whole shards belong to one.
    """
    for sample in found:
        if isinstance(sample, Sample) and sample.split != split:
            raise ValueError(f"{where}: {sample.id}: expected its item's split {split}, got {sample.split!r}.")
        yield sample if isinstance(sample, Rejected) else maker.row(sample)
