"""Tables and requests as Markdown. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

WIDTH: Final = 118
_ALONE: Final = re.compile(r"\||#|>|$")
"""How a line begins that no other is joined to: a row, a heading, a quotation, or nothing."""
_FENCE: Final = re.compile(r"```|---$")
"""What stands around lines that stay as they are: code, and the front matter."""
_ITEM: Final = re.compile(r"- |[0-9]+\. ")

_CODE: Final = re.compile(r"`[^`]+`")
_JOINT: Final = "\0"
"""Stands for a space at which no line is broken."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table. A bar inside of a cell is written so that it ends no cell."""
    lines = [list(heads), ["---"] * len(heads), *[[cell.replace("|", "\\|") for cell in row] for row in rows]]
    return [f"| {' | '.join(line)} |" for line in lines]


def request(
    method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> list[str]:
    """A request as a block of code: the first line says what is asked, the last is the body."""
    lines = [f"{method} {path}", *[f"{name}: {value}" for name, value in (headers or {}).items()]]
    return ["```http", *lines, *([json.dumps(body)] if body is not None else []), "```"]


def flowed(lines: Iterable[str]) -> str:
    """The lines as one text, in which paragraphs and items are broken anew. Code stays as it is."""
    out: list[str] = []
    paragraph: list[str] = []
    is_kept = False
    for line in [*lines, ""]:
        is_fence = _FENCE.match(line) is not None
        if paragraph and (is_fence or _ALONE.match(line) or _ITEM.match(line)):
            out += _broken(" ".join(paragraph))
            paragraph = []
        is_kept ^= is_fence
        if is_kept or is_fence or _ALONE.match(line):
            out.append(line)
        else:
            paragraph.append(line.strip())
    return "\n".join(out)


def _broken(paragraph: str) -> list[str]:
    item = _ITEM.match(paragraph)
    indent = " " * len(item.group()) if item else ""
    whole = _CODE.sub(lambda code: code.group().replace(" ", _JOINT), paragraph)
    lines = textwrap.wrap(whole, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_JOINT, " ") for line in lines]
