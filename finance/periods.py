"""Months as finance closes them: UTC, always. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Self

_NAME: Final = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """One UTC month: its first day and its last one, both inside."""

    first_day: date

    @classmethod
    def parse(cls, name: str) -> Self:
        """`2026-10` → October 2026. Raises `ValueError`, which says what a month looks like."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"a period is a month such as 2026-10, not {name[:40]!r}")
        return cls(date(int(found[1]), int(found[2]), 1))

    @classmethod
    def of(cls, day: date) -> Self:
        """The month that a day belongs to."""
        return cls(day.replace(day=1))

    @property
    def name(self) -> str:
        """`2026-10`."""
        return self.first_day.isoformat()[:7]

    @property
    def last_day(self) -> date:
        """The last day that belongs to it."""
        return self.next.first_day - timedelta(days=1)

    @property
    def next(self) -> Self:
        """The month after it."""
        return type(self)((self.first_day + timedelta(days=31)).replace(day=1))

    @property
    def previous(self) -> Self:
        """The month before it."""
        return type(self)((self.first_day - timedelta(days=1)).replace(day=1))

    @property
    def ends_at(self) -> datetime:
        """The first moment that no longer belongs to it."""
        return midnight(self.next.first_day)


def midnight(day: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)
