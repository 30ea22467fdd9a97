"""Backends: what may be registered, and what an update keeps."""

import json
from dataclasses import replace

import pytest

from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends, register
from catalogsync_assets.core.errors import ConfigurationError, UnknownBackendError
from catalogsync_assets.core.stores.backend import ObjectBackend, validated
from catalogsync_assets_tests.support.database import bytes_of, change, rows

PLAIN = ObjectBackend(name="cloud", bucket="my-music")


def test_a_backend_comes_back_as_it_was_registered(catalog):
    given = ObjectBackend(
        name="my-store_2",
        bucket="my-music",
        endpoint="https://s3.example:9000/path",
        region="eu-central-1",
        base_prefix="music/library",
        addressing_style="virtual",
        public_base_url="https://cdn.example",
        credential_env_prefix="MYSTORE",
    )

    registered, is_new = register(catalog, given)

    assert is_new
    assert registered == replace(given, id=registered.id)
    assert backend_by_name(catalog, "my-store_2") == registered


def test_the_same_name_again_is_an_update(catalog):
    first, _ = register(catalog, PLAIN)

    second, is_new = register(catalog, replace(PLAIN, region="eu", base_prefix="m"))

    assert not is_new
    assert second.id == first.id
    assert object_backends(catalog) == [second]


def test_an_update_can_take_a_setting_back(catalog):
    register(catalog, replace(PLAIN, endpoint="https://s3.example", base_prefix="m"))
    register(catalog, PLAIN)

    found = backend_by_name(catalog, "cloud")
    assert (found.endpoint, found.base_prefix) == (None, "")


def test_registering_the_same_again_is_harmless(catalog):
    assert register(catalog, PLAIN)[0] == register(catalog, PLAIN)[0]


def test_an_unknown_name_lists_the_known_ones(catalog):
    with pytest.raises(UnknownBackendError) as caught:
        backend_by_name(catalog, "cloud")
    assert "register-object-backend" in (caught.value.hint or "")

    for name in ("cloud", "attic"):
        register(catalog, replace(PLAIN, name=name))
    with pytest.raises(UnknownBackendError, match="'clout'") as caught:
        backend_by_name(catalog, "clout")
    assert caught.value.hint == "registered are: attic, cloud"


@pytest.mark.parametrize(
    "name", ["a|b", "A", "a,b", "...", "local", "", "a b", "ä", "a.b", "a/b", "x" * 64, "a\n"]
)
def test_a_name_that_cannot_be_a_partition_key_is_refused(catalog, name):
    with pytest.raises(ConfigurationError, match="cannot be a backend's name"):
        register(catalog, replace(PLAIN, name=name))

    assert object_backends(catalog) == []


@pytest.mark.parametrize("field", ["endpoint", "public_base_url"])
@pytest.mark.parametrize(
    "url",
    [
        "https://key:hunter2@s3.example",
        "https://hunter2@s3.example",
        "https://s3.example/?X-Amz-Signature=hunter2",
        "https://s3.example/#hunter2",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(catalog, field, url):
    with pytest.raises(ConfigurationError) as caught:
        register(catalog, replace(PLAIN, **{field: url}))

    assert "hunter2" not in str(caught.value)
    assert b"hunter2" not in bytes_of(catalog.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": "a"},
        {"bucket": "my music"},
        {"bucket": "my-music/prefix"},
        {"endpoint": "s3.example"},
        {"endpoint": "ftp://s3.example"},
        {"endpoint": "https://"},
        {"endpoint": "https://s3.example:port"},
        {"endpoint": "https://[::1"},
        {"region": " "},
        {"addressing_style": "diagonal"},
        {"credential_env_prefix": "MY-STORE"},
        {"credential_env_prefix": "AWS_SECRET=x"},
        {"base_prefix": "a//b"},
        {"base_prefix": "../up"},
        {"base_prefix": "a/./b"},
        {"base_prefix": "a\\b"},
        {"base_prefix": "a\nb"},
        {"base_prefix": "ü" * 63},
    ],
    ids=str,
)
def test_a_setting_that_cannot_work_is_refused(catalog, changes):
    with pytest.raises(ConfigurationError):
        register(catalog, replace(PLAIN, **changes))  # type: ignore[arg-type]

    assert object_backends(catalog) == []


def test_a_prefix_is_kept_without_slashes_and_composed():
    assert validated(replace(PLAIN, base_prefix="/Mu\u0308sik/")).base_prefix == "Müsik"


def test_a_backend_with_files_cannot_be_pointed_at_another_bucket(catalog):
    backend, _ = register(catalog, PLAIN)
    change(catalog, "INSERT INTO file_assets (id) VALUES (1)")
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator)"
        " VALUES (1, ?, 'my-music', 'a.mp3')",
        backend.id,
    )

    with pytest.raises(ConfigurationError, match="1 files in bucket 'my-music'"):
        register(catalog, replace(PLAIN, bucket="another"))
    register(catalog, replace(PLAIN, region="eu"))

    assert backend_by_name(catalog, "cloud").bucket == "my-music"


def test_a_backend_without_files_may_change_its_bucket(catalog):
    register(catalog, PLAIN)
    register(catalog, replace(PLAIN, bucket="another"))

    assert backend_by_name(catalog, "cloud").bucket == "another"


def test_settings_of_other_programs_survive_an_update(catalog):
    register(catalog, PLAIN)
    change(
        catalog, "UPDATE storage_backends SET config = json_set(config, '$.theirs', json('[1, 2]'))"
    )

    register(catalog, replace(PLAIN, region="eu"))

    (config,) = map(json.loads, rows(catalog, "SELECT config FROM storage_backends"))
    assert (config["theirs"], config["region"]) == ([1, 2], "eu")


def test_auto_addressing_is_path_with_an_endpoint_and_virtual_without():
    assert PLAIN.virtual_hosted
    assert not replace(PLAIN, endpoint="https://s3.example").virtual_hosted
    assert replace(PLAIN, endpoint="https://s3.example", addressing_style="virtual").virtual_hosted


def test_a_public_url_is_percent_encoded():
    backend = replace(PLAIN, public_base_url="https://cdn.example/music/")

    assert backend.public_url("Ä b/1#?.flac") == (
        "https://cdn.example/music/%C3%84%20b/1%23%3F.flac"
    )
    assert PLAIN.public_url("a") is None
