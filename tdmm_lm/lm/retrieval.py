"""Texts and motions as vectors that lie near each other where they mean the same (TMR: Petrovich et al., ICCV 2023).

Motion goes in as the components of a codec's linear map, which is kept inside: no codec is needed beside it and a new
codec changes nothing. Vectors have length 1; their product says how well a text fits a motion. The encoder is trained
apart from every language model, so that it may grade them.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tdmm_lm import codec, config, rigs
from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 1


class Settings(config.Settings):
    """The two networks."""

    pieces: int = Field(gt=0)  # of the text tokenizer
    features: int = Field(gt=0)
    components: int = Field(gt=0)
    width: int = Field(128, gt=0)
    layers: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    dim: int = Field(128, gt=0)  # of the vectors
    stride: int = Field(5, ge=1)  # frames of motion that become one step
    fps: float = Field(25.0, gt=0)
    longest_text: int = Field(128, ge=8)  # tokens; longer texts are cut
    longest_seconds: float = Field(12.0, gt=0)  # longer motions are cut


class Encoder(nn.Module):
    """A transformer for each side, their outputs averaged over what is there and made of length 1.

    Attributes:
        scale: logarithm of what products are multiplied by in the loss (CLIP's temperature).
    """

    mean: Tensor
    analysis: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.register_buffer("mean", torch.zeros(settings.features))
        self.register_buffer("analysis", torch.zeros(settings.features, settings.components))
        self.pieces = nn.Embedding(settings.pieces, width)
        self.steps = nn.Linear(settings.components * settings.stride, width)
        self.places = nn.Parameter(0.02 * torch.randn(2, max(settings.longest_text, self.longest_steps), width))
        self.text_layers, self.motion_layers = (self._layers() for _ in range(2))
        self.text_out, self.motion_out = (nn.Linear(width, settings.dim) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def _layers(self) -> nn.TransformerEncoder:
        layer = nn.TransformerEncoderLayer(
            self.settings.width, self.settings.heads, 4 * self.settings.width, dropout=0.1, activation="gelu",
            batch_first=True, norm_first=True,
        )
        return nn.TransformerEncoder(layer, self.settings.layers, enable_nested_tensor=False)

    @property
    def longest_steps(self) -> int:
        return math.ceil(self.settings.longest_seconds * self.settings.fps / self.settings.stride)

    def texts(self, ids: Int[Tensor, "b t"], there: Bool[Tensor, "b t"]) -> Float[Tensor, "b dim"]:
        """Tokens, and which of them are no padding."""
        x = self.pieces(ids) + self.places[0, : ids.shape[1]]
        return self._out(self.text_layers(x, src_key_padding_mask=~there), there, self.text_out)

    def motions(
        self, parts: Float[Tensor, "b frames components"], there: Bool[Tensor, "b frames"]
    ) -> Float[Tensor, "b dim"]:
        """Components, and which frames are no padding."""
        stride = self.settings.stride
        missing = -parts.shape[1] % stride
        parts = functional.pad(parts * there[..., None], (0, 0, 0, missing))
        steps = functional.pad(there, (0, missing)).unflatten(1, (-1, stride)).any(-1)
        x = self.steps(parts.unflatten(1, (-1, stride)).flatten(2)) + self.places[1, : steps.shape[1]]
        return self._out(self.motion_layers(x, src_key_padding_mask=~steps), steps, self.motion_out)

    @staticmethod
    def _out(x: Tensor, there: Tensor, out: nn.Linear) -> Tensor:
        kept = there[..., None].float()
        return functional.normalize(out((x * kept).sum(1) / kept.sum(1)), dim=-1)


class Retrieval:
    """An encoder with its tokenizer, ready to be asked."""

    def __init__(self, encoder: Encoder, tokenizer: "PreTrainedTokenizerBase", folder: Path | None = None) -> None:
        self.encoder, self.tokenizer, self.folder = encoder.eval(), tokenizer, folder

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str], *, batch: int = 64) -> Float[Tensor, "texts dim"]:
        """One vector a text, each from its own words alone."""
        made = []
        for start in range(0, len(texts), batch):
            some = texts[start : start + batch]
            made.append(self.encoder.texts(*tokens(self.tokenizer, some, self.encoder.settings)))
        return torch.cat(made)

    @torch.no_grad()
    def of_clips(self, clips: Sequence[MotionClip], *, batch: int = 64) -> Float[Tensor, "clips dim"]:
        """One vector a clip, on any rig that can be loaded by its name."""
        made = []
        for start in range(0, len(clips), batch):
            parts = [self.parts(clip) for clip in clips[start : start + batch]]
            made.append(self.encoder.motions(*padded(parts)))
        return torch.cat(made)

    def parts(self, clip: MotionClip) -> Float[Tensor, "frames components"]:
        """What the encoder sees of a clip, at most ``longest_seconds`` of it."""
        from tdmm_lm.geometry.measure import features
        from tdmm_lm.geometry.reading import read
        from tdmm_lm.motion import face

        settings = self.encoder.settings
        at_rate = face.resample(clip, settings.fps)
        rows = torch.from_numpy(features(read(at_rate, rigs.load(clip.rig))))
        return ((rows - self.encoder.mean) @ self.encoder.analysis)[: self.encoder.longest_steps * settings.stride]


def tokens(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], settings: Settings
) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Padded ids, and which are there; an empty text is one token of padding that counts."""
    rows = [tokenizer(text)["input_ids"][: settings.longest_text] or [0] for text in texts]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    there = torch.zeros_like(ids, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        there[place, : len(row)] = True
    return ids, there


def padded(
    parts: Sequence[Float[Tensor, "frames components"]],
) -> tuple[Float[Tensor, "b frames components"], Bool[Tensor, "b frames"]]:
    """Motions of several lengths in one batch, and which frames are there."""
    lengths = torch.tensor([len(one) for one in parts])
    whole = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    return whole, torch.arange(whole.shape[1])[None] < lengths[:, None]


def new(network: codec.Codec, tokenizer: "PreTrainedTokenizerBase", **shape: Any) -> Encoder:
    """An untrained encoder that sees a codec's components."""
    settings = config.check(
        Settings,
        {**shape, "pieces": len(tokenizer), "features": network.features, "components": network.components,
         "fps": network.fps},
        "retrieval.model",
    )
    encoder = Encoder(settings)
    encoder.mean.copy_(network.mean)
    encoder.analysis.copy_(network.analysis)
    return encoder


def save(encoder: Encoder, tokenizer: "PreTrainedTokenizerBase", folder: str | Path) -> None:
    """``config.json``, ``model.safetensors`` in half precision and the tokenizer's files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    with replacing(folder / "model.safetensors") as path:
        save_file({key: value.half().contiguous() for key, value in encoder.state_dict().items()}, path)
    described = {"version": VERSION, "name": "retrieval", "model": encoder.settings.model_dump(mode="json")}
    with replacing(folder / "config.json") as path:
        path.write_text(json.dumps(described, indent=2) + "\n")


def load(folder: str | Path) -> Retrieval:
    """
    Raises:
        FileNotFoundError: no such folder.
        ValueError: another thing lies in it.
    """
    from transformers import AutoTokenizer

    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: expected a retrieval encoder's folder with {name}, found none.")
    described = json.loads((folder / "config.json").read_text())
    if described.get("name") != "retrieval" or described.get("version") != VERSION:
        raise ValueError(f"{folder}/config.json: expected a retrieval encoder of version {VERSION}, got {described}.")
    encoder = Encoder(config.check(Settings, described["model"], str(folder)))
    try:
        encoder.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder}: expected this encoder's weights; {' '.join(str(error).split())}") from None
    return Retrieval(encoder, AutoTokenizer.from_pretrained(folder), folder)
