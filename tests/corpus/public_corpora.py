"""Public corpora made up on the spot: their folders, names, shapes and units, with a few seconds of invented motion."""

import json
import pickle
from pathlib import Path

import av
import numpy as np
import soundfile
import torch

from tdmm_lm import rotations, video
from tdmm_lm.geometry import humanml3d
from tdmm_lm.motion import body
from tdmm_lm.rigs import skeleton

KIT_UNIT = 0.0018  # metres, about
KIT = (  # KIT's 21 joints by ours; LMrot and RMrot lie between ankle and toes
    "pelvis", "spine1", "spine3", "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
    "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle", None, "left_foot", "right_hip", "right_knee",
    "right_ankle", None, "right_foot",
)


def walk(frames: int, fps: float, seed: int = 0) -> torch.Tensor:
    """(frames, 22, 3) metres, Y up: somebody on the default skeleton walks along Z+ and swings everything a little."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / fps
    swing = 0.2 * np.sin(2 * np.pi * rng.uniform(0.3, 1, (1, 22, 3)) * time + rng.uniform(0, 6, (1, 22, 3)))
    swing[:, 0] *= 0.2
    turns = rotations.axis_angle_to_matrix(torch.from_numpy(swing.astype(np.float32)))
    places = np.stack([0 * time[:, 0, 0], 0.95 + 0 * time[:, 0, 0], 0.8 * time[:, 0, 0]], 1)
    joints = skeleton.joints(body.assemble(places, turns, fps=fps))
    joints[..., 1] -= joints[..., 1].min()
    return joints


def kit_rows(joints: torch.Tensor) -> np.ndarray:
    """(frames, 251) of a body whose heading stays: mirrored and in KIT's unit, as published."""
    places = torch.stack([
        joints[:, body.JOINTS.index(name)] if name else torch.zeros(len(joints), 3) for name in KIT
    ], 1)
    for middle, low, high in ((14, 13, 15), (19, 18, 20)):
        places[:, middle] = (places[:, low] + places[:, high]) / 2
    places = (places * torch.tensor([-1, 1, 1]) / KIT_UNIT).numpy()
    rows = np.zeros((len(places), 251), np.float32)
    rows[:-1, 1:3] = np.diff(places[:, 0], axis=0)[:, [0, 2]]
    rows[:, 3] = places[:, 0, 1]
    local = places[:, 1:] - places[:, :1] * [1, 0, 1]
    rows[:, 4:64] = local.reshape(len(places), -1)
    return rows


def texts(folder: Path, said: dict[str, str]) -> None:
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    for name, text in said.items():
        (folder / "texts" / f"{name}.txt").write_text(text)


def lists(folder: Path, **named: list[str]) -> None:
    for name in ("train", "val", "test"):
        (folder / f"{name}.txt").write_text("".join(f"{ident}\n" for ident in named.get(name, [])))


def make_humanml3d(folder: Path, *, places: bool = False) -> Path:
    """Three motions of 4 s, one with a part that has a caption of its own, and a mirror image."""
    kind = "new_joints" if places else "new_joint_vecs"
    (folder / kind).mkdir(parents=True)
    for number, name in enumerate(("000000", "000001", "000002", "M000000")):
        joints = walk(81, 20, number)
        np.save(folder / kind / f"{name}.npy", (joints if places else humanml3d.features(joints)).numpy())
    whole = "a person walks.#a/DET person/NOUN walk/VERB#0.0#0.0\nsomeone strolls forward#someone/PRON#nan#nan\n"
    part = "they swing their arms#they/PRON#0.5#3.0\n"
    texts(folder, {"000000": whole, "M000000": whole, "000001": whole + part, "000002": whole})
    lists(folder, train=["000000", "M000000"], val=["000001"], test=["000002"])
    return folder


def make_kit_ml(folder: Path) -> Path:
    """Two motions of 4 s."""
    (folder / "new_joint_vecs").mkdir(parents=True)
    for number, name in enumerate(("00001", "00002")):
        np.save(folder / "new_joint_vecs" / f"{name}.npy", kit_rows(walk(50, 12.5, number)))
    texts(folder, dict.fromkeys(("00001", "00002"), "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n"))
    lists(folder, train=["00001"], test=["00002"])
    return folder


def smpl(frames: int, width: int, *, z_up: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """poses, trans, betas of somebody who stands and sways."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 30
    poses = 0.2 * np.sin(2 * np.pi * rng.uniform(0.2, 1, (1, width)) * time + rng.uniform(0, 6, (1, width)))
    poses[:, :3] = [np.pi / 2, 0, 0] if z_up else 0
    up = [0, 0, 0.9] if z_up else [0, 0.9, 0]
    return {"poses": poses, "trans": np.tile(up, (frames, 1)) + 0.01 * time, "betas": rng.normal(size=16)}


def make_amass(folder: Path) -> Path:
    """Both releases: SMPL-H at 120 and 60 fps, SMPL-X at 30 fps, and the files that hold no motion."""
    for name, rate, frames in (
        ("CMU/01/01_01_poses", 120, 480), ("Eyes_Japan_Dataset/aita/walk-01_poses", 60, 480),
        ("Transitions_mocap/mazen/turn_poses", 120, 120),
    ):
        (folder / name).parent.mkdir(parents=True)
        held = smpl(frames, 156, z_up=True)
        np.savez(folder / f"{name}.npz", **held, gender="male", mocap_framerate=np.float64(rate))
    (folder / "SFU/0005").mkdir(parents=True)
    np.savez(
        folder / "SFU/0005/jump_stageii.npz", **smpl(60, 165, z_up=True), gender="female", surface_model_type="smplx",
        mocap_frame_rate=np.float64(30),
    )
    np.savez(folder / "SFU/0005/neutral_stagei.npz", betas=np.zeros(16))
    np.savez(folder / "CMU/01/shape.npz", betas=np.zeros(16))
    return folder


def make_index(folder: Path) -> tuple[Path, Path]:
    """HumanML3D's index.csv and texts for the SMPL-H files."""
    rows = [
        "source_path,start_frame,end_frame,new_name", "./pose_data/CMU/01/01_01_poses.npy,10,60,000000.npy",
        "./pose_data/humanact12/humanact12/P01.npy,0,-1,000001.npy",
        "./pose_data/Eyes_Japan_Dataset/aita/walk-01_poses.npy,20,80,000002.npy",
        "./pose_data/KIT/3/gone_poses.npy,0,60,000003.npy",
    ]
    folder.mkdir()
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    whole = "a person sways#a/DET person/NOUN sway/VERB#0.0#0.0\n"
    texts(folder, {"000000": whole + "they bend#they/PRON#1.0#2.0\n", "000002": whole, "000003": whole})
    lists(folder, train=["000000", "M000000", "000001"], val=["000002"], test=["000003"])
    return folder / "index.csv", folder


def sound(seconds: float, rate: int = 16_000) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * 180 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def text_grid(words: list[tuple[float, float, str]], seconds: float, *, short: bool = False) -> str:
    """Praat's text format with a tier of words and one of phones, in its long or its short form."""
    tiers = (("words", words), ("phones", [(0, seconds, "AH0")]))
    if short:
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{seconds}", "<exists>", "2"]
        for name, tier in tiers:
            lines += ['"IntervalTier"', f'"{name}"', "0", f"{seconds}", f"{len(tier)}"]
            for start, stop, text in tier:
                lines += [f"{start}", f"{stop}", '"' + text.replace('"', '""') + '"']
        return "\n".join(lines) + "\n"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {seconds} "]
    lines += ["tiers? <exists> ", "size = 2 ", "item []: "]
    for number, (name, tier) in enumerate(tiers, 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ']
        lines += ["        xmin = 0 ", f"        xmax = {seconds} ", f"        intervals: size = {len(tier)} "]
        for place, (start, stop, text) in enumerate(tier, 1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start} ", f"            xmax = {stop} "]
            lines += [f'            text = "{quoted}" ']
    return "\n".join(lines) + "\n"


SPOKEN = [  # 12 s with a long pause about the sixth second
    (0, 0.5, ""), (0.5, 1.2, "well"), (1.2, 2.0, "i"), (2.0, 4.8, "think"), (4.8, 7.2, ""), (7.2, 8.0, 'so"'),
    (8.0, 11.0, "<unk>"), (11.0, 12.0, "sp"),
]


def make_beat2(folder: Path) -> Path:
    """Three recordings of 12 s in English: asked for anger, a conversation, one outside the benchmark."""
    english = folder / "beat_english_v2.0.0"
    for name in ("smplxflame_30", "wave16k", "textgrid"):
        (english / name).mkdir(parents=True)
    rows = ["id,type"]
    for seed, (name, kind) in enumerate(
        (("1_wayne_0_73_73", "train"), ("2_scott_1_3_4", "test"), ("30_katya_0_1_1", "additional"))
    ):
        rng = np.random.default_rng(seed)
        held = smpl(360, 165, z_up=False, seed=seed) | {"betas": np.zeros(300)}
        np.savez(
            english / "smplxflame_30" / f"{name}.npz", **held, expressions=0.3 * rng.normal(size=(360, 100)),
            gender="neutral", model="smplx2020", mocap_frame_rate=np.int64(30),
        )
        soundfile.write(english / "wave16k" / f"{name}.wav", sound(12.0), 16_000)
        (english / "textgrid" / f"{name}.TextGrid").write_text(text_grid(SPOKEN, 12.0, short=seed == 1))
        rows.append(f"{name},{kind}")
    (english / "train_test_split.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_m4a(path: Path, wave: np.ndarray) -> None:
    """Sound at 16 kHz as AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16_000, layout="mono")
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def make_mead(folder: Path) -> Path:
    """Two speakers; the videos are a second of grey without sound, since the tests track with a stand-in."""
    grey = [np.full((16, 16, 3), 128, np.uint8)] * 25
    for speaker, view, label in (
        ("M003", "front", "angry/level_3"), ("M003", "left_30", "angry/level_3"), ("M003", "front", "neutral/level_1"),
        ("W037", "front", "contempt/level_1"),
    ):
        path = folder / speaker / "video" / view / label / "001.mp4"
        path.parent.mkdir(parents=True)
        video.write(path, grey, fps=25)
        write_m4a(folder / speaker / "audio" / label / "001.m4a", sound(2.0))
    return folder


def make_ravdess(folder: Path, *, zipped: bool = False) -> Path:
    """Three actors' files as empty videos, in the plain folders or as the archives are named."""
    for name in ("01-01-05-02-01-01-01", "01-01-01-01-02-02-20", "01-01-08-01-02-01-24", "01-02-03-01-01-01-01",
                 "02-01-05-02-01-01-01"):
        actor = f"Actor_{name[-2:]}"
        below = folder / f"Video_Speech_{actor}" / actor if zipped else folder / actor
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{name}.mp4").touch()
    return folder


def make_mmhead(folder: Path) -> Path:
    """Three motions: a pickled array, a pickled mapping, one in both lists; one has no sound."""
    for name in ("audio", "facial_motion"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for ident, mapping in (("CELEBVHQ_a_0", False), ("MEAD_b_1", True), ("RAVDESS_c_2", False)):
        rows = (0.2 * rng.normal(size=(50, 56))).astype(np.float32)
        held = {"motion": rows, "note": np.zeros(3)} if mapping else rows
        (folder / "facial_motion" / f"{ident}.pkl").write_bytes(pickle.dumps(held, protocol=4))
        for level in ("action", "emotion", "detail_expression", "detail_head_pose", "emotion_scenario"):
            path = folder / "text_annotations" / level / f"{ident}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            more = "\nAnother scene.\nA third." if level == "emotion_scenario" else ""
            path.write_text(f"Something about {level}.{more}\n")
        if ident != "RAVDESS_c_2":
            soundfile.write(folder / "audio" / f"{ident}.wav", sound(2.0), 16_000)
    talking = {"train": ["CELEBVHQ_a_0.pkl"], "val": ["MEAD_b_1"], "test": []}
    (folder / "talking_subset.json").write_text(json.dumps(talking))
    (folder / "t2m_subset.json").write_text(json.dumps({"train": ["CELEBVHQ_a_0"], "test": ["RAVDESS_c_2"]}))
    return folder
