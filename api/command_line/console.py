"""Where output goes: results to standard output, complaints to standard error. Plain text where nobody looks on."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.markup import escape

PLAIN_WIDTH: Final = 110
"""Columns where there is no terminal: wide enough that no table breaks its words."""


def console(*, complaints: bool = False) -> Console:
    """A console of the terminal's width, or of `PLAIN_WIDTH` columns into a file or pipe."""
    found = Console(stderr=complaints, highlight=False)
    return found if found.is_terminal else Console(stderr=complaints, highlight=False, width=PLAIN_WIDTH)


def visible(said: str) -> str:
    """Text of strangers as it may be shown on a terminal: what is not printable, as an escape sequence is, is spelt."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in said)


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    shown = "\n".join(visible(line) for line in message.split("\n"))
    console(complaints=True).print(f"[bold red]purser:[/] {escape(shown)}", soft_wrap=True)
