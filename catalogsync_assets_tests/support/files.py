"""Files of a test: their digests, their permissions, what is left of them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def flipped(content: bytes) -> bytes:
    """Other content of the same length."""
    return bytes([content[0] ^ 1]) + content[1:] if content else content


def sha256(content: bytes) -> str:
    """The digest in hex, as the catalog has it."""
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    """The digest in hex."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def s3_sha256(content: bytes) -> str:
    """The digest as S3 writes it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def remains(root: Path) -> list[str]:
    """What downloads have left of themselves below a root."""
    return [path.name for path in root.rglob("*") if ".catalogsync" in path.parts]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions of files count, as they do not for root."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
