"""What may be set for a single run, in the launchpad or with `--config`, and how it is checked.

Types and unknown names are found by the launchpad while one types; bounds when the run is launched;
playlists, artists, pools and songs by the first step, before it changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg
from pydantic import Field, ValidationError

from catalogsync_assets.core.catalog.batches import CHUNK_MAX_BYTES, CHUNK_MAX_FILES
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import Selection, select
from catalogsync_assets.core.settings import MAX_WORKERS


class SelectionConfig(dg.Config):
    """Which songs a run is about; by default all."""

    dry_run: bool = Field(
        default=False,
        description="Only show what would be done: nothing is written, no store is contacted, and"
        " nothing counts as materialized.",
    )
    songs: list[int] = Field(
        default=[], description="Only these songs, by id; songs of any selection are taken."
    )
    playlists: list[str] = Field(
        default=[], description="Only songs of these playlists, by name or id."
    )
    artists: list[str] = Field(
        default=[], description="Only songs of these artists, by name or id."
    )
    pools: list[str] = Field(
        default=[], description="Only songs of these pools of playlists or artists, by name or id."
    )

    def selections(self, catalog: Catalog) -> tuple[Selection, ...]:
        """The same, found in the catalog.

        Raises:
            UsageError: one of them does not exist.
        """
        return select(catalog, **self._named())

    @property
    def restrictions(self) -> str:
        """The selections in words; empty if there are none."""
        named = self._named().items()
        return "; ".join(f"{name}: {', '.join(map(str, given))}" for name, given in named if given)

    def _named(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("songs", "playlists", "artists", "pools")}


class UploadConfig(SelectionConfig):
    """How much of a cell a run does, and how."""

    limit: int | None = Field(default=None, ge=1, description="At most this many files.")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WORKERS,
        description="Requests at a time in a step, at most; how many are of use is found out. By"
        " default the limit of the resource object_stores, else of the backend, else 256.",
    )
    audit_level: Literal["none", "head", "full"] = Field(
        default="none",
        description="Check each object of the cell again before it counts as materialized: head"
        " compares the digest that the store keeps, full reads the object.",
    )
    chunk_max_files: int = Field(
        default=CHUNK_MAX_FILES, ge=1, description="Files in a step, which a retry repeats."
    )
    chunk_max_bytes: int = Field(default=CHUNK_MAX_BYTES, ge=1, description="Bytes in a step.")

    @property
    def restrictions(self) -> str:
        limit = f"limit: {self.limit:,}" if self.limit else ""
        return "; ".join(filter(None, (limit, super().restrictions)))


def for_all(config: type[dg.Config], *ops: str) -> dg.ConfigMapping:
    """One flat block of configuration for a graph, which each of these ops is given whole.

    Raises (when a run is launched, before it starts):
        DagsterInvalidConfigError: a value is out of its bounds.
    """

    def spread(values: Mapping[str, Any]) -> dict[str, Any]:
        # What comes from an environment variable is known, and checked, only in the step.
        given = {name: v for name, v in values.items() if not isinstance(v, Mapping)}
        try:
            config(**given)
        except ValidationError as error:
            reasons = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())
            raise dg.DagsterInvalidConfigError(  # type: ignore[no-untyped-call]
                f"{reasons}.", [], values
            ) from None
        return {op: {"config": dict(values)} for op in ops}

    return dg.ConfigMapping(config_fn=spread, config_schema=config.to_fields_dict())
