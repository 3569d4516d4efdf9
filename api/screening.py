"""The built-in screening: a file of addresses that may not pay, read again whenever it has changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import structlog

from billing.settling.screening import ALLOWED, Screened, Verdict

BYTES_MAX: Final = 16 * 1024 * 1024
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")

log = structlog.get_logger()


class DenyList:
    """Rejects the addresses of a file: one a line, what follows a `#` is a remark.

    A file that cannot be read, or holds a line that is no address, holds every payment: nobody is let through because a
    list was lost, and nobody's money is refused for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_of: tuple[int, int, int] | None = None
        self._denied: frozenset[str] = frozenset()

    async def screen(self, *, network: str, payer: str) -> Screened:
        """Judge an address; the same on every network."""
        del network
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            log.error("deny_list_unreadable", path=str(self._path), reason=str(error))  # noqa: TRY400 - the path says it
            return Screened(Verdict.HOLD, f"the deny list cannot be read: {type(error).__name__}")
        if payer.lower() in self._denied:
            return Screened(Verdict.REJECT, "the address stands on the deny list")
        return ALLOWED

    def _refresh(self) -> None:
        stat = self._path.stat()
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if now == self._read_of:
            return
        if stat.st_size > BYTES_MAX:
            raise ValueError("the deny list is too large")
        lines = [line.partition("#")[0].strip() for line in self._path.read_text(encoding="utf-8").splitlines()]
        if not all(_ADDRESS.fullmatch(line) for line in lines if line):
            raise ValueError("a line of the deny list is no address")
        self._denied, self._read_of = frozenset(line.lower() for line in lines if line), now
