"""What `backend test` asks of a store, and what each answer means for uploads. Text only.

How the questions are asked is in `probe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

_UNKNOWN = "not known: uploads go by what the provider documents, else the safe way"


class Question(NamedTuple):
    """A statement about a store that is true, false or not known."""

    what: str  #: the statement
    yes: str  #: what it means for uploads if it is true
    no: str  #: what it means if it is false


@dataclass(frozen=True)
class Answer:
    """What came of a question."""

    name: str  #: the question's name in `QUESTIONS`
    what: str  #: the statement
    answer: bool | None  #: whether it is true; None where the store gave no clear answer
    #: Why, as far as there is more to say: a short text of ours or the store's error code.
    detail: str
    meaning: str  #: what it means for uploads


_LOOKED_AT = "each object is looked at after its put, and before"
_LOOK_BEFORE = "each key is looked at before a put; two writers at once are not kept apart"

QUESTIONS: dict[str, Question] = {
    "access": Question("the credentials are accepted", "uploads can begin", "nothing can be done"),
    "put": Question("an object can be stored", "uploads can be done", "nothing can be uploaded"),
    "read": Question(
        "it reads back as it was sent", "objects can be verified", "nothing can be verified"
    ),
    "list": Question(
        "keys can be listed", "the bucket can be audited", "uploads do not need it; audits do"
    ),
    "etag_is_md5": Question(
        "the ETag is the MD5 of the content",
        "a look verifies an object",
        "an object is read back where its digest is not checked by the store",
    ),
    "content_type": Question(
        "Content-Type is kept", "players are told the format", "players must guess the format"
    ),
    "metadata": Question(
        "our user metadata is kept",
        "an object whose record was lost is known as ours",
        "an older version whose record was lost is a conflict",
    ),
    "put_sha256": Question(
        "a put with a wrong SHA-256 is refused", "a put that succeeds is verified", _LOOKED_AT
    ),
    "put_crc64nvme": Question(
        "a put with a wrong CRC-64/NVME is refused",
        "taken where SHA-256 is not checked",
        "it is not sent",
    ),
    "keeps_sha256": Question(
        "HEAD gives the SHA-256 back",
        "what is in place is compared without reading it, if the digest is checked too",
        "what is in place is read to be compared",
    ),
    "conditional_put": Question(
        "If-None-Match: * protects what is there",
        "no look before a put; nothing can be overwritten",
        _LOOK_BEFORE,
    ),
    "conditional_replace": Question(
        "If-Match protects what is there",
        "only the very version that we know is replaced",
        "a version is replaced after a look",
    ),
    "part_checksum": Question(
        "a part with a wrong SHA-256 is refused",
        "a large file is verified part by part",
        "a large file is read back to be verified",
    ),
    "list_parts": Question(
        "the parts of an unfinished upload are listed",
        "a large file goes on where it was stopped",
        "a large file that was stopped begins anew",
    ),
    "conditional_complete": Question(
        "If-None-Match: * protects what is there from parts",
        "a large file can overwrite nothing",
        "the key of a large file is looked at before",
    ),
    "multipart": Question(
        "parts are stored and put together",
        "large files can be uploaded",
        "files over 64 MiB cannot be uploaded",
    ),
    "composite": Question(
        "HEAD gives the digest of the parts",
        "a large file is verified by a look, if the parts are checked too",
        "a large file is read back to be verified",
    ),
    "abort": Question(
        "an upload in parts can be aborted",
        "nothing is left of what was given up",
        "parts that were given up stay, and may cost",
    ),
    "upload": Question(
        "an upload as catalogsync does it succeeds", "uploads work", "uploads fail as this did"
    ),
    "copies": Question(
        "an object can be copied inside the bucket",
        "a file that was renamed is copied by the store to its new key, and not sent",
        "objects keep their keys; nothing is copied",
    ),
    "conditional_copy": Question(
        "a copy keeps conditions on its source and its target",
        "a copy can overwrite nothing, and copies the very version that we know",
        "both keys are looked at before a copy; two writers at once are not kept apart",
    ),
    "copy_checksum": Question(
        "the store computes the SHA-256 of a copy",
        "a look verifies a copy",
        "a copy is verified by its ETag, or read back",
    ),
    "copy_etag_is_md5": Question(
        "the ETag of a copy is the MD5 that the store computes of it",
        "a look verifies a copy, where the file is here to be compared",
        "a copy is read back, unless its SHA-256 verifies it",
    ),
    "conditional_delete": Question(
        "If-Match protects what is there from a delete",
        "`prune` deletes only the very version that we know",
        "`prune` deletes after a look, and only with --unconditional",
    ),
    "names": Question(
        "keys with spaces, signs and any script are kept",
        "files keep their names",
        "files with such names may fail",
    ),
    "presigned": Question(
        "a signed URL can be read", "links can be handed out", "links cannot be handed out"
    ),
    "delete": Question(
        "an object can be deleted",
        "the test has cleaned up after itself",
        "uploads do not need it; the test has left objects behind",
    ),
}


def answered(name: str, answer: bool | None, detail: str = "") -> Answer:
    """The answer to a question, with its meaning."""
    question = QUESTIONS[name]
    meaning = {True: question.yes, False: question.no, None: _UNKNOWN}[answer]
    return Answer(name, question.what, answer, detail, meaning)
