"""Lets the tests of this folder import `store_app`, which also runs as a process of its own."""

import sys
from pathlib import Path

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))
