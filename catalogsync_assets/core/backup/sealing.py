"""A catalog's file as it is stored: compressed, and encrypted where there is a passphrase.

Compressed by Zstandard; encrypted as age has it (https://age-encryption.org/v1), for a key that is
made of the passphrase and of a salt, by scrypt. age's own way with passphrases takes 512 MiB of
memory on a fast machine, and only for what fits into memory, too; so the salt stands before what
age makes, in a line of text::

    catalogsync-scrypt-16-8-2 SALT      in hex; of N = 2^16, r = 8, p = 2
    age-encryption.org/v1 ...

(OWASP's password storage cheat sheet names it as strong as N = 2^17 with p = 1, which takes twice
the memory; what was sealed with that is still opened.)

Memory is flat both ways. What is opened is untrusted: it may not grow beyond its bound, nor claim
more memory than the reader gives.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
from pathlib import Path
from typing import Any

import pyrage
import zstandard

from catalogsync_assets.core.errors import CatalogError, ConfigurationError
from catalogsync_assets.core.files.atomic import private
from catalogsync_assets.core.settings import PASSPHRASE_VARIABLE

#: Of a catalog, 3 saves another thirtieth for 2.6 times the CPU.
_LEVEL = 1
#: What a reader gives a stream at most; ours ask for 2 MiB.
_MAX_WINDOW = 128 * 1024 * 1024
_PIECE = 1024 * 1024
#: The longest beginning of a frame that tells how much it becomes, in bytes.
_HEAD = 18
#: Catalogs become a sixth to a twentieth.
_MOST_TIMES, _MOST_MORE = 200, 64 * 1024 * 1024
#: 64 MiB, and half a second.
_SCRYPT = {"n": 2**16, "r": 8, "p": 2, "maxmem": 2**28, "dklen": 32}
#: How keys are made, by what the line says of it.
_KINDS: dict[bytes, dict[str, int]] = {b"16-8-2": {}, b"17-8-1": {"n": 2**17, "p": 1}}
_SALT_BYTES = 16
_HEADER = re.compile(rb"catalogsync-scrypt-(16-8-2|17-8-1) ([0-9a-f]{32})\n")
_HEADER_BYTES = len("catalogsync-scrypt-16-8-2 ") + 2 * _SALT_BYTES + 1
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CHECKSUM = 6


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
        salt = secrets.token_bytes(_SALT_BYTES)
        target.write(f"catalogsync-scrypt-16-8-2 {salt.hex()}\n".encode())
        key = _key_of(passphrase, salt).to_public()
        pyrage.encrypt_io(compressor.stream_reader(source, size=size), target, [key])


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
        header = _HEADER.fullmatch(source.read(_HEADER_BYTES))
        if header is None:
            raise _damaged("it does not begin with its salt")
        key = _key_of(passphrase, bytes.fromhex(header[2].decode()), **_KINDS[header[1]])
        try:
            pyrage.decrypt_io(source, target, [key])
        except (pyrage.DecryptError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's
            if "No matching keys" in str(error):
                raise ConfigurationError(
                    "the snapshot was encrypted with another passphrase",
                    hint=f"set {PASSPHRASE_VARIABLE} to the one that it was made with",
                ) from error
            raise _damaged("it cannot be decrypted") from error


def _key_of(passphrase: str, salt: bytes, **otherwise: int) -> Any:
    """The key that a passphrase and a salt make."""
    secret = hashlib.scrypt(os.fsencode(passphrase), salt=salt, **(_SCRYPT | otherwise))
    return pyrage.x25519.Identity.from_str(_bech32("age-secret-key-", secret).upper())


def _bech32(prefix: str, content: bytes) -> str:
    """Bytes as text, as age writes keys (BIP 173)."""
    bits = int.from_bytes(content, "big") << (-len(content) * 8 % 5)
    count = math.ceil(len(content) * 8 / 5)
    digits = [bits >> 5 * i & 31 for i in reversed(range(count))]
    check = 1
    spread = [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix)]
    for digit in [*spread, *digits, *[0] * _BECH32_CHECKSUM]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ digit
        for i, generator in enumerate(_BECH32_GENERATOR):
            check ^= generator if top >> i & 1 else 0
    digits += [(check ^ 1) >> 5 * i & 31 for i in reversed(range(_BECH32_CHECKSUM))]
    return f"{prefix}1{''.join(_BECH32[d] for d in digits)}"


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


def _damaged(why: str) -> CatalogError:
    return CatalogError(f"the snapshot is damaged: {why}", hint="take an older one")
