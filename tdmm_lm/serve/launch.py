"""``tdmm serve``: loads the engine that the settings name and runs the gateway on it."""

import os
import tempfile
from pathlib import Path
from typing import Literal

import uvicorn
from fastapi import FastAPI
from pydantic import Field

from tdmm_lm import bundle, codec, formats, rigs
from tdmm_lm.config import Settings as Section
from tdmm_lm.serve import gateway
from tdmm_lm.serve.motions import Motions


class Settings(Section):
    """Where to listen and what to serve."""

    engine: Literal["transformers"] = "transformers"
    lm: str | None = None  # a model folder; None is the bundled nano model
    model_name: str = "tdmm-nano"  # what clients put into `model`
    host: str = "127.0.0.1"  # loopback: put a proxy in front before opening it to others
    port: int = Field(8000, ge=0, le=65535)
    rig: str = "head"  # what the performed motion drives
    store: str | None = None  # folder of made motions; None is a temporary one that ends with the server
    most_motions: int = Field(1000, gt=0)
    api_key_variable: str = "TDMM_API_KEY"  # environment variable with the key; unset means no key


def create(settings: Settings) -> FastAPI:
    """The application for the settings, models loaded."""
    from tdmm_lm.serve.transformers_engine import TransformersEngine

    lm = Path(settings.lm) if settings.lm else bundle.path("assets/lm")
    engine = TransformersEngine(lm, settings.model_name)
    rig = rigs.load(settings.rig)
    face = engine.lm.codec()
    store = Path(settings.store) if settings.store else Path(tempfile.mkdtemp(prefix="tdmm-motions-"))

    def write(clip, path: Path) -> None:  # type: ignore[no-untyped-def]
        if path.suffix == ".mp4":
            from tdmm_lm.render import mesh

            mesh.write(clip, path, rig)
        else:
            formats.write(clip, path, rig=rig)

    motions = Motions(store, write, formats.read, settings.most_motions)
    return gateway.create(
        engine,
        motions,
        make=lambda codes: codec.detokenize(face, codes, rig),
        read=lambda clip: codec.tokenize(face, clip),
        api_key=os.environ.get(settings.api_key_variable),
    )


def run(settings: Settings) -> None:
    """Serve until interrupted."""
    uvicorn.run(create(settings), host=settings.host, port=settings.port, log_level="info")
