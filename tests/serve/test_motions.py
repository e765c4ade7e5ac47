"""/v1/motions and /v1/rigs: exports by real workers, each made once and whole, exactly what the codec says offline."""

import asyncio
import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys

import httpx
import numpy as np
import pytest
import store_app
from fastapi.testclient import TestClient
from test_files import until

from tdmm_lm import codec, formats, rigs
from tdmm_lm.formats import npz
from tdmm_lm.gltf import chunks
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton
from tdmm_lm.serve import exports, motions, workers

CODES = np.random.default_rng(0).integers(0, 500, (12, 1))


def face(server, owner="anyone", **more):
    given = {"codes": CODES, "clip": None, "codec": "face", "rig": "head", "fps": 25.0, "frames": 12}
    return server.store.motions.add(owner, **(given | {"truncated": False} | more))


def standing(frames=6):
    values = np.zeros((frames, body.CHANNELS), np.float32)
    values[:, 1] = 0.9
    values[:, 3:] = np.tile([1, 0, 0, 0, 1, 0], 22)
    return MotionClip(values, 20.0, "body", "skeleton")


def standing_body(server):
    clip = standing()
    return face(server, codes=None, clip=clip, codec="body", rig="skeleton", fps=20.0, frames=clip.frames)


def offline(folder):
    """What the command line makes of `CODES`, with the environment that workers see: BLAS takes its kernels from it."""
    about = {
        "format_version": 1, "modality": "face", "frames": 12, "codes": CODES.tolist(),
        "codec_sha256": codec.weights_sha256(store_app.FACE),
    }
    (folder / "codes.json").write_text(json.dumps(about))
    seen = {name: os.environ[name] for name in workers.PASSED if name in os.environ}
    command = [sys.executable, "-m", "tdmm_lm", "detokenize", str(folder / "codes.json"), "-o", str(folder / "o.npz")]
    subprocess.run(command, check=True, env=seen, capture_output=True)
    return npz.read(folder / "o.npz")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """With real workers, whose template is started once."""
    server = store_app.server(tmp_path_factory.mktemp("store"))
    with TestClient(store_app.app(server, jobs=False), raise_server_exceptions=False) as client:
        yield server, client


@pytest.fixture
def quick(tmp_path):
    server = store_app.server(tmp_path, workers=store_app.Inside(), video_seconds=1.0)
    with TestClient(store_app.app(server, jobs=False), raise_server_exceptions=False) as client:
        yield server, client


def test_a_face_decodes_exactly_as_offline_and_comes_in_every_format(real, tmp_path):
    server, client = real
    motion = face(server)
    shown = client.get(f"/v1/motions/{motion.id}").json()
    assert re.fullmatch("motion-[0-9a-f]{32}", shown["id"])
    assert [file["format"] for file in shown["files"]] == ["npz", "glb", "csv", "mp4"]
    assert {file["bytes"] for file in shown["files"]} == {None}
    assert shown["codes"] == CODES.tolist()
    made = {}
    for file in shown["files"]:
        answer = client.get(file["url"])
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        made[file["format"]] = answer.content
    for file in client.get(f"/v1/motions/{motion.id}").json()["files"]:
        content = made[file["format"]]
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    expected = offline(tmp_path)
    (tmp_path / "m.npz").write_bytes(made["npz"])
    clip = npz.read(tmp_path / "m.npz")
    assert np.array_equal(clip.values, expected.values)
    assert (clip.fps, clip.rig) == (25.0, "head")
    (tmp_path / "m.glb").write_bytes(made["glb"])
    assert np.allclose(formats.read(tmp_path / "m.glb").values, expected.values, atol=1e-4)
    assert len(list(csv.reader(io.StringIO(made["csv"].decode())))) == 13
    assert made["mp4"][4:8] == b"ftyp"


def test_a_body_comes_as_bvh_and_not_as_csv(real, tmp_path):
    server, client = real
    motion = standing_body(server)
    assert client.get(f"/v1/motions/{motion.id}.csv").json()["error"]["code"] == "format_not_found"
    for suffix in ("bvh", "glb", "mp4"):
        answer = client.get(f"/v1/motions/{motion.id}.{suffix}")
        assert answer.status_code == 200, answer.text
        (tmp_path / f"m.{suffix}").write_bytes(answer.content)
    assert formats.read(tmp_path / "m.bvh").frames == 6
    frames = client.get(f"/v1/motions/{motion.id}/frames").json()
    assert len(frames["channels"]) == body.CHANNELS
    assert frames["channels"][:4] == ["translation_x", "translation_y", "translation_z", "pelvis_ax"]
    assert skeleton.joints(formats.read(tmp_path / "m.bvh")).shape[1] == 22


def test_formats_that_a_motion_does_not_have_are_named(quick):
    server, client = quick
    answer = client.get(f"/v1/motions/{face(server).id}.bvh")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "format_not_found")
    assert "there are npz, glb, csv, mp4" in answer.json()["error"]["message"]
    for name in (f"{face(server).id}.exe", "motion-1.npz", "..%2fx.npz", "%00", f"{face(server).id}."):
        assert client.get(f"/v1/motions/{name}").status_code == 404
    long = face(server, codes=np.zeros((50, 1), int), frames=50)
    assert client.get(f"/v1/motions/{long.id}.mp4").json()["error"]["code"] == "motion_too_long"


def test_frames_are_the_clips_floats(quick):
    server, client = quick
    frames = client.get(f"/v1/motions/{face(server).id}/frames").json()
    values = np.frombuffer(base64.b64decode(frames["data"]), "<f4").reshape(frames["frames"], -1)
    rig = rigs.load("head")
    assert frames["channels"] == exports.channels("face", rig)
    assert np.array_equal(values, codec.detokenize(codec.load(store_app.FACE), CODES, rig).values)


def test_an_export_asked_for_twice_at_once_is_made_once(quick):
    server, _ = quick
    motion, exporter = face(server), motions.Exporter(server)
    other = motions.Exporter(server)  # as of another process: only the lock is shared

    async def both():
        return await asyncio.gather(*(one.file(motion, "npz") for one in (exporter, exporter, other)))

    assert len(set(asyncio.run(both()))) == 1
    assert [call[0] for call in server.workers.calls] == ["export"]


def test_motions_are_their_owners_only_listed_and_deleted(quick):
    server, client = quick
    ann, bob = {"authorization": "Bearer ann"}, {"authorization": "Bearer bob"}
    made = [face(server, "ann").id for _ in range(3)]
    client.get(f"/v1/motions/{made[0]}.npz", headers=ann)
    for path in ("", ".npz", "/frames"):
        assert client.get(f"/v1/motions/{made[0]}{path}", headers=bob).status_code == 404
    assert client.delete(f"/v1/motions/{made[0]}", headers=bob).status_code == 404
    page = client.get("/v1/motions?limit=2", headers=ann).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[2], made[1], True)
    rest = client.get(f"/v1/motions?after={made[1]}", headers=ann).json()
    assert [one["id"] for one in rest["data"]] == [made[0]]
    assert client.get("/v1/motions", headers=bob).json() == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }
    assert client.delete(f"/v1/motions/{made[0]}", headers=ann).json()["deleted"]
    assert client.get(f"/v1/motions/{made[0]}.npz", headers=ann).status_code == 404
    assert not (server.store.disk.folder / "motions" / made[0]).exists()


def uploaded(client, path):
    with path.open("rb") as file:
        answer = client.post("/v1/files", files={"file": (path.name, file)}, data={"purpose": "user_data"})
    return answer.json()["id"]


def test_an_uploaded_file_becomes_a_motion(real, tmp_path):
    _, client = real
    clip = codec.detokenize(codec.load(store_app.FACE), CODES, rigs.load("head"))
    npz.write(clip, tmp_path / "smile.npz")
    made = client.post("/v1/motions", json={"file_id": uploaded(client, tmp_path / "smile.npz")}).json()
    assert (made["codec"], made["rig"], made["frames"], len(made["codes"])) == ("face", "head", 12, 12)
    again = client.get(f"/v1/motions/{made['id']}.npz").content
    assert again == (tmp_path / "smile.npz").read_bytes()
    formats.write(standing(), tmp_path / "stand.bvh")
    made = client.post("/v1/motions", json={"file_id": uploaded(client, tmp_path / "stand.bvh")}).json()
    assert (made["codec"], made["codes"], made["frames"]) == ("body", None, 6)
    assert client.get(f"/v1/motions/{made['id']}.glb").status_code == 200
    (tmp_path / "no.npz").write_bytes(b"PK nothing")
    answer = client.post("/v1/motions", json={"file_id": uploaded(client, tmp_path / "no.npz")})
    assert answer.status_code == 400
    answer = client.post("/v1/motions", json={"file_id": "file-\0"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")


def test_a_file_cannot_name_a_rig_or_a_module_to_load(real, tmp_path):
    _, client = real
    for name in ("os.path", "/etc", "..", "tdmm_lm.rigs.head"):
        npz.write(MotionClip(np.zeros((3, 70)), 25, "face", name), tmp_path / "a.npz")
        answer = client.post("/v1/motions", json={"file_id": uploaded(client, tmp_path / "a.npz")})
        assert answer.status_code in (400, 422), answer.text


def test_rigs_at_rest_are_bundled_ones_only(real, tmp_path):
    _, client = real
    answer = client.get("/v1/rigs/head.glb")
    assert answer.headers["content-type"] == "model/gltf-binary"
    (tmp_path / "r.glb").write_bytes(answer.content)
    document, _ = chunks(tmp_path / "r.glb")
    assert document["meshes"][0]["extras"]["targetNames"] == list(rigs.load("head").expressions)
    assert client.get("/v1/rigs/head.glb").content == answer.content
    for name in ("skeleton", "flame", "os.path", "..%2f..%2fetc", "%2fetc"):
        assert client.get(f"/v1/rigs/{name}.glb").status_code == 404


def test_codes_of_another_codec_are_not_decoded(quick):
    server, client = quick
    stale = face(server, weights="0" * 64)
    assert client.get(f"/v1/motions/{stale.id}.npz").json()["error"]["code"] == "codec_changed"
    fresh = face(server, weights=codec.weights_sha256(store_app.FACE))
    assert client.get(f"/v1/motions/{fresh.id}.npz").status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ValueError("no"), 400, "not_exportable"), (TimeoutError("late"), 503, "export_timeout"),
     (MemoryError("killed"), 503, "export_killed"), (None, 503, "disk_full")],
)
def test_a_workers_trouble_is_an_answer_and_leaves_nothing(quick, monkeypatch, error, status, code):
    server, client = quick
    motion = face(server)

    async def call(function, source, rig, target, **_):
        target.write_bytes(b"half")
        if error is not None:
            raise error
        return {"full": True}

    monkeypatch.setattr(server.workers, "call", call)
    answer = client.get(f"/v1/motions/{motion.id}.glb")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert [path.name for path in server.store.disk.incoming.iterdir()] == ["lock"]
    assert client.get(f"/v1/motions/{motion.id}").json()["files"][1]["bytes"] is None


def test_a_server_killed_while_it_exports_leaves_no_half_file(tmp_path):
    server = store_app.server(tmp_path, workers=store_app.Inside())
    motion = face(server)
    server.store.close()
    one = store_app.Process(tmp_path, jobs=False, stuck=True).wait()
    try:
        with httpx.Client(base_url=one.url, timeout=60) as client:
            sending = client.build_request("GET", f"/v1/motions/{motion.id}.glb")
            asyncio.run(_killed_meanwhile(one, sending, tmp_path))
    finally:
        one.process.kill()
    two = store_app.Process(tmp_path, jobs=False).wait()
    try:
        assert [path for path in tmp_path.glob("incoming/*/*") if path.name != "lock"] == []
        shown = httpx.get(f"{two.url}/v1/motions/{motion.id}").json()
        assert {file["bytes"] for file in shown["files"]} == {None}
        answer = httpx.get(f"{two.url}/v1/motions/{motion.id}.glb", timeout=60)
        assert json.loads(answer.content[20 : 20 + int.from_bytes(answer.content[12:16], "little")])["asset"]
    finally:
        two.stop()


async def _killed_meanwhile(process, request, folder):
    async with httpx.AsyncClient(timeout=60) as client:
        asking = asyncio.ensure_future(client.get(str(request.url)))
        await asyncio.to_thread(until, lambda: list(folder.glob("incoming/*/*.glb")), 60)
        process.kill()
        with pytest.raises(httpx.TransportError):
            await asking
