"""An avatar's GLB becomes a rig: attitude, size, eyes, landmarks, and gains that undo how its artist scaled shapes.

Nothing is asked of the file but its ARKit-named shapes, which say where everything is:

- *Attitude*: the left is where ``eyeBlinkLeft`` moves most against ``eyeBlinkRight``, down where ``jawOpen`` does. If
  that is within 20 degrees of a quarter turn, it is one.
- *Size*: metres, centimetres, millimetres or inches, whichever puts the eyes 4 to 9 cm apart; if none does, the head is
  scaled until they are as far apart as the bundled head's.
- *Eyes*: balls behind the lids; else the eye bones; else where the bundled head has them behind its lids.
- *Landmarks*: by sight (`tdmm_lm.geometry.sight`) on the skin and the eyeballs.
- *Gains*: how far the landmarks move at each shape, beside the bundled head's; lids by the opening of the eyes, a blink
  by the weight that hides the eyeball.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import optimize
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tdmm_lm import avatar_file, landmarks, rigs
from tdmm_lm.avatar_file import Avatar
from tdmm_lm.geometry import measure, sight, solve
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.rigs import Embedding, Rig, glb

UNITS = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001, "inches": 0.0254}
APART = (0.04, 0.09)  # metres between the eyes of anybody
SNAP_DEGREES = 20.0
NEAR = 5.0  # eyes' distances around the middle between the eyes: what is farther away is not the head
ALIKE = 0.5  # cosine between a shape's displacements here and there from which on its size can be compared
RANGE = (1 / 3, 3.0)  # of gains; beyond, it is another shape
ROUND = 0.12  # deviation of an eyeball's vertices from a sphere, in its radii
SHUT = 0.04  # of the eyeball that shows at rest: what a blink may leave
LEFT = 0.5  # of a missing shape's squared displacement: more must not be left by those that stand in for it
MOVED = 0.2  # of the bundled head's gaze: from here on an artist's eyeLook shapes turn the eyes
_BLINKS = tuple(ARKIT.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight"))
SIDES = ("Left", "Right")
_JAW = ARKIT.index("jawOpen")
_LIDS = list(landmarks.region("lids"))


@dataclass(frozen=True)
class _Head:
    """An avatar in the rig's attitude and size, what is not the head left out."""

    points: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    colours: Float[np.ndarray, "vertices 3"]
    shapes: Float[np.ndarray, "vertices 3 arkit"]
    carried: Float[np.ndarray, "vertices bones"]
    places: Float[np.ndarray, "bones 3"]
    to_rig: Float[np.ndarray, "4 4"]
    unit: str


def import_glb(path: Path, folder: Path, *, model: Path) -> str:
    """Make a rig's folder of an avatar; the line says what was found.

    Raises:
        ValueError: see `avatar_file.read`; or MediaPipe sees no face on it.
    """
    avatar = avatar_file.read(path)
    try:
        head = _placed(avatar)
        parts = _parts(head, avatar, model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    glb.save(parts, folder, source=path, jointed=avatar.jointed, missing=avatar.missing)
    low, high = parts.gains.min(), parts.gains.max()
    return (
        f"{len(parts.template)} vertices, {len(ARKIT) - len(avatar.missing)} of {len(ARKIT)} shapes"
        f"{' (without ' + ', '.join(avatar.missing) + ')' if avatar.missing else ''}, in {head.unit}, "
        f"gains {low:.2f} to {high:.2f}, gaze by {'bones' if parts.turned.any() else 'shapes'} -> {folder}"
    )


def _centres(points: np.ndarray, shapes: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Where the left blink, the right blink and the opening jaw move most: left, right, jaw."""
    moved = np.stack([(shapes[:, :, k] ** 2).sum(1) for k in (*_BLINKS, _JAW)])
    if not moved.any(1).all():
        raise ValueError("expected eyeBlinkLeft, eyeBlinkRight and jawOpen to move something, got an empty shape.")
    return moved @ points / moved.sum(1, keepdims=True)


def _axes(centres: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Left, up and forward as rows."""
    left = centres[0] - centres[1]
    left = left / np.linalg.norm(left)
    up = (centres[0] + centres[1]) / 2 - centres[2]
    up = up - (up @ left) * left
    up = up / np.linalg.norm(up)
    return np.stack([left, up, np.cross(left, up)])


def _placed(avatar: Avatar) -> _Head:
    """The avatar turned to face Z+, in metres, its eyes where the bundled head's are."""
    head = rigs.load("head")
    assert isinstance(head, rigs.Rig)
    like = _centres(head.template.astype(np.float64), basis(head))
    seen = _centres(avatar.points, avatar.shapes)
    turn = _axes(like).T @ _axes(seen)
    quarters = [
        np.diag(signs)[list(order)] for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]
    best = max((q for q in quarters if np.linalg.det(q) > 0), key=lambda q: np.trace(q @ turn.T))
    if np.degrees(np.arccos(np.clip((np.trace(best @ turn.T) - 1) / 2, -1, 1))) < SNAP_DEGREES:
        turn = best
    forward = turn[2] @ (seen[:2].mean(0) - _trunk(avatar, seen))
    if forward < 0:
        raise ValueError(
            "expected eyeBlinkLeft on the person's own left, got it on the right: swap the names of left and right."
        )
    between = np.linalg.norm(seen[0] - seen[1]) * head.interocular / np.linalg.norm(like[0] - like[1])
    fitting = {name: unit for name, unit in UNITS.items() if APART[0] <= between * unit <= APART[1]}
    unit, scale = next(iter(fitting.items()), ("a unit of its own", head.interocular / between))
    shift = like[:2].mean(0) - scale * turn @ seen[:2].mean(0)
    to_rig = np.eye(4)
    to_rig[:3, :3], to_rig[:3, 3] = scale * turn, shift
    points = avatar.points @ to_rig[:3, :3].T + shift
    near = np.linalg.norm(points - like[:2].mean(0), axis=1) < NEAR * scale * between
    faces = avatar.faces[near[avatar.faces].all(1)]
    kept, faces = np.unique(faces, return_inverse=True)
    return _Head(
        points[kept], faces.reshape(-1, 3), avatar.colours[kept],
        np.einsum("ij,vje->vie", to_rig[:3, :3].astype(np.float32), avatar.shapes[kept]), avatar.carried[kept],
        avatar.places @ to_rig[:3, :3].T + shift, to_rig, unit,
    )


def _trunk(avatar: Avatar, seen: np.ndarray) -> Float[np.ndarray, " 3"]:
    """The middle of what lies around the eyes, the skull's inside."""
    reach = 1.5 * np.linalg.norm(seen[0] - seen[1])
    near = np.linalg.norm(avatar.points - seen[:2].mean(0), axis=1) < reach
    return avatar.points[near].mean(0)


def basis(rig: Rig) -> Float[np.ndarray, "vertices 3 expressions"]:
    """Displacement of every vertex at full weight of each shape."""
    size = len(rig.expressions)
    rows = torch.zeros(size + 1, size + face.POSE_CHANNELS)
    rows[torch.arange(size), torch.arange(size)] = 1
    with torch.no_grad():
        posed = rig.vertices(rows).numpy()
    return np.moveaxis(posed[:-1] - posed[-1], 0, -1)


def _parts(head: _Head, avatar: Avatar, model: Path) -> glb.Parts:
    like = rigs.load("head")
    component = _components(head.faces, len(head.points))
    skin = _skin(head, component)
    eyes, balls = _eyes(head, component, skin, like)
    shown = skin | balls.any(1)
    faces = head.faces[shown[head.faces].all(1)]
    kept, compact = np.unique(faces, return_inverse=True)
    places = sight.places_of(like.landmarks, like.template)
    opened = head.points + 0.5 * head.shapes[:, :, _JAW]
    marks = sight.landmark(head.points[kept], compact.reshape(-1, 3), opened[kept], places, model)

    marks = Embedding(kept[marks.vertices], marks.weights)
    tongue = np.linalg.norm(head.shapes[:, :, ARKIT.index("tongueOut")], axis=1)
    if tongue.any():  # out of sight, but known by its shape
        tip, place = int(tongue.argmax()), landmarks.NAMES.index("tongue_tip")
        triangle = head.faces[(head.faces == tip).any(1)][0]
        marks.vertices[place] = np.roll(triangle, -int(np.flatnonzero(triangle == tip)[0]))
        marks.weights[place] = 1, 0, 0

    shapes, turned = head.shapes.copy(), np.zeros(2, np.int64)
    joints = _joints(head, avatar, eyes, like)
    lone = np.zeros((5, 3, len(ARKIT)), np.float32)
    made = {
        "template": np.concatenate([head.points, joints]).astype(np.float32), "faces": head.faces,
        "colours": np.concatenate([head.colours, np.full((5, 3), 0.5)]).astype(np.float32),
        "eyeballs": np.concatenate([balls, np.zeros((5, 2))]).astype(np.float32),
        "landmark_vertices": marks.vertices.astype(np.int64),
        "landmark_weights": marks.weights.astype(np.float32), "eyes": eyes.astype(np.float32),
        "pivot": joints[0].astype(np.float32), "to_rig": head.to_rig, "bones": np.array(avatar.bones, np.int64),
    }

    def rig(gains: np.ndarray) -> glb.GlbRig:
        there = np.abs(shapes).max((0, 1)) > 0
        standins = stand_in(solve.basis(like), there)
        calibrated = np.concatenate([shapes / gains.astype(np.float32) @ standins.T, lone])
        parts = glb.Parts(shapes=calibrated, gains=gains, standins=standins, turned=turned, **made)
        return glb.GlbRig(parts, name="unmeasured", source=Path(), jointed=avatar.jointed, missing=avatar.missing)

    first = rig(np.ones(len(ARKIT), np.float32))
    for eye, side in enumerate(SIDES):
        if balls[:, eye].any() and _gaze(first, side, eye).max() < MOVED * _gaze(like, side, eye).max():
            ball = balls[:, eye] > 0
            around = head.points[ball] - eyes[eye]
            for name, move in glb.gaze_shapes(around, side).items():
                shapes[ball, :, ARKIT.index(name)] = move
            turned[eye] = 1
    found = gains(rig(np.ones(len(ARKIT), np.float32)), like)
    for eye in range(2):
        ours = shut_at(head.points, head.faces, shapes[:, :, _BLINKS[eye]], balls[:, eye] > 0)
        theirs = shut_at(like.template, like.faces, basis(like)[:, :, _BLINKS[eye]], _ball(like, eye))
        found[_BLINKS[eye]] = np.clip(theirs / ours, *RANGE) if ours and theirs else 1
        if not balls[:, eye].any():  # nothing to see how far it turns
            found[[k for k, name in enumerate(ARKIT) if name in glb.gaze_shapes(np.zeros((1, 3)), SIDES[eye])]] = 1
    found[np.abs(shapes).max((0, 1)) == 0] = 1
    return rig(found).parts


def _components(faces: Int[np.ndarray, "faces 3"], count: int) -> Int[np.ndarray, " vertices"]:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _skin(head: _Head, component: Int[np.ndarray, " vertices"]) -> Bool[np.ndarray, " vertices"]:
    """The connected part on which both blinks and a smile move most vertices."""
    names = (*_BLINKS, ARKIT.index("mouthSmileLeft"), ARKIT.index("mouthSmileRight"))
    counts = []
    for k in names:
        moved = np.linalg.norm(head.shapes[:, :, k], axis=1)
        counts.append(np.bincount(component[moved > 0.1 * moved.max()], minlength=component.max() + 1))
    return component == int(np.stack(counts).min(0).argmax())


def _eyes(
    head: _Head, component: np.ndarray, skin: np.ndarray, like: Rig
) -> tuple[Float[np.ndarray, "2 3"], Float[np.ndarray, "vertices 2"]]:
    """Centres of the eyeballs, and which vertices are eyeballs."""
    unit = like.interocular
    centres, balls = np.zeros((2, 3)), np.zeros((len(head.points), 2))
    theirs = _centres(like.template.astype(np.float64), basis(like))
    for eye in range(2):
        moved = (head.shapes[:, :, _BLINKS[eye]] ** 2).sum(1) * skin
        lids = moved @ head.points / moved.sum()
        centres[eye] = lids + (like.eyes[eye] - theirs[eye])
        blink = np.linalg.norm(head.shapes[:, :, _BLINKS[eye]], axis=1)
        lash = np.bincount(component, blink > 0.1 * blink.max()) > 0
        still = ~skin & ~lash[component]  # neither skin nor what a blink takes along
        inside = []
        for part in np.unique(component[still]):
            ball = component == part
            points = head.points[ball]
            size = np.ptp(points, axis=0)
            if size.min() > 0.35 * size.max() and 0.1 * unit < size.max() < 0.9 * unit:
                middle = _sphere(points)
                away, out = middle - lids, np.linalg.norm(points - middle, axis=1)
                behind = np.hypot(away[0], away[1]) < 0.35 * unit and -0.6 * unit < away[2] < 0.1 * unit
                if behind and out.std() < ROUND * out.mean():
                    inside.append((size.max(), int(part)))
        on_bone = head.carried[:, 1 + eye] > 0.5
        if inside:
            ball = component == max(inside)[1]
            centres[eye] = _sphere(head.points[ball])
            radius = np.linalg.norm(head.points[ball] - centres[eye], axis=1).max()
            near = np.linalg.norm(head.points - centres[eye], axis=1) < 1.15 * radius
            whole = np.bincount(component, near) == np.bincount(component)  # parts that lie within: iris, cornea
            balls[:, eye] = still & (whole[component] | on_bone)
        elif (on_bone & still).any():
            balls[:, eye] = on_bone & still
            if np.linalg.norm(head.places[1 + eye] - lids) < 0.5 * unit:
                centres[eye] = head.places[1 + eye]
    balls[:, 1] *= 1 - balls[:, 0]
    return centres, balls


def _sphere(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " 3"]:
    """Centre of the sphere through points, least squares."""
    middle = points.mean(0)
    away = points - middle
    left = np.concatenate([2 * away, np.ones((len(points), 1))], 1)
    return middle + np.linalg.lstsq(left, (away**2).sum(1), rcond=None)[0][:3]


def _joints(head: _Head, avatar: Avatar, eyes: np.ndarray, like: Rig) -> Float[np.ndarray, "5 3"]:
    """Root, neck, jaw and eyes. The root is the head's bone, if it is one; else where the bundled head has its own."""
    from tdmm_lm.rigs.flame import FlameRig

    assert isinstance(like, FlameRig)
    ratio = np.linalg.norm(eyes[0] - eyes[1]) / like.interocular
    joints = (like.joints() - like.eyes.mean(0)) * ratio + eyes.mean(0)
    bone = head.places[0]
    below = eyes.mean(0)[1] - bone[1]
    if 0 < below < 4 * np.linalg.norm(eyes[0] - eyes[1]) and abs(bone[0]) < 0.05:
        joints[0] = bone
    joints[3:] = eyes
    return joints


def _gaze(rig: Rig, side: str, eye: int) -> Float[np.ndarray, " looks"]:
    """Radians that the pupil turns about the eye's centre at each eyeLook shape of a side: in, out, up, down."""
    rows = torch.zeros(5, len(rig.expressions) + face.POSE_CHANNELS)
    for row, word in enumerate(("In", "Out", "Up", "Down"), start=1):
        rows[row, rig.expressions.index(f"eyeLook{word}{side}")] = 1
    away = measure.places(rows, rig)[:, measure.PUPILS[eye]].astype(np.float64) - rig.eyes[eye]
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.arccos(np.clip(away[1:] @ away[0], -1, 1))


def gains(rig: Rig, like: Rig) -> Float[np.ndarray, " arkit"]:
    """How far each shape of ``rig`` moves its landmarks, over how far it does on ``like``; 1 where none can be told.

    Displacements are compared along ``like``'s own, in inter-ocular distances; at the lids in openings of the eyes. The
    eyeLook shapes are compared by how far they turn the eyes.
    """
    ours, theirs = (solve.basis(head) * (measure.units(head) / _openings(head))[:, None, None] for head in (rig, like))
    weights = solve.landmark_weights()[:, None]
    result = np.ones(len(ARKIT), np.float32)
    for k, name in enumerate(ARKIT):
        here, there = ours[:, :, rig.expressions.index(name)], theirs[:, :, like.expressions.index(name)]
        across, size = float((weights * here * there).sum()), float((weights * there**2).sum())
        own = float((weights * here**2).sum())
        if own > 0 and size > 0 and across > ALIKE * np.sqrt(own * size):
            result[k] = np.clip(across / size, *RANGE)
    for eye, side in enumerate(SIDES):
        turns, wanted = _gaze(rig, side, eye), _gaze(like, side, eye)
        for word, turn, want in zip(("In", "Out", "Up", "Down"), turns, wanted):
            if turn > MOVED * want:
                result[ARKIT.index(f"eyeLook{word}{side}")] = np.clip(turn / want, *RANGE)
    return result


def stand_in(
    basis: Float[np.ndarray, "landmarks 3 arkit"], there: Bool[np.ndarray, " arkit"]
) -> Float[np.ndarray, "arkit arkit"]:
    """For each shape the weights of those ``there`` that show it: 1 for itself; for a missing one what comes nearest,
    e.g. dimples and cheeks for a smile; nothing where that is not even near.
    """
    rows = (basis * np.sqrt(solve.landmark_weights())[:, None, None]).reshape(-1, len(there))
    result = np.diag(there.astype(np.float32))
    for k in np.flatnonzero(~there):
        weights, rest = optimize.nnls(rows[:, there], rows[:, k])
        if rest**2 < LEFT * np.sum(rows[:, k] ** 2):
            result[k, there] = np.where(weights > 0.05, np.minimum(weights, 1), 0)
    return result


def _ball(rig: Rig, eye: int) -> Bool[np.ndarray, " vertices"]:
    """The connected part that the pupil lies on."""
    component = _components(rig.faces, len(rig.template))
    return component == component[rig.landmarks.vertices[measure.PUPILS[eye], 0]]


def shut_at(
    points: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], blink: Float[np.ndarray, "vertices 3"],
    ball: Bool[np.ndarray, " vertices"],
) -> float | None:
    """The weight of a blink at which the eyeball, seen from in front, is hidden; None if there is none up to 2."""
    if not ball.any():
        return None
    low, high = points[ball].min(0), points[ball].max(0)
    middle, radius = (low + high) / 2, float((high - low)[:2].max()) / 2
    near = (np.linalg.norm(points - middle, axis=1) < 2.5 * radius) & (points[:, 2] > middle[2]) & ~ball
    lids = faces[near[faces].all(1)]
    across, up = np.meshgrid(np.linspace(-0.7, 0.7, 15), np.linspace(-0.9, 0.9, 46))
    seen = middle[:2] + radius * np.stack([across.ravel(), up.ravel()], 1)[np.hypot(across, up).ravel() < 0.9]
    first = None
    for weight in np.linspace(0, 2, 41):
        shown = ~_covered(seen, (points + weight * blink)[lids][:, :, :2])
        first = shown.sum() if first is None else first
        if not first:
            return None
        if shown.sum() <= SHUT * first:
            return float(weight)
        seen = seen if weight else seen[shown]  # what is hidden at rest says nothing
    return None


def _covered(
    places: Float[np.ndarray, "places 2"], corners: Float[np.ndarray, "faces 3 2"]
) -> Bool[np.ndarray, " places"]:
    """Which places lie in a triangle."""
    a, b, c = (corners[None, :, i] for i in range(3))
    place = places[:, None]

    def side(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        step, away = end - start, place - start
        return step[..., 0] * away[..., 1] - step[..., 1] * away[..., 0]

    one, two, three = side(a, b), side(b, c), side(c, a)
    return np.asarray((((one >= 0) & (two >= 0) & (three >= 0)) | ((one <= 0) & (two <= 0) & (three <= 0))).any(1))


def _openings(rig: Rig) -> Float[np.ndarray, " landmarks"]:
    """Metres by which displacements are measured here: the distance between the eyes, at the lids their opening."""
    rest = measure.places(torch.zeros(1, len(rig.expressions) + face.POSE_CHANNELS), rig)[0]
    names = landmarks.NAMES
    gaps = [
        np.linalg.norm(rest[names.index(f"lid_upper_{side}_{up}")] - rest[names.index(f"lid_lower_{side}_{down}")])
        for side in ("left", "right") for up, down in ((3, 2), (4, 3), (5, 4))
    ]
    result = np.full(len(names), rig.interocular)
    result[_LIDS] = np.mean(gaps) / measure.BLINK
    return result
