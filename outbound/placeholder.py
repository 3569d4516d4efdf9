"""The executor of the sandbox: for each unit a small picture that shows nothing, at once. Pure.

A picture is made from its id alone, whenever it is asked for, so that nothing is stored. PNG as in
https://www.w3.org/TR/png-3/: one bit a pixel, two colours, and zlib's stored blocks, so that the bytes are the same
with every zlib.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Final

from outbound.executor import Made, Work

SIDE: Final = 64
"""Width and height in pixels."""
CELLS: Final = 8
"""Squares in a row; the right half mirrors the left one."""
MIME_TYPE: Final = "image/png"

_COLOR_TYPE_PALETTE: Final = 3


class Placeholder:
    """Makes pictures that show nothing, for as many units as were ordered. It costs nobody anything."""

    async def perform(self, work: Work) -> Made:
        """One asset for each unit: `image_<the letters of the job's id>_<n>`, n from 1. Never fails."""
        letters = work.job_id.rpartition("_")[2]
        return Made(
            tuple(
                {"asset_id": f"image_{letters}_{n}", "mime_type": MIME_TYPE, "width": SIDE, "height": SIDE}
                for n in range(1, work.units + 1)
            ),
            units=work.units,
        )


def picture(asset_id: str) -> bytes:
    """A PNG of `SIDE` times `SIDE` pixels, the same for the same id."""
    digest = hashlib.sha256(asset_id.encode()).digest()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 1, _COLOR_TYPE_PALETTE, 0, 0, 0)
    dark, light = bytes(byte // 2 for byte in digest[8:11]), bytes(255 - byte // 4 for byte in digest[11:14])
    rows = b"".join(b"\0" + _row(half) for half in digest[:CELLS] for _ in range(SIDE // CELLS))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", light + dark),
            _chunk(b"IDAT", zlib.compress(rows, level=0)),
            _chunk(b"IEND", b""),
        )
    )


def _row(half: int) -> bytes:
    """A row of pixels, eight for each cell: the four low bits of `half`, and the same mirrored."""
    left = [half >> n & 1 for n in range(CELLS // 2)]
    return bytes(255 * cell for cell in [*left, *reversed(left)])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
