"""The source `http`: plain HTTP and HTTPS, with httpx.

httpx and not urllib3, which is here too (boto3 needs it): it reads proxies from the environment,
builds the request after a redirect with credentials left out where the host changes, and is typed.
Redirects are followed one by one, so that each address is checked before it is requested.

Resuming: `Range` with `If-Range`, so that a server whose content has changed sends all of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalogsync_assets import __version__
from catalogsync_assets.core.download import headers
from catalogsync_assets.core.download.headers import Range
from catalogsync_assets.core.download.sources import Content, Item
from catalogsync_assets.core.errors import DownloadError, SourceUnavailableError
from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension
from catalogsync_assets.core.files.names import name_in_url
from catalogsync_assets.core.files.partial import Resume
from catalogsync_assets.core.redaction import redact

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 10
CONNECT_SECONDS = 10.0
#: A connection that brings no byte for this long counts as broken.
READ_SECONDS = 60.0
_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_REASONS = {
    401: ("AccessRefused", "credentials are missing or wrong"),
    403: ("AccessRefused", "access is denied; a signed URL may have expired"),
    404: ("NotFound", "not found"),
    410: ("NotFound", "no longer there"),
}


class HttpSource:
    """Fetches files from web servers."""

    def __init__(self) -> None:
        # Imported here: it costs a tenth of a second, and most commands download nothing.
        import httpx

        for name in ("httpx", "httpcore"):
            # They log each address, with the signature in its query.
            logging.getLogger(name).setLevel(logging.WARNING)
        self._httpx = httpx
        self._client = httpx.Client(
            headers={
                "User-Agent": f"catalogsync/{__version__}",
                # A range of a compressed answer is not a range of the file.
                "Accept-Encoding": "identity",
                "Accept": "audio/*, */*;q=0.1",
            },
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=None),
            # How many are open at a time, the engine's workers say.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            event_hooks={"response": [self._refuse_malformed]},
        )

    def _refuse_malformed(self, response: httpx.Response) -> None:
        """Tell a malformed URL from a broken connection: httpx takes both for one."""
        if not response.has_redirect_location:
            return
        address = response.headers["Location"]
        try:
            host = self._httpx.URL(address).host
            host.encode("idna")  # as the resolver does
        except (self._httpx.InvalidURL, ValueError) as error:
            raise DownloadError(
                f"{redact(str(response.request.url))} redirects to {redact(address)!r}, which is"
                " not a valid http(s) URL",
                code="BadAddress",
            ) from error

    def close(self) -> None:
        """See `Source.close`."""
        self._client.close()

    @contextmanager
    def open(self, item: Item, resume: Resume | None) -> Iterator[Content]:
        """See `Source.open`."""
        with self._translated(item):
            response, start, total = self._ask(item, resume)
        try:
            yield Content(
                pieces=self._pieces(item, response),
                start=start,
                total=total,
                validator=headers.validator(response.headers),
                name=_name(item.url, response),
            )
        finally:
            response.close()

    def _ask(self, item: Item, resume: Resume | None) -> tuple[httpx.Response, int, int | None]:
        """The answer, where its content begins, and the size of the whole."""
        asked = {}
        if resume is not None:
            asked["Range"] = f"bytes={resume.offset}-"
            if resume.validator:
                asked["If-Range"] = resume.validator
        response = self._follow(item, asked)
        try:
            if resume is not None and response.status_code in (_PARTIAL, _RANGE_REFUSED):
                rest = _rest(item, response, resume)
                if rest is not None:
                    return response, resume.offset, rest.total
                response.close()  # another part, another content, or none: all of it, then
                return self._ask(item, None)
            return response, 0, self._whole(item, response)
        except BaseException:
            response.close()
            raise

    def _follow(self, item: Item, asked: dict[str, str]) -> httpx.Response:
        request = self._client.build_request("GET", item.url, headers=asked)
        for _ in range(MAX_REDIRECTS + 1):
            if request.url.scheme not in ("http", "https"):
                raise DownloadError(
                    f"{redact(item.url)} redirects to a {request.url.scheme}: URL",
                    code="RedirectRefused",
                    hint="only http and https are followed",
                )
            response = self._client.send(request, stream=True, follow_redirects=False)
            following = response.next_request
            if following is None:
                return response
            response.close()
            request = following
        raise DownloadError(
            f"{redact(item.url)} redirects more than {MAX_REDIRECTS} times",
            code="TooManyRedirects",
            hint="open it in a browser; it may need a login",
        )

    @staticmethod
    def _whole(item: Item, response: httpx.Response) -> int | None:
        """The size of all that is coming; None if it tells its end otherwise.

        Raises:
            DownloadError: it is not coming, or nothing would tell whether it came whole.
        """
        fields = response.headers
        part = headers.content_range(fields) if response.status_code == _PARTIAL else None
        # A part that nobody has asked for may be all of it.
        is_all = part is not None and (part.first, part.last + 1) == (0, part.total)
        if response.status_code != _OK and not is_all:
            raise _refusal(item, response)
        if headers.is_encoded(fields):
            raise DownloadError(
                f"{redact(item.url)}: the server sends it compressed, though asked not to",
                code="Compressed",
            )
        length = fields.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            return int(length)
        is_chunked = "chunked" in fields.get("Transfer-Encoding", "").lower()
        if not (is_chunked or item.sha256 or item.size_bytes):
            raise DownloadError(
                f"{redact(item.url)}: the server does not say how long it is, so a broken"
                " connection would look like its end",
                code="LengthUnknown",
                hint="give its size or sha256 in the manifest",
            )
        return None

    def _pieces(self, item: Item, response: httpx.Response) -> Iterator[bytes]:
        with self._translated(item):
            yield from response.iter_raw()  # as they come, at most 64 KiB

    @contextmanager
    def _translated(self, item: Item) -> Iterator[None]:
        """Turn what httpx raises into our errors."""
        where, httpx = redact(item.url), self._httpx
        try:
            yield
        except httpx.TimeoutException as error:
            raise SourceUnavailableError(f"{where}: timed out", code="Timeout") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise DownloadError(
                f"{where} is not a valid http(s) URL", code="BadAddress", hint="fix the manifest"
            ) from error
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise DownloadError(
                    f"{where}: the server's certificate is not accepted", code="Certificate"
                ) from error
            raise SourceUnavailableError(
                f"{where}: no connection ({redact(str(error))})",
                code="NoAnswer",
                hint="check the URL and the network",
            ) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise SourceUnavailableError(
                f"{where}: the connection broke ({redact(str(error)) or type(error).__name__})",
                code="ConnectionBroken",
            ) from error


def _rest(item: Item, response: httpx.Response, resume: Resume) -> Range | None:
    """Which part the answer is, if it is the rest that was asked for; None if something else."""
    found = headers.content_range(response.headers)
    if found is None or response.status_code != _PARTIAL or found.first != resume.offset:
        return None
    # Some servers know ranges, but not If-Range.
    now = (response.headers.get("ETag"), response.headers.get("Last-Modified"))
    if resume.validator and resume.validator not in now:
        return None
    if found.total is None and not (item.sha256 or item.size_bytes):
        return None  # it may be less than the rest, and nothing would tell
    return None if headers.is_encoded(response.headers) else found


def _name(url: str, response: httpx.Response) -> str | None:
    """What the server calls the file, else what the address does that was asked for, or in the end
    reached."""
    given = headers.file_name(response.headers.raw)
    asked, reached = name_in_url(url), name_in_url(str(response.url))
    return given or (asked if extension(asked) in MEDIA_TYPES else reached or asked) or None


def _refusal(item: Item, response: httpx.Response) -> DownloadError:
    status = response.status_code
    where = redact(item.url)
    if status in _PASSING:
        return SourceUnavailableError(
            f"{where}: HTTP {status}",
            code=f"Http{status}",
            hint="try again later",
            retry_after=headers.retry_after(response.headers, time.time()),
        )
    code, reason = _REASONS.get(status, (f"Http{status}", "the server refuses it"))
    return DownloadError(f"{where}: {reason} (HTTP {status})", code=code)
