"""The studio page in a headless Chromium, against a real server: `make test-studio`.

The server is ``tdmm serve serve/transformers.yaml`` with a key, or the one that $STUDIO_URL names (its key in
$STUDIO_KEY). Needs node, npm and Chromium. Pictures go to $STUDIO_PICTURES where that names a folder.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tdmm_lm import bundle, formats, rotations
from tdmm_lm.motion import body

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEY = "studio-test"
PICTURES = ("rest", "light", "compare", "grey", "body", "dark", "error", "narrow_chat", "narrow_stage")

pytestmark = pytest.mark.slow


def installed(folder: Path, marker: str, *more: list[str]) -> None:
    """npm's packages of a folder, if they are not there yet."""
    if (folder / marker).exists():
        return
    npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
    for command in (npm, *more):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"{command[0]} failed, which needs the network: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture(scope="module")
def tools() -> tuple[str, str]:
    """Node and Chromium, with the page's three.js and the tests' puppeteer."""
    node, found = shutil.which("node"), next(filter(None, map(shutil.which, BROWSERS)), None)
    chromium = os.environ.get("CHROMIUM") or found
    if node is None or shutil.which("npm") is None or chromium is None:
        pytest.skip("needs node, npm and Chromium (apt-get install nodejs npm chromium)")
    installed(HERE, "node_modules/puppeteer-core")
    web = bundle.path("serve/web")
    installed(web, "vendor/three.module.js", ["node", "vendor.mjs"])
    return node, chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> tuple[str, str]:
    """(URL, key) of a running server."""
    if os.environ.get("STUDIO_URL"):
        yield os.environ["STUDIO_URL"].rstrip("/") + "/", os.environ.get("STUDIO_KEY", "")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "tdmm_lm", "serve", "serve/transformers.yaml", f"port={port}"],
            cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "TDMM_API_KEY": KEY},
        )
        try:
            url = f"http://127.0.0.1:{port}/"
            for _ in range(240):
                assert running.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(url + "health", timeout=2).close()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.5)
            yield url, KEY
        finally:
            running.send_signal(signal.SIGINT)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@pytest.fixture(scope="module")
def walking(tmp_path_factory) -> Path:
    """A body that swings legs and arms on the spot, as npz."""
    frames, path = 40, tmp_path_factory.mktemp("body") / "walk.npz"
    turns, swing = torch.zeros(frames, 22, 3), 0.6 * torch.sin(2 * torch.pi * torch.arange(frames) / 30)
    for side, sign in (("left", 1), ("right", -1)):
        turns[:, body.JOINTS.index(f"{side}_hip"), 0] = sign * swing
        turns[:, body.JOINTS.index(f"{side}_shoulder"), 2] = -1.3 * sign
        turns[:, body.JOINTS.index(f"{side}_elbow"), 1] = sign * swing
    clip = body.assemble(np.tile([0, 0.93, 0], (frames, 1)), rotations.axis_angle_to_matrix(turns), fps=30)
    formats.write(clip, path)
    return path


@pytest.fixture(scope="module")
def played(tools, server, walking, tmp_path_factory) -> tuple[dict, Path]:
    """All scenes of scenes.mjs, once: (what they saw, the folder of pictures and downloads)."""
    node, chromium = tools
    url, key = server
    folder = tmp_path_factory.mktemp("pictures")
    sample = bundle.path("assets/samples/angry_shake.npz")
    done = subprocess.run(
        [node, "scenes.mjs", url, folder, chromium, sample, walking, key],
        cwd=HERE, capture_output=True, text=True, timeout=600,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    if kept := os.environ.get("STUDIO_PICTURES"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.png"):
            shutil.copy(path, kept)
    return report, folder


@pytest.fixture(scope="module")
def seen(played) -> dict:
    return played[0]["seen"]


def picture(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / f"{name}.png").convert("RGB")).astype(int)


def test_no_scene_broke_and_the_console_is_silent(played):
    assert played[0]["errors"] == []  # breaches of the policy would stand here too


def test_a_locked_server_says_so_and_the_key_stays_in_the_tab(seen, server):
    if not server[1]:
        pytest.skip("this server wants no key")
    told = seen["locked"]
    assert "wants an API key" in told["notice"]
    assert told["focus"] == "key"
    assert told["after"] == ""
    session, local, cookie = told["kept"]
    assert server[1] in session
    assert server[1] not in local
    assert cookie == ""


def test_a_prompt_becomes_a_motion_that_plays(seen):
    told = seen["first"]
    assert told["playing"]
    assert told["frames"] == told["codes"] == 100
    assert told["partly"] > 0, "frames were there before the whole motion was"
    assert told["drawn"] > 3
    assert "codes A" in told["rows"]
    assert told["prompt"] == ""


def test_one_playhead(seen):
    told = seen["transport"]
    assert [told[name] for name in ("forth", "back", "right", "ten", "end", "home")] == [26, 24, 25, 35, 99, 0]
    assert told["speed"] == 0.5
    assert told["clicked"] == 50
    assert "frame 25" in told["tip"]
    assert "code" in told["tip"]
    assert told["now"] == "2.00 seconds, frame 50"
    assert told["playing"]
    assert told["idle"] <= 1, "nothing is drawn while nothing changes"
    assert told["orbit"] > 0.05
    assert abs(told["reset"]) < 1e-6
    assert "heat-map" in told["help"]


def test_a_second_turn_names_the_motion(seen):
    first, answer, second = seen["second"]["messages"]
    assert first["role"] == second["role"] == "user"
    assert answer["role"] == "assistant"
    assert seen["second"]["id"] in answer["content"]


def test_two_motions_are_compared(seen):
    told = seen["compare"]
    assert told["most"] > 0
    assert told["legend"] == f"{told['most']:g} mm"
    assert "mm mean" in told["rows"]
    assert "codes B" in told["rows"]
    assert told["neutral"] > 0
    assert told["swapped"]
    assert told["alone"] is False


def test_every_format_comes_down(seen, played):
    told = seen["downloads"]
    assert {"npz", "glb", "csv"} <= set(told["states"])
    for format, state in told["states"].items():
        assert state.endswith("B"), f"{format}: {state}"
        assert (played[1] / f"{told['id']}.{format}").stat().st_size > 1000


def test_a_dropped_file_is_seen_and_asked_about(seen):
    told = seen["dropped"]
    assert told["frames"] == 100
    assert told["chip"].startswith("angry_shake.npz")
    assert told["part"][0]["file"]["file_id"].startswith("file-")
    assert told["answer"]


def test_a_body_plays(seen):
    assert seen["body"]["most"] > 0
    assert seen["body"]["note"] == seen["body"]["notice"] == ""


def test_every_control_is_reached_by_keys_with_a_focus_that_shows(seen):
    assert seen["reachable"] == {"missed": [], "blind": [], "unnamed": []}


@pytest.mark.parametrize(
    ("case", "says"),
    {"unreachable": "cannot be reached", "401": "API key", "413": "too large", "429": "Try again in 7 s",
     "503": "busy", "cut": "broke off"}.items(),
)
def test_errors_are_words_and_the_prompt_stays(seen, case, says):
    assert says in seen["refused"][case]["card"]
    assert seen["refused"][case]["prompt"] == "he frowns"


def test_trying_again_works(seen):
    assert seen["refused"]["after"] == {"prompt": "", "faults": 0}


def test_markup_stays_text(seen):
    assert seen["hostile"] == {"images": 0, "shown": True}


def test_the_webcam_is_recorded_and_sent(seen):
    told = seen["webcam"]
    assert told["sent"]
    assert told["open"] is False
    assert told["chip"].startswith("webcam.webm")


def test_narrow_screens_have_tabs_and_calm_ones_no_autoplay(seen):
    told = seen["narrow"]
    assert told["wide"] == [390, 390]
    assert told["chat"] is told["stage"] is False, "one panel at a time"
    assert told["playing"] is False
    assert told["kept"] >= 2, "motions of before are listed after a reload"


def test_the_picture_shows_a_face(played):
    folder = played[1]
    for name in PICTURES:
        assert (folder / f"{name}.png").is_file()
    stage = picture(folder, "light")[100:560, 400:]
    red, green, blue = stage[..., 0], stage[..., 1], stage[..., 2]
    skin = (red > green + 15) & (green > blue)
    assert 0.05 < skin.mean() < 0.5
    assert np.abs(picture(folder, "rest")[100:560, 400:] - stage).mean() > 1
    dark, light = (picture(folder, name)[-40:, :300].mean() for name in ("dark", "light"))
    assert dark < 60 < light
