"""What comes from a store is what it should be, or does not come."""

import random
import threading
from typing import Any

import pytest

from catalogsync_assets.core.errors import DamagedObjectError, StoreError, StoreUnavailableError
from catalogsync_assets.core.files.partial import FOLDER, PartialFile
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.fetch import fetch, is_gone
from catalogsync_assets_tests.support.files import flipped, sha256
from catalogsync_assets_tests.support.proxy import refusal

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(3 * MIB + 5)  # noqa: S311


@pytest.fixture
def part(tmp_path):
    opened = PartialFile(tmp_path, "one")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def get(through_proxy, remote, part):
    """`get()` makes one try to fetch an object with `CONTENT`, which is stored."""
    client = StoreClient(through_proxy)
    remote(through_proxy).put("a.mp3", CONTENT)

    def run(content=CONTENT, *, known=True, **options):
        options = {"stop": threading.Event(), **options}
        return fetch(
            client,
            through_proxy.key_prefix + "a.mp3",
            part,
            size_bytes=len(content) if known else None,
            sha256=sha256(content) if known else None,
            **options,
        )

    return run


def reads(proxy: Any) -> list[str | None]:
    """The ranges that were asked for."""
    return [r.headers.get("range") or r.headers.get("Range") for r in proxy.of("GET")]


def break_off(proxy: Any, get: Any, **options: Any) -> None:
    """One try, in which the connection breaks after two MiB of the answer."""
    left = [1]

    def cut(request: Any, answer: Any) -> None:
        if request.method == "GET" and left[0]:
            left[0] = 0
            answer.body = answer.body[: 2 * MIB]
            answer.headers["Connection"] = "close"

    proxy.after.append(cut)
    with pytest.raises(StoreUnavailableError):
        get(**options)


@pytest.mark.parametrize("name", ["x-amz-meta-artist", "Content-Disposition"])
def test_a_header_in_other_letters_than_ascii_hinders_nothing(proxy, get, name):
    """Ceph and Swift give back what another program has put, byte for byte."""

    def add(_request, answer):
        answer.headers[name] = "Björk".encode().decode("latin-1")

    proxy.after.append(add)

    assert get().size_bytes == len(CONTENT)


def test_an_object_comes_whole(get, part):
    pieces = []

    found = get(received=pieces.append)

    assert (found.sha256, found.size_bytes) == (sha256(CONTENT), len(CONTENT))
    assert found.etag
    assert part.path.read_bytes() == CONTENT
    assert sum(pieces) == len(CONTENT)
    assert max(pieces) < 2 * MIB


def test_an_empty_object_comes(get, remote, through_proxy, part):
    remote(through_proxy).put("a.mp3", b"")

    assert get(b"").size_bytes == 0
    assert part.path.read_bytes() == b""


def test_of_an_object_that_nothing_is_known_of_the_digest_is_told(get):
    assert get(known=False).sha256 == sha256(CONTENT)


def test_a_damaged_object_is_refused_and_leaves_nothing(get, remote, through_proxy, part):
    remote(through_proxy).put("a.mp3", flipped(CONTENT))

    with pytest.raises(DamagedObjectError, match=r"'cloud'.*a.mp3.*digest") as caught:
        get()

    assert caught.value.etag == remote(through_proxy).head("a.mp3")["ETag"]
    part.close()
    assert not part.path.exists()


def test_an_object_of_another_size_is_refused_once_two_reads_agree_on_it(
    get, remote, through_proxy, proxy, part
):
    remote(through_proxy).put("a.mp3", CONTENT[:-1])

    with pytest.raises(DamagedObjectError, match=r"3,145,732 bytes, not 3,145,733"):
        get()

    assert len(reads(proxy)) == 2
    part.close()
    assert not part.path.exists()


def test_what_was_damaged_on_its_way_only_is_read_once_more(get, proxy, part):
    proxy.spoil_answers(lambda r: r.method == "GET", times=1)

    get()

    assert part.path.read_bytes() == CONTENT


def test_an_object_that_is_gone_is_told_from_other_refusals(get, remote, through_proxy, proxy):
    remote(through_proxy).delete("a.mp3")
    with pytest.raises(StoreError) as gone:
        get()
    proxy.refuse(1, refusal(404, "NoSuchBucket"), methods="GET")
    with pytest.raises(StoreError) as without_bucket:
        get()

    assert is_gone(gone.value)
    assert not is_gone(without_bucket.value)


def test_a_broken_connection_is_gone_on_from(get, proxy, part):
    break_off(proxy, get)
    here = part.size
    assert here >= MIB

    get()

    assert part.path.read_bytes() == CONTENT
    assert reads(proxy) == [None, f"bytes={here}-"]


def test_a_part_of_an_earlier_process_is_gone_on_from(get, proxy, part, tmp_path):
    break_off(proxy, get)
    part.close()
    part.open()

    get()

    assert part.path.read_bytes() == CONTENT
    assert reads(proxy)[1] is not None


def test_an_object_that_is_another_by_now_is_not_patched_together(
    get, proxy, part, remote, through_proxy
):
    break_off(proxy, get, known=False)
    other = random.Random(2).randbytes(len(CONTENT))  # noqa: S311
    remote(through_proxy).put("a.mp3", other)

    get(known=False)

    assert part.path.read_bytes() == other


def test_a_beginning_that_was_spoiled_on_disk_is_read_anew(get, proxy, part):
    break_off(proxy, get)
    with part.path.open("r+b") as file:
        file.write(b"spoiled")

    get()

    assert part.path.read_bytes() == CONTENT


def test_a_run_that_is_stopped_reads_no_further(get, tmp_path):
    stop = threading.Event()

    with pytest.raises(StoreUnavailableError, match="stopped"):
        get(stop=stop, received=lambda _: stop.set())

    assert [p.suffix for p in (tmp_path / FOLDER).iterdir() if p.suffix == ".part"] == [".part"]
