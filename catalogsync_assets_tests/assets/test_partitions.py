"""Partition keys, as the catalog and a Dagster instance know them."""

import dagster as dg
import pytest

from catalogsync_assets.assets.partitions import backends, batches, missing_keys, register_keys


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_an_empty_catalog_has_no_keys(catalog, instance):
    assert missing_keys(catalog, instance) == {backends: [], batches: []}


def test_the_local_library_is_no_partition(catalog, library, scanned, instance):
    library.fill(1)
    scanned()

    register_keys(catalog, instance)

    assert instance.get_dynamic_partitions("backend") == []
    assert len(instance.get_dynamic_partitions("batch")) == 1


def test_only_what_is_not_registered_is_missing_and_registering_may_be_repeated(
    catalog, backend, library, scanned, instance
):
    backend("one")
    register_keys(catalog, instance)
    backend("two")
    library.fill(1)
    (batch,) = scanned().batches

    assert missing_keys(catalog, instance) == {backends: ["two"], batches: [batch]}

    for _ in range(2):
        register_keys(catalog, instance)
        assert missing_keys(catalog, instance) == {backends: [], batches: []}
    assert sorted(instance.get_dynamic_partitions("backend")) == ["one", "two"]


def test_keys_that_the_catalog_no_longer_has_are_left_alone(catalog, instance):
    instance.add_dynamic_partitions("backend", ["former"])

    register_keys(catalog, instance)

    assert instance.get_dynamic_partitions("backend") == ["former"]
