"""An object that is read here and there."""

import io

import pytest

from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.library.tags import read_tags, tags_in
from catalogsync_assets.core.stores import ranged
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.ranged import BLOCK, RangedObject
from catalogsync_assets_tests.support.audio_files import WAYS, tagged
from catalogsync_assets_tests.support.proxy import refusal


@pytest.fixture
def put(backend, proxy, remote):
    """`put(content)` stores an object, behind the proxy: the client, its key, and a file of it."""
    cloud = backend(endpoint=proxy.endpoint)

    def make(content, name="a.mp3"):
        remote(cloud).put(name, content)
        client = StoreClient(cloud)
        return RangedObject(client, cloud.key_prefix + name, len(content))

    return make


def _content(size):
    return bytes(i * 7 % 251 for i in range(size))


def test_it_reads_as_a_file_does(put):
    content = _content(3 * BLOCK + 100)
    there, here = put(content), io.BytesIO(content)
    for offset, whence, size in (
        (0, io.SEEK_SET, 10),
        (BLOCK - 5, io.SEEK_SET, 10),
        (100, io.SEEK_CUR, 2 * BLOCK),
        (-50, io.SEEK_END, 100),
        (10, io.SEEK_END, 10),
        (5, io.SEEK_SET, -1),
        (0, io.SEEK_SET, 0),
    ):
        assert there.seek(offset, whence) == here.seek(offset, whence)
        assert there.read(size) == here.read(size)
        assert there.tell() == here.tell()


def test_only_what_is_asked_for_is_brought_and_once(put, proxy):
    content = _content(40 * BLOCK)
    there = put(content)
    for at in (0, 100, 39 * BLOCK, 0, 39 * BLOCK + 5):
        there.seek(at)
        there.read(50)
    asked = [r.header("range") for r in proxy.of("GET")]
    assert asked == [f"bytes=0-{BLOCK - 1}", f"bytes={39 * BLOCK}-{40 * BLOCK - 1}"]


def test_a_parser_is_not_given_more_than_a_bound(put, monkeypatch):
    monkeypatch.setattr(ranged, "MOST", 2 * BLOCK)
    there = put(_content(4 * BLOCK))
    there.read(2 * BLOCK)
    with pytest.raises(OSError, match="more than"):
        there.read(1)
    assert there.failure is None


def test_why_a_piece_could_not_be_had_is_kept(put, proxy):
    there = put(b"x" * 10)
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method == "GET")
    with pytest.raises(OSError, match="access denied"):
        there.read(1)
    assert isinstance(there.failure, StoreError)


def test_tags_are_read_as_from_the_file_wherever_they_stand(put, tmp_path):
    """Also behind the sound, as in some MP4, and in APEv2 and ID3v1 tags."""
    for number, way in enumerate(WAYS):
        path = tmp_path / f"{number}.{way.split()[0]}"
        tagged(path, way, title=["A Title"], artist=["Somebody"])
        with put(path.read_bytes(), path.name) as there:
            assert tags_in(there, path) == read_tags(path), way
