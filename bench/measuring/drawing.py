"""The latency histogram of a row: one panel a contender, one logarithmic axis of time for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from bench.measuring.latency import BUCKETS_PER_DECADE, Latency, place_of

_WIDTH, _LEFT, _RIGHT = 1100, 40, 40
_TITLE, _PANEL, _AXIS = 64, 132, 44
_BARS = 84
_PAPER, _INK, _FAINT, _GRID = "#ffffff", "#1f2430", "#6b7280", "#e5e7eb"
_FILLS: Final = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")
_DECADES: Final = ("0.01 ms", "0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s")


def draw(file: Path, title: str, panels: Sequence[tuple[str, Latency]]) -> None:
    """Write the PNG. Bars are shares of a contender's own requests, scaled to its fullest bucket."""
    image = Image.new("RGB", (_WIDTH, _TITLE + _PANEL * len(panels) + _AXIS), _PAPER)
    filled = [place for _, latency in panels for place, count in enumerate(latency.buckets) if count]
    first, last = min(filled) // BUCKETS_PER_DECADE, max(filled) // BUCKETS_PER_DECADE + 1
    sheet = _Sheet(ImageDraw.Draw(image), first, last)
    sheet.text(_LEFT, 18, title, size=20)
    for number, (name, latency) in enumerate(panels):
        sheet.panel(_TITLE + _PANEL * number, name, latency, _FILLS[number % len(_FILLS)])
    sheet.axis(_TITLE + _PANEL * len(panels))
    image.save(file, optimize=True)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What is drawn on, and the decades that its axis shows: those in which there is something to see."""

    pen: ImageDraw.ImageDraw
    first: int
    last: int

    def x(self, place: float) -> float:
        """Where a place, counted in buckets, lies."""
        share = (place / BUCKETS_PER_DECADE - self.first) / (self.last - self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def text(self, x: float, y: float, words: str, *, size: int, fill: str = _INK, anchor: str = "la") -> None:
        """Words whose upper edge is at `y`."""
        self.pen.text((x, y), words, fill=fill, font=ImageFont.load_default(size), anchor=anchor)

    def panel(self, top: int, name: str, latency: Latency, fill: str) -> None:
        """One contender: name, percentiles, bars, and a line where each percentile lies."""
        base = top + _PANEL - 12
        for decade in range(self.first, self.last + 1):
            x = self.x(decade * BUCKETS_PER_DECADE)
            self.pen.line([(x, base - _BARS), (x, base)], fill=_GRID)
        times = (("p50", latency.p50_s), ("p99", latency.p99_s), ("p99.9", latency.p999_s))
        said = "   ".join(f"{label} {_time(seconds)}" for label, seconds in times)
        self.text(_LEFT, top + 6, name, size=15)
        self.text(_WIDTH - _RIGHT, top + 6, f"{said}   {latency.count:,} requests", size=14, fill=_FAINT, anchor="ra")
        self.bars(base, latency.buckets, fill)
        for _, seconds in times:
            x = self.x(place_of(seconds))
            self.pen.line([(x, base - _BARS), (x, base + 4)], fill=_INK)

    def bars(self, base: int, buckets: Sequence[int], fill: str) -> None:
        """A bar a bucket; what is not empty can be seen."""
        most = max(buckets)
        for place, count in enumerate(buckets):
            if count:
                left, right = self.x(place) + 0.5, self.x(place + 1) - 1
                self.pen.rectangle([(left, base - max(1.0, _BARS * count / most)), (max(left, right), base)], fill=fill)
        self.pen.line([(_LEFT, base), (_WIDTH - _RIGHT, base)], fill=_FAINT)

    def axis(self, top: int) -> None:
        """The names of the decades."""
        for decade in range(self.first, self.last + 1):
            anchor = "la" if decade == self.first else "ra" if decade == self.last else "ma"
            self.text(self.x(decade * BUCKETS_PER_DECADE), top, _DECADES[decade], size=14, fill=_FAINT, anchor=anchor)


def _time(seconds: float) -> str:
    digits = 2 if seconds < 1e-2 else 1
    return f"{seconds * 1e3:.{digits}f} ms" if seconds < 1 else f"{seconds:.1f} s"
