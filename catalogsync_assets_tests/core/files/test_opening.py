"""Opening files: never waiting, regular ones only, and not what a link outside leads to."""

import os
import socket
from types import SimpleNamespace

import pytest

from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.opening import (
    NotRegularError,
    OutsideError,
    mtime_ns,
    open_regular,
)
from catalogsync_assets.core.library.tags import read_tags
from catalogsync_assets_tests.support.waiting import until


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp3")
    return tmp_path / "pipe.mp3"


def test_a_fifo_does_not_make_anybody_wait(fifo):
    with pytest.raises(NotRegularError, match="not a regular file"):
        open_regular(fifo)
    with pytest.raises(NotRegularError):
        sha256_of(fifo)
    assert read_tags(fifo)[1] == "cannot be read: not a regular file"


def test_sockets_devices_and_folders_are_no_files(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "socket", "/dev/zero", tmp_path):
            with pytest.raises(NotRegularError):
                open_regular(path)


def test_a_file_that_another_process_has_a_lease_on_is_waited_for(tmp_path, start_python):
    """As a Samba server has for its clients; it gives it up when the kernel says so."""
    path = tmp_path / "a.mp3"
    path.write_bytes(b"x")
    holder = start_python(
        "import fcntl, os, signal, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR)\n"
        "signal.signal(signal.SIGIO, lambda *_: (fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK),"
        " sys.exit(0)))\n"
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "open(sys.argv[1] + '.held', 'w').close()\n"
        "while True: signal.pause()\n",
        path,
    )
    until(lambda: (tmp_path / "a.mp3.held").exists() or holder.poll() is not None)
    if holder.poll() is not None:
        pytest.skip("this file system has no leases")

    with open_regular(path) as file:
        assert file.read() == b"x"


def test_a_link_may_lead_to_where_it_is_allowed_to(tmp_path):
    inside, outside = tmp_path / "music", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "real.mp3").write_bytes(folder.name.encode())
    (inside / "in.mp3").symlink_to("real.mp3")
    (inside / "out.mp3").symlink_to(outside / "real.mp3")
    (inside / "album").symlink_to(outside)

    with open_regular(inside / "in.mp3", within=[str(inside)]) as file:
        assert file.read() == b"music"
    for name in ("out.mp3", "album/real.mp3"):
        with pytest.raises(OutsideError):
            open_regular(inside / name, within=[str(inside)])
        open_regular(inside / name, within=[str(inside), str(outside)]).close()


@pytest.mark.parametrize("ns", [2**63, 2**70, 13_569_465_600 * 10**9, -(2**64), -(2**63) - 1])
def test_a_time_that_no_column_holds_becomes_one_that_tells_it_from_others(ns):
    bounded, next_one = (
        mtime_ns(SimpleNamespace(st_mtime_ns=value)) for value in (ns, ns + 86_400 * 10**9)
    )

    assert -(2**63) <= bounded < 2**63
    assert (bounded > 0) == (ns > 0)
    assert bounded != next_one


def test_other_times_are_as_they_are():
    for ns in (0, -1, 1_700_000_000_123_456_789, -2_208_988_800 * 10**9):
        assert mtime_ns(SimpleNamespace(st_mtime_ns=ns)) == ns
