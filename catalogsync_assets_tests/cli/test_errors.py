"""What the commands say of what is wrong, and how they end then."""

from __future__ import annotations

import pytest

from catalogsync_assets_tests.support.database import bytes_of

SECRET = "a-secret-that-nobody-may-see"


def require_error(result, code, *said):
    """One `error:` and one `hint:` line on stderr, nothing on stdout, no traceback."""
    assert (result.code, result.out) == (code, "")
    error, hint = result.errors
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    for text in said:
        assert text in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("backends",),
        ("plan",),
        ("upload", "--backend", "cloud"),
    ],
)
def test_a_missing_catalog_is_one_clear_error(cli, tmp_path, arguments):
    require_error(cli(*arguments), 1, "there is no catalog at", "catalogsync init")
    assert not (tmp_path / "catalog.db").exists()


@pytest.mark.parametrize("arguments", [("init",), ("status",), ("scan", "--library-root", ".")])
def test_a_catalog_that_is_none_is_one_clear_error(cli, tmp_path, arguments):
    (tmp_path / "catalog.db").write_bytes(b"no database at all")

    require_error(cli(*arguments), 1, "is not an SQLite database")


@pytest.mark.parametrize(
    "arguments", [("upload", "--backend", "clout"), ("plan", "--backend", "clout")]
)
def test_an_unknown_backend_lists_the_known_ones(cli, register, arguments):
    register("cloud")
    register("attic")

    require_error(cli(*arguments), 2, "'clout'", "registered are: attic, cloud")


def test_a_url_of_another_database_is_wrong_use(cli):
    result = cli("status", "--db", "postgresql://me:hunter2@host/db")

    require_error(result, 2, "sqlite:///")
    assert "hunter2" not in result.err


def test_a_bad_setting_is_wrong_use(cli):
    result = cli(
        "register-object-backend",
        *("--name", "cloud", "--bucket", "my-music"),
        *("--endpoint", "https://key:hunter2@host"),
    )

    require_error(result, 2, "--credential-env-prefix")
    assert "hunter2" not in result.err


def test_no_root_is_wrong_use(cli):
    require_error(cli("scan"), 2, "CATALOGSYNC_LIBRARY_ROOTS")


def test_a_root_inside_another_is_wrong_use(cli, library):
    result = cli(
        *("scan", "--library-root", library.root),
        *("--library-root", library.root / "inner"),
    )

    require_error(result, 2, "lies inside")


def test_an_unmounted_root_is_an_error_and_can_be_accepted(cli, library):
    (path,) = library.fill(1)
    cli("scan", "--library-root", library.root)
    path.unlink()

    require_error(cli("scan", "--library-root", library.root), 1, "--allow-empty")
    assert cli("scan", "--library-root", library.root, "--allow-empty").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("upload",),
        ("upload", "--backend", "cloud", "--workers", "0"),
        ("upload", "--backend", "cloud", "--limit", "0"),
        ("scan", "--batch-files", "0"),
        ("register-object-backend", "--name", "cloud"),
        ("no-such-command",),
        ("status", "--no-such-option"),
    ],
)
def test_wrong_use_ends_with_two(cli, arguments):
    result = cli(*arguments)

    assert (result.code, result.out) == (2, "")
    assert "Error: " in result.err


def test_an_error_as_json_is_one_object_too(cli, register):
    register()
    result = cli("upload", "--backend", "clout", "--json")

    assert result.code == 2
    assert set(result.json) == {"error", "hint"}
    assert "'clout'" in result.json["error"]
    assert len(result.errors) == 2


def test_one_variable_without_the_other_is_wrong_use(cli, library, register, monkeypatch):
    library.fill(1)
    cli("scan", "--library-root", library.root)
    register()
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")

    result = cli("upload", "--backend", "cloud")

    require_error(result, 2, "CLOUD_SECRET_ACCESS_KEY is not", "set CLOUD_SECRET_ACCESS_KEY")


def test_a_wrong_secret_is_an_error_that_names_the_variables(
    cli, library, register, monkeypatch, tmp_path
):
    library.fill(1)
    cli("scan", "--library-root", library.root)
    register()
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong-" + SECRET)

    result = cli("upload", "--backend", "cloud")

    lines = result.errors
    assert result.code == 1
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
    assert "CLOUD_ACCESS_KEY_ID and CLOUD_SECRET_ACCESS_KEY" in lines[1]
    assert SECRET not in result.out + result.err
    assert SECRET.encode() not in bytes_of(tmp_path / "catalog.db")


def test_an_upload_that_cannot_go_on_tells_in_json_what_it_did(cli, library, register):
    library.fill(2)
    cli("scan", "--library-root", library.root)
    register(bucket="no-such-bucket")

    result = cli("upload", "--backend", "cloud", "--json")

    assert result.code == 1
    told = result.json
    assert (told["queued"], told["succeeded"], told["failed"]) == (2, 0, 0)
    assert "'no-such-bucket'" in told["error"]
    assert told["hint"]
    assert "error: " in result.err
