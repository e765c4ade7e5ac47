"""The files that run the server for good say what the server understands: settings, routes, times, variables."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tdmm_lm import config
from tdmm_lm.serve.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SERVE = ROOT / "serve"
SYSTEMD = (SERVE / "tdmm-serve.service").read_text()
KUBERNETES = list(yaml.safe_load_all((SERVE / "kubernetes.yaml").read_text()))
COMPOSE = yaml.safe_load((SERVE / "compose.yaml").read_text())
CONTAINER = (SERVE / "Containerfile").read_text()
POD = KUBERNETES[0]["spec"]["template"]["spec"]
GATEWAY = POD["containers"][0]
COMMANDS = {
    "systemd": re.search(r"^ExecStart=\S+ serve (.*)$", SYSTEMD, re.MULTILINE)[1].split(),
    "kubernetes": GATEWAY["args"],
    "compose first": COMPOSE["services"]["first"]["command"],
    "compose second": COMPOSE["services"]["second"]["command"],
    "container": json.loads(re.search(r"^CMD (\[.*\])$", CONTAINER, re.MULTILINE)[1]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_they_start_is_understood(name):
    recipe, *changes = COMMANDS[name]
    settings = config.load(Settings, ROOT / recipe, changes)
    assert settings.store.startswith("/var/lib/tdmm/")
    assert settings.host == ("127.0.0.1" if name == "systemd" else "0.0.0.0")


@pytest.mark.parametrize("recipe", sorted(SERVE.glob("*.yaml")), ids=lambda path: path.name)
def test_every_way_to_serve_is_a_settings_file(recipe):
    if recipe.name in ("compose.yaml", "kubernetes.yaml"):
        return
    assert config.load(Settings, recipe).host == "127.0.0.1"
    assert f"tdmm serve serve/{recipe.name}" in recipe.read_text()


def test_probes_ask_routes_that_exist_and_ends_leave_time_to_drain():
    assert {GATEWAY[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/health"}
    assert GATEWAY["readinessProbe"]["httpGet"]["path"] == "/ready"
    gateway = (ROOT / "tdmm_lm" / "serve" / "gateway.py").read_text()
    for route in ("/health", "/ready", "/metrics"):
        assert f'"{route}"' in gateway
    drain = Settings().drain_seconds
    waits = int(GATEWAY["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > 2 * drain + waits
    assert int(re.search(r"TimeoutStopSec=(\d+)", SYSTEMD)[1]) > 2 * drain
    assert int(COMPOSE["services"]["first"]["stop_grace_period"].removesuffix("s")) > 2 * drain
    port = Settings().port
    assert GATEWAY["ports"][0]["containerPort"] == port
    assert f"EXPOSE {port}" in CONTAINER


def test_keys_come_from_the_variable_that_the_server_reads():
    variable = Settings().api_keys_variable
    assert variable in {entry["name"] for entry in GATEWAY["env"]}
    assert variable in COMPOSE["services"]["first"]["environment"]
    assert variable in SYSTEMD
    assert not re.search(rf"{variable}=\S+ *$", CONTAINER, re.MULTILINE)  # no key inside an image


def test_the_container_installs_extras_and_files_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.search(r'"\.\[([\w,]+)\]"', CONTAINER)[1].split(",")
    assert set(asked) <= set(extras)
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINER, re.MULTILINE)).split()
    assert all((ROOT / name).exists() for name in copied)
    assert "." not in copied  # which would carry environments, runs and history into the image
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*built["packages"], *built["force-include"], "pyproject.toml", "README.md", "LICENSE"} <= set(copied)
    assert f"--uid {POD['securityContext']['runAsUser']} " in CONTAINER
    assert (SERVE / "web" / "vendor.mjs").is_file()


def test_the_unit_is_one():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    said = subprocess.run(
        ["systemd-analyze", "verify", str(SERVE / "tdmm-serve.service")], capture_output=True, text=True
    ).stderr
    faults = [line for line in said.splitlines() if "tdmm-serve" in line and "is not executable" not in line]
    assert not faults
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVE / "tdmm-serve.service")],
        capture_output=True, text=True,
    ).stdout
    assert float(re.search(r"exposure level for \S+: (\d+\.\d+)", said)[1]) < 3, said
