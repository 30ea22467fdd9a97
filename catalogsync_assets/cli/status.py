"""The command that shows the state of things: status."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.replication import PolicyStatus, ShortSong
    from catalogsync_assets.core.catalog.status import BackendStatus, LastAudit, VerifiedBetween
    from catalogsync_assets.core.prune.report import Estimate


@options.command(
    "catalogsync status",
    "catalogsync status --verified",
    "catalogsync status --under-replicated --limit 20",
    "catalogsync status --json | jq '.backends[] | {name, pending}'",
)
@options.flag("--verified", "Also show when the files of each backend were verified.")
@options.flag("--under-replicated", "List the songs that have fewer copies than required.")
@click.option("--under-policy", is_flag=True, hidden=True, help="The old name, for one release.")
@options.number("--limit", "Most songs to list.", default=100)
def status(verified: bool, under_replicated: bool, under_policy: bool, limit: int) -> None:
    """Show what is where: songs, files and bytes of each backend, and what is still to do.

    Also tells whether every song has as many copies as required; see `policy`.
    """
    from catalogsync_assets.core.backup.concerns import concerns
    from catalogsync_assets.core.catalog.backends import object_backends
    from catalogsync_assets.core.catalog.failing import failing
    from catalogsync_assets.core.catalog.replication import policy_status, songs_under_policy
    from catalogsync_assets.core.catalog.status import (
        backend_status,
        unread_tags,
        verification_ages,
    )
    from catalogsync_assets.core.prune.plan import old_weight

    catalog = running.open_catalog()
    found = backend_status(catalog)
    broken = failing(catalog)
    copies = policy_status(catalog, found)
    ages = verification_ages(catalog) if verified else {}
    listing = under_replicated or under_policy
    short = songs_under_policy(catalog, limit) if listing else []
    unread, _ = unread_tags(catalog, limit=1)
    told: dict[str, Any] = {"catalog": catalog.path, "backends": found, "policy": copies}
    old = {backend.name: old_weight(catalog, backend) for backend in object_backends(catalog)}
    endangered = concerns(catalog)
    told |= {"unread_tag_count": unread, "old_weight": old, "concerns": endangered}
    told |= {"verified": ages} if verified else {}
    told |= {"under_replicated": short, "under_policy": short} if listing else {}

    def show() -> None:
        if listing:
            _print_short(short)
        else:
            _print_backends(str(catalog.path), found, ages)
            _print_old_weight(old)
        _print_copies(copies)
        if not listing:
            _print_troubles(found, unread)
            now = datetime.now(timezone.utc)
            for each in broken:
                output.message("failing", f"{each.backend} {each.in_words(now)}")
            for concern in endangered:
                output.message("warning", f"{concern.backend}: {concern.reason}; {concern.hint}")

    running.end(told, show)


def _print_backends(
    title: str, found: list[BackendStatus], ages: dict[str, VerifiedBetween]
) -> None:
    output.print_table(
        title,
        (
            *("backend", "complete", "partial", "absent", "files", "bytes"),
            *("pending", "failed", "gone"),
        ),
        [
            (
                *(b.name, b.songs, b.songs_partial, b.songs_absent, b.files),
                *(output.size(b.bytes), b.pending, b.failed, b.missing),
            )
            for b in found
        ],
    )
    for b in found:
        if words := _more(b, ages.get(b.name)):
            output.note(f"{b.name}: {words}")


def _print_old_weight(old: dict[str, Estimate]) -> None:
    for name, weight in old.items():
        if weight.files:
            least = "" if weight.whole else " at least"
            what = f"{output.counted(weight.files, 'object')}, {output.size(weight.bytes)}"
            output.note(f"{name}: `catalogsync prune --backend {name}` would delete{least} {what}")


def _more(backend: BackendStatus, ages: VerifiedBetween | None) -> str:
    """The rest, besides the figures, in a line."""
    words = []
    if backend.bucket:
        words.append(f"bucket {backend.bucket}")
        words.append(f"last upload {backend.last_success or 'never'}")
        words.append(f"last audit {_of_audit(backend.last_audit)}")
    if backend.companions_total:
        there, all_ = backend.companions, backend.companions_total
        words.append(f"files beside the music: {there:,} of {all_:,}")
    if backend.not_by_path:
        keys = output.counted(backend.not_by_path, "key")
        words.append(f"{keys} not by path, as the store cannot copy")
    if backend.offloaded:
        words.append(f"{output.files(backend.offloaded)} offloaded")
    if backend.excluded:
        words.append(f"{output.files(backend.excluded)} left out")
    if backend.forgotten:
        words.append(f"{output.files(backend.forgotten)} forgotten")
    if ages:
        words.append(f"verified from {ages.oldest} to {ages.newest}")
    return ", ".join(words)


def _of_audit(audit: LastAudit | None) -> str:
    if audit is None:
        return "never"
    of_what = "" if audit.sample_percent is None else f", {audit.sample_percent:g}%"
    return f"{audit.finished_at} ({audit.level}{of_what}{', partial' if audit.limited else ''})"


def _print_copies(copies: PolicyStatus) -> None:
    output.note(_in_words(copies))
    if copies.companions_under_policy:
        beside = output.files(copies.companions_under_policy)
        have = "has" if copies.companions_under_policy == 1 else "have"
        output.note(f"copies: {beside} beside the music {have} fewer than required")
    for names in copies.same:
        output.note(f"copies: {', '.join(names)} are the same store, and count as one copy")
    for one, other in copies.unproven:
        output.note(
            f"copies: {one} and {other} are not proven to be two stores, and count as one copy;"
            f" run `catalogsync backend test {other}` to find out"
        )


def _in_words(copies: PolicyStatus) -> str:
    """Whether there are as many copies as there should be."""
    if not copies.songs:
        return "copies: no songs yet"
    if not copies.backends:
        return "copies: no backend is registered, so there are none; see register-object-backend"
    fewest, most = copies.required_copies
    required = str(most) if fewest == most else f"{fewest} to {most}"
    if not copies.songs_under_policy:
        return f"copies: all {copies.songs:,} songs have as many as required ({required})"
    return (
        f"copies: {copies.songs_under_policy:,} of {copies.songs:,} songs have fewer than required"
        f" ({required}); `catalogsync status --under-replicated` lists them"
    )


def _print_troubles(found: list[BackendStatus], unread: int) -> None:
    if unread:
        what = f"tags that cannot be read, or a missing end, in {output.files(unread)}"
        output.note(f"{what}; `catalogsync failures --tags` lists them")
    for b in found:
        if b.damaged:
            count = output.files(b.damaged)
            wrong = f"the content of {count} is wrong"
            s = "s" if b.damaged == 1 else ""
            looks = f"{count} look{s} damaged, and count{s} as no copy"
            output.message("damaged", f"{b.name}: {wrong if b.bucket else looks}")
        for reason in b.reasons:
            failed = f"{reason.count:,} x {reason.code}: {reason.example}"
            output.message("failed", f"{b.name}: {failed}")


def _print_short(short: list[ShortSong]) -> None:
    if short:
        output.print_table(
            "under-replicated songs",
            ("song", "artist", "title", "files", "copies", "required"),
            [["-" if cell is None else cell for cell in dataclasses.astuple(s)] for s in short],
        )
