"""What is known of services, and what goes before it."""

import pytest

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.profile import (
    CRC64NVME,
    NO_CHECKSUM,
    PRESETS,
    SHA256,
    StoreProfile,
    provider_of,
)


@pytest.mark.parametrize(
    ("endpoint", "provider"),
    [
        (None, "aws"),
        ("https://s3.eu-central-1.amazonaws.com", "aws"),
        ("https://id.r2.cloudflarestorage.com", "r2"),
        ("https://id.eu.r2.cloudflarestorage.com", "r2"),
        ("https://s3.eu-central-003.backblazeb2.com", "b2"),
        ("https://storage.googleapis.com", "gcs"),
        ("https://s3.example:9000", "other"),
        ("https://amazonaws.com.example", "other"),
        ("https://notamazonaws.com", "other"),
    ],
)
def test_a_service_is_told_by_its_endpoint(endpoint, provider):
    assert provider_of(endpoint) == provider


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_claims_no_test_and_only_digests_that_can_be_sent(name):
    assert PRESETS[name].tested_at is None
    assert PRESETS[name].put_checksum in (None, SHA256, CRC64NVME, NO_CHECKSUM)


def test_what_a_test_found_out_goes_before_the_preset_and_the_rest_stays():
    found = StoreProfile(put_checksum=NO_CHECKSUM, conditional_put=False, tested_at="now")

    profile = ObjectBackend("cloud", "my-music", tested=found).profile

    assert (profile.put_checksum, profile.conditional_put) == (NO_CHECKSUM, False)
    assert profile.conditional_replace is True
    assert profile.tested_at == "now"


def test_nothing_is_known_of_another_service():
    assert ObjectBackend("cloud", "b", endpoint="https://s3.example").profile.known() == {}
