"""Backends on the command line: their settings, and `backend test`."""

from __future__ import annotations

import signal
import threading

import click
import pytest

from catalogsync_assets.cli import backends, types
from catalogsync_assets.core.stores.probe.capabilities import QUESTIONS
from catalogsync_assets_tests.support.proxy import refusal
from catalogsync_assets_tests.support.waiting import PATIENCE

SECRET = "a-secret-that-nobody-may-see"
REGISTER = ("register-object-backend", "--name", "cloud", "--bucket", "my-music")


@pytest.fixture
def registered(register):
    """`registered(**settings)`: a backend `cloud` of which nothing is known."""
    return lambda **settings: register(provider=None, **settings)


def shown(cli):
    """The one backend, as `backends` has it."""
    header, line = (row.split("\t") for row in cli("backends").out.splitlines())
    return dict(zip(header, line, strict=True))


def only(cli):
    """The one backend, as `backends --json` has it."""
    (found,) = cli("backends", "--json").json["backends"]
    return found


# --- settings -----------------------------------------------------------------------------------


def test_every_setting_can_be_given_and_is_listed(cli):
    done = cli(
        *REGISTER,
        *("--provider", "ceph", "--workers", 4, "--max-in-flight", "256MiB"),
        *("--bandwidth-limit", "10MiB/s", "--storage-class", "STANDARD_IA"),
        *("--server-side-encryption", "aws:kms", "--kms-key-id", "alias/music"),
        *("--cache-control", "public, max-age=60"),
    )

    assert done.code == 0, done.err
    expected = {
        "provider": "ceph",
        "workers": 4,
        "max_in_flight_bytes": 256 * 1024**2,
        "bandwidth_limit": 10 * 1024**2,
        "storage_class": "STANDARD_IA",
        "server_side_encryption": "aws:kms",
        "kms_key_id": "alias/music",
        "cache_control": "public, max-age=60",
    }
    assert expected.items() <= only(cli).items()
    assert shown(cli)["provider"] == "ceph"
    assert (
        shown(cli)["settings"] == "4 workers, 268.4 MB in memory, 10.5 MB/s, STANDARD_IA, aws:kms"
    )


def test_what_is_not_given_is_told_by_the_endpoint(cli):
    cli(*REGISTER, "--endpoint", "https://id.r2.cloudflarestorage.com")

    line = shown(cli)
    assert (line["provider"], line["settings"], line["tested"]) == ("r2", "-", "no")
    assert only(cli)["profile"]["conditional_put"] is True


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--provider", "nobody"),
        ("--workers", "0"),
        ("--workers", "257"),
        ("--workers", "many"),
        ("--max-in-flight", "much"),
        ("--max-in-flight", "1KiB"),
        ("--max-in-flight", "10MiB/s"),
        ("--bandwidth-limit", "1KiB"),
        ("--bandwidth-limit", "-1"),
        ("--storage-class", "cold one"),
        ("--server-side-encryption", "rot13"),
        ("--kms-key-id", "alias/music"),
        ("--cache-control", "a\nb: c"),
    ],
)
def test_a_setting_that_cannot_be_is_wrong_use(cli, option, value):
    result = cli(*REGISTER, option, value)

    assert (result.code, result.out) == (2, "")
    assert result.err


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1048576", 1024**2),
        ("256MiB", 256 * 1024**2),
        ("256 mib", 256 * 1024**2),
        ("10MB", 10_000_000),
        ("1.5GiB", 3 * 1024**3 // 2),
    ],
)
def test_sizes_are_read(text, count):
    assert types.size(text) == count
    assert types.rate(text) == types.rate(f"{text}/s") == count


@pytest.mark.parametrize("text", ["", "MiB", "-5", "1e3", "10MiB/s", "10 Mi B", "10MiBs", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(click.BadParameter, match="is not a size"):
        types.size(text)


# --- backend test -------------------------------------------------------------------------------


def test_a_test_prints_what_the_store_does_and_remembers_it(cli, registered, remote):
    made = registered()

    result = cli("backend", "test", "cloud")

    assert (result.code, result.err) == (0, "")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert lines[0] == ["asked", "answer", "for uploads"]
    noes = ("copy_checksum", "copy_etag_is_md5")  # both come along with a copy on SeaweedFS
    expected = [[q.what, "no" if name in noes else "yes"] for name, q in QUESTIONS.items()]
    assert [line[:2] for line in lines[1:]] == expected
    assert remote(made).keys() == []
    found = only(cli)
    assert found["tested"]["conditional_put"] is True
    assert found["tested"]["tested_at"]
    assert found["profile"]["put_checksum"] == "SHA256"
    assert cli("backends").out.splitlines()[1].endswith(found["tested"]["tested_at"][:10])


def test_a_test_as_json(cli, registered):
    registered()

    told = cli("backend", "test", "cloud", "--json").json

    assert (told["backend"], told["usable"], told["left_behind"]) == ("cloud", True, [])
    assert [answer["name"] for answer in told["answers"]] == list(QUESTIONS)
    assert set(told["answers"][0]) == {"name", "what", "answer", "detail", "meaning"}
    assert told["profile"]["tested_at"]


def test_an_unclear_answer_is_shown_as_unknown_and_not_kept(cli, registered, proxy):
    registered(endpoint=proxy.endpoint)
    proxy.before.append(
        lambda r: refusal(403, "AccessDenied") if "uploads" in r.parameters else None
    )

    result = cli("backend", "test", "cloud")

    assert result.code == 0
    assert "parts are stored and put together\tunknown: not permitted (AccessDenied)" in result.out
    assert only(cli)["tested"]["multipart"] is None


def test_a_store_that_cannot_be_used_is_an_error_and_keeps_what_was_known(
    cli, registered, monkeypatch
):
    registered()
    cli("backend", "test", "cloud")
    before = only(cli)["tested"]
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong-" + SECRET)

    for arguments in ((), ("--json",)):
        result = cli("backend", "test", "cloud", *arguments)

        assert result.code == 1
        lines = [line.partition(":")[0] for line in result.err.splitlines()]
        assert lines == ["error", "hint"]
        assert "CLOUD_SECRET_ACCESS_KEY" in result.err
        assert SECRET not in result.out + result.err
    assert result.json["usable"] is False
    assert result.json["error"] in result.err
    assert only(cli)["tested"] == before


def test_what_a_test_could_not_delete_is_named(cli, registered, proxy):
    made = registered(endpoint=proxy.endpoint)
    proxy.before.append(lambda r: refusal(403, "AccessDenied") if r.method == "DELETE" else None)

    result = cli("backend", "test", "cloud")

    assert result.code == 0
    assert "warning: " in result.err
    assert f"{made.base_prefix}/.catalogsync-test-" in result.err


def test_ctrl_c_ends_a_test_and_it_cleans_up(catalog, backend, proxy, remote, start_command):
    made = backend(endpoint=proxy.endpoint, provider="other")
    stopped, arrived = threading.Event(), threading.Event()

    def hold(request):
        if request.key.endswith("/conditional"):
            # What was sent first arrives first, though nobody waits for its answer any more.
            (arrived if request.method == "DELETE" else stopped).wait(PATIENCE)

    def note(request, _answer):
        if request.key.endswith("/conditional"):
            arrived.set()

    proxy.before.append(hold)
    proxy.after.append(note)
    process = start_command("backend", "test", "cloud", CATALOGSYNC_DB=str(catalog.path))
    proxy.wait_until(lambda: any(r.key.endswith("/conditional") for r in proxy.requests))

    process.send_signal(signal.SIGINT)
    stopped.set()
    _, err = process.communicate()

    assert process.returncode == 130
    assert "Traceback" not in err
    assert remote(made).keys() == remote(made).unfinished() == []


def test_an_unknown_name_is_wrong_use(cli, registered):
    registered()

    result = cli("backend", "test", "clout")

    assert (result.code, result.out) == (2, "")
    assert "registered are: cloud" in result.err


@pytest.mark.parametrize("command", backends.backend.commands)
def test_the_help_of_every_command_of_the_group_has_an_example(cli, command):
    result = cli("backend", command, "--help")

    assert f"  catalogsync backend {command}" in result.out
    assert ("Exit code" in result.out) is (command in ("test", "remove"))


# --- uploads ------------------------------------------------------------------------------------


def test_an_upload_tests_a_store_in_part_and_a_test_does_the_rest(cli, library, registered):
    library.fill(1)
    cli("scan", "--library-root", library.root)
    registered()

    assert cli("upload", "--backend", "cloud").err == ""
    assert "\tpartly\n" in cli("backends").out
    assert only(cli)["profile"]["conditional_put"] is True
    cli("backend", "test", "cloud")
    assert only(cli)["profile"]["multipart"] is True


def test_a_refused_header_hints_at_the_test(cli, library, registered, proxy):
    library.fill(1)
    cli("scan", "--library-root", library.root)
    registered(endpoint=proxy.endpoint)
    proxy.refuse(9, refusal(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-sha256'"))

    result = cli("upload", "--backend", "cloud")

    assert result.code == 1
    assert "hint: find out what the store can do: catalogsync backend test cloud" in result.err
