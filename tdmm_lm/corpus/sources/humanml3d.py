"""HumanML3D (Guo et al. 2022) as its owners' scripts leave it on a user's disk: bodies at 20 fps with captions.

    FOLDER/new_joint_vecs/000000.npy   (frames, 263) features; or, where that folder is missing,
    FOLDER/new_joints/000000.npy       (frames, 22, 3) metres, Y up
    FOLDER/texts/000000.txt            caption#tokens#from#to, a line each; seconds, 0.0#0.0 (or nan) is the whole clip
    FOLDER/train.txt, val.txt, test.txt   ids, one a line; M000000 is 000000 mirrored left to right

The published corpus has 14,616 motions and their mirror images, 44,970 texts, nothing over 10 s, split 80/5/15. A
caption of a part of a clip makes a sample of that part, cut as the published loader cuts. Nobody is named: no speakers.

    sources: {humanml3d: {folder: HumanML3D/HumanML3D}}
"""

import math
import tokenize
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from tdmm_lm import config
from tdmm_lm.corpus.sources import Item, Rejected, found_in
from tdmm_lm.geometry import humanml3d
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton
from tdmm_lm.sample import Sample

SOURCE = "HumanML3D"
BROKEN = (ValueError, EOFError, OSError, OverflowError, tokenize.TokenError, BadZipFile)  # what odd headers raise
LICENCE = (
    "HumanML3D (Guo et al. 2022): texts and scripts MIT; motion from AMASS and HumanAct12 under their own licences, "
    "non-commercial research only"
)
SPLITS = {"train": "train.txt", "dev": "val.txt", "test": "test.txt"}
VECTORS, JOINTS = "new_joint_vecs", "new_joints"
SEE = "make it with https://github.com/EricGuo5513/HumanML3D, which explains the layout"

Span = tuple[float, float]  # seconds; (0, 0) is the whole clip


class Settings(config.Settings):
    """The standard evaluation keeps clips of 40 to 199 frames, which the defaults keep too."""

    folder: Path
    mirrored: bool = True  # the mirror images (ids that begin with M) too
    least_seconds: float = Field(default=2.0, gt=0)
    most_seconds: float = Field(default=10.0, gt=0)


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a motion, train, dev, test after one another in the order of the lists; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder, its motions, texts or lists are missing.
        ValueError: an id stands in two lists.
    """
    del seed  # the order is the corpus's
    _folder(settings.folder)
    for name, split in listed(settings.folder, mirrored=settings.mirrored):
        yield Item(f"humanml3d/{name}", split, {"name": name})


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The whole motion with its captions, then each captioned part of it."""
    name, kind = str(item.what["name"]), _folder(settings.folder)
    moving = load(settings.folder / kind / f"{name}.npy", item.id, SOURCE)
    if isinstance(moving, Rejected):
        yield moving
        return
    fits = moving.shape[1:] == ((humanml3d.WIDTH,) if kind == VECTORS else (len(body.JOINTS), 3))
    if not fits:
        wanted = f"(frames, {humanml3d.WIDTH})" if kind == VECTORS else f"(frames, {len(body.JOINTS)}, 3)"
        yield Rejected(item.id, SOURCE, "wrong_shape", f"{kind}/{name}.npy: expected {wanted}, got {moving.shape}.")
        return
    for part in parts(settings.folder / "texts" / f"{name}.txt", item.id, SOURCE):
        if isinstance(part, Rejected):
            yield part
            continue
        span, texts = part
        cut = within(moving, span, humanml3d.FPS)
        ident = item.id + ("" if span == (0, 0) else f"@{span[0]:g}-{span[1]:g}")
        wrong = length(ident, SOURCE, len(cut) / humanml3d.FPS, settings.least_seconds, settings.most_seconds)
        if wrong is not None:
            yield wrong
            continue
        try:
            clip = _clip(cut)
        except ValueError as error:
            yield Rejected(ident, SOURCE, "bad_motion", str(error))
            continue
        yield Sample(
            ident, texts, {"body": clip}, item.split, SOURCE, LICENCE, {"mirrored": name.startswith("M")},
            provenance=origin(f"{kind}/{name}.npy", name, span),
        )


def listed(folder: Path, *, mirrored: bool) -> Iterator[tuple[str, str]]:
    """(id, split) from the three lists.

    Raises:
        ValueError: an id stands in two lists, or is a path.
    """
    seen: dict[str, str] = {}
    for split, file in SPLITS.items():
        for line in (folder / file).read_text(encoding="utf-8", errors="replace").splitlines():
            name = line.strip()
            if not name or (name.startswith("M") and not mirrored):
                continue
            if Path(name).name != name or "\\" in name:
                raise ValueError(f"{folder / file}: expected ids, one a line, got {name[:60]!r}.")
            if name in seen:
                raise ValueError(f"{folder / file}: expected {name} in one list, it stands in {seen[name]} too.")
            seen[name] = file
            yield name, split


def load(path: Path, ident: str, source: str) -> np.ndarray | Rejected:
    """A motion's numbers as float32, never unpickled; or why there are none."""
    if not path.is_file():
        return Rejected(ident, source, "missing_motion", f"expected {path.parent.name}/{path.name}, found none.")
    where = f"{path.parent.name}/{path.name}"
    try:  # mapped, so that nothing larger than the file is made
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    except BROKEN as error:
        said = " ".join(str(error).split())[:80]
        return Rejected(ident, source, "broken_file", f"{where}: expected a numpy array, got a damaged file ({said}).")
    if not isinstance(held, np.ndarray) or held.dtype.kind not in "fiu":
        return Rejected(ident, source, "wrong_shape", f"{where}: expected one array of numbers, got something else.")
    if not held.ndim or not len(held):
        return Rejected(ident, source, "wrong_shape", f"{where}: expected frames, got an array of shape {held.shape}.")
    values = np.array(held, np.float32)
    if not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0, 0])
        said = f"{where}: expected finite numbers, got NaN or infinity at frame {frame}."
        return Rejected(ident, source, "not_finite", said)
    return values


def parts(path: Path, ident: str, source: str) -> Iterator[tuple[Span, tuple[str, ...]] | Rejected]:
    """What a text file says of which seconds: the whole first, then in order of time; broken lines are rejected."""
    if not path.is_file():
        yield Rejected(ident, source, "missing_text", f"expected texts/{path.name}, found none.")
        return
    said: dict[Span, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        span = _span(line)
        text = line.split("#")[0].strip()
        if span is None or not text:
            wanted = f"texts/{path.name}:{number}: expected caption#tokens#from#to, got {line[:60]!r}."
            yield Rejected(f"{ident}:{number}", source, "bad_text", wanted)
        else:
            said.setdefault(span, []).append(text)
    if not said:
        yield Rejected(ident, source, "missing_text", f"texts/{path.name}: expected a caption, found none.")
    for span in sorted(said):
        yield span, tuple(said[span])


def _span(line: str) -> Span | None:
    """The seconds at a line's end, None where it has none that make sense."""
    fields = line.split("#")
    if len(fields) != 4:
        return None
    try:
        start, stop = (0.0 if math.isnan(float(field)) else float(field) for field in fields[2:])
    except ValueError:
        return None
    return (start, stop) if 0 <= start < stop < math.inf or start == stop == 0 else None


def within(moving: np.ndarray, span: Span, fps: float) -> np.ndarray:
    """The frames of a span; what lies beyond the end is not there, as in the published loader."""
    return moving if span == (0, 0) else moving[int(span[0] * fps) : int(span[1] * fps)]


def length(ident: str, source: str, seconds: float, least: float, most: float) -> Rejected | None:
    """Why a motion of this length is not wanted, if it is not."""
    if least <= seconds <= most:
        return None
    reason, figures = "too_short" if seconds < least else "too_long", {"seconds": seconds}
    return Rejected(ident, source, reason, f"expected {least:g} to {most:g} s, got {seconds:.2f} s.", figures)


def origin(file: str, name: str, span: Span) -> dict[str, object]:
    """Where a sample comes from: its file, its seconds (None is all of them), of whom it is the mirror image."""
    return {
        "file": file, "seconds": None if span == (0, 0) else list(span),
        "mirror_of": name[1:] if name.startswith("M") else None,
    }


def lacking(folder: Path, corpus: str, *, missing: str, below: str, see: str) -> FileNotFoundError:
    """The error of a folder that is not the corpus: what was expected there, what is there, where to get it."""
    if not folder.is_dir():
        return FileNotFoundError(f"{folder}: expected {corpus}'s folder, found none; {see}.")
    found = found_in(folder)
    return FileNotFoundError(f"{folder}: expected {below} of {corpus}, {missing} missing, found only {found}; {see}.")


def _folder(folder: Path) -> str:
    """Which of the two motion folders is read."""
    kind = next((kind for kind in (VECTORS, JOINTS) if (folder / kind).is_dir()), None)
    wanted = ["texts", *SPLITS.values()]
    missing = [] if kind else [f"{VECTORS}/"]
    missing += [name for name in wanted if not (folder / name).exists()]
    if missing:
        below = f"{VECTORS}/ (or {JOINTS}/), texts/, {', '.join(SPLITS.values())}"
        raise lacking(folder, SOURCE, missing=", ".join(missing), below=below, see=SEE)
    assert kind is not None
    return kind


def _clip(moving: Float[np.ndarray, "frames ..."]) -> MotionClip:
    """Features or places as a body clip on the default skeleton, whose bones all of the corpus has."""
    values = torch.from_numpy(moving)
    return humanml3d.recover(values) if values.ndim == 2 else skeleton.fit(values, fps=humanml3d.FPS)
