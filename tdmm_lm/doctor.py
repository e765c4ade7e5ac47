"""``tdmm doctor``: what is installed, what is missing, how to get it; fetches what may be fetched, by checksum."""

import hashlib
import importlib.metadata
import shutil
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tdmm_lm import bundle
from tdmm_lm.files import replacing

PACKAGES = {  # distribution -> (extra that brings it, what it is for)
    "torch": ("", "everything"),
    "transformers": ("", "language model"),
    "sentencepiece": ("", "text tokenizer"),
    "vector-quantize-pytorch": ("", "codecs"),
    "av": ("", "video and sound"),
    "pyvista": ("render", "tdmm render, mp4 output"),
    "mediapipe": ("capture", "tdmm capture, video input"),
    "scenedetect": ("capture", "corpora of videos"),
    "onnxruntime": ("capture", "speech and quality of captured sound"),
    "espeakng-loader": ("speech", "spoken performances"),
    "ray": ("corpus", "corpora on several machines"),
    "diffusers": ("video", "videos by text-to-video models"),
    "fastapi": ("serve", "tdmm serve"),
    "uvicorn": ("serve", "tdmm serve"),
    "trl": ("train", "tdmm train"),
    "peft": ("train", "LoRA, tdmm export"),
    "datasets": ("train", "corpora"),
    "accelerate": ("train", "several processes"),
    "evaluate": ("eval", "metrics"),
    "smplx": ("dev", "parity tests"),
    "flame-pytorch": ("dev", "parity tests (install with --no-deps)"),
}


@dataclass(frozen=True)
class Asset:
    """A file that its owner gives away and that we do not bundle."""

    name: str
    local: str  # below $TDMM_DATA
    cached: str  # below the cache
    url: str
    sha256: str
    licence: str


ASSETS = (
    Asset(
        "face landmarker",
        "face_landmarker/face_landmarker.task",
        "face_landmarker.task",
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        "Apache-2.0, Google",
    ),
)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find(asset: Asset) -> Path | None:
    """Where an asset lies on this machine, or None."""
    data = bundle.data()
    roots = ([data / asset.local] if data else []) + [bundle.cache() / asset.cached]
    return next((path for path in roots if path.is_file()), None)


def download(asset: Asset, *, timeout_seconds: float = 60) -> Path:
    """Download an asset into the cache; it is kept only if its checksum is the expected one.

    Raises:
        ValueError: the download failed or its bytes are not the expected ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "download"
        try:
            with urllib.request.urlopen(asset.url, timeout=timeout_seconds) as answer, path.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            raise ValueError(
                f"{asset.name}: could not fetch {asset.url} ({error}); put the file at "
                f"{bundle.cache() / asset.cached} yourself."
            ) from None
        if _sha256(path) != asset.sha256:
            raise ValueError(f"{asset.name}: expected sha256 {asset.sha256}, got {_sha256(path)}; nothing was kept.")
        with replacing(bundle.cache() / asset.cached) as target:
            shutil.copyfile(path, target)
    return bundle.cache() / asset.cached


def report(*, fetch: bool = False) -> str:
    """The state of this installation, a line each; with ``fetch`` missing assets are fetched first."""
    lines = ["packages"]
    for name, (extra, purpose) in PACKAGES.items():
        try:
            lines.append(f"  {name:24} {importlib.metadata.version(name):12} {purpose}")
        except importlib.metadata.PackageNotFoundError:
            how = f'pip install "tdmm-lm[{extra}]"' if extra else "pip install tdmm-lm"
            lines.append(f"  {name:24} {'missing':12} {purpose}: {how}")
    lines.append("bundled")
    for folder in ("assets/head", "tokenizers/face", "tokenizers/body", "assets/lm", "assets/samples"):
        try:
            state = "present" if any(bundle.path(folder).iterdir()) else "missing: make nano"
        except FileNotFoundError:
            state = "missing: make nano"
        lines.append(f"  {folder:24} {state}")
    lines.append("assets of others")
    for asset in ASSETS:
        path = find(asset)
        if path is None and fetch:
            try:
                path = download(asset)
            except ValueError as error:
                lines.append(f"  {asset.name:24} missing: {error}")
                continue
        lines.append(f"  {asset.name:24} {path or 'missing: tdmm doctor --fetch'} ({asset.licence})")
    lines.append(f"  {'scanned head':24} {_scanned(fetch)} (MIT, USC ICT 2020)")
    return "\n".join(lines)


def _scanned(fetch: bool) -> str:
    """Where the scanned head lies, fetched first where that is asked for and needed."""
    from tdmm_lm import scanned

    local, cached = "scanned_head/ict_facekit_full.npz", bundle.cache() / "ict" / "ict_facekit_full.npz"
    data = bundle.data()
    if data and (data / local).is_file():
        return str(data / local)
    if not cached.is_file() and fetch:
        try:
            scanned.fetch(cached, *scanned.known(bundle.path("assets/ict/fingerprints.json")))
        except ValueError as error:
            return f"missing: {error}"
    return str(cached) if cached.is_file() else "missing: tdmm doctor --fetch"
