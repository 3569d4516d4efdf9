"""Answers of the real service, one for each operation, and the shape that all of its answers had. Pure.

`answers.json` is written from what a test run was answered (`tests/documents/recording.py`), and every answer of every
later run is held against it (`tests/documents/judging.py`): a field that comes, goes or changes its type fails there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("answers.json")
ADDRESS: Final = "{url}"
"""Stands in recorded texts for the public address of the service."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is known of an operation. `data` is a JSON schema with lists of types.

    The examples are of one request and its answer.
    """

    statuses: tuple[int, ...]
    data: Mapping[str, Any]
    parameters: Mapping[str, Any]
    body: Any
    answer: Mapping[str, Any] | None

    def at(self, url: str) -> Recorded:
        """The same for the service at `url`."""
        body, answer = addressed(self.body, url), addressed(self.answer, url)
        return Recorded(self.statuses, self.data, addressed(self.parameters, url), body, answer)


UNKNOWN: Final = Recorded((200,), {"type": ["object"]}, {}, None, None)
"""What is said of an operation that no test has asked yet."""


@cache
def recorded() -> Mapping[str, Recorded]:
    """By the name of the operation, as in `POST /v1/spends`."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: of(each) for name, each in found.items()}


def of(stored: Mapping[str, Any]) -> Recorded:
    """What an entry of the file says."""
    return Recorded(tuple(stored["statuses"]), stored["data"], stored["parameters"], stored["body"], stored["answer"])


def addressed(value: Any, url: str) -> Any:
    """`value` with the address of the service put in."""
    if isinstance(value, str):
        return value.replace(ADDRESS, url)
    if isinstance(value, list):
        return [addressed(each, url) for each in value]
    if isinstance(value, Mapping):
        return {name: addressed(each, url) for name, each in value.items()}
    return value
