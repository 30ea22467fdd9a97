"""Turns what obstore and boto3 raise into our errors: one place, one table.

The store's own error code decides where it gives one, the HTTP status otherwise. Bodies of
answers are never passed on whole: they may echo what was signed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.errors import (
    AccessRefusedError,
    BucketMissingError,
    ConfigurationError,
    ConflictError,
    KeyRefusedError,
    StoreError,
    StoreUnavailableError,
)

# Formats of object_store's errors (crate `object_store`, client/retry.rs); S3's error body.
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")

_CREDENTIAL_CODES = {
    "InvalidAccessKeyId": "the store does not know this access key",
    "SignatureDoesNotMatch": "the secret does not fit the access key",
    "InvalidToken": "the session token is not valid",
    "ExpiredToken": "the session token has expired",
    "RequestTimeTooSkewed": "this machine's clock and the store's differ too much",
    "AuthorizationHeaderMalformed": "the store did not take the signature; is the region right?",
    "Unauthorized": "the store does not accept the credentials",
}
_ACCESS_CODES = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"}
_CONFLICT_CODES = {"PreconditionFailed", "ConditionalRequestConflict"}
_BUSY_CODES = {
    "SlowDown": 503,
    "ServiceUnavailable": 503,
    "InternalError": 500,
    "RequestTimeout": 400,
    "OperationAborted": 409,
    "TooManyRequests": 429,
    # The bytes were damaged on their way; they are read and sent anew.
    "BadDigest": 400,
    "XAmzContentSHA256Mismatch": 400,
    "IncompleteBody": 400,
}
#: The code of an answer that makes no sense.
BAD_ANSWER = "BadAnswer"
#: What stores answer to a header or a feature that they do not know.
_UNSUPPORTED_CODES = {"NotImplemented", "InvalidArgument", "Http501"}
_RETRYABLE_STATUS = {408, 425, 429, 500, 502, 503, 504}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _PRECONDITION = 401, 403, 404, 409, 412


def no_credentials(
    backend: ObjectBackend, names: Sequence[str], detail: str | None = None
) -> ConfigurationError:
    """The error for a backend whose credentials are nowhere to be found."""
    return ConfigurationError(
        f"backend {backend.name!r} has no credentials" + (f": {detail}" if detail else ""),
        hint=f"set {' and '.join(names)} in the environment (or configure the AWS default chain)",
    )


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
)
_WRONG_RANGE = re.compile(r"Requested \d+\.\.\d+, got ")


def _spoilt(error: Exception) -> str | None:
    """What is wrong with an answer that makes no sense, or None if it does."""
    text = str(error).partition("\n")[0].removeprefix("Generic S3 error: ")
    if isinstance(error, BadAnswerError) or _WRONG_RANGE.match(text):
        return text
    return text if any(sign in text for sign in _BAD_ANSWERS) else None


def store_error(  # noqa: PLR0911  (a table of cases)
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
    code, status, message = _read(error)
    prefix = backend.credential_env_prefix
    variables = f"{prefix}_ACCESS_KEY_ID and {prefix}_SECRET_ACCESS_KEY"
    if code in _CREDENTIAL_CODES:
        return AccessRefusedError(
            f"{where}: {_CREDENTIAL_CODES[code]} ({code})", code=code, hint=f"check {variables}"
        )
    if code == "NoSuchBucket":
        return BucketMissingError(
            f"{where}: there is no bucket {backend.bucket!r} at {backend.endpoint or 'AWS'}",
            code=code,
            hint="make the bucket, or register the backend with the right --bucket",
        )
    if code in _ACCESS_CODES or status in (_UNAUTHORIZED, _FORBIDDEN):
        return AccessRefusedError(
            f"{what}: access denied",
            code=code or "AccessDenied",
            hint=f"check {variables}, and that they may read and write the bucket",
        )
    if code in _CONFLICT_CODES or status == _PRECONDITION:
        return ConflictError(f"{what}: something is stored there", code=code or "Conflict")
    reason = f"{code or 'HTTP ' + str(status)}{': ' + message if message else ''}"
    if code in _BUSY_CODES or status in _RETRYABLE_STATUS:
        return StoreUnavailableError(
            f"{what}: {reason}", code=code or f"Http{status}", hint="try again later"
        )
    if status is None:
        return StoreUnavailableError(
            f"{where}: no answer from {backend.endpoint or 'AWS'} ({message})",
            code="NoAnswer",
            hint="is the server running, the endpoint right, the network up?",
        )
    code = code or f"Http{status}"
    unsupported = code in _UNSUPPORTED_CODES or "unsupported header" in (message or "").lower()
    hint = f"find out what the store can do: catalogsync backend test {backend.name}"
    return KeyRefusedError(f"{what}: {reason}", code=code, hint=hint if unsupported else None)


def _read(error: Exception) -> tuple[str | None, int | None, str | None]:
    """The store's error code, the HTTP status, and a short message, as far as there are any."""
    response = getattr(error, "response", None)  # botocore.exceptions.ClientError
    if isinstance(response, dict) and "Error" in response:
        details = response["Error"]
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = str(details.get("Code") or "")
        # A HEAD has no body: botocore puts the status where the code would be.
        return (None if code.isdigit() else code or None), status, details.get("Message")
    # obstore's text: the message, the answer's body, then a debug dump that repeats both.
    text = str(error).partition("\n\nDebug source:")[0]
    if isinstance(error, ValueError):
        return "InvalidKey", 400, text.partition("\n")[0]
    code_match, status_match, said = (p.search(text) for p in (_CODE, _STATUS, _MESSAGE))
    status = int(status_match[1]) if status_match else None
    if status is None and isinstance(error, FileNotFoundError):
        status = _NOT_FOUND
    message = said[1] if said else None
    if status is None:
        message = _transport_reason(str(error))
    return (code_match[1] if code_match else None), status, message


def _transport_reason(text: str) -> str:
    """Why there was no answer at all, from the debug dump of obstore or botocore's sentence."""
    for sign, reason in (
        ("dns error", "its name is not known"),
        ("ConnectionRefused", "connection refused"),
        ("Connection refused", "connection refused"),
        ("Could not connect", "connection refused"),
        ("InvalidCertificate", "its certificate is not accepted"),
        ("certificate", "its certificate is not accepted"),
        ("InvalidContentType", "it does not speak TLS; should the endpoint begin with http://?"),
        ("InvalidMessage", "it does not speak TLS; should the endpoint begin with http://?"),
        ("corrupt message", "it does not speak TLS; should the endpoint begin with http://?"),
        ("TimedOut", "timed out"),
        ("timed out", "timed out"),
        ("ConnectionReset", "connection reset"),
        ("IncompleteMessage", "connection closed in the middle"),
    ):
        if sign in text:
            return reason
    return "the connection failed"
