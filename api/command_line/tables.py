"""Lists as tables for people: ids are never cut, what strangers wrote cannot speak to the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from uuid import UUID
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from api.command_line.console import visible
from api.reasons import CannotGoOn
from ledger import ids


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    whole: Sequence[str],
    limit: int,
    go_on: Callable[[int], str],
    nothing: str,
) -> Table:
    """At most `limit` rows, of which there is one more when there are more.

    The columns in `whole` hold ids or times, which are useless when they are cut. The caption is `nothing` where there
    are no rows, and `go_on(n)` where there are more than the n + 1 that are shown.
    """
    drawn = Table(box=None, pad_edge=False, caption_justify="left")
    for n, column in enumerate(columns):
        width = max((len(row[n]) for row in rows), default=0) if column in whole else None
        drawn.add_column(column, no_wrap=column in whole, min_width=width)
    for row in rows[:limit]:
        drawn.add_row(*(Text(visible(one)) for one in row))
    if len(rows) > limit:
        drawn.caption = f"more: {go_on(limit - 1)}"
    elif not rows:
        drawn.caption = nothing
    return drawn


_printed_in: tzinfo = UTC


def print_times_in(zone: str) -> None:
    """From now on `moment` prints times of that zone. Dates of the books stay UTC dates, whatever is printed."""
    global _printed_in  # noqa: PLW0603 - of this process, which is one command
    _printed_in = UTC if zone == "UTC" else ZoneInfo(zone)


def moment(at: datetime | None) -> str:
    """A time to the second, in UTC; in another zone that was asked for, with that zone's name."""
    if at is None:
        return ""
    return f"{at.astimezone(_printed_in):{'%Y-%m-%d %H:%M:%S' if _printed_in is UTC else '%Y-%m-%d %H:%M:%S %Z'}}"


def instant(at: datetime | None) -> str:
    """The same in a sentence, always with the zone's name."""
    return f"{moment(at)} UTC" if _printed_in is UTC else moment(at)


def parse(prefix: str, text: str, what: str) -> UUID:
    """The id inside `<prefix>_…`. Raises `CannotGoOn`."""
    try:
        return ids.parse(prefix, text)
    except ids.MalformedId:
        raise CannotGoOn(f"{text} is not the id of {what} ({prefix}_…).", exit_code=2) from None
