"""Which proxy the requests to a backend go through: one rule for both of its clients.

The variables are those of curl. What stands in NO_PROXY, obstore and boto3 read differently: `*` is
nothing to the one, `10.0.0.0/8` nothing to the other, and half of an upload would go another way.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from os import environ
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.stores.backend import ObjectBackend


class Proxy(NamedTuple):
    """A proxy that the environment names."""

    url: str  #: with its credentials, if it has any
    name: str  #: for a message: host, port and the environment variable
    excluded: bool  #: NO_PROXY has the backend's host: requests go without it


def proxy_of(backend: ObjectBackend) -> Proxy | None:
    """The proxy that is named for a backend's requests; None if there is none.

    Raises:
        ConfigurationError: what is named is no address.
    """
    target = urlsplit(backend.endpoint or f"https://s3.{backend.region}.amazonaws.com")
    proxies = urllib.request.getproxies_environment()
    scheme = target.scheme if target.scheme in proxies else "all"
    if scheme not in proxies:
        return None
    name = f"{scheme}_proxy"
    variable = name if name in environ else name.upper()
    excluded = _is_named(target, proxies.get("no", ""))
    url = proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}"
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        place = ""
    if not excluded and (not place or re.search(r"\s", url)):
        raise ConfigurationError(
            f"the environment variable {variable} names no proxy: it is no address",
            hint=f"set {variable} to http://HOST:PORT, or unset it",
        )
    return Proxy(url, f"the proxy {place} named by {variable}", excluded)


def _is_named(target: SplitResult, no_proxy: str) -> bool:
    host = target.hostname or ""
    port = target.port or {"http": 80, "https": 443}.get(target.scheme)
    for name in re.split(r"[\s,]+", no_proxy.lower()):
        if name == "*":
            return True
        suffix = name.removeprefix("*").removeprefix(".")
        if suffix in (host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"):
            return True
        if suffix and host.endswith(f".{suffix}"):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:  # one of them is a name
            continue
    return False
