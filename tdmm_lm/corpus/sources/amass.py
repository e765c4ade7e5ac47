"""AMASS (Mahmood et al. 2019) as it is unpacked on a user's disk: bodies as SMPL-H or SMPL-X parameters.

    FOLDER/CMU/01/01_01_poses.npz     SMPL-H: poses (frames, 156), trans, betas, gender, mocap_framerate
    FOLDER/CMU/01/01_01_stageii.npz   SMPL-X: poses (frames, 165), trans, betas, gender, mocap_frame_rate

Z up, metres, radians, each file at its own rate, which is kept; `tdmm_lm.formats.smpl` reads them. Other files of these
folders (shape.npz, neutral_stagei.npz) hold no motion. The folder below FOLDER is the data set, the next the subject.

AMASS has no texts. With ``index`` (HumanML3D's index.csv: source_path,start_frame,end_frame,new_name) and ``texts``
(the folder HumanML3D with texts/ and its lists) the captioned cuts are read instead of whole files, in HumanML3D's
split, and at the file's own rate and skeleton. Its cuts count frames at 20 fps after a lead that some data sets lose.

    sources: {amass: {folder: AMASS, index: HumanML3D/index.csv, texts: HumanML3D/HumanML3D}}
"""

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path

from pydantic import model_validator

from tdmm_lm import config
from tdmm_lm.corpus.sources import SHARED, Item, Rejected, found_in, humanml3d
from tdmm_lm.formats import smpl
from tdmm_lm.motion import MotionClip
from tdmm_lm.sample import Sample

SOURCE = "AMASS"
LICENCE = "AMASS (Mahmood et al. 2019), https://amass.is.tue.mpg.de/license.html: non-commercial research only"
ENDINGS = ("_poses.npz", "_stageii.npz")
# The split published with AMASS (human_body_prior), by the names of both releases; every other data set is train.
DEV = ("HumanEva", "MPI_HDM05", "HDM05", "SFU", "MPI_mosh", "MoSh")
TEST = ("Transitions_mocap", "Transitions", "SSM_synced", "SSM")
RENAMED = {  # data sets of the SMPL-H release (and HumanML3D's index) by their names in the SMPL-X release
    "BioMotionLab_NTroje": "BMLrub", "DFaust_67": "DFaust", "Eyes_Japan_Dataset": "EyesJapanDataset",
    "MPI_HDM05": "HDM05", "MPI_Limits": "PosePrior", "MPI_mosh": "MoSh", "SSM_synced": "SSM",
    "Transitions_mocap": "Transitions",
}
LEAD = {  # seconds at the start that HumanML3D leaves out before it counts frames
    "Eyes_Japan_Dataset": 3.0, "MPI_HDM05": 3.0, "TotalCapture": 1.0, "MPI_Limits": 1.0, "Transitions_mocap": 0.5,
}
INDEX_FPS = 20
COLUMNS = ["source_path", "start_frame", "end_frame", "new_name"]
SEE = "get it from https://amass.is.tue.mpg.de (an account is needed) and unpack each data set's archive below it"


class Settings(config.Settings):
    """``index`` and ``texts`` come together. ``model`` is the owner's body model (`tdmm_lm.formats.smpl`)."""

    folder: Path
    index: Path | None = None
    texts: Path | None = None
    model: Path | None = None
    dev: tuple[str, ...] = DEV
    test: tuple[str, ...] = TEST

    @model_validator(mode="after")
    def _together(self) -> "Settings":
        if (self.index is None) != (self.texts is None):
            raise ValueError("index and texts: expected both (HumanML3D's index.csv and its folder) or neither")
        return self


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a file in the order of paths, or one a row of the index in its order; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder, the index or the texts are missing.
        ValueError: the folder holds no motion, or the index has other columns.
    """
    del seed  # the order is the corpus's
    if not settings.folder.is_dir():
        raise FileNotFoundError(f"{settings.folder}: expected {SOURCE}'s folder, found none; {SEE}.")
    if settings.index is not None and settings.texts is not None:
        yield from _cuts(settings.index, settings.texts)
        return
    found = False
    for data_set in sorted(path for path in settings.folder.iterdir() if path.is_dir()):
        for path in sorted(path for path in data_set.glob("*/*.npz") if path.name.endswith(ENDINGS)):
            found = True
            file = path.relative_to(settings.folder).as_posix()
            split = "test" if data_set.name in settings.test else "dev" if data_set.name in settings.dev else "train"
            yield Item(f"amass/{file.removesuffix('.npz')}", split, {"file": file})
    if not found:
        wanted = f"DATA_SET/SUBJECT/*{ENDINGS[0]} or *{ENDINGS[1]} below it"
        raise ValueError(f"{settings.folder}: expected {wanted}, found only {found_in(settings.folder)}; {SEE}.")


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The whole file, or with an index the captioned cut and each captioned part of it."""
    path = _file(settings.folder, str(item.what["file"]))
    if path is None:
        said = f"expected {item.what['file']} or its SMPL-X counterpart, found none"
        yield Rejected(item.id, SOURCE, "missing_motion", f"{said}; unpack that data set.")
        return
    file = path.relative_to(settings.folder).as_posix()
    clip = _read(path, item.id, settings.model)
    if isinstance(clip, Rejected):
        yield clip
        return
    data_set, subject = file.split("/")[:2]
    labels = {"data_set": data_set}
    origin = {"file": file, "seconds": None}
    if settings.texts is None:
        yield Sample(
            item.id, (), {"body": clip}, item.split, SOURCE, LICENCE, labels, speaker=f"{data_set}/{subject}",
            provenance=origin,
        )
        return
    name = str(item.what["name"])
    start, stop = (int(item.what[key]) for key in ("start", "stop"))
    stride = max(1, int(clip.fps // INDEX_FPS))  # as HumanML3D thins frames out
    for part in humanml3d.parts(settings.texts / "texts" / f"{name}.txt", item.id, SOURCE):
        if isinstance(part, Rejected):
            yield part
            continue
        span, texts = part
        ends = (start, stop)
        if span != (0, 0):
            ends = (start + int(span[0] * INDEX_FPS), min(stop, start + int(span[1] * INDEX_FPS)))
        ident = item.id + ("" if span == (0, 0) else f"@{span[0]:g}-{span[1]:g}")
        values = clip.values[ends[0] * stride : ends[1] * stride]
        if not len(values):
            length = f"it has {clip.frames // stride}"
            yield Rejected(ident, SOURCE, "bad_cut", f"{file}: expected frames {ends[0]} to {ends[1]}, {length}.")
            continue
        cut = MotionClip(values, clip.fps, clip.modality, clip.rig, clip.shape)
        seconds = [round(frame * stride / clip.fps, 4) for frame in (ends[0], ends[0] + len(values) // stride)]
        yield Sample(
            ident, texts, {"body": cut}, item.split, SOURCE, f"{LICENCE}; texts: HumanML3D, MIT", labels,
            speaker=f"{data_set}/{subject}",
            provenance=origin | {"seconds": seconds, "humanml3d": name, SHARED: True},
        )


def _cuts(index: Path, texts: Path) -> Iterator[Item]:
    """The rows of HumanML3D's index that come from AMASS and stand in a list; HumanAct12's are not AMASS."""
    wanted = ("texts", *humanml3d.SPLITS.values())
    missing = [name for name in wanted if not (texts / name).exists()]
    if missing:
        listed = ", ".join(wanted)
        raise humanml3d.lacking(texts, "HumanML3D", missing=", ".join(missing), below=listed, see=humanml3d.SEE)
    if not index.is_file():
        raise FileNotFoundError(f"{index}: expected HumanML3D's index.csv, found none; {humanml3d.SEE}.")
    splits = dict(humanml3d.listed(texts, mirrored=False))
    with index.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != COLUMNS:
            raise ValueError(f"{index}: expected the columns {', '.join(COLUMNS)}, got {rows.fieldnames}.")
        for number, row in enumerate(rows, 2):
            name, below = str(row["new_name"]).removesuffix(".npy"), Path(str(row["source_path"])).parts
            if "humanact12" in below or name not in splits:
                continue
            below = below[below.index("pose_data") + 1 :] if "pose_data" in below else below
            try:
                start, stop = int(str(row["start_frame"])), int(str(row["end_frame"]))
            except ValueError:
                raise ValueError(f"{index}:{number}: expected frame numbers, got {row}.") from None
            if len(below) < 3 or ".." in below or Path(*below).is_absolute():
                raise ValueError(f"{index}:{number}: expected DATA_SET/SUBJECT/FILE, got {row['source_path']!r}.")
            lead = round(LEAD.get(below[0], 0.0) * INDEX_FPS)
            what = {"file": Path(*below).with_suffix(".npz").as_posix(), "name": name, "start": start + lead}
            yield Item(f"amass/{name}", splits[name], what | {"stop": stop + lead})


def _file(folder: Path, file: str) -> Path | None:
    """A file of either release by its SMPL-H name."""
    data_set, _, rest = file.partition("/")
    other = f"{RENAMED.get(data_set, data_set)}/{rest.removesuffix(ENDINGS[0])}{ENDINGS[1]}"
    return next((folder / name for name in (file, other) if (folder / name).is_file()), None)


def _read(path: Path, ident: str, model: Path | None) -> MotionClip | Rejected:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that have Y up already: read as they are
            return smpl.read(path, model=model)
    except ValueError as error:
        return Rejected(ident, SOURCE, "broken_file", str(error))
