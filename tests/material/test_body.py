"""Bodies to learn from: copies are bodies too, splits are by subject, errors are what they say."""

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, rotations
from tdmm_lm.geometry import humanml3d
from tdmm_lm.material import body as material
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton


@pytest.fixture
def clip() -> MotionClip:
    torch.manual_seed(0)
    t = torch.arange(40) / 20
    turns = 0.3 * torch.randn(22, 3) * torch.sin(2 * t)[:, None, None]
    places = torch.stack([0.2 * t, 0.95 + 0 * t, 0.8 * t], -1).numpy()
    return body.assemble(places, rotations.axis_angle_to_matrix(turns), fps=20.0)


def test_mirrored_twice_is_as_before(clip) -> None:
    again = material.mirrored(material.mirrored(clip))
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)
    joints, other = skeleton.joints(clip), skeleton.joints(material.mirrored(clip))
    left, right = (body.JOINTS.index(f"{side}_wrist") for side in ("left", "right"))
    torch.testing.assert_close(joints[:, left] * torch.tensor([-1.0, 1, 1]), other[:, right], atol=1e-5, rtol=0)


def test_bent(clip) -> None:
    bent = material.bent(clip, np.random.default_rng(0), {"elbow": 20.0})
    one, other = skeleton.joints(clip), skeleton.joints(bent)
    moved = (one - other).norm(dim=-1).mean(0)
    hands = [body.JOINTS.index(f"{side}_wrist") for side in ("left", "right")]
    assert float(moved[hands].min()) > 0.01
    moved[hands] = 0
    assert float(moved.max()) < 1e-5


def test_exchanged_columns(clip) -> None:
    rows = humanml3d.clip_rows(clip)
    other = humanml3d.clip_rows(material.mirrored(clip))
    columns = material._columns(material.ARMS["left"])
    assert len(columns) == 4 * (3 + 6 + 3)
    mixed = rows.clone()
    mixed[:, columns] = other[:, columns]
    apart = (material._about_root(mixed) - material._about_root(rows)).norm(dim=-1).mean(0)
    changed = {body.JOINTS[i] for i in range(22) if apart[i] > 1e-6}
    assert changed == {"left_collar", "left_shoulder", "left_elbow", "left_wrist"}


def test_errors(clip) -> None:
    rows = humanml3d.clip_rows(clip)
    moved = rows.clone()
    places = moved[:, humanml3d.FEATURES["places"]].unflatten(1, (21, 3))
    places[..., 0] += 0.022  # all joints but the root, to the side
    found = material.errors(rows, moved)
    assert float(found["mpjpe_mm"].mean()) == pytest.approx(21.0, abs=1e-3)
    assert float(found["world_mpjpe_mm"].mean()) == pytest.approx(21.0, abs=1e-2)
    assert float(found["heading_deg"].max()) == 0
    turned = rows.clone()
    turned[:, 0] += np.radians(0.5)  # half angles: a degree a frame
    astray = material.errors(rows, turned)
    assert float(astray["mpjpe_mm"].max()) == 0
    assert float(astray["heading_deg"][-1]) == pytest.approx(39, abs=1e-2)
    assert float(astray["world_mpjpe_mm"][-1]) > 100


def test_subjects_are_held_out() -> None:
    if bundle.data() is None:
        pytest.skip("needs cmu_mocap/ of the real data: set $TDMM_DATA to their folder")
    data = material.Data()
    assert set(material.clips(data, "test", 1)) == {"05", "08"}
    counts = {split: sum(1 for made in material.clips(data, split, 1).values() for _ in made)
              for split in ("train", "dev", "test")}
    assert counts == {"train": 48, "dev": 4, "test": 31}


def test_what_an_ideal_code_loses() -> None:
    """One bit a number halves the error of alike numbers; numbers that hardly vary are given none; more bits, less."""
    torch.manual_seed(0)
    x = torch.randn(20_000, 8).double() * 3
    assert material.gaussian_bound(x, x, 8.0) == pytest.approx(1.5, rel=0.02)
    assert material.gaussian_bound(x, x, 16.0) == pytest.approx(0.75, rel=0.02)
    x[:, 4:] *= 0.01
    assert material.gaussian_bound(x, x, 4.0) == pytest.approx(1.5 / 2**0.5, rel=0.02)
    assert material.gaussian_bound(x, 2 * x, 4.0) == pytest.approx(2 * material.gaussian_bound(x, x, 4.0), rel=0.01)
