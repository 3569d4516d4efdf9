"""Dying between any two lines of a file: the n-th that is reached raises instead of being run.

`make test` looks at some of the lines, `make test-long` at every one.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, Final

import pytest

SOME: Final = 9
some_lines_or_all = pytest.mark.parametrize("step", [SOME, pytest.param(1, marks=pytest.mark.long)])
"""For a test that dies at line 1, 1 + `step`, 1 + 2 `step`, …"""


class Died(BaseException):
    """What a process that is killed raises, as far as its transaction can tell."""


@contextmanager
def dying(at: int, *modules: ModuleType, within: Collection[str] = ()) -> Iterator[None]:
    """Raise `Died` at the `at`-th line of these modules that is reached; nothing happens when there are fewer.

    `within` names the functions that are meant, if not all.
    """
    files, reached = {module.__file__ for module in modules}, set[tuple[str, int]]()

    def line(frame: FrameType, event: str, __: Any) -> Any:
        # The end of a block with `async with` is said with the line of its head: who raises there skips its end.
        place = (frame.f_code.co_filename, frame.f_lineno)
        head = linecache.getline(*place).lstrip()
        if event == "line" and place not in reached and not head.startswith("async with"):
            reached.add(place)
            if len(reached) == at:
                raise Died
        return line

    def call(frame: FrameType, _: str, __: Any) -> Any:
        meant = not within or frame.f_code.co_name in within
        return line if meant and frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
