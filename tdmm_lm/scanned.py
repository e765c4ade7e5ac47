"""Fetching the scanned head from its owner: ICT-FaceKit light, OBJ files -> the one npz that `rigs.ict` reads.

The files are checked by fingerprints: a few fixed projections of every shape's vertices, which agree to 1e-5 whatever
the last digit of the text was rounded to. A file that is not the expected one ends the fetch, and nothing is kept.
"""

import io
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tdmm_lm.files import replacing

SOURCE = "https://raw.githubusercontent.com/USC-ICT/ICT-FaceKit/master/FaceXModel"
NEUTRAL = "generic_neutral_mesh"
PROJECTIONS = 4
LARGEST = 64 << 20  # bytes of one OBJ file

Obj = dict[
    str, np.ndarray
]  # vertices (v, 3), uv (t, 2), faces and faces_uv (f, 4) with -1 where a face has three corners


def parse(text: str) -> Obj:
    """The vertices, texture coordinates and faces of an OBJ file of triangles and quads.

    Raises:
        ValueError: a line that is none of an OBJ's, or no vertices.
    """
    vertices, uv, faces, faces_uv = [], [], [], []
    try:
        for line in io.StringIO(text):
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif kind == "vt":
                uv.append([float(x) for x in rest[:2]])
            elif kind == "f":
                corners = [[int(x or 0) - 1 for x in corner.split("/")[:2]] for corner in rest]
                corners += [[-1, -1]] * (4 - len(corners))
                faces.append([corner[0] for corner in corners])
                faces_uv.append([corner[1] if len(corner) > 1 else -1 for corner in corners])
    except (ValueError, IndexError):
        raise ValueError(f"obj: expected an OBJ file, got the line {line.strip()[:60]!r}.") from None
    if not vertices:
        raise ValueError("obj: expected vertices, got none.")
    return {
        "vertices": np.asarray(vertices),
        "uv": np.asarray(uv, np.float32),
        "faces": np.asarray(faces, np.int32),
        "faces_uv": np.asarray(faces_uv, np.int32),
    }


def fingerprint(points: Float[np.ndarray, "vertices 3"]) -> list[float]:
    """`PROJECTIONS` fixed weighted means of all coordinates."""
    directions = np.random.default_rng(len(points)).standard_normal((PROJECTIONS, points.size))
    return (directions @ np.asarray(points, np.float64).ravel() / np.sqrt(points.size)).tolist()


def fetch(
    target: Path,
    expected: dict[str, list[float]],
    landmarks: list[int],
    *,
    source: str = SOURCE,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Read every shape named in ``expected`` from ``source``, check it, and write the npz.

    ``expected`` maps a file's stem to its fingerprint (of the neutral's vertices, of the others' displacements);
    stems that begin with ``identity`` are identities, all others expressions.

    Raises:
        ValueError: a file could not be fetched or is not the expected one.
    """
    neutral: Obj | None = None
    deltas: dict[str, np.ndarray] = {}
    for stem in [NEUTRAL, *(name for name in expected if name != NEUTRAL)]:
        progress(stem)
        try:
            with urllib.request.urlopen(f"{source}/{stem}.obj", timeout=60) as answer:
                text = answer.read(LARGEST).decode("ascii", "replace")
        except OSError as error:
            raise ValueError(f"scanned head: could not fetch {source}/{stem}.obj ({error}).") from None
        mesh = parse(text)
        neutral = neutral or mesh
        if mesh["vertices"].shape != neutral["vertices"].shape:
            raise ValueError(f"{stem}.obj: expected {len(neutral['vertices'])} vertices, got {len(mesh['vertices'])}.")
        moved = mesh["vertices"] if stem == NEUTRAL else mesh["vertices"] - neutral["vertices"]
        if not np.allclose(fingerprint(moved.astype(np.float32)), expected[stem], atol=1e-4, rtol=1e-5):
            raise ValueError(f"{stem}.obj: expected its owner's shape, got another (the fingerprint differs).")
        deltas[stem] = moved.astype(np.float32)
    assert neutral is not None
    names = [name for name in deltas if name != NEUTRAL]
    expressions = [name for name in names if not name.startswith("identity")]
    identities = [name for name in names if name.startswith("identity")]
    with replacing(target) as path:
        np.savez_compressed(
            path,
            neutral=deltas[NEUTRAL],
            uv=neutral["uv"],
            faces=neutral["faces"],
            faces_uv=neutral["faces_uv"],
            expr_names=np.array(expressions),
            expr_deltas=np.stack([deltas[name] for name in expressions]),
            id_names=np.array(identities),
            id_deltas=np.stack([deltas[name] for name in identities]),
            idx_to_landmark_verts=np.asarray(landmarks),
        )


def known(path: Path) -> tuple[dict[str, list[float]], list[int]]:
    """The bundled fingerprints and landmark vertices of the owner's mesh."""
    stored = json.loads(path.read_text())
    return stored["fingerprints"], stored["landmarks"]
