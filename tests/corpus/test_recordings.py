"""Real recordings become samples, by name and with their people held apart from nothing but themselves."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import bundle
from tdmm_lm.corpus import recordings
from tdmm_lm.corpus.sources import recorded
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.sample import Sample


def sheet(path, rows):
    """A tiny .xlsx with a text per cell, columns A, C and G."""
    texts = [cell for row in rows for cell in row]
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    cells = ""
    for i, _ in enumerate(rows):
        inside = "".join(f'<c r="{letter}{i + 1}" t="s"><v>{3 * i + j}</v></c>' for j, letter in enumerate("ACG"))
        cells += f"<row>{inside}</row>"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("xl/sharedStrings.xml", f"<sst {space}>{''.join(f'<si><t>{t}</t></si>' for t in texts)}</sst>")
        file.writestr("xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{cells}</sheetData></worksheet>")


def test_facegood_table(tmp_path):
    sheet(
        tmp_path / "t.xlsx",
        [
            ("ARKIT", "Voice2Face", "Status"),
            ("jawOpen", "mouth_a", "valid"),
            ("mouthFunnel", "max(a,b)", "valid"),
            ("cheekPuff", "c", "Invalid"),
        ],
    )
    assert recordings.facegood_mapping(tmp_path / "t.xlsx") == {"jawOpen": ("mouth_a",), "mouthFunnel": ("a", "b")}
    sheet(tmp_path / "t.xlsx", [("jawOpened", "mouth_a", "valid")])
    with pytest.raises(ValueError, match=r"t\.xlsx: expected an ARKit shape in column A, got 'jawOpened'"):
        recordings.facegood_mapping(tmp_path / "t.xlsx")


def test_grid_by_name_with_gaps_bridged(tmp_path):
    names = ["_neutral", "jawOpen", "browInnerUp"]
    shapes = np.zeros((8, 3), np.float32)
    shapes[:, 1] = np.linspace(0, 0.7, 8)
    shapes[3] = np.nan
    turn = np.tile(np.eye(4, dtype=np.float32), (8, 1, 1))
    (tmp_path / "grid_s1").mkdir()
    np.savez(
        tmp_path / "grid_s1" / "mediapipe_arkit52_25fps.npz",
        clip=["b", "a"],
        n=[5, 3],
        ok=np.isfinite(shapes[:, 1]),
        blendshapes=shapes,
        head_matrix=turn,
        bs_names=names,
    )
    first, second = recordings.grid(tmp_path)
    assert (first.id, second.id, first.clips["face"].frames, second.clips["face"].frames) == (
        "grid_s1/b",
        "grid_s1/a",
        5,
        3,
    )
    jaw = face.part(first.clips["face"], "expression")[:, ARKIT.index("jawOpen")]
    assert jaw == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-6)


@pytest.mark.skipif(
    bundle.data() is None, reason="needs grid_s1/ and facegood/ of the real data: set $TDMM_DATA to their folder"
)
def test_the_real_ones():
    data = bundle.data()
    grid, facegood = list(recordings.grid(data)), list(recordings.facegood(data))
    assert len(grid) == 800
    assert sum(sample.split == "test" for sample in grid) == 160
    assert {sample.split for sample in facegood if sample.id.startswith("facegood/1114_3_15/")} == {"test"}
    assert {sample.split for sample in facegood if "1114_3_15" not in sample.id} == {"train"}
    assert all(3 <= sample.clips["face"].seconds <= 6 and sample.clips["face"].fps == 30 for sample in facegood)
    jaw = np.concatenate(
        [face.part(sample.clips["face"], "expression")[:, ARKIT.index("jawOpen")] for sample in facegood]
    )
    assert 0.2 < np.quantile(jaw, 0.95) <= 1


def tape(name, split="train", frames=80):
    moves = np.random.default_rng(len(name)).random((frames, 52))
    return Sample(name, (), {"face": face.assemble({"expression": moves}, fps=25, rig="head")}, split, "a tape", "CC0")


def test_varied_pieces_are_new_and_the_same_again(monkeypatch):
    tapes = (tape("a/1"), tape("a/22"), tape("held", split="test"))
    monkeypatch.setitem(recordings.SOURCES, "grid", lambda folder: iter(tapes))

    def made(**settings):
        asked = recorded.Settings(rows={"grid": 9}, folder=Path("of the varied"), **settings)
        return [sample for item in recorded.items(asked, 0) for sample in recorded.samples(item, asked)]

    varied, plain = made(vary=True), made()
    assert [one.id for one in varied] == [one.id for one in plain]
    for one, again, piece in zip(varied, made(vary=True), plain):
        clip, origin = one.clips["face"], one.provenance
        assert np.array_equal(clip.values, again.clips["face"].values)
        if one.id.endswith("#0"):  # recordings themselves stay as they are, those held out among them
            assert np.array_equal(clip.values, piece.clips["face"].values)
            continue
        assert not np.array_equal(clip.values[:20], piece.clips["face"].values[:20])
        assert face.part(clip, "expression").min() >= 0
        assert face.part(clip, "expression").max() <= 1
        seconds = sum(np.diff(origin[part])[0] for part in ("frames", "then_frames") if part in origin) / 25
        joint = 0.25 if "then" in origin else 0
        assert clip.seconds == pytest.approx((seconds - joint) / origin["tempo"], abs=0.05)
        assert origin.get("then") in {None, *(other.id for other in tapes[:2] if other.id != origin["recording"])}
    assert {one.provenance.get("mirrored") for one in varied} == {None, False, True}


def test_one_recording_goes_over_into_the_next_without_a_jump():
    parts = [face.assemble({"expression": np.full((20, 52), level)}, fps=25, rig="head") for level in (0.2, 0.9)]
    line = recorded.joined(*parts).values[:, 0]
    assert len(line) == 34
    assert line[0] == pytest.approx(0.2)
    assert line[-1] == pytest.approx(0.9)
    assert np.diff(line).max() == pytest.approx(0.1)
