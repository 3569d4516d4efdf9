"""Values with everything struck out that differs from run to run, or that is a secret."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from api.documents.recorded import ADDRESS

_RULES: tuple[tuple[str, Callable[[int], str]], ...] = (
    (r"isk_r_[0-9a-z]{26}[\w-]{20,}", lambda _: "isk_r_TOKEN"),
    (r"pok_[0-9a-z]{26}[\w-]{20,}", lambda _: "pok_KEY"),
    (r"whsec_[\w+/=-]{20,}", lambda _: "whsec_SECRET"),
    (r"(?<![0-9a-zA-Z])[0-9a-f]{64}(?![0-9a-zA-Z])", lambda n: f"{n:064x}"),
    (r"0x[0-9a-fA-F]{64}(?![0-9a-fA-F])", lambda n: f"0x{n:064x}"),
    (r"0x[0-9a-fA-F]{65,}", lambda _: "0xSIGNATURE"),
    (r"(?<![0-9a-zA-Z])0x[0-9a-fA-F]{40}(?![0-9a-fA-F])", lambda n: f"0x{n:040x}"),
    (r"cs_test_[0-9a-zA-Z]{8,}", lambda n: f"cs_test_{n}"),
    (r"(?<=-)[0-9a-f]{8,}(?![0-9a-zA-Z])", lambda n: f"{n:08d}"),
    (r"[0-9a-z.]+@[0-9a-z.-]+\.example", lambda _: "agent@agents.example"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", lambda _: "2026-01-01T00:00:00.000Z"),
    (r"(?<!\d)20\d\d-\d\d-\d\d(?![\dT])", lambda _: "2026-01-01"),
)
_ID = re.compile(r"\b([a-z]+(?:_[a-z]+)*_)([0-9a-hjkmnp-tv-z]{26})\b")
_ANYWHERE = re.compile(r"https?://127\.0\.0\.1:\d+")


def plain(value: Any, url: str) -> Any:
    """`value`, a piece of JSON, as any run would have it; the service at `url` is said as `ADDRESS`.

    What was the same stays the same: the first id is 1 wherever it stands.
    Names are sorted, so that saying it twice changes nothing.
    """
    return _Saying(url).of(value)


class _Saying:
    """Says each thing that differs by its number, the first one by 1."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address, self._host = f"{parts.scheme}://{parts.netloc}", parts.netloc
        self._numbers: dict[str, dict[str, int]] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.of(value[name]) for name in sorted(value)}
        if isinstance(value, list):
            return [self.of(each) for each in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        text = text.replace(self._address, ADDRESS).replace(self._host, "purser.example")
        text = _ANYWHERE.sub("https://provider.example", text)
        for pattern, said in _RULES:
            text = self._struck_out(pattern, said, text)
        return _ID.sub(lambda found: f"{found[1]}{self._number('id', found[2]):026d}", text)

    def _struck_out(self, pattern: str, said: Callable[[int], str], text: str) -> str:
        return re.sub(pattern, lambda found: said(self._number(pattern, found[0])), text)

    def _number(self, kind: str, thing: str) -> int:
        known = self._numbers.setdefault(kind, {})
        return known.setdefault(thing, len(known) + 1)
