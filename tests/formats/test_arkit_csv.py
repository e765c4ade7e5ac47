"""Live Link Face's CSV: the file's own rate, columns by name, angles with the right signs, gaps told by their row."""

import csv

import numpy as np
import pytest
import torch

from tdmm_lm import formats, rotations
from tdmm_lm.motion import MotionClip, face


def table(path):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return rows[0], rows[1:]


def save(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def written(tmp_path, arkit_clip):
    formats.write(arkit_clip, tmp_path / "take.csv")
    return tmp_path / "take.csv"


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 30, 50, 59.904, 60, 120])
def test_round_trip_at_the_files_own_rate(tmp_path, arkit_clip, fps):
    clip = MotionClip(arkit_clip.values, fps, "face", "head")
    formats.write(clip, tmp_path / "a.csv")
    back = formats.read(tmp_path / "a.csv")
    assert back.frames == clip.frames
    assert back.fps == pytest.approx(fps, rel=1e-4)
    for name in ("expression", "head"):
        np.testing.assert_allclose(face.part(back, name), face.part(clip, name), atol=1e-6)
    formats.write(back, tmp_path / "b.csv")
    np.testing.assert_allclose(
        [[float(cell) for cell in row[1:]] for row in table(tmp_path / "a.csv")[1]],
        [[float(cell) for cell in row[1:]] for row in table(tmp_path / "b.csv")[1]],
        atol=1e-6,
    )


def test_sixty_stays_sixty_even_for_a_short_take(tmp_path, arkit_clip):
    clip = MotionClip(arkit_clip.values[:5], 60, "face", "head")
    formats.write(clip, tmp_path / "a.csv")
    assert table(tmp_path / "a.csv")[1][4][0] == "00:00:00:04.000"
    assert formats.read(tmp_path / "a.csv").fps == 60


def test_header_is_the_apps(written):
    header, rows = table(written)
    assert header[:4] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert header[52:57] == ["NoseSneerRight", "TongueOut", "HeadYaw", "HeadPitch", "HeadRoll"]
    assert len(header) == 63
    assert {row[1] for row in rows} == {"61"}


def test_columns_are_found_by_name_in_any_order_and_case(tmp_path, written, arkit_clip):
    header, rows = table(written)
    order = np.random.default_rng(0).permutation(len(header))
    path = save(tmp_path / "b.csv", [header[i].upper() for i in order], [[row[i] for i in order] for row in rows])
    np.testing.assert_allclose(formats.read(path).values[:, :52], arkit_clip.values[:, :52], atol=1e-6)


def test_missing_columns_are_named(tmp_path, written):
    header, rows = table(written)
    keep = [i for i, name in enumerate(header) if name not in ("JawOpen", "HeadYaw")]
    path = save(tmp_path / "b.csv", [header[i] for i in keep], [[row[i] for i in keep] for row in rows])
    with pytest.raises(
        ValueError, match=r"expected the columns of a Live Link Face recording, missing: JawOpen, HeadYaw\.$"
    ):
        formats.read(path)
    path = save(tmp_path / "c.csv", ["a", "b"], [["1", "2"]])
    with pytest.raises(ValueError, match=r"missing: Timecode, EyeBlinkLeft, .* and 48 more"):
        formats.read(path)


def test_eye_angles_may_be_missing(tmp_path, written, arkit_clip):
    header, rows = table(written)
    path = save(tmp_path / "b.csv", header[:57], [row[:57] for row in rows])
    assert formats.read(path).frames == arkit_clip.frames


def test_signs_of_the_head(tmp_path):
    turn = rotations.euler_yxz_to_matrix(torch.tensor([[0.3, 0.2, 0.1], [0.0, 0.0, 0.0]]))  # own left, down, own right
    head = rotations.matrix_to_axis_angle(turn).numpy()
    clip = face.assemble({"expression": np.zeros((2, 52)), "head": head}, fps=60, rig="head")
    formats.write(clip, tmp_path / "a.csv")
    header, rows = table(tmp_path / "a.csv")
    angles = [float(rows[0][header.index(name)]) for name in ("HeadYaw", "HeadPitch", "HeadRoll")]
    np.testing.assert_allclose(angles, [-0.3, 0.2, -0.1], atol=1e-6)


def test_eye_angles_say_what_the_shapes_say(tmp_path):
    weights = np.zeros((2, 52), np.float32)
    for name in ("eyeLookOutLeft", "eyeLookInRight", "eyeLookDownLeft", "eyeLookDownRight"):  # own left and down
        weights[:, face.ARKIT.index(name)] = 0.5
    formats.write(face.assemble({"expression": weights}, fps=60, rig="head"), tmp_path / "a.csv")
    header, rows = table(tmp_path / "a.csv")
    for side in ("Left", "Right"):
        assert float(rows[0][header.index(f"{side}EyeYaw")]) == pytest.approx(-0.303)
        assert float(rows[0][header.index(f"{side}EyePitch")]) == pytest.approx(0.25)
    assert not face.part(formats.read(tmp_path / "a.csv"), "eyes").any()


def test_dropped_frames_are_interpolated(tmp_path, written, arkit_clip):
    header, rows = table(written)
    clip = formats.read(save(tmp_path / "b.csv", header, rows[:10] + rows[11:]))
    assert (clip.frames, clip.fps) == (arkit_clip.frames, 25)
    np.testing.assert_allclose(clip.values[10, :52], arkit_clip.values[[9, 11], :52].mean(0), atol=1e-5)
    np.testing.assert_allclose(clip.values[11, :52], arkit_clip.values[11, :52], atol=1e-6)


def test_a_real_gap_is_an_error_that_names_the_row(tmp_path, written):
    header, rows = table(written)
    path = save(tmp_path / "b.csv", header, rows[:10] + rows[20:])
    with pytest.raises(
        ValueError, match=r"line 12: Timecode: expected the next row within 0\.25 s, got a gap of 0\.44 s"
    ):
        formats.read(path)


def test_small_jitter_keeps_the_rows_as_they_are(tmp_path, written, arkit_clip):
    header, rows = table(written)
    rng = np.random.default_rng(0)
    for i, row in enumerate(rows):
        frame = 2.4 * i + (rng.uniform(-0.4, 0.4) if 0 < i < len(rows) - 1 else 0)
        row[0] = f"00:00:{int(frame // 60):02d}:{frame % 60:06.3f}"
    clip = formats.read(save(tmp_path / "b.csv", header, rows))
    assert clip.fps == 25
    np.testing.assert_allclose(clip.values[:, :52], arkit_clip.values[:, :52], atol=1e-6)


def test_time_must_grow(tmp_path, written):
    header, rows = table(written)
    rows[5][0] = rows[3][0]
    with pytest.raises(ValueError, match="line 7: Timecode: expected a later time than the row above"):
        formats.read(save(tmp_path / "b.csv", header, rows))


@pytest.mark.parametrize("text", ["12:00", "aa:00:00:01", "00:00:61:00", "", "1.5"])
def test_malformed_timecodes_are_named(tmp_path, written, text):
    header, rows = table(written)
    rows[2][0] = text
    with pytest.raises(ValueError, match=r"line 4: Timecode: expected HH:MM:SS:FF\.fff"):
        formats.read(save(tmp_path / "b.csv", header, rows))


@pytest.mark.parametrize(("base", "step"), [(60, 2), (60, 1), (30, 1), (25, 1), (24, 1)])
def test_the_timecodes_own_base_is_found(tmp_path, written, base, step):
    header, rows = table(written)
    for i, row in enumerate(rows):
        whole, frame = divmod(base - 10 + i * step, base)  # crosses a second, as takes longer than one do
        row[0] = f"23:59:{58 + whole:02d}:{frame:02d}" if whole < 2 else f"00:00:{whole - 2:02d}:{frame:02d}"
    clip = formats.read(save(tmp_path / "b.csv", header, rows))
    assert clip.fps == pytest.approx(base / step)
    assert clip.frames == len(rows)


def test_rows_without_a_face_are_filled_in(tmp_path, written, arkit_clip):
    header, rows = table(written)
    for i in range(5, 9):
        rows[i] = [rows[i][0], "0"]
    clip = formats.read(save(tmp_path / "b.csv", header, rows))
    assert clip.frames == arkit_clip.frames
    between = np.stack([0.8 * arkit_clip.values[4, :52] + 0.2 * arkit_clip.values[9, :52]])
    np.testing.assert_allclose(clip.values[5:6, :52], between, atol=1e-5)
    for i in range(20):
        rows[i] = [rows[i][0], "0"]
    with pytest.raises(ValueError, match=r"b\.csv: expected a face in at least half of the rows, got 10 of 30"):
        formats.read(save(tmp_path / "b.csv", header, rows))


@pytest.mark.parametrize(
    ("cell", "message"), [("x", "JawOpen: expected a number, got 'x'"), ("nan", "JawOpen: expected a finite")]
)
def test_bad_cells_are_named(tmp_path, written, cell, message):
    header, rows = table(written)
    rows[3][header.index("JawOpen")] = cell
    with pytest.raises(ValueError, match=f"line 5: {message}"):
        formats.read(save(tmp_path / "b.csv", header, rows))


def test_short_rows_empty_files_and_binaries_are_refused(tmp_path, written):
    header, rows = table(written)
    with pytest.raises(ValueError, match="line 3: expected 63 cells, got 40"):
        formats.read(save(tmp_path / "b.csv", header, [rows[0], rows[1][:40]]))
    with pytest.raises(ValueError, match="expected rows under the header, got none"):
        formats.read(save(tmp_path / "b.csv", header, []))
    with pytest.raises(ValueError, match="expected at least two rows"):
        formats.read(save(tmp_path / "b.csv", header, rows[:1]))
    (tmp_path / "b.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="expected a CSV of text"):
        formats.read(tmp_path / "b.csv")


def test_rigs_without_arkit_shapes_cannot_be_written(tmp_path):
    clip = MotionClip(np.zeros((3, 28)), 25, "face", "flame")
    with pytest.raises(ValueError, match="expected a rig with ARKit shapes, got 'flame'; convert it with --rig head"):
        formats.write(clip, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_a_rig_with_some_arkit_shapes_is_written_by_name(tmp_path, plain, moving):
    rig = plain
    clip = moving(rig, joints=False)
    formats.write(clip, tmp_path / "a.csv", rig=rig)
    back = formats.read(tmp_path / "a.csv")
    np.testing.assert_allclose(back.values[:, face.ARKIT.index("jawOpen")], clip.values[:, 0], atol=1e-6)
    assert not back.values[:, face.ARKIT.index("tongueOut")].any()
