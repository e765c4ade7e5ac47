"""Writing without halves: everything is written beside its target and renamed when it is whole."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path (same folder, same suffix) that becomes ``target`` if the block ends well.

    On an exception nothing is left behind and an older ``target`` stays as it was. The block may make a
    file or a folder at the path; parents are created.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield beside / target.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(beside / target.name, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
