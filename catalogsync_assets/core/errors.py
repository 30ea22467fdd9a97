"""Every error that a user may see, classified once, where it comes in.

The tree::

    CatalogSyncError            message + hint, exit code 1
    ├── UsageError              the request itself is wrong, exit code 2
    │   ├── ConfigurationError  a setting or an environment variable is missing or malformed
    │   ├── NoConditionsError   a store cannot be told which version is to be deleted
    │   └── UnknownBackendError no backend of that name
    ├── CatalogError            the database cannot be opened, read or written
    ├── LibraryError            a library root cannot be read, or looks unmounted
    │   └── NoRoomError         every library root is full
    ├── DownloadError           a file cannot be downloaded from its source
    │   └── SourceUnavailableError  no answer, a broken connection, 5xx, 429: try again later
    ├── RunAborted              a run with many tasks could not go on
    ├── SourceError             a file cannot be uploaded as it is
    ├── RestoreError            a file cannot be brought back
    ├── NotRemoved              a local file, or an object, was not deleted, and stays
    └── StoreError              an object store refused, or did not answer
        ├── AccessRefusedError  credentials or permissions
        ├── BucketMissingError  no such bucket
        ├── StoreFullError      no space left there, or a quota is reached
        ├── ConflictError       something else is already stored under the key
        ├── KeyRefusedError     the store refuses this one key or object
        ├── GenerationDoubtedError  this catalog may not be the one that changed the backend last
        ├── DamagedObjectError  an object is not what the catalog says
        └── StoreUnavailableError  time-out, connection refused, 5xx, 429: try again later

A message says what failed and where; the hint says what to do. Neither ever holds a secret.
"""

from __future__ import annotations

from typing import Any


class CatalogSyncError(Exception):
    """A failure that one sentence explains.

    Args:
        message: what failed, and on what.
        hint: what the reader can do about it, or None.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class _CodedError(CatalogSyncError):
    """A failure of one file or request; `code` is the short name under which reports count it."""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class RunAborted(CatalogSyncError):  # noqa: N818
    """A run could not go on; what it had done is recorded, and the next goes on from there.

    Attributes:
        report: what was done by then; see `runner.report`.
        cause: why; message, hint and exit code are its.
        printed: whether it was shown to the reader already.
    """

    def __init__(self, report: Any, cause: CatalogSyncError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.report = report
        self.cause = cause
        self.exit_code = cause.exit_code
        self.printed = False


class UsageError(CatalogSyncError):
    """The request is wrong; nothing was tried."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A setting or an environment variable is missing or malformed."""


class NoConditionsError(UsageError):
    """Nothing is deleted from a store that keeps no conditions of a delete, unless asked for."""


class UnknownBackendError(UsageError):
    """No backend of that name is registered."""


class CatalogError(CatalogSyncError):
    """The catalog database cannot be opened, read or written."""


class LibraryError(CatalogSyncError):
    """A library root cannot be read as a whole."""


class NoRoomError(LibraryError):
    """Every library root is full."""


class DownloadError(_CodedError):
    """One file cannot be downloaded from its source, or is not what it should be.

    Sources raise it, those of other packages too. The message must name no secret; addresses in
    it are redacted once more where it is recorded.

    Attributes:
        code: a short name of the reason, such as `NotFound`.
        retryable: whether the same request may succeed later without anyone acting.
    """

    retryable = False


class SourceUnavailableError(DownloadError):
    """There was no answer, or not all of it, or the source asked to be tried again later.

    Attributes:
        retry_after: seconds that the source asks to wait, or None.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after = retry_after


class StoreError(_CodedError):
    """An object store refused a request or did not answer.

    Attributes:
        code: the store's own error code (`NoSuchBucket`) or a short name of ours.
        retryable: whether the same request may succeed later without anyone acting.
        fatal: whether every other request to this backend must be expected to fail as well.
    """

    retryable = False
    fatal = False


class AccessRefusedError(StoreError):
    """The store does not accept the credentials, or they do not allow the operation."""

    fatal = True


class BucketMissingError(StoreError):
    """The bucket does not exist."""

    fatal = True


class StoreFullError(StoreError):
    """The store has no space for anything more."""

    fatal = True


class ConflictError(StoreError):
    """Another object is stored under the key, and it is not an earlier version of ours."""


class GenerationDoubtedError(StoreError):
    """This catalog may not be the one that changed the backend last: what it knows may be old."""


class KeyRefusedError(StoreError):
    """The store refuses this key or this object, whoever asks and however often."""


class DamagedObjectError(StoreError):
    """An object was read, and is not what the catalog says.

    Attributes:
        etag: of the object that was read, as far as the store gave one.
    """

    def __init__(self, message: str, *, etag: str | None, hint: str | None = None) -> None:
        super().__init__(message, code="Damaged", hint=hint)
        self.etag = etag


class StoreUnavailableError(StoreError):
    """The store could not be reached, or asked to be tried again later."""

    retryable = True


class SourceError(_CodedError):
    """A source cannot be uploaded as it is.

    Attributes:
        code: `SourceMissing`, `SourceUnreadable`, `SourceChanged`, `SourceOutside` or
            `ContentDiffers`; of one on another backend also `SourceDamaged`, `SourceUnavailable`,
            `SourceRefused`, `NoRoom`.
        changed: whether the next scan must read the file again.
        retryable: whether it may pass without anyone acting.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str,
        changed: bool = False,
        retryable: bool = False,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.changed = changed
        self.retryable = retryable


class RestoreError(_CodedError):
    """One file cannot be brought back.

    Attributes:
        code: short name of the reason: `Conflict`, `NoCopy`, `NoDigest`, `LinkedFolder`, the last
            backend's reason, or the system's name of a disk error.
    """


class NotRemoved(_CodedError):  # noqa: N818
    """A file, or an object of a backend, is left where it is.

    Attributes:
        code: `Gone`, `Changed`, `Link`, `HardLink`, `Outside`, `Unreadable`, `Unwritable`,
            `NoDigest`, `ContentDiffers`, `NotProven`, `RootMissing`, `Kept`; of an object
            `Changed`, `NotOurs`, `AnotherFile`, `Adopted`, `Newer`, `NoCondition`, `StillThere`,
            `NotProven`, `FewCopies`.
    """
