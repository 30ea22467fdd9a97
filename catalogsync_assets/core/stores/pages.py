"""What a store lists below a backend's prefix, as a stream.

The order is the store's own and means nothing here: S3 lists by the bytes of the keys, SeaweedFS as
a tree (`a/b` before `a!`), which a merge with an index of keys would take for missing objects.
"""

from __future__ import annotations

from collections.abc import Iterator

from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.runner.workers import Workers
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.listing import ListedObject
from catalogsync_assets.core.stores.verify import Retry

#: What this program's own keys begin with after the prefix: those of tests, never a file's.
OWN_KEYS = ".catalogsync-"


def listed(
    client: StoreClient, retry: Retry, *, after: str | None = None
) -> Iterator[list[ListedObject]]:
    """The objects below the backend's prefix, some hundreds at a time, but for our tests' keys.

    The next page is asked for while the caller works on the last. Memory does not grow with their
    number.

    Args:
        retry: calls each request for a page.
        after: the last key of an earlier listing, to go on behind it.

    Raises:
        StoreError: the store refused, or was silent at every try.
    """
    pages: Iterator[list[ListedObject]] | None = None

    def page() -> list[ListedObject] | None:
        nonlocal pages, after
        pages = pages or client.list_pages(after=after)
        try:
            found = next(pages, None)
        except StoreError:
            pages = None  # it ends with its first error
            raise
        if found:
            after = found[-1].key
        return found

    own = client.backend.key_prefix + OWN_KEYS
    reader = Workers(1, "list")
    try:
        coming = reader.submit(lambda: retry(page))
        while (found := coming.result()) is not None:
            coming = reader.submit(lambda: retry(page))
            yield [o for o in found if not o.key.startswith(own)]
    finally:
        reader.close()
