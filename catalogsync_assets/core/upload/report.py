"""What an upload says of itself. Apart from `upload`, which takes long to load."""

from __future__ import annotations

from dataclasses import dataclass

from catalogsync_assets.core.runner.report import Failure, RunReport


@dataclass
class UploadReport(RunReport[Failure]):
    """What an upload did. Files that `failed` are tried again by the next run."""

    backend: str
    workers: int  #: requests at a time, at most
    at_once: int = 0  #: how many there have been at a time
    in_flight: int = 0  #: files on their way
    queued: int = 0  #: tasks that were waiting when the run began, up to its limit
    queued_bytes: int = 0  #: the size of their files
    succeeded: int = 0  #: files sent, verified and recorded
    adopted: int = 0  #: files found in place, whole, and recorded without sending
    copied: int = 0  #: files that the store has copied from other keys, without sending
    #: Objects that were to be copied, and turned out gone or damaged; their files are sent, if they
    #: are here or on another backend, else they have failed.
    lost: int = 0
    #: Earlier contents that were replaced without a copy of them, as the store cannot copy.
    replaced_for_good: int = 0
    bytes: int = 0  #: bytes sent and verified
    settled_bytes: int = 0  #: the size of the files that are finished, one way or the other
    bytes_in_parts: int = 0  #: what has been sent of large files that are not complete yet
    retries: int = 0  #: requests that had to be repeated
    retryable: bool = False  #: whether a failure among them may pass without anyone acting
