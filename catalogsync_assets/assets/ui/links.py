"""Where a person finds a bucket or an object on the web. No link here carries a signature."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode, urlsplit

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.profile import provider_of

# The partitions of AWS have consoles of their own.
_AWS_CONSOLES = (("cn-", "console.amazonaws.cn"), ("us-gov-", "console.amazonaws-us-gov.com"))
# https://developers.cloudflare.com/r2/reference/data-location/#jurisdictional-restrictions
_R2_HOST = re.compile(r"(?P<account>\w+)\.((?P<jurisdiction>\w+)\.)?r2\.cloudflarestorage\.com")


def bucket_link(backend: ObjectBackend) -> str:
    """The page of the backend's bucket in its service's console; for a service that has none that
    is known, the bucket's address."""
    bucket, prefix = backend.bucket, backend.key_prefix
    match backend.provider or provider_of(backend.endpoint):
        case "aws":
            return _aws_console("buckets", backend, prefix)
        case "gcs":
            return f"https://console.cloud.google.com/storage/browser/{bucket}/{quote(prefix)}"
        case "b2":
            return "https://secure.backblaze.com/b2_buckets.htm"
        case "r2" if found := _R2_HOST.fullmatch(urlsplit(backend.endpoint or "").hostname or ""):
            place = found["jurisdiction"] or "default"
            return f"https://dash.cloudflare.com/{found['account']}/r2/{place}/buckets/{bucket}"
    return backend.url_prefix() or f"{backend.endpoint or 'https://s3.amazonaws.com'}/{bucket}/"


def object_link(backend: ObjectBackend, locator: str, public_url: str | None) -> str | None:
    """Where an object can be listened to, or else seen in a console; None if neither is known."""
    if public_url is None and (backend.provider or provider_of(backend.endpoint)) == "aws":
        return _aws_console("object", backend, locator)
    return public_url


def _aws_console(page: str, backend: ObjectBackend, prefix: str) -> str:
    region = backend.region
    own = next((host for start, host in _AWS_CONSOLES if region.startswith(start)), None)
    host = own or f"{region}.console.aws.amazon.com"
    query = {"region": region, **({"prefix": prefix} if prefix else {})}
    return (
        f"https://{host}/s3/{page}/{backend.bucket}?{urlencode(query, safe='/', quote_via=quote)}"
    )
