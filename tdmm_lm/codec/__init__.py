"""Motion <-> codes. A `Codec` is a linear map, an encoder, a quantizer and a decoder; every other file is one quantizer
with its ``ModelSettings``, its ``Quantizer`` and ``build(settings) -> Codec``.

Features pass through a fixed linear map first: the principal components of each group of them under a metric, so that
plain Euclidean distance in there is the error one cares about, and the convolutions stay narrow. Encoder and decoder
see time around a frame: a code says what the neighbourhood does, and the decoder spreads it over frames.

A codec on disk is a folder: ``config.json`` (format version, name, model settings, SHA-256 of the weights) and
``model.safetensors`` (weights and statistics), beside them the report of its training.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tdmm_lm import config, rigs
from tdmm_lm.config import Settings
from tdmm_lm.convolutions import Decoder, Encoder, sight
from tdmm_lm.files import replacing
from tdmm_lm.geometry import humanml3d
from tdmm_lm.geometry.measure import Geometry, from_features
from tdmm_lm.geometry.measure import features as geometry_features
from tdmm_lm.geometry.reading import read
from tdmm_lm.geometry.solve import solve
from tdmm_lm.motion import MotionClip, face

VERSION = 2  # of the folder's format
MARGIN = 0.005  # of squared distances where the encoder ends, a number: how clearly readings should have a code
DTYPES = {"float32": torch.float32, "float16": torch.float16}  # of the networks' weights on disk
NETWORKS = ("encoder.", "decoder.")  # whose weights those are
Modality = Literal["face", "body"]


class ModelSettings(Settings):
    """The network around a quantizer; each quantizer's file adds its own."""

    modality: Modality = "face"
    groups: dict[str, tuple[int, int]] = Field(min_length=1)  # features and components kept of each
    fps: float = Field(25.0, gt=0)  # of the motion that goes in
    strides: tuple[int, ...] = Field((1,), min_length=1)  # a level each: frames that become one; all together a code's
    width: int = Field(96, gt=0)
    dilations: tuple[int, ...] = (1, 2, 4)  # at every level a residual block each; kernel 3: it sees +- its dilation
    look_ahead: bool = True  # False: the decoder is causal (each frame from codes up to its own)
    code_dim: int = Field(64, gt=0)  # of a code vector
    stored: Literal["float32", "float16"] = "float32"  # how the convolutions' weights lie on disk; float32 when used


class Quantizer(nn.Module, ABC):
    """Vectors <-> codes.

    Attributes:
        books: codebooks a code frame.
        size: codes a book.
    """

    books: int
    size: int

    @abstractmethod
    def learn(self, z: Float[Tensor, "b n dim"]) -> tuple[Tensor, Tensor, Tensor]:
        """(vectors behind the codes, passing gradients straight through; codes (b, n, books); commitment loss).

        In training mode a codebook that learns by itself does so here.
        """

    @abstractmethod
    def codes(self, z: Float[Tensor, "b n dim"]) -> Int[Tensor, "b n books"]:
        """0..size - 1, int64."""

    @abstractmethod
    def vectors(self, codes: Int[Tensor, "b n some"]) -> Float[Tensor, "b n dim"]:
        """What codes stand for; of a residual quantizer also the first ``some`` books alone."""

    @abstractmethod
    def all_vectors(self) -> Float[Tensor, "books codes dim"]:
        """The vectors behind all codes."""


class Codec(nn.Module):
    """Features -> components -> encoder -> quantizer -> decoder -> components -> features.

    Attributes:
        features: width d of what is coded.
        books, codebook_size: of its quantizer.
        fps: frames a second of the motion that it codes.
        frames_per_code: the product of its strides.
        code_fps: code frames a second.
        look_ahead: (encoding, decoding): code frames after the one at hand that either side waits for.
        settings: what it was built from; saved in its ``config.json``.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, settings: ModelSettings, quantizer: Quantizer) -> None:
        super().__init__()
        for name, (features, components) in settings.groups.items():
            if not 0 < components <= features:
                raise ValueError(f"codec.groups.{name}: expected 1 to {features} components, got {components}.")
        if min(settings.strides) < 1:
            raise ValueError(f"codec.model.strides: expected whole numbers of 1 or more, got {list(settings.strides)}.")
        self.settings = settings
        self.features = sum(features for features, _ in settings.groups.values())
        self.components = sum(components for _, components in settings.groups.values())
        self.books, self.codebook_size = quantizer.books, quantizer.size
        self.fps, self.frames_per_code = settings.fps, math.prod(settings.strides)
        self.code_fps = settings.fps / self.frames_per_code
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("analysis", torch.eye(self.features, self.components))
        self.register_buffer("synthesis", torch.eye(self.components, self.features))
        dim, width, strides = settings.code_dim, settings.width, settings.strides
        self.encoder = Encoder(self.components, dim, width, strides, settings.dilations)
        self.decoder = Decoder(dim, self.components, width, strides, settings.dilations, settings.look_ahead)
        self.quantizer = quantizer
        self.sight = {
            "encoding": sight(strides, settings.dilations, decoder=False, ahead=True),
            "decoding": sight(strides, settings.dilations, decoder=True, ahead=settings.look_ahead),
        }

    @property
    def look_ahead(self) -> tuple[int, int]:
        return self.sight["encoding"][1], self.sight["decoding"][1]

    def parts(self) -> dict[str, tuple[slice, slice]]:
        """For each group, where it lies among the features and among the components."""
        result, feature, component = {}, 0, 0
        for name, (features, components) in self.settings.groups.items():
            result[name] = (slice(feature, feature + features), slice(component, component + components))
            feature, component = feature + features, component + components
        return result

    @torch.no_grad()
    def fit(
        self, x: Float[Tensor, "frames features"], metrics: dict[str, Float[Tensor, "rows group"]],
        others: Sequence[Float[Tensor, "frames features"]] = (), noise: float = 1e-3,
    ) -> dict[str, float]:
        """Set the linear map from examples. A group's metric L says what matters: the error e of a row weighs |L e|².

        ``others`` are the same frames as read from other rigs. Where two rigs can only come near each other, the
        components are those that all readings agree on best (least squares, a reading being off by ``noise``, in the
        features' unit), so that what differs between rigs is not taken for motion.

        Returns for each group the share of its weighted variance that the kept components hold. All components are
        divided by one number, so that they have variance 1 on average.
        """
        self.mean.copy_(x.mean(0))
        self.analysis.zero_()
        self.synthesis.zero_()
        held = {}
        for name, (features, components) in self.parts().items():
            metric = metrics[name].double()
            root = torch.linalg.cholesky(metric.mT @ metric).mT  # |root e| = |L e|, and root has an inverse
            weighted = (x[:, features] - self.mean[features]).double() @ root.mT
            values, vectors = _principal(weighted, components.stop - components.start)
            self.analysis[features, components] = (root.mT @ vectors).float()
            self.synthesis[components, features] = torch.linalg.solve(root, vectors).mT.float()
            held[name] = float(values[: vectors.shape[1]].sum() / values.sum())
            if others:
                read = torch.cat([x, *others])[:, features].double() - self.mean[features].double()
                wanted = ((x - self.mean)[:, features] @ self.analysis[features, components]).double()
                gram = read.mT @ read + len(read) * noise**2 * torch.eye(read.shape[1]).double()
                agreed = torch.linalg.solve(gram, read.mT @ wanted.repeat(1 + len(others), 1))
                self.analysis[features, components] = agreed.float()
        spread = self.project(x).square().mean().sqrt()
        self.analysis /= spread
        self.synthesis *= spread
        return held

    @torch.no_grad()
    def start(self, z: Float[Tensor, "b t components"]) -> None:
        """Before the first step: straight lines take principal components of windows, codes lie among examples."""
        if self.frames_per_code > 1:
            windows = z.unflatten(1, (-1, self.frames_per_code)).flatten(0, 1).flatten(1).double()  # (n, frames * c)
            _, vectors = _principal(windows, min(self.settings.code_dim, windows.shape[1]))
            rows = vectors.mT.float().unflatten(1, (self.frames_per_code, -1))  # (dim, frames, c)
            scale = float((windows @ vectors).square().mean().sqrt())
            self.encoder.line.weight[: len(rows)] = rows.mT / scale
            self.decoder.line.weight[:, : len(rows), 0] = rows.flatten(1).mT * scale
        training = self.training
        self.train()
        self.quantizer.learn(self.encoder(z))
        self.train(training)

    def project(self, x: Float[Tensor, "*b t features"]) -> Float[Tensor, "*b t components"]:
        """Features -> components."""
        return (x - self.mean) @ self.analysis

    def restore(self, z: Float[Tensor, "*b t components"]) -> Float[Tensor, "*b t features"]:
        """Components -> features: the inverse of `project` up to what the kept components do not hold."""
        return z @ self.synthesis + self.mean

    def forward(
        self, z: Float[Tensor, "b t components"], plain: Float[Tensor, "b t components"] | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Components -> (components again, codes, losses). A learning codebook learns in training mode.

        The losses are ``commitment`` and, where ``plain``, the same motion as it is, is given, ``agreement``: whether
        what the encoder makes of ``z``, another rig's reading, is nearer to the code of the first book that ``plain``
        is nearest to than to any other, by `MARGIN` at least. It is 0 where that is so: no precision is lost where
        rigs agree.
        """
        latent = self.encoder(z)
        vectors, codes, commitment = self.quantizer.learn(latent)
        losses = {"commitment": commitment}
        if plain is not None:
            with torch.no_grad():
                wanted = torch.cdist(self.encoder(plain), self.codebook()[0]).argmin(-1, keepdim=True)
            away = torch.cdist(latent.flatten(0, 1), self.codebook()[0]).square().unflatten(0, latent.shape[:2])
            nearer = away.gather(-1, wanted)[..., 0] - away.scatter(-1, wanted, torch.inf).amin(-1)
            losses["agreement"] = (nearer / latent.shape[-1] + MARGIN).relu().mean()
        return self.decoder(vectors), codes, losses

    def encode(self, x: Float[Tensor, "b t features"]) -> Int[Tensor, "b n books"]:
        """Codes, one frame of them for ``frames_per_code`` frames begun: the last frame is repeated to fill them."""
        missing = -x.shape[1] % self.frames_per_code
        if missing:
            x = torch.cat([x, x[:, -1:].expand(-1, missing, -1)], 1)
        return self.quantizer.codes(self.encoder(self.project(x)))

    def decode(self, codes: Int[Tensor, "b n books"]) -> Float[Tensor, "b t features"]:
        """Features again, ``frames_per_code`` frames a code frame.

        Raises:
            ValueError: a code out of range, or not ``books`` of them a frame.
        """
        self.check(codes)
        return self.restore(self.decoder(self.quantizer.vectors(codes)))

    def codebook(self) -> Float[Tensor, "books codes dim"]:
        """The vectors behind the codes, e.g. to initialise a language model's embeddings."""
        return self.quantizer.all_vectors()

    def check(self, codes: Tensor) -> None:
        """Raises ValueError where `decode` has to."""
        if codes.ndim != 3 or codes.shape[-1] != self.books or codes.dtype != torch.int64:
            raise ValueError(
                f"codes: expected int64 (batch, frames, {self.books}), got {str(codes.dtype)[6:]} {tuple(codes.shape)}."
            )
        if not codes.numel():
            raise ValueError("codes: expected at least one frame, got none.")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.codebook_size:
            raise ValueError(f"codes: expected 0 to {self.codebook_size - 1}, got {low if low < 0 else high}.")


def _principal(x: Float[Tensor, "n d"], count: int) -> tuple[Float[Tensor, " d"], Float[Tensor, "d count"]]:
    """All variances, falling, and the first directions (eigenvectors have no sign: their largest entry is positive)."""
    values, vectors = torch.linalg.eigh(x.mT @ x / len(x))
    kept = vectors.flip(-1)[:, :count]
    kept = kept * kept.gather(0, kept.abs().argmax(0, keepdim=True)).sign()
    return values.flip(-1).clamp_min(0), kept


# On disk


def save(codec: Codec, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into an existing or new folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "model.safetensors") as path:
        save_file({
            key: value.to(DTYPES[codec.settings.stored] if key.startswith(NETWORKS) else value.dtype).contiguous()
            for key, value in codec.state_dict().items()
        }, path)
    described = {
        "version": VERSION, "name": type(codec.quantizer).__module__.removeprefix(f"{__name__}."),
        "sha256": weights_sha256(folder), "model": codec.settings.model_dump(mode="json"),
    }
    with replacing(folder / "config.json") as path:
        path.write_text(json.dumps(described, indent=2) + "\n")


def load(folder: str | Path) -> Codec:
    """A codec from its folder, in evaluation mode, strictly: every weight must be there and fit, and no other.

    Raises:
        FileNotFoundError: no such folder, or a file is missing in it.
        ValueError: the config or the weights are not a codec's, or do not belong together.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: expected a codec's folder with {name}, found none.")
    described = _described(folder / "config.json")
    codec = config.find("codec", described["name"]).build(described["model"])
    weights, found = folder / "model.safetensors", weights_sha256(folder)
    try:
        codec.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{weights}: expected this codec's weights; {said}") from None
    if found != described["sha256"]:
        raise ValueError(
            f"{weights}: expected the weights that config.json names (sha256 {str(described['sha256'])[:12]}...), "
            f"got {found[:12]}...; copy both files from one place."
        )
    return codec.eval()


def weights_sha256(folder: str | Path) -> str:
    """Of ``model.safetensors``, in hex: what a language model's `motion_vocab.json` names its codec by."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


def _described(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}.") from None
    expected = {"version", "name", "sha256", "model"}
    if not isinstance(described, dict) or set(described) != expected:
        raise ValueError(f"{path}: expected the keys {', '.join(sorted(expected))}.")
    if described["version"] != VERSION:
        raise ValueError(f"{path}: expected version {VERSION}, got {described['version']!r}.")
    # A folder may come from anywhere, so it may only name a codec of this package, never a module to import.
    known = config.known("codec")
    if described["name"] not in known:
        raise ValueError(f"{path}: name: expected one of {', '.join(known)}, got {described['name']!r}.")
    return described


# Clips


def rows(codec: Codec, clip: MotionClip, rig: rigs.Rig | None = None) -> Float[np.ndarray, "frames features"]:
    """What the codec sees of a clip, at its ``fps``: rig-free geometry of a face, HumanML3D's features of a body.

    Raises:
        ValueError: a clip of another modality, or a codec of other features.
    """
    _needs(codec, clip.modality)
    if clip.modality == "body":
        return humanml3d.clip_rows(clip).numpy()
    return geometry_features(read(face.resample(clip, codec.fps), rigs.load(clip.rig) if rig is None else rig))


@torch.no_grad()
def tokenize(codec: Codec, clip: MotionClip, rig: rigs.Rig | None = None) -> Int[np.ndarray, "n books"]:
    """A clip as codes, int64. ``rig`` is a face clip's own, loaded by its name where it is left out.

    Raises:
        ValueError: a clip of another modality, or a codec of other features.
    """
    return codec.encode(torch.from_numpy(rows(codec, clip, rig))[None])[0].numpy()


@torch.no_grad()
def decoded(codec: Codec, codes: Int[np.ndarray, "n books"]) -> Float[np.ndarray, "frames features"]:
    """Rows of features that codes stand for, at the codec's ``fps``.

    Raises:
        ValueError: codes out of range, or not ``books`` a frame.
    """
    if not isinstance(codes, np.ndarray) or codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"codes: expected an integer array (frames, {codec.books}), got {np.asarray(codes).shape}.")
    return codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0].numpy()


def geometry(codec: Codec, codes: Int[np.ndarray, "n books"]) -> Geometry:
    """The rig-free motion that a face's codes stand for. Translation is 0: codes do not hold it."""
    if codec.settings.modality != "face":
        raise ValueError(f"codec: expected a face's, got a {codec.settings.modality}'s.")
    return from_features(decoded(codec, codes), codec.fps)


def detokenize(codec: Codec, codes: Int[np.ndarray, "n books"], rig: rigs.Rig | None = None) -> MotionClip:
    """Codes as a clip at the codec's ``fps``: of a face decoded to geometry, which is then solved for that rig; of a
    body on the default skeleton.

    Raises:
        ValueError: codes out of range, or not ``books`` a frame; a face without a rig.
    """
    if codec.settings.modality == "body":
        return humanml3d.recover(torch.from_numpy(decoded(codec, codes)))
    if rig is None:
        raise ValueError("detokenize: expected the rig that the face shall move, got none.")
    return solve(geometry(codec, codes), rig)


def _needs(codec: Codec, modality: str) -> None:
    wanted = codec.settings.modality
    if modality != wanted:
        raise ValueError(f"tokenize: expected a {wanted} clip, got {modality!r}.")
    width = {"face": 634, "body": 263}[wanted]
    if codec.features != width:
        raise ValueError(f"codec.features: expected {width}, the {wanted}'s, got {codec.features}.")
