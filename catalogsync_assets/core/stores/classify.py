"""Turns what obstore and boto3 raise into our errors: one place, one table.

The store's own error code decides where it gives one, the HTTP status otherwise. Bodies of
answers are never passed on whole: they may echo what was signed.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from catalogsync_assets.core.errors import (
    AccessRefusedError,
    BucketMissingError,
    ConflictError,
    KeyRefusedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from catalogsync_assets.core.stores.backend import ObjectBackend, register_command
from catalogsync_assets.core.stores.proxies import proxy_of

# Formats of object_store's errors (crate `object_store`, client/retry.rs); S3's error body.
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_REGION = re.compile(r"<Region>([A-Za-z0-9-]{1,40})</Region>")
_SERVER_TIME = re.compile(r"<ServerTime>([^<]{1,40})</ServerTime>")
_EXPECTED_REGION = re.compile(r"expecting '([A-Za-z0-9-]{1,40})'")
_BARE_REDIRECT = "redirect without LOCATION"
_FOLLOWED = "error following redirect"
_PAGE = re.compile(r"<!doctype html|<html", re.IGNORECASE)

_CREDENTIAL_CODES = {
    "InvalidAccessKeyId": "the store does not know this access key",
    "SignatureDoesNotMatch": "the secret does not fit the access key",
    "Unauthorized": "the store does not accept the credentials",
}
_TOKEN_CODES = {
    "InvalidToken": "the session token is not valid",
    "ExpiredToken": "the session token has expired",
    "ExpiredTokenException": "the session token has expired",
    "TokenRefreshRequired": "the session token has expired",
}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired"}
_REGION_CODES = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
    "InvalidRegion",
    "InvalidRegionName",
}
#: Of a refusal whose code says something else, such as that the signature does not match.
_REGION_MESSAGE = re.compile(r"scoped to a valid region|region .{0,60}is (wrong|not valid)")
#: What a store answers that has no room: MinIO, Ceph and others.
_FULL_CODES = {
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "InsufficientStorage",
    "StorageFull",
    "QuotaExceeded",
    "OverQuota",
}
_FULL = re.compile(r"no space left|disk (is )?full|not enough space|quota exceeded", re.IGNORECASE)
_ACCESS_CODES = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"}
#: Of an object in a class of storage such as GLACIER, which is not read at once.
_ARCHIVED = "InvalidObjectState"
_CONFLICT_CODES = {"PreconditionFailed", "ConditionalRequestConflict"}
_BUSY_CODES = {
    *("SlowDown", "ServiceUnavailable", "InternalError"),
    *("RequestTimeout", "OperationAborted", "TooManyRequests"),
    # The bytes were damaged on their way; they are read and sent anew.
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
}
#: The code of an answer that makes no sense.
BAD_ANSWER = "BadAnswer"
#: That of an answer that sends us to another place.
REDIRECTED = "Redirected"
#: That of a store that says in so many words that there is no such key.
NO_SUCH_KEY = "NoSuchKey"
#: That of a store that does not know an upload in parts: completed, aborted or expired.
NO_SUCH_UPLOAD = "NoSuchUpload"
#: What stores answer to a condition or a feature that they do not know.
NOT_IMPLEMENTED = {"NotImplemented", "Http501"}
_UNSUPPORTED_CODES = NOT_IMPLEMENTED | {"InvalidArgument"}
_RETRYABLE_STATUS = {408, 425, 429, 500, 502, 503, 504}
_GATEWAY_STATUS = {502, 503, 504}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _PRECONDITION = 401, 403, 404, 412
_MOVED, _FOUND, _PROXY_REFUSES, _FULL_STATUS = 301, 302, 407, 507
_REDIRECTIONS = {301, 302, 303, 307, 308}
#: Clocks that differ by less are taken by every store.
_SKEW_SECONDS = 15 * 60


class _Said(NamedTuple):
    """What an error tells, as far as it does."""

    code: str | None
    status: int | None  # of HTTP; None if there was no answer
    message: str | None  # short, the store's or ours
    region: str | None = None  # in which the bucket is
    clock: datetime | None = None  # the store's
    page: bool = False  # the answer was one for a browser
    place: str | None = None  # scheme and host to which we were redirected


class BadAnswerError(Exception):
    """An answer that was cut short or spoilt on its way, or is none of an object store's."""


#: What boto3 and obstore say of an answer that they cannot make sense of; see `BadAnswerError`.
_BAD_ANSWERS = (
    "Header missing from response",
    "Invalid last modified",
    "invalid literal for int()",
    "Received non-partial response",
    "Content-Range header not present",
    "Failed to parse value for CONTENT_RANGE",
    "Unable to parse response",
    "contained non UTF-8 characters",
    "Content-Length contained multiple",
)
# Hyper's error, of an answer whose status or header fields are none of HTTP.
_UNREADABLE = re.compile(r"hyper::Error\(\s*Parse\(")
_BROKEN = (RemoteDisconnected, IncompleteRead)
_WRONG_RANGE = re.compile(r"Requested \d+\.\.\d+, got ")


def _spoilt(error: Exception) -> str | None:
    """What is wrong with an answer that makes no sense, or None if it does."""
    given = getattr(error, "kwargs", {}).get("error")  # botocore's holds urllib3's of http.client's
    inner = given.args[-1] if isinstance(given, Exception) and given.args else None
    is_unreadable = isinstance(inner, HTTPException) and not isinstance(inner, _BROKEN)
    if is_unreadable or _UNREADABLE.search(str(error)):
        return "its header cannot be read"
    text = str(error).partition("\n")[0].removeprefix("Generic S3 error: ")
    if isinstance(error, BadAnswerError) or _WRONG_RANGE.match(text):
        return text
    return text if any(sign in text for sign in _BAD_ANSWERS) else None


def store_error(  # noqa: PLR0911, PLR0912  (a table of cases)
    error: Exception, backend: ObjectBackend, operation: str, key: str
) -> StoreError:
    """The error that says which backend, which operation, which key, why, and what to do.

    Args:
        error: as obstore or boto3 raised it.
        operation: a verb for the message, such as `put`.
    """
    if isinstance(error, StoreError):
        return error
    where = f"backend {backend.name!r}"
    what = f"{where}: cannot {operation} {key!r} in bucket {backend.bucket!r}"
    if (spoilt := _spoilt(error)) is not None:
        return StoreUnavailableError(
            f"{what}: the answer was cut short, or comes from something that is no object store"
            f" ({spoilt})",
            code=BAD_ANSWER,
            hint="try again later; if it stays so, is there a proxy or a login page in between?",
        )
    said = _read(error)
    code, status, message = said.code, said.status, said.message
    prefix = backend.credential_env_prefix
    variables = f"{prefix}_ACCESS_KEY_ID and {prefix}_SECRET_ACCESS_KEY"

    def refused(how: str, hint: str, short: str = "AccessDenied") -> AccessRefusedError:
        return AccessRefusedError(how, code=code or short, hint=hint)

    if status is None and code is None:
        return _no_answer(backend, message)
    if status == _PROXY_REFUSES:
        how = f"{where}: {_proxy_of(backend) or 'a proxy'} asks for credentials"
        hint = "name it as http://USER:PASSWORD@HOST:PORT"
        return AccessRefusedError(how, code="ProxyRefused", hint=hint)
    if _is_elsewhere(said, backend):
        return wrong_region(backend, said.region, code or "PermanentRedirect", message)
    if code in _TOKEN_CODES:
        hint = f"get new temporary credentials; set {prefix}_SESSION_TOKEN and {variables}"
        return refused(f"{where}: {_TOKEN_CODES[code]} ({code})", hint)
    if code in _CREDENTIAL_CODES:
        return refused(f"{where}: {_CREDENTIAL_CODES[code]} ({code})", f"check {variables}")
    if code in _CLOCK_CODES or (status == _FORBIDDEN and code is None and _is_skewed(said)):
        return _wrong_clock(backend, said)
    if status in _REDIRECTIONS:
        to = f" to {said.place}" if said.place else ""
        return refused(
            f"{where}: {backend.endpoint or 'AWS'} sends requests elsewhere (HTTP {status}{to})",
            "register the backend with the --endpoint and --region of the bucket; or is there"
            " a login page or a proxy in between?",
            REDIRECTED,
        )
    if code == "NoSuchBucket":
        return BucketMissingError(
            f"{where}: there is no bucket {backend.bucket!r} at {backend.endpoint or 'AWS'}",
            code=code,
            hint="make the bucket, or register the backend with the right --bucket",
        )
    if code in _FULL_CODES or status == _FULL_STATUS or _FULL.search(message or ""):
        return StoreFullError(
            f"{where}: the store has no space left ({code or f'HTTP {status}'})",
            code=code or f"Http{status}",
            hint="free some space there or raise the quota; what was not sent stays queued",
        )
    if code == _ARCHIVED:  # of this one object; the others are not to wait for it
        hint = "have the store bring it back first, as by `aws s3api restore-object`"
        return KeyRefusedError(f"{what}: it lies in an archive ({code})", code=code, hint=hint)
    if code in _ACCESS_CODES or status in (_UNAUTHORIZED, _FORBIDDEN):
        if said.page and code is None:
            return refused(
                f"{what}: refused with a page for browsers, not an answer of S3 (HTTP {status})",
                f"{_proxy_of(backend) or 'a firewall or proxy in front of the store'} may have"
                f" refused it; is {backend.endpoint or 'AWS'} the endpoint for S3?",
            )
        hint = f"check {variables}, and that they may read and write the bucket"
        return refused(f"{what}: access denied", hint)
    if code in _CONFLICT_CODES or status == _PRECONDITION:
        return ConflictError(f"{what}: something is stored there", code=code or "Conflict")
    reason = f"{code or 'HTTP ' + str(status)}{': ' + message if message else ''}"
    if code in _BUSY_CODES or status in _RETRYABLE_STATUS:
        proxy = _proxy_of(backend) if status in _GATEWAY_STATUS and code is None else None
        return StoreUnavailableError(
            f"{what}: {reason}",
            code=code or f"Http{status}",
            hint=f"it may be {proxy} that says so; try again later" if proxy else "try again later",
        )
    code = code or f"Http{status}"
    unsupported = code in _UNSUPPORTED_CODES or "unsupported header" in (message or "").lower()
    hint = f"find out what the store can do: catalogsync backend test {backend.name}"
    if said.page:
        hint = f"a page for browsers came back: is {backend.endpoint or 'AWS'} the endpoint for S3?"
    shown = hint if unsupported or said.page else None
    return KeyRefusedError(f"{what}: {reason}", code=code, hint=shown)


def _is_skewed(said: _Said) -> bool:
    """Whether the clocks explain a refusal that says nothing more: a HEAD's has no body."""
    return said.clock is not None and abs(_seconds_since(said.clock)) > _SKEW_SECONDS


def _seconds_since(clock: datetime) -> float:
    return (datetime.now(timezone.utc) - clock).total_seconds()


def _wrong_clock(backend: ObjectBackend, said: _Said) -> StoreError:
    message = "this machine's clock and the store's differ too much"
    if said.clock is not None and _is_skewed(said):
        seconds = _seconds_since(said.clock)
        way = "ahead of" if seconds > 0 else "behind"
        message = f"this machine's clock is {_span(abs(seconds))} {way} the store's"
    return AccessRefusedError(
        f"backend {backend.name!r}: {message} ({said.code or 'HTTP 403'})",
        code=said.code or "RequestTimeTooSkewed",
        hint="set the clock of this machine, as by `timedatectl set-ntp true`",
    )


def _span(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= size or unit == "second":
            count = round(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError


def _is_elsewhere(said: _Said, backend: ObjectBackend) -> bool:
    """Whether the store says that the bucket is in another region."""
    if said.code in _REGION_CODES:
        return True
    if said.status == _MOVED and said.code is None:
        return said.place is None  # S3 names the region, or nothing; other servers the place
    if _REGION_MESSAGE.search(said.message or ""):
        return True
    # A HEAD has no body: the header alone tells, and only with a 400.
    return said.code is None and said.status == 400 and said.region not in (None, backend.region)  # noqa: PLR2004


def wrong_region(
    backend: ObjectBackend,
    region: str | None,
    code: str = "PermanentRedirect",
    message: str | None = None,
) -> StoreError:
    """The error for a bucket that is in another region than the backend says.

    Args:
        region: as the store tells it, or None.
        code: the store's.
        message: the store's; it may name the regions that there are.
    """
    region = region if region != backend.region else None
    endpoint = backend.endpoint
    if region and endpoint and "amazonaws.com" in endpoint:
        endpoint = endpoint.replace(backend.region, region)
    there = f"in region {region!r}" if region else "in another region"
    reason = code if region or not message else f"{code}: {message}"
    return AccessRefusedError(
        f"backend {backend.name!r}: bucket {backend.bucket!r} is {there}, not in"
        f" {backend.region!r}, or its endpoint is another one ({reason})",
        code=code,
        hint=register_command(backend, region=region or "REGION", endpoint=endpoint),
    )


def _proxy_of(backend: ObjectBackend) -> str | None:
    """The proxy through which requests to the backend go, without its credentials."""
    proxy = proxy_of(backend)
    return None if proxy is None or proxy.excluded else proxy.name


def _no_answer(backend: ObjectBackend, message: str | None) -> StoreError:
    what = f"no answer from {backend.endpoint or 'AWS'}"
    hint = "is the server running, the endpoint right, the network up?"
    own_name = backend.endpoint is not None and backend.virtual_hosted
    if (proxy := _proxy_of(backend)) is not None:
        what = f"{proxy} did not answer"
        hint = "is the proxy running? to go without it, unset the variable, or name the store's"
        hint += " host in no_proxy"
    elif own_name and message in (_UNKNOWN_NAME, _OTHER_NAME):
        what = f"no answer from {backend.bucket}.{urlsplit(backend.endpoint or '').hostname}"
        hint = register_command(backend, addressing_style="path")
    elif message == _UNTRUSTED:
        hint = "add the authority of its certificate to those that this machine trusts"
    return StoreUnavailableError(
        f"backend {backend.name!r}: {what} ({message})", code="NoAnswer", hint=hint
    )


def _read(error: Exception) -> _Said:
    response = getattr(error, "response", None)  # botocore.exceptions.ClientError
    if isinstance(response, dict) and "Error" in response:
        return _read_response(response)
    # obstore's text: the message, the answer's body, then a debug dump that repeats both.
    text = str(error).partition("\n\nDebug source:")[0]
    if isinstance(error, ValueError):
        return _Said("InvalidKey", 400, text.partition("\n")[0])
    if _BARE_REDIRECT in text:
        return _Said(None, _MOVED, None)
    if _FOLLOWED in text:
        return _Said(None, _FOUND, None)
    code, status, said, region, clock = (
        found[1] if (found := pattern.search(text)) else None
        for pattern in (_CODE, _STATUS, _MESSAGE, _REGION, _SERVER_TIME)
    )
    if status is None and isinstance(error, FileNotFoundError):
        status = str(_NOT_FOUND)
    message = said if status else _transport_reason(str(error))
    return _Said(
        code,
        int(status) if status else None,
        message,
        region or _expected_region(said),
        _moment(clock),
        page=bool(_PAGE.search(text)),
    )


def _read_response(response: dict[str, Any]) -> _Said:
    details = response["Error"]
    http = response.get("ResponseMetadata", {})
    headers = http.get("HTTPHeaders", {})
    code, message = str(details.get("Code") or ""), details.get("Message")
    return _Said(
        # A HEAD has no body: botocore puts the status where the code would be.
        None if code.isdigit() else code or None,
        http.get("HTTPStatusCode"),
        message or None,
        details.get("Region") or headers.get("x-amz-bucket-region") or _expected_region(message),
        _moment(details.get("ServerTime") or headers.get("date")),
        page=headers.get("content-type", "").startswith("text/html"),
        place=_place(headers.get("location")),
    )


def _place(location: str | None) -> str | None:
    """Where a Location leads, without the path and the query, which may carry secrets."""
    try:
        parts = urlsplit(location or "")
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        return None
    return f"{parts.scheme}://{host}" if host else None


def _expected_region(message: str | None) -> str | None:
    found = _EXPECTED_REGION.search(message or "")
    return found[1] if found else None


def _moment(text: str | None) -> datetime | None:
    """A time as S3's error body or HTTP's Date has it."""
    try:
        if text and text[:1].isdigit():
            found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        else:
            found = parsedate_to_datetime(text or "")
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


_UNKNOWN_NAME = "its name is not known"
_OTHER_NAME = "its certificate is for another name"
_UNTRUSTED = "its certificate is signed by nobody whom this machine trusts"


# The first that fits counts.
_TRANSPORT = (
    ("dns error", _UNKNOWN_NAME),
    ("NotValidForName|Hostname mismatch|doesn't match", _OTHER_NAME),
    ("UnknownIssuer|self[ -]signed certificate|unable to get local issuer", _UNTRUSTED),
    ("Expired|certificate has expired", "its certificate has expired"),
    ("ConnectionRefused|connect to proxy", "connection refused"),
    ("ProxyAuthRequired", "it asks for credentials"),
    ("[Tt]unnel", "it does not connect to the store"),
    ("Connection refused|Could not connect", "connection refused"),
    ("InvalidCertificate|certificate", "its certificate is not accepted"),
    (
        "InvalidContentType|InvalidMessage|corrupt message",
        "it does not speak TLS; should the endpoint begin with http://?",
    ),
    ("TimedOut|timed out", "timed out"),
    ("ConnectionReset", "connection reset"),
    ("IncompleteMessage", "connection closed in the middle"),
)


def _transport_reason(text: str) -> str:
    """Why there was no answer at all, from the debug dump of obstore or botocore's sentence."""
    for signs, reason in _TRANSPORT:
        if re.search(signs, text):
            return reason
    return "the connection failed"
