"""What a corpus recipe says: where rows come from, what each holds, and who does the work.

The work may be shared out anew at any time: `told` is what decides the rows, and leaves runner and workers out.
"""

import hashlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import Field, field_validator

from tdmm_lm import bundle, config
from tdmm_lm.corpus.caption import Style

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Ray(config.Settings):
    """Where ``runner: ray`` works: a cluster's address ("auto", "ray://host:10001"), or None for this machine.

    On a cluster the package, $TDMM_DATA, the folder where the build was begun and the output's are the same on
    every node.
    """

    address: str | None = None
    object_store_mb: int = Field(default=100, ge=80)  # of this machine; shards go to disk, not through it


class Settings(config.Settings):
    """A data set. ``sources`` has a section each of a file of tdmm_lm/corpus/sources, or of a dotted module.

    A section of null is left out: ``sources.recorded=null`` on the command line.
    """

    sources: dict[str, dict[str, Any]] = Field(min_length=1)
    texts: int = Field(default=3, ge=0)  # descriptions a row, made from its labels
    styles: tuple[Style, ...] = Field(default=("full", "full", "plain", "plain", "brief"), min_length=1)  # dealt
    more_texts: tuple[Path, ...] = ()  # JSON lines with id and text, as `tdmm corpus paraphrase` and `watch` write
    codec: str | None = None  # a codec's folder or bundled name; without one rows have no codes
    rig: str = "head"  # on which faces of ARKit shapes are tokenised and observed
    clips: bool = True  # keep the motion itself
    audio: bool = True  # keep the sound, where there is one
    shard: int = Field(default=1000, ge=1)  # items of a source
    seed: int = Field(default=0, ge=0)
    runner: Literal["local", "ray"] = "local"
    workers: int | None = Field(default=None, ge=1)  # processes; by default one a core where there is much to do
    ray: Ray = Ray()

    @field_validator("sources", mode="before")
    @classmethod
    def _there(cls, value: Any) -> Any:
        return {name: own for name, own in value.items() if own is not None} if isinstance(value, dict) else value


def sources(settings: Settings) -> dict[str, tuple[ModuleType, Any]]:
    """Each source's module and its own settings, checked.

    Raises:
        ValueError: an unknown source, or a section that is wrong; the line names the key.
    """
    found = {}
    for name, section in settings.sources.items():
        module = config.find("corpus.sources", name)
        found[name] = (module, config.check(module.Settings, section, f"sources.{name}"))
    last = [name.rpartition(".")[2] for name in found]
    if len(set(last)) < len(last):
        raise ValueError(f"sources: expected names that end differently, for their shards', got {', '.join(found)}.")
    return found


def told(settings: Settings) -> dict[str, Any]:
    """What decides the rows, as plain data: sources with their defaults filled in, not who does the work."""
    said = settings.model_dump(mode="json", exclude={"runner", "workers", "ray", "sources"})
    said["more_texts"] = [_sha256(path) for path in settings.more_texts]  # what they say, not where they lie
    if settings.codec:  # trained anew it makes other codes
        from tdmm_lm import codec

        said["codec_sha256"] = codec.weights_sha256(codec_folder(settings.codec))
    return said | {"sources": {name: own.model_dump(mode="json") for name, (_, own) in sources(settings).items()}}


def more(settings: Settings) -> dict[str, list[str]]:
    """Texts of ``more_texts`` by the row's id. A paraphrase has the row's id and its text's number, and may be none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is none; it names the line.
    """
    found: dict[str, list[str]] = {}
    for path in settings.more_texts:
        _sha256(path)
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                told = json.loads(line)
                name, text, kept = told["id"], told["text"], told.get("kept", True)
                if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
                    raise TypeError
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(
                    f"more_texts: {path}:{number}: expected JSON with an id and a text, got {line[:60]!r}."
                ) from None
            if kept:
                found.setdefault(re.sub(r"/\d+$", "", name) if "original" in told else name, []).append(text)
    return found


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"more_texts: {path}: expected JSON lines with id and text, found no file.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def codec_folder(name: str) -> Path:
    """The folder of a codec named in a recipe, the user's own before a bundled one.

    Raises:
        FileNotFoundError: neither.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return bundle.path(name)
    except FileNotFoundError:
        known = ", ".join(f"tokenizers/{modality}" for modality in ("face", "body"))
        raise FileNotFoundError(f"codec: expected a codec's folder or one of {known}, got {name!r}.") from None
