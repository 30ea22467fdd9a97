"""What `probe` asks about deletes."""

from __future__ import annotations

from catalogsync_assets.core.errors import ConflictError
from catalogsync_assets.core.stores.probe.parts import Verdict, verdict
from catalogsync_assets.core.stores.probe.session import Session
from catalogsync_assets.core.stores.removing import can_say_condition

_THERE = b"something that must not be deleted"
_WRONG_ETAG = '"00000000000000000000000000000000"'


def conditional_delete(session: Session) -> Verdict:
    """Whether a delete is refused where its condition does not hold, and done where it does."""
    client, key = session.client, session.key("deleted")
    if not can_say_condition(client):
        return None, "the installed boto3 cannot ask; a newer one can"
    etag = session.put(key, _THERE).get("ETag")
    if not etag:
        return False, "it gives no ETag to name a version by"
    try:
        client.call("delete", key, "delete_object", IfMatch=client.if_match(_WRONG_ETAG))
    except ConflictError:
        if client.head(key) is None:
            return False, "it is refused, and done all the same"
    else:
        kept = client.head(key) is not None
        return False, "ignored: nothing is deleted" if kept else "ignored: it is deleted"
    client.call("delete", key, "delete_object", IfMatch=client.if_match(etag))
    return verdict(client.head(key) is None, "one that holds is not taken")
