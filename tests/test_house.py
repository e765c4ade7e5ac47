"""The rules of the house that no linter knows."""

import subprocess
import sys
from pathlib import Path

import pytest

from tdmm_lm import bundle

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FILES = sorted((ROOT / "tdmm_lm").rglob("*.py"))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_tokenizers_is_hugging_faces():
    probe = "import tokenizers; print(tokenizers.Tokenizer.__module__, tokenizers.__file__)"
    shown = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("tokenizers ")
    assert "site-packages" in shown


def test_things_people_edit_hold_no_python():
    for folder in bundle.FOLDERS:
        assert not list((ROOT / folder).rglob("*.py"))
        assert (ROOT / folder / "README.md").is_file()


def test_the_package_imports_without_torch():
    heavy = "('torch', 'transformers', 'numpy')"
    probe = f"import sys, tdmm_lm, tdmm_lm.__main__; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_have_one_job_and_stay_short(path):
    text = path.read_text()
    assert text.startswith(('"""', "#!")), "a file says its job in its first docstring"
    assert text.count("\n") <= 400 or "Over 400 lines because" in text
    assert path.stem not in {"utils", "util", "common", "helpers", "base", "types"}


def test_the_tree_stays_small():
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 45e6
    weights = {path: size for path, size in sizes.items() if path.suffix in {".safetensors", ".model", ".bin"}}
    assert sum(weights.values()) <= 36e6
    assert max(weights.values(), default=0) <= 15e6


def test_nothing_is_unpickled_from_users():
    for path in PYTHON_FILES:
        text = path.read_text()
        for danger in ("pickle.load(", "pickle.loads(", "allow_pickle=True", "weights_only=False", "shell=True"):
            assert danger not in text, f"{path}: {danger}"


def test_bundle_finds_what_is_there_and_names_what_is_not():
    assert bundle.path("recipes/README.md").is_file()
    assert bundle.path("assets").is_dir()
    with pytest.raises(FileNotFoundError, match="'tokenizers/nothing'"):
        bundle.path("tokenizers/nothing")
