"""A bar is drawn where a person watches, never into stdout, which holds a verb's result, and not into a log."""

import contextlib
import os
import pty
import subprocess
import sys

from tdmm_lm import progress

PROGRAM = """
from tdmm_lm import progress
print(sum(progress.track([1, 2, 3], "adding")))
with progress.bar() as bar:
    bar.update(bar.add_task("waiting"), completed=3)
"""


def test_items_come_in_order_and_are_taken_one_by_one():
    given = iter(range(5))
    taken = progress.track(given, "counting")
    assert [next(taken), next(taken)] == [0, 1]
    assert list(given) == [2, 3, 4]


def test_a_log_holds_no_bar():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("6\n", "")


def test_a_terminal_shows_it_beside_a_clean_stdout():
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=its, env=environment, check=True
        )
    finally:
        os.close(its)
    shown = ""
    with open(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # how Linux says that a terminal ended
        while piece := screen.read(4096):
            shown += piece.decode(errors="replace")
    assert done.stdout == b"6\n"
    assert "adding" in shown
    assert "waiting" in shown
