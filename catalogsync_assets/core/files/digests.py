"""Digests of content, in the two spellings that are needed."""

from __future__ import annotations

import base64
import hashlib
import os

from catalogsync_assets.core.files.opening import open_regular

_BUFFER = 1024 * 1024


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content in lower-case hex, read in pieces of 1 MiB.

    Raises:
        OSError: the file cannot be opened or read, or is not a regular file.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(_BUFFER):
            digest.update(piece)
    return digest.hexdigest()


def as_s3_header(sha256: str) -> str:
    """The digest as S3 writes it in `x-amz-checksum-sha256`: base64 of the bytes."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()
