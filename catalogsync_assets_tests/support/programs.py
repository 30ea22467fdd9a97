"""Programs of others that tests run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def find_program(name: str) -> str | None:
    """A program of the environment that the tests run in, else of PATH; None if there is none."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
