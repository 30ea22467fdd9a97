"""Plots for the web UI: SVG by pygal, embedded in Markdown as Dagster's UI shows it.

pygal loads in 0.04 s and draws in 0.006 s; matplotlib takes 0.4 s to load, and its picture is twice
as large. It is loaded when a plot is drawn, as every step loads this module.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from catalogsync_assets.assets.ui.metadata import mebibytes

if TYPE_CHECKING:
    from catalogsync_assets.assets.ui.progress import Rate
    from catalogsync_assets.core.catalog.status import BackendStatus, FormatTotal
from catalogsync_assets.core.visible import visible

#: As wide as the UI's dialog shows without scrolling.
_WIDTH = 560
#: Bars of a plot; a table beside it has more.
_MOST = 20
_COLORS = ("#4f43dd", "#ecb22e", "#c8c8d4", "#2e9e6b")
#: Seconds of the units of time, and how many of one are told in it.
_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
_ENOUGH = 3
_NOTHING = dg.MetadataValue.md("Nothing to show.")


def throughput(rates: Sequence[Rate]) -> dg.MetadataValue:
    """MiB and files per second over the time of an upload."""
    if not rates:
        return _NOTHING
    chart = _chart(
        "Line",
        330,
        title="throughput",
        show_dots=len(rates) == 1,
        include_x_axis=True,
    )
    seconds, unit = next(u for u in _UNITS if rates[-1].second >= u[0] * _ENOUGH or u[0] == 1)
    chart.x_title = f"{unit} since the start"
    chart.x_labels = [f"{rate.second / seconds:.1f}".removesuffix(".0") for rate in rates]
    chart.x_labels_major_count = 6
    chart.show_minor_x_labels = False
    chart.add("MiB/s", [mebibytes(round(rate.bytes)) for rate in rates])
    chart.add("files/s", [round(rate.files, 3) for rate in rates], secondary=True)
    return _picture(chart)


def songs_by_backend(backends: Sequence[BackendStatus]) -> dg.MetadataValue:
    """How many songs are wholly, partly and not at all on each backend."""
    if not any(b.songs_total for b in backends):
        return _NOTHING
    shown = list(reversed(backends[:_MOST]))  # the first one on top
    chart = _chart("HorizontalStackedBar", 120 + 30 * len(shown), title="songs per backend")
    chart.x_labels = [visible(b.name) for b in shown]
    chart.add("complete", [b.songs for b in shown])
    chart.add("partial", [b.songs_partial for b in shown])
    chart.add("absent", [b.songs_absent for b in shown])
    return _picture(chart)


def bytes_by_format(formats: Sequence[FormatTotal]) -> dg.MetadataValue:
    """MiB of each audio format, the largest first."""
    if not formats:
        return _NOTHING
    shown = list(reversed(formats[:_MOST]))
    chart = _chart("HorizontalBar", 90 + 26 * len(shown), title="MiB by format")
    chart.x_labels = [visible(f.format) for f in shown]
    chart.show_legend = False
    chart.print_values = True
    chart.add("MiB", [mebibytes(f.bytes) for f in shown])
    return _picture(chart)


def _pygal() -> Any:
    """The library, without what it adds to Python's import system for plugins, which we have none
    of: a finder of an old kind, at which Python 3.11 warns with each import thereafter."""
    import pygal

    theirs = getattr(pygal, "PluginImportFixer", ())
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, theirs)]
    return pygal


def _chart(kind: str, height: int, **options: Any) -> Any:
    pygal = _pygal()
    style = pygal.style.Style(
        background="white",
        plot_background="white",
        colors=_COLORS,
        # A picture in a page may load nothing from elsewhere.
        font_family="sans-serif",
        title_font_size=14,
        label_font_size=11,
        major_label_font_size=11,
        legend_font_size=12,
        value_font_size=11,
    )
    return getattr(pygal, kind)(
        width=_WIDTH,
        height=height,
        style=style,
        js=(),
        explicit_size=True,
        disable_xml_declaration=True,
        # Half of its style sheet would be the name of the picture, for pages that hold several.
        no_prefix=True,
        truncate_label=-1,
        min_scale=3,
        max_scale=6,
        legend_at_bottom=True,
        margin=12,
        value_formatter=lambda value: f"{value:,.1f}".removesuffix(".0"),
        **options,
    )


def _without_interaction(root: Any) -> Any:
    """Only the picture: a browser runs no script in it, and shows nothing under the mouse."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("script", "desc"):
                parent.remove(child)
    return root


def _picture(chart: Any) -> dg.MetadataValue:
    chart.add_xml_filter(_without_interaction)
    svg = base64.b64encode(chart.render(is_unicode=True).encode()).decode()
    return dg.MetadataValue.md(f"![{chart.config.title}](data:image/svg+xml;base64,{svg})")
