"""Where the credentials of a backend come from: its own environment variables, else AWS's chain."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.stores.backend import ObjectBackend

if TYPE_CHECKING:
    from obstore.store import S3Credential


def _variables(backend: ObjectBackend) -> tuple[str, str, str]:
    """Of the access key id, the secret, and the optional token."""
    prefix = backend.credential_env_prefix
    return f"{prefix}_ACCESS_KEY_ID", f"{prefix}_SECRET_ACCESS_KEY", f"{prefix}_SESSION_TOKEN"


def _own_credentials(backend: ObjectBackend) -> tuple[str, str, str | None] | None:
    """Key id, secret and token from the backend's variables; None if neither of the two is set.

    Raises:
        ConfigurationError: only one of the two is set.
    """
    key_name, secret_name, token_name = _variables(backend)
    key, secret, token = map(os.environ.get, (key_name, secret_name, token_name))
    if key and secret:
        return key, secret, token or None
    if not key and not secret:
        return None
    missing, there = (secret_name, key_name) if key else (key_name, secret_name)
    raise ConfigurationError(
        f"backend {backend.name!r}: {there} is set, but {missing} is not", hint=f"set {missing}"
    )


def boto3_session(backend: ObjectBackend) -> Any:
    """A boto3 session with the backend's credentials.

    They come from the backend's environment variables; with none of them set, from the AWS
    default chain (environment, shared files, instance role).

    Raises:
        ConfigurationError: only one of id and secret is set, or nothing is found anywhere.
    """
    import boto3  # a quarter of a second, which only those who need it should pay
    import botocore.session
    from botocore.exceptions import BotoCoreError

    key, secret, token = _own_credentials(backend) or (None, None, None)
    core = botocore.session.get_session()
    parsers = core.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_time_or_none)
    try:
        session = boto3.session.Session(
            botocore_session=core,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            region_name=backend.region,
        )
        found = session.get_credentials()
    except BotoCoreError as error:
        raise _no_credentials(backend, f": {error}") from error
    if found is None:
        raise _no_credentials(backend)
    return session


def _no_credentials(backend: ObjectBackend, detail: str = "") -> ConfigurationError:
    names = " and ".join(_variables(backend)[:2])
    return ConfigurationError(
        f"backend {backend.name!r} has no credentials{detail}",
        hint=f"set {names} in the environment (or configure the AWS default chain)",
    )


def _time_or_none(text: Any) -> datetime | None:
    """A time as stores write it; None for one that was cut: nothing here depends on it."""
    from botocore.utils import parse_timestamp

    try:
        parsed: datetime = parse_timestamp(text)
    except (ValueError, TypeError, OverflowError):
        return None
    else:
        return parsed


def credential_provider(backend: ObjectBackend) -> Callable[[], S3Credential]:
    """What obstore asks for credentials. The backend's own variables need no boto3."""
    own = _own_credentials(backend)
    if own is not None:
        key, secret, token = own
        return lambda: {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": token,
            "expires_at": None,
        }
    session = boto3_session(backend)

    def from_chain() -> S3Credential:
        found = session.get_credentials()
        current = found.get_frozen_credentials()  # botocore renews those of a role by itself
        temporary = hasattr(found, "refresh_needed")
        return {
            "access_key_id": current.access_key,
            "secret_access_key": current.secret_key,
            "token": current.token,
            "expires_at": datetime.now(timezone.utc) + timedelta(minutes=1) if temporary else None,
        }

    return from_chain
