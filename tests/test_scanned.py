"""The scanned head is known by its fingerprints, read from OBJ files and refused where it is another."""

import numpy as np
import pytest

from tdmm_lm import bundle, scanned


def obj(points):
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points]
    return (
        "\n".join([*lines, "vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", "f 1/1 2/2 3/3 4/4", "f 1/1/1 2/2/1 3/3/1"]) + "\n"
    )


@pytest.fixture
def site(tmp_path):
    rng = np.random.default_rng(0)
    neutral = rng.normal(size=(6, 3)).round(6)
    shapes = {"jawOpen": neutral + rng.normal(size=(6, 3)), "identity000": neutral + rng.normal(size=(6, 3))}
    (tmp_path / "site").mkdir()
    for name, points in {scanned.NEUTRAL: neutral, **shapes}.items():
        (tmp_path / "site" / f"{name}.obj").write_text(obj(points))
    expected = {name: scanned.fingerprint(points - neutral) for name, points in shapes.items()}
    return tmp_path, neutral, {scanned.NEUTRAL: scanned.fingerprint(neutral), **expected}


def test_files_become_the_npz_that_the_rig_reads(site):
    folder, neutral, expected = site
    scanned.fetch(folder / "out.npz", expected, [0, 2], source=(folder / "site").as_uri())
    with np.load(folder / "out.npz", allow_pickle=False) as made:
        assert np.allclose(made["neutral"], neutral, atol=1e-6)
        assert made["faces"].tolist() == [[0, 1, 2, 3], [0, 1, 2, -1]]
        assert list(made["expr_names"]) == ["jawOpen"]
        assert made["id_deltas"].shape == (1, 6, 3)


def test_another_shape_is_refused_and_nothing_kept(site):
    folder, neutral, expected = site
    (folder / "site" / "jawOpen.obj").write_text(obj(neutral + 0.01))
    with pytest.raises(ValueError, match=r"jawOpen.obj: expected its owner's shape"):
        scanned.fetch(folder / "out.npz", expected, [0], source=(folder / "site").as_uri())
    (folder / "site" / "jawOpen.obj").unlink()
    with pytest.raises(ValueError, match="could not fetch"):
        scanned.fetch(folder / "out.npz", expected, [0], source=(folder / "site").as_uri())
    assert not (folder / "out.npz").exists()


@pytest.mark.parametrize("text", ["<html>not found</html>", "v 1 two 3\n", ""])
def test_what_is_no_obj_is_refused(text):
    with pytest.raises(ValueError, match="obj: expected"):
        scanned.parse(text)


def test_the_bundled_fingerprints_are_the_real_heads():
    if bundle.data() is None:
        pytest.skip("needs scanned_head/ of the real data: set $TDMM_DATA to their folder")
    expected, landmarks = scanned.known(bundle.path("assets/ict/fingerprints.json"))
    with np.load(bundle.data() / "scanned_head" / "ict_facekit_full.npz", allow_pickle=False) as file:
        assert len(expected) == 1 + len(file["expr_names"]) + len(file["id_names"])
        assert np.allclose(scanned.fingerprint(file["neutral"]), expected[scanned.NEUTRAL], atol=1e-4)
        jaw = file["expr_names"].tolist().index("jawOpen")
        assert np.allclose(scanned.fingerprint(file["expr_deltas"][jaw]), expected["jawOpen"], atol=1e-4)
        assert landmarks == file["idx_to_landmark_verts"].tolist()
