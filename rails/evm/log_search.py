"""Searching a chain for logs, range by range, since no node shows all of a chain at once. Asks through its caller.

Ranges are bounded, and halved when the node finds one too long. A search that is not finished has found nothing: that
something is not there is only said when every block was read.
Sources, for what providers say to a range that is too long: https://eips.ethereum.org/EIPS/eip-1474#error-codes and the
pages of Alchemy and QuickNode on `eth_getLogs`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rails.evm.answers import Log
from rails.evm.failures import NodeError

RANGE_BLOCKS_MAX: Final = 500
"""Blocks asked about at once: less than most providers allow, and halved when one allows less."""
CALLS_MAX: Final = 200
TIMEOUT_S: Final = 60.0
LOGS_MAX: Final = 10_000

_TOO_LONG: Final = re.compile(r"range|more than \d|too (many|large|big)|size|exceed|limit")
_RATE: Final = re.compile(r"too many requests|\brate\b|per second|capacity|quota|credits")

AskRange = Callable[[int, int], Awaitable[Sequence[Log] | None]]
"""The matching logs from the first to the last block, both inclusive; None when the node finds that too long."""


class Unfinished(Exception):
    """Not everything could be read. Its text continues "the node …"."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Logs of one contract with exactly as many topics, and these; in the place of None stands any."""

    address: str
    topics: tuple[bytes | None, ...]

    def asked(self, start: int, end: int) -> dict[str, Any]:
        """The filter of `eth_getLogs`."""
        return {
            "address": self.address,
            "topics": ["0x" + topic.hex() if topic is not None else None for topic in self.topics],
            "fromBlock": hex(start),
            "toBlock": hex(end),
        }

    def lets_through(self, log: Log, start: int, end: int) -> bool:
        """Whether such a log may be in the answer."""
        same = log.address.lower() == self.address.lower() and len(log.topics) == len(self.topics)
        fits = all(wanted in {None, topic} for wanted, topic in zip(self.topics, log.topics, strict=False))
        return same and fits and start <= log.block_number <= end


def finds_too_long(error: NodeError) -> bool:
    """Whether the node refused the length of the range, and not us for asking so often."""
    said = error.said.lower()
    return bool(_TOO_LONG.search(said)) and not _RATE.search(said)


async def search(ask: AskRange, *, from_block: int, head: int, first_only: bool) -> Sequence[Log]:
    """The logs from `from_block` to `head`, oldest range first; with `first_only` no further than to the first.

    Raises `Unfinished`, and what `ask` raises.
    """
    found: list[Log] = []
    start, length = from_block, RANGE_BLOCKS_MAX
    for _ in range(CALLS_MAX):
        end = min(start + length - 1, head)
        logs = await ask(start, end)
        if logs is None and length == 1:
            raise Unfinished("does not serve the logs of a single block")
        if logs is None:
            length //= 2
            continue
        found += logs
        start = end + 1
        if start > head or (first_only and found):
            return found
        if len(found) > LOGS_MAX:
            raise Unfinished(f"has more than {LOGS_MAX} such logs from block {from_block}")
    raise Unfinished(f"needs more than {CALLS_MAX} calls to search from block {from_block}")
