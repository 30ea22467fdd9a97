"""What `probe` asks about copies that the store makes."""

from __future__ import annotations

import hashlib
from typing import Any

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores.copying import can_say_conditions
from catalogsync_assets.core.stores.probe.parts import (
    IN_PARTS,
    Ask,
    Verdict,
    content_in_parts,
    verdict,
)
from catalogsync_assets.core.stores.probe.session import Session
from catalogsync_assets.core.stores.profile import SHA256
from catalogsync_assets.core.stores.verify import bare

_CONTENT = b"what is copied"
_THERE = b"something that was there before"
#: Of a key; each has misled some reader of `x-amz-copy-source`.
_SIGNS = "a%20b+c#d&e?f=\u00e9/g"
_WRONG_ETAG = '"00000000000000000000000000000000"'
_CAME_ALONG = "it came along, and proves nothing"


class CopyProbe:
    """Copies of an object of its own, and of one in parts."""

    def __init__(self, session: Session, arguments: dict[str, Any]) -> None:
        """
        Args:
            arguments: of a new object, as uploads give them.
        """
        self._session = session
        self._arguments = arguments
        self._source = session.key("copied")
        self._of_parts: dict[str, Any] = {}  # what a HEAD says of the copy of the object in parts

    def run(self, ask: Ask, *, has_parts: bool) -> None:
        """Ask everything; a question whose premise failed is not asked.

        Args:
            has_parts: there is an object in parts. Whether a store computes what it tells of a copy
                is seen by that one alone, as nobody has ever told it a digest of the whole.
        """
        if not ask("copies", self._copies):
            return
        ask("conditional_copy", self._conditional_copy)
        if has_parts:
            ask("copy_checksum", self._copy_checksum)
            ask("copy_etag_is_md5", self._copy_etag_is_md5)

    def _copies(self) -> Verdict:
        session = self._session
        session.put(self._source, _CONTENT, **self._arguments)
        copy = session.key("copy")
        session.copy(self._source, copy, MetadataDirective="COPY")
        if session.get(copy) != _CONTENT:
            return False, "the copy holds something else"
        said = session.head(copy)
        kept = {name.lower(): value for name, value in said.get("Metadata", {}).items()}
        lost = self._arguments["Metadata"].items() - kept.items()
        if lost or said.get("ContentType") != self._arguments["ContentType"]:
            return False, "its metadata does not come along"
        return self._copies_any_key()

    def _copies_any_key(self) -> Verdict:
        session = self._session
        source, copy = session.key(f"signs/{_SIGNS}"), session.key(f"copied-signs/{_SIGNS}")
        try:
            session.put(source, _CONTENT)
        except KeyRefusedError:
            return True, ""  # no object has such a key
        try:
            session.copy(source, copy)
            right = session.get(copy) == _CONTENT
        except KeyRefusedError:
            right = False
        return verdict(right, f"not of a key such as {_SIGNS}")

    # --- conditions

    def _conditional_copy(self) -> Verdict:
        if not can_say_conditions(self._session.client):
            return None, "the installed boto3 cannot ask; a newer one can"
        etag = self._session.head(self._source).get("ETag")
        if not etag:
            return False, "it gives no ETag to name a version by"
        wrong = self._written(_WRONG_ETAG)
        for what, condition in (
            ("of the source", {"CopySourceIfMatch": wrong}),
            ("that nothing is there", {"IfNoneMatch": "*"}),
            ("of what is there", {"IfMatch": wrong}),
        ):
            refused = self._is_refused(condition)
            if refused is not True:
                how = "ignored" if refused is None else "refused, and done all the same"
                return False, f"the condition {what} is {how}"
        target = self._session.key("conditional-copy")
        there = self._written(self._session.head(target)["ETag"])
        held = {"CopySourceIfMatch": self._written(etag), "IfMatch": there}
        self._session.copy(self._source, target, **held)
        fresh = self._session.key("fresh-copy")
        self._session.copy(self._source, fresh, IfNoneMatch="*")
        taken = self._session.get(target) == self._session.get(fresh) == _CONTENT
        return verdict(taken, "one that holds is not taken")

    def _written(self, etag: str) -> str:
        return self._session.client.if_match(etag)

    def _is_refused(self, condition: dict[str, str]) -> bool | None:
        """Whether a copy on a condition that does not hold is refused, and what was there left as
        it was; None if it is not even refused."""
        key = self._session.key("conditional-copy")
        self._session.put(key, _THERE)
        try:
            self._session.copy(self._source, key, **condition)
        except ConflictError:
            return self._session.get(key) == _THERE
        return None

    # --- what is computed

    def _copy_checksum(self) -> Verdict:
        expected = as_s3_header(hashlib.sha256(content_in_parts()).hexdigest())
        try:
            copied = self._copy_of_parts(ChecksumAlgorithm=SHA256)
        except KeyRefusedError as error:
            return False, f"refused ({error.code})"
        if copied.get("ChecksumSHA256") != expected:
            return False, ""
        source = self._session.head(self._session.key(IN_PARTS), ChecksumMode="ENABLED")
        came_along = source.get("ChecksumSHA256") == expected
        return verdict(not came_along, _CAME_ALONG)

    def _copy_etag_is_md5(self) -> Verdict:
        expected = hashlib.md5(content_in_parts(), usedforsecurity=False).hexdigest()
        copied = self._of_parts or self._copy_of_parts()
        if bare(copied.get("ETag")).lower() != expected:
            return False, ""
        source = self._session.head(self._session.key(IN_PARTS))
        came_along = bare(source.get("ETag")).lower() == expected
        return verdict(not came_along, _CAME_ALONG)

    def _copy_of_parts(self, **more: Any) -> dict[str, Any]:
        session = self._session
        source, copy = session.key(IN_PARTS), session.key("copy-of-parts")
        session.copy(source, copy, **more)
        self._of_parts = session.head(copy, **({"ChecksumMode": "ENABLED"} if more else {}))
        return self._of_parts
