"""A catalog's file as it is stored: compressed, and encrypted where there is a passphrase.

Compressed by Zstandard; encrypted in the format of age (https://age-encryption.org/v1), so that
tools that everybody has open it by hand. age takes a passphrase for what fits into memory only, so
each snapshot is encrypted for a key of its own. That key, encrypted with the passphrase and written
as text, stands before it::

    -----BEGIN AGE ENCRYPTED FILE-----      the key, to be opened with the passphrase
    -----END AGE ENCRYPTED FILE-----
    age-encryption.org/v1 ...               the snapshot, to be opened with the key

Memory is flat both ways. What is opened is untrusted: it may not grow beyond its bound, nor claim
more memory than the reader gives.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyrage
import zstandard

from catalogsync_assets.core.errors import CatalogError, ConfigurationError
from catalogsync_assets.core.settings import PASSPHRASE_VARIABLE

#: Zstandard's own default: of a catalog, higher ones save a tenth for several times the CPU.
_LEVEL = 3
#: What a reader gives a stream at most; ours ask for 2 MiB.
_MAX_WINDOW = 128 * 1024 * 1024
_PIECE = 1024 * 1024
#: The longest beginning of a frame that tells how much it becomes, in bytes.
_HEAD = 18
#: Catalogs become a sixth to a twentieth.
_MOST_TIMES, _MOST_MORE = 200, 64 * 1024 * 1024
_END = b"-----END AGE ENCRYPTED FILE-----\n"
_MAX_KEY = 16 * 1024


def seal(plain: Path, sealed: Path, passphrase: str | None) -> None:
    """Write a file's content compressed, and encrypted where there is a passphrase.

    Args:
        sealed: is made, and must not be there yet.

    Raises:
        OSError: as the system says it.
    """
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    size = plain.stat().st_size
    with plain.open("rb") as source, private(sealed) as target:
        if passphrase is None:
            compressor.copy_stream(source, target, size=size)
            return
        key = pyrage.x25519.Identity.generate()
        armored = pyrage.passphrase.encrypt(str(key).encode(), passphrase, armored=True)
        target.write(armored.rstrip(b"\n") + b"\n")
        pyrage.encrypt_io(compressor.stream_reader(source, size=size), target, [key.to_public()])


def unseal(sealed: Path, plain: Path, passphrase: str | None, *, encrypted: bool) -> str:
    """Write what was sealed; see `seal`.

    Args:
        plain: is made, and must not be there yet; what is there after an error is worth nothing.

    Returns:
        The SHA-256 of what was written, in hex.

    Raises:
        ConfigurationError: it is encrypted, and the passphrase is missing or another one.
        CatalogError: it is no snapshot, or a damaged one, or becomes larger than any catalog.
        OSError: as the system says it.
    """
    compressed = sealed
    if encrypted:
        compressed = plain.with_name(f"{plain.name}.zst")
    try:
        if encrypted:
            _decrypt(sealed, compressed, passphrase)
        return _decompress(compressed, plain)
    finally:
        if encrypted:
            compressed.unlink(missing_ok=True)


def _decrypt(sealed: Path, compressed: Path, passphrase: str | None) -> None:
    if passphrase is None:
        raise ConfigurationError(
            "the snapshot is encrypted, and there is no passphrase",
            hint=f"set {PASSPHRASE_VARIABLE} to the one that it was made with",
        )
    with sealed.open("rb") as source, private(compressed) as target:
        head = source.read(_MAX_KEY)
        end = head.find(_END)
        if end < 0:
            raise _damaged("it does not begin with its key")
        source.seek(end + len(_END))
        try:
            key = pyrage.passphrase.decrypt(head[: end + len(_END)], passphrase)
        except pyrage.DecryptError as error:
            raise ConfigurationError(
                "the snapshot was encrypted with another passphrase",
                hint=f"set {PASSPHRASE_VARIABLE} to the one that it was made with",
            ) from error
        try:
            identity = pyrage.x25519.Identity.from_str(key.decode())
            pyrage.decrypt_io(source, target, [identity])
        except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the format's
            raise _damaged("it cannot be decrypted") from error


def _decompress(compressed: Path, plain: Path) -> str:
    most = compressed.stat().st_size * _MOST_TIMES + _MOST_MORE
    digest, size = hashlib.sha256(), 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    with compressed.open("rb") as source, private(plain) as target:
        try:
            # How much it is to become stands at its beginning: a reader takes what was cut off for
            # the end.
            whole = zstandard.get_frame_parameters(source.read(_HEAD)).content_size
            source.seek(0)
            reader = decompressor.stream_reader(source, read_across_frames=False)
            while piece := reader.read(_PIECE):
                size += len(piece)
                if size > min(whole, most):
                    raise _damaged("it becomes larger than any catalog")
                digest.update(piece)
                target.write(piece)
        except zstandard.ZstdError as error:
            raise _damaged("it cannot be decompressed") from error
        if size != whole:
            raise _damaged("it ends early")
    return digest.hexdigest()


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read.

    Raises:
        FileExistsError: it is there.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file


def _damaged(why: str) -> CatalogError:
    return CatalogError(f"the snapshot is damaged: {why}", hint="take an older one")
