"""Commands about backends: register-object-backend, backends, backend test."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running, types
from catalogsync_assets.core.stores.backend import (
    ADDRESSING_STYLES,
    ENCRYPTIONS,
    LAYOUTS,
    ObjectBackend,
)
from catalogsync_assets.core.stores.profile import PRESETS, provider_of

if TYPE_CHECKING:
    from catalogsync_assets.core.backends.separation import Finding
    from catalogsync_assets.core.stores.probe.probe import ProbeResult

_ANSWERS = {True: "yes", False: "no", None: "unknown"}
_AS_COPIES = {
    "apart": "a different store; what both hold counts as two copies",
    "same": "the same store; what both hold counts as one copy",
    None: "not proven to be a different store; what both hold counts as one copy",
}


@options.command(
    "AWS S3, with the credentials that the aws command uses:",
    "  catalogsync register-object-backend --name aws --bucket my-music --region eu-central-1",
    "Cloudflare R2, with R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY in the environment:",
    "  catalogsync register-object-backend --name r2 --bucket my-music --region auto \\",
    "    --endpoint https://ACCOUNT.r2.cloudflarestorage.com --credential-env-prefix R2",
    "Gently, over a thin line, to a cheaper class of storage:",
    "  catalogsync register-object-backend --name cold --bucket my-music --workers 4 \\",
    "    --bandwidth-limit 2MiB/s --storage-class STANDARD_IA",
    "Then test what the store does: catalogsync backend test r2",
)
@click.option("--name", required=True, help="Name of the backend: a-z, 0-9, _ and -.")
@click.option("--bucket", required=True, help="An existing bucket.")
@click.option("--endpoint", metavar="URL", help="The service's URL. [default: AWS]")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--base-prefix", metavar="PREFIX", default="", help="Prefix of every key.")
@click.option(
    "--credential-env-prefix",
    metavar="PREFIX",
    default="AWS",
    show_default=True,
    help="Credentials come from ${PREFIX}_ACCESS_KEY_ID, ${PREFIX}_SECRET_ACCESS_KEY and, if set,"
    " ${PREFIX}_SESSION_TOKEN; with none set, from the AWS default chain.",
)
@click.option(
    "--addressing-style",
    type=click.Choice(ADDRESSING_STYLES),
    default="auto",
    show_default=True,
    help="auto is path with an endpoint, virtual without.",
)
@click.option("--public-base-url", metavar="URL", help="Where objects can be read unsigned.")
@click.option(
    "--provider",
    type=click.Choice(tuple(PRESETS)),
    help="The service, for its known capabilities. [default: from the endpoint]",
)
@click.option(
    "--workers",
    type=types.workers,
    metavar="N|auto",
    help="Requests at a time, at most; how many are of use is found out. [default: auto]",
)
@click.option(
    "--max-in-flight",
    "max_in_flight_bytes",
    metavar="SIZE",
    type=types.size,
    help="Bytes of files to hold in memory at a time, such as 256MiB. [default: 128MiB]",
)
@click.option(
    "--bandwidth-limit",
    metavar="SIZE",
    type=types.rate,
    help="Bytes per second that a run may send, such as 10MiB/s. [default: no limit]",
)
@click.option(
    "--storage-class",
    metavar="CLASS",
    help="Class of new objects, as the service names it. [default: the bucket's]",
)
@click.option(
    "--server-side-encryption",
    type=click.Choice(ENCRYPTIONS),
    help="Encryption of new objects. [default: the bucket's]",
)
@click.option("--kms-key-id", metavar="ID", help="The key for aws:kms. [default: the service's]")
@click.option("--cache-control", metavar="VALUE", help="The Cache-Control header of new objects.")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help="path: after a move the store copies the object to the key of the new path; keep: keys"
    " stay as they are. [default: path for a new backend, else as it is]",
)
def register_object_backend(**settings: Any) -> None:
    """Register a bucket of an S3-compatible service, or update the one of the same name.

    Nothing is sent to the service. No secret is stored: only the name of the variables that hold
    it. Creates the catalog if there is none.
    """
    from catalogsync_assets.core.catalog.backends import object_backends, register

    catalog = running.open_catalog(create=True)
    if settings["layout"] is None:
        known = {b.name: b.layout for b in object_backends(catalog)}
        settings["layout"] = known.get(settings["name"], "path")
    made, is_new = register(catalog, ObjectBackend(**settings))
    word, place = "registered" if is_new else "updated", made.endpoint or "AWS"
    running.end(
        {"new": is_new, **dataclasses.asdict(made)},
        lambda: output.echo(f"{word} {made.name}: bucket {made.bucket} at {place}"),
    )


@options.command("catalogsync backends")
def backends() -> None:
    """List the registered object stores."""
    from catalogsync_assets.core.catalog.backends import object_backends

    found = object_backends(running.open_catalog())
    listed = [{**dataclasses.asdict(b), "profile": b.profile.known()} for b in found]
    running.end({"backends": listed}, lambda: _print(found))


def _print(found: list[ObjectBackend]) -> None:
    output.print_table(
        "backends",
        (
            *("name", "bucket", "endpoint", "provider", "region", "prefix"),
            *("credentials", "layout", "settings", "tested"),
        ),
        [
            (
                b.name,
                b.bucket,
                b.endpoint or "AWS",
                b.provider or provider_of(b.endpoint),
                b.region,
                b.base_prefix or "-",
                f"${b.credential_env_prefix}_*",
                b.layout,
                _settings(b),
                (b.tested.tested_at or ("partly" if b.tested.known() else "no"))[:10],
            )
            for b in found
        ],
    )


def _settings(backend: ObjectBackend) -> str:
    """What is not as it is by default, in a few words."""
    memory, rate = backend.max_in_flight_bytes, backend.bandwidth_limit
    words = (
        backend.addressing_style != "auto" and f"{backend.addressing_style} style",
        backend.public_base_url and f"public at {backend.public_base_url}",
        backend.workers and f"{backend.workers} workers",
        memory and f"{output.size(memory)} in memory",
        rate and f"{output.size(rate)}/s",
        backend.storage_class,
        backend.server_side_encryption,
    )
    return ", ".join(word for word in words if word) or "-"


@options.group(
    "catalogsync backend test cloud",
    "catalogsync backend show cloud",
    "catalogsync backend rename cloud attic",
    "catalogsync backend remove attic",
    "catalogsync backend make-bucket cloud",
)
def backend() -> None:
    """Show a backend, test, rename or remove it; `backends` lists them."""


@options.command(
    "catalogsync backend test cloud", "catalogsync backend test cloud --json", of=backend
)
@click.argument("name")
def test(name: str) -> None:
    """Test what a backend's store really does, and record the answers.

    Stores some small objects below PREFIX.catalogsync-test-RANDOM/, sends wrong digests and
    false conditions, reads back the results, and deletes its objects again, even when it is
    stopped. Sends about 5 MiB. Uploads rely on the answers from then on.

    Also tests whether it is the same store as another backend: such backends count as one copy.
    For this, an object is also stored through each of the other backends.

    Exit code 0 if objects can be stored and read back.
    """
    from catalogsync_assets.core.backends.capabilities import noted_test
    from catalogsync_assets.core.backends.separation import prove_against_others
    from catalogsync_assets.core.catalog.backends import backend_by_name, keep_profile
    from catalogsync_assets.core.catalog.failing import note_recovered
    from catalogsync_assets.core.stores.client import StoreClient
    from catalogsync_assets.core.stores.probe.capabilities import QUESTIONS
    from catalogsync_assets.core.stores.probe.probe import probe

    catalog = running.open_catalog()
    found = backend_by_name(catalog, name)
    asked: list[str] = []
    with output.progress("questions") as line:

        def show(what: str) -> None:
            asked.append(what)
            line.update(len(asked), len(QUESTIONS), what)

        with noted_test(catalog, StoreClient(found)) as prefix:
            result = probe(found, progress=show, prefix=prefix)
    others: list[Finding] = []
    if result.usable:
        keep_profile(catalog, found, result.profile)
        note_recovered(catalog, found)
        others = prove_against_others(catalog, backend_by_name(catalog, name))
    left_behind = sorted({*result.left_behind, *(key for f in others for key in f.left_behind)})
    if left_behind:
        keys = ", ".join(left_behind)
        output.message("warning", f"the test could not delete these objects: {keys}")
    told = {
        "backend": name,
        "usable": result.usable,
        "answers": result.answers,
        "profile": result.profile.known(),
        "left_behind": left_behind,
        "others": [{"backend": f.other.name, "verdict": f.verdict, "why": f.why} for f in others],
    }
    running.end(told, lambda: _print_test(name, result, others), result.failure, show_stopped=True)


def _print_test(name: str, result: ProbeResult, others: list[Finding]) -> None:
    output.print_table(
        f"capabilities of {name}",
        ("asked", "answer", "for uploads"),
        [
            (a.what, _ANSWERS[a.answer] + (f": {a.detail}" if a.detail else ""), a.meaning)
            for a in result.answers
        ],
    )
    for f in others:
        output.note(f"{f.other.name}: {_AS_COPIES[f.verdict]}{f' ({f.why})' if f.why else ''}")
