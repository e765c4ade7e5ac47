"""The motions a server has made: kept on disk by an id that the server chose, exported when they are asked for."""

import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip

ID = re.compile(r"motion-[0-9a-f]{24}")
FORMATS = ("npz", "glb", "csv", "mp4")


@dataclass(frozen=True)
class Motion:
    """A stored motion: its codes (frames, books) and the clip they decode to."""

    id: str
    codes: np.ndarray
    fps: float
    frames: int
    folder: Path


class Motions:
    """An open store in one folder; the oldest motions go when there are more than ``most``."""

    def __init__(
        self,
        folder: Path,
        write: Callable[[MotionClip, Path], None],
        read: Callable[[Path], MotionClip],
        most: int = 1000,
    ):
        self.folder, self.most = folder, most
        self._write, self._read = write, read
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, clip: MotionClip, codes: np.ndarray) -> Motion:
        """Store a clip and its codes under a new id."""
        name = f"motion-{secrets.token_hex(12)}"
        with replacing(self.folder / name) as folder:
            folder.mkdir()
            self._write(clip, folder / "motion.npz")
            about = {"fps": clip.fps, "frames": clip.frames, "codes": codes.tolist(), "created": time.time()}
            (folder / "about.json").write_text(json.dumps(about))
        kept = sorted((path for path in self.folder.glob("motion-*")), key=lambda path: path.stat().st_mtime)
        for path in kept[: max(0, len(kept) - self.most)]:
            shutil.rmtree(path, ignore_errors=True)
        return self.get(name)

    def get(self, name: str) -> Motion:
        """A stored motion.

        Raises:
            KeyError: nothing is stored under that id.
        """
        folder = self.folder / name
        if not ID.fullmatch(name) or not (folder / "about.json").is_file():
            raise KeyError(name)
        about = json.loads((folder / "about.json").read_text())
        return Motion(name, np.asarray(about["codes"], np.int64), about["fps"], about["frames"], folder)

    def file(self, name: str, suffix: str) -> Path:
        """The motion as a file of one of `FORMATS`, made at the first request and whole when it is visible.

        Raises:
            KeyError: no such motion, or a format that is not offered.
        """
        motion = self.get(name)
        if suffix not in FORMATS:
            raise KeyError(suffix)
        path = motion.folder / f"motion.{suffix}"
        with self._lock:
            if not path.is_file():
                self._write(self._read(motion.folder / "motion.npz"), path)
        return path
