"""A package of a third party, with plug-ins for ours."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def install(folder: Path, module: str, code: str, group: str, plug_ins: Mapping[str, str]) -> Path:
    """Make a wheel, and have pip install it by itself.

    Args:
        folder: an empty one.
        module: the name of the package's one module.
        code: of that.
        group: of the entry points.
        plug_ins: by name, what each leads to: `module:object`.

    Returns:
        The folder that it was installed into.
    """
    info = f"{module}-1.0.dist-info"
    points = "".join(f"{name} = {target}\n" for name, target in plug_ins.items())
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{group}]\n{points}",
    }
    package = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(package, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    alone = ["--no-index", "--no-deps", "--target", str(site)]
    done = subprocess.run(
        [*pip, *alone, str(package)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return site


@contextmanager
def importable(site: Path, module: str) -> Iterator[Any]:
    """The module, as if its folder were the interpreter's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        yield importlib.import_module(module)
        sys.modules.pop(module)
