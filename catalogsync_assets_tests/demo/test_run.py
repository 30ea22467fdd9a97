"""The demo, from nothing to a library that can be listened to."""

import dataclasses
import os
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest
import yaml

from catalogsync_assets.core.backup.concerns import concerns
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.replication import policy_status
from catalogsync_assets.core.catalog.status import BackendStatus
from catalogsync_assets.core.errors import CatalogSyncError, ConfigurationError
from catalogsync_assets.demo.run import prepare_dagster_home, run_demo, stop_demo
from catalogsync_assets.demo.sample_library import make_sample_library
from catalogsync_assets.local_s3.store import start_local_store
from catalogsync_assets_tests.support.database import rows

SONGS = 6


class Demo(NamedTuple):
    """What two runs of the demo said and found."""

    directory: Path
    library: Path
    said: list[list[str]]
    found: list[list[BackendStatus]]


def value(said: list[str], word: str) -> str:
    """What follows the word that a line begins with."""
    (line,) = [line for line in said if line.startswith(word)]
    return line.removeprefix(word).strip()


@pytest.fixture(scope="module")
def own_environment():
    """What the machine has set does not matter, and what the demo sets is gone afterwards."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "CATALOGSYNC_", "DAGSTER_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def demo(tmp_path_factory, own_environment):
    folder = tmp_path_factory.mktemp("demo")
    library = folder / "Müsic of mine"
    make_sample_library(library, songs=SONGS, seconds=0.2)
    demo = Demo(folder / "state", library, [[], []], [])
    try:
        demo.found.append(run_demo(demo.directory, library, say=demo.said[0].append))
        demo.found.append(run_demo(demo.directory, library, say=demo.said[1].append))
        yield demo
    finally:
        stop_demo(demo.directory, say=lambda _: None)


def test_the_first_run_uploads_the_whole_library(demo):
    files = [path for path in demo.library.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)

    assert value(demo.said[0], "uploaded") == f"{len(files)} files"
    local, cloud = demo.found[0]
    assert (local.name, cloud.name) == ("local", "demo")
    assert (cloud.songs, cloud.songs_total, cloud.files, cloud.bytes) == (
        local.songs,
        local.songs_total,
        len(files),
        size,
    )
    assert (cloud.pending, cloud.failed) == (0, 0)


def test_it_goes_through_every_asset(demo):
    steps = [line.split()[1] for line in demo.said[0] if line.startswith("dagster")]

    assert steps == [
        "downloaded_files",
        "pending_uploads",
        "remote_locations",
        "backend_presence",
        "backend_audit",
        "catalog_backup",
    ]
    with dg.DagsterInstance.from_config(str(demo.directory / "dagster_home")) as instance:
        (batch,) = instance.get_dynamic_partitions("batch")
        cells = instance.get_materialized_partitions(dg.AssetKey("remote_locations"))
        assert cells == {f"demo|{batch}"}


def test_the_second_run_finds_everything_in_place(demo):
    assert "nothing to upload: everything is in place" in demo.said[1]
    assert not any(line.startswith("uploaded") for line in demo.said[1])
    first, second = (
        [dataclasses.replace(b, last_audit=None) for b in found] for found in demo.found
    )
    assert second == first


def test_both_runs_use_one_store(demo):
    first, second = (value(said, "store") for said in demo.said)

    assert first == second


def test_the_link_that_is_shown_serves_a_file_byte_for_byte(demo):
    url, _, rest = value(demo.said[0], "listen").partition(" ")
    (file,) = [
        path
        for path in demo.library.rglob("*")
        if path.is_file()
        and unquote(urlsplit(url).path).endswith(path.relative_to(demo.library).as_posix())
    ]

    with urllib.request.urlopen(url, timeout=30) as answer:
        content = answer.read()

    assert content == file.read_bytes()
    assert f"{len(content):,} bytes served" in rest


def test_it_says_what_is_where_and_how_to_go_on(demo):
    status = [line for line in demo.said[0] if line.startswith("  ")]

    assert [line.split()[0] for line in status] == ["local", "demo"]
    assert all(f"{SONGS} files" in line for line in status)
    assert str(demo.directory) in value(demo.said[0], "stop")
    assert value(demo.said[0], "web UI").startswith("make dev")


def test_its_state_warns_of_nothing_that_its_user_has_not_done(demo):
    with closing(Catalog.open(demo.directory / "catalog.db")) as catalog:
        assert concerns(catalog) == []
        assert policy_status(catalog).songs_under_policy == 0
        made = "SELECT snapshot_at IS NOT NULL FROM storage_backends WHERE name = 'demo'"
        assert rows(catalog, made) == [1]


def test_the_library_is_only_read(demo, tmp_path):
    make_sample_library(tmp_path, songs=SONGS, seconds=0.2)

    def contents(root):
        files = [path for path in root.rglob("*") if path.is_file()]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    assert contents(demo.library) == contents(tmp_path)


def test_its_dagster_home_has_the_settings_that_are_shipped(demo):
    home = demo.directory / "dagster_home"

    assert yaml.safe_load((home / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}
    workspace = yaml.safe_load((home / "workspace.yaml").read_text())
    (entry,) = workspace["load_from"]
    assert entry["python_module"]["module_name"] == "catalogsync_assets.definitions"


def test_a_missing_library_folder_is_refused_before_anything_is_made(tmp_path, own_environment):
    said = []

    try:
        with pytest.raises(ConfigurationError, match="is not a folder") as caught:
            run_demo(tmp_path / "state", tmp_path / "absent", say=said.append)
        assert list(tmp_path.iterdir()) == []
    finally:
        stop_demo(tmp_path / "state", say=lambda _: None)

    assert str(tmp_path / "absent") in caught.value.message
    assert caught.value.hint == "name one with --library"
    assert said == []


def test_a_step_that_fails_ends_the_demo_with_its_reason(demo, tmp_path):
    """A library without a file looks like a disk that is not mounted."""
    albums = {folder: tmp_path / folder.name for folder in demo.library.iterdir()}
    for folder, elsewhere in albums.items():
        folder.rename(elsewhere)
    try:
        with pytest.raises(CatalogSyncError, match="check that its disk is mounted") as caught:
            run_demo(demo.directory, demo.library, say=lambda _: None)
    finally:
        for folder, elsewhere in albums.items():
            elsewhere.rename(folder)

    assert caught.value.message.startswith(f"downloaded_files: library root {demo.library}")
    assert "\n" not in str(caught.value)


def test_stopping_it_stops_its_store_and_may_be_repeated(tmp_path):
    said = []
    store = start_local_store(tmp_path / "store")

    for _ in range(2):
        stop_demo(tmp_path, say=said.append)

    assert "stopped" in said[0]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(store.endpoint, timeout=5)


def test_a_dagster_home_keeps_what_its_owner_changed(tmp_path, own_environment):
    home = tmp_path / "home"
    prepare_dagster_home(home)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("backend", ["cloud"])

    prepare_dagster_home(home)

    assert (home / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_dynamic_partitions("backend") == ["cloud"]


def test_a_dagster_home_that_is_made_is_its_owners_alone(tmp_path, own_environment):
    (tmp_path / "theirs").mkdir(mode=0o755)

    for name, mode in (("ours", 0o700), ("theirs", 0o755)):
        prepare_dagster_home(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == mode
