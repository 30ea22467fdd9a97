"""Finds out what a store really does, by asking it: `backend test`.

"S3-compatible" leaves open what happens to a wrong digest or to a condition that does not hold:
stores refuse, ignore, or say one thing and do another. Here each is tried on objects of our own,
and what the store then holds decides, not what it answers. An answer that is not clear - a 5xx, a
time-out, a refused permission - stays unknown.

Belongs here: questions about objects, the result. Does not: those about parts (`parts`) and copies
(`copies`), requests and tidying up (`session`), texts (`capabilities`), what is kept of it
(`catalog.backends.keep_profile`).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from catalogsync_assets.core.errors import (
    AccessRefusedError,
    ConflictError,
    KeyRefusedError,
    StoreError,
)
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata
from catalogsync_assets.core.stores.probe.capabilities import QUESTIONS, Answer, answered
from catalogsync_assets.core.stores.probe.copies import CopyProbe
from catalogsync_assets.core.stores.probe.deletes import conditional_delete
from catalogsync_assets.core.stores.probe.parts import (
    WRONG_SHA256,
    PartsProbe,
    Verdict,
    is_digest_refusal,
    verdict,
)
from catalogsync_assets.core.stores.probe.session import Session, new_prefix
from catalogsync_assets.core.stores.profile import CRC64NVME, NO_CHECKSUM, SHA256, StoreProfile
from catalogsync_assets.core.stores.verify import Expected

# Its CRC-64/NVME is that algorithm's published check value, so that none need be computed.
_BODY = b"123456789"
_CRC64NVME = base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode()
_WRONG_CRC64NVME = base64.b64encode(b"\x01" * 8).decode()
_MD5 = hashlib.md5(_BODY, usedforsecurity=False).hexdigest()
_SHA256 = hashlib.sha256(_BODY).hexdigest()
_S3_SHA256 = base64.b64encode(bytes.fromhex(_SHA256)).decode()
_OTHER = b"what must not be stored"
_OTHER_DIGEST = b"what has another digest"
_WRONG_ETAG = '"00000000000000000000000000000000"'
_OBJECT = ObjectMetadata("audio/flac", "test/1", song_id=1, sha256=_SHA256)
_NAMES = ("a b", "100%", "a%20b", "a+b", "a#b", "a:b", "a&b=c?", "'quoted\"", "é", "雨", "🎵")
_URL_SECONDS = 60
#: What is asked in a bucket with object lock, where every object stays for a time.
_WITH_ONE_OBJECT = {
    *("access", "put", "read", "list", "etag_is_md5", "content_type", "metadata", "presigned"),
}
#: What was just stored is not there yet: that says nothing of what was asked.
_NOT_FOUND = {"NoSuchKey", "NotFound", "Http404"}


@dataclass(frozen=True)
class ProbeResult:
    """What was found out."""

    #: In the order in which they were asked; after one without which nothing works, nothing more
    #: was.
    answers: list[Answer]
    profile: StoreProfile  #: what the engine goes by
    failure: StoreError | None = None  #: why the store cannot be used as it is; None if it can
    left_behind: list[str] = field(default_factory=list)  #: keys that could not be deleted

    @property
    def usable(self) -> bool:
        """Whether objects can be stored and read back."""
        return self.failure is None


def probe(
    backend: ObjectBackend,
    *,
    progress: Callable[[str], None] = lambda _: None,
    prefix: str | None = None,
) -> ProbeResult:
    """Ask a store what it does. Takes some hundred and twenty small requests, and one of 5 MiB.

    Everything is written below `{prefix}.catalogsync-test-{random}/` and deleted in the end, also
    on Ctrl-C and errors. May be called at any time, beside uploads too.

    Args:
        progress: called with each statement that is being tested.
        prefix: of the keys, in place of one that nobody else knows.

    Raises:
        ConfigurationError: no credentials. What the store refuses is in the result.
    """
    client = StoreClient(backend)
    with Session(client, prefix or new_prefix(backend)) as session:
        asking = _Probe(session, progress)
        failure = asking.run()
    return ProbeResult(asking.answers, asking.profile(), failure, session.left_behind)


def ask_few(client: StoreClient, prefix: str) -> dict[str, Any]:
    """Ask a store what most of an upload's cost depends on, in a dozen small requests.

    One object of a few bytes is written, under the prefix itself, and deleted in the end. Does not
    raise if the store refuses or is silent: what it does not answer stays unknown.

    Args:
        prefix: see `new_prefix`.

    Returns:
        Answers, as fields of the profile.
    """
    return _learned(Session(client, prefix, one_key=True), _Probe.run_few)


def ask_copies(client: StoreClient, prefix: str) -> dict[str, Any]:
    """Ask a store whether it can copy, and keeps conditions of a copy, in some thirty requests.

    What it computes of a copy is not asked, as that takes an object in parts. Otherwise as
    `ask_few`, but that more than one object is written below the prefix.
    """
    return _learned(Session(client, prefix), _Probe.run_copies)


def ask_deletes(client: StoreClient, prefix: str) -> dict[str, Any]:
    """Ask a store whether it keeps conditions of a delete, in six requests; otherwise as
    `ask_few`."""
    return _learned(Session(client, prefix), _Probe.run_deletes)


def _learned(session: Session, run: Callable[[_Probe], None]) -> dict[str, Any]:
    """What came of some questions, as fields of the profile."""
    with session:
        asking = _Probe(session, lambda _: None)
        run(asking)
    found = asking.profile().known()
    return {name: answer for name, answer in found.items() if name != "tested_at"}


class _Probe:
    """One call of `probe`."""

    def __init__(self, session: Session, progress: Callable[[str], None]) -> None:
        self._session = session
        self._progress = progress
        self._failure: StoreError | None = None
        self._bare_etags: bool | None = None
        self._needs_md5: bool | None = None
        self._signed_payload: bool | None = None
        self._locked = False
        self._arguments = session.client.creation_arguments(_OBJECT)
        self.answers: list[Answer] = []

    def run(self) -> StoreError | None:
        """Ask everything.

        Returns:
            Why the store cannot be used, or None.
        """
        ask = self._ask
        if not (ask("access", self._access) and ask("put", self._put) and ask("read", self._read)):
            return self._failure
        ask("list", self._list)
        ask("etag_is_md5", self._etag_is_md5)
        ask("content_type", self._content_type)
        ask("metadata", self._metadata)
        ask("put_sha256", self._put_sha256)
        ask("put_crc64nvme", self._put_crc64nvme)
        ask("keeps_sha256", self._keeps_sha256)
        ask("conditional_put", self._conditional_put)
        ask("conditional_replace", self._conditional_replace)
        PartsProbe(self._session, self._arguments).run(ask)
        if not ask("upload", self._upload) and not self._locked:
            return self._failure
        has_parts = self._told("multipart") is True
        CopyProbe(self._session, self._arguments).run(ask, has_parts=has_parts)
        ask("conditional_delete", lambda: conditional_delete(self._session))
        ask("names", self._names)
        ask("presigned", self._presigned)
        ask("delete", self._delete)
        return None

    def run_few(self) -> None:
        """Ask what a first upload should know, until the store denies or does not answer."""
        for name, question in (
            ("conditional_put", self._conditional_put),  # first: nothing is there yet
            ("put_sha256", self._put_sha256),
            ("keeps_sha256", self._keeps_sha256),
            ("etag_is_md5", self._etag_of_a_put),
        ):
            self._ask(name, question)
            if self._failure and (self._failure.retryable or self._failure.fatal):
                return
        if self._told("put_sha256") is False:
            self._ask("put_crc64nvme", self._put_crc64nvme)

    def run_copies(self) -> None:
        """Ask what concerns copies, but for what takes an object in parts."""
        CopyProbe(self._session, self._arguments).run(self._ask, has_parts=False)

    def run_deletes(self) -> None:
        """Ask what concerns conditions of deletes."""
        self._ask("conditional_delete", lambda: conditional_delete(self._session))

    def profile(self) -> StoreProfile:
        """What the answers come to."""
        told = {answer.name: answer.answer for answer in self.answers}
        sha256, crc64nvme = told.get("put_sha256"), told.get("put_crc64nvme")
        checksum = None
        if sha256:
            checksum = SHA256
        elif sha256 is False and crc64nvme is not None:
            checksum = CRC64NVME if crc64nvme else NO_CHECKSUM
        parts = [told.pop(name, None) for name in ("multipart", "list_parts", "abort")]
        return StoreProfile(
            put_checksum=checksum,
            bare_etags=self._bare_etags,
            multipart=False if False in parts else (all(parts) or None),
            needs_md5=self._needs_md5,
            signed_payload=self._signed_payload,
            versioned=self._session.keeps_versions or None,
            tested_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ).with_answers(told)  # those that are asked under a field's name

    def _ask(self, name: str, question: Callable[[], Verdict]) -> bool | None:
        self._progress(QUESTIONS[name].what)
        if self._locked and name not in _WITH_ONE_OBJECT:
            self.answers.append(answered(name, None, "not asked: what is put cannot be deleted"))
            return None
        try:
            answer, detail = question()
        except StoreError as error:
            self._failure = error
            answer, detail = _verdict_of(error)
        self.answers.append(answered(name, answer, detail))
        return answer

    # --- without these nothing works ------------------------------------------------------------

    def _access(self) -> Verdict:
        self._session.client.probe()
        self._locked = self._session.client.locks() is True
        return True, ""

    def _put(self) -> Verdict:
        self._session.put(self._session.key("plain"), _BODY, **self._arguments)
        return True, ""

    def _read(self) -> Verdict:
        key = self._session.key("plain")
        if self._session.get(key) != _BODY:
            hint = "the store, or something between it and here, changes what is stored"
            raise verify.corrupted(self._session.client, key, hint)
        return True, ""

    # --- what is kept of an object --------------------------------------------------------------

    def _list(self) -> Verdict:
        found = self._session.key("plain") in self._session.listed()
        return verdict(found, "what was just stored is not listed")

    def _etag_is_md5(self) -> Verdict:
        given = self._session.head(self._session.key("plain")).get("ETag")
        return verify.bare(given).lower() == _MD5, "" if given else "it gives no ETag"

    def _etag_of_a_put(self) -> Verdict:
        answer = self._session.put(self._session.key("plain"), _BODY)
        return verify.bare(answer.get("ETag")).lower() == _MD5, ""

    def _content_type(self) -> Verdict:
        given = self._session.head(self._session.key("plain")).get("ContentType")
        return verdict(given == _OBJECT.media_type, f"it is {given}")

    def _metadata(self) -> Verdict:
        given = self._session.head(self._session.key("plain")).get("Metadata", {})
        kept = {name.lower(): value for name, value in given.items()}
        missing = sorted(_OBJECT.as_user_metadata().items() - kept.items())
        if missing:
            return False, f"lost: {', '.join(name for name, _ in missing)}"
        return True, "" if given == kept else "names come back in another case"

    # --- digests --------------------------------------------------------------------------------

    def _put_sha256(self) -> Verdict:
        return self._checks("sha256", "ChecksumSHA256", _S3_SHA256, WRONG_SHA256)

    def _put_crc64nvme(self) -> Verdict:
        return self._checks("crc", "ChecksumCRC64NVME", _CRC64NVME, _WRONG_CRC64NVME)

    def _checks(self, name: str, header: str, right: str, wrong: str) -> Verdict:
        """Whether the right digest is taken and the wrong one refused, with nothing stored."""
        self._session.put(self._session.key(f"{name}-right"), _BODY, **{header: right})
        key = self._session.key(f"{name}-wrong")
        try:
            self._session.put(key, _OTHER_DIGEST, **{header: wrong})
        except StoreError as error:
            if not is_digest_refusal(error):
                raise
            stored = self._holds(key, _OTHER_DIGEST)
            return verdict(not stored, "it is refused, and stored all the same")
        return False, "it is accepted"

    def _keeps_sha256(self) -> Verdict:
        key = self._session.key("kept")
        self._session.put(key, _BODY, ChecksumSHA256=_S3_SHA256)
        given = self._session.head(key, ChecksumMode="ENABLED").get("ChecksumSHA256")
        if given == _S3_SHA256 and self._told("put_sha256") is False:
            return True, "but it was not checked, and proves nothing"
        return given == _S3_SHA256, "" if given in (None, _S3_SHA256) else "it gives another one"

    # --- conditions -----------------------------------------------------------------------------

    def _conditional_put(self) -> Verdict:
        key = self._session.key("conditional")
        self._session.put(key, _BODY, IfNoneMatch="*")  # nothing is there: it must be taken
        return self._protects(key, IfNoneMatch="*")

    def _conditional_replace(self) -> Verdict:
        key = self._session.key("replaced")
        etag = self._session.put(key, b"before").get("ETag")
        if not etag:
            return False, "it gives no ETag to name a version by"
        try:
            self._session.put(key, _BODY, IfMatch=etag)
        except ConflictError:
            # Ceph 16 compares the header, quotes and all, with the bare ETag.
            self._session.put(key, _BODY, IfMatch=etag.strip('"'))
            kept, detail = self._protects(key, IfMatch=_WRONG_ETAG.strip('"'))
            self._bare_etags = True
            return kept, detail or "where the ETag stands without its quotes"
        return self._protects(key, IfMatch=_WRONG_ETAG)

    def _protects(self, key: str, **condition: str) -> Verdict:
        """Whether a condition that does not hold leaves what is there as it was."""
        try:
            self._session.put(key, _OTHER, **condition)
        except ConflictError:
            untouched = self._session.get(key) == _BODY
            return verdict(untouched, "it is refused, and done all the same")
        untouched = self._session.get(key) == _BODY
        return False, "ignored: nothing is stored" if untouched else "ignored: it is overwritten"

    # --- as uploads do it -----------------------------------------------------------------------

    def _upload(self) -> Verdict:
        client = self._session.client
        client.learn(anew=True, **self.profile().known())  # go by what was just found out
        key = self._session.key("upload.flac")
        client.put(key, _BODY, _OBJECT, replacing=None)
        self._needs_md5 = client.profile.needs_md5
        self._signed_payload = client.profile.signed_payload
        if verify.after_put(client, key, Expected(_SHA256, len(_BODY))) is None:
            raise verify.corrupted(client, key)
        return True, ""

    def _names(self) -> Verdict:
        client = self._session.client
        lost: list[str] = []
        for name in _NAMES:
            key = self._session.key(f"names/{name}")
            try:
                client.put(key, name.encode(), _OBJECT, replacing=None)
                kept = self._session.get(key) == name.encode()
            except KeyRefusedError:
                kept = False
            if not kept:
                lost.append(name)
        if self._told("list"):
            listed = set(self._session.listed())
            whole = {name: self._session.key(f"names/{name}") for name in _NAMES}
            lost += [name for name in _NAMES if name not in lost and whole[name] not in listed]
        return verdict(not lost, f"not: {' '.join(lost)}")

    def _presigned(self) -> Verdict:
        url = self._session.client.signed_url(self._session.key("plain"), expires=_URL_SECONDS)
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        make: Any = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        with closing(make(parts.hostname, parts.port, timeout=_URL_SECONDS)) as connection:
            try:
                connection.request("GET", f"{parts.path}?{parts.query}")
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                return None, "no clear answer"
        if answer.status == HTTPStatus.OK:
            return verdict(body == _BODY, "it gives something else")
        clear = answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return (False if clear else None), f"HTTP {answer.status}"

    def _delete(self) -> Verdict:
        key = self._session.key("plain")
        self._session.delete(key)
        there = self._session.client.head(key) is not None
        return verdict(not there, "it is still there")

    def _told(self, name: str) -> bool | None:
        return next((a.answer for a in self.answers if a.name == name), None)

    def _holds(self, key: str, body: bytes) -> bool:
        try:
            return self._session.get(key) == body
        except KeyRefusedError as error:
            if error.code not in _NOT_FOUND:
                raise
            return False


def _verdict_of(error: StoreError) -> Verdict:
    """What a refusal says of the question: no, or nothing."""
    if isinstance(error, AccessRefusedError):
        return None, f"not permitted ({error.code})"
    if isinstance(error, KeyRefusedError | ConflictError) and error.code not in _NOT_FOUND:
        return False, f"refused ({error.code})"
    return None, f"no clear answer ({error.code})"
