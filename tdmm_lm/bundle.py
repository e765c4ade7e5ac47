"""Where the things that travel with the package lie, in a checkout and in an installed wheel alike."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("recipes", "tokenizers", "eval", "serve")  # top level in a checkout, in `bundled/` in a wheel


def path(name: str) -> Path:
    """The path of a bundled file or folder, e.g. ``"tokenizers/face"``, ``"assets/head"``, ``"recipes/nano.sh"``.

    Raises:
        FileNotFoundError: nothing of that name is bundled.
    """
    if Path(name).parts[0] not in FOLDERS:
        root = PACKAGE
    elif (PACKAGE / "bundled").is_dir():
        root = PACKAGE / "bundled"
    else:
        root = PACKAGE.parent
    if (root / name).exists():
        return root / name
    raise FileNotFoundError(f"bundle: expected {name!r} in the package, found nothing there; reinstall tdmm-lm.")


def either(name: str) -> Path:
    """A folder or file of the user's, else a bundled one of that name.

    Raises:
        FileNotFoundError: neither is there.
    """
    if Path(name).exists():
        return Path(name)
    try:
        return path(name)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: expected a path, or the name of something bundled, found neither.") from None


def data() -> Path | None:
    """The folder of real data named by ``$TDMM_DATA``, or None where it is unset."""
    named = os.environ.get("TDMM_DATA")
    return Path(named) if named else None


def cache() -> Path:
    """Where fetched files are kept: ``$TDMM_CACHE``, else ``~/.cache/tdmm_lm``."""
    return Path(os.environ.get("TDMM_CACHE") or Path.home() / ".cache" / "tdmm_lm")
