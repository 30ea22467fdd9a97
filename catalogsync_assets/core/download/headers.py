"""What header fields of an answer say, by their RFCs and as servers write them.

Only fields are read here; what follows from them is the business of `http_source`.
"""

from __future__ import annotations

import email.errors
import email.header
import email.message
import email.utils
import re
from collections.abc import Iterable, Mapping
from datetime import timezone
from typing import NamedTuple

# Some write `bytes=`, as in a Range.
_RANGE = re.compile(r"\s*bytes[ =]\s*(\d+)\s*-\s*(\d+)\s*/\s*(\d+|\*)\s*", re.I | re.ASCII)
# Those of https://www.iana.org/assignments/http-parameters#content-coding that change bytes. What
# else stands there does not, as the `aws-chunked` that SDKs leave with objects in S3, or `binary`.
_CODINGS = frozenset(
    ("br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "zstd")
) | {"x-compress", "x-gzip"}


class Range(NamedTuple):
    """A part of the content: its first and last byte, and the size of the whole if it is given."""

    first: int
    last: int
    total: int | None


def content_range(headers: Mapping[str, str]) -> Range | None:
    """Which part comes (RFC 9110, 14.4); None if that is not given, or cannot be true."""
    match = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    return Range(first, last, total) if first <= last < (total or last + 1) else None


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether the bytes that come are not those of the file (RFC 9110, 8.4)."""
    given = headers.get("Content-Encoding", "").lower().split(",")
    return any(coding.strip() in _CODINGS for coding in given)


def validator(headers: Mapping[str, str]) -> str | None:
    """What may stand in If-Range (RFC 9110, 13.1.5): a strong ETag, else a strong date.

    A date is strong if the answer was made a second later at least (8.8.2.2).
    """
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return str(etag)
    modified, now = (moment(headers.get(name, "")) for name in ("Last-Modified", "Date"))
    if modified is None or now is None or now - modified < 1:
        return None
    return str(headers["Last-Modified"])


def moment(text: str) -> float | None:
    """Seconds since 1970 of a date in any of the three forms of RFC 9110, 5.6.7; or None."""
    try:
        date = email.utils.parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait (RFC 9110, 10.2.3): of a number or a date.

    Args:
        now: seconds since 1970.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        return float(text)
    then = moment(text)
    return None if then is None else max(0.0, then - now)


def file_name(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The name that Content-Disposition gives (RFC 6266), as it is: it may be a path.

    `filename*` comes before `filename`, unless its character set is unknown or a lie.

    Args:
        fields: as they came; servers write UTF-8 where only ASCII may be.
    """
    raw = next((value for name, value in fields if name.lower() == b"content-disposition"), b"")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if re.sub(r"\\.", "", text).count('"') % 2:  # one is never closed: they quote nothing then
        text = re.sub(r'(\\.)|"', r"\1", text)
    message = email.message.Message()
    message["Content-Disposition"] = text
    plain: list[str] = []
    extended: list[str] = []
    try:
        parameters = message.get_params([], "content-disposition")
    except (ValueError, TypeError, AttributeError):  # email's parser, on what is none of it
        return None
    for name, value in parameters:
        if name.lower() != "filename":
            continue
        if isinstance(value, str):
            plain.append(_decoded_words(value))
        elif (text := _extended(value)) is not None:
            extended.append(text)
    return next((name for name in (*extended, *plain) if name.strip()), None)


def _extended(value: tuple[str | None, str | None, str]) -> str | None:
    """Of character set, language and text: RFC 8187."""
    charset, _, text = value
    try:
        return text.encode("latin-1").decode(charset or "ascii")
    except UnicodeEncodeError:
        return text  # not encoded at all
    except (LookupError, ValueError):
        return None


def _decoded_words(text: str) -> str:
    """`=?UTF-8?B?…?=` is of mail, and forbidden here; servers write it nevertheless."""
    if "=?" not in text:
        return text
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (LookupError, ValueError, email.errors.MessageError):
        return text
