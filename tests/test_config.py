"""YAML -> settings: types, overrides, unknown keys and names, each with its message."""

import re

import pytest
from pydantic import Field

from tdmm_lm import config


class Inner(config.Settings):
    width: int = 4


class Outer(config.Settings):
    lr: float
    codec: Inner = Inner()
    more: dict[str, tuple[Inner | None, ...]] = Field(default={})


def test_scientific_notation_is_a_number():
    assert config.parse("lr: 1e-4")["lr"] == 1e-4
    assert config.parse("lr: -2.5E3")["lr"] == -2500.0
    assert config.parse("name: e5")["name"] == "e5"


def test_overrides_reach_into_sections_and_leave_the_original_alone():
    data = {"lr": 1, "codec": {"width": 2}}
    assert config.check(Outer, config.override(data, ["codec.width=8", "lr=3e-4"]), "x") == Outer(
        lr=3e-4, codec=Inner(width=8)
    )
    assert data == {"lr": 1, "codec": {"width": 2}}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("width", r"'width': expected key.sub=value"),
        ("lr.x=1", r"lr.x: expected a section at 'lr', got 1"),
    ],
)
def test_bad_overrides_say_what_is_wrong(assignment, message):
    with pytest.raises(ValueError, match=message):
        config.override({"lr": 1}, [assignment])


def test_every_wrong_key_is_named_in_one_line():
    with pytest.raises(ValueError, match=r"r.yaml: .*") as caught:
        config.check(Outer, {"codec": {"width": "big", "depth": 1}}, "r.yaml")
    text = str(caught.value)
    assert "lr: expected a value, found none" in text
    assert "codec.width" in text
    assert "'big'" in text
    assert "codec.depth: unknown key; known: width" in text
    assert "\n" not in text
    deep = "more.a.1.depth: unknown key; known: width; deep: unknown key; known: lr, codec, more."
    with pytest.raises(ValueError, match=f"^x: {re.escape(deep)}$"):
        config.check(Outer, {"lr": 1, "more": {"a": [None, {"depth": 1}]}, "deep": 1}, "x")


def test_reading_refuses_what_is_no_mapping(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "torn.yaml").write_text("a: [1\n")
    with pytest.raises(ValueError, match="expected a mapping at the top, got list"):
        config.read(tmp_path / "list.yaml")
    with pytest.raises(ValueError, match="expected YAML"):
        config.read(tmp_path / "torn.yaml")
    with pytest.raises(FileNotFoundError, match="expected a YAML file, found none"):
        config.read(tmp_path / "none.yaml")


def test_find_imports_a_file_by_its_name_and_lists_the_known():
    assert config.find("motion", "face").__name__ == "tdmm_lm.motion.face"
    with pytest.raises(ValueError, match=r"motion: expected one of .*face.*, got 'fase'"):
        config.find("motion", "fase")
    assert config.find("motion", "json.decoder").__name__ == "json.decoder"  # a user's own module, dotted


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ValueError, match=r"x\.yaml: expected YAML in UTF-8, got other bytes at 3"):
        config.read(tmp_path / "x.yaml")
