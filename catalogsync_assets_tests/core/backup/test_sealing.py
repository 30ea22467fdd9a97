"""What a catalog becomes on its way to a store, and that what comes back is not believed."""

import hashlib
import random

import pyrage
import pytest
import zstandard

from catalogsync_assets.core.backup.sealing import _bech32, seal, unseal
from catalogsync_assets.core.errors import CatalogError, ConfigurationError

PLAIN = random.Random(1).randbytes(100_000) * 3  # noqa: S311


@pytest.fixture
def sealed(tmp_path):
    """`sealed(passphrase)`: a file that was sealed with it."""
    (tmp_path / "plain").write_bytes(PLAIN)

    def run(passphrase=None):
        seal(tmp_path / "plain", tmp_path / "sealed", passphrase)
        return tmp_path / "sealed"

    return run


@pytest.mark.parametrize("passphrase", [None, "a", "\udcff not UTF-8 \u00e9"])
def test_what_was_sealed_comes_back(sealed, tmp_path, passphrase):
    unseal(sealed(passphrase), tmp_path / "back", passphrase, encrypted=passphrase is not None)
    assert (tmp_path / "back").read_bytes() == PLAIN


def test_each_snapshot_has_a_key_of_its_own(sealed):
    first = sealed("a")
    content = first.read_bytes()
    first.unlink()
    assert sealed("a").read_bytes()[:60] != content[:60]


def test_the_key_is_made_by_scrypt_as_documented(sealed, real_scrypt):
    """By hand: salt and passphrase give an age key, which age itself takes."""
    salt, _, rest = sealed("a").read_bytes().partition(b"\n")
    salt = bytes.fromhex(salt.decode().split()[1])
    secret = hashlib.scrypt(b"a", salt=salt, n=2**16, r=8, p=2, maxmem=2**28, dklen=32)
    key = pyrage.x25519.Identity.from_str(_bech32("age-secret-key-", secret).upper())
    assert zstandard.decompress(pyrage.decrypt(rest, [key])) == PLAIN


def test_what_was_sealed_when_keys_took_twice_the_memory_is_opened(tmp_path):
    salt = bytes(range(16))
    secret = hashlib.scrypt(b"a", salt=salt, n=2**17, r=8, p=1, maxmem=2**28, dklen=32)
    key = pyrage.x25519.Identity.from_str(_bech32("age-secret-key-", secret).upper())
    content = pyrage.encrypt(zstandard.compress(PLAIN), [key.to_public()])
    file = tmp_path / "sealed"
    file.write_bytes(f"catalogsync-scrypt-17-8-1 {salt.hex()}\n".encode() + content)

    unseal(file, tmp_path / "back", "a", encrypted=True)

    assert (tmp_path / "back").read_bytes() == PLAIN


@pytest.mark.parametrize("passphrase", [None, "a"])
@pytest.mark.parametrize("spoilt", ["cut", "changed", "empty", "longer"])
def test_what_is_damaged_is_not_taken(sealed, tmp_path, passphrase, spoilt):
    file = sealed(passphrase)
    content = bytearray(file.read_bytes())
    if spoilt == "cut":
        del content[-5000:]
    elif spoilt == "changed":
        content[-5000] ^= 1
    elif spoilt == "empty":
        content.clear()
    else:
        content = content * 2
    file.write_bytes(content)
    with pytest.raises(CatalogError, match="damaged"):
        unseal(file, tmp_path / "back", passphrase, encrypted=passphrase is not None)


def test_a_bomb_is_left_where_it_is(tmp_path):
    bomb = tmp_path / "bomb"
    compressor = zstandard.ZstdCompressor()
    with bomb.open("wb") as file, compressor.stream_writer(file) as writer:
        for _ in range(80):
            writer.write(bytes(1024 * 1024))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(CatalogError, match="damaged"):
        unseal(bomb, tmp_path / "back", None, encrypted=False)


def test_an_honest_looking_bomb_stops_at_its_bound(tmp_path):
    bomb = tmp_path / "bomb"
    bomb.write_bytes(zstandard.compress(bytes(96 * 1024 * 1024)))
    with pytest.raises(CatalogError, match="larger than any catalog"):
        unseal(bomb, tmp_path / "back", None, encrypted=False)
    assert (tmp_path / "back").stat().st_size <= 96 * 1024 * 1024


def test_another_passphrase_is_said_to_be_one(sealed, tmp_path):
    with pytest.raises(ConfigurationError, match="another passphrase"):
        unseal(sealed("a"), tmp_path / "back", "b", encrypted=True)
