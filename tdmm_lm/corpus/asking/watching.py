"""Text for captured clips by a vision-language model: still frames go out, a checked description comes back.

    tdmm corpus watch runs/captured -o runs/watched
"""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, field_validator

from tdmm_lm import bundle, config, video
from tdmm_lm.corpus.asking import endpoint as endpoints
from tdmm_lm.corpus.asking import rewording
from tdmm_lm.corpus.asking.budget import Spent
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.corpus.asking.patience import Failed
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.sources import Rejected
from tdmm_lm.files import replacing
from tdmm_lm.progress import track

SOURCE = "watched"
JPEG_QUALITY = 85


class Settings(config.Settings):
    """The whole YAML file; what its keys mean is explained there."""

    endpoint: endpoints.Settings
    frames: int = Field(default=8, ge=1)
    side: int = Field(default=512, ge=32)
    asks: int = Field(default=2, ge=1)
    words: tuple[int, int] = (6, 120)
    sure: float = Field(default=0.6, ge=0)
    version: int
    system: str
    ask: str
    again: str

    @field_validator("words")
    @classmethod
    def _range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError("expected the fewest words, then the most")
        return value


@dataclass(frozen=True)
class Film:
    """A clip's film: seconds ``start`` to ``stop`` of the video at ``path``; ``labels``, where known, were measured."""

    id: str
    path: Path
    start: float = 0.0
    stop: float | None = None
    labels: Labels | None = None


@dataclass(frozen=True)
class Watched:
    """A description, and where it comes from: the model, the prompt's version, the frames' seconds, refused answers."""

    id: str
    text: str
    provenance: dict[str, Any]


def load(path: str | Path | None = None, assignments: list[str] | None = None) -> Settings:
    """The recipe, by default the bundled one."""
    return config.load(Settings, path or bundle.path("recipes/corpus/watching.yaml"), assignments)


def stills(
    path: Path, start: float, stop: float | None, count: int
) -> tuple[list[float], list[UInt8[np.ndarray, "height width 3"]]]:
    """Up to ``count`` frames in the middles of equal parts of a span, and their seconds in the video.

    Raises:
        FileNotFoundError, ValueError: no video, a broken one, or a span without a frame.
    """
    end = np.inf if stop is None else stop
    times = np.array([time for time, _ in takewhile(lambda pair: pair[0] < end, video.read(path, lambda index: False))])
    inside = np.flatnonzero(times >= start - 1e-6)
    if not len(inside):
        raise ValueError(f"{path}: expected frames from {start:g} s on, found none.")
    count = min(count, len(inside))
    chosen = inside[((np.arange(count) + 0.5) * len(inside) / count).astype(int)]
    wanted = set(chosen.tolist())
    seen = islice(video.read(path, lambda index: index in wanted), int(chosen[-1]) + 1)
    frames = [frame for _, frame in seen if frame is not None]
    return [round(float(time), 3) for time in times[chosen]], frames


def data_url(frame: UInt8[np.ndarray, "height width 3"], side: int) -> str:
    """A frame as a JPEG in a data URL, its longer side at most ``side`` pixels."""
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def fault(text: str, settings: Settings, known: Labels | None) -> list[str]:
    """Why an answer cannot be a clip's description; [] where it can."""
    unusable = rewording.unusable(text)
    if unusable:
        return [unusable]
    words = len(text.split())
    if not settings.words[0] <= words <= settings.words[1]:
        return ["too_short" if words < settings.words[0] else "too_long"]
    return [] if known is None else rewording.contradicted(text, known, settings.sure)


def one(film: Film, endpoint: Endpoint, settings: Settings) -> Watched | Rejected:
    """A clip's description, or why there is none.

    Raises:
        Hopeless: the endpoint answers nobody.
    """
    try:
        times, frames = stills(film.path, film.start, film.stop, settings.frames)
    except (OSError, ValueError) as error:
        return Rejected(film.id, SOURCE, "broken_video", str(error))
    seconds = (times[-1] if film.stop is None else film.stop) - film.start
    question = settings.ask.replace("{frames}", str(len(frames))).replace("{seconds}", f"{seconds:.1f}")
    pictures = [{"type": "image_url", "image_url": {"url": data_url(frame, settings.side)}} for frame in frames]
    content = [{"type": "text", "text": question}, *pictures]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": settings.system}, {"role": "user", "content": content},
    ]
    refused: list[str] = []
    for turn in range(settings.asks):
        try:
            answer = endpoint.ask(messages, turn=turn)
        except Failed as failure:
            return Rejected(film.id, SOURCE, failure.reason, failure.detail)
        except Spent as error:
            return Rejected(film.id, SOURCE, "budget", str(error))
        text = rewording.cleaned(answer.text)
        wrong = ["cut_off"] if answer.finish == "length" else fault(text, settings, film.labels)
        if not wrong:
            return Watched(film.id, text, {
                "model": answer.model, "prompt_version": settings.version, "frame_seconds": times, "refused": refused,
            })
        refused.append(wrong[0])
        if text and wrong[0].startswith("other_"):
            told = ", ".join(name.replace("_", " ") for name in wrong)
            messages = [
                *messages[:2], {"role": "assistant", "content": text},
                {"role": "user", "content": settings.again.replace("{wrong}", told)},
            ]
    return Rejected(film.id, SOURCE, refused[-1], f"expected a description, {len(refused)} answers were refused")


def watch(
    films: Iterable[Film | Rejected], endpoint: Endpoint, settings: Settings
) -> Iterator[tuple[Film | Rejected, Watched | Rejected]]:
    """Every film with its description, in order; what has none comes with its reason, and the others go on."""

    def watched(film: Film | Rejected) -> Watched | Rejected:
        return film if isinstance(film, Rejected) else one(film, endpoint, settings)

    return endpoints.each(watched, films, settings.endpoint.at_once)


def run(settings: Settings, source: str | Path, out: str | Path) -> str:
    """Describe the captured clips of a data set into ``out/texts.jsonl`` (id, text, provenance), and count them.

    Clips without a film and those whose description was refused are in ``out/aside.jsonl`` with their reasons. A recipe
    takes the texts up by ``more_texts: [OUT/texts.jsonl]``.

    Raises:
        FileNotFoundError: no data set there.
        ValueError: it has no films, or ``out`` lies in it.
        Hopeless: the endpoint answers nobody.
    """
    from tdmm_lm.corpus import table  # pyarrow, for data sets alone

    out, counts = Path(out), Counter[str]()
    endpoints.apart(Path(source), out)
    table.shards(Path(source))  # are there, before anything is written
    rows = table.rows(Path(source), ["id", "provenance", "labels"])
    with (
        Endpoint(settings.endpoint, out / "answers.jsonl") as endpoint,
        replacing(out / "texts.jsonl") as told, told.open("w") as texts,
        replacing(out / "aside.jsonl") as beside, beside.open("w") as aside,
    ):
        for _, made in track(watch(map(film_of, rows), endpoint, settings), "watching"):
            into = texts if isinstance(made, Watched) else aside
            into.write(json.dumps(asdict(made)) + "\n")
            counts["described" if isinstance(made, Watched) else made.reason] += 1
    if set(counts) <= {"no_film"}:
        raise ValueError(f"{source}: expected rows with a film (provenance: file, seconds), found none.")
    return f"{out}: " + ", ".join(f"{count} {what}" for what, count in counts.most_common()) + "."


def film_of(row: dict[str, Any]) -> Film | Rejected:
    """The film of a data set's row, or ``no_film`` where its provenance names none that is still there."""
    whence = json.loads(row["provenance"] or "{}")
    path = Path(str(whence.get("file") or ""))
    if not path.is_file():
        told = f"expected a video's file in the provenance, got {whence.get('file')!r}."
        return Rejected(row["id"], SOURCE, "no_film", told)
    labels = Labels.model_validate(row["labels"]) if row["labels"] else None
    start, stop = whence.get("seconds") or (0.0, None)
    return Film(row["id"], path, start, stop, labels)
