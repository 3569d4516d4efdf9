"""The one door through which text becomes HTML. Pure."""

from __future__ import annotations

from html import escape
from typing import LiteralString


class Markup(str):
    """HTML that is safe as it stands: made by `html`, or our own file read from the package."""

    __slots__ = ()


NOTHING = Markup()


def html(template: LiteralString, **values: str | Markup) -> Markup:
    """`template` with each `{name}` replaced by its value, escaped unless it is `Markup` already."""
    return Markup(template.format(**{name: _safe(value) for name, value in values.items()}))


def joined(*parts: Markup) -> Markup:
    """The parts, one after the other."""
    return Markup("".join(parts))


def _safe(value: str | Markup) -> str:
    return value if isinstance(value, Markup) else escape(value)
