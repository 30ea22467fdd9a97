"""`catalog_backup`: the catalog on a backend, and whether the newest snapshot is good enough."""

import dagster as dg
import pytest

from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.proxy import refusal

CHECK = ("catalog_backup", "newest_snapshot_opens", "cloud")


@pytest.fixture
def known(pipeline, cloud):
    """The backend is a partition."""
    pipeline.instance.add_dynamic_partitions("backend", ["cloud"])
    return cloud


def test_a_snapshot_is_made_and_shown_and_checked(pipeline, known):
    run = pipeline.backup()

    assert run.success
    assert run.metadata["snapshot"] == "made"
    assert run.metadata["key"].startswith(f"{known.key_prefix}.catalogsync/catalog/")
    verdict = pipeline.check(*CHECK)
    assert verdict.passed
    assert pipeline.backup().metadata["snapshot"] == "unchanged"


def test_none_at_all_fails_the_check(pipeline, known):
    verdict = pipeline.check(*CHECK)
    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.ERROR
    assert "there is no snapshot" in verdict.description


def test_one_that_is_too_old_fails_it(pipeline, known, catalog, s3):
    key = pipeline.backup().metadata["key"]
    old = key.replace(key.rpartition("/")[2], "20200101T000000Z.db.zst")
    source = {"Bucket": known.bucket, "Key": key}
    s3.copy_object(Bucket=known.bucket, Key=old, CopySource=source)
    s3.delete_object(Bucket=known.bucket, Key=key)
    # Found unchanged a moment ago, it is not behind.
    assert pipeline.check(*CHECK).passed
    change(catalog, "UPDATE storage_backends SET snapshot_at = '2020-01-01 00:00:00'")
    verdict = pipeline.check(*CHECK)

    assert not verdict.passed
    assert "is of 2020-01-01" in verdict.description


def test_one_of_a_time_to_come_does_not_pass_for_the_newest_for_ever(pipeline, known, catalog, s3):
    key = pipeline.backup().metadata["key"]
    later = key.replace(key.rpartition("/")[2], "20900101T000000Z.db.zst")
    source = {"Bucket": known.bucket, "Key": key}
    s3.copy_object(Bucket=known.bucket, Key=later, CopySource=source)
    assert pipeline.check(*CHECK).passed
    change(catalog, "UPDATE storage_backends SET snapshot_at = '2020-01-01 00:00:00'")
    assert not pipeline.check(*CHECK).passed
    change(catalog, "INSERT INTO songs (title) VALUES ('x')")
    assert pipeline.backup().metadata["snapshot"] == "made"
    assert pipeline.check(*CHECK).passed
    at = "SELECT snapshot_at FROM storage_backends WHERE name = 'cloud'"
    assert rows(catalog, f"{at} AND snapshot_at < '2090-01-01'")


@pytest.mark.parametrize("spoilt", ["damaged", "another passphrase", "silent"])
def test_one_that_does_not_open_fails_it(
    pipeline, catalog, backend, proxy, s3, monkeypatch, spoilt
):
    through = backend(endpoint=proxy.endpoint)
    pipeline.instance.add_dynamic_partitions("backend", ["cloud"])
    if spoilt == "another passphrase":
        monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", "one")
    key = pipeline.backup().metadata["key"]
    if spoilt == "damaged":
        head = s3.head_object(Bucket=through.bucket, Key=key)
        s3.put_object(Bucket=through.bucket, Key=key, Body=b"x", Metadata=head["Metadata"])
    elif spoilt == "another passphrase":
        monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", "two")
    else:
        proxy.answer(refusal(403, "AccessDenied"))
    verdict = pipeline.check(*CHECK)

    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.ERROR
    assert [p.name for p in catalog.path.parent.glob("*.snapshot-*")] == []


def test_a_public_bucket_without_a_passphrase_is_a_warning(pipeline, backend):
    backend(public_base_url="https://example.org")
    pipeline.instance.add_dynamic_partitions("backend", ["cloud"])
    run = pipeline.backup()
    verdict = pipeline.check(*CHECK)

    assert run.success
    assert "publicly" in run.metadata["left out"]
    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.WARN


def test_a_store_that_refuses_fails_the_run_with_what_to_do(pipeline, backend, proxy):
    backend(endpoint=proxy.endpoint)
    pipeline.instance.add_dynamic_partitions("backend", ["cloud"])
    proxy.answer(refusal(403, "InvalidAccessKeyId"))
    run = pipeline.backup()

    assert not run.success
    assert "no snapshot of the catalog on cloud" in run.text
