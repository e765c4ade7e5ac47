"""The landmarks' embedding on the scanned head (ICT-FaceKit), made once and kept as vertex numbers and weights.

    python -m tdmm_lm.geometry.ict_landmarks [OUT]        needs $TDMM_DATA; writes assets/ict/landmarks.safetensors

Lids and lips are placed along the mesh's own edge loops, which pass through the scanned head's 68 iBUG vertices, at
the arc-length shares that MediaPipe's canonical face has them. The jawline likewise, then dropped onto the surface. All
other places are MediaPipe's canonical ones, warped by those, on the nearest surface.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import save_file

from tdmm_lm import bundle, landmarks
from tdmm_lm.files import replacing
from tdmm_lm.geometry import embed
from tdmm_lm.rigs import Embedding

SKIN = 9409  # vertices below are the face's skin; above: neck and back, mouth socket, gums, teeth, eyeballs
TONGUE_TIP = 16761  # foremost vertex of the tongue on the middle line
EYEBALLS = {"left": (21451, 22221), "right": (23021, 23791)}  # outer surfaces, with the cornea

# iBUG's 68: 0-16 jaw, 17-26 brows, 27-35 nose, 36-41 right eye from the outer corner over the top, 42-47 left eye from
# the inner corner over the top, 48-59 outer lips from the right corner over the top, 60-67 inner lips.
_CURVES = {  # landmark curve -> iBUG stations along it, first and last being the curve's ends
    "lid_upper_right": (39, 38, 37, 36),
    "lid_lower_right": (39, 40, 41, 36),
    "lid_upper_left": (42, 43, 44, 45),
    "lid_lower_left": (42, 47, 46, 45),
    "lip_outer_upper": (48, 49, 50, 51, 52, 53, 54),
    "lip_outer_lower": (48, 59, 58, 57, 56, 55, 54),
    "lip_inner_upper": (60, 61, 62, 63, 64),
    "lip_inner_lower": (60, 67, 66, 65, 64),
}
_MIDDLES = {"lip_outer_upper": 51, "lip_outer_lower": 57, "lip_inner_upper": 62, "lip_inner_lower": 66}
_SAME = {  # iBUG points that are a MediaPipe point off the curves
    17: 70, 18: 63, 19: 105, 20: 66, 21: 107, 22: 336, 23: 296, 24: 334, 25: 293, 26: 300, 27: 168, 30: 4, 33: 2,
    31: 98, 32: 97, 34: 326, 35: 327,
}
_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)  # ear to chin, the person's right


def canonical(path: Path) -> Float[np.ndarray, "468 3"]:
    """Vertices of MediaPipe's canonical face, centimetres."""
    rows = [line.split()[1:4] for line in path.read_text().splitlines() if line.startswith("v ")]
    return np.array(rows, np.float64)


def curve(name: str) -> list[int]:
    """MediaPipe indices of a landmark curve in order; a lower curve gets its corners from the upper one."""
    points = [index for place, index in landmarks.MEDIAPIPE.items() if place.rsplit("_", 1)[0] == name]
    if "lower" in name and not name.startswith("brow"):
        upper = curve(name.replace("lower", "upper"))
        points = [upper[0], *points, upper[-1]]
    return points


def mesh_hash(neutral: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 4"]) -> str:
    """SHA-256 of the scanned head's ``neutral`` (float32) and ``faces`` (int32) bytes, as they lie in its file."""
    return hashlib.sha256(neutral.astype("<f4").tobytes() + faces.astype("<i4").tobytes()).hexdigest()


def triangles(quads: Int[np.ndarray, "faces 4"]) -> Int[np.ndarray, "triangles 3"]:
    """Quads cut along their first diagonal; a fourth index of -1 marks a triangle."""
    return np.concatenate([quads[:, :3], quads[quads[:, 3] >= 0][:, [0, 2, 3]]]).astype(np.int64)


def make(data: Path) -> tuple[Embedding, str]:
    """The embedding, and the hash of the mesh that it belongs to."""
    with np.load(data / "scanned_head" / "ict_facekit_full.npz", allow_pickle=False) as head:
        neutral, quads, ibug = head["neutral"], head["faces"], head["idx_to_landmark_verts"]
    model = canonical(data / "face_landmarker" / "canonical_face_model.obj")
    vertices, faces = neutral.astype(np.float64), triangles(quads)
    skin = faces[(faces < SKIN).all(1)]

    places: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # MediaPipe index -> triangle, weights
    for name, stations in _CURVES.items():
        points = curve(name)
        legs = [(points, stations)]
        if name in _MIDDLES:  # corner to middle, middle to corner
            half, turn = len(points) // 2, stations.index(_MIDDLES[name])
            legs = [(points[: half + 1], stations[: turn + 1]), (points[half:], stations[turn:])]
        for indices, through in legs:
            found = embed.along(vertices, skin, ibug[list(through)], embed.arc_shares(model[indices]))
            for index, triangle, weights in zip(indices, found.vertices, found.weights, strict=True):
                places.setdefault(index, (triangle, weights))

    known = {index: (vertices[triangle] * weights[:, None]).sum(0) for index, (triangle, weights) in places.items()}
    known |= {index: vertices[ibug[mark]] for mark, index in _SAME.items()}
    mirror = mirrored()
    for jaw, marks in ((list(_JAW), range(9)), ([mirror[index] for index in _JAW], range(16, 7, -1))):
        line = vertices[ibug[list(marks)]]
        share, at = embed.arc_shares(model[jaw]), embed.arc_shares(line)
        known |= {index: np.array([np.interp(s, at, line[:, k]) for k in range(3)]) for index, s in zip(jaw, share)}
    # the two halves are one face: what is known on one side is mirrored to the other
    known = {i: (known[i] + known[mirror[i]] * [-1, 1, 1]) / 2 for i in known}
    seeds = list(known)
    warped = embed.warp(model[seeds], np.array([known[i] for i in seeds]), model)
    rest = [index for index in landmarks.MEDIAPIPE.values() if index not in places and index < len(model)]
    found = embed.nearest(vertices, skin, warped[rest])
    places |= {index: (t, w) for index, t, w in zip(rest, found.vertices, found.weights, strict=True)}

    for side, (start, stop) in EYEBALLS.items():
        pole = start + int(neutral[start:stop, 2].argmax())
        places[landmarks.MEDIAPIPE[f"pupil_{side}"]] = _vertex(pole, faces)
    ordered = [places[index] for index in landmarks.MEDIAPIPE.values()] + [_vertex(TONGUE_TIP, faces)]
    embedding = Embedding(np.stack([t for t, _ in ordered]), np.stack([w for _, w in ordered]).astype(np.float32))
    return embedding, mesh_hash(neutral, quads)


def mirrored() -> dict[int, int]:
    """MediaPipe's index of a landmark -> that of its mirror image (itself on the middle line)."""
    values = list(landmarks.MEDIAPIPE.values())
    return {97: 326, 326: 97} | {i: values[j] for i, j in zip(values, landmarks.mirrored(), strict=False)}


def _vertex(index: int, faces: Int[np.ndarray, "faces 3"]) -> tuple[np.ndarray, np.ndarray]:
    """A place exactly on a vertex, as one of its triangles and weights."""
    face = faces[(faces == index).any(1)][0]
    return np.roll(face, -int(np.flatnonzero(face == index)[0])), np.array([1.0, 0.0, 0.0])


def main() -> None:
    data = bundle.data()
    if data is None:
        raise SystemExit("ict_landmarks: expected the folder of real data in $TDMM_DATA, found it unset.")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else bundle.PACKAGE / "assets" / "ict" / "landmarks.safetensors"
    embedding, sha256 = make(data)
    with replacing(out) as path:
        save_file(
            {"vertices": embedding.vertices, "weights": embedding.weights}, path,
            metadata={
                "mesh": "ICT-FaceKit light, neutral", "mesh_sha256": sha256, "places": ",".join(landmarks.NAMES),
                "made_by": "python -m tdmm_lm.geometry.ict_landmarks",
            },
        )
    print(f"{out}: {len(embedding.vertices)} landmarks")


if __name__ == "__main__":
    main()
