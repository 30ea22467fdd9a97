"""What `probe` asks about uploads in parts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from catalogsync_assets.core.errors import ConflictError, KeyRefusedError, StoreError
from catalogsync_assets.core.files.digests import as_s3_header
from catalogsync_assets.core.stores.checksums import composite_sha256, digest_part
from catalogsync_assets.core.stores.probe.session import Session

#: What a question comes to: true, false or unknown, and a word on why.
Verdict = tuple[bool | None, str]
Ask = Callable[[str, Callable[[], Verdict]], bool | None]

#: The least that S3 takes for a part that is not the last.
_FIRST = bytes(5 * 1024 * 1024)
_LAST = b"the last part"
#: Under which name a session holds both, put together, once that has succeeded.
IN_PARTS = "parts"
_THERE = b"something that was there before"
#: A well-formed SHA-256 of nothing that is sent.
WRONG_SHA256 = base64.b64encode(b"\x01" * 32).decode()


def content_in_parts() -> bytes:
    """What the object in parts is."""
    return _FIRST + _LAST


def verdict(holds: bool, otherwise: str) -> Verdict:
    """Yes, or no and why."""
    return holds, "" if holds else otherwise


def is_digest_refusal(error: StoreError) -> bool:
    """Whether the error says that the digest does not fit, or is not wanted."""
    return isinstance(error, KeyRefusedError) or error.code in (
        "BadDigest",
        "XAmzContentSHA256Mismatch",
    )


class PartsProbe:
    """One upload of two parts, each step of it a question."""

    def __init__(self, session: Session, arguments: dict[str, Any]) -> None:
        """
        Args:
            arguments: of the new object, as uploads give them.
        """
        self._session = session
        self._arguments = arguments
        self._key = session.key(IN_PARTS)
        self._upload_id = ""
        self._digests = True  # whether they can be sent at all
        self._named = True  # whether a completion names them
        self._sent: list[dict[str, Any]] = []
        self._failure: StoreError | None = None

    def run(self, ask: Ask) -> None:
        """Ask everything; a question whose premise failed is not asked."""
        ask("part_checksum", self._part_checksum)
        if self._failure is not None:
            ask("multipart", self._fail)
            return
        ask("list_parts", self._list_parts)
        ask("conditional_complete", self._conditional_complete)
        if ask("multipart", self._whole):
            ask("composite", self._composite)
        ask("abort", self._abort)

    def _fail(self) -> Verdict:
        assert self._failure is not None
        raise self._failure

    def _begin(self) -> None:
        try:
            self._upload_id = self._session.begin(
                self._key, ChecksumAlgorithm="SHA256", **self._arguments
            )
        except KeyRefusedError:
            self._digests = False
            self._upload_id = self._session.begin(self._key, **self._arguments)

    def _part_checksum(self) -> Verdict:
        try:
            return self._send_wrong_and_right()
        except StoreError as error:
            self._failure = error
            raise

    def _send_wrong_and_right(self) -> Verdict:
        self._begin()
        if not self._digests:
            self._send_both()
            return False, "the header is refused"
        refused = False
        try:
            self._send(2, _LAST, ChecksumSHA256=WRONG_SHA256)
        except StoreError as error:
            if not is_digest_refusal(error):
                raise
            refused = True
        self._send_both()
        if not self._digests:
            return False, "the header is refused"
        return verdict(refused, "it is accepted")

    def _send(self, number: int, body: bytes, **more: Any) -> dict[str, Any]:
        return self._session.send_part(self._key, self._upload_id, number, body, **more)

    def _send_both(self) -> None:
        for number, body in ((1, _FIRST), (2, _LAST)):
            digest = as_s3_header(hashlib.sha256(body).hexdigest())
            more = {"ChecksumSHA256": digest} if self._digests else {}
            try:
                answer = self._send(number, body, **more)
            except KeyRefusedError:
                if not self._digests:
                    raise
                self._digests = False
                self._sent.clear()
                self._send_both()
                return
            etag = answer.get("ETag") or hashlib.md5(body, usedforsecurity=False).hexdigest()
            self._named = "ChecksumSHA256" in answer
            self._sent.append({"PartNumber": number, "ETag": etag, **more})

    def _list_parts(self) -> Verdict:
        found = self._session.parts(self._key, self._upload_id)
        listed = [(part.get("PartNumber"), part.get("Size")) for part in found]
        right = listed == [(1, len(_FIRST)), (2, len(_LAST))]
        return verdict(right, "not as they were sent")

    def _conditional_complete(self) -> Verdict:
        self._session.put(self._key, _THERE)
        try:
            self._put_together(IfNoneMatch="*")
        except ConflictError:
            untouched = self._session.get(self._key) == _THERE
            return verdict(untouched, "it is refused, and done all the same")
        return False, "ignored: what was there is overwritten"

    def _whole(self) -> Verdict:
        # Unless the store has done so on a condition that did not hold.
        if self._size() == len(_THERE):
            self._complete()
        if self._size() != len(_FIRST) + len(_LAST):
            return False, "the object is not as long as its parts"
        tail = self._session.get(self._key, Range=f"bytes={len(_FIRST)}-")
        return verdict(tail == _LAST, "the object is not what its parts are")

    def _size(self) -> int:
        told: int | None = self._session.head(self._key).get("ContentLength")
        return len(self._session.get(self._key)) if told is None else told

    def _complete(self) -> None:
        try:
            self._put_together()
        except KeyRefusedError as error:
            if error.code != "NoSuchUpload":
                raise
            # The store has given it up with the condition; that says nothing of parts.
            self._sent.clear()
            self._begin()
            self._send_both()
            self._put_together()

    def _put_together(self, **condition: str) -> None:
        """Complete as an upload does: with the digests that the store has given back, or without.

        Raises:
            StoreError: the store takes neither form.
        """
        digestless = [{k: part[k] for k in ("PartNumber", "ETag")} for part in self._sent]
        forms = [self._sent, digestless] if self._named else [digestless, self._sent]
        try:
            self._session.complete(self._key, self._upload_id, forms[0], **condition)
        except KeyRefusedError as error:
            if not self._digests or error.code in ("NoSuchUpload", "NotImplemented", "Http501"):
                raise
            self._session.complete(self._key, self._upload_id, forms[1], **condition)

    def _composite(self) -> Verdict:
        try:
            given = self._session.head(self._key, ChecksumMode="ENABLED").get("ChecksumSHA256")
        except KeyRefusedError as error:
            return False, f"refused ({error.code})"
        expected = composite_sha256([digest_part(part, md5=False) for part in (_FIRST, _LAST)])
        return given == expected, "" if given in (expected, None) else "it gives another digest"

    def _abort(self) -> Verdict:
        key = self._session.key("aborted")
        upload_id = self._session.begin(key)
        self._session.send_part(key, upload_id, 1, _LAST)
        self._session.abort(key, upload_id)
        try:
            self._session.parts(key, upload_id)
        except KeyRefusedError as error:
            return True, "" if error.code == "NoSuchUpload" else error.code
        return False, "its parts are still listed"
