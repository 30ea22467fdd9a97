"""Deletes an object, if it is the very one that is meant: looked at, deleted, looked for.

==============================================  =================================================
the store holds under the key                   then
==============================================  =================================================
nothing, by its own word                        nothing is to be done
the version that is known, and tagged as ours   it is deleted, on the condition that it is that
                                                version, where the store keeps conditions; Swift's
                                                hold for no object in parts: without, if that was
                                                asked for
anything else, by two looks                     it stays, and it is said why; `OVERWRITTEN` are the
                                                codes that say that it is not the file's any more
==============================================  =================================================

Where no condition of a delete is kept, what comes to the key between the look and the delete goes
with it; whoever asks for that says so. Versions that a bucket keeps are left as they are: a delete
without a version id only hides them. Nothing else of this program deletes objects but its own tests
of stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, NotRemoved
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.classify import NO_SUCH_KEY
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import StoredObject

#: Of a `NotRemoved`: the key holds what is not the object of its file. It is another program's,
#: another catalog's, or another file's.
OVERWRITTEN = frozenset(("Changed", "NotOurs", "AnotherFile"))
#: Clocks that tell seconds, asked over a network, agree no better.
_SECONDS = timedelta(seconds=3)


@dataclass(frozen=True)
class KnownObject:
    """An object as it is known; anything else under its key is another one."""

    key: str  #: the whole key
    etag: str  #: that it has; not empty
    size_bytes: int | None  #: its length; None where it is not known
    owner: str  #: the catalog that has put it, as its owner tag begins, before the `/`
    file: str  #: what for, as the tag ends
    written_until: datetime  #: it was written by then; in UTC, by the clock here
    #: Whether another tool may have put it, so that it is without a tag of ours, or has it and was
    #: written again: we know its ETag only.
    may_be_adopted: bool = False
    #: Whether it may be deleted without a condition, if the store takes none for it.
    unconditional: bool = False


def can_say_condition(client: StoreClient) -> bool:
    """Whether the installed boto3 can name a condition of a delete."""
    return "IfMatch" in client.arguments_of("DeleteObject")


def is_conditional(client: StoreClient) -> bool:
    """Whether a delete here protects what is not meant."""
    return client.profile.conditional_delete is True and can_say_condition(client)


def remove(client: StoreClient, known: KnownObject) -> Literal["removed", "gone"]:
    """Delete an object. May be called again after a lost answer: it looks first, each time.

    Returns:
        `gone` if the store said, in so many words, that there was nothing.

    Raises:
        NotRemoved: it stays, as it is not what is known, or the store has not deleted it.
        StoreError: the store refused, or was silent: then it may be gone or not.
    """
    key, asked = known.key, _now()
    found = client.head(key)
    if found is None:
        if not is_gone(client, key):
            raise verify.unsettled(client, key)
        return "gone"
    problem = _speaks_against(client, found, known, asked)
    if problem is not None:
        if client.head(key) != found:
            raise verify.unsettled(client, key)
        raise problem
    try:
        _delete(client, key, found.etag)
    except ConflictError as error:
        if client.head(key) != found:  # the next look tells what has come there
            raise verify.unsettled(client, key) from error
        if not known.unconditional:
            raise _takes_no_condition(client, key) from error
        _delete(client, key, None)
    if not is_gone(client, key):
        after = client.head(key)
        if after is not None and verify.bare(after.etag) == verify.bare(found.etag):
            raise _stays(client, key, "it is still there after it was deleted", "StillThere")
    return "removed"


def is_gone(client: StoreClient, key: str) -> bool:
    """Whether the store says in so many words, twice, that there is nothing under a key."""
    return client.read(key) is None and client.read(key) is None


def _delete(client: StoreClient, key: str, etag: str | None) -> None:
    condition = {"IfMatch": client.if_match(etag)} if etag and is_conditional(client) else {}
    try:
        client.call("delete", key, "delete_object", **condition)
    except KeyRefusedError as error:
        if error.code != NO_SUCH_KEY:
            raise


def _speaks_against(
    client: StoreClient, found: StoredObject, known: KnownObject, asked: datetime
) -> NotRemoved | None:
    """Why an object is not the one that is known; None if it is."""
    owner, _, file = (found.owner_tag or "").partition("/")
    is_tagged = (owner, file) == (known.owner, known.file)
    same_size = known.size_bytes is None or found.size_bytes in (None, known.size_bytes)
    written = _written_at(found, asked)
    is_newer = written is None or written > known.written_until + _SECONDS
    why = None
    if owner not in ("", known.owner):
        why = "another catalog has put the object there", "NotOurs"
    elif verify.bare(found.etag) != verify.bare(known.etag) or not same_size:
        if is_tagged:  # as when the bucket was brought to another store, in other parts
            why = "it has another ETag than the one that is known", "Newer"
        elif owner:
            why = "it is the object of another file", "AnotherFile"
        else:
            why = "another object is there by now", "Changed"
    elif not is_tagged and not known.may_be_adopted:
        why = "it was adopted, not put by this catalog", "Adopted"
    elif is_newer and not (is_tagged and known.may_be_adopted):
        why = "it was written again since it was last known", "Newer"
    return why and _stays(client, known.key, *why)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _written_at(found: StoredObject, asked: datetime) -> datetime | None:
    """When an object was written, by the clock here; None if the store does not tell.

    What its answer took on its way is no lag of the store's clock: that is held against the moment
    in which it was asked, so that a slow answer makes no object younger.
    """
    if found.modified_at is None:
        return None
    ahead = timedelta(0) if found.answered_at is None else found.answered_at - asked
    return (found.modified_at - ahead).astimezone(timezone.utc).replace(tzinfo=None)


def _takes_no_condition(client: StoreClient, key: str) -> NotRemoved:
    why = "the store denies that it is the version that it is (If-Match)"
    hint = "if no other program writes there, add --unconditional"
    return _stays(client, key, why, "NoCondition", hint)


def _stays(
    client: StoreClient, key: str, why: str, code: str, hint: str | None = None
) -> NotRemoved:
    message = f"backend {client.backend.name!r}: {key!r} stays: {why}"
    return NotRemoved(message, code=code, hint=hint)
