"""What a run makes sure of about a store before its first put, and what of it is kept.

How a store is asked is in `probe`, how it is talked to by the answers in `stores`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from catalogsync_assets.core.catalog.backends import begin_test, end_test, keep_answers
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.probe.probe import ask_copies, ask_deletes, ask_few
from catalogsync_assets.core.stores.probe.session import Session, new_prefix


def make_sure(catalog: Catalog, client: StoreClient) -> None:
    """Have the client go by what its store does today. Does not raise if the store will not tell.

    A store of which too little is known is asked the few questions on which the cost of an upload
    depends, unless its bucket would keep the test object for a time. What is not answered is not
    relied on.
    """
    _notice_versions(client)
    profile = client.profile
    unknown = profile.put_checksum is None or profile.conditional_put is None
    if unknown and client.locks() is not True:
        with noted_test(catalog, client) as prefix:
            client.learn(**ask_few(client, prefix))
    keep_learned(catalog, client)


def make_sure_of_copies(catalog: Catalog, client: StoreClient) -> None:
    """Find out whether the store can copy, if that is not known. Does not raise.

    For a run that has something to copy, after `make_sure`. The store is asked unless its bucket
    would keep the test objects for a time; `profile.copies` that is still None then is a no.
    """
    if client.profile.copies is None and client.locks() is not True:
        with noted_test(catalog, client) as prefix:
            client.learn(**ask_copies(client, prefix))
    keep_learned(catalog, client)


def make_sure_of_deletes(catalog: Catalog, client: StoreClient) -> None:
    """Have the client go by what its store does today with conditions of a delete. Does not raise.

    The store is asked if that is not known, unless its bucket would keep the test object for a
    time; `profile.conditional_delete` that is still None then is a no.
    """
    _notice_versions(client)
    if client.profile.conditional_delete is None and client.locks() is not True:
        with noted_test(catalog, client) as prefix:
            client.learn(**ask_deletes(client, prefix))
    keep_learned(catalog, client)


def _notice_versions(client: StoreClient) -> None:
    """Drop what was found out before the bucket began to keep versions."""
    if not client.relies_on_no_versions:
        return
    versioned = client.is_versioned()
    if versioned:
        client.learn(anew=True, versioned=True)
    client.look_first = versioned is None


def keep_learned(catalog: Catalog, client: StoreClient) -> None:
    """Keep what the client has learned since the last call with its backend's settings."""
    answers, anew = client.take_learned()
    if answers or anew:
        keep_answers(catalog, client.backend, answers, anew=anew)


@contextmanager
def noted_test(catalog: Catalog, client: StoreClient) -> Iterator[str]:
    """A prefix for test objects, noted in the catalog until the end of the block.

    What tests that were killed have left behind is deleted first.
    """
    prefix = new_prefix(client.backend)
    killed = begin_test(catalog, client.backend, prefix)
    cleaned = [p for p in killed if _is_cleaned(client, p)]
    try:
        yield prefix
    finally:
        end_test(catalog, client.backend, [prefix, *cleaned])


def _is_cleaned(client: StoreClient, prefix: str) -> bool:
    session = Session(client, prefix)
    try:
        with session:
            session.find_leftovers()
    except StoreError:
        return False  # not now; the next test tries again
    return not session.left_behind
