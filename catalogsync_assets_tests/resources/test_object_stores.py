"""Object stores as Dagster resources: the same client as the command line's."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from botocore.exceptions import ClientError
from dagster_aws.s3 import S3Resource

from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.stores.sdk import boto3_client
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets.resources import ObjectStoreResource
from catalogsync_assets.resources.backend_s3 import BackendS3Resource
from catalogsync_assets_tests.support.proxy import refusal

MIB = 1024 * 1024


# --- one backend's S3 resource ------------------------------------------------------------------


def test_a_backend_s_resource_is_an_s3_resource_of_dagster_aws(unregistered):
    backend = unregistered("cloud", region="eu-central-1")

    resource = BackendS3Resource.of(backend)

    assert isinstance(resource, S3Resource)
    assert resource.endpoint_url == backend.endpoint
    assert resource.region_name == "eu-central-1"


def test_its_client_writes_the_store_with_the_bucket_in_the_path_where_there_is_an_endpoint(
    unregistered, proxy, remote
):
    backend = unregistered(endpoint=proxy.endpoint)

    BackendS3Resource.of(backend).get_client().put_object(
        Bucket=backend.bucket, Key=f"{backend.key_prefix}a", Body=b"song"
    )

    assert remote(backend).contents() == {"a": b"song"}
    (request,) = proxy.requests
    assert request.path.startswith(f"/{backend.bucket}/")


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"endpoint": None}, "https://music.s3.amazonaws.com/a"),
        ({"endpoint": "https://s3.example", "addressing_style": "virtual"}, "https://music.s3.e"),
        ({"endpoint": "https://s3.example"}, "https://s3.example/music/a"),
    ],
    ids=["aws", "virtual", "path"],
)
def test_its_client_addresses_buckets_as_the_backend_says(unregistered, settings, address):
    client = BackendS3Resource.of(unregistered(bucket="music", **settings)).get_client()

    url = client.generate_presigned_url("get_object", Params={"Bucket": "music", "Key": "a"})

    assert url.startswith(address)


def test_its_credentials_are_those_of_the_backend_s_own_variables(unregistered, store, monkeypatch):
    for prefix, secret in (("MINE", store.secret_access_key), ("AWS", "wrong"), ("CLOUD", "wrong")):
        monkeypatch.setenv(f"{prefix}_ACCESS_KEY_ID", store.access_key_id)
        monkeypatch.setenv(f"{prefix}_SECRET_ACCESS_KEY", secret)

    def ask(prefix):
        backend = unregistered(credential_env_prefix=prefix)
        answer = BackendS3Resource.of(backend).get_client().list_objects_v2(Bucket=backend.bucket)
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    assert ask("MINE") == 200
    for other in ("AWS", "CLOUD"):
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            ask(other)


def test_missing_credentials_are_named(unregistered, monkeypatch):
    monkeypatch.delenv("CLOUD_ACCESS_KEY_ID")
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")
    resource = BackendS3Resource.of(unregistered())

    with pytest.raises(ConfigurationError, match="no credentials") as caught:
        resource.get_client()

    assert "CLOUD_ACCESS_KEY_ID and CLOUD_SECRET_ACCESS_KEY" in (caught.value.hint or "")


def test_its_client_is_configured_as_that_of_the_command_line(unregistered):
    for backend in (unregistered(), unregistered(endpoint=None, region="eu-central-1")):
        ours = BackendS3Resource.of(backend).get_client().meta
        theirs = boto3_client(backend).meta

        assert (ours.endpoint_url, ours.region_name) == (theirs.endpoint_url, theirs.region_name)
        for setting in (
            "s3",
            "retries",
            "connect_timeout",
            "read_timeout",
            "max_pool_connections",
            "request_checksum_calculation",
            "response_checksum_validation",
        ):
            assert getattr(ours.config, setting) == getattr(theirs.config, setting)


def test_it_holds_no_secret(unregistered, store):
    resource = BackendS3Resource.of(unregistered())
    resource.get_client()

    assert store.secret_access_key not in repr(resource)
    assert store.secret_access_key not in resource.model_dump_json()


# --- all of them --------------------------------------------------------------------------------


def test_limits_are_the_backends_own_unless_configured(unregistered):
    own = unregistered(workers=5, max_in_flight_bytes=4 * MIB, bandwidth_limit=MIB)

    assert ObjectStoreResource().limits(unregistered()) == Limits()
    assert ObjectStoreResource().limits(own) == Limits(5, 4 * MIB, bytes_per_second=MIB)
    assert ObjectStoreResource(workers=3, max_in_flight_mib=2, attempts=7).limits(own) == Limits(
        workers=3, max_in_flight_bytes=2 * MIB, attempts=7, bytes_per_second=MIB
    )


@pytest.mark.parametrize(
    "setting", [{"workers": 0}, {"workers": 257}, {"max_in_flight_mib": 0}, {"attempts": 0}]
)
def test_limits_that_make_no_sense_are_refused(setting):
    with pytest.raises(pydantic.ValidationError, match=next(iter(setting))):
        ObjectStoreResource(**setting)


def test_uploads_through_the_resource_keep_its_limits(
    catalog, backend, proxy, library, scanned, remote
):
    cloud = backend("cloud", endpoint=proxy.endpoint)
    library.fill(6)
    scanned()
    enqueue(catalog, cloud)
    proxy.refuse(1, refusal(503))
    resource = ObjectStoreResource(workers=2, attempts=2)

    report = upload(catalog, cloud, limits=resource.limits(cloud), connect=resource.connect)

    assert (report.succeeded, report.failed, report.retries, report.workers) == (6, 0, 1, 2)
    assert proxy.most_at_once <= 2
    assert remote(cloud).contents() == library.contents()


def test_the_control_plane_of_an_upload_is_the_s3_resource_s_client(cloud, monkeypatch):
    made: list[Any] = []
    original = BackendS3Resource.get_client

    def recording(self):
        made.append(original(self))
        return made[-1]

    monkeypatch.setattr(BackendS3Resource, "get_client", recording)

    client = ObjectStoreResource().connect(cloud)

    assert made == []  # nothing is built before it is needed
    assert [client.head("a"), client.head("b")] == [None, None]
    assert len(made) == 1
